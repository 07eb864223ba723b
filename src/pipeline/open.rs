use std::path::Path;

use super::files::Loaded;
use super::location::{Location, split};
use super::objects::Objects;
use super::watch::Watch;
use super::{Files, Scan};

/// The pipeline files at `locations`, not read yet, and what waits for their changes. Watching begins before the first look,
/// so that no change falls between the two.
pub fn open(locations: &[Location], defaults: Option<&Path>) -> (Files, Watch) {
    let (paths, labelled) = split(locations);
    let objects = Objects::default();
    let mut watch = Watch::new(&paths, defaults);
    watch.follow(labelled, &objects);
    (Files::new(&paths, defaults).with(objects), watch)
}

/// Reads the pipeline files at `locations` once.
pub async fn read(locations: &[Location], defaults: Option<&Path>) -> Loaded {
    let (mut files, mut watch) = open(locations, defaults);
    watch.answered().await;
    let loaded = tokio::task::spawn_blocking(move || {
        files.rescan(&Scan::All);
        files.loaded()
    });
    loaded.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}
