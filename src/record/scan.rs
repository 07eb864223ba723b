//! Finds the ends of JSON values in bytes, by strings and brackets alone. It splits pages into records and looks up
//! fields; [`super::Reader`] checks the whole grammar.

use wide::u8x16;

/// The position of the first quote, backslash or control character at or after `at`, else the length.
#[inline]
pub(super) fn string_stop(bytes: &[u8], mut at: usize) -> usize {
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<16>()) {
        let block = u8x16::new(*chunk);
        let controls = block.min(u8x16::splat(0x1f)).simd_eq(block);
        let stops = block.simd_eq(u8x16::splat(b'"')) | block.simd_eq(u8x16::splat(b'\\')) | controls;
        let stops = stops.to_bitmask();
        if stops != 0 {
            return at + stops.trailing_zeros() as usize;
        }
        at += 16;
    }
    while let Some(&byte) = bytes.get(at) {
        if byte == b'"' || byte == b'\\' || byte < 0x20 {
            return at;
        }
        at += 1;
    }
    at
}

/// The position after the string whose opening quote is at `at`; `None` if the string does not end.
#[inline]
pub fn string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        at = string_stop(bytes, at);
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// The position of the first byte at or after `at` that is not white space.
#[inline]
pub(super) fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\t' | b'\r') = bytes.get(at) {
        at += 1;
    }
    at
}

/// The position after the value that begins at `at`, by strings and brackets alone; `None` if the value does not end.
pub fn value_end(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at)? {
        b'"' => return string_end(bytes, at),
        b'{' | b'[' => {}
        _ => {
            let rest = bytes.get(at..)?;
            let end =
                rest.iter().position(|byte| matches!(byte, b',' | b'}' | b']' | b':' | b' ' | b'\n' | b'\t' | b'\r'));
            return Some(at + end.unwrap_or(rest.len()));
        }
    }
    let mut at = at;
    let mut depth = 0_usize;
    loop {
        match bytes.get(at)? {
            b'"' => {
                at = string_end(bytes, at)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
}

/// Whether two keys of one length are the same. A call of `memcmp` would take longer.
#[inline]
pub(super) fn is_same(one: &[u8], other: &[u8]) -> bool {
    let (one_words, one_rest) = one.as_chunks::<8>();
    let (other_words, other_rest) = other.as_chunks::<8>();
    one_words.iter().zip(other_words).all(|(one, other)| u64::from_ne_bytes(*one) == u64::from_ne_bytes(*other))
        && one_rest.iter().zip(other_rest).all(|(one, other)| one == other)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_string_stops_where_its_bytes_say(text in prop::collection::vec(any::<u8>(), 0..70), at in 0..70_usize) {
            // Stops, and what is next to them, are rare.
            let near = [b'"', b'\\', 0, 0x1f, b' ', b'!'];
            let rare = |byte: u8| byte.checked_sub(250).map_or(b'x' | byte, |index| near[usize::from(index)]);
            let bytes: Vec<u8> = text.into_iter().map(rare).chain(*b"\"").collect();
            let stops = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
            let rest = bytes.get(at..).unwrap_or_default();
            let expected = rest.iter().position(stops).map_or(at.max(bytes.len()), |found| at + found);
            prop_assert_eq!(string_stop(&bytes, at), expected);
        }
    }
}
