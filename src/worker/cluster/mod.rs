//! Which pipelines are this worker's, where several share them.
pub mod plan;
