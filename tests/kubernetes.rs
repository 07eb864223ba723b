//! What runs in Kubernetes, against a real API server.

#![cfg(feature = "kubernetes")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

mod kubernetes {
    mod chart;
    mod pipelines;
    #[allow(dead_code)]
    #[path = "../worker/process.rs"]
    mod process;
    mod rights;
    #[allow(dead_code)]
    #[path = "../worker/world.rs"]
    mod world;
}
