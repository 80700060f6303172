//! Which events a client wants, and which fields of them.

use std::sync::Arc;

use procession_api::proto::tetragon::{EventType, FieldFilter, Filter, GetEventsResponse};
use procession_filter::{EventFilter, FieldFilters, FilterError, FilterOptions};
use tonic::Status;

use super::bound::Shared;
use super::stopping_status;

use crate::Form;

/// Which events a client wants, and which fields of them.
pub(super) struct Subscription {
    filter: EventFilter,
    /// Those that the form is made of, for what is not in the log.
    pub(super) fields: FieldFilters,
    pub(super) form: Form,
    /// Whether the events of losses are asked for by name.
    pub(super) asks_for_losses: bool,
}

/// What a client sent.
#[derive(Clone, Debug, Default)]
pub(super) struct Wish {
    pub(super) allow: Vec<Filter>,
    pub(super) deny: Vec<Filter>,
    pub(super) fields: Vec<FieldFilter>,
}

impl Wish {
    /// Whether the events of losses are asked for by name. Who does not know them fails on them.
    fn asks_for_losses(&self) -> bool {
        let names = |filters: &[Filter]| {
            filters.iter().any(|it| it.event_set.contains(&EventType::RateLimitInfo.into()))
        };
        names(&self.allow) && !names(&self.deny)
    }
}

impl Subscription {
    /// Compiles what was asked for, beside what serves other clients. Filters that make no sense are the
    /// client's error.
    pub(super) async fn compile(shared: &Shared, wish: Wish) -> Result<Self, Status> {
        let place = Arc::clone(&shared.compilations).acquire_owned().await;
        let place = place.map_err(|_| stopping_status())?;
        let options = shared.config.filters;
        let compiling = tokio::task::spawn_blocking(move || {
            // Though the client may have gone.
            let _place = place;
            Self::new(&wish, options)
        });
        compiling.await.map_err(|_| Status::internal("the filters could not be compiled"))?
    }

    fn new(wish: &Wish, options: FilterOptions) -> Result<Self, Status> {
        let invalid = |error: FilterError| Status::invalid_argument(describe(&error));
        let fields = FieldFilters::new(&wish.fields).map_err(invalid)?;
        let filter = EventFilter::new(&wish.allow, &wish.deny, options).map_err(invalid)?;
        let asks_for_losses = wish.asks_for_losses();
        Ok(Self { filter, form: Form::new(fields.clone()), fields, asks_for_losses })
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
