//! Collects the types and fields in the records of a file that no mapping knows, for `map --report`.

use std::collections::BTreeMap;

use super::output::Table;
use crate::record::{Stream, facts};
use crate::transform::{knows_activity_type, unknown_leaves};

/// Number of types and fields that are listed. With it, a file of any size takes the same memory.
const MAX_PATHS: usize = 1_000;

/// Number of characters of an id that are shown.
const MAX_EXAMPLE: usize = 64;

/// Counts unknown activity types, and leaves that no mapping knows.
#[derive(Debug, Default)]
pub(super) struct Unmapped {
    types: BTreeMap<u32, Seen>,
    leaves: BTreeMap<Box<str>, Seen>,
    /// Types and leaves beyond [`MAX_PATHS`].
    more: u64,
}

/// The number of occurrences, and the id of the first record.
#[derive(Debug)]
struct Seen {
    count: u64,
    example: Box<str>,
}

impl Unmapped {
    pub fn add(&mut self, stream: Stream, record: &[u8]) {
        let facts = facts(stream, record);
        if let Some(number) = facts.activity_type.filter(|number| !knows_activity_type(*number)) {
            count(&mut self.types, number, &facts.id, &mut self.more);
        }
        unknown_leaves(stream, record, &mut |path| match self.leaves.get_mut(path) {
            Some(seen) => seen.count += 1,
            None => count(&mut self.leaves, path.into(), &facts.id, &mut self.more),
        });
    }

    /// Returns the tables, sorted. A sentence replaces an empty table.
    pub fn text(&self, stream: Stream) -> String {
        let stream = stream.name();
        let mut parts = Vec::new();
        if !self.types.is_empty() {
            let mut table = Table::new(&["stream", "activity type that is not in the table", "records", "example"]);
            for (number, seen) in &self.types {
                table.add_row([stream, &number.to_string(), &seen.count.to_string(), &seen.example]);
            }
            table.align_right(2, 1);
            parts.push(table.to_string());
        }
        if self.leaves.is_empty() {
            parts.push("The mapping knows each field of the records.".to_owned());
        } else {
            let mut table = Table::new(&["stream", "field that no mapping knows", "count", "example"]);
            for (path, seen) in &self.leaves {
                table.add_row([stream, path, &seen.count.to_string(), &seen.example]);
            }
            table.align_right(2, 1);
            parts.push(table.to_string());
        }
        if self.more > 0 {
            let more = self.more;
            parts.push(format!("The lists end after {MAX_PATHS} types and fields. Others were there {more} times."));
        }
        parts.join("\n\n")
    }
}

fn count<K: Ord>(seen: &mut BTreeMap<K, Seen>, key: K, example: &str, more: &mut u64) {
    if let Some(seen) = seen.get_mut(&key) {
        seen.count += 1;
    } else if seen.len() < MAX_PATHS {
        let example: String = example.chars().take(MAX_EXAMPLE).collect();
        seen.insert(key, Seen { count: 1, example: example.into() });
    } else {
        *more += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_fields_are_listed_with_counts_and_an_example() {
        let mut unmapped = Unmapped::default();
        assert_eq!(unmapped.text(Stream::Activities), "The mapping knows each field of the records.");
        for (id, number) in [("7", 99_998), ("8", 99_997), ("9", 99_998)] {
            let record = format!(
                r#"{{"id":"{id}","activityType":{number},"data":{{"brandNew":1,"alsoNew":[1,2],"userName":"x"}}}}"#
            );
            unmapped.add(Stream::Activities, record.as_bytes());
        }
        let lines: Vec<Vec<String>> = unmapped
            .text(Stream::Activities)
            .lines()
            .filter(|line| line.trim_start().starts_with("activities"))
            .map(|line| line.split_whitespace().map(str::to_owned).collect())
            .collect();
        let expected = [
            ["activities", "99997", "1", "8"],
            ["activities", "99998", "2", "7"],
            ["activities", "data.alsoNew", "6", "7"],
            ["activities", "data.brandNew", "3", "7"],
        ];
        assert_eq!(lines, expected.map(|line| line.map(str::to_owned).to_vec()));
    }

    #[test]
    fn a_file_with_any_number_of_fields_takes_the_same_memory() {
        let mut unmapped = Unmapped::default();
        let name = |number: usize| {
            let letter = |digit: usize| char::from(b'a' + u8::try_from(number / digit % 26).unwrap());
            [letter(676), letter(26), letter(1)].iter().collect::<String>()
        };
        for number in 0..2_000 {
            let record = format!(r#"{{"id":"1","new":{{"x{}":1}}}}"#, name(number));
            unmapped.add(Stream::Groups, record.as_bytes());
        }
        assert_eq!((unmapped.leaves.len(), unmapped.more), (MAX_PATHS, 1_000));
        let text = unmapped.text(Stream::Groups);
        assert!(text.ends_with("The lists end after 1000 types and fields. Others were there 1000 times."), "{text}");
    }
}
