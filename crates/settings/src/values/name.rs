//! The rule for names of namespaces.

/// Returns whether `name` can be the name of a namespace in Kubernetes.
pub fn is_namespace(name: &str) -> bool {
    let is_allowed = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    (1..=63).contains(&name.len()) && name.bytes().all(is_allowed)
}
