//! Messages as values of expressions, read from their encoding when they are asked for something.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use cel::ExecutionError;
use cel::common::traits::Indexer;
use cel::common::types::{
    CelBool, CelBytes, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt, DYN_TYPE,
    Type,
};
use cel::common::value::{CowVal, Val};
use prost::bytes::Buf as _;
use prost::encoding::{WireType, decode_varint};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use crate::schema;
use crate::wire::{Fields, Malformed, Value};

type Boxed<'a> = Box<dyn Val + 'a>;

/// What stands before the name of a field that is asked for its presence: see [`super::check`].
pub(super) const HAS: &str = "@has ";

/// A message that may be empty: one that is not there is, as protobuf has it.
///
/// Every field that is passed takes a step, and every [`STEP`] bytes that are handed out take another,
/// so that a loop over large events ends.
#[derive(Clone, Debug)]
pub(super) struct Message<'a> {
    descriptor: MessageDescriptor,
    encoded: &'a [u8],
    steps: &'a AtomicUsize,
}

/// So many bytes are read in about the time of a step.
const STEP: usize = 64;

/// Why a field has no value.
#[derive(Clone, Copy, Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("it takes too long")]
    Exhausted,
}

impl<'a> Message<'a> {
    pub(super) fn new(descriptor: MessageDescriptor, encoded: &'a [u8], steps: &'a AtomicUsize) -> Self {
        Self { descriptor, encoded, steps }
    }

    fn inner(&self, descriptor: &MessageDescriptor, encoded: &'a [u8]) -> Self {
        Self::new(descriptor.clone(), encoded, self.steps)
    }

    fn take(&self, steps: usize) -> Result<(), Failure> {
        let left = self.steps.load(Ordering::Relaxed).checked_sub(steps).ok_or(Failure::Exhausted)?;
        self.steps.store(left, Ordering::Relaxed);
        Ok(())
    }

    /// The values of a field, as often as it was written.
    fn values(&self, number: u32) -> impl Iterator<Item = Result<Value<'a>, Failure>> {
        Fields::new(self.encoded).filter_map(move |field| match field {
            Ok(field) if field.number == number => {
                let bytes = if let Value::Bytes(bytes) = field.value { bytes.len() } else { 0 };
                Some(self.take(1 + bytes / STEP).map(|()| field.value))
            }
            Ok(_) => self.take(1).err().map(Err),
            Err(error) => Some(Err(error.into())),
        })
    }

    fn last(&self, number: u32) -> Result<Option<Value<'a>>, Failure> {
        self.values(number).try_fold(None, |_, value| value.map(Some))
    }

    fn select(&self, name: &str) -> Result<Boxed<'a>, ExecutionError> {
        let (name, asks) = name.strip_prefix(HAS).map_or((name, false), |name| (name, true));
        let field =
            self.descriptor.get_field_by_name(name).ok_or_else(|| ExecutionError::no_such_key(name))?;
        if asks {
            let is_there = self.last(field.number()).map_err(failed)?.is_some();
            return if is_there {
                Ok(Box::new(CelBool::from(true)))
            } else {
                Err(ExecutionError::no_such_key(name))
            };
        }
        self.value(&field).map_err(failed)
    }

    fn value(&self, field: &FieldDescriptor) -> Result<Boxed<'a>, Failure> {
        if field.is_map() {
            return self.map(field);
        }
        if field.is_list() {
            return self.list(field);
        }
        self.one(&field.kind(), self.last(field.number())?)
    }

    fn list(&self, field: &FieldDescriptor) -> Result<Boxed<'a>, Failure> {
        let kind = field.kind();
        let mut values = Vec::new();
        for value in self.values(field.number()) {
            match value? {
                Value::Bytes(packed) if field.is_packed() => self.unpack(&kind, packed, &mut values)?,
                value => values.push(self.one(&kind, Some(value))?),
            }
        }
        Ok(Box::new(CelList::from(values)))
    }

    fn map(&self, field: &FieldDescriptor) -> Result<Boxed<'a>, Failure> {
        let Kind::Message(entry) = field.kind() else { return Err(Malformed.into()) };
        let value_field = entry.map_entry_value_field();
        let mut map = HashMap::new();
        for encoded in self.values(field.number()) {
            let Value::Bytes(encoded) = encoded? else { return Err(Malformed.into()) };
            let entry = self.inner(&entry, encoded);
            let key = match entry.last(1)? {
                Some(Value::Bytes(key)) => str::from_utf8(key).map_err(|_| Malformed)?,
                // All maps of the API are by text.
                Some(_) => return Err(Malformed.into()),
                None => "",
            };
            map.insert(CelMapKey::String(CelString::from(key)), entry.value(&value_field)?);
        }
        Ok(Box::new(CelMap::from(map)))
    }

    /// A single value, or what stands for one that is not there.
    fn one(&self, kind: &Kind, value: Option<Value<'a>>) -> Result<Boxed<'a>, Failure> {
        match (kind, value) {
            (Kind::Message(descriptor), value) => self.message(descriptor, value),
            (kind, Some(value)) => Ok(scalar(kind, value)?),
            (kind, None) => Ok(default(kind)),
        }
    }

    /// A message, or the value that it wraps.
    fn message(
        &self,
        descriptor: &MessageDescriptor,
        value: Option<Value<'a>>,
    ) -> Result<Boxed<'a>, Failure> {
        let encoded = match value {
            Some(Value::Bytes(encoded)) => Some(encoded),
            Some(_) => return Err(Malformed.into()),
            None => None,
        };
        match (wrapped(descriptor), encoded) {
            (Some(_), None) => Ok(Box::new(CelNull)),
            (Some(field), Some(encoded)) => self.inner(descriptor, encoded).value(&field),
            (None, encoded) => Ok(Box::new(self.inner(descriptor, encoded.unwrap_or_default()))),
        }
    }

    /// Numbers in a row, without keys.
    fn unpack(&self, kind: &Kind, packed: &'a [u8], values: &mut Vec<Boxed<'a>>) -> Result<(), Failure> {
        let mut rest = packed;
        while !rest.is_empty() {
            let value = match kind.wire_type() {
                WireType::Varint => decode_varint(&mut rest).map(Value::Varint).map_err(|_| Malformed)?,
                WireType::ThirtyTwoBit => rest.try_get_u32_le().map(Value::Fixed32).map_err(|_| Malformed)?,
                _ => rest.try_get_u64_le().map(Value::Fixed64).map_err(|_| Malformed)?,
            };
            self.take(1)?;
            values.push(self.one(kind, Some(value))?);
        }
        Ok(())
    }
}

fn failed(error: Failure) -> ExecutionError {
    ExecutionError::InternalError(error.to_string())
}

/// A value that is no message.
fn scalar<'a>(kind: &Kind, value: Value<'a>) -> Result<Boxed<'a>, Malformed> {
    Ok(match (kind, value) {
        (Kind::Bool, Value::Varint(it)) => Box::new(CelBool::from(it != 0)),
        (Kind::Int32 | Kind::Int64 | Kind::Enum(_), Value::Varint(it)) => {
            Box::new(CelInt::from(it.cast_signed()))
        }
        (Kind::Sint32 | Kind::Sint64, Value::Varint(it)) => {
            Box::new(CelInt::from((it >> 1).cast_signed() ^ -(it & 1).cast_signed()))
        }
        (Kind::Uint32 | Kind::Uint64, Value::Varint(it)) | (Kind::Fixed64, Value::Fixed64(it)) => {
            Box::new(CelUInt::from(it))
        }
        (Kind::Fixed32, Value::Fixed32(it)) => Box::new(CelUInt::from(u64::from(it))),
        (Kind::Sfixed32, Value::Fixed32(it)) => Box::new(CelInt::from(i64::from(it.cast_signed()))),
        (Kind::Sfixed64, Value::Fixed64(it)) => Box::new(CelInt::from(it.cast_signed())),
        (Kind::Float, Value::Fixed32(it)) => Box::new(CelDouble::from(f64::from(f32::from_bits(it)))),
        (Kind::Double, Value::Fixed64(it)) => Box::new(CelDouble::from(f64::from_bits(it))),
        (Kind::String, Value::Bytes(it)) => {
            Box::new(CelString::from(str::from_utf8(it).map_err(|_| Malformed)?))
        }
        (Kind::Bytes, Value::Bytes(it)) => Box::new(CelBytes::from(it)),
        _ => return Err(Malformed),
    })
}

fn default<'a>(kind: &Kind) -> Boxed<'a> {
    match kind {
        Kind::Bool => Box::new(CelBool::from(false)),
        Kind::Uint32 | Kind::Uint64 | Kind::Fixed32 | Kind::Fixed64 => Box::new(CelUInt::from(0)),
        Kind::Float | Kind::Double => Box::new(CelDouble::from(0.0)),
        Kind::String => Box::new(CelString::from("")),
        Kind::Bytes => Box::new(CelBytes::from(&[][..])),
        _ => Box::new(CelInt::from(0)),
    }
}

/// The only field of a message that stands for a value that may be null.
pub(super) fn wrapped(descriptor: &MessageDescriptor) -> Option<FieldDescriptor> {
    (schema::is_well_known(descriptor) && descriptor.name().ends_with("Value"))
        .then(|| descriptor.get_field_by_name("value"))
        .flatten()
}

impl Val for Message<'_> {
    fn get_type(&self) -> &Type {
        &DYN_TYPE
    }

    fn cel_type() -> &'static Type {
        &DYN_TYPE
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(self.clone())
    }
}

impl Indexer for Message<'_> {
    fn get<'b, 'v>(&'b self, name: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let Some(name) = name.downcast_ref::<CelString<'_>>() else {
            return Err(ExecutionError::no_such_key("field"));
        };
        self.select(name.inner()).map(CowVal::Owned)
    }

    fn steal<'v>(self: Box<Self>, name: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(name).map(CowVal::into_owned)
    }
}
