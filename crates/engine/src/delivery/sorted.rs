//! Sorts the events of a request by the answer of the sink.

use crate::sink::RefusedEvent;

/// The events of a request, by the sink's answer about each. All numbers are indices of the batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sorted {
    pub accepted: Vec<usize>,
    pub refused: Vec<RefusedEvent>,
    /// The events to send again.
    pub again: Vec<usize>,
    /// Whether the sink has refused an event and not tried the ones after it, which are the events to send again.
    pub is_untried: bool,
}

impl Sorted {
    /// Sorts the events of `request`. `refused` and `retry` are indices of `request`. The sink accepted the other
    /// events. The first answer about an event counts. Indices outside `request` are ignored.
    pub fn of(request: &[usize], refused: Vec<RefusedEvent>, retry: Vec<usize>) -> Self {
        let mut is_accepted = vec![true; request.len()];
        let mut take = |place: usize| {
            let is_first = is_accepted.get_mut(place).is_some_and(std::mem::take);
            if is_first { request.get(place).copied() } else { None }
        };
        let of_batch = |refusal: RefusedEvent| Some(RefusedEvent { index: take(refusal.index)?, ..refusal });
        let refused: Vec<RefusedEvent> = refused.into_iter().filter_map(of_batch).collect();
        let again: Vec<usize> = retry.into_iter().filter_map(take).collect();
        let accepted = request.iter().zip(&is_accepted).filter(|(_, accepted)| **accepted).map(|(index, _)| *index);
        let before_again = request.strip_suffix(again.as_slice()).and_then(<[usize]>::last);
        let last_refused = refused.last().map(|refusal| &refusal.index);
        let is_untried = last_refused.is_some() && last_refused == before_again;
        Self { accepted: accepted.collect(), refused, again, is_untried }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(index: usize) -> RefusedEvent {
        RefusedEvent { index, status: "400".to_owned(), reason: "no".to_owned() }
    }

    fn sorted(refused: &[usize], retry: &[usize]) -> (Vec<usize>, Vec<usize>, Vec<usize>, bool) {
        let refused = refused.iter().copied().map(refusal).collect();
        let Sorted { accepted, refused, again, is_untried } = Sorted::of(&[10, 11, 12, 13], refused, retry.to_vec());
        (accepted, refused.iter().map(|refusal| refusal.index).collect(), again, is_untried)
    }

    #[test]
    fn what_the_sink_does_not_name_is_accepted() {
        assert_eq!(sorted(&[], &[]), (vec![10, 11, 12, 13], vec![], vec![], false));
        assert_eq!(sorted(&[1], &[3]), (vec![10, 12], vec![11], vec![13], false));
        assert_eq!(sorted(&[3], &[0, 2]), (vec![11], vec![13], vec![10, 12], false));
        assert_eq!(sorted(&[], &[0, 1, 2, 3]), (vec![], vec![], vec![10, 11, 12, 13], false));
    }

    /// Such a sink processes a batch in its order, and ends at the first event that it refuses.
    #[test]
    fn the_events_after_the_last_refused_one_are_untried_if_all_of_them_are_to_be_sent_again() {
        assert_eq!(sorted(&[1], &[2, 3]), (vec![10], vec![11], vec![12, 13], true));
        assert_eq!(sorted(&[0], &[1, 2, 3]), (vec![], vec![10], vec![11, 12, 13], true));
        assert!(!sorted(&[0], &[2, 3]).3, "one in between was accepted");
        assert!(!sorted(&[], &[2, 3]).3, "none was refused");
    }

    #[test]
    fn an_event_is_refused_or_sent_again_once_and_others_are_ignored() {
        assert_eq!(sorted(&[1, 1, 7], &[1, 2, 2, 9]), (vec![10, 13], vec![11], vec![12], false));
    }
}
