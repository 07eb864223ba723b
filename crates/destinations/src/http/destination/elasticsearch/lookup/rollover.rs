//! Finds out by the numbers of a target's indices whether documents were removed.

use std::time::Duration;

use s1_forwarder_engine::sink::lookup::Retention;
use s1_forwarder_record::Timestamp;

/// The digits of a number that a rollover gives.
const ROLLED_DIGITS: usize = 6;
/// The clocks of cluster and console may differ by this.
const MAX_CLOCK_DIFFERENCE: Duration = Duration::from_hours(1);

/// Returns the retention of a target by its indices, which a rollover numbers. While the first index is there, no index
/// was removed. Otherwise everything is there that was created after the oldest index that has all later ones. Other
/// names say nothing, nor do the numbers of several series.
pub(super) fn retention<'n>(indices: impl Iterator<Item = (&'n str, Option<Timestamp>)>) -> Retention {
    let mut series = Vec::new();
    let mut numbered = |(name, created): (&'n str, Option<Timestamp>)| {
        let (name, digits) = name.rsplit_once('-').filter(|(_, digits)| digits.len() == ROLLED_DIGITS)?;
        series.push(without_date(name));
        Some((digits.parse::<u32>().ok()?, created?))
    };
    let Some(mut indices) = indices.map(&mut numbered).collect::<Option<Vec<_>>>() else { return Retention::Unknown };
    if !is_one(&series) {
        return Retention::Unknown;
    }
    indices.sort_unstable();
    let next = |(later, earlier): (&(u32, Timestamp), &(u32, Timestamp))| earlier.0 + 1 >= later.0;
    let rest = indices.iter().rev().zip(indices.iter().rev().skip(1)).take_while(|pair| next(*pair)).count();
    match indices.len().checked_sub(rest + 1).and_then(|first| indices.get(first)) {
        None => Retention::Unknown,
        Some((1, created)) => Retention::Since(*created),
        Some((_, created)) => {
            let reason = "an index that documents were sent to before is no longer there (retention?)";
            Retention::From(created.plus(MAX_CLOCK_DIFFERENCE), reason.to_owned())
        }
    }
}

/// Removes the day of creation, which the name of a backing index has before the number.
fn without_date(name: &str) -> &str {
    let is_date = |text: &str| text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    match name.rsplit_once('-') {
        Some((series, date)) if is_date(date) => series,
        _ => name,
    }
}

/// Returns whether the names are of one series. An index that was shrunk or restored has a word before its name.
fn is_one(names: &[&str]) -> bool {
    let shortest = names.iter().min_by_key(|name| name.len()).copied().unwrap_or_default();
    names.iter().all(|name| name.strip_suffix(shortest).is_some_and(|word| word.is_empty() || word.ends_with('-')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_removed_with_an_index_is_known_by_the_numbers_of_the_others() {
        let hour = |hour: i64| Timestamp::from_micros(hour * 3_600_000_000);
        for (names, expected) in [
            (&[".ds-a-2026.11.28-000001"][..], "since 0"),
            (&[".ds-a-2026.11.27-000001", ".ds-a-2026.11.28-000002"], "since 0"),
            (&["a-000002", "a-000001", "a-000003"], "since 1"),
            // Each was created in the hour of its place here, and the clocks may differ by one.
            (&["a-000002"], "from 1"),
            (&["a-000007", "a-000005", "a-000006"], "from 2"),
            (&["a-000001", "a-000002", "a-000004", "a-000005"], "from 3"),
            (&["shrink-x-a-000003", "a-000004"], "from 1"),
            (&["a"], "unknown"),
            (&["a-2026"], "unknown"),
            (&["a-000001", "blue"], "unknown"),
            // Two series: it is unknown which one documents were sent to.
            (&["a-000001", "b-000001"], "unknown"),
            (&["a-000001", "ba-000002"], "unknown"),
            (&[], "unknown"),
        ] {
            let indices = names.iter().zip(0_i64..).map(|(name, created)| (*name, Some(hour(created))));
            let found = match retention(indices) {
                Retention::Since(time) | Retention::Alias(time) => format!("since {}", time.micros() / 3_600_000_000),
                Retention::Everything => "everything".to_owned(),
                Retention::From(time, _) => format!("from {}", time.micros() / 3_600_000_000),
                Retention::Unknown => "unknown".to_owned(),
            };
            assert_eq!(found, expected, "{names:?}");
        }
        assert_eq!(retention([("a-000002", None)].into_iter()), Retention::Unknown);
    }
}
