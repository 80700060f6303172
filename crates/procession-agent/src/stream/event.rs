//! One event, encoded once for each form in which clients read it.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use procession_api::json;
use procession_api::proto::tetragon::GetEventsResponse;
use procession_filter::FieldFilters;
use prost::Message as _;

/// An event that is told. Immutable; what it looks like in a form is made when first asked for.
#[derive(Debug)]
pub struct Event {
    sequence: u64,
    message: GetEventsResponse,
    protobuf: OnceLock<Bytes>,
    /// With fields left out, by the filters that left them out.
    filtered: Mutex<Vec<(Form, Option<Arc<Filtered>>)>>,
}

/// Which fields of events are told.
///
/// Two forms are the same if they came of the same filters, however they were made.
#[derive(Clone, Debug, Default)]
pub struct Form(Option<Arc<FieldFilters>>);

#[derive(Debug)]
struct Filtered {
    message: GetEventsResponse,
    protobuf: OnceLock<Bytes>,
}

/// The most forms with fields left out that are kept of an event. For others it is made anew: clients
/// may think up as many as they like.
const MOST_FORMS: usize = 2;

impl Form {
    /// With the fields that these filters leave.
    pub fn new(filters: FieldFilters) -> Self {
        Self((!filters.is_empty()).then(|| Arc::new(filters)))
    }
}

impl PartialEq for Form {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other) || one == other,
            _ => false,
        }
    }
}

impl Event {
    /// An event that happened when the table had received `sequence` events.
    pub fn new(sequence: u64, message: GetEventsResponse) -> Self {
        Self { sequence, message, protobuf: OnceLock::new(), filtered: Mutex::default() }
    }

    /// Its place in the log of events: see [`Fact::sequence`](procession::Fact::sequence).
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// All of it.
    pub fn message(&self) -> &GetEventsResponse {
        &self.message
    }

    /// As protobuf. `None`: a filter failed on it, so nothing of it may be told.
    pub fn protobuf(&self, form: &Form) -> Option<Bytes> {
        let encode = |message: &GetEventsResponse| message.encode_to_vec().into();
        Some(match &form.0 {
            None => self.protobuf.get_or_init(|| encode(&self.message)).clone(),
            Some(filters) => {
                let filtered = self.filtered(form, filters)?;
                filtered.protobuf.get_or_init(|| encode(&filtered.message)).clone()
            }
        })
    }

    /// Appends it to `out` as a line of JSON, with its line feed. `None`: as above, and nothing is appended.
    ///
    /// It is not kept: who writes lines reads each event once, and a line is longer than all else of an event.
    pub fn write_json(&self, form: &Form, out: &mut Vec<u8>) -> Option<()> {
        match &form.0 {
            None => json::write(&self.message, out),
            Some(filters) => json::write(&self.filtered(form, filters)?.message, out),
        }
        Some(())
    }

    /// About how many bytes it takes, its encodings included.
    pub(crate) fn bytes(&self) -> usize {
        // The message and its encoding, and the same with fields left out.
        const COPIES: usize = 4;
        size_of::<Self>() + COPIES * self.message.encoded_len()
    }

    fn filtered(&self, form: &Form, filters: &FieldFilters) -> Option<Arc<Filtered>> {
        let mut known = self.filtered.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, filtered)) = known.iter().find(|(other, _)| other == form) {
            return filtered.clone();
        }
        let message = filters.apply(&self.message).ok();
        let filtered = message.map(|message| Arc::new(Filtered { message, protobuf: OnceLock::new() }));
        if known.len() < MOST_FORMS {
            known.push((form.clone(), filtered.clone()));
        }
        filtered
    }
}
