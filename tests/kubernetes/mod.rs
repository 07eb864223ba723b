//! What runs in Kubernetes, against a real API server.

mod chart;
mod container;
mod dead_letters;
mod manifests;
mod many_resources;
mod resources;
mod rights;
mod transfer;
mod usage;
