//! Names of headers that settings give.

use http::header::HeaderName;
use s1_forwarder_record::visible::excerpt;

use crate::BuildError;

/// Headers that describe the body or the connection, or hold for the next hop alone.
const RESERVED: [&str; 13] = [
    "connection",
    "content-encoding",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Parses the name of a header from the settings.
///
/// # Errors
/// If the text is not a name, or is the name of a header that the client sets itself.
pub(crate) fn header_name(key: &str, name: &str) -> Result<HeaderName, BuildError> {
    let parsed: HeaderName =
        name.parse().map_err(|_| BuildError::value(key, format!("`{}` is not the name of a header", excerpt(name))))?;
    match parsed.as_str() {
        "proxy-authorization" => {
            let advice = "is for the proxy: write user name and password into `proxy`: http://USER:PASSWORD@HOST:PORT";
            Err(BuildError::value(key, advice))
        }
        reserved if RESERVED.contains(&reserved) => {
            Err(BuildError::value(key, "the forwarder sets this header itself, where it is needed"))
        }
        _ => Ok(parsed),
    }
}
