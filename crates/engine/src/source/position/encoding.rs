//! Encodings of the parts of a position in a checkpoint that serde would encode in another way.

/// The content hash of each record, ordered by the record's key.
pub(super) mod contents {
    use std::borrow::Cow;
    use std::collections::HashMap;

    use serde::{Deserializer, Serializer};

    use crate::checkpoint::encoding::{from_fixed, numbered, to_fixed};

    pub fn serialize<S: Serializer>(contents: &HashMap<u64, u64>, serializer: S) -> Result<S::Ok, S::Error> {
        let mut contents: Vec<(u64, u64)> = contents.iter().map(|(key, content)| (*key, *content)).collect();
        contents.sort_unstable();
        let mut previous = 0;
        serializer.collect_seq(contents.iter().map(|(key, content)| {
            let difference = key.wrapping_sub(std::mem::replace(&mut previous, *key));
            (difference, to_fixed(*content))
        }))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Cow<'static, HashMap<u64, u64>>, D::Error> {
        let contents = numbered(deserializer)?.into_iter().map(|(key, content)| (key, from_fixed(content)));
        Ok(Cow::Owned(contents.collect()))
    }
}

/// The records of each second, by column: seconds, keys, versions.
pub(super) mod seconds {
    use std::borrow::Cow;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::source::position::seconds::{KeysBySecond, Second};

    #[derive(Serialize, Deserialize)]
    struct Columns {
        /// For each second the difference to the one before, and in the last two bits whether its keys have versions
        /// and whether there are several.
        seconds: Vec<i64>,
        /// The number of keys of each second that has several.
        counts: Vec<u32>,
        keys: Keys,
        versions: Vec<[u8; 4]>,
    }

    const HAS_VERSIONS: i64 = 1;
    const HAS_SEVERAL: i64 = 2;

    /// Ids rise with time, so that the differences between neighbours are small; hashes do not.
    #[derive(Serialize, Deserialize)]
    enum Keys {
        Differences(Vec<i64>),
        Whole(Vec<[u8; 8]>),
    }

    impl Keys {
        fn of(keys: &[u64]) -> Self {
            let mut previous = 0;
            let difference = |key: &u64| key.wrapping_sub(std::mem::replace(&mut previous, *key)).cast_signed();
            let differences: Vec<i64> = keys.iter().map(difference).collect();
            // A varint of 56 bits and the sign has eight bytes.
            let large = differences.iter().filter(|difference| difference.unsigned_abs() >= 1 << 55).count();
            if large * 2 > keys.len() {
                return Self::Whole(keys.iter().map(|key| key.to_le_bytes()).collect());
            }
            Self::Differences(differences)
        }

        fn read(self) -> Vec<u64> {
            match self {
                Self::Differences(differences) => {
                    let sum = |key: &mut u64, difference: i64| {
                        *key = key.wrapping_add(difference.cast_unsigned());
                        Some(*key)
                    };
                    differences.into_iter().scan(0, sum).collect()
                }
                Self::Whole(keys) => keys.into_iter().map(u64::from_le_bytes).collect(),
            }
        }
    }

    pub fn serialize<S: Serializer>(seconds: &KeysBySecond, serializer: S) -> Result<S::Ok, S::Error> {
        let mut codes = Vec::new();
        let mut counts = Vec::new();
        let mut keys = Vec::new();
        let mut versions = Vec::new();
        let mut previous = 0;
        for (second, records) in seconds.iter() {
            let mut code = second.wrapping_sub(std::mem::replace(&mut previous, second)) << 2;
            if !records.versions.is_empty() {
                code |= HAS_VERSIONS;
            }
            if records.keys.len() != 1 {
                code |= HAS_SEVERAL;
                counts.push(u32::try_from(records.keys.len()).map_err(serde::ser::Error::custom)?);
            }
            codes.push(code);
            keys.extend_from_slice(&records.keys);
            versions.extend(records.versions.iter().map(|version| (*version as u32).to_le_bytes()));
        }
        Columns { seconds: codes, counts, keys: Keys::of(&keys), versions }.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Cow<'static, KeysBySecond>, D::Error> {
        let damaged = || D::Error::custom("keys and their times do not match");
        let Columns { seconds, counts, keys, versions } = Columns::deserialize(deserializer)?;
        let mut counts = counts.into_iter();
        let mut keys = keys.read().into_iter();
        let mut versions = versions.into_iter().map(|version| u64::from(u32::from_le_bytes(version)));
        let mut read = KeysBySecond::default();
        let mut second = 0_i64;
        for code in seconds {
            let several = code & HAS_SEVERAL != 0;
            let count = if several { counts.next().ok_or_else(damaged)? as usize } else { 1 };
            let count_of_versions = if code & HAS_VERSIONS != 0 { count } else { 0 };
            let of_second = Second {
                keys: keys.by_ref().take(count).collect(),
                versions: versions.by_ref().take(count_of_versions).collect(),
            };
            let is_whole = (of_second.keys.len(), of_second.versions.len()) == (count, count_of_versions);
            if !is_whole || !of_second.keys.is_sorted() {
                return Err(damaged());
            }
            second = second.wrapping_add(code >> 2);
            read.insert(second, of_second);
        }
        Ok(Cow::Owned(read))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::time::Duration;

    use proptest::prelude::*;

    use crate::checkpoint::encoding::CONTENT_HASH;
    use crate::source::position::contents::Contents;
    use crate::source::position::pass_positions::PassPositions;
    use crate::source::{
        MAIN_PASS, Pass, PassKeys, PassKind, PollContext, PositionReader, RecordKey, SourcePosition, TimeField,
    };
    use s1_forwarder_record::Timestamp;

    fn start() -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000)
    }

    /// Returns a position of two passes. The first remembers versions, the second the last version of each record.
    fn position(keys: &[(i64, u64)], complete: bool) -> SourcePosition {
        let pass = |name: &str, keys| Pass {
            name: name.into(),
            sort_by: "",
            time_filter: "",
            by: TimeField::Order,
            every: Duration::from_mins(1),
            late_window: Duration::from_hours(24),
            keys,
            kind: PassKind::New,
        };
        let last = PassKeys::Latest;
        let versions = PassKeys::Versions;
        let mut passes =
            [pass(MAIN_PASS, versions), pass("again", last), pass("all", versions), pass("findings", last)];
        passes[2].kind = PassKind::Snapshot;
        passes[3].kind = PassKind::AllFindings;
        let since = start().minus(Duration::from_hours(24));
        let mut position = SourcePosition::starting_at(since);
        position.add_passes(&passes);
        for (offset, key) in keys {
            let time = start().plus(Duration::from_micros(offset.unsigned_abs()));
            let id = *key;
            let version = key.rotate_left(7);
            let content = Some((key ^ 77) & CONTENT_HASH);
            let record_key = RecordKey { id, version, content, time, created: Some(time) };
            position.settle(&passes, PollContext { start: start(), ..PollContext::default() }).remember(&record_key);
        }
        if complete {
            position.finish(&passes, PollContext { start: start(), ..PollContext::default() }, false);
            position.finish(
                &passes,
                PollContext { pass: 2, start: start(), snapshot: Some(start()), ..PollContext::default() },
                true,
            );
            position.finish(
                &passes,
                PollContext { pass: 3, start: start(), sweep: true, ..PollContext::default() },
                false,
            );
        }
        position
    }

    fn encode(position: &SourcePosition) -> Vec<u8> {
        position.whole()
    }

    fn decode(bytes: &[u8]) -> postcard::Result<SourcePosition> {
        let mut reader = PositionReader::default();
        reader.apply(postcard::from_bytes(bytes)?);
        Ok(reader.finish())
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            keys in prop::collection::vec((0..100_000_000_i64, any::<u64>()), 0..200),
            complete in any::<bool>(),
        ) {
            let position = position(&keys, complete);
            prop_assert_eq!(decode(&encode(&position)), Ok(position));
        }

        #[test]
        fn cut_bytes_are_refused(cut in 0..200_usize) {
            let bytes = encode(&position(&[(1, 1), (2, u64::MAX)], true));
            if cut < bytes.len() {
                prop_assert!(decode(&bytes[..cut]).is_err());
            }
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = decode(&bytes);
        }
    }

    /// Times, versions, contents, a snapshot, a sweep: a position is a part of checkpoints and of journals.
    /// `UPDATE_GOLDEN=1` writes the file, which only a new layout may change.
    #[test]
    fn the_layout_is_that_of_the_golden_file() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/layouts/5/position");
        let position = position(&[(1, 1), (2, 1 << 60), (3, 7), (70_000_000, u64::MAX)], true);
        if std::env::var_os("UPDATE_GOLDEN").is_some() && !golden.exists() {
            fs::write(&golden, encode(&position)).unwrap();
        }
        let stored = fs::read(golden).unwrap();
        assert_eq!(decode(&stored).as_ref(), Ok(&position));
        assert!(stored == encode(&position), "another layout needs another number");
    }

    /// docs/streams.md has these numbers for agents and alerts.
    #[test]
    fn a_checkpoint_holds_about_as_many_bytes_as_documented() {
        // Ids are numbers of 60 bits that rise with time; one in ten seconds.
        let records: Vec<_> =
            (0..10_000).map(|index| (index * 10_000_000, (1 << 60) + index as u64 * 8_388_593)).collect();
        let all = position(&records, false);
        let bytes_each =
            |passes, contents| encode(&SourcePosition { passes, contents, ..all.clone() }).len() as f64 / 10_000.0;
        let mut second = all.passes.clone();
        second.retain(|name| name == "again");
        let per_agent = bytes_each(PassPositions::default(), all.contents.clone());
        let per_alert = bytes_each(second, Contents::default());
        assert!((8.0..13.0).contains(&per_agent) && (8.0..14.0).contains(&per_alert), "{per_agent} {per_alert}");
    }
}
