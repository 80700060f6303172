//! Which events a client wants, and which fields of them.

use procession_api::proto::tetragon::{FieldFilter, Filter, GetEventsResponse};
use procession_filter::{EventFilter, FieldFilters, FilterError, FilterOptions};
use tonic::Status;

use crate::Form;

/// Which events a client wants, and which fields of them.
pub(super) struct Subscription {
    filter: EventFilter,
    /// Those that the form is made of, for what is not in the log.
    pub(super) fields: FieldFilters,
    pub(super) form: Form,
}

impl Subscription {
    /// Compiles what was asked for. Filters that make no sense are the client's error.
    pub(super) fn new(
        allow: &[Filter],
        deny: &[Filter],
        fields: &[FieldFilter],
        options: FilterOptions,
    ) -> Result<Self, Status> {
        let invalid = |error: FilterError| Status::invalid_argument(describe(&error));
        let fields = FieldFilters::new(fields).map_err(invalid)?;
        let filter = EventFilter::new(allow, deny, options).map_err(invalid)?;
        Ok(Self { filter, form: Form::new(fields.clone()), fields })
    }

    pub(super) fn admits(&mut self, event: &GetEventsResponse) -> bool {
        self.filter.admits(event)
    }
}

/// The error and its causes.
fn describe(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
