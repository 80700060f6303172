//! The descriptors of the messages: what they are called and what they are made of.

use std::sync::OnceLock;

use procession_api::dynamic::pool;
#[cfg(feature = "cel")]
use prost_reflect::EnumDescriptor;
use prost_reflect::{FieldDescriptor, MessageDescriptor};

use crate::FilterError;

/// A message of the reference's API.
pub(crate) fn message(name: &str) -> Result<MessageDescriptor, FilterError> {
    let found = pool().get_message_by_name(&format!("tetragon.{name}"));
    found.ok_or_else(|| FilterError::new(format_args!("there is no message `{name}`")))
}

/// An enum of it.
#[cfg(feature = "cel")]
pub(crate) fn enumeration(name: &str) -> Option<EnumDescriptor> {
    pool().get_enum_by_name(&format!("tetragon.{name}"))
}

/// The members of the event's oneof. The number of each is its event type.
pub(crate) fn events() -> &'static [FieldDescriptor] {
    static EVENTS: OnceLock<Vec<FieldDescriptor>> = OnceLock::new();
    EVENTS.get_or_init(|| {
        let response = message("GetEventsResponse");
        let oneof = response.ok().and_then(|response| response.oneofs().find(|it| it.name() == "event"));
        oneof.map_or_else(Vec::new, |oneof| oneof.fields().collect())
    })
}

/// The member of an event, and the message it has.
#[cfg(feature = "cel")]
pub(crate) fn event(name: &str) -> Option<(u32, MessageDescriptor)> {
    let field = events().iter().find(|field| field.name() == name)?;
    Some((field.number(), field.kind().as_message()?.clone()))
}

/// A field by its name in the `.proto` file or in canonical JSON.
pub(crate) fn field(message: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    message.get_field_by_name(name).or_else(|| message.get_field_by_json_name(name))
}

/// A message that holds one value or a moment, and is one to its readers.
pub(crate) fn is_well_known(message: &MessageDescriptor) -> bool {
    message.package_name() == "google.protobuf"
}
