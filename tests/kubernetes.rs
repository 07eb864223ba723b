//! What runs in Kubernetes, against a real API server.

#![cfg(feature = "kubernetes")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

mod kubernetes {
    mod rights;
}
