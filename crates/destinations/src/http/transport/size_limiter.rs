//! Learns from failed requests how many events, and how many bytes, the destination handles in one.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The timeouts in a row after which a batch is sent in halves.
const TIMEOUTS: u32 = 2;
/// The lost connections in a row after which a batch is sent in halves.
const LOST_CONNECTIONS: u32 = 3;
/// How long requests stay small after these failures, or after a refusal for their size.
const SMALL_FOR: Duration = Duration::from_mins(5);
/// Requests do not stay smaller than this, since an unavailable destination times out with any size.
const MIN_EVENTS: usize = 50;

/// The limit is shared by all attempts of a lane.
#[derive(Debug, Default)]
pub(crate) struct SizeLimiter(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    timeouts: u32,
    lost_connections: u32,
    /// Boxed: most lanes have none.
    limit: Option<Box<Limit>>,
    /// Boxed: most lanes have none.
    refused: Option<Box<RefusedSize>>,
}

/// The smallest request that was refused as too large.
#[derive(Debug)]
struct RefusedSize {
    bytes: usize,
    until: Instant,
}

#[derive(Debug)]
struct Limit {
    events: usize,
    /// `None`: until an answer is understood.
    until: Option<Instant>,
}

impl SizeLimiter {
    /// Returns the maximum number of events in a request for now.
    pub(crate) fn limit(&self) -> usize {
        let mut state = self.0.lock();
        if state.limit.as_ref().and_then(|limit| limit.until).is_some_and(|until| until <= Instant::now()) {
            state.limit = None;
        }
        state.limit.as_ref().map_or(usize::MAX, |limit| limit.events)
    }

    /// Returns whether a request of several events would be refused, since one of this size, or a smaller one, was
    /// refused. `bytes` is the size of the events before framing.
    pub(crate) fn is_too_large(&self, bytes: usize) -> bool {
        let mut state = self.0.lock();
        if state.refused.as_ref().is_some_and(|refused| refused.until <= Instant::now()) {
            state.refused = None;
        }
        state.refused.as_ref().is_some_and(|refused| bytes >= refused.bytes)
    }

    /// Learns that the destination refused a request with these events and bytes as too large.
    pub(crate) fn refused_size(&self, events: usize, bytes: usize) {
        let mut state = self.0.lock();
        let until = Instant::now() + SMALL_FOR;
        if events < 2 {
            // This event was too large. The events that were sent with it may not be too large.
            state.refused = None;
        } else if state.refused.as_ref().is_none_or(|refused| bytes < refused.bytes) {
            state.refused = Some(Box::new(RefusedSize { bytes, until }));
        }
    }

    /// Learns that a request was answered in time.
    pub(crate) fn answered(&self) {
        let mut state = self.0.lock();
        state.timeouts = 0;
        state.lost_connections = 0;
    }

    /// Learns that a request got no answer in time. Returns whether it has to be sent in halves: a destination that
    /// stores the events and answers late would get all of them repeatedly.
    pub(crate) fn timed_out(&self, events: usize) -> bool {
        let mut state = self.0.lock();
        state.timeouts += 1;
        if state.timeouts < TIMEOUTS || events < 2 {
            return false;
        }
        state.timeouts = 0;
        let least = state.limit.as_ref().map_or(usize::MAX, |limit| limit.events);
        let events = (events / 2).max(MIN_EVENTS).min(least);
        state.limit = Some(Box::new(Limit { events, until: Some(Instant::now() + SMALL_FOR) }));
        true
    }

    /// Learns that the connection was lost while a request was sent. Returns whether the request has to be sent in
    /// halves. A server or proxy may close the connection on a large body before its response can be read.
    pub(crate) fn connection_lost(&self, events: usize) -> bool {
        let mut state = self.0.lock();
        state.lost_connections += 1;
        state.lost_connections >= LOST_CONNECTIONS && events > 1
    }

    /// Learns that the destination accepted some events of a request and did not say which. For a while each request
    /// has one event, so that refused events are known.
    pub(crate) fn partly_refused(&self) {
        self.0.lock().limit = Some(Box::new(Limit { events: 1, until: Some(Instant::now() + SMALL_FOR) }));
    }

    /// Learns that a success has an unexpected body. Its events may be stored, so only one event at a time is sent
    /// until an answer is understood.
    pub(crate) fn not_understood(&self) {
        self.0.lock().limit = Some(Box::new(Limit { events: 1, until: None }));
    }

    /// Learns that an answer was understood.
    pub(crate) fn understood(&self) {
        let mut state = self.0.lock();
        if state.limit.as_ref().is_some_and(|limit| limit.until.is_none()) {
            state.limit = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn two_timeouts_in_a_row_make_requests_smaller_for_a_while() {
        let limiter = SizeLimiter::default();
        assert!(!limiter.timed_out(1_000));
        limiter.answered();
        assert!(!limiter.timed_out(1_000), "they are not in a row");
        assert!(limiter.timed_out(1_000));
        assert_eq!(limiter.limit(), 500);
        assert!(!limiter.timed_out(300) && limiter.timed_out(300));
        assert_eq!(limiter.limit(), 150);
        assert!(!limiter.timed_out(8) && limiter.timed_out(8), "a small batch is halved too");
        assert_eq!(limiter.limit(), MIN_EVENTS);
        assert!(!limiter.timed_out(1) && !limiter.timed_out(1), "one event has no half");
        tokio::time::advance(SMALL_FOR).await;
        assert_eq!(limiter.limit(), usize::MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_size_that_was_refused_is_not_sent_again_for_a_while() {
        let limiter = SizeLimiter::default();
        assert!(!limiter.is_too_large(usize::MAX));
        for bytes in [4_000, 2_000] {
            limiter.refused_size(10, bytes);
        }
        assert!(limiter.is_too_large(2_000) && !limiter.is_too_large(1_999));
        limiter.refused_size(10, 3_000);
        assert!(limiter.is_too_large(2_000), "the smallest one counts");
        tokio::time::advance(SMALL_FOR).await;
        assert!(!limiter.is_too_large(2_000), "the destination may have changed");

        limiter.refused_size(2, 500);
        limiter.refused_size(1, 400);
        assert!(!limiter.is_too_large(4_000), "one event was to blame");
    }

    #[tokio::test(start_paused = true)]
    async fn three_lost_connections_in_a_row_halve_a_batch() {
        let limiter = SizeLimiter::default();
        assert_eq!([(); 3].map(|()| limiter.connection_lost(10)), [false, false, true]);
        limiter.answered();
        assert!(!limiter.connection_lost(10));
    }

    #[tokio::test(start_paused = true)]
    async fn requests_have_one_event_until_an_answer_is_understood() {
        let limiter = SizeLimiter::default();
        limiter.not_understood();
        tokio::time::advance(100 * SMALL_FOR).await;
        assert_eq!(limiter.limit(), 1);
        limiter.understood();
        assert_eq!(limiter.limit(), usize::MAX);

        limiter.partly_refused();
        limiter.understood();
        assert_eq!(limiter.limit(), 1);
        tokio::time::advance(SMALL_FOR).await;
        assert_eq!(limiter.limit(), usize::MAX);
    }
}
