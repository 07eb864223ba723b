//! Decides whose password is checked next. A check takes a tenth of a second or more, on purpose, and only one runs at
//! a time. Requests without credentials must not take the processors from the lanes, and wrong passwords must not take
//! the turn from right ones.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Number of requests of one address that may wait.
const MAX_WAITING: usize = 4;
/// Number of addresses with wrong passwords that are remembered.
const MAX_FAILED: usize = 4_096;

/// Too many requests of the address wait already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMany;

/// The queue of checks. Addresses that sent no wrong password come first, then those whose last wrong password is the
/// longest ago. Among equal ones, the request that came first is next.
#[derive(Debug, Default)]
pub(super) struct Checks(Arc<Mutex<Queue>>);

#[derive(Debug, Default)]
struct Queue {
    is_busy: bool,
    /// Waiting requests in the order of arrival.
    waiting: Vec<Waiting>,
    /// The number of each address's last wrong password, counted from 1.
    failed: HashMap<IpAddr, u64>,
    failures: u64,
}

#[derive(Debug)]
struct Waiting {
    address: IpAddr,
    turn: oneshot::Sender<Turn>,
}

/// The right to check a password. The next request has it when it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    queue: Arc<Mutex<Queue>>,
    address: IpAddr,
}

/// Returns the part of an address that one client cannot change at will: of IPv6, the network.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address => address,
    }
}

impl Checks {
    /// Waits for the turn of a request from this address.
    ///
    /// # Errors
    /// If too many requests of the address wait already.
    pub async fn turn(&self, address: IpAddr) -> Result<Turn, TooMany> {
        let address = network(address);
        let waiting = {
            let mut queue = self.0.lock();
            if !queue.is_busy {
                queue.is_busy = true;
                return Ok(Turn { queue: self.0.clone(), address });
            }
            if queue.waiting.iter().filter(|waiting| waiting.address == address).count() >= MAX_WAITING {
                return Err(TooMany);
            }
            let (turn, waiting) = oneshot::channel();
            queue.waiting.push(Waiting { address, turn });
            waiting
        };
        // The sender is in the queue until it sends.
        waiting.await.map_err(|_| TooMany)
    }
}

impl Queue {
    fn next(&mut self) -> Option<Waiting> {
        let last_failure = |waiting: &Waiting| self.failed.get(&waiting.address).copied().unwrap_or(0);
        // Among equal requests, `min_by_key` finds the first one.
        let next = self.waiting.iter().enumerate().min_by_key(|(_, waiting)| last_failure(waiting))?.0;
        Some(self.waiting.remove(next))
    }

    fn forget_oldest(&mut self) {
        let oldest = self.failed.iter().min_by_key(|(_, number)| **number).map(|(address, _)| *address);
        oldest.and_then(|address| self.failed.remove(&address));
    }
}

impl Turn {
    /// Ends the check with its result. An address with a right password is served first from then on.
    pub fn end(self, is_right: bool) {
        let mut queue = self.queue.lock();
        if is_right {
            queue.failed.remove(&self.address);
        } else {
            queue.failures += 1;
            let number = queue.failures;
            queue.failed.insert(self.address, number);
            if queue.failed.len() > MAX_FAILED {
                queue.forget_oldest();
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let next = {
            let mut queue = self.queue.lock();
            let next = queue.next();
            queue.is_busy = next.is_some();
            next
        };
        if let Some(Waiting { address, turn }) = next {
            // A request that was given up does not take the turn: the turn is dropped here, and goes on to the next
            // request.
            let _ = turn.send(Self { queue: self.queue.clone(), address });
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use futures_util::future::BoxFuture;

    use super::*;

    fn address(number: u8) -> IpAddr {
        [10, 0, 0, number].into()
    }

    /// Returns a request that waits.
    fn ask(checks: &Checks, number: u8) -> BoxFuture<'_, Result<Turn, TooMany>> {
        let mut asked = checks.turn(address(number)).boxed();
        assert!((&mut asked).now_or_never().is_none(), "the turn is somebody else's");
        asked
    }

    /// Removes the request that has its turn, and returns the last part of its address.
    fn turn(asked: &mut Vec<BoxFuture<'_, Result<Turn, TooMany>>>) -> (u8, Turn) {
        let (index, turn) = asked
            .iter_mut()
            .enumerate()
            .find_map(|(index, asked)| Some((index, asked.now_or_never()?)))
            .expect("somebody has the turn");
        drop(asked.remove(index));
        let turn = turn.unwrap();
        let IpAddr::V4(address) = turn.address else { panic!("{turn:?}") };
        (address.octets()[3], turn)
    }

    #[test]
    fn a_new_address_waits_for_one_check_however_many_wait_from_others() {
        let checks = Checks::default();
        // Ten addresses have sent a wrong password, and each sends as many as it may.
        for number in 1..=10 {
            checks.turn(address(number)).now_or_never().unwrap().unwrap().end(false);
        }
        let running = checks.turn(address(1)).now_or_never().unwrap().unwrap();
        let mut asked = Vec::new();
        for number in 1..=10 {
            (0..MAX_WAITING).for_each(|_| asked.push(ask(&checks, number)));
            assert!(matches!(checks.turn(address(number)).now_or_never(), Some(Err(TooMany))), "{number}");
        }
        asked.push(ask(&checks, 99));
        running.end(false);
        let (first, running) = turn(&mut asked);
        assert_eq!(first, 99);
        running.end(true);
        // The others take turns.
        let mut order = Vec::new();
        while !asked.is_empty() {
            let (number, running) = turn(&mut asked);
            order.push(number);
            running.end(false);
        }
        let round = [2, 3, 4, 5, 6, 7, 8, 9, 10, 1];
        assert_eq!(order, round.repeat(MAX_WAITING));
        assert!(!checks.0.lock().is_busy);
        checks.turn(address(1)).now_or_never().unwrap().unwrap().end(true);
    }

    #[test]
    fn addresses_that_are_all_new_take_turns_after_their_first_check() {
        let checks = Checks::default();
        let running = checks.turn(address(1)).now_or_never().unwrap().unwrap();
        let mut asked: Vec<_> = [1, 1, 2].into_iter().map(|number| ask(&checks, number)).collect();
        running.end(false);
        assert_eq!(turn(&mut asked).0, 2, "which sent nothing wrong, though it came last");
    }

    #[test]
    fn a_request_that_is_given_up_holds_up_nobody() {
        let checks = Checks::default();
        let running = checks.turn(address(1)).now_or_never().unwrap().unwrap();
        let gone = ask(&checks, 2);
        let has_turn = ask(&checks, 3);
        let mut last = vec![ask(&checks, 4)];
        drop(gone);
        drop(running);
        // This request was given its turn, and did not see it.
        drop(has_turn);
        assert_eq!(turn(&mut last).0, 4);
        assert!(!checks.0.lock().is_busy && checks.0.lock().waiting.is_empty());
    }

    #[test]
    fn addresses_of_one_network_are_one_client_and_few_are_remembered() {
        let network_of = |text: &str| network(text.parse().unwrap());
        assert_eq!(network_of("2001:db8:0:1::1"), network_of("2001:db8:0:1:ffff::2"));
        assert_ne!(network_of("2001:db8:0:1::1"), network_of("2001:db8:0:2::1"));
        assert_eq!(network_of("::ffff:10.0.0.1"), network_of("10.0.0.1"));
        assert_ne!(network_of("10.0.0.1"), network_of("10.0.0.2"));
        let checks = Checks::default();
        for number in 0..=u32::try_from(MAX_FAILED).unwrap() {
            checks.turn(IpAddr::from(number.to_be_bytes())).now_or_never().unwrap().unwrap().end(false);
        }
        let queue = checks.0.lock();
        assert_eq!(queue.failed.len(), MAX_FAILED);
        assert!(!queue.failed.contains_key(&IpAddr::from([0; 4])), "the oldest");
    }
}
