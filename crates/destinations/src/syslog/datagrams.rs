//! Datagrams to one receiver. Its name may have several addresses, and others later. No connection shows that the
//! receiver has moved, so the name is looked up again from time to time, and after each error.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use s1_forwarder_settings::DialError;
use tokio::net::UdpSocket;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long the addresses of a name count as valid.
const VALID: Duration = Duration::from_mins(1);

#[derive(Debug, Default)]
pub(super) struct Datagrams {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    open: Option<Open>,
    /// The address that was used when an error came. The one after it is tried first.
    left: Option<SocketAddr>,
}

#[derive(Debug)]
struct Open {
    peer: Arc<Peer>,
    looked_up: Instant,
}

/// A socket, and the address that it sends to.
#[derive(Debug)]
pub(super) struct Peer {
    pub address: SocketAddr,
    pub socket: UdpSocket,
}

impl Datagrams {
    /// Returns the socket in use. Opens a new one if there is none, or if the receiver no longer has the socket's
    /// address.
    ///
    /// # Errors
    /// If the receiver has no address that can be used.
    pub async fn peer(
        &self,
        look_up: impl AsyncFnOnce() -> Result<Vec<SocketAddr>, DialError>,
    ) -> Result<Arc<Peer>, DialError> {
        let mut state = self.state.lock().await;
        let State { open, left } = &mut *state;
        if let Some(Open { peer, .. }) = open.as_ref().filter(|open| open.looked_up.elapsed() < VALID) {
            return Ok(peer.clone());
        }
        let found = look_up().await;
        let looked_up = Instant::now();
        if let Some(open) = open {
            let is_there = match &found {
                Ok(addresses) => addresses.contains(&open.peer.address),
                // A name server that does not answer says nothing about the receiver.
                Err(DialError::Unreachable(_)) => true,
                Err(_) => false,
            };
            if is_there {
                open.looked_up = looked_up;
                return Ok(open.peer.clone());
            }
        }
        *open = None;
        let peer = Arc::new(connect(&found?, *left).await?);
        *open = Some(Open { peer: peer.clone(), looked_up });
        Ok(peer)
    }

    /// Leaves the address of this socket after an error. The next socket uses another address, if there is one.
    pub async fn leave(&self, peer: &Peer) {
        let mut state = self.state.lock().await;
        if state.open.as_ref().is_some_and(|open| open.peer.address == peer.address) {
            state.open = None;
            state.left = Some(peer.address);
        }
    }
}

/// Opens a socket for the first address that the system can send to, beginning after the address that was left.
async fn connect(addresses: &[SocketAddr], left: Option<SocketAddr>) -> Result<Peer, DialError> {
    let first = addresses.iter().position(|address| Some(*address) == left).map_or(0, |index| index + 1);
    let mut failure = "the name has no address".to_owned();
    for &address in addresses.iter().cycle().skip(first).take(addresses.len()) {
        match bind(address).await {
            Ok(socket) => return Ok(Peer { address, socket }),
            Err(error) => failure = format!("{address}: {error}"),
        }
    }
    Err(DialError::Unreachable(failure))
}

async fn bind(peer: SocketAddr) -> std::io::Result<UdpSocket> {
    let own: SocketAddr = match peer {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(own).await?;
    socket.connect(peer).await?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, port).into()
    }

    #[tokio::test]
    async fn every_address_of_a_name_is_tried() {
        // The system refuses to send to a broadcast address unless a program has asked for that right.
        let unusable = SocketAddr::from((Ipv4Addr::BROADCAST, 514));
        let closed = UdpSocket::bind(address(0)).await.unwrap().local_addr().unwrap();
        let receiver = UdpSocket::bind(address(0)).await.unwrap();
        let there = receiver.local_addr().unwrap();
        let datagrams = Datagrams::default();
        let peer = || datagrams.peer(async || Ok(vec![unusable, closed, there]));
        let first = peer().await.unwrap();
        assert_eq!(first.address, closed);
        first.socket.send(b"lost").await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(first.socket.send(b"refused").await.is_err(), "the system knows of the one before");
        datagrams.leave(&first).await;
        let second = peer().await.unwrap();
        assert_eq!(second.address, there);
        second.socket.send(b"here").await.unwrap();
        let mut bytes = [0; 8];
        assert_eq!(receiver.recv(&mut bytes).await.unwrap(), 4);
        datagrams.leave(&second).await;
        assert_eq!(peer().await.unwrap().address, closed, "after the last usable one comes the first");

        let none = Datagrams::default().peer(async || Ok(vec![unusable])).await.unwrap_err().to_string();
        assert!(none.contains("255.255.255.255:514"), "{none}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_receiver_that_moves_is_found_within_a_minute() {
        let datagrams = Datagrams::default();
        let at = |port: u16| datagrams.peer(async move || Ok(vec![address(port)]));
        let fails = || datagrams.peer(async || Err(DialError::Unreachable("no answer".to_owned())));
        assert_eq!(at(1001).await.unwrap().address, address(1001));
        assert_eq!(at(1002).await.unwrap().address, address(1001), "the name is not looked up for each batch");
        tokio::time::advance(VALID).await;
        assert_eq!(fails().await.unwrap().address, address(1001), "names are not known for a while");
        tokio::time::advance(VALID).await;
        assert_eq!(at(1002).await.unwrap().address, address(1002));
    }
}
