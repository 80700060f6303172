//! Encoded messages, read without being decoded: a field that nobody asks for costs its length.

use prost::bytes::Buf as _;
use prost::encoding::{WireType, decode_key, decode_varint, encode_varint};

/// The fields of an encoded message, in order.
pub(crate) struct Fields<'a>(&'a [u8]);

/// One of them.
pub(crate) struct Field<'a> {
    pub(crate) number: u32,
    pub(crate) value: Value<'a>,
    /// All of it, with its key.
    pub(crate) raw: &'a [u8],
}

/// What a field holds, as far as the encoding tells.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "cel"), expect(dead_code, reason = "expressions alone look at numbers"))]
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

/// The bytes are no message.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the message is not encoded as a message is")]
pub(crate) struct Malformed;

impl<'a> Fields<'a> {
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Self(message)
    }

    fn read(&mut self) -> Result<Field<'a>, Malformed> {
        let whole = self.0;
        let mut rest = whole;
        let (number, wire_type) = decode_key(&mut rest).map_err(|_| Malformed)?;
        let value = match wire_type {
            WireType::Varint => Value::Varint(decode_varint(&mut rest).map_err(|_| Malformed)?),
            WireType::SixtyFourBit => Value::Fixed64(rest.try_get_u64_le().map_err(|_| Malformed)?),
            WireType::ThirtyTwoBit => Value::Fixed32(rest.try_get_u32_le().map_err(|_| Malformed)?),
            WireType::LengthDelimited => {
                let length = decode_varint(&mut rest).ok().and_then(|length| usize::try_from(length).ok());
                let (bytes, after) = length.and_then(|it| rest.split_at_checked(it)).ok_or(Malformed)?;
                rest = after;
                Value::Bytes(bytes)
            }
            WireType::StartGroup | WireType::EndGroup => return Err(Malformed),
        };
        self.0 = rest;
        Ok(Field { number, value, raw: &whole[..whole.len() - rest.len()] })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, Malformed>;

    /// Ends after the first error.
    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

/// Writes a field that holds a message.
pub(crate) fn put_message(number: u32, message: &[u8], out: &mut Vec<u8>) {
    encode_varint(u64::from(number) << 3 | WireType::LengthDelimited as u64, out);
    encode_varint(message.len() as u64, out);
    out.extend_from_slice(message);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_off_is_an_error() {
        let mut message = Vec::new();
        put_message(1000, b"abc", &mut message);
        let field = Fields::new(&message).next().unwrap().unwrap();
        assert_eq!((field.number, field.raw), (1000, &message[..]));
        assert!(matches!(field.value, Value::Bytes(b"abc")));
        for end in 1..message.len() {
            assert!(Fields::new(&message[..end]).any(|field| field.is_err()));
        }
    }
}
