//! Finds the ends of JSON values in bytes, by strings and brackets alone. It splits pages into records and looks up
//! fields; [`super::Reader`] checks the whole grammar.

use wide::u8x16;

/// Returns the position of the first quote, backslash or control character at or after `at`, else the length.
#[inline]
pub fn string_stop(bytes: &[u8], mut at: usize) -> usize {
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

/// Returns the position after the string whose opening quote is at `at`; `None` if the string does not end.
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

/// Returns the position of the first byte at or after `at` that is not white space.
#[inline]
pub(super) fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\t' | b'\r') = bytes.get(at) {
        at += 1;
    }
    at
}

/// Returns the position after the value that begins at `at`, by strings and brackets alone; `None` if the value does
/// not end.
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
    let mut blocks = Blocks::default();
    let (chunks, rest) = bytes.get(at..)?.as_chunks::<64>();
    if let Some((index, end)) =
        chunks.iter().enumerate().find_map(|(index, chunk)| Some((index, blocks.end_in(chunk)?)))
    {
        return Some(at + index * 64 + end);
    }
    let mut last = [b' '; 64];
    last[..rest.len()].copy_from_slice(rest);
    blocks.end_in(&last).map(|end| at + chunks.len() * 64 + end)
}

/// Returns a mask with a bit for each quote and each backslash of the block. The lowest bit is the first byte.
#[inline]
pub fn quotes_and_backslashes(block: &[u8; 64]) -> u64 {
    let mut stops = 0;
    for (index, chunk) in block.as_chunks::<16>().0.iter().enumerate() {
        let chunk = u8x16::new(*chunk);
        let found = chunk.simd_eq(u8x16::splat(b'"')) | chunk.simd_eq(u8x16::splat(b'\\'));
        stops |= u64::from(found.to_bitmask()) << (16 * index);
    }
    stops
}

/// Finds the end of an object or a list in blocks of 64 bytes. Each bit of a mask is a byte of the block, the lowest
/// bit the first byte. Branches that depend on each string and bracket would cost more.
#[derive(Default)]
struct Blocks {
    /// Brackets that are open.
    depth: usize,
    /// All ones if the block before ended within a string.
    in_string: u64,
    /// 1 if the block before ended with a backslash that escapes the first byte.
    escapes_first: u64,
}

impl Blocks {
    /// Returns the position after the bracket that closes the first one, if it is in this block.
    #[inline]
    fn end_in(&mut self, block: &[u8; 64]) -> Option<usize> {
        let mut quotes = 0;
        let mut backslashes = 0;
        let mut opening = 0;
        let mut closing = 0;
        for (index, chunk) in block.as_chunks::<16>().0.iter().enumerate() {
            let chunk = u8x16::new(*chunk);
            // `[` and `{` differ in this bit only, and so do `]` and `}`.
            let bracket = chunk | u8x16::splat(b'[' ^ b'{');
            let mask = |found: u8x16| u64::from(found.to_bitmask()) << (16 * index);
            quotes |= mask(chunk.simd_eq(u8x16::splat(b'"')));
            backslashes |= mask(chunk.simd_eq(u8x16::splat(b'\\')));
            opening |= mask(bracket.simd_eq(u8x16::splat(b'{')));
            closing |= mask(bracket.simd_eq(u8x16::splat(b'}')));
        }
        quotes &= !self.escaped(backslashes);
        let in_strings = between(quotes) ^ self.in_string;
        // The highest bit, in all bits.
        self.in_string = in_strings.cast_signed().wrapping_shr(63).cast_unsigned();
        opening &= !in_strings;
        closing &= !in_strings;
        if (closing.count_ones() as usize) < self.depth {
            self.depth = self.depth + opening.count_ones() as usize - closing.count_ones() as usize;
            return None;
        }
        let mut brackets = opening | closing;
        while brackets != 0 {
            let index = brackets.trailing_zeros();
            if opening >> index & 1 == 1 {
                self.depth += 1;
            } else {
                self.depth -= 1;
                if self.depth == 0 {
                    return Some(index as usize + 1);
                }
            }
            brackets &= brackets - 1;
        }
        None
    }

    /// Returns a mask of the bytes that a backslash escapes.
    #[inline]
    fn escaped(&mut self, backslashes: u64) -> u64 {
        let mut escaped = std::mem::take(&mut self.escapes_first);
        let mut escaping = backslashes & !escaped;
        while escaping != 0 {
            let backslash = escaping & escaping.wrapping_neg();
            let next = backslash << 1;
            if next == 0 {
                self.escapes_first = 1;
            }
            escaped |= next;
            escaping &= !(backslash | next);
        }
        escaped
    }
}

/// Returns the bits from each odd quote up to the even quote that follows: the text between quotes, with the opening
/// quote.
#[inline]
fn between(quotes: u64) -> u64 {
    [1, 2, 4, 8, 16, 32].into_iter().fold(quotes, |bits, shift| bits ^ (bits << shift))
}

/// Returns whether two keys of one length are the same. A call of `memcmp` would take longer.
#[inline]
pub(super) fn is_same(mut one: &[u8], mut other: &[u8]) -> bool {
    while let (Some((one_word, one_rest)), Some((other_word, other_rest))) =
        (one.split_first_chunk::<8>(), other.split_first_chunk::<8>())
    {
        if u64::from_ne_bytes(*one_word) != u64::from_ne_bytes(*other_word) {
            return false;
        }
        (one, other) = (one_rest, other_rest);
    }
    if let (Some(one_begin), Some(other_begin)) = (one.first_chunk::<4>(), other.first_chunk::<4>()) {
        // The two halves overlap.
        return one_begin == other_begin && one.last_chunk::<4>() == other.last_chunk::<4>();
    }
    (0..one.len()).all(|at| one.get(at) == other.get(at))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_string_stops_where_its_bytes_say(text in prop::collection::vec(any::<u8>(), 0..70), at in 0..70_usize) {
            // Stops, and bytes next to them, are rare.
            let near = [b'"', b'\\', 0, 0x1f, b' ', b'!'];
            let rare = |byte: u8| byte.checked_sub(250).map_or(b'x' | byte, |index| near[usize::from(index)]);
            let bytes: Vec<u8> = text.into_iter().map(rare).chain(*b"\"").collect();
            let stops = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
            let rest = bytes.get(at..).unwrap_or_default();
            let expected = rest.iter().position(stops).map_or(at.max(bytes.len()), |found| at + found);
            prop_assert_eq!(string_stop(&bytes, at), expected);
        }

        #[test]
        fn a_value_ends_with_its_last_bracket(
            tokens in prop::collection::vec(
                prop::sample::select(vec!["{", "}", "[", "]", "\"", "\\", "\"}\"", "\"\\\"\"", "\"\\\\\"", "abcdefghijklm"]),
                0..80,
            ),
            before in 0..70_usize,
        ) {
            let text = format!("{}{{{}", " ".repeat(before), tokens.concat());
            prop_assert_eq!(value_end(text.as_bytes(), before), end_by_byte(text.as_bytes(), before));
        }
    }

    /// Finds the end of a value byte by byte.
    fn end_by_byte(bytes: &[u8], mut at: usize) -> Option<usize> {
        let mut depth = 0;
        let mut in_string = false;
        let mut escapes = false;
        loop {
            let is_escaped = std::mem::take(&mut escapes);
            match bytes.get(at)? {
                b'\\' => escapes = !is_escaped,
                b'"' if !is_escaped => in_string = !in_string,
                b'{' | b'[' if !in_string => depth += 1,
                b'}' | b']' if !in_string => depth -= 1,
                _ => {}
            }
            at += 1;
            if depth == 0 {
                return Some(at);
            }
        }
    }
}
