//! What runs in Kubernetes, against a real API server.

mod chart;
mod pipelines;
mod rights;
mod transfer;
