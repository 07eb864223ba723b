use std::error::Error;

use super::excerpt;

/// What happened to an HTTP request without a complete response, with the server's address. The rest of the URL may
/// hold secrets, and the causes between the first and the last one repeat each other.
pub fn describe_request_error(error: &reqwest::Error) -> String {
    let url = error.url();
    let host = url.and_then(|url| url.host_str()).unwrap_or("the server");
    let address = match url.and_then(|url| url.port_or_known_default()) {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    let cause = innermost_cause(error);
    match (error.is_connect(), error.is_timeout()) {
        (true, true) => format!("cannot connect to {address}: no answer in time"),
        (true, false) => format!("cannot connect to {address}: {cause}"),
        (false, true) => format!("no complete answer from {address} in time"),
        (false, false) if error.is_builder() => cause,
        (false, false) => format!("the connection to {address} broke off: {cause}"),
    }
}

/// The text of the error's innermost cause, cut and on one line: it may quote the server's certificate.
pub(super) fn innermost_cause(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    excerpt(&cause.to_string())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn the_address_is_named_and_the_rest_of_the_url_is_not() {
        crate::settings::install_crypto_provider();
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().unwrap();
        let failure = |url: &'static str| {
            let request = client.get(url).send();
            async { describe_request_error(&request.await.unwrap_err()) }
        };
        let refused = failure("http://127.0.0.1:1/canary?key=canary").await;
        assert!(refused.starts_with("cannot connect to 127.0.0.1:1: Connection refused"), "{refused}");
        let unknown = failure("https://console.invalid/canary").await;
        assert!(unknown.starts_with("cannot connect to console.invalid:443: "), "{unknown}");
        assert!(!refused.contains("canary") && !unknown.contains("canary"), "{refused} {unknown}");
    }
}
