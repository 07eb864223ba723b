//! The set of pipeline files, and their changes since the last scan.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use s1_forwarder_failure::catch_panic::catch_panic;

use super::contents::{Contents, Version, read_contents};
use super::defaults::Defaults;
use super::problem::{Place, Problem, Severity, listed};
use super::resources::{Resources, is_resource, stem};
use super::shared::SharedSettings;
use super::sources::{Listing, Source};
use super::tenant::TenantRules;
use super::yaml::Node;
use super::{Pipeline, Scan, document};

/// The pipeline files at some paths, with the last valid version of each.
///
/// [`Files::rescan`] is called at the start and after each possible change. It returns which pipelines start, change
/// and stop, by these rules:
///
/// * If the new version of a file is invalid, the last valid version keeps running.
/// * If two files claim one name, the file that runs under this name keeps it. If neither runs, as at the start,
///   neither starts.
/// * A file with a new name keeps its old name until it gets the new one.
/// * Of tenants' files, the first one that ran under a name keeps it, also after a restart, while it is invalid, and
///   when it is gone: see [`Self::set_owners`]. An invalid one claims its name like a valid one.
/// * Two files that have the same `renamed_from` are both invalid.
/// * If a directory cannot be listed, its pipelines keep running.
/// * The defaults file is no pipeline file, also in a directory of pipeline files.
/// * A file with unchanged size and times is not read. A file with unchanged contents is not parsed.
#[derive(Debug)]
pub struct Files {
    sources: Vec<Source>,
    resources: Resources,
    defaults: Option<Defaults>,
    tenants: TenantRules,
    /// Boxed: a map has room for many more than it contains.
    files: HashMap<Arc<Path>, Box<File>>,
    /// Name and path of each file that is valid.
    claims: BTreeSet<(String, Arc<Path>)>,
    /// `renamed_from` and path of each file that is valid and has it.
    sources_named: BTreeSet<(String, Arc<Path>)>,
    /// Default name and path of each tenant's file, valid or not.
    tenant_names: BTreeSet<(String, Arc<Path>)>,
    /// The file that ran first under each name, of tenants' files.
    owners: Owners,
    /// Names whose owner has changed since the last scan.
    reassigned: BTreeSet<String>,
    running: BTreeMap<String, Arc<Pipeline>>,
    /// The name under which each file runs.
    running_names: HashMap<Arc<Path>, String>,
    /// Files that were reported as invalid.
    invalid: BTreeSet<PathBuf>,
    /// Problems of paths that could not be listed.
    unlisted: Vec<Problem>,
    shared: SharedSettings,
}

/// Paths of tenants' files by the name of their pipelines.
pub type Owners = BTreeMap<String, PathBuf>;

#[derive(Debug, Default)]
struct File {
    version: Option<Arc<Version>>,
    /// `None` if the current version is invalid.
    valid: Option<Arc<Pipeline>>,
    problems: Vec<Problem>,
    /// The name that the file gives, valid or not; without one, the default. Empty if the file cannot be read.
    name: Box<str>,
    /// Line and column of the name, for problems with another file of the same name.
    name_place: (u32, u32),
    /// Line and column of `renamed_from`.
    source_place: (u32, u32),
}

/// The result of a scan. Pipelines that are in none of the lists did not change.
#[derive(Debug, Default)]
pub struct Changes {
    pub started: Vec<Arc<Pipeline>>,
    pub changed: Vec<Arc<Pipeline>>,
    /// Names of the pipelines.
    pub stopped: Vec<String>,
    /// Files that are invalid, or whose name another file has, if that is new.
    pub invalid: Vec<InvalidFile>,
    /// Files that were reported as invalid before.
    pub repaired: Vec<PathBuf>,
    /// Files whose [`Files::report`] may have changed, including removed files.
    pub affected: BTreeSet<PathBuf>,
}

impl Changes {
    /// Returns whether no pipeline starts, changes or stops.
    pub fn is_empty(&self) -> bool {
        self.started.is_empty() && self.changed.is_empty() && self.stopped.is_empty()
    }

    /// Merges these changes and the `later` ones.
    #[must_use]
    pub fn then(mut self, later: Self) -> Self {
        let Self { started, changed, stopped, invalid, repaired, affected } = later;
        let is_of = |names: &[Arc<Pipeline>], name: &str| names.iter().any(|pipeline| pipeline.name == name);
        for name in stopped {
            if !is_of(&self.started, &name) {
                self.stopped.push(name.clone());
            }
            self.started.retain(|before| before.name != name);
            self.changed.retain(|before| before.name != name);
        }
        for pipeline in started.into_iter().chain(changed) {
            let was_started = is_of(&self.started, &pipeline.name);
            let was_stopped = self.stopped.contains(&pipeline.name);
            let is_known = was_stopped || is_of(&self.changed, &pipeline.name);
            self.started.retain(|before| before.name != pipeline.name);
            self.changed.retain(|before| before.name != pipeline.name);
            self.stopped.retain(|before| *before != pipeline.name);
            if is_known && !was_started { self.changed.push(pipeline) } else { self.started.push(pipeline) }
        }
        let is_new = |path: &PathBuf| !invalid.iter().any(|file| file.path == *path);
        self.invalid.retain(|file| is_new(&file.path));
        self.repaired.retain(is_new);
        self.invalid.extend(invalid);
        self.repaired.extend(repaired);
        self.affected.extend(affected);
        self
    }
}

/// A file that a restart would not start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidFile {
    pub path: PathBuf,
    /// Name of the pipeline, if its last valid version keeps running.
    pub still_running: Option<String>,
    pub problems: Vec<Problem>,
}

/// The current state of one file.
#[derive(Debug, Clone)]
pub struct FileReport {
    pub path: PathBuf,
    /// Set if the file is valid. The pipeline runs unless another file has its name.
    pub pipeline: Option<Arc<Pipeline>>,
    /// Errors and warnings.
    pub problems: Vec<Problem>,
    /// `metadata.generation`, if the file is a resource.
    pub generation: Option<i64>,
}

/// The current state of all files.
#[derive(Debug)]
pub struct Loaded {
    /// The pipelines that run, sorted by name.
    pub pipelines: Vec<Arc<Pipeline>>,
    /// Errors and warnings of all files, sorted by place.
    pub problems: Vec<Problem>,
    /// Sorted by path.
    pub files: Vec<FileReport>,
    /// See [`Files::names`].
    pub names: BTreeSet<String>,
}

/// How pipeline files are read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileOptions {
    /// `--defaults`.
    pub defaults: Option<PathBuf>,
    pub tenants: TenantRules,
}

impl Files {
    /// Reads nothing: see [`Self::rescan`].
    pub fn new(paths: &[PathBuf], options: &FileOptions) -> Self {
        let defaults = options.defaults.as_deref().map(Defaults::new);
        Self {
            tenants: options.tenants.clone(),
            sources: paths.iter().map(|path| Source::new(path)).collect(),
            resources: Resources::default(),
            defaults,
            files: HashMap::new(),
            claims: BTreeSet::new(),
            sources_named: BTreeSet::new(),
            tenant_names: BTreeSet::new(),
            owners: Owners::new(),
            reassigned: BTreeSet::new(),
            running: BTreeMap::new(),
            running_names: HashMap::new(),
            invalid: BTreeSet::new(),
            unlisted: Vec::new(),
            shared: SharedSettings::default(),
        }
    }

    /// Adds the `Pipeline` resources.
    pub(super) fn with_resources(self, resources: Resources) -> Self {
        Self { resources, ..self }
    }

    /// Sets which tenant's file ran first under each name, as known from earlier scans, also of other processes. A file
    /// that is in none of the listed paths any more loses its name, since the operator has left it out. A file that
    /// runs keeps its name.
    pub fn set_owners(&mut self, mut owners: Owners) {
        owners.retain(|_, path| self.sources.iter().any(|source| source.has_listed(path)));
        for (name, running) in &self.running {
            if self.is_tenants_file(&running.path) {
                owners.entry(name.clone()).or_insert_with(|| absolute(&running.path));
            }
        }
        let names = owners.keys().chain(self.owners.keys());
        let changed: BTreeSet<String> =
            names.filter(|name| owners.get(*name) != self.owners.get(*name)).cloned().collect();
        self.reassigned.extend(changed);
        self.owners = owners;
    }

    /// Returns the tenant's file that has each name.
    pub fn owners(&self) -> &Owners {
        &self.owners
    }

    /// Returns whether a tenant's file does not run because its name belongs to another file. [`Self::set_owners`] may
    /// change this.
    pub fn has_refused_names(&self) -> bool {
        let mut names = self.tenant_names.iter();
        names.any(|(name, path)| self.owners.get(name).is_some_and(|owner| *owner != absolute(path)))
    }

    fn is_tenants_file(&self, path: &Path) -> bool {
        self.tenants.apply_to(path) && !is_resource(path)
    }

    /// Returns whether a file may run under a name that no file runs under.
    fn may_take(&self, name: &str, path: &Path) -> bool {
        if !self.is_tenants_file(path) {
            return true;
        }
        match self.owners.get(name) {
            Some(owner) => *owner == absolute(path),
            None => self.named_alike(name).all(|other| **other == *path),
        }
    }

    /// Tenants' files with this default name.
    fn named_alike<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Arc<Path>> {
        with_name(&self.tenant_names, name)
    }

    /// Returns all pipelines, problems, reports and names of the files.
    pub fn loaded(&self) -> Loaded {
        Loaded {
            pipelines: self.running().cloned().collect(),
            problems: self.problems(),
            files: self.reports(),
            names: self.names(),
        }
    }

    /// Reads and parses the files that changed. With [`Scan::Paths`], only these files are checked for changes.
    pub fn rescan(&mut self, scan: &Scan) -> Changes {
        let previous_problems = self.problems_of_other_paths();
        let defaults_changed = self.defaults.as_mut().is_some_and(Defaults::refresh);
        let mut paths = match scan {
            Scan::Paths(paths) if !defaults_changed => paths.iter().map(|path| path.as_path().into()).collect(),
            _ => self.list(),
        };
        let is_defaults = |path: &mut Arc<Path>| self.defaults.as_ref().is_some_and(|defaults| defaults.is_at(path));
        let mut left_out: Vec<_> = paths.extract_if(.., is_defaults).collect();
        let mut touched = BTreeSet::new();
        let mut names = std::mem::take(&mut self.reassigned);
        for (path, contents) in self.read(paths, defaults_changed) {
            let claimed = self.claimed(&path);
            let rivals = self.rivals(&path);
            if self.refresh(&path, contents) {
                let running = self.running_names.get(&path).cloned();
                names.extend([claimed, self.claimed(&path), running].into_iter().flatten());
                names.extend(rivals.into_iter().chain(self.rivals(&path)));
                names.extend(self.is_tenants_file(&path).then(|| stem(&path)));
                touched.insert(path.to_path_buf());
            }
            if !self.files.contains_key(&path) {
                left_out.push(path);
            }
        }
        for path in left_out {
            self.sources.iter_mut().for_each(|source| source.leave_out(&path));
        }
        let mut changes = self.assign_names(&touched, &names);
        let current_problems = self.problems_of_other_paths();
        for (path, problems) in &current_problems {
            if previous_problems.get(path) != Some(problems) {
                let path = path.clone();
                let problems = problems.clone();
                changes.invalid.push(InvalidFile { path, still_running: None, problems });
            }
        }
        let repaired = previous_problems.into_keys().filter(|path| !current_problems.contains_key(path));
        changes.repaired.extend(repaired);
        changes
    }

    /// Returns the problems outside of pipeline files: problems of the defaults file, and of paths that cannot be
    /// listed.
    pub fn problems_of_other_paths(&self) -> BTreeMap<PathBuf, Vec<Problem>> {
        let mut by_path: BTreeMap<PathBuf, Vec<Problem>> = BTreeMap::new();
        let defaults = self.defaults.iter().flat_map(|defaults| &defaults.problems);
        for problem in self.unlisted.iter().chain(defaults) {
            by_path.entry(problem.file.clone()).or_default().push(problem.clone());
        }
        by_path
    }

    /// Returns the pipelines that run, sorted by name.
    pub fn running(&self) -> impl Iterator<Item = &Arc<Pipeline>> {
        self.running.values()
    }

    /// Returns the names of all pipelines: of valid files (also paused ones), of files whose last valid version runs,
    /// and of invalid files. An unreadable file has its default name.
    pub fn names(&self) -> BTreeSet<String> {
        let mut names: BTreeSet<String> = self.running.keys().cloned().collect();
        names.extend(self.claims.iter().map(|(name, _)| name.clone()));
        let invalid = self.files.iter().filter(|(_, file)| file.valid.is_none());
        names.extend(invalid.map(|(path, file)| match &*file.name {
            "" => stem(path),
            name => name.to_owned(),
        }));
        names
    }

    /// Returns the pipeline that runs from this file. It may be an earlier version of the file.
    pub fn running_version(&self, path: &Path) -> Option<&Arc<Pipeline>> {
        self.running.get(self.running_names.get(path)?)
    }

    /// Returns the report about a file; `None` if there is no such file.
    pub fn report(&self, path: &Path) -> Option<FileReport> {
        let (path, file) = self.files.get_key_value(path)?;
        let pipeline = file.valid.clone();
        let problems = self.problems_of(path, file);
        let generation = file.version.as_ref().and_then(|version| version.generation);
        Some(FileReport { path: path.to_path_buf(), pipeline, problems, generation })
    }

    /// Returns the reports about all files, sorted by path.
    pub fn reports(&self) -> Vec<FileReport> {
        let paths: BTreeSet<&Arc<Path>> = self.files.keys().collect();
        paths.into_iter().filter_map(|path| self.report(path)).collect()
    }

    /// Errors and warnings of all files, sorted by place.
    pub fn problems(&self) -> Vec<Problem> {
        let defaults = self.defaults.iter().flat_map(|defaults| defaults.problems.iter().cloned());
        let files = self.files.iter().flat_map(|(path, file)| self.problems_of(path, file));
        let all: BTreeSet<Problem> = self.unlisted.iter().cloned().chain(defaults).chain(files).collect();
        all.into_iter().collect()
    }

    /// Returns whether a restart would not start the pipeline of some file.
    pub fn has_invalid_files(&self) -> bool {
        let mut files = self.files.iter();
        files.any(|(path, file)| file.problems.iter().any(Problem::is_error) || self.is_invalid(path, file))
    }

    /// Returns the paths to check: new ones and known ones.
    fn list(&mut self) -> Vec<Arc<Path>> {
        let mut paths = self.resources.paths();
        self.unlisted = self.resources.problems();
        let mut failed = Vec::new();
        for source in &mut self.sources {
            match source.list() {
                Listing::Files(found) => {
                    paths.extend(found.into_iter().filter(|path| !self.files.contains_key::<Path>(path)));
                }
                Listing::Failed(problem) => {
                    self.unlisted.push(problem);
                    failed.push(&*source);
                }
            }
        }
        // Files below a path that cannot be listed are not checked.
        let is_listed = |path: &&Arc<Path>| failed.iter().all(|source| !source.contains(path));
        let known = self.files.keys().filter(|path| !paths.contains::<Path>(path)).filter(is_listed);
        known.cloned().chain(paths.iter().map(|path| shared_path(&self.files, path))).collect()
    }

    /// Returns the contents of files and resources that differ from their known versions. With `even_if_equal`, returns
    /// the contents of all.
    fn read(&self, paths: Vec<Arc<Path>>, even_if_equal: bool) -> impl Iterator<Item = (Arc<Path>, Contents)> + use<> {
        let mut resources = Vec::new();
        let mut files = Vec::new();
        for path in paths {
            let known = self.files.get(&path).and_then(|file| file.version.as_ref());
            let version = if even_if_equal { None } else { known };
            if is_resource(&path) {
                let contents = self.resources.read(&path, version.map(|version| &version.hash));
                resources.push((path, contents.unwrap_or(Contents::Gone)));
            } else {
                files.push((path, version.cloned()));
            }
        }
        resources.into_iter().chain(read_contents(files, self.tenants.for_files))
    }

    /// Takes a file as it is now. True if it changed.
    fn refresh(&mut self, path: &Arc<Path>, contents: Contents) -> bool {
        let known = self.files.get(path);
        let mut file = match contents {
            Contents::Gone if known.is_none() => return false,
            Contents::Gone => {
                self.forget_claim(path);
                self.tenant_names.remove(&(stem(path), path.clone()));
                self.files.remove(path);
                return true;
            }
            Contents::Same(version) => {
                if let Some(file) = self.files.get_mut(path) {
                    file.version = Some(version);
                }
                return false;
            }
            Contents::New(text, version) => self.parse(path, &text, version),
            Contents::Unreadable(message) => {
                let problems = vec![Problem::file(path, message)];
                if known.is_some_and(|file| file.problems == problems) {
                    return false;
                }
                File { problems, ..File::default() }
            }
        };
        match &mut file.valid {
            Some(pipeline) => self.shared.share(Arc::make_mut(pipeline)),
            None => file.valid = self.paused_for_deletion(path),
        }
        self.forget_claim(path);
        if let Some(pipeline) = &file.valid {
            self.claims.insert((pipeline.name.clone(), path.clone()));
            let source = pipeline.renamed_from.as_deref().map(|source| (source.to_owned(), path.clone()));
            self.sources_named.extend(source);
        }
        if self.is_tenants_file(path) {
            self.tenant_names.insert((stem(path), path.clone()));
        }
        self.files.insert(path.clone(), Box::new(file));
        true
    }

    /// Returns a paused copy of the running version if the resource is being deleted, so that its lanes drain.
    fn paused_for_deletion(&self, path: &Path) -> Option<Arc<Pipeline>> {
        if !self.resources.is_deleted(path) {
            return None;
        }
        let running = self.running_version(path)?;
        Some(Arc::new(Pipeline { enabled: false, ..(**running).clone() }))
    }

    fn parse(&self, path: &Arc<Path>, text: &str, version: Arc<Version>) -> File {
        let parsed = catch_panic(&path.display(), || self.parse_text(path, text, version.clone()));
        parsed.unwrap_or_else(|message| File {
            version: Some(version),
            problems: vec![Problem::file(path, message)],
            ..File::default()
        })
    }

    fn parse_text(&self, path: &Arc<Path>, text: &str, version: Arc<Version>) -> File {
        let mut problems = Vec::new();
        let Some(mut root) = document::tree(text, path, &mut problems) else {
            return File { version: Some(version), problems, ..File::default() };
        };
        let is_tenants = self.tenants.apply_to(path);
        let reaches = is_tenants.then(|| {
            self.tenants.check(&mut root, path, &mut problems);
            self.tenants.reaches(&root)
        });
        let place_of = |key| {
            let place = &root.nearest(&[key]).place;
            (place.line, place.column)
        };
        let name_place = place_of("name");
        let source_place = place_of("renamed_from");
        let given_name = root.get("name").and_then(Node::text).map_or_else(|| stem(path), str::to_owned);
        match &self.defaults {
            Some(Defaults { tree: Some(defaults), .. }) => {
                if is_tenants {
                    TenantRules::check_inherited(&root, defaults, &mut problems);
                }
                document::inherit(&mut root, defaults);
            }
            Some(Defaults { path: defaults, .. }) => {
                let message = format!("does not run, because the defaults file {} is invalid", defaults.display());
                problems.push(Problem::file(path, message));
            }
            None => {}
        }
        let mut pipeline = document::pipeline(&root, path, is_tenants, &mut problems);
        if let (Some(pipeline), Some(reaches)) = (&mut pipeline, reaches) {
            pipeline.restrict(reaches);
            pipeline.tenant = self.tenants.tenant_of(path).map(|tenant| tenant.to_string_lossy().into());
        }
        if is_resource(path) {
            // The text is made from the resource, so no author knows its lines.
            problems.iter_mut().filter(|problem| *problem.file == **path).for_each(Problem::unplace);
        }
        let valid = if problems.iter().any(Problem::is_error) { None } else { pipeline.map(Arc::new) };
        problems.shrink_to_fit();
        File { version: Some(version), valid, problems, name: given_name.into(), name_place, source_place }
    }

    fn forget_claim(&mut self, path: &Arc<Path>) {
        let Some(pipeline) = self.files.get(path).and_then(|file| file.valid.clone()) else { return };
        self.claims.remove(&(pipeline.name.clone(), path.clone()));
        if let Some(source) = &pipeline.renamed_from {
            self.sources_named.remove(&(source.to_string(), path.clone()));
        }
    }

    /// Returns the other valid files of the same tenant, or of the operator, with the same `renamed_from` as this one.
    fn rivals_of<'a>(&'a self, path: &'a Path, pipeline: &'a Pipeline) -> impl Iterator<Item = &'a Arc<Path>> {
        let source = pipeline.renamed_from.as_deref().unwrap_or_default();
        let from = (source.to_owned(), Path::new("").into());
        let same = self.sources_named.range(from..).take_while(move |(named, _)| !source.is_empty() && named == source);
        let tenant = |path: &Arc<Path>| self.files.get(path)?.valid.as_ref()?.tenant.clone();
        same.map(|(_, other)| other).filter(move |other| ***other != *path && tenant(other) == pipeline.tenant)
    }

    /// Returns the names of [`Self::rivals_of`].
    fn rivals(&self, path: &Path) -> Vec<String> {
        let valid = self.files.get(path).and_then(|file| file.valid.as_ref());
        let rivals = valid.into_iter().flat_map(|valid| self.rivals_of(path, valid));
        rivals.filter_map(|rival| self.claimed(rival)).collect()
    }

    /// Returns the pipeline in the file, if the file is valid and no other one has the same `renamed_from`.
    fn startable(&self, path: &Path) -> Option<Arc<Pipeline>> {
        let valid = self.files.get(path)?.valid.clone()?;
        let has_rival = self.rivals_of(path, &valid).next().is_some();
        (!has_rival).then_some(valid)
    }

    /// Returns the valid files with this name.
    fn claiming<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Arc<Path>> {
        with_name(&self.claims, name)
    }

    /// Returns the name in the file, if the file is valid.
    fn claimed(&self, path: &Path) -> Option<String> {
        Some(self.files.get(path)?.valid.as_ref()?.name.clone())
    }

    /// Decides which files run under `names`: the current, earlier and running names of the files in `touched`.
    fn assign_names(&mut self, touched: &BTreeSet<PathBuf>, names: &BTreeSet<String>) -> Changes {
        let mut changes = Changes::default();
        let before: BTreeMap<&String, Option<Arc<Pipeline>>> =
            names.iter().map(|name| (name, self.running.get(name).cloned())).collect();
        // A file that gets its new name frees its old one, which another file may claim. So this repeats until nothing
        // changes.
        while names.iter().filter(|name| self.assign_name(name)).count() > 0 {}
        for (name, before) in before {
            match (before, self.running.get(name)) {
                (None, Some(now)) => changes.started.push(Arc::clone(now)),
                (Some(before), Some(now)) if before != *now => changes.changed.push(Arc::clone(now)),
                (Some(_), None) => changes.stopped.push(name.clone()),
                _ => {}
            }
        }
        let claiming = names.iter().flat_map(|name| self.claiming(name)).map(|path| path.to_path_buf());
        changes.affected = claiming.chain(touched.iter().cloned()).collect();
        for path in &changes.affected {
            let invalid = self.files.get::<Path>(path).filter(|file| self.is_invalid(path, file));
            let Some(file) = invalid else {
                if self.invalid.remove(path) && self.files.contains_key::<Path>(path) {
                    changes.repaired.push(path.clone());
                }
                continue;
            };
            let still_running = self.running_names.get::<Path>(path).cloned();
            let problems = self.problems_of(path, file);
            // An unchanged file with the same name was reported before.
            if self.invalid.insert(path.clone()) || touched.contains(path) {
                changes.invalid.push(InvalidFile { path: path.clone(), still_running, problems });
            }
        }
        changes
    }

    /// Returns the file that runs under `name` from now on.
    fn owner_of(&self, name: &str) -> Option<Arc<Pipeline>> {
        // Only the author of a resource chooses its name, which begins with its namespace.
        let resource = self.claiming(name).find(|path| is_resource(path));
        if let Some(running) = self.running.get(name)
            && self.keeps_running(name, running)
            && (resource.is_none() || is_resource(&running.path))
        {
            let valid = self.startable(&running.path).filter(|valid| valid.name == name);
            return Some(valid.unwrap_or_else(|| Arc::clone(running)));
        }
        if let Some(resource) = resource {
            return self.startable(resource);
        }
        let mut claiming = self.claiming(name).filter(|path| self.may_take(name, path));
        let first = claiming.next()?;
        if claiming.next().is_some() { None } else { self.startable(first) }
    }

    /// Returns whether the file that runs under `name` may go on.
    fn keeps_running(&self, name: &str, running: &Pipeline) -> bool {
        let is_others = self.owners.get(name).is_some_and(|owner| *owner != absolute(&running.path));
        self.keeps_name(name, &running.path) && !(is_others && self.is_tenants_file(&running.path))
    }

    /// Assigns `name` to a file. True if the file or its contents changed.
    fn assign_name(&mut self, name: &str) -> bool {
        let next = self.owner_of(name);
        let changed = self.running.get(name) != next.as_ref();
        if changed {
            let before = match next {
                Some(pipeline) => {
                    if self.is_tenants_file(&pipeline.path) {
                        self.owners.entry(name.to_owned()).or_insert_with(|| absolute(&pipeline.path));
                    }
                    self.running_names.insert(shared_path(&self.files, &pipeline.path), name.to_owned());
                    self.running.insert(name.to_owned(), pipeline)
                }
                None => self.running.remove(name),
            };
            let had_name =
                |before: &Arc<Pipeline>| self.running_names.get::<Path>(&before.path).is_some_and(|own| own == name);
            if let Some(before) = before.filter(had_name) {
                let still = self.running.get(name).is_some_and(|running| running.path == before.path);
                if !still {
                    self.running_names.remove::<Path>(&before.path);
                }
            }
        }
        changed
    }

    /// Returns whether the file that runs under `name` keeps it.
    fn keeps_name(&self, name: &str, path: &Path) -> bool {
        match self.files.get(path).map(|file| &file.valid) {
            None => false,
            Some(None) => true,
            Some(Some(valid)) if valid.name == name => true,
            Some(Some(_)) => self.running_names.get(path).is_some_and(|own| own == name),
        }
    }

    fn is_invalid(&self, path: &Path, file: &File) -> bool {
        match &file.valid {
            None => true,
            Some(valid) => {
                self.running_names.get(path) != Some(&valid.name) || self.rivals_of(path, valid).next().is_some()
            }
        }
    }

    fn problems_of(&self, path: &Path, file: &File) -> Vec<Problem> {
        let mut problems = file.problems.clone();
        if !self.is_invalid(path, file) {
            return problems;
        }
        let Some(valid) = file.valid.as_ref() else { return problems };
        let mut push = |key: &str, place: (u32, u32), message: String| {
            let place = Place { file: path.into(), line: place.0, column: place.1 };
            let mut problem = Problem::at(&place, key, Severity::Error, message);
            if is_resource(path) {
                problem.unplace();
            }
            problems.push(problem);
        };
        let rivals: Vec<&Path> = self.rivals_of(path, valid).map(|rival| &**rival).collect();
        if !rivals.is_empty() {
            let message = format!("{} has the same `renamed_from`", listed(rivals.into_iter()));
            push("renamed_from", file.source_place, message);
        }
        let name = &valid.name;
        let owner = self.owners.get(name).filter(|owner| self.is_tenants_file(path) && **owner != absolute(path));
        if let Some(owner) = owner {
            let message = format!(
                "the pipeline's name `{name}` belongs to {}, which had it first, even if that file is gone: rename \
                 this file, or let the operator release the name: s1-forwarder state release {name}",
                self.listed_for(path, [owner.as_path()])
            );
            push("name", file.name_place, message);
            return problems;
        }
        let others = match self.running.get(name) {
            Some(running) if running.path == path => return problems,
            Some(running) => format!("{} (which keeps running)", self.listed_for(path, [&*running.path])),
            None => {
                let named: BTreeSet<&Path> =
                    self.claiming(name).chain(self.named_alike(name)).map(|other| &**other).collect();
                self.listed_for(path, named.into_iter().filter(|other| *other != path))
            }
        };
        if !others.is_empty() {
            push("name", file.name_place, format!("the pipeline's name `{name}` is also used by {others}"));
        }
        problems
    }

    /// Lists the other files for the author of the one at `path`. Files of other tenants are not named, since a path
    /// says whose files there are.
    fn listed_for<'a>(&self, path: &Path, others: impl IntoIterator<Item = &'a Path>) -> String {
        let tenant = self.tenants.tenant_of(path);
        let is_known = |other: &&Path| tenant.is_none() || self.tenants.tenant_of(other) == tenant;
        let (known, hidden): (Vec<_>, Vec<_>) = others.into_iter().partition(is_known);
        match (known.as_slice(), hidden.as_slice()) {
            (_, []) => listed(known.into_iter()),
            ([], _) => "another tenant's file".to_owned(),
            _ => format!("{} and another tenant's file", listed(known.into_iter())),
        }
    }
}

fn with_name<'a>(paths: &'a BTreeSet<(String, Arc<Path>)>, name: &'a str) -> impl Iterator<Item = &'a Arc<Path>> {
    let from = (name.to_owned(), Path::new("").into());
    paths.range(from..).take_while(move |(other, _)| other == name).map(|(_, path)| path)
}

/// Returns a path in the absolute form in which it is stored: another process may run in another directory.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Returns the path, shared with the key of its file if there is one: each scan has a list of all paths.
fn shared_path(files: &HashMap<Arc<Path>, Box<File>>, path: &Path) -> Arc<Path> {
    files.get_key_value(path).map_or_else(|| path.into(), |(path, _)| path.clone())
}
