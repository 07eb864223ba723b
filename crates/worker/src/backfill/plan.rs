//! Splits a window into slices. The plan is stored, so that a run after a kill continues it.

use std::future::Future;

use futures_util::{StreamExt, TryStreamExt, stream};
use s1_forwarder_engine::source::{TimeField, Window};
use s1_forwarder_record::Timestamp;
use serde::{Deserialize, Serialize};

/// Number of slices per parallel pull. More slices finish at more even times. Fewer slices need fewer counts, and have
/// fewer half-empty last pages.
const SLICES_PER_PULL: u64 = 4;
/// Minimum size of a slice in pages, since the last page of each slice is not full.
const MIN_PAGES: u64 = 5;
/// A console may cap larger counts. Where the exact number matters, such a window is counted in parts.
pub const TRUSTED_COUNT: u64 = 10_000;

/// The slices of a backfill. A resumed backfill keeps its plan, also with another `--parallel`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackfillPlan {
    /// Console, scope and filters of the plan. With others, a new plan is made.
    pub made_under: String,
    /// In the order of time, without gaps.
    pub slices: Vec<Slice>,
}

/// A part of the window, pulled by a lane of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slice {
    /// Start, inclusive, in microseconds since 1970.
    from: i64,
    /// End, exclusive, in microseconds since 1970.
    to: i64,
    /// The console's count when the plan was made.
    pub count: u64,
}

impl Slice {
    fn new(window: Window, count: u64) -> Self {
        Self { from: window.from.micros(), to: window.to.micros(), count }
    }

    pub fn window(&self) -> Window {
        Window { from: Timestamp::from_micros(self.from), to: Timestamp::from_micros(self.to), time: TimeField::Order }
    }
}

/// Splits `window`, in which the console counts `total` records, into slices of about equal counts. The bounds are
/// whole seconds. A slice of less than [`MIN_PAGES`] pages of `page` records is not split.
///
/// # Errors
/// If `count` fails, with its first error.
pub async fn split<E, F: Future<Output = Result<u64, E>>>(
    window: Window,
    total: u64,
    parallel: usize,
    page: usize,
    count: impl Fn(Window) -> F,
) -> Result<Vec<Slice>, E> {
    let wanted = SLICES_PER_PULL.saturating_mul(parallel as u64);
    let most = (total / wanted.max(1)).max(MIN_PAGES * page as u64);
    let mut slices = vec![Slice::new(window, total)];
    loop {
        let split = |slice: &Slice| if slice.count > most { halves(slice) } else { None };
        let splits: Vec<_> = slices.iter().map(split).collect();
        if splits.iter().all(Option::is_none) {
            return Ok(slices);
        }
        let counted = stream::iter(slices.iter().zip(splits)).map(|(slice, halves)| halve(*slice, halves, &count));
        slices = counted.buffered(parallel.max(1)).try_collect::<Vec<_>>().await?.into_iter().flatten().collect();
    }
}

/// Returns the sum of the counts of parts that are small enough to be exact. `known` is the console's count of the
/// whole window.
///
/// # Errors
/// If `count` fails, with its first error.
pub async fn count_in_parts<E, F: Future<Output = Result<u64, E>>>(
    window: Window,
    known: u64,
    count: impl Fn(Window) -> F,
) -> Result<u64, E> {
    let mut sum = 0;
    let mut open = vec![Slice::new(window, known)];
    while let Some(slice) = open.pop() {
        if let Some(halves) = halves(&slice)
            && slice.count > TRUSTED_COUNT
        {
            open.extend(halve(slice, Some(halves), &count).await?);
        } else {
            sum += slice.count;
        }
    }
    Ok(sum)
}

async fn halve<E, F: Future<Output = Result<u64, E>>>(
    slice: Slice,
    halves: Option<[Window; 2]>,
    count: &impl Fn(Window) -> F,
) -> Result<Vec<Slice>, E> {
    let Some([older, newer]) = halves else { return Ok(vec![slice]) };
    let first = count(older).await?;
    // If the count is exact, the second half is the rest.
    let second = if slice.count <= TRUSTED_COUNT { slice.count.saturating_sub(first) } else { count(newer).await? };
    Ok(vec![Slice::new(older, first), Slice::new(newer, second)])
}

/// Returns two halves that meet at a whole second. `None` if the slice is too short.
fn halves(slice: &Slice) -> Option<[Window; 2]> {
    let Window { from, to, time: by } = slice.window();
    let middle = Timestamp::from_micros(from.micros().midpoint(to.micros())).whole_second();
    (from < middle && middle < to)
        .then_some([Window { from, to: middle, time: by }, Window { from: middle, to, time: by }])
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn second(second: i64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000)
    }

    fn window(from: i64, to: i64) -> Window {
        Window { from: second(from), to: second(to), time: TimeField::Order }
    }

    /// Returns the times of records, of which nine tenths are in the last tenth of the time.
    fn times() -> Vec<Timestamp> {
        (0..1_000_i64).map(|n| second(n * 10)).chain((0..9_000).map(|n| second(9_000 + n / 9))).collect()
    }

    fn within(window: Window) -> u64 {
        times().into_iter().filter(|time| window.holds(Some(*time))).count() as u64
    }

    #[tokio::test]
    async fn slices_are_of_about_equal_counts_and_leave_no_gap() {
        let requests = AtomicUsize::new(0);
        let count = async |window| {
            requests.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Infallible>(within(window))
        };
        let slices = split(window(0, 10_000), 10_000, 4, 100, count).await.unwrap();
        assert!(slices.iter().all(|slice| slice.count <= 625), "{slices:?}");
        assert!(slices.iter().all(|slice| slice.count == within(slice.window())));
        assert!(slices.windows(2).all(|pair| pair[0].to == pair[1].from));
        assert_eq!((slices[0].from, slices[slices.len() - 1].to), (0, 10_000_000_000));
        assert!(slices.len() < 40 && requests.load(Ordering::Relaxed) < 40, "{} {requests:?}", slices.len());
    }

    #[tokio::test]
    async fn a_window_of_a_few_pages_is_one_slice_and_needs_no_count() {
        let count = |_| std::future::ready(Err::<u64, _>("counted"));
        assert_eq!(split(window(0, 100), 5_000, 8, 1_000, count).await.unwrap().len(), 1);
        let dense = |_| std::future::ready(Ok::<_, Infallible>(50_000_u64));
        let slices = split(window(0, 4), 50_000, 1, 1, dense).await.unwrap();
        assert_eq!(slices.len(), 4, "a second is not split: {slices:?}");
    }

    #[tokio::test]
    async fn a_window_with_a_capped_count_is_counted_in_parts() {
        let capped = |window| std::future::ready(Ok::<_, Infallible>(within(window).min(TRUSTED_COUNT)));
        let known = capped(window(0, 20_000)).await.unwrap();
        let wide = window(-1_000, 20_000);
        let doubled =
            |window: Window| std::future::ready(Ok::<_, Infallible>((2 * within(window)).min(TRUSTED_COUNT + 1)));
        assert_eq!(count_in_parts(wide, known, capped).await, Ok(10_000));
        assert_eq!(count_in_parts(wide, TRUSTED_COUNT + 1, doubled).await, Ok(20_000));
    }
}
