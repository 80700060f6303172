//! A message that is encoded already.

use bytes::{Buf, BufMut, Bytes};
use prost::encoding::{DecodeContext, WireType, skip_field};
use prost::{DecodeError, Message};

/// A protobuf message that was encoded before: whoever sends it, to however many, copies bytes.
///
/// Servers send it in place of the message that it encodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded(pub Bytes);

impl Encoded {
    /// Encodes `message`.
    pub fn new(message: &impl Message) -> Self {
        Self(message.encode_to_vec().into())
    }
}

impl Message for Encoded {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.0);
    }

    /// Servers only send; what is received of a message that stays encoded is skipped.
    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        skip_field(wire_type, tag, buf, ctx)
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {
        self.0 = Bytes::new();
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::Encoded;
    use crate::proto::tetragon::{GetEventsResponse, RateLimitInfo, get_events_response::Event};

    #[test]
    fn it_is_sent_as_the_message_that_it_encodes() {
        let info = RateLimitInfo { number_of_dropped_process_events: 7 };
        let message = GetEventsResponse {
            event: Some(Event::RateLimitInfo(info)),
            node_name: "node".into(),
            ..GetEventsResponse::default()
        };
        let sent = Encoded::new(&message).encode_to_vec();
        assert_eq!(GetEventsResponse::decode(&*sent).unwrap(), message);
    }
}
