//! Messages as JSON, and back.

use std::fmt::Write as _;
use std::sync::LazyLock;

use procession_api::proto::DESCRIPTORS;
use prost::Message;
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions,
};

static POOL: LazyLock<Option<DescriptorPool>> = LazyLock::new(|| DescriptorPool::decode(DESCRIPTORS).ok());

/// The messages that are written here.
pub(crate) trait Named: Message {
    /// With its package.
    const NAME: &'static str;
}

macro_rules! named {
    ($($type:ty = $name:literal),* $(,)?) => {
        $(impl Named for $type { const NAME: &'static str = $name; })*
    };
}

named! {
    procession_api::proto::tetragon::GetEventsResponse = "tetragon.GetEventsResponse",
    procession_api::proto::tetragon::ProcessInternal = "tetragon.ProcessInternal",
    procession_api::proto::procession::v1::Process = "procession.v1.Process",
    procession_api::proto::procession::v1::GetTreeResponse = "procession.v1.GetTreeResponse",
    procession_api::proto::procession::v1::GetLineageResponse = "procession.v1.GetLineageResponse",
    procession_api::proto::procession::v1::GetStatusResponse = "procession.v1.GetStatusResponse",
    procession_api::proto::procession::v1::GetLedgerResponse = "procession.v1.GetLedgerResponse",
}

/// The JSON form of `message` in one line, its members named as in the `.proto` files.
pub(crate) fn line<M: Named>(message: &M) -> String {
    let written = descriptor(M::NAME).and_then(|descriptor| {
        let mut dynamic = DynamicMessage::new(descriptor);
        dynamic.transcode_from(message).ok()?;
        let mut writer = serde_json::Serializer::new(Vec::new());
        let options = SerializeOptions::new().use_proto_field_name(true);
        dynamic.serialize_with_options(&mut writer, &options).ok()?;
        String::from_utf8(writer.into_inner()).ok()
    });
    // The descriptors are of the messages: that there is no form would be an error in the build.
    printable(&written.unwrap_or_else(|| "{}".to_owned()))
}

/// Escapes the control characters that JSON lets stand: they are only in its strings.
fn printable(json: &str) -> String {
    let mut printable = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_control() {
            // Writing to a text cannot fail.
            let _ = write!(printable, "\\u{:04x}", u32::from(c));
        } else {
            printable.push(c);
        }
    }
    printable
}

/// The message in a line of JSON; members that are not known are skipped. `None`: it is none.
pub(crate) fn parse<M: Named + Default>(line: &[u8]) -> Option<M> {
    let mut reader = serde_json::Deserializer::from_slice(line);
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let dynamic =
        DynamicMessage::deserialize_with_options(descriptor(M::NAME)?, &mut reader, &options).ok()?;
    reader.end().ok()?;
    dynamic.transcode_to().ok()
}

fn descriptor(name: &str) -> Option<MessageDescriptor> {
    POOL.as_ref()?.get_message_by_name(name)
}
