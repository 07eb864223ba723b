//! How a window is cut into slices, and what of the plan outlives a kill.

use std::future::Future;

use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};

use crate::record::Timestamp;
use crate::source::{By, Window};

/// Slices for each one that is pulled at a time: enough that none is left alone with a long one at the end, few enough
/// that their last, half-empty pages and their counts do not matter.
const SLICES_PER_PULL: u64 = 4;
/// A slice is not made smaller than so many pages: each ends with one that is not full.
const FEWEST_PAGES: u64 = 5;
/// Counts above it have been seen capped, and are taken in parts where they matter.
pub const TRUSTED_COUNT: u64 = 10_000;

/// A backfill as it was planned; what was planned is what is resumed, whatever `--parallel` says then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// What it was made under: another console, scope or filter means another plan.
    pub made_under: String,
    /// The slices in the order of time, without gaps.
    pub slices: Vec<Slice>,
}

/// A part of the window, pulled by a lane of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slice {
    /// Lower end, included, in microseconds since 1970.
    from: i64,
    /// Upper end, not included.
    to: i64,
    /// What the console counted in it when the plan was made.
    pub count: u64,
}

impl Slice {
    fn new(window: Window, count: u64) -> Self {
        Self { from: window.from.micros(), to: window.to.micros(), count }
    }

    /// Its window.
    pub fn window(&self) -> Window {
        Window { from: Timestamp::from_micros(self.from), to: Timestamp::from_micros(self.to), by: By::Order }
    }
}

/// Cuts `window`, in which the console counts `total` records, into slices of about equal counts, at whole seconds. A slice
/// of fewer than [`FEWEST_PAGES`] pages of `page` records is not cut.
///
/// # Errors
/// The first of `count`.
pub async fn cut<E, F: Future<Output = Result<u64, E>>>(
    window: Window,
    total: u64,
    parallel: usize,
    page: usize,
    count: impl Fn(Window) -> F,
) -> Result<Vec<Slice>, E> {
    let wanted = SLICES_PER_PULL.saturating_mul(parallel as u64);
    let most = (total / wanted.max(1)).max(FEWEST_PAGES * page as u64);
    let mut slices = vec![Slice::new(window, total)];
    loop {
        let cuts: Vec<_> = slices.iter().map(|slice| halves(slice).filter(|_| slice.count > most)).collect();
        if cuts.iter().all(Option::is_none) {
            return Ok(slices);
        }
        let counted = stream::iter(slices.iter().zip(cuts)).map(|(slice, cut)| halve(*slice, cut, &count));
        slices = counted.buffered(parallel.max(1)).try_collect::<Vec<_>>().await?.into_iter().flatten().collect();
    }
}

/// A count in parts small enough to be trusted; `known` is what the console says of the whole.
///
/// # Errors
/// The first of `count`.
pub async fn count_in_parts<E, F: Future<Output = Result<u64, E>>>(
    window: Window,
    known: u64,
    count: impl Fn(Window) -> F,
) -> Result<u64, E> {
    let mut sum = 0;
    let mut open = vec![Slice::new(window, known)];
    while let Some(slice) = open.pop() {
        match halves(&slice).filter(|_| slice.count > TRUSTED_COUNT) {
            Some(cut) => open.extend(halve(slice, Some(cut), &count).await?),
            None => sum += slice.count,
        }
    }
    Ok(sum)
}

async fn halve<E, F: Future<Output = Result<u64, E>>>(
    slice: Slice,
    cut: Option<[Window; 2]>,
    count: &impl Fn(Window) -> F,
) -> Result<Vec<Slice>, E> {
    let Some([older, newer]) = cut else { return Ok(vec![slice]) };
    let first = count(older).await?;
    // What is left of a count that can be trusted need not be asked for.
    let second = if slice.count <= TRUSTED_COUNT { slice.count.saturating_sub(first) } else { count(newer).await? };
    Ok(vec![Slice::new(older, first), Slice::new(newer, second)])
}

/// Two halves that meet at a whole second; none of a slice that is too short.
fn halves(slice: &Slice) -> Option<[Window; 2]> {
    let Window { from, to, by } = slice.window();
    let middle = Timestamp::from_micros(from.micros().midpoint(to.micros())).whole_second();
    (from < middle && middle < to).then_some([Window { from, to: middle, by }, Window { from: middle, to, by }])
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
        Window { from: second(from), to: second(to), by: By::Order }
    }

    /// Nine tenths of the records lie in the last tenth of the time.
    fn times() -> Vec<Timestamp> {
        (0..1_000_i64).map(|n| second(n * 10)).chain((0..9_000).map(|n| second(9_000 + n / 9))).collect()
    }

    fn within(window: Window) -> u64 {
        times().into_iter().filter(|time| window.holds(Some(*time))).count() as u64
    }

    #[tokio::test]
    async fn slices_are_of_about_equal_counts_and_leave_no_gap() {
        let asked = AtomicUsize::new(0);
        let count = async |window| {
            asked.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Infallible>(within(window))
        };
        let slices = cut(window(0, 10_000), 10_000, 4, 100, count).await.unwrap();
        assert!(slices.iter().all(|slice| slice.count <= 625), "{slices:?}");
        assert!(slices.iter().all(|slice| slice.count == within(slice.window())));
        assert!(slices.windows(2).all(|pair| pair[0].to == pair[1].from));
        assert_eq!((slices[0].from, slices[slices.len() - 1].to), (0, 10_000_000_000));
        assert!(slices.len() < 40 && asked.load(Ordering::Relaxed) < 40, "{} {asked:?}", slices.len());
    }

    #[tokio::test]
    async fn what_fits_into_a_few_pages_is_one_slice_and_no_count() {
        let count = |_| std::future::ready(Err::<u64, _>("asked"));
        assert_eq!(cut(window(0, 100), 5_000, 8, 1_000, count).await.unwrap().len(), 1);
        let dense = |_| std::future::ready(Ok::<_, Infallible>(50_000_u64));
        let slices = cut(window(0, 4), 50_000, 1, 1, dense).await.unwrap();
        assert_eq!(slices.len(), 4, "a second is not cut: {slices:?}");
    }

    #[tokio::test]
    async fn a_capped_count_is_taken_in_parts() {
        let capped = |window| std::future::ready(Ok::<_, Infallible>(within(window).min(TRUSTED_COUNT)));
        let known = capped(window(0, 20_000)).await.unwrap();
        let wide = window(-1_000, 20_000);
        let doubled =
            |window: Window| std::future::ready(Ok::<_, Infallible>((2 * within(window)).min(TRUSTED_COUNT + 1)));
        assert_eq!(count_in_parts(wide, known, capped).await, Ok(10_000));
        assert_eq!(count_in_parts(wide, TRUSTED_COUNT + 1, doubled).await, Ok(20_000));
    }
}
