//! The set of pipeline files, and what became of them since they were last looked at.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::contents::{Contents, Version, read_contents};
use super::document;
use super::objects::{Kind, Objects};
use super::problem::{Place, Problem, Severity};
use super::sources::{Listing, Source};
use super::yaml::Node;
use super::{Pipeline, Scan};

/// The pipeline files below some paths, with the last good version of each.
///
/// [`Files::rescan`] is called at the start and whenever something may have changed, and tells which pipelines start, change
/// and stop. What it keeps between two calls makes these rules hold:
///
/// * A file whose new version is invalid keeps its last good one running.
/// * Of two files that claim one name, the one that runs it stays; where neither does (as at the start), neither runs.
/// * A file that takes a new name gives up its old one only if it gets the new one.
/// * A directory that cannot be listed loses no pipelines: nothing is known then, least of all that they were removed.
/// * A file whose size and times are as before is not read; one that is read and holds the same is not parsed.
#[derive(Debug)]
pub struct Files {
    sources: Vec<Source>,
    objects: Objects,
    defaults: Option<Defaults>,
    files: HashMap<PathBuf, File>,
    /// Which files have a valid version of this name.
    claims: BTreeSet<(String, PathBuf)>,
    running: BTreeMap<String, Arc<Pipeline>>,
    /// The name that each file runs.
    runs: HashMap<PathBuf, String>,
    /// Files that were told to be broken and are not mended yet.
    broken: BTreeSet<PathBuf>,
    /// Paths that could not be listed.
    unlisted: Vec<Problem>,
}

#[derive(Debug)]
struct Defaults {
    path: PathBuf,
    version: Option<Version>,
    /// The last good one.
    tree: Option<Node>,
    problems: Vec<Problem>,
}

#[derive(Debug, Default)]
struct File {
    version: Option<Version>,
    /// What the file says now; nothing when that is invalid.
    valid: Option<Arc<Pipeline>>,
    problems: Vec<Problem>,
    /// Where the name is given, to point at when two claim it.
    named: (u32, u32),
}

/// What a look at the files found. Pipelines that are in none of the lists go on as before.
#[derive(Debug, Default)]
pub struct Changes {
    /// Names that were not there before.
    pub started: Vec<Arc<Pipeline>>,
    /// Names that were there with other contents.
    pub changed: Vec<Arc<Pipeline>>,
    /// Names that are there no longer.
    pub stopped: Vec<String>,
    /// Files that were read and found wanting, or that lost or gained a name to another.
    pub broken: Vec<Broken>,
    /// Files that were invalid before and now are not.
    pub mended: Vec<PathBuf>,
    /// Files of which [`Files::report`] may say something else than before, those that are gone included.
    pub concerned: BTreeSet<PathBuf>,
}

impl Changes {
    /// True when no pipeline starts, changes or stops.
    pub fn is_empty(&self) -> bool {
        self.started.is_empty() && self.changed.is_empty() && self.stopped.is_empty()
    }
}

/// A file that a restart would not start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The file.
    pub path: PathBuf,
    /// Name of the pipeline whose last good version keeps running.
    pub kept: Option<String>,
    /// Why, all at once.
    pub problems: Vec<Problem>,
}

/// One file as it stands.
#[derive(Debug, Clone)]
pub struct FileReport {
    /// The file.
    pub path: PathBuf,
    /// What it says, when that is valid. It runs unless another file has its name.
    pub pipeline: Option<Arc<Pipeline>>,
    /// Errors and warnings.
    pub problems: Vec<Problem>,
}

/// Everything that was found at one time.
#[derive(Debug)]
pub struct Loaded {
    /// Valid pipelines, by name.
    pub pipelines: Vec<Arc<Pipeline>>,
    /// Errors and warnings of all files, by place.
    pub problems: Vec<Problem>,
    /// Every file, by path.
    pub files: Vec<FileReport>,
}

/// Reads the files below `paths` (files, or directories one level deep) once.
pub fn load(paths: &[PathBuf], defaults: Option<&Path>) -> Loaded {
    let mut files = Files::new(paths, defaults);
    files.rescan(&Scan::All);
    files.loaded()
}

impl Files {
    /// Nothing is read yet.
    pub fn new(paths: &[PathBuf], defaults: Option<&Path>) -> Self {
        let defaults =
            defaults.map(|path| Defaults { path: path.to_owned(), version: None, tree: None, problems: Vec::new() });
        Self {
            sources: paths.iter().map(|path| Source::new(path)).collect(),
            objects: Objects::default(),
            defaults,
            files: HashMap::new(),
            claims: BTreeSet::new(),
            running: BTreeMap::new(),
            runs: HashMap::new(),
            broken: BTreeSet::new(),
            unlisted: Vec::new(),
        }
    }

    /// With the files that lie in objects.
    pub(super) fn with(self, objects: Objects) -> Self {
        Self { objects, ..self }
    }

    /// Everything as it stands.
    pub(super) fn loaded(&self) -> Loaded {
        Loaded { pipelines: self.running().cloned().collect(), problems: self.problems(), files: self.reports() }
    }

    /// Looks at the files again. Reads and parses only what changed; with [`Scan::Paths`] it does not even look at others.
    pub fn rescan(&mut self, scan: &Scan) -> Changes {
        let outside_before = self.outside_problems();
        let defaults_changed = self.defaults.as_mut().is_some_and(Defaults::refresh);
        let paths = match scan {
            Scan::Paths(paths) if !defaults_changed => paths.clone(),
            _ => self.list(defaults_changed),
        };
        let mut touched = BTreeSet::new();
        let mut names = BTreeSet::new();
        for path in paths {
            let claimed = self.claimed(&path);
            if self.refresh(&path, defaults_changed) {
                names.extend([claimed, self.claimed(&path), self.runs.get(&path).cloned()].into_iter().flatten());
                touched.insert(path);
            }
        }
        let mut changes = self.settle(&touched, &names);
        let outside = self.outside_problems();
        for (path, problems) in &outside {
            if outside_before.get(path) != Some(problems) {
                changes.broken.push(Broken { path: path.clone(), kept: None, problems: problems.clone() });
            }
        }
        changes.mended.extend(outside_before.into_keys().filter(|path| !outside.contains_key(path)));
        changes
    }

    /// Problems of what is no pipeline file: the defaults file, and paths that cannot be listed.
    fn outside_problems(&self) -> BTreeMap<PathBuf, Vec<Problem>> {
        let mut outside: BTreeMap<PathBuf, Vec<Problem>> = BTreeMap::new();
        let defaults = self.defaults.iter().flat_map(|defaults| &defaults.problems);
        for problem in self.unlisted.iter().chain(defaults) {
            outside.entry(problem.file.clone()).or_default().push(problem.clone());
        }
        outside
    }

    /// The pipelines that run, by name.
    pub fn running(&self) -> impl Iterator<Item = &Arc<Pipeline>> {
        self.running.values()
    }

    /// The pipeline that runs because of this file.
    pub fn runs(&self, path: &Path) -> Option<&Arc<Pipeline>> {
        self.running.get(self.runs.get(path)?)
    }

    /// One file as it stands; nothing where there is none.
    pub fn report(&self, path: &Path) -> Option<FileReport> {
        let (path, file) = self.files.get_key_value(path)?;
        let (pipeline, problems) = (file.valid.clone(), self.problems_of(path, file));
        Some(FileReport { path: path.clone(), pipeline, problems })
    }

    /// Every file, by path.
    pub fn reports(&self) -> Vec<FileReport> {
        let paths: BTreeSet<&PathBuf> = self.files.keys().collect();
        paths.into_iter().filter_map(|path| self.report(path)).collect()
    }

    /// Errors and warnings of all files as they stand, by place.
    pub fn problems(&self) -> Vec<Problem> {
        let defaults = self.defaults.iter().flat_map(|defaults| defaults.problems.iter().cloned());
        let files = self.files.iter().flat_map(|(path, file)| self.problems_of(path, file));
        let all: BTreeSet<Problem> = self.unlisted.iter().cloned().chain(defaults).chain(files).collect();
        all.into_iter().collect()
    }

    /// How many files a restart would not start.
    pub fn invalid(&self) -> usize {
        self.files.iter().filter(|(path, file)| self.is_broken(path, file)).count()
    }

    /// The paths that are worth a look: those that are new, and of those that are known all, or the ones that are not
    /// plainly as before. Of ten thousand there are few, so that no sorted list of all is made every ten seconds.
    fn list(&mut self, all: bool) -> BTreeSet<PathBuf> {
        let mut paths: BTreeSet<PathBuf> = self.objects.paths().into_iter().collect();
        self.unlisted = self.objects.problems();
        let mut failed = Vec::new();
        for source in &mut self.sources {
            match source.list() {
                Listing::Files(found) => paths.extend(found.into_iter().filter(|path| !self.files.contains_key(path))),
                Listing::Failed(problem) => {
                    self.unlisted.push(problem);
                    failed.push(&*source);
                }
            }
        }
        let looked_at = self.files.iter().filter(|(path, file)| {
            // What was known below a path that cannot be listed stays known.
            failed.iter().all(|source| !source.holds(path))
                && (all || !file.version.as_ref().is_some_and(|version| version.still_holds(path)))
        });
        paths.extend(looked_at.map(|(path, _)| path.clone()));
        paths
    }

    /// Reads a file again if it changed; true when it did.
    fn refresh(&mut self, path: &Path, even_if_equal: bool) -> bool {
        let known = self.files.get(path);
        let version = known.and_then(|file| file.version.as_ref());
        let contents = self.read(path, version);
        let file = match contents {
            Contents::Gone if known.is_none() => return false,
            Contents::Gone => {
                self.forget_claim(path);
                self.files.remove(path);
                return true;
            }
            Contents::Same(version) if !even_if_equal => {
                if let Some(file) = self.files.get_mut(path) {
                    file.version = Some(version);
                }
                return false;
            }
            Contents::Same(_) => match self.read(path, None) {
                Contents::New(text, version) => self.parse(path, &text, version),
                _ => return false,
            },
            Contents::New(text, version) => self.parse(path, &text, version),
            Contents::Unreadable(message) => {
                let problems = vec![Problem::file(path, message)];
                if known.is_some_and(|file| file.problems == problems) {
                    return false;
                }
                File { problems, ..File::default() }
            }
        };
        self.forget_claim(path);
        if let Some(pipeline) = &file.valid {
            self.claims.insert((pipeline.name.clone(), path.to_owned()));
        }
        self.files.insert(path.to_owned(), file);
        true
    }

    fn read(&self, path: &Path, known: Option<&Version>) -> Contents {
        let object = self.objects.read(path, known.map(|known| &known.hash));
        object.unwrap_or_else(|| match Kind::of(path) {
            Some(_) => Contents::Gone,
            None => read_contents(path, known),
        })
    }

    fn parse(&self, path: &Path, text: &str, version: Version) -> File {
        let mut problems = Vec::new();
        let shared: Arc<Path> = path.into();
        let Some(mut root) = document::tree(text, &shared, &mut problems) else {
            return File { version: Some(version), problems, ..File::default() };
        };
        let place = &root.nearest(&["name"]).place;
        let named = (place.line, place.column);
        match &self.defaults {
            Some(Defaults { tree: Some(defaults), .. }) => document::inherit(&mut root, defaults),
            Some(Defaults { path: defaults, .. }) => {
                let message = format!("not run, because the defaults file {} is invalid", defaults.display());
                problems.push(Problem::file(path, message));
            }
            None => {}
        }
        let pipeline = document::pipeline(&root, path, &mut problems);
        if Kind::of(path) == Some(Kind::Secret) {
            problems.retain(|problem| !problem.is_about_literal_secret());
        }
        let valid = pipeline.filter(|_| !problems.iter().any(Problem::is_error)).map(Arc::new);
        File { version: Some(version), valid, problems, named }
    }

    fn forget_claim(&mut self, path: &Path) {
        let Some(pipeline) = self.files.get(path).and_then(|file| file.valid.clone()) else { return };
        self.claims.remove(&(pipeline.name.clone(), path.to_owned()));
    }

    /// The files that have a valid version of this name.
    fn claiming<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a PathBuf> {
        let from = (name.to_owned(), PathBuf::new());
        self.claims.range(from..).take_while(move |(claimed, _)| claimed == name).map(|(_, path)| path)
    }

    /// The name that the file says it has.
    fn claimed(&self, path: &Path) -> Option<String> {
        Some(self.files.get(path)?.valid.as_ref()?.name.clone())
    }

    /// Decides anew who runs `names`: those that the files in `touched` have, had, or run.
    fn settle(&mut self, touched: &BTreeSet<PathBuf>, names: &BTreeSet<String>) -> Changes {
        let mut changes = Changes::default();
        let before: BTreeMap<&String, Option<Arc<Pipeline>>> =
            names.iter().map(|name| (name, self.running.get(name).cloned())).collect();
        // A file that gets its new name frees its old one, for which another may have waited: so until nothing moves.
        while names.iter().filter(|name| self.settle_name(name)).count() > 0 {}
        for (name, before) in before {
            match (before, self.running.get(name)) {
                (None, Some(now)) => changes.started.push(Arc::clone(now)),
                (Some(before), Some(now)) if before != *now => changes.changed.push(Arc::clone(now)),
                (Some(_), None) => changes.stopped.push(name.clone()),
                _ => {}
            }
        }
        let rivals = names.iter().flat_map(|name| self.claiming(name)).cloned();
        changes.concerned = rivals.chain(touched.iter().cloned()).collect();
        for path in &changes.concerned {
            let broken = self.files.get(path).filter(|file| self.is_broken(path, file));
            let Some(file) = broken else {
                if self.broken.remove(path) && self.files.contains_key(path) {
                    changes.mended.push(path.clone());
                }
                continue;
            };
            let (kept, problems) = (self.runs.get(path).cloned(), self.problems_of(path, file));
            // A rival that did not change itself was told before.
            if self.broken.insert(path.clone()) || touched.contains(path) {
                changes.broken.push(Broken { path: path.clone(), kept, problems });
            }
        }
        changes
    }

    /// True when that changed who runs `name`, or as what.
    fn settle_name(&mut self, name: &str) -> bool {
        let owner = self.running.get(name).filter(|running| self.keeps(name, &running.path));
        let next = match owner {
            Some(running) => match self.files.get(&running.path).and_then(|file| file.valid.as_ref()) {
                Some(valid) if valid.name == name => Some(Arc::clone(valid)),
                _ => Some(Arc::clone(running)),
            },
            None => {
                let mut claiming = self.claiming(name);
                match (claiming.next(), claiming.next()) {
                    (Some(only), None) => self.files.get(only).and_then(|file| file.valid.clone()),
                    _ => None,
                }
            }
        };
        let changed = self.running.get(name) != next.as_ref();
        if changed {
            let before = match next {
                Some(pipeline) => {
                    self.runs.insert(pipeline.path.clone(), name.to_owned());
                    self.running.insert(name.to_owned(), pipeline)
                }
                None => self.running.remove(name),
            };
            if let Some(before) = before.filter(|before| self.runs.get(&before.path).is_some_and(|runs| runs == name)) {
                let still = self.running.get(name).is_some_and(|running| running.path == before.path);
                if !still {
                    self.runs.remove(&before.path);
                }
            }
        }
        changed
    }

    /// Whether the file that runs `name` has a right to it still.
    fn keeps(&self, name: &str, path: &Path) -> bool {
        match self.files.get(path).map(|file| &file.valid) {
            None => false,
            Some(None) => true,
            Some(Some(valid)) if valid.name == name => true,
            Some(Some(_)) => self.runs.get(path).is_some_and(|runs| runs == name),
        }
    }

    fn is_broken(&self, path: &Path, file: &File) -> bool {
        match &file.valid {
            None => true,
            Some(valid) => self.runs.get(path) != Some(&valid.name),
        }
    }

    fn problems_of(&self, path: &Path, file: &File) -> Vec<Problem> {
        let mut problems = file.problems.clone();
        let Some(valid) = file.valid.as_ref().filter(|_| self.is_broken(path, file)) else { return problems };
        let name = &valid.name;
        let others: Vec<String> = match self.running.get(name) {
            Some(running) => vec![format!("{} (which runs and stays)", running.path.display())],
            None => {
                self.claiming(name).filter(|other| *other != path).map(|other| other.display().to_string()).collect()
            }
        };
        let message = format!("the pipeline's name `{name}` is also that of {}", others.join(", "));
        let place = Place { file: path.into(), line: file.named.0, column: file.named.1 };
        problems.push(Problem::at(&place, "name", Severity::Error, message));
        problems
    }
}

impl Defaults {
    /// Reads the file again if it changed; true when the pipelines have to be read again for it.
    fn refresh(&mut self) -> bool {
        match read_contents(&self.path, self.version.as_ref()) {
            Contents::Same(version) => {
                self.version = Some(version);
                false
            }
            Contents::New(text, version) => {
                let shared: Arc<Path> = self.path.as_path().into();
                self.version = Some(version);
                self.problems.clear();
                let tree = document::tree(&text, &shared, &mut self.problems);
                if let Some(tree) = &tree {
                    document::check_defaults(&tree.clone(), &mut self.problems);
                }
                let valid = tree.filter(|_| !self.problems.iter().any(Problem::is_error));
                let usable = valid.is_some();
                self.tree = valid.or_else(|| self.tree.take());
                usable
            }
            Contents::Gone => self.unusable("there is no such file".to_owned()),
            Contents::Unreadable(message) => self.unusable(message),
        }
    }

    fn unusable(&mut self, message: String) -> bool {
        self.version = None;
        self.problems = vec![Problem::file(&self.path, message)];
        false
    }
}
