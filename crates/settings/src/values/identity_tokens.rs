//! The tokens by which Kubernetes and clouds know the worker.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Parts of the paths at which the tokens are mounted: by Kubernetes, EKS, AKS and GKE.
const DIRECTORIES: [&[&str]; 6] = [
    &["kubernetes.io"],
    &["eks.amazonaws.com"],
    &["pods.eks.amazonaws.com"],
    &["azure", "tokens"],
    &["tokens", "gcp-ksa"],
    &["secrets", "tokens"],
];

/// Variables that name files with identity tokens.
const VARIABLES: [&str; 4] = [
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AZURE_FEDERATED_TOKEN_FILE",
    "GOOGLE_APPLICATION_CREDENTIALS",
];

/// Returns whether a path is one of an identity token, by its text.
pub fn is_identity_token_path(path: &Path) -> bool {
    let parts: Vec<_> = path.components().map(|component| component.as_os_str()).collect();
    let is_mounted = DIRECTORIES.iter().any(|directory| {
        let mut windows = parts.windows(directory.len());
        windows.any(|window| window.iter().zip(*directory).all(|(part, name)| *part == *name))
    });
    is_mounted || named_by_variables().any(|named| std::path::absolute(&named).is_ok_and(|named| named == path))
}

/// Returns whether a file is an identity token: by the path that led to it, or by the file itself whatever its name.
pub(crate) fn is_identity_token(file: &File, path: &Path) -> bool {
    let is_named = |opened: &Metadata| {
        named_by_variables().filter_map(|named| named.metadata().ok()).any(|named| is_same(&named, opened))
    };
    is_identity_token_path(path)
        || resolved(file, path).is_none_or(|resolved| is_identity_token_path(&resolved))
        || file.metadata().is_ok_and(|opened| is_named(&opened))
}

fn named_by_variables() -> impl Iterator<Item = PathBuf> {
    VARIABLES.into_iter().filter_map(std::env::var_os).filter(|path| !path.is_empty()).map(PathBuf::from)
}

fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Returns the path of the file without links. Without `/proc`, returns the present target of its path.
fn resolved(file: &File, path: &Path) -> Option<PathBuf> {
    use std::os::fd::AsRawFd;
    let opened = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()));
    opened.or_else(|_| path.canonicalize()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_tokens_are_known_wherever_they_are_mounted() {
        for path in [
            "/run/secrets/kubernetes.io/serviceaccount/token",
            "/var/run/secrets/kubernetes.io/serviceaccount/..2026/token",
            "/run/secrets/eks.amazonaws.com/serviceaccount/token",
            "/x/pods.eks.amazonaws.com/serviceaccount/eks-pod-identity-token",
            "/run/secrets/azure/tokens/azure-identity-token",
            "/var/run/secrets/tokens/gcp-ksa/token",
            "/var/run/secrets/tokens/vault",
        ] {
            assert!(is_identity_token_path(Path::new(path)), "{path}");
        }
        for path in ["/run/secrets/acme/token", "/run/secrets/azure/key", "/secrets/tokens.txt", "/tokens/acme"] {
            assert!(!is_identity_token_path(Path::new(path)), "{path}");
        }
    }
}
