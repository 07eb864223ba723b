use std::path::Path;

use super::files::Loaded;
use super::location::{Location, split};
use super::objects::Objects;
use super::watch::Watch;
use super::{Files, Scan};

/// The pipeline files at `locations`, not read yet, and a watch of their changes. The watch starts before the first
/// scan, so that no change between the two is missed.
pub fn open(locations: &[Location], defaults: Option<&Path>) -> (Files, Watch) {
    let (paths, labelled) = split(locations);
    let objects = Objects::default();
    let mut watch = Watch::new(&paths, defaults);
    watch.watch_objects(labelled, &objects);
    (Files::new(&paths, defaults).with_objects(objects), watch)
}

/// Reads the pipeline files at `locations` once.
pub async fn read(locations: &[Location], defaults: Option<&Path>) -> Loaded {
    let (mut files, mut watch) = open(locations, defaults);
    watch.first_listing().await;
    let loaded = tokio::task::spawn_blocking(move || {
        files.rescan(&Scan::All);
        files.loaded()
    });
    loaded.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}
