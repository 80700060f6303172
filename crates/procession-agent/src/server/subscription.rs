//! Which events a client wants, and which fields of them.

use procession_api::proto::tetragon::{FieldFilter, Filter, GetEventsResponse};
use procession_filter::{FieldFilters, FilterError};
use tonic::Status;

use crate::Form;

/// What events hold beyond what they always do: filters that ask for what is not there are refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FilterOptions {
    /// Capabilities.
    pub credentials: bool,
    /// Ancestors beyond the parent.
    pub ancestors: bool,
}

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

use stand_in::EventFilter;

/// Stands in for `procession_filter::EventFilter`: it knows `pid` and whether `binary_regex` compiles.
mod stand_in {
    use procession_api::proto::tetragon::get_events_response::Event;
    use procession_api::proto::tetragon::{Filter, GetEventsResponse, Process};
    use procession_filter::{FilterError, Kinds};

    use super::FilterOptions;

    pub(super) struct EventFilter {
        allow: Vec<Filter>,
        deny: Vec<Filter>,
    }

    impl EventFilter {
        pub(super) fn new(
            allow: &[Filter],
            deny: &[Filter],
            _options: FilterOptions,
        ) -> Result<Self, FilterError> {
            for pattern in allow.iter().chain(deny).flat_map(|filter| &filter.binary_regex) {
                procession_filter::Filter::new(Kinds::default()).binary(pattern)?;
            }
            Ok(Self { allow: allow.to_vec(), deny: deny.to_vec() })
        }

        pub(super) fn admits(&mut self, event: &GetEventsResponse) -> bool {
            let pid = process(event).and_then(|process| process.pid);
            let matches =
                |filter: &Filter| filter.pid.is_empty() || pid.is_some_and(|pid| filter.pid.contains(&pid));
            (self.allow.is_empty() || self.allow.iter().any(matches)) && !self.deny.iter().any(matches)
        }
    }

    fn process(event: &GetEventsResponse) -> Option<&Process> {
        match event.event.as_ref()? {
            Event::ProcessExec(exec) => exec.process.as_ref(),
            Event::ProcessExit(exit) => exit.process.as_ref(),
            _ => None,
        }
    }
}
