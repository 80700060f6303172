//! What values look like, and which are left out.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::ops::RangeInclusive;

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD as BASE64;
use prost_types::Timestamp;
use serde::{Serialize, Serializer};

use crate::proto::tetragon::{CapabilitiesType, ProcessPrivilegesChanged, SecureBitsType, ThrottleType};

/// What has a JSON form.
pub(super) trait Value {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;
}

/// A value, for serde.
pub(super) struct Json<'a, T: ?Sized>(pub(super) &'a T);

impl<T: Value + ?Sized> Serialize for Json<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.write(serializer)
    }
}

/// What may stand in a message.
pub(super) trait Member {
    /// What it is if it is set.
    type Value: Value + ?Sized;

    /// `None`: it is unset or empty, so it is left out.
    fn get(&self) -> Option<&Self::Value>;
}

/// One of protobuf's wrappers, which is told when it is set even if it is zero; or a message.
impl<T: Value> Member for Option<T> {
    type Value = T;

    fn get(&self) -> Option<&T> {
        self.as_ref()
    }
}

macro_rules! members {
    ($($member:ty, $is_empty:expr;)*) => {$(
        impl Member for $member {
            type Value = Self;

            fn get(&self) -> Option<&Self> {
                let is_empty: fn(&Self) -> bool = $is_empty;
                (!is_empty(self)).then_some(self)
            }
        }
    )*};
}

members! {
    String, Self::is_empty;
    BTreeMap<String, String>, Self::is_empty;
    bool, |value| !*value;
    u32, |value| *value == 0;
    u64, |value| *value == 0;
}

impl<T: Value> Member for Vec<T> {
    type Value = [T];

    fn get(&self) -> Option<&[T]> {
        (!self.is_empty()).then_some(self)
    }
}

macro_rules! plain {
    ($($value:ty: $serialize:ident;)*) => {$(
        impl Value for $value {
            fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.$serialize(*self)
            }
        }
    )*};
}

plain! {
    bool: serialize_bool;
    i32: serialize_i32;
    u32: serialize_u32;
}

/// Text, because readers in JavaScript would round a number.
impl Value for u64 {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Value for String {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl Value for BTreeMap<String, String> {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self)
    }
}

impl<T: Value> Value for [T] {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(Json))
    }
}

/// RFC 3339 in UTC with 0, 3, 6 or 9 digits of a second, the fewest that are exact.
impl Value for Timestamp {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let is_date = YEARS.contains(&self.seconds) && (0..1_000_000_000).contains(&self.nanos);
        serializer.collect_str(&if is_date { *self } else { Self::default() })
    }
}

/// The seconds of the years that RFC 3339 has, 1 to 9999.
const YEARS: RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// Bytes: base64 with padding.
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl Member for Bytes<'_> {
    type Value = Self;

    fn get(&self) -> Option<&Self> {
        (!self.0.is_empty()).then_some(self)
    }
}

impl Value for Bytes<'_> {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Base64Display::new(self.0, &BASE64))
    }
}

/// An enumeration of the schema.
pub(super) trait Enumeration: TryFrom<i32> {
    fn name(self) -> &'static str;
}

macro_rules! enumerations {
    ($($enumeration:ty),*) => {$(
        impl Enumeration for $enumeration {
            fn name(self) -> &'static str {
                self.as_str_name()
            }
        }
    )*};
}

enumerations!(CapabilitiesType, ProcessPrivilegesChanged, SecureBitsType, ThrottleType);

/// A value of an enumeration: its name, or its number when the schema has no name for it.
pub(super) struct Name<E>(i32, PhantomData<E>);

impl<E> From<&i32> for Name<E> {
    fn from(number: &i32) -> Self {
        Self(*number, PhantomData)
    }
}

impl<E> Member for Name<E>
where
    Self: Value,
{
    type Value = Self;

    fn get(&self) -> Option<&Self> {
        (self.0 != 0).then_some(self)
    }
}

impl<E: Enumeration> Value for Name<E> {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.serialize(serializer)
    }
}

impl<E: Enumeration> Serialize for Name<E> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match E::try_from(self.0) {
            Ok(value) => serializer.serialize_str(value.name()),
            Err(_) => serializer.serialize_i32(self.0),
        }
    }
}

/// Values of an enumeration.
pub(super) struct Names<'a, E>(&'a [i32], PhantomData<E>);

impl<'a, E> Names<'a, E> {
    pub(super) fn of(numbers: &'a [i32]) -> Self {
        Self(numbers, PhantomData)
    }
}

impl<E: Enumeration> Member for Names<'_, E> {
    type Value = Self;

    fn get(&self) -> Option<&Self> {
        (!self.0.is_empty()).then_some(self)
    }
}

impl<E: Enumeration> Value for Names<'_, E> {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Name::<E>::from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_the_fewest_groups_of_digits_that_are_exact() {
        for (seconds, nanos, text) in [
            (1_700_000_000, 0, "2023-11-14T22:13:20Z"),
            (1_700_000_000, 500_000_000, "2023-11-14T22:13:20.500Z"),
            (1_700_000_000, 1_000, "2023-11-14T22:13:20.000001Z"),
            (1_700_000_000, 1, "2023-11-14T22:13:20.000000001Z"),
            (-1, 750_000_000, "1969-12-31T23:59:59.750Z"),
            (*YEARS.start(), 0, "0001-01-01T00:00:00Z"),
            (*YEARS.end(), 999_999_999, "9999-12-31T23:59:59.999999999Z"),
            (*YEARS.start() - 1, 0, "1970-01-01T00:00:00Z"),
            (*YEARS.end() + 1, 0, "1970-01-01T00:00:00Z"),
            (1, -1, "1970-01-01T00:00:00Z"),
            (1, 1_000_000_000, "1970-01-01T00:00:00Z"),
        ] {
            let json = serde_json::to_string(&Json(&Timestamp { seconds, nanos })).unwrap();
            assert_eq!(json, format!("\"{text}\""));
        }
    }

    #[test]
    fn enumerations_are_written_by_name_and_unknown_members_by_number() {
        let numbers = vec![1, 21, 40, 41, -1];
        let json = serde_json::to_string(&Json(&Names::<CapabilitiesType>::of(&numbers))).unwrap();
        assert_eq!(json, r#"["DAC_OVERRIDE","CAP_SYS_ADMIN","CAP_CHECKPOINT_RESTORE",41,-1]"#);
    }
}
