//! Messages as JSON, and back.

use procession_api::dynamic::{self, Unknown};
use prost::Message;

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
    dynamic::write_json(message, M::NAME)
}

/// The message in a line of JSON; members that are not known are skipped. `None`: it is none.
pub(crate) fn parse<M: Named + Default>(line: &[u8]) -> Option<M> {
    dynamic::parse_json(M::NAME, str::from_utf8(line).ok()?, Unknown::Ignore).ok()
}
