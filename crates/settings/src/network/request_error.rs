//! Explains to an operator why a request got no complete response: which address failed, on which way, and what to
//! change.

use std::borrow::Cow;
use std::error::Error;
use std::{fmt, io};

use rustls::{AlertDescription, CertificateError};
use s1_forwarder_record::visible::excerpt;
use url::Url;

use super::pin::other_certificate;
use super::request_way::{CONNECT_TIMEOUT, RequestWay};
use crate::values::period::Period;

/// Problem of a request without a complete response. Only the address of its URL is printed, since the rest may hold
/// secrets.
#[derive(Debug)]
pub struct RequestProblem {
    pub what: String,
    /// Advice on what to change in the settings of a console or sink.
    pub advice: Option<Cow<'static, str>>,
    /// Whether the proxy failed: the server was not reached.
    pub is_proxys: bool,
}

/// Prints the problem with the advice.
impl fmt::Display for RequestProblem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.what)?;
        self.advice.as_ref().map_or(Ok(()), |advice| write!(formatter, "; {advice}"))
    }
}

/// The scheme of URLs without TLS.
const HTTP: &str = "http";

const PROXY_REFUSAL: &str = "407 Proxy Authentication Required";

/// Cause that prevented a complete response, as far as client and TLS library tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// The connection to the proxy failed.
    ProxyUnreachable,
    /// The proxy answered 407.
    ProxyCredentials,
    /// The proxy opened no connection to the server.
    ProxyRefused,
    UnknownName,
    Refused,
    NoAnswer,
    Slow,
    UnknownIssuer,
    /// The server shows the certificate of an authority as its own.
    AuthorityAsServer,
    Expired,
    NotYetValid,
    OtherName,
    ClientCertificate,
    /// The bytes that came back are not TLS.
    NotTls,
    /// The connection ended during the handshake.
    HandshakeEnded,
    /// The bytes that came back are not HTTP, or the connection ended without a response, without TLS.
    NotHttp,
    Other,
}

impl Cause {
    fn of(error: &reqwest::Error, is_tls: bool, is_proxys: bool) -> Self {
        let texts = || causes(error).map(ToString::to_string);
        if texts().any(|text| text == "tunnel error: proxy authorization required") {
            return Self::ProxyCredentials;
        } else if is_proxys && error.is_connect() {
            let is_opened = texts().any(|text| text == "tunnel error: unsuccessful");
            return if is_opened { Self::ProxyRefused } else { Self::ProxyUnreachable };
        } else if let Some(error) = causes(error).find_map(|cause| cause.downcast_ref::<rustls::Error>()) {
            return Self::of_tls(error);
        } else if error.is_timeout() {
            return if error.is_connect() { Self::NoAnswer } else { Self::Slow };
        }
        let kind = causes(error).filter_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind).last();
        let is_lost = matches!(kind, Some(io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset));
        match kind {
            Some(io::ErrorKind::ConnectionRefused) => Self::Refused,
            _ if error.is_connect() && texts().any(|text| text == "dns error") => Self::UnknownName,
            _ if error.is_connect() && is_tls && is_lost => Self::HandshakeEnded,
            _ if error.is_connect() || is_tls => Self::Other,
            _ if is_lost => Self::NotHttp,
            _ => match causes(error).find_map(|cause| cause.downcast_ref::<hyper::Error>()) {
                Some(error) if error.is_parse() || error.is_incomplete_message() => Self::NotHttp,
                _ => Self::Other,
            },
        }
    }

    fn of_tls(error: &rustls::Error) -> Self {
        use AlertDescription as A;
        use CertificateError as C;
        match error {
            rustls::Error::InvalidMessage(_) => Self::NotTls,
            rustls::Error::InvalidCertificate(error) => match error {
                C::UnknownIssuer => Self::UnknownIssuer,
                C::Expired | C::ExpiredContext { .. } => Self::Expired,
                C::NotValidYet | C::NotValidYetContext { .. } => Self::NotYetValid,
                C::NotValidForName | C::NotValidForNameContext { .. } => Self::OtherName,
                C::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => Self::AuthorityAsServer,
                _ => Self::Other,
            },
            rustls::Error::AlertReceived(
                A::CertificateRequired
                | A::BadCertificate
                | A::UnknownCA
                | A::CertificateUnknown
                | A::CertificateExpired
                | A::CertificateRevoked
                | A::UnsupportedCertificate
                | A::AccessDenied,
            ) => Self::ClientCertificate,
            _ => Self::Other,
        }
    }

    /// Returns the cause in words, if they are better than the library's.
    fn words(self) -> Option<&'static str> {
        match self {
            Self::UnknownIssuer => Some("no known authority has issued its certificate"),
            Self::AuthorityAsServer => Some("its certificate is self-signed and belongs to a certificate authority"),
            Self::NotTls => Some("the port does not speak TLS"),
            Self::HandshakeEnded => Some("the connection ended during the TLS handshake"),
            Self::ClientCertificate => Some("it refuses the client certificate, or wants one"),
            _ => None,
        }
    }

    /// Returns what to change. `plain` is the scheme of addresses without TLS.
    fn advice(self, plain: &str) -> Option<Cow<'static, str>> {
        let advice = match self {
            // See `UsedProxy::advice`.
            Self::ProxyUnreachable | Self::Other => None,
            Self::ProxyCredentials => Some("write user name and password into its URL: http://USER:PASSWORD@HOST:PORT"),
            Self::ProxyRefused => Some("it has to allow this host and port, and to reach them"),
            Self::UnknownName => Some("is the host name spelt right, and does this machine's name server know it?"),
            Self::Refused => Some("nothing listens there: are host and port right, and does the server run?"),
            Self::NoAnswer => Some("are host and port right, and does a firewall let the connection through?"),
            Self::Slow => Some("a server that needs longer needs a larger `timeout`"),
            Self::UnknownIssuer => Some(
                "name the authority's certificate in `tls.ca_file`, or the fingerprint of the server's in \
                 `tls.pin_sha256`",
            ),
            Self::AuthorityAsServer => Some("name its fingerprint in `tls.pin_sha256`"),
            Self::Expired => Some("renew the server's certificate; if it is valid, set this machine's clock"),
            Self::NotYetValid => Some("set this machine's clock, or the server's certificate is for later"),
            Self::OtherName => Some(
                "write a name of the certificate into the URL, or the certificate's fingerprint into `tls.pin_sha256`",
            ),
            Self::ClientCertificate => Some("set or replace `tls.cert_file` and `tls.key_file`"),
            Self::NotTls => {
                return Some(format!("write {plain}:// if that is meant, or the port that speaks TLS").into());
            }
            Self::HandshakeEnded => {
                return Some(format!("if this never worked: does the port speak TLS? if not, write {plain}://").into());
            }
            Self::NotHttp => Some("if this never worked: does the port speak TLS? then write https://"),
        };
        advice.map(Cow::Borrowed)
    }
}

/// Explains an error of a client whose requests travel on this way.
pub fn describe_request_error(error: &reqwest::Error, way: &RequestWay<'_>) -> RequestProblem {
    let url = error.url();
    let proxy = url.and_then(|url| way.proxy(url));
    // A request without TLS is given to the proxy as a whole.
    let is_tls = url.is_some_and(|url| url.scheme() == "https");
    let is_in_tunnel = causes(error).any(|cause| cause.to_string().starts_with("tunnel error"));
    let is_proxys = proxy.is_some() && error.is_connect() && (is_in_tunnel || !is_tls);
    let cause = Cause::of(error, is_tls, is_proxys);
    let address = address(url);
    let through = proxy.as_ref().map(|proxy| format!(" through the proxy {proxy}")).unwrap_or_default();
    let connect_timeout = way.timeout.min(CONNECT_TIMEOUT);
    let tls_error = causes(error).find_map(|cause| cause.downcast_ref::<rustls::Error>());
    // A proxy whose TLS failed has a cause of its own.
    let reason = match cause.words().or_else(|| Cause::of_tls(tls_error?).words()) {
        Some(words) => words.to_owned(),
        None if let Some(reason) = tls_error.and_then(other_certificate) => reason,
        None if error.is_timeout() => format!("no answer within {}", Period(connect_timeout)),
        None => innermost_cause(error),
    };
    let what = match (cause, &proxy) {
        (Cause::ProxyUnreachable, Some(proxy)) => {
            format!("cannot connect to the proxy {proxy} on the way to {address}: {reason}")
        }
        (Cause::ProxyCredentials, Some(proxy)) => {
            format!("the proxy {proxy} opens no connection to {address}: {PROXY_REFUSAL}")
        }
        (Cause::ProxyRefused, Some(proxy)) => format!("the proxy {proxy} opens no connection to {address}"),
        _ if error.is_connect() => format!("cannot connect to {address}{through}: {reason}"),
        (Cause::Slow, _) => format!("no complete answer within {} from {address}{through}", Period(way.timeout)),
        _ if error.is_builder() => reason,
        _ => format!("the connection to {address}{through} broke off: {reason}"),
    };
    let advice = match (cause, &proxy) {
        (Cause::ProxyUnreachable, Some(proxy)) => Some(proxy.advice().into()),
        (Cause::NotTls, Some(proxy)) => cause
            .advice(HTTP)
            .map(|advice| format!("{advice}; or the proxy answers itself, and is none: {}", proxy.advice()).into()),
        _ => cause.advice(HTTP),
    };
    RequestProblem { what, advice, is_proxys }
}

/// Explains why no connection to `address` was opened, with advice. `plain` is the scheme of addresses without TLS.
pub(crate) fn describe_connect_error(error: &io::Error, address: &impl fmt::Display, plain: &str) -> String {
    let tls_error = causes(error).find_map(|cause| cause.downcast_ref::<rustls::Error>());
    let cause = match (tls_error, error.kind()) {
        (Some(error), _) => Cause::of_tls(error),
        (None, io::ErrorKind::ConnectionRefused) => Cause::Refused,
        (None, io::ErrorKind::TimedOut) => Cause::NoAnswer,
        (None, io::ErrorKind::NotFound) => Cause::UnknownName,
        (None, io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => Cause::HandshakeEnded,
        _ => Cause::Other,
    };
    let reason = match cause.words() {
        Some(words) => words.to_owned(),
        None => tls_error.and_then(other_certificate).unwrap_or_else(|| innermost_cause(error)),
    };
    let advice = cause.advice(plain).map(|advice| format!("; {advice}")).unwrap_or_default();
    format!("cannot connect to {address}: {reason}{advice}")
}

/// Explains the status 407, which only a proxy answers.
pub fn describe_proxy_refusal(url: &Url, way: &RequestWay<'_>) -> String {
    let proxy = way.proxy(url).map(|proxy| format!(" {proxy}")).unwrap_or_default();
    let advice = Cause::ProxyCredentials.advice(HTTP).unwrap_or_default();
    format!("the proxy{proxy} does not pass on to {}: {PROXY_REFUSAL}; {advice}", address(Some(url)))
}

/// Returns host and port.
fn address(url: Option<&Url>) -> String {
    let host = url.and_then(Url::host_str).unwrap_or("the server");
    match url.and_then(Url::port_or_known_default) {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Returns the error and its causes, outermost first.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |cause| {
        let error: &'a (dyn Error + 'static) = *cause;
        // The error that an I/O error wraps is not its source.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        wrapped.map(|error| error as &(dyn Error + 'static)).or_else(|| error.source())
    })
}

/// Returns whether a connection ended before it brought any part of an answer.
pub fn is_lost_before_answer(error: &reqwest::Error) -> bool {
    if error.is_connect() || error.is_timeout() || error.is_body() {
        return false;
    }
    let is_lost = |error: &io::Error| {
        matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
        )
    };
    causes(error).any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(is_lost)
            || cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_incomplete_message)
    })
}

/// Returns whether a server of HTTP/2 closed the connection, or this request's part of it, without an error and before
/// any part of an answer. A server does so after a number of requests, and before it stops.
pub fn is_closed_by_plan(error: &reqwest::Error) -> bool {
    // With HTTP/1, a broken pipe is an error of the system.
    let is_end = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe && error.raw_os_error().is_none();
    let is_reset =
        |error: &h2::Error| error.is_reset() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR);
    !error.is_timeout()
        && causes(error)
            .any(|cause| cause.downcast_ref().is_some_and(is_end) || cause.downcast_ref().is_some_and(is_reset))
}

/// Returns whether TLS is among the causes of an error. A server may refuse the client certificate after the request
/// was sent.
pub fn is_tls_error(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|cause| cause.is::<rustls::Error>())
}

/// Returns the text of the error's innermost cause, truncated and on one line: it may quote the server's certificate.
pub(crate) fn innermost_cause(error: &(dyn Error + 'static)) -> String {
    causes(error).last().map(|cause| excerpt(&cause.to_string())).unwrap_or_default()
}
