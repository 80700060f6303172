//! Filters as options have them: JSON objects, one after the other.

use procession_api::proto::tetragon::{FieldFilter, Filter, RedactionFilter};
use prost::Message;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor};
use prost_types::FieldMask;
use serde_json::Value;

use crate::error::suggestion;
use crate::{FilterError, schema};

/// Reads the filters of an allow list or a deny list.
///
/// They are JSON objects with white space between them, or nothing. A member that a filter has not is an
/// error; every error tells the line.
pub fn parse_filters(text: &str) -> Result<Vec<Filter>, FilterError> {
    objects(text, "Filter", message)
}

/// Reads field filters, as [`parse_filters`] does. `fields` is a text with commas between the paths.
pub fn parse_field_filters(text: &str) -> Result<Vec<FieldFilter>, FilterError> {
    objects(text, "FieldFilter", |mut object, descriptor| {
        let fields = object.as_object_mut().and_then(|object| object.remove("fields"));
        let mut filter: FieldFilter = message(object, descriptor)?;
        filter.fields = fields.map(|fields| paths(&fields)).transpose()?;
        Ok(filter)
    })
}

/// Reads redaction filters, as [`parse_filters`] does.
pub fn parse_redaction_filters(text: &str) -> Result<Vec<RedactionFilter>, FilterError> {
    objects(text, "RedactionFilter", message)
}

fn objects<T>(
    text: &str,
    name: &str,
    read: impl Fn(Value, &MessageDescriptor) -> Result<T, FilterError>,
) -> Result<Vec<T>, FilterError> {
    let descriptor = schema::message(name)?;
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let mut found = Vec::new();
    loop {
        let rest = text.get(values.byte_offset()..).unwrap_or_default();
        let start = text.len() - rest.trim_start().len();
        let line = 1 + text.as_bytes().iter().take(start).filter(|byte| **byte == b'\n').count();
        match values.next() {
            None => return Ok(found),
            Some(Err(error)) => return Err(FilterError::new(error)),
            Some(Ok(object)) => {
                let filter = read(object, &descriptor);
                found.push(
                    filter.map_err(|error| FilterError::new(error).within(format_args!("line {line}")))?,
                );
            }
        }
    }
}

fn message<T: Message + Default>(object: Value, descriptor: &MessageDescriptor) -> Result<T, FilterError> {
    check_names(&object, descriptor)?;
    let dynamic = DynamicMessage::deserialize(descriptor.clone(), object).map_err(FilterError::new)?;
    dynamic.transcode_to().map_err(FilterError::new)
}

/// Refuses members that the message has not, however deep.
fn check_names(value: &Value, message: &MessageDescriptor) -> Result<(), FilterError> {
    let Some(object) = value.as_object() else {
        return Err(FilterError::new(format_args!("`{value}` is no JSON object")));
    };
    for (name, value) in object {
        let Some(field) = schema::field(message, name) else {
            let fields: Vec<_> = message.fields().collect();
            let near = suggestion(name, fields.iter().map(FieldDescriptor::name));
            return Err(FilterError::new(format_args!("`{}` has no field `{name}`{near}", message.name())));
        };
        let inner = match field.kind() {
            Kind::Message(inner) if !schema::is_well_known(&inner) && !field.is_map() => inner,
            _ => continue,
        };
        match value {
            Value::Null => {}
            Value::Array(values) => values.iter().try_for_each(|value| check_names(value, &inner))?,
            value => check_names(value, &inner)?,
        }
    }
    Ok(())
}

/// Paths are the names of the `.proto` files here, which a field mask in canonical JSON may not have.
fn paths(fields: &Value) -> Result<FieldMask, FilterError> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let paths = match fields {
        Value::Null => Some(Vec::new()),
        Value::String(text) => {
            let paths = text.split(',').map(str::trim).filter(|path| !path.is_empty());
            Some(paths.map(str::to_owned).collect())
        }
        Value::Array(paths) => paths.iter().map(text).collect(),
        Value::Object(mask) if mask.len() == 1 => {
            let paths = mask.get("paths").and_then(Value::as_array);
            paths.and_then(|paths| paths.iter().map(text).collect())
        }
        _ => None,
    };
    let paths =
        paths.ok_or_else(|| FilterError::new("must be paths with commas between them").within("fields"))?;
    Ok(FieldMask { paths })
}
