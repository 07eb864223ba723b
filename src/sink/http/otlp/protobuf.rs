//! As much of the protobuf wire format as OTLP logs need: <https://protobuf.dev/programming-guides/encoding/>.

/// Kinds of fields on the wire.
const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const BYTES: u8 = 2;
const FIXED32: u8 = 5;

/// Appends a field of bytes: a text, or a message that is encoded already.
pub(super) fn bytes(field: u8, content: &[u8], out: &mut Vec<u8>) {
    header(field, content.len(), out);
    out.extend_from_slice(content);
}

/// Appends the beginning of a field of `length` bytes, which follow.
pub(super) fn header(field: u8, length: usize, out: &mut Vec<u8>) {
    out.push(field << 3 | BYTES);
    varint(length as u64, out);
}

/// Appends a message that `write` writes. Its length stands before it and is put there afterwards.
pub(super) fn message(field: u8, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(field << 3 | BYTES);
    let start = out.len();
    write(out);
    let mut length = Vec::with_capacity(4);
    varint((out.len() - start) as u64, &mut length);
    out.splice(start..start, length);
}

/// Appends a number of 8 bytes.
pub(super) fn fixed64(field: u8, value: u64, out: &mut Vec<u8>) {
    out.push(field << 3 | FIXED64);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a number.
pub(super) fn number(field: u8, value: u64, out: &mut Vec<u8>) {
    out.push(field << 3 | VARINT);
    varint(value, out);
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A field of a message that was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field<'a> {
    /// A number of any kind.
    Number(u64),
    /// A text or a message.
    Bytes(&'a [u8]),
}

/// The fields of a message with their numbers, or nothing where it is not one.
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
    let (taken, rest) = message.split_at_checked(length)?;
    *message = rest;
    Some(taken)
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
    fn what_is_written_can_be_read() {
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
        // The example of the format's documentation.
        let mut out = Vec::new();
        number(1, 150, &mut out);
        bytes(2, b"testing", &mut out);
        assert_eq!(out, b"\x08\x96\x01\x12\x07testing");
    }

    #[test]
    fn what_is_no_message_is_not_read() {
        for wrong in
            [&b"<html>"[..], b"\x0a\x05abc", b"\x08", b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x0b"]
        {
            assert_eq!(fields(wrong), None, "{wrong:?}");
        }
        assert_eq!(fields(b""), Some(vec![]));
    }
}
