//! Which fields of an event are told.
//!
//! Works on the encoded event, so that it does for every message and takes the time of copying what
//! stays.

use std::collections::BTreeMap;

use procession_api::proto::tetragon::{EventType, FieldFilter, FieldFilterAction, GetEventsResponse};
use prost::Message as _;
use prost_reflect::{FieldDescriptor, MessageDescriptor};

use crate::error::suggestion;
use crate::event_filter::is_in;
use crate::wire::{Fields, Malformed, Value, put_message};
use crate::{FilterError, schema, view};

/// Field filters, compiled: they apply one after the other.
///
/// Members of the response itself, such as `time` and `node_name`, always stay.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FieldFilters {
    filters: Vec<Compiled>,
}

#[derive(Clone, Debug, PartialEq)]
struct Compiled {
    events: Vec<i32>,
    inverts: bool,
    action: FieldFilterAction,
    /// For each event, by its number, the paths that it has.
    paths: BTreeMap<u32, Paths>,
}

/// Paths from a message, by the numbers of their fields. A field that is named as a whole has `None`.
#[derive(Clone, Debug, Default, PartialEq)]
struct Paths(BTreeMap<u32, Option<Paths>>);

/// The most paths that filters may have.
const MAX_PATHS: usize = 10_000;

impl FieldFilters {
    /// Compiles filters. A path that no event has, among those that the filter is for, is an error
    /// that says what it might have been.
    pub fn new(filters: &[FieldFilter]) -> Result<Self, FilterError> {
        let paths = |filter: &FieldFilter| filter.fields.as_ref().map_or(0, |fields| fields.paths.len());
        if filters.iter().map(paths).sum::<usize>() + filters.len() > MAX_PATHS {
            return Err(
                FilterError::new(format_args!("at most {MAX_PATHS} paths are taken")).within("field_filters")
            );
        }
        let compile = |(index, filter)| {
            let place = format!("field_filters[{index}]");
            Compiled::new(filter).map_err(|error: FilterError| error.within(place))
        };
        let filters = filters.iter().enumerate().map(compile).collect::<Result<Vec<_>, _>>()?;
        // Nothing else changes events, and what changes none need not be done.
        let filters = filters.into_iter().filter(|filter| !filter.paths.is_empty()).collect();
        Ok(Self { filters })
    }

    /// Whether they leave every event as it is.
    pub fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// The event with the fields that the filters leave. An error means that nothing of the event may
    /// be told.
    pub fn apply(&self, event: &GetEventsResponse) -> Result<GetEventsResponse, FilterError> {
        let Some(kind) = event.event.as_ref().map(view::kind) else { return Ok(event.clone()) };
        let mut filters = self.filters.iter().filter(|filter| filter.is_for(kind)).peekable();
        if filters.peek().is_none() {
            return Ok(event.clone());
        }
        let mut encoded = event.encode_to_vec();
        for filter in filters {
            encoded = filter.apply(&encoded).map_err(FilterError::new)?;
        }
        GetEventsResponse::decode(&*encoded).map_err(FilterError::new)
    }
}

impl Compiled {
    fn new(filter: &FieldFilter) -> Result<Self, FilterError> {
        let action = FieldFilterAction::try_from(filter.action);
        let action = action.map_err(|_| FilterError::new("it must include or exclude").within("action"))?;
        let mut compiled = Self {
            events: filter.event_set.clone(),
            inverts: filter.invert_event_set.unwrap_or_default(),
            action,
            paths: BTreeMap::new(),
        };
        let paths = filter.fields.as_ref().map_or(&[][..], |fields| &fields.paths);
        for path in paths {
            compiled.add(path).map_err(|error| error.within("fields"))?;
        }
        Ok(compiled)
    }

    fn is_for(&self, kind: EventType) -> bool {
        is_in(kind, &self.events) != (self.inverts && !self.events.is_empty())
    }

    /// Adds a path to the events that have it.
    fn add(&mut self, path: &str) -> Result<(), FilterError> {
        let mut problem = None;
        let mut is_known = false;
        for event in schema::events() {
            let kind = i32::try_from(event.number()).ok().and_then(|number| EventType::try_from(number).ok());
            let Some(message) = event.kind().as_message().cloned() else { continue };
            if !kind.is_some_and(|kind| self.is_for(kind)) {
                continue;
            }
            match resolve(&message, path) {
                Ok(numbers) => {
                    self.paths.entry(event.number()).or_default().add(&numbers);
                    is_known = true;
                }
                // The one that got farthest knows best what was meant.
                Err(one) => problem = problem.filter(|(depth, _)| *depth >= one.0).or(Some(one)),
            }
        }
        if is_known {
            // An event that has none of the paths keeps nothing, which it has to know.
            for event in schema::events() {
                self.paths.entry(event.number()).or_default();
            }
            return Ok(());
        }
        let why = problem.map_or_else(|| "no event is left to filter".to_owned(), |(_, why)| why);
        Err(FilterError::new(format_args!("`{path}`: {why}")))
    }

    fn apply(&self, encoded: &[u8]) -> Result<Vec<u8>, Malformed> {
        let mut out = Vec::with_capacity(encoded.len());
        for field in Fields::new(encoded) {
            let field = field?;
            match (self.paths.get(&field.number), field.value) {
                (Some(paths), Value::Bytes(event)) => {
                    put_message(field.number, &paths.apply(self.action, event)?, &mut out);
                }
                _ => out.extend_from_slice(field.raw),
            }
        }
        Ok(out)
    }
}

impl Paths {
    fn add(&mut self, path: &[u32]) {
        let Some((first, rest)) = path.split_first() else { return };
        if rest.is_empty() {
            self.0.insert(*first, None);
        } else if let Some(inner) = self.0.entry(*first).or_insert_with(|| Some(Self::default())) {
            inner.add(rest);
        }
    }

    fn apply(&self, action: FieldFilterAction, message: &[u8]) -> Result<Vec<u8>, Malformed> {
        let mut out = Vec::with_capacity(message.len());
        for field in Fields::new(message) {
            let field = field?;
            let stays = match self.0.get(&field.number) {
                None => action == FieldFilterAction::Exclude,
                Some(None) => action == FieldFilterAction::Include,
                Some(Some(inner)) => {
                    let Value::Bytes(message) = field.value else { return Err(Malformed) };
                    put_message(field.number, &inner.apply(action, message)?, &mut out);
                    continue;
                }
            };
            if stays {
                out.extend_from_slice(field.raw);
            }
        }
        Ok(out)
    }
}

/// The numbers of a path's fields. The error says how many of them are known, and what is wrong.
fn resolve(message: &MessageDescriptor, path: &str) -> Result<Vec<u32>, (usize, String)> {
    let mut numbers = Vec::new();
    let mut message = Some(message.clone());
    for name in path.split('.') {
        let depth = numbers.len();
        let Some(inside) = message else {
            return Err((depth, format!("nothing inside of it is called `{name}`")));
        };
        let Some(field) = schema::field(&inside, name) else {
            let fields: Vec<_> = inside.fields().collect();
            let near = suggestion(name, fields.iter().map(FieldDescriptor::name));
            return Err((depth, format!("`{}` has no field `{name}`{near}", inside.name())));
        };
        numbers.push(field.number());
        message = field.kind().as_message().cloned();
        message = message.filter(|inner| !field.is_map() && !schema::is_well_known(inner));
    }
    Ok(numbers)
}
