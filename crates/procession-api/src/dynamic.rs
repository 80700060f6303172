//! Messages by their descriptors: what may be slow, and has to know every message.
//!
//! What is written often has code of its own ([`json`](crate::json)).

use std::sync::OnceLock;

use prost::Message;
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor,
    SerializeOptions,
};
use prost_types::FieldMask;
use serde_json::Value;

use crate::json::printable;
use crate::proto::DESCRIPTORS;

/// The name of the message that is an event.
pub const EVENT: &str = "tetragon.GetEventsResponse";
/// The name of the message that is a filter of events.
pub const FILTER: &str = "tetragon.Filter";

/// All messages of both APIs.
#[expect(clippy::missing_panics_doc, reason = "what is decoded is part of the program")]
pub fn pool() -> &'static DescriptorPool {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    POOL.get_or_init(|| {
        DescriptorPool::decode(DESCRIPTORS).expect("the descriptors were made from the schema")
    })
}

/// What to do with members and values of enumerations that the schema does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// Fail: somebody made a mistake.
    Deny,
    /// Skip them: they come from a later version.
    Ignore,
}

/// Text that is not the JSON form of a message. The error says why, and in which line and column.
#[derive(Debug, thiserror::Error)]
#[error("not a {name}: {error}")]
pub struct NotAMessage {
    name: String,
    #[source]
    error: serde_json::Error,
}

/// Reads the message called `full_name` from its JSON form, in which members may be named as in the
/// schema or in camel case.
///
/// `M` has to be that message. White space may be around the text, and nothing else.
///
/// # Panics
///
/// If no message is called `full_name`.
///
/// ```
/// use procession_api::dynamic::{FILTER, Unknown, parse_json};
/// use procession_api::proto::tetragon::Filter;
///
/// let filter: Filter = parse_json(FILTER, r#"{"pid":[1]}"#, Unknown::Deny)?;
/// assert_eq!(filter.pid, [1]);
///
/// let error = parse_json::<Filter>(FILTER, r#"{"pids":[1]}"#, Unknown::Deny).unwrap_err();
/// assert_eq!(error.to_string(), "not a tetragon.Filter: unrecognized field name 'pids' at line 1 column 7");
/// # Ok::<(), procession_api::dynamic::NotAMessage>(())
/// ```
pub fn parse_json<M: Message + Default>(
    full_name: &str,
    text: &str,
    unknown: Unknown,
) -> Result<M, NotAMessage> {
    let parse = || {
        let options = DeserializeOptions::new().deny_unknown_fields(unknown == Unknown::Deny);
        let message = read(descriptor(full_name), text, &options)?;
        message.transcode_to().map_err(serde::de::Error::custom)
    };
    parse().map_err(|error| NotAMessage { name: full_name.to_owned(), error })
}

fn read(
    descriptor: MessageDescriptor,
    text: &str,
    options: &DeserializeOptions,
) -> Result<DynamicMessage, serde_json::Error> {
    let masks: Vec<_> = descriptor.fields().filter(is_mask).collect();
    if masks.is_empty() {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let message = DynamicMessage::deserialize_with_options(descriptor, &mut deserializer, options)?;
        deserializer.end()?;
        return Ok(message);
    }
    let mut json: Value = serde_json::from_str(text)?;
    let taken: Vec<_> = masks.iter().filter_map(|field| take_mask(&mut json, field)).collect();
    let mut message = DynamicMessage::deserialize_with_options(descriptor, json, options)?;
    for (field, mask) in taken {
        message.set_field(&field, prost_reflect::Value::Message(mask));
    }
    Ok(message)
}

fn is_mask(field: &FieldDescriptor) -> bool {
    matches!(field.kind(), Kind::Message(message) if message.full_name() == "google.protobuf.FieldMask")
}

/// Takes the mask in `field` out of `json`, because protobuf's own form of it has no names as in the
/// schema, which the reference allows.
fn take_mask(json: &mut Value, field: &FieldDescriptor) -> Option<(FieldDescriptor, DynamicMessage)> {
    let Kind::Message(descriptor) = field.kind() else { return None };
    let name = [field.name(), field.json_name()].into_iter().find(|name| json[*name].is_string())?;
    let Value::String(text) = json.as_object_mut()?.remove(name)? else { return None };
    let paths = text.split(',').filter(|path| !path.is_empty()).map(name_in_schema).collect();
    let mut mask = DynamicMessage::new(descriptor);
    mask.transcode_from(&FieldMask { paths }).ok()?;
    Some((field.clone(), mask))
}

/// `process.execId` as `process.exec_id`. What begins with a capital letter is called so.
fn name_in_schema(path: &str) -> String {
    let mut name = String::with_capacity(path.len() + 4);
    for letter in path.chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() && !name.ends_with('.') {
            name.push('_');
            name.push(letter.to_ascii_lowercase());
        } else {
            name.push(letter);
        }
    }
    name
}

/// The JSON form of any message, with its members named as in the schema, on one line or, if it is
/// `pretty`, on several. There is no line feed at the end.
///
/// `message` has to be the one called `full_name`. What has no JSON form, such as a time after the
/// year 9999, makes the whole of it `null`.
///
/// # Panics
///
/// If no message is called `full_name`.
pub fn write_json(message: &impl Message, full_name: &str, pretty: bool) -> String {
    let mut json = serialize(message, full_name, pretty).unwrap_or_else(|_| b"null".to_vec());
    printable::escape(&mut json, 0);
    String::from_utf8_lossy(&json).into_owned()
}

fn serialize(message: &impl Message, full_name: &str, pretty: bool) -> Result<Vec<u8>, serde_json::Error> {
    let options = SerializeOptions::new().use_proto_field_name(true);
    let mut dynamic = DynamicMessage::new(descriptor(full_name));
    dynamic.transcode_from(message).map_err(serde::ser::Error::custom)?;
    let mut json = Vec::new();
    if pretty {
        dynamic.serialize_with_options(&mut serde_json::Serializer::pretty(&mut json), &options)?;
    } else {
        dynamic.serialize_with_options(&mut serde_json::Serializer::new(&mut json), &options)?;
    }
    Ok(json)
}

fn descriptor(full_name: &str) -> MessageDescriptor {
    pool().get_message_by_name(full_name).unwrap_or_else(|| panic!("no message is called {full_name}"))
}

#[cfg(test)]
mod tests {
    use prost_types::{Duration, FieldMask, Timestamp};

    use super::*;
    use crate::proto::procession::v1::{End, GetStatusResponse};
    use crate::proto::tetragon::{FieldFilter, Filter, GetEventsResponse, RedactionFilter};

    const STATUS: &str = "procession.v1.GetStatusResponse";

    #[test]
    fn filters_are_read_by_either_name_of_their_members() {
        let text =
            r#" {"binary_regex":["a"],"pidSet":[7],"event_set":["PROCESS_EXEC",5],"health_check":false} "#;
        let filter: Filter = parse_json(FILTER, text, Unknown::Deny).unwrap();
        let expected = Filter {
            binary_regex: vec!["a".into()],
            pid_set: vec![7],
            event_set: vec![1, 5],
            health_check: Some(false),
            ..Filter::default()
        };
        assert_eq!(filter, expected);
    }

    #[test]
    fn fields_of_filters_are_named_as_in_the_schema_or_in_camel_case() {
        let read = |fields: &str| {
            let text = format!(r#"{{"fields":{fields},"action":"EXCLUDE","event_set":["PROCESS_EXEC"]}}"#);
            parse_json::<FieldFilter>("tetragon.FieldFilter", &text, Unknown::Deny)
        };
        let filter =
            read(r#""process.exec_id,process.parentExecId,process.environment_variables.Key""#).unwrap();
        let paths = ["process.exec_id", "process.parent_exec_id", "process.environment_variables.Key"];
        assert_eq!(filter.fields, Some(FieldMask { paths: paths.map(Into::into).to_vec() }));
        assert_eq!((filter.action, filter.event_set), (1, vec![1]));
        assert_eq!(read(r#""""#).unwrap().fields, Some(FieldMask::default()));
        assert_eq!(read("null").unwrap().fields, None);
        assert!(read("7").is_err());
        let error = parse_json::<FieldFilter>("tetragon.FieldFilter", r#"{"field":""}"#, Unknown::Deny);
        assert!(error.unwrap_err().to_string().contains("unrecognized field name 'field'"));
        assert!(parse_json::<FieldFilter>("tetragon.FieldFilter", "[]", Unknown::Deny).is_err());
    }

    #[test]
    fn an_error_says_what_is_wrong_and_where() {
        for (text, part) in [
            ("{\n\"pids\":[1]}", "unrecognized field name 'pids' at line 2 column 6"),
            (r#"{"event_set":["EXEC"]}"#, "unrecognized enum value 'EXEC' at line 1"),
            (r#"{"pid":["x"]}"#, "at line 1 column"),
            (r#"{"pid":[-1]}"#, "at line 1 column"),
            (r#"{"pid":[1]"#, "EOF while parsing"),
            ("{} {}", "trailing characters at line 1 column 4"),
            ("[]", "invalid type: sequence"),
            ("", "EOF while parsing"),
        ] {
            let error = parse_json::<Filter>(FILTER, text, Unknown::Deny).unwrap_err().to_string();
            assert!(error.starts_with("not a tetragon.Filter: ") && error.contains(part), "{text}: {error}");
        }
        let deep = "[".repeat(100_000);
        assert!(parse_json::<Filter>(FILTER, &format!(r#"{{"x":{deep}"#), Unknown::Ignore).is_err());
    }

    #[test]
    fn what_a_later_version_added_is_skipped_on_demand() {
        let text = r#"{"process_new":{"a":[{}]},"process_throttle":{"type":"THROTTLE_LATER","x":1},"node_name":"n"}"#;
        let event: GetEventsResponse = parse_json(EVENT, text, Unknown::Ignore).unwrap();
        assert_eq!((&*event.node_name, event.event.is_some()), ("n", true));
        let filter: RedactionFilter =
            parse_json("tetragon.RedactionFilter", r#"{"redact":["a"],"y":null}"#, Unknown::Ignore).unwrap();
        assert_eq!(filter.redact, ["a"]);
    }

    #[test]
    fn any_message_is_written_with_the_names_of_the_schema() {
        let status = GetStatusResponse {
            node_name: "\u{9b}".into(),
            uptime: Some(Duration { seconds: 3, nanos: 500_000_000 }),
            processes: 7,
            ..GetStatusResponse::default()
        };
        assert_eq!(
            write_json(&status, STATUS, false),
            r#"{"node_name":"\u009b","uptime":"3.500s","processes":"7"}"#
        );
        assert_eq!(
            write_json(&status, STATUS, true),
            "{\n  \"node_name\": \"\\u009b\",\n  \"uptime\": \"3.500s\",\n  \"processes\": \"7\"\n}"
        );
        let text = write_json(&status, STATUS, true);
        assert_eq!(parse_json::<GetStatusResponse>(STATUS, &text, Unknown::Deny).unwrap(), status);
    }

    #[test]
    fn what_has_no_json_form_is_null() {
        let end = End { time: Some(Timestamp { seconds: i64::MAX, nanos: 0 }), ..End::default() };
        assert_eq!(write_json(&end, "procession.v1.End", false), "null");
    }
}
