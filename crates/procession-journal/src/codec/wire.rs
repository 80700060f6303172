//! The wire format of Protocol Buffers: written straight into a block, and read field by field where
//! whole messages would take more memory than they are worth.

/// Appends the fields of a message. As in any message of proto3, what has its default is left out.
pub(crate) struct Put<'a>(&'a mut Vec<u8>);

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const DELIMITED: u64 = 2;
const FIXED32: u64 = 5;

impl<'a> Put<'a> {
    /// To the end of `out`.
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Self {
        Self(out)
    }

    pub(crate) fn number(&mut self, field: u32, value: impl Into<u64>) {
        let value = value.into();
        self.some_number(field, Some(value).filter(|value| *value != 0));
    }

    pub(crate) fn some_number(&mut self, field: u32, value: Option<impl Into<u64>>) {
        let Some(value) = value else { return };
        self.key(field, VARINT);
        put_varint(self.0, value.into());
    }

    pub(crate) fn fixed(&mut self, field: u32, value: u64) {
        self.some_fixed(field, Some(value).filter(|value| *value != 0));
    }

    pub(crate) fn some_fixed(&mut self, field: u32, value: Option<u64>) {
        let Some(value) = value else { return };
        self.key(field, FIXED64);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn bytes(&mut self, field: u32, value: &[u8]) {
        self.some_bytes(field, Some(value).filter(|value| !value.is_empty()));
    }

    pub(crate) fn some_bytes(&mut self, field: u32, value: Option<&[u8]>) {
        let Some(value) = value else { return };
        self.key(field, DELIMITED);
        put_varint(self.0, value.len() as u64);
        self.0.extend_from_slice(value);
    }

    /// A message, whose fields `fill` appends.
    pub(crate) fn message(&mut self, field: u32, fill: impl FnOnce(&mut Put<'_>)) {
        self.key(field, DELIMITED);
        let start = self.0.len();
        fill(&mut Put(self.0));
        self.put_length_before(start);
    }

    /// Fields that are encoded already.
    pub(crate) fn fields(&mut self, fields: &[u8]) {
        self.0.extend_from_slice(fields);
    }

    /// Bytes in the message and all that was there before.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The length of what stands from `start` on. It is known only now, and it is short: what it stands
    /// before moves to make room.
    fn put_length_before(&mut self, start: usize) {
        let end = self.0.len();
        put_varint(self.0, (end - start) as u64);
        let length = self.0.len() - end;
        self.0[start..].rotate_right(length);
    }

    fn key(&mut self, field: u32, wire_type: u64) {
        put_varint(self.0, u64::from(field) << 3 | wire_type);
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// The fields of a message, in the order in which they stand. Ends early, with an error, where the
/// message is none.
pub(crate) struct Fields<'a>(&'a [u8]);

/// What is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// The value of a field. Numbers are of no interest to anybody who reads field by field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Number,
    Delimited(&'a [u8]),
}

/// The number of a field, its value, and all the bytes that it takes.
type Whole<'a> = (u64, Value<'a>, &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn of(message: &'a [u8]) -> Self {
        Self(message)
    }

    /// The next field, and all the bytes that it takes.
    pub(crate) fn next_whole(&mut self) -> Option<Result<Whole<'a>, Malformed>> {
        let before = self.0;
        let field = self.next()?;
        let whole = &before[..before.len() - self.0.len()];
        Some(field.map(|(number, value)| (number, value, whole)))
    }

    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let key = self.varint()?;
        let value = match key & 7 {
            VARINT => self.varint().map(|_| Value::Number)?,
            FIXED64 => self.take(8).map(|_| Value::Number)?,
            FIXED32 => self.take(4).map(|_| Value::Number)?,
            DELIMITED => {
                let length = usize::try_from(self.varint()?).ok()?;
                Value::Delimited(self.take(length)?)
            }
            _ => return None,
        };
        Some((key >> 3, value))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = u64::from(self.take(1)?[0]);
            value |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field().ok_or(Malformed);
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

/// How many fields of a message, or of the messages in it, are at the end of a path of numbers of fields. What is no
/// message has those before the place where it goes wrong.
pub(crate) fn count(message: &[u8], path: &[u64]) -> usize {
    let Some((wanted, deeper)) = path.split_first() else { return 1 };
    let found = Fields::of(message).map_while(Result::ok).filter_map(|field| match field {
        (number, Value::Delimited(bytes)) if number == *wanted => Some(count(bytes, deeper)),
        _ => None,
    });
    found.sum()
}
