//! What a change of files means for what runs.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use s1_forwarder::pipeline::{Changes, FileOptions, Files, Scan, Watch, load};

/// A directory of pipeline files and what is known of it.
struct Scene {
    directory: tempfile::TempDir,
    files: Files,
}

impl Scene {
    fn new(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(directory.path().join(name), text).unwrap();
        }
        let scanned = Files::new(&[directory.path().to_owned()], &FileOptions::default());
        Self { directory, files: scanned }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn scan(&mut self) -> String {
        summary(&self.files.rescan(&Scan::All), self.directory.path())
    }

    fn running(&self) -> Vec<&str> {
        self.files.running().map(|pipeline| pipeline.name.as_str()).collect()
    }
}

/// `+started ~changed -stopped !broken(kept) ^repaired`, in that order.
fn summary(changes: &Changes, root: &Path) -> String {
    let short = |path: &Path| path.strip_prefix(root).unwrap_or(path).display().to_string();
    let mut words: Vec<String> = Vec::new();
    words.extend(changes.started.iter().map(|pipeline| format!("+{}", pipeline.name)));
    words.extend(changes.changed.iter().map(|pipeline| format!("~{}", pipeline.name)));
    words.extend(changes.stopped.iter().map(|name| format!("-{name}")));
    words.extend(changes.invalid.iter().map(|broken| {
        assert!(!broken.problems.is_empty(), "{broken:?}");
        format!("!{}({})", short(&broken.path), broken.still_running.as_deref().unwrap_or(""))
    }));
    words.extend(changes.repaired.iter().map(|path| format!("^{}", short(path))));
    words.join(" ")
}

fn pipeline(interval: &str) -> String {
    format!(
        "console: {{ url: https://console.example, token: {{ env: TOKEN }} }}\n\
         streams: {{ threats: {{ interval: {interval} }} }}\nsinks: [{{ type: stdout }}]\n"
    )
}

fn named(name: &str, interval: &str) -> String {
    format!("name: {name}\n{}", pipeline(interval))
}

#[test]
fn a_file_added_changed_broken_repaired_and_removed() {
    let mut scene = Scene::new(&[("acme.yaml", &pipeline("60s")), ("globex.yml", &pipeline("60s"))]);
    assert_eq!(scene.scan(), "+acme +globex");
    assert_eq!(scene.scan(), "");
    scene.write("initech.yaml", &pipeline("60s"));
    assert_eq!(scene.scan(), "+initech");
    scene.write("acme.yaml", &pipeline("30s"));
    assert_eq!(scene.scan(), "~acme");
    scene.write("acme.yaml", &format!("# a comment changes nothing\n{}", pipeline("30s")));
    assert_eq!(scene.scan(), "");
    scene.write("acme.yaml", "console: [\n");
    assert_eq!(scene.scan(), "!acme.yaml(acme)");
    assert_eq!((scene.scan().as_str(), scene.files.has_invalid_files()), ("", true));
    assert_eq!(scene.running(), ["acme", "globex", "initech"]);
    scene.write("acme.yaml", &pipeline("30s"));
    assert_eq!((scene.scan().as_str(), scene.files.has_invalid_files()), ("^acme.yaml", false));
    scene.write("acme.yaml", &pipeline("20s"));
    assert_eq!(scene.scan(), "~acme");
    fs::remove_file(scene.path("acme.yaml")).unwrap();
    assert_eq!(scene.scan(), "-acme");
}

#[test]
fn a_broken_file_that_is_removed_stops_what_it_kept_running() {
    let mut scene = Scene::new(&[("acme.yaml", &pipeline("60s"))]);
    scene.scan();
    scene.write("acme.yaml", "nonsense");
    assert_eq!(scene.scan(), "!acme.yaml(acme)");
    fs::remove_file(scene.path("acme.yaml")).unwrap();
    assert_eq!(scene.scan(), "-acme");
}

/// The target of a link was moved. The customer was not removed.
#[test]
fn a_broken_link_is_invalid_and_its_last_version_runs() {
    let mut scene = Scene::new(&[("a.yaml", &pipeline("60s"))]);
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("globex.yaml");
    fs::write(&target, pipeline("60s")).unwrap();
    symlink(&target, scene.path("globex.yaml")).unwrap();
    assert_eq!(scene.scan(), "+a +globex");
    fs::rename(&target, elsewhere.path().join("moved.yaml")).unwrap();
    assert_eq!(scene.scan(), "!globex.yaml(globex)");
    let problems = scene.files.problems();
    let text = problems.first().unwrap().to_string();
    assert!(text.contains("it is a symbolic link to") && text.contains("which does not exist"), "{text}");
    fs::rename(elsewhere.path().join("moved.yaml"), &target).unwrap();
    assert_eq!(scene.scan(), "^globex.yaml");
    fs::remove_file(scene.path("globex.yaml")).unwrap();
    assert_eq!(scene.scan(), "-globex");
}

#[test]
fn at_start_an_invalid_file_is_not_run_and_the_others_are() {
    let mut scene = Scene::new(&[("acme.yaml", "nonsense"), ("globex.yaml", &pipeline("60s"))]);
    assert_eq!(scene.scan(), "+globex !acme.yaml()");
    scene.write("acme.yaml", &pipeline("60s"));
    assert_eq!(scene.scan(), "+acme ^acme.yaml");
}

#[test]
fn of_two_files_of_one_name_neither_runs_at_start() {
    let mut scene = Scene::new(&[("a.yaml", &named("acme", "60s")), ("b.yaml", &named("acme", "60s"))]);
    assert_eq!(scene.scan(), "!a.yaml() !b.yaml()");
    let problems = scene.files.problems();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].to_string().contains("a.yaml:1:7: name: the pipeline's name `acme` is also used by"));
    fs::remove_file(scene.path("b.yaml")).unwrap();
    assert_eq!(scene.scan(), "+acme ^a.yaml");
}

/// A pipeline without the former checkpoint would begin at `since`, and which of the two that is would be chance.
#[test]
fn of_two_files_that_were_renamed_from_one_pipeline_neither_is_taken() {
    let from = |interval: &str| format!("renamed_from: acme\n{}", pipeline(interval));
    let mut scene = Scene::new(&[("a.yaml", &from("60s")), ("b.yaml", &from("60s"))]);
    assert_eq!(scene.scan(), "!a.yaml() !b.yaml()");
    let problems: Vec<String> = scene.files.problems().iter().map(ToString::to_string).collect();
    assert!(problems[0].contains("a.yaml:1:15: renamed_from: ") && problems[0].contains("b.yaml"), "{problems:?}");
    scene.write("b.yaml", &pipeline("60s"));
    assert_eq!(scene.scan(), "+a +b ^a.yaml ^b.yaml");
    // What runs goes on as it is.
    scene.write("b.yaml", &from("30s"));
    assert_eq!(scene.scan(), "!a.yaml(a) !b.yaml(b)");
    assert_eq!(scene.running(), ["a", "b"]);
    fs::remove_file(scene.path("a.yaml")).unwrap();
    assert_eq!(scene.scan(), "~b -a ^b.yaml");
}

/// No checkpoint of theirs belongs to another pipeline.
#[test]
fn each_file_has_a_name_whatever_is_wrong_with_it() {
    let paused = format!("enabled: false\n{}", pipeline("60s"));
    let mut scene = Scene::new(&[
        ("acme.yaml", &pipeline("60s")),
        ("paused.yaml", &paused),
        ("unreadable.yaml", "console: [\n"),
        ("other.yaml", "name: invalid\nconsole: 7\n"),
        ("a.yaml", &named("twice", "60s")),
        ("b.yaml", &named("twice", "60s")),
    ]);
    scene.scan();
    let names = || ["acme", "invalid", "paused", "twice", "unreadable"].map(str::to_owned).into();
    assert_eq!(scene.files.names(), names());
    assert_eq!(load(&[scene.directory.path().to_owned()], &FileOptions::default()).names, names());
    scene.write("acme.yaml", "name: elsewhere\nconsole: 7\n");
    scene.scan();
    assert!(["acme", "elsewhere"].iter().all(|name| scene.files.names().contains(*name)), "the last good version runs");
    fs::remove_file(scene.path("acme.yaml")).unwrap();
    scene.scan();
    assert!(!scene.files.names().contains("acme"));
}

#[test]
fn of_two_files_of_one_name_the_running_one_stays() {
    let mut scene = Scene::new(&[("a.yaml", &named("acme", "60s"))]);
    assert_eq!(scene.scan(), "+acme");
    scene.write("0.yaml", &named("acme", "30s"));
    assert_eq!(scene.scan(), "!0.yaml()");
    // It may still change while the other is there, and even be broken.
    scene.write("a.yaml", &named("acme", "20s"));
    assert_eq!(scene.scan(), "~acme");
    scene.write("a.yaml", "nonsense");
    assert_eq!(scene.scan(), "!a.yaml(acme)");
    fs::remove_file(scene.path("a.yaml")).unwrap();
    assert_eq!(scene.scan(), "~acme ^0.yaml");
}

#[test]
fn a_file_gives_up_its_name_only_for_one_that_it_gets() {
    let mut scene = Scene::new(&[("a.yaml", &named("acme", "60s")), ("b.yaml", &named("globex", "60s"))]);
    assert_eq!(scene.scan(), "+acme +globex");
    scene.write("a.yaml", &named("globex", "60s"));
    assert_eq!(scene.scan(), "!a.yaml(acme)");
    assert_eq!(scene.running(), ["acme", "globex"]);
    scene.write("a.yaml", &named("initech", "60s"));
    assert_eq!(scene.scan(), "+initech -acme ^a.yaml");
    // A name that was freed can be taken in the same breath.
    scene.write("a.yaml", &named("umbrella", "60s"));
    scene.write("b.yaml", &named("initech", "60s"));
    scene.scan();
    assert_eq!(scene.running(), ["initech", "umbrella"]);
}

#[test]
fn a_renamed_file_with_a_fixed_name_goes_on() {
    let mut scene = Scene::new(&[("a.yaml", &named("acme", "60s"))]);
    scene.scan();
    fs::rename(scene.path("a.yaml"), scene.path("z.yaml")).unwrap();
    assert_eq!(scene.scan(), "~acme");
    assert_eq!(scene.files.running().next().unwrap().path, scene.path("z.yaml"));
}

#[test]
fn a_directory_that_vanishes_stops_nothing() {
    let mut scene = Scene::new(&[("acme.yaml", &pipeline("60s"))]);
    scene.scan();
    let away = scene.directory.path().with_extension("away");
    fs::rename(scene.directory.path(), &away).unwrap();
    let found = scene.scan();
    assert!(found.starts_with('!') && !found.contains("-acme"), "{found}");
    assert_eq!(scene.running(), ["acme"]);
    fs::rename(&away, scene.directory.path()).unwrap();
    assert!(scene.scan().starts_with('^'));
}

#[test]
fn a_single_file_that_is_removed_stops_its_pipeline() {
    let scene = Scene::new(&[("acme.yaml", &pipeline("60s"))]);
    let mut files = Files::new(&[scene.path("acme.yaml")], &FileOptions::default());
    assert_eq!(files.rescan(&Scan::All).started.len(), 1);
    fs::remove_file(scene.path("acme.yaml")).unwrap();
    assert_eq!(files.rescan(&Scan::All).stopped, ["acme"]);
    scene.write("acme.yaml", &pipeline("60s"));
    assert_eq!(files.rescan(&Scan::All).started.len(), 1);
}

#[test]
fn a_change_of_the_same_size_within_a_moment_is_seen() {
    let mut scene = Scene::new(&[("acme.yaml", &pipeline("60s"))]);
    scene.scan();
    for interval in ["61s", "62s", "63s"] {
        scene.write("acme.yaml", &pipeline(interval));
        assert_eq!(scene.scan(), "~acme", "{interval}");
    }
}

/// A mounted ConfigMap or Secret, written as the kubelet does it: the files in a directory of their own, `..data`
/// leading there and swapped as a whole, a symlink for each key; then what is no longer wanted is removed.
struct Mount {
    root: tempfile::TempDir,
    swaps: u32,
}

impl Mount {
    fn new(keys: &[(&str, &str)]) -> Self {
        let mut mount = Self { root: tempfile::tempdir().unwrap(), swaps: 0 };
        mount.swap(keys);
        mount
    }

    fn swap(&mut self, keys: &[(&str, &str)]) {
        let path = |name: &str| self.root.path().join(name);
        let before = fs::read_link(path("..data")).ok();
        let now = format!("..2026_11_20_12_00_{:02}.123456789", self.swaps);
        fs::create_dir(path(&now)).unwrap();
        for (key, text) in keys {
            fs::write(path(&now).join(key), text).unwrap();
        }
        symlink(&now, path("..data_tmp")).unwrap();
        fs::rename(path("..data_tmp"), path("..data")).unwrap();
        for (key, _) in keys.iter().filter(|(key, _)| path(key).symlink_metadata().is_err()) {
            symlink(Path::new("..data").join(key), path(key)).unwrap();
        }
        for entry in fs::read_dir(self.root.path()).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            if !name.starts_with("..") && keys.iter().all(|(key, _)| *key != name) {
                fs::remove_file(entry.path()).unwrap();
            }
        }
        if let Some(before) = before {
            fs::remove_dir_all(self.root.path().join(before)).unwrap();
        }
        self.swaps += 1;
    }
}

#[tokio::test]
async fn a_mounted_config_map_or_secret_is_followed_through_its_swap() {
    let slow = pipeline("60s");
    let quick = pipeline("30s");
    let mut mount = Mount::new(&[("acme.yaml", &slow), ("umbrella.yaml", &slow), ("notes", "no pipeline")]);
    let paths = [mount.root.path().to_owned()];
    let mut watch = Watch::new(&paths, None);
    let mut files = Files::new(&paths, &FileOptions::default());
    assert_eq!(summary(&files.rescan(&Scan::All), mount.root.path()), "+acme +umbrella");

    for (keys, wanted) in [
        (vec![("acme.yaml", &quick), ("umbrella.yaml", &slow)], "~acme"),
        (vec![("acme.yaml", &quick), ("globex.yaml", &slow)], "+globex -umbrella"),
        (vec![("acme.yaml", &slow), ("globex.yaml", &slow)], "~acme"),
    ] {
        let keys: Vec<(&str, &str)> = keys.into_iter().map(|(key, text)| (key, text.as_str())).collect();
        mount.swap(&keys);
        // Sooner than the rescan would find it.
        let scan = tokio::time::timeout(Duration::from_secs(8), watch.changed()).await.unwrap();
        assert_eq!(summary(&files.rescan(&scan), mount.root.path()), wanted);
    }
}

#[test]
fn defaults_are_inherited_and_their_change_reaches_every_pipeline() {
    let scene = Scene::new(&[
        (
            "acme.yaml",
            "console: { url: https://acme.example, token: { file: acme.token } }\nstreams: { threats: { since: 7d } }\n",
        ),
        ("globex.yaml", "console: { url: https://globex.example }\nsinks: [{ type: file, path: out }]\n"),
    ]);
    let elsewhere = tempfile::tempdir().unwrap();
    let defaults = elsewhere.path().join("defaults.yaml");
    let write = |interval: &str| {
        let text = format!(
            "console: {{ token: {{ file: shared.token }}, requests_per_second: 2 }}\n\
             streams: {{ threats: {{ interval: {interval}, since: 1d }} }}\nsinks: [{{ type: stdout }}]\n"
        );
        fs::write(&defaults, text).unwrap();
    };
    write("45s");
    let mut files = Files::new(&[scene.directory.path().to_owned()], &with_defaults(&defaults));
    let changes = files.rescan(&Scan::All);
    assert_eq!(summary(&changes, scene.directory.path()), "+acme +globex", "{:?}", files.problems());
    let acme = &changes.started[0];
    let globex = &changes.started[1];
    let reference = |token: &s1_forwarder::settings::Secret| token.reference();
    assert_eq!(reference(acme.console.token.first()), format!("file:{}", scene.path("acme.token").display()));
    assert_eq!(
        reference(globex.console.token.first()),
        format!("file:{}", elsewhere.path().join("shared.token").display())
    );
    assert_eq!(acme.console.requests_per_second, Some(2.0));
    let threats = acme.streams.threats.as_ref().unwrap();
    assert_eq!(threats.interval.unwrap().to_string(), "45s");
    assert_eq!(threats.since.map(|since| serde_json::to_string(&since).unwrap()), Some("\"7d\"".to_owned()));
    assert_eq!((acme.sinks[0].name(), globex.sinks[0].name()), ("stdout", "file"));

    write("50s");
    assert_eq!(summary(&files.rescan(&Scan::All), scene.directory.path()), "~acme ~globex");
    fs::write(&defaults, "consol: {}\nname: all\nstreams: { threats: { intervall: 5s } }\n").unwrap();
    let changes = files.rescan(&Scan::All);
    assert!(changes.is_empty() && changes.invalid.len() == 1 && changes.invalid[0].problems.len() == 3, "{changes:?}");
    assert!(files.rescan(&Scan::All).invalid.is_empty(), "a reported problem is not reported again");
    assert_eq!(files.running().count(), 2);

    let at_start = load(&[scene.directory.path().to_owned()], &with_defaults(&defaults));
    assert!(
        at_start.pipelines.is_empty(),
        "without the defaults they would be something else than they are meant to be"
    );
}

/// A touched defaults file is reported by its path, and reads as before.
#[test]
fn defaults_next_to_the_pipelines_are_never_one() {
    let complete = format!("# Of all.\n{}", pipeline("60s"));
    let scene = Scene::new(&[("acme.yaml", "{}\n"), ("defaults.yaml", &complete)]);
    let directory = scene.directory.path();
    let defaults = scene.path("defaults.yaml");
    // Named by another path than the one that the directory has.
    let named = directory.join("..").join(directory.file_name().unwrap()).join("defaults.yaml");
    let mut files = Files::new(&[directory.to_owned()], &with_defaults(&named));
    assert_eq!(summary(&files.rescan(&Scan::All), directory), "+acme", "{:?}", files.problems());
    for _ in 0..2 {
        fs::File::open(&defaults).unwrap().set_modified(std::time::SystemTime::now()).unwrap();
        let changes = files.rescan(&Scan::Paths([defaults.clone()].into()));
        assert!(changes.is_empty(), "{changes:?}");
        assert!(files.rescan(&Scan::All).is_empty());
    }
    assert_eq!(files.reports().len(), 1);
}

/// Reloading one file looks at no other.
#[test]
fn a_change_is_found_by_its_path_alone() {
    let mut scene = Scene::new(&[("acme.yaml", &pipeline("60s")), ("globex.yaml", &pipeline("60s"))]);
    scene.scan();
    scene.write("acme.yaml", &pipeline("30s"));
    scene.write("globex.yaml", &pipeline("30s"));
    let only = Scan::Paths([scene.path("acme.yaml")].into());
    let changes = scene.files.rescan(&only);
    assert_eq!(summary(&changes, scene.directory.path()), "~acme");
    assert_eq!(scene.scan(), "~globex");
}

#[tokio::test]
async fn the_watch_reports_changes_and_of_nothing_else() {
    let scene = Scene::new(&[("acme.yaml", &pipeline("60s"))]);
    let paths = [scene.directory.path().to_owned()];
    let mut watch = Watch::new(&paths, None);
    // Reading is no change.
    let mut files = Files::new(&paths, &FileOptions::default());
    files.rescan(&Scan::All);
    let quiet = tokio::time::timeout(Duration::from_secs(1), watch.changed()).await;
    assert!(quiet.is_err(), "{quiet:?}");

    scene.write("acme.yaml", &pipeline("30s"));
    let scan = tokio::time::timeout(Duration::from_secs(8), watch.changed()).await.unwrap();
    assert_eq!(scan, Scan::Paths([scene.path("acme.yaml")].into()));
    assert_eq!(files.rescan(&scan).changed.len(), 1);

    // A swapped directory may mean anything.
    fs::create_dir(scene.path("..data")).unwrap();
    let scan = tokio::time::timeout(Duration::from_secs(8), watch.changed()).await.unwrap();
    assert_eq!(scan, Scan::All);
}

#[tokio::test(start_paused = true)]
async fn what_notifies_nobody_is_looked_at_every_ten_seconds() {
    let mut watch = Watch::new(&["/nonexistent/pipelines".into()], None);
    let start = tokio::time::Instant::now();
    assert_eq!(watch.changed().await, Scan::All);
    assert_eq!(watch.changed().await, Scan::All);
    assert_eq!(start.elapsed().as_secs(), 20);
}

fn with_defaults(path: &std::path::Path) -> FileOptions {
    FileOptions { defaults: Some(path.to_owned()), ..FileOptions::default() }
}
