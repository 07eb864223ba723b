//! The envelope around a stored checkpoint: magic, format, checksum.

use s1_forwarder_engine::checkpoint::{NEWEST_ENVELOPE as VERSION, StateError};

const MAGIC: &[u8; 8] = b"S1FWSTAT";
const HEADER: usize = MAGIC.len() + 2 + 4;

/// Returns `payload` in its envelope.
pub fn seal(payload: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(HEADER + payload.len());
    sealed.extend_from_slice(MAGIC);
    sealed.extend_from_slice(&VERSION.to_be_bytes());
    sealed.extend_from_slice(&crc32fast::hash(payload).to_be_bytes());
    sealed.extend_from_slice(payload);
    sealed
}

/// Returns the payload of an envelope that was read from `place`.
///
/// # Errors
/// [`StateError::Damaged`], or [`StateError::Newer`] if a newer release wrote it.
pub fn open(sealed: &[u8], place: &str) -> Result<Vec<u8>, StateError> {
    let damaged = |reason| StateError::Damaged { place: place.to_owned(), reason };
    let (magic, rest) = sealed.split_first_chunk::<8>().ok_or_else(|| damaged("it is too short"))?;
    if magic != MAGIC {
        return Err(damaged("it does not begin as a checkpoint does"));
    }
    let (version, rest) = rest.split_first_chunk::<2>().ok_or_else(|| damaged("it is too short"))?;
    let version = u16::from_be_bytes(*version);
    if version > VERSION {
        return Err(StateError::Newer { place: place.to_owned(), version });
    }
    if version == 0 {
        return Err(damaged("no release wrote its version"));
    }
    let (checksum, payload) = rest.split_first_chunk::<4>().ok_or_else(|| damaged("it is too short"))?;
    if u32::from_be_bytes(*checksum) != crc32fast::hash(payload) {
        return Err(damaged("its checksum is wrong"));
    }
    Ok(payload.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files and Kubernetes have these envelopes. A new version of the envelope needs a golden file of its own.
    #[test]
    fn each_envelope_is_read_and_the_newest_one_is_written() {
        let payload = include_bytes!("../../../tests/data/layouts/5/checkpoint");
        let golden: [&[u8]; VERSION as usize] = [include_bytes!("../../../tests/data/layouts/stores/envelope-1")];
        for sealed in golden {
            assert!(open(sealed, "a file").unwrap() == payload);
        }
        assert!(golden.last().is_some_and(|newest| *newest == seal(payload)));
    }
}
