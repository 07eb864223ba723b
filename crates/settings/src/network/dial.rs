//! Connections that do not carry HTTP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use url::Host;

use super::address_policy::{AddressPolicy, NotReachable};
use super::address_policy::{ResolveError, resolve};
use super::client_error::ClientError;
use super::request_error::describe_connect_error;
use super::request_way::CONNECT_TIMEOUT;
use super::tls::Tls;
use super::tls::tls_client;
use crate::values::period::Period;

/// A server that is dialled, and the way to it.
#[derive(Debug, Clone)]
pub struct Dialer {
    pub host: Host<String>,
    pub port: u16,
    /// Settings of TLS; `None` without TLS.
    pub tls: Option<Tls>,
    /// Addresses that the server may have.
    pub address_policy: AddressPolicy,
    /// The longest time for everything until messages can be written.
    pub timeout: Duration,
    /// The scheme of addresses without TLS, for advice.
    pub plain: &'static str,
}

/// A connection that was dialled.
pub trait Dialled: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Dialled for T {}

/// No connection was opened. The texts name the address, the cause, and what to change.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error(transparent)]
    Tls(#[from] ClientError),
    #[error(transparent)]
    NotReachable(#[from] NotReachable),
    /// Another attempt may succeed.
    #[error("{0}")]
    Unreachable(String),
}

/// Host and port.
impl fmt::Display for Dialer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.host, self.port)
    }
}

impl Dialer {
    /// Returns the addresses of the host.
    ///
    /// # Errors
    /// If the name is not known, or a tenant may not use it.
    pub async fn addresses(&self) -> Result<Vec<SocketAddr>, DialError> {
        let found = resolve(&self.name(), self.address_policy.private()).await.map_err(|error| match error {
            ResolveError::NotReachable(error) => DialError::NotReachable(error),
            ResolveError::Lookup(reason) => self.unreachable(&io::Error::new(io::ErrorKind::NotFound, reason)),
        })?;
        Ok(found.into_iter().map(|address| SocketAddr::new(address.ip(), self.port)).collect())
    }

    /// Opens a connection to one of the host's addresses. Returns it with its two ends.
    ///
    /// # Errors
    /// If there is none within the timeout.
    pub async fn dial(&self) -> Result<(Box<dyn Dialled>, (SocketAddr, SocketAddr)), DialError> {
        let longest = self.timeout.min(CONNECT_TIMEOUT);
        match timeout(longest, self.open(Instant::now() + longest)).await {
            Ok(opened) => opened,
            Err(_) => Err(self.unreachable(&no_answer(longest))),
        }
    }

    async fn open(&self, deadline: Instant) -> Result<(Box<dyn Dialled>, (SocketAddr, SocketAddr)), DialError> {
        let addresses = self.addresses().await?;
        let opened = async {
            let stream = connect(&addresses, deadline).await?;
            stream.set_nodelay(true)?;
            let ends = (stream.local_addr()?, stream.peer_addr()?);
            Ok((stream, ends))
        };
        let (stream, ends) = opened.await.map_err(|error: io::Error| self.unreachable(&error))?;
        let Some(tls) = &self.tls else { return Ok((Box::new(stream), ends)) };
        let connector = TlsConnector::from(Arc::new(tls_client(tls)?));
        let name = ServerName::try_from(self.name());
        let name = name.map_err(|error| self.unreachable(&io::Error::new(io::ErrorKind::NotFound, error)))?;
        match timeout_at(deadline, connector.connect(name, stream)).await {
            Ok(Ok(stream)) => Ok((Box::new(stream), ends)),
            Ok(Err(error)) => Err(self.unreachable(&error)),
            // A server without TLS waits for more.
            Err(_) => Err(DialError::Unreachable(format!(
                "cannot connect to {self}: the TLS handshake was not answered; does the port speak TLS? if not, write {}://",
                self.plain
            ))),
        }
    }

    /// Returns the name or address, which has no brackets here.
    fn name(&self) -> String {
        match &self.host {
            Host::Ipv6(address) => address.to_string(),
            host => host.to_string(),
        }
    }

    fn unreachable(&self, error: &io::Error) -> DialError {
        DialError::Unreachable(describe_connect_error(error, self, self.plain))
    }
}

/// Connects to the first address that answers. Each address has a share of the remaining time, so that a silent address
/// leaves time for the others.
async fn connect(addresses: &[SocketAddr], deadline: Instant) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for (tried, address) in addresses.iter().enumerate() {
        let others = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let share = deadline.saturating_duration_since(Instant::now()) / others;
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failure = error,
            Err(_) => failure = no_answer(share),
        }
    }
    Err(failure)
}

fn no_answer(within: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {}", Period(within)))
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    /// As behind a firewall that drops packets: Linux answers nothing once the queue of a listener is full.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn an_address_that_is_silent_leaves_time_for_the_next_one() {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let silent = socket.listen(1).unwrap();
        let address = silent.local_addr().unwrap();
        let mut waiting = Vec::new();
        while let Ok(stream) = timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
            waiting.push(stream.unwrap());
        }
        let there = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let both = [address, there.local_addr().unwrap()];
        let longest = Duration::from_secs(1);
        let connected = timeout(longest, connect(&both, Instant::now() + longest)).await.unwrap().unwrap();
        assert_eq!(connected.peer_addr().unwrap(), both[1]);
        let failure = connect(&both[..1], Instant::now() + longest).await.unwrap_err();
        assert_eq!(failure.kind(), io::ErrorKind::TimedOut);
    }
}
