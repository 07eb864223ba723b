//! What is behind TLS: ten thousand consoles, each a host of its own, and a way to the servers of other scenarios.

use std::io::{BufRead, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::json;
use tempfile::NamedTempFile;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::many::{self, Idle};
use super::world::{NullSink, Place, Process, pipeline_to};
use super::{Row, Size};

const EMPTY: &str = r#"{"data":[],"pagination":{"nextCursor":null,"totalItems":0},"errors":null}"#;

pub fn hosts(size: Size) -> Vec<Row> {
    let lanes = size.of(10_000);
    let sink = NullSink::start("take");
    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut process = Process::spawn(command.arg("tls-consoles").stdin(Stdio::piped()).stdout(Stdio::piped()));
    let mut lines = process.stdout().lines().map(Result::unwrap);
    let port = lines.next().unwrap();
    let authority = lines.next().unwrap();
    let place = Place::new();
    for number in 0..lanes {
        let host = format!("https://h{number}.consoles.test");
        let console = format!("  proxy: http://127.0.0.1:{port}\n  tls: {{ ca_file: {authority} }}\n");
        let sink = format!("type: http\n    url: {}", sink.url());
        let text = pipeline_to(&host, &console, "activities: { interval: 60s, since: now }", &sink);
        place.pipeline(&format!("p{number:05}"), &text);
    }
    let Idle { rss_mb, core, system, peak_rss_mb, .. } = many::watch_idle(&place, lanes, Duration::from_mins(1));
    let figures =
        json!({ "lanes": lanes, "rss_mb": rss_mb, "core": core, "system": system, "peak_rss_mb": peak_rss_mb });
    let measured = format!("{rss_mb:.0} MB, {:.1} % of a core", core * 100.0);
    vec![Row::report(&format!("{lanes} idle lanes, each to a host of its own, TLS"), measured, figures)]
}

/// A proxy that is every host it is asked for, and an empty console. Prints its port and where its authority's
/// certificate is.
pub fn consoles() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (acceptor, authority) = certified("*.consoles.test", &[]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}\n{}", listener.local_addr().unwrap().port(), authority.path().display());
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream, acceptor.clone()));
        }
    });
}

/// Accepts TLS as `name`, which an authority of its own vouches for; its certificate is in the file. `versions` of HTTP
/// are offered.
fn certified(name: &str, versions: &[&str]) -> (TlsAcceptor, NamedTempFile) {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "consoles");
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = certificate.signed_by(&key, &authority).unwrap();
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(authority.pem().as_bytes()).unwrap();
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let mut config = config.with_single_cert(vec![certificate.der().clone()], private).unwrap();
    config.alpn_protocols = versions.iter().map(|version| version.as_bytes().to_vec()).collect();
    (TlsAcceptor::from(Arc::new(config)), file)
}

/// The way to servers on this machine through TLS, as a process of its own.
pub struct Front {
    _process: Process,
    /// For each server, the port that leads to it.
    pub ports: Vec<String>,
    /// Where the authority's certificate is.
    pub authority: String,
}

impl Front {
    /// `version` of HTTP, as TLS names it, is the only one offered.
    pub fn start(version: &str, servers: &[u16]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["tls-front", version]).args(servers.iter().map(u16::to_string));
        let mut process = Process::spawn(command.stdout(Stdio::piped()));
        let mut lines = process.stdout().lines().map(Result::unwrap);
        let authority = lines.next().unwrap();
        Self { _process: process, ports: lines.by_ref().take(servers.len()).collect(), authority }
    }
}

/// What `tls-front` does as a process. Prints where its authority's certificate is, and a port for each server.
pub fn front(version: &str, servers: &[&str]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (acceptor, authority) = certified("127.0.0.1", &[version]);
        println!("{}", authority.path().display());
        let mut listening = JoinSet::new();
        for server in servers {
            let server = format!("127.0.0.1:{server}");
            let acceptor = acceptor.clone();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            println!("{}", listener.local_addr().unwrap().port());
            listening.spawn(async move {
                loop {
                    let (outside, _) = listener.accept().await.unwrap();
                    tokio::spawn(lead(outside, server.clone(), acceptor.clone()));
                }
            });
        }
        listening.join_all().await;
    });
}

async fn lead(outside: TcpStream, server: String, acceptor: TlsAcceptor) -> std::io::Result<()> {
    let mut outside = acceptor.accept(outside).await?;
    let mut inside = TcpStream::connect(server).await?;
    tokio::io::copy_bidirectional(&mut outside, &mut inside).await.map(drop)
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
    let mut line = String::new();
    let mut body = 0;
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
