//! Ten thousand consoles, each a host of its own behind TLS.

use std::io::{BufRead, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::json;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::many::{self, Idle};
use crate::world::{NullSink, Place, Process, pipeline_to};
use crate::{Row, Size};

const EMPTY: &str = r#"{"data":[],"pagination":{"nextCursor":null,"totalItems":0},"errors":null}"#;

pub fn hosts(size: Size) -> Vec<Row> {
    let lanes = size.of(10_000);
    let sink = NullSink::start("take");
    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut process = Process::spawn(command.arg("tls-consoles").stdin(Stdio::piped()).stdout(Stdio::piped()));
    let mut lines = process.stdout().lines().map(Result::unwrap);
    let (port, authority) = (lines.next().unwrap(), lines.next().unwrap());
    let place = Place::new();
    for number in 0..lanes {
        let host = format!("https://h{number}.consoles.test");
        let console = format!("  proxy: http://127.0.0.1:{port}\n  tls: {{ ca_file: {authority} }}\n");
        let sink = format!("type: http\n    url: {}", sink.url());
        let text = pipeline_to(&host, &console, "activities: { interval: 60s, since: now }", &sink);
        place.pipeline(&format!("p{number:05}"), &text);
    }
    let Idle { rss_mb, core, system, peak_rss_mb } = many::watch_idle(&place, lanes, Duration::from_secs(60));
    let figures =
        json!({ "lanes": lanes, "rss_mb": rss_mb, "core": core, "system": system, "peak_rss_mb": peak_rss_mb });
    let measured = format!("{rss_mb:.0} MB, {:.1} % of a core", core * 100.0);
    vec![Row::report(&format!("{lanes} idle lanes, each to a host of its own, TLS"), measured, figures)]
}

/// A proxy that is every host it is asked for, and an empty console. Prints its port and where its authority's certificate is.
pub fn consoles() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.distinguished_name.push(DnType::CommonName, "consoles");
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["*.consoles.test".to_owned()]).unwrap();
        let certificate = certificate.signed_by(&key, &authority).unwrap();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(authority.pem().as_bytes()).unwrap();
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let config = config.with_single_cert(vec![certificate.der().clone()], private).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}\n{}", listener.local_addr().unwrap().port(), file.path().display());
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream, acceptor.clone()));
        }
    });
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor) -> std::io::Result<()> {
    let mut stream = BufReader::with_capacity(512, stream);
    skip_request(&mut stream).await?;
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    let mut stream = BufReader::with_capacity(1024, acceptor.accept(stream.into_inner()).await?);
    loop {
        skip_request(&mut stream).await?;
        let date = httpdate::fmt_http_date(std::time::SystemTime::now());
        let answer = format!("HTTP/1.1 200 OK\r\ndate: {date}\r\ncontent-length: {}\r\n\r\n{EMPTY}", EMPTY.len());
        stream.write_all(answer.as_bytes()).await?;
        stream.flush().await?;
    }
}

async fn skip_request(stream: &mut (impl AsyncBufRead + Unpin)) -> std::io::Result<()> {
    let (mut line, mut body) = (String::new(), 0);
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let text = line.trim_end().to_ascii_lowercase();
        if let Some(length) = text.strip_prefix("content-length:") {
            body = length.trim().parse().unwrap_or(0);
        }
        if text.is_empty() {
            return stream.read_exact(&mut vec![0; body]).await.map(drop);
        }
    }
}
