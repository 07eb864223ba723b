//! The part of the protobuf wire format that OTLP logs need: <https://protobuf.dev/programming-guides/encoding/>.

/// Wire types.
const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const BYTES: u8 = 2;
const FIXED32: u8 = 5;

/// Appends a string, bytes or an encoded message.
pub(super) fn bytes(field: u8, content: &[u8], out: &mut Vec<u8>) {
    header(field, content.len(), out);
    out.extend_from_slice(content);
}

/// Appends tag and length of a field whose `length` bytes follow.
pub(super) fn header(field: u8, length: usize, out: &mut Vec<u8>) {
    out.push(field << 3 | BYTES);
    varint(length as u64, out);
}

/// Appends a message that `write` writes. The length precedes it and is inserted afterwards.
pub(super) fn message(field: u8, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(field << 3 | BYTES);
    let start = out.len();
    write(out);
    let (length, bytes) = encode_varint((out.len() - start) as u64);
    out.splice(start..start, length.into_iter().take(bytes));
}

pub(super) fn fixed64(field: u8, value: u64, out: &mut Vec<u8>) {
    out.push(field << 3 | FIXED64);
    out.extend_from_slice(&value.to_le_bytes());
}

pub(super) fn number(field: u8, value: u64, out: &mut Vec<u8>) {
    out.push(field << 3 | VARINT);
    varint(value, out);
}

fn varint(value: u64, out: &mut Vec<u8>) {
    let (encoded, bytes) = encode_varint(value);
    out.extend(encoded.into_iter().take(bytes));
}

/// Encodes a number. Returns a buffer, and how many bytes of it the number takes.
fn encode_varint(mut value: u64) -> ([u8; 10], usize) {
    let mut encoded = [0; 10];
    let mut bytes = 1;
    for byte in &mut encoded {
        *byte = value as u8 & 0x7f;
        value >>= 7;
        if value == 0 {
            break;
        }
        *byte |= 0x80;
        bytes += 1;
    }
    (encoded, bytes)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field<'a> {
    /// A varint or a fixed number.
    Number(u64),
    /// A string, bytes or a message.
    Bytes(&'a [u8]),
}

/// Returns the fields of a message with their numbers. `None` if the bytes are not a message.
pub(super) fn fields(mut message: &[u8]) -> Option<Vec<(u64, Field<'_>)>> {
    let mut found = Vec::new();
    while !message.is_empty() {
        let tag = read_varint(&mut message)?;
        let field = match (tag & 7) as u8 {
            VARINT => Field::Number(read_varint(&mut message)?),
            FIXED64 => Field::Number(u64::from_le_bytes(*take(&mut message, 8)?.first_chunk()?)),
            FIXED32 => Field::Number(u32::from_le_bytes(*take(&mut message, 4)?.first_chunk()?).into()),
            BYTES => {
                let length = usize::try_from(read_varint(&mut message)?).ok()?;
                Field::Bytes(take(&mut message, length)?)
            }
            _ => return None,
        };
        found.push((tag >> 3, field));
    }
    Some(found)
}

fn take<'a>(message: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (first, rest) = message.split_at_checked(length)?;
    *message = rest;
    Some(first)
}

fn read_varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(message, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_back() {
        for size in [0, 1, 127, 128, 16_383, 16_384, 3_000_000] {
            let text = vec![b'x'; size];
            let mut out = Vec::new();
            message(1, &mut out, |out| {
                bytes(2, &text, out);
                fixed64(11, u64::MAX, out);
                number(3, 300, out);
            });
            let outer = fields(&out).unwrap();
            let [(1, Field::Bytes(inner))] = outer[..] else { panic!("{outer:?}") };
            assert_eq!(
                fields(inner).unwrap(),
                [(2, Field::Bytes(&text[..])), (11, Field::Number(u64::MAX)), (3, Field::Number(300))]
            );
        }
        // The example in the documentation of the format.
        let mut out = Vec::new();
        number(1, 150, &mut out);
        bytes(2, b"testing", &mut out);
        assert_eq!(out, b"\x08\x96\x01\x12\x07testing");
    }

    #[test]
    fn invalid_messages_are_refused() {
        for wrong in
            [&b"<html>"[..], b"\x0a\x05abc", b"\x08", b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x0b"]
        {
            assert_eq!(fields(wrong), None, "{wrong:?}");
        }
        assert_eq!(fields(b""), Some(vec![]));
    }
}
