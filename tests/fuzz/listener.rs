//! What clients send to the listener.

use super::Target;
use crate::server::tests::Fuzzed;

const WORDS: &[&str] = &[
    "GET ",
    "POST ",
    "HEAD ",
    "OPTIONS ",
    "CONNECT ",
    " HTTP/1.1\r\n",
    " HTTP/1.0\r\n",
    " HTTP/2.0\r\n",
    "Host: x\r\n",
    "Connection: close\r\n",
    "Connection: keep-alive\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: -1\r\n",
    "Content-Length: 18446744073709551616\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Expect: 100-continue\r\n",
    "Upgrade: h2c\r\n",
    "Accept-Encoding: gzip\r\n",
    "Authorization: Basic YTpi\r\n",
    "Authorization: Bearer x\r\n",
    "Authorization: Bearer \r\n",
    "\r\n\r\n",
    "5\r\nhello\r\n",
    "0\r\n\r\n",
    "ffffffffffffffff\r\n",
    "/metrics",
    "/livez",
    "/readyz",
    "/api/v1/lanes",
    "/api/v1/pipelines/",
    "/pipelines/",
    "?limit=",
    "&page=",
    "&sort=lag",
    "&order=desc",
    "&state=failing",
    "&workers=all",
    "&refresh=1",
    "%00",
    "%ff",
    "%2e%2e/",
    "?pipeline=",
    "//",
    "/../",
    "http://x/",
    "*",
    "18446744073709551615",
];

#[test]
fn requests() {
    let seeds = [
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET /metrics HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n",
        "GET /api/v1/lanes?limit=1&page=2&sort=lag&order=desc&pipeline=a HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /pipelines/acme?refresh=5 HTTP/1.0\r\n\r\n",
        "GET /api/v1/pipelines/a%20b?workers=this HTTP/1.1\r\nHost: x\r\nAuthorization: Basic YTpi\r\n\r\n",
        "HEAD /livez HTTP/1.1\r\nHost: x\r\n\r\nGET /readyz HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
        "POST /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ];
    // The first byte decides whether credentials are required.
    let seeds = seeds.iter().flat_map(|seed| [0, 1].map(|open: u8| [&[open][..], seed.as_bytes()].concat())).collect();
    let fuzzed = [Fuzzed::new(None), Fuzzed::new(Some("c4nary-token"))];
    Target { name: "requests", seeds, words: WORDS, header: 1 }.run(|input| {
        let Some((secured, request)) = input.split_first() else { return String::new() };
        let is_secured = secured % 2 == 1;
        let answer = fuzzed[usize::from(is_secured)].answer(request);
        let text = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || text.starts_with("HTTP/1."), "{text}");
        let status = text.get(9..12).unwrap_or_default().to_owned();
        assert!(!status.starts_with('5') || status == "501" || status == "503", "{text}");
        // The name of the customer.
        assert!(!is_secured || !text.contains("c4nary-pipeline"), "{text}");
        let length = answer.len().checked_ilog2().unwrap_or_default();
        format!("{is_secured} {status} {length}")
    });
}
