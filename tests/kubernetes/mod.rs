//! What runs in Kubernetes, against a real API server.

mod chart;
mod dead_letters;
mod many_resources;
mod pipelines;
mod resources;
mod rights;
mod transfer;
