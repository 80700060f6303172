//! Messages by their descriptors: what may be slow, and has to know every message.
//!
//! What is written often has code of its own ([`json`](crate::json)).

use std::sync::OnceLock;

use prost::Message;
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions,
};

use crate::json::printable;
use crate::proto::DESCRIPTORS;

/// The name of the message that is an event.
pub const EVENT: &str = "tetragon.GetEventsResponse";

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
/// use procession_api::dynamic::{Unknown, parse_json};
/// use procession_api::proto::tetragon::Filter;
///
/// let filter: Filter = parse_json("tetragon.Filter", r#"{"pid":[1]}"#, Unknown::Deny)?;
/// assert_eq!(filter.pid, [1]);
///
/// let error = parse_json::<Filter>("tetragon.Filter", r#"{"pids":[1]}"#, Unknown::Deny).unwrap_err();
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
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let message = DynamicMessage::deserialize_with_options(descriptor, &mut deserializer, options)?;
    deserializer.end()?;
    Ok(message)
}

/// The JSON form of any message, with its members named as in the schema, on one line. There is no line feed at
/// the end.
///
/// `message` has to be the one called `full_name`. What has no JSON form, such as a time after the
/// year 9999, makes the whole of it `null`.
///
/// # Panics
///
/// If no message is called `full_name`.
pub fn write_json(message: &impl Message, full_name: &str) -> String {
    let mut json = serialize(message, full_name).unwrap_or_else(|_| b"null".to_vec());
    printable::escape(&mut json, 0);
    String::from_utf8_lossy(&json).into_owned()
}

fn serialize(message: &impl Message, full_name: &str) -> Result<Vec<u8>, serde_json::Error> {
    let options = SerializeOptions::new().use_proto_field_name(true);
    let mut dynamic = DynamicMessage::new(descriptor(full_name));
    dynamic.transcode_from(message).map_err(serde::ser::Error::custom)?;
    let mut json = Vec::new();
    dynamic.serialize_with_options(&mut serde_json::Serializer::new(&mut json), &options)?;
    Ok(json)
}

fn descriptor(full_name: &str) -> MessageDescriptor {
    pool().get_message_by_name(full_name).unwrap_or_else(|| panic!("no message is called {full_name}"))
}

#[cfg(test)]
mod tests {
    use prost_types::{Duration, Timestamp};

    use super::*;
    use crate::proto::procession::v1::{End, GetStatusResponse};
    use crate::proto::tetragon::{Filter, GetEventsResponse, RedactionFilter};

    const FILTER: &str = "tetragon.Filter";
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
            write_json(&status, STATUS),
            r#"{"node_name":"\u009b","uptime":"3.500s","processes":"7"}"#
        );
        let text = write_json(&status, STATUS);
        assert_eq!(parse_json::<GetStatusResponse>(STATUS, &text, Unknown::Deny).unwrap(), status);
    }

    #[test]
    fn what_has_no_json_form_is_null() {
        let end = End { time: Some(Timestamp { seconds: i64::MAX, nanos: 0 }), ..End::default() };
        assert_eq!(write_json(&end, "procession.v1.End"), "null");
    }
}
