//! One event, encoded once for each form in which somebody reads it.

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
    whole: Encodings,
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
    encodings: Encodings,
}

#[derive(Debug, Default)]
struct Encodings {
    protobuf: OnceLock<Bytes>,
    json: OnceLock<Bytes>,
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
        Self { sequence, message, whole: Encodings::default(), filtered: Mutex::default() }
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
        self.encoded(form, |encodings, message| {
            encodings.protobuf.get_or_init(|| message.encode_to_vec().into()).clone()
        })
    }

    /// As a line of JSON, with its line feed. `None`: as above.
    pub fn json(&self, form: &Form) -> Option<Bytes> {
        self.encoded(form, |encodings, message| {
            let line = || {
                let mut line = Vec::new();
                json::write(message, &mut line);
                line.into()
            };
            encodings.json.get_or_init(line).clone()
        })
    }

    /// About how many bytes it takes, its encodings included.
    pub(super) fn bytes(&self) -> usize {
        // The message, as protobuf, as JSON, and one that leaves fields out.
        const COPIES: usize = 4;
        size_of::<Self>() + COPIES * self.message.encoded_len()
    }

    fn encoded(
        &self,
        form: &Form,
        encode: impl Fn(&Encodings, &GetEventsResponse) -> Bytes,
    ) -> Option<Bytes> {
        let Some(filters) = &form.0 else { return Some(encode(&self.whole, &self.message)) };
        let filtered = self.filtered(form, filters)?;
        Some(encode(&filtered.encodings, &filtered.message))
    }

    fn filtered(&self, form: &Form, filters: &FieldFilters) -> Option<Arc<Filtered>> {
        let mut known = self.filtered.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, filtered)) = known.iter().find(|(other, _)| other == form) {
            return filtered.clone();
        }
        let message = filters.apply(&self.message).ok();
        let filtered = message.map(|message| Arc::new(Filtered { message, encodings: Encodings::default() }));
        if known.len() < MOST_FORMS {
            known.push((form.clone(), filtered.clone()));
        }
        filtered
    }
}
