//! How the parts of a position are encoded in a checkpoint, where that is not as serde would do it.

/// The content hash of each record, ordered by the record's key.
pub mod contents {
    use std::collections::HashMap;
    use std::sync::Arc;

    use serde::{Deserializer, Serializer};

    use crate::checkpoint::encoding::{Fixed, add, fold};

    pub fn serialize<S: Serializer>(contents: &HashMap<u64, u64>, serializer: S) -> Result<S::Ok, S::Error> {
        let mut contents: Vec<(u64, u64)> = contents.iter().map(|(key, content)| (*key, *content)).collect();
        contents.sort_unstable();
        let mut previous = 0;
        serializer.collect_seq(contents.iter().map(|(key, content)| {
            let difference = key.wrapping_sub(std::mem::replace(&mut previous, *key));
            (difference, content.to_le_bytes())
        }))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<HashMap<u64, u64>>, D::Error> {
        let mut key = 0;
        let contents = fold(deserializer, HashMap::new(), |contents, (difference, content): (u64, Fixed)| {
            let fits = add(&mut key, difference);
            contents.insert(key, u64::from_le_bytes(content));
            fits
        });
        contents.map(Arc::new)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use proptest::prelude::*;

    use crate::record::Timestamp;
    use crate::source::{By, Keys, MAIN, Pass, PollContext, RecordKey, SourcePosition};

    fn start() -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000)
    }

    /// Two passes: the first remembers versions, the second the last version of each record.
    fn position(keys: &[(i64, u64)], complete: bool) -> SourcePosition {
        let pass = |name: &str, keys| Pass {
            name: name.into(),
            sort_by: "",
            time_filter: "",
            by: By::Order,
            every: Duration::from_secs(60),
            reach: Duration::from_secs(86_400),
            keys,
            snapshot: false,
            chain: None,
        };
        let (last, versions) = (Keys::Latest, Keys::Versions);
        let mut passes = [pass(MAIN, versions), pass("again", last), pass("all", versions), pass("chain", last)];
        passes[2].snapshot = true;
        passes[3].chain = Some(None);
        let since = start().minus(Duration::from_secs(86_400));
        let mut position = SourcePosition::starting_at(since);
        position.align(&passes);
        for (offset, key) in keys {
            let time = start().plus(Duration::from_micros(offset.unsigned_abs()));
            let (id, version, content) = (*key, key.rotate_left(7), Some(key ^ 77));
            let record_key = RecordKey { id, version, content, time, created: Some(time) };
            position.take(&passes, PollContext { start: start(), ..PollContext::default() }, &record_key);
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
        postcard::to_stdvec(position).unwrap()
    }

    fn decode(bytes: &[u8]) -> postcard::Result<SourcePosition> {
        postcard::from_bytes(bytes)
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

    /// docs/streams.md has these numbers for agents and alerts.
    #[test]
    fn a_checkpoint_holds_about_as_many_bytes_as_documented() {
        // Ids are numbers of 60 bits that rise with time; one in ten seconds.
        let records: Vec<_> =
            (0..10_000).map(|place| (place * 10_000_000, (1 << 60) + place as u64 * 8_388_593)).collect();
        let all = position(&records, false);
        let bytes_each =
            |tracks, contents| encode(&SourcePosition { tracks, contents, ..all.clone() }).len() as f64 / 10_000.0;
        let per_agent = bytes_each(Vec::new(), all.contents.clone());
        let per_alert = bytes_each(vec![all.tracks[1].clone()], Arc::default());
        assert!((11.0..16.0).contains(&per_agent) && (18.0..24.0).contains(&per_alert), "{per_agent} {per_alert}");
    }
}
