//! What runs in Kubernetes, against a real API server.

mod chart;
mod dead_letters;
mod pipelines;
mod rights;
mod transfer;
