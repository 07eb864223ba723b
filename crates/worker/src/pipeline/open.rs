//! Opens the pipeline files at some locations. Commands and the worker begin here.

use std::path::PathBuf;

use s1_forwarder_failure::catch_panic::result_of;

use super::files::{FileOptions, Loaded};
use super::location::{Location, split};
use super::resources::Resources;
use super::watch::Watch;
use super::{Files, Scan};

/// Returns the pipeline files at `locations`, not read yet, and a watch of their changes. The watch starts before the
/// first scan, so that no change between the two is missed.
pub async fn open(locations: &[Location], options: &FileOptions) -> (Files, Watch) {
    let locations = split(locations);
    let options = options.clone();
    // The file system may not answer.
    let opened = tokio::task::spawn_blocking(move || {
        let resources = Resources::default();
        let mut watch = Watch::new(&locations.paths, options.defaults.as_deref());
        let files = Files::new(&locations.paths, &options).with_resources(resources.clone());
        watch.watch_resources(locations.resources, &resources);
        (files, watch)
    });
    result_of(opened).await
}

/// Reads the pipeline files at `locations` once.
pub async fn read(locations: &[Location], options: &FileOptions) -> Loaded {
    let (mut files, mut watch) = open(locations, options).await;
    watch.first_listing().await;
    let loaded = tokio::task::spawn_blocking(move || {
        files.rescan(&Scan::All);
        files.loaded()
    });
    result_of(loaded).await
}

/// Reads the files below `paths` (files, or directories one level deep) once.
pub fn load(paths: &[PathBuf], options: &FileOptions) -> Loaded {
    let mut files = Files::new(paths, options);
    files.rescan(&Scan::All);
    files.loaded()
}
