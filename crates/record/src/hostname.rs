//! The host of a console without its port, for fields of hosts.

/// Returns the console's name or address without its port, for fields of hosts. The result for `console.example:8443`
/// is `console.example`, for `[2001:db8::1]:8443` it is `2001:db8::1`. Identities have the host with its port.
pub fn hostname(console_host: &str) -> &str {
    match console_host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => console_host.split_once(':').map_or(console_host, |(name, _)| name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_of_a_field_has_neither_port_nor_brackets() {
        for (host, name) in [
            ("usea1-acme.sentinelone.net", "usea1-acme.sentinelone.net"),
            ("console.corp:8443", "console.corp"),
            ("10.0.0.1:8443", "10.0.0.1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:8443", "2001:db8::1"),
            ("", ""),
        ] {
            assert_eq!(hostname(host), name);
        }
    }
}
