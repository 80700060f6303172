//! What filters look at in an event, whatever its kind.

#[cfg(feature = "cel")]
use std::cell::OnceCell;

use procession_api::proto::tetragon::get_events_response::Event;
use procession_api::proto::tetragon::{Container, EventType, GetEventsResponse, Pod, Process};

/// An event. One without a process has none here.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub(crate) kind: Option<EventType>,
    pub(crate) process: Option<&'a Process>,
    pub(crate) parent: Option<&'a Process>,
    pub(crate) ancestors: &'a [Process],
    #[cfg(feature = "cel")]
    event: Option<&'a Event>,
    /// The member encoded, once an expression asked for it.
    #[cfg(feature = "cel")]
    encoded: OnceCell<Vec<u8>>,
}

impl<'a> View<'a> {
    pub(crate) fn of(response: &'a GetEventsResponse) -> Self {
        let event = response.event.as_ref();
        let mut view = Self::new(event);
        macro_rules! look {
            ($it:expr) => {{
                (view.process, view.parent) = ($it.process.as_ref(), $it.parent.as_ref());
                view.ancestors = &$it.ancestors;
            }};
        }
        match event {
            Some(Event::ProcessExec(it)) => look!(it),
            Some(Event::ProcessExit(it)) => look!(it),
            Some(Event::ProcessKprobe(it)) => look!(it),
            Some(Event::ProcessTracepoint(it)) => look!(it),
            Some(Event::ProcessLoader(it)) => look!(it),
            Some(Event::ProcessUprobe(it)) => look!(it),
            Some(Event::ProcessLsm(it)) => look!(it),
            Some(Event::ProcessUsdt(it)) => look!(it),
            Some(Event::ProcessThrottle(_) | Event::Test(_) | Event::RateLimitInfo(_)) | None => {}
        }
        view
    }

    fn new(event: Option<&'a Event>) -> Self {
        Self {
            kind: event.map(kind),
            process: None,
            parent: None,
            ancestors: &[],
            #[cfg(feature = "cel")]
            event,
            #[cfg(feature = "cel")]
            encoded: OnceCell::new(),
        }
    }

    #[cfg(test)]
    pub(crate) fn of_process(kind: EventType, process: &'a Process, parent: Option<&'a Process>) -> Self {
        Self { kind: Some(kind), process: Some(process), parent, ..Self::new(None) }
    }

    /// The event's member as it is encoded.
    #[cfg(feature = "cel")]
    pub(crate) fn encoded(&self) -> &[u8] {
        self.encoded.get_or_init(|| self.event.map(encode).unwrap_or_default())
    }

    /// The pod that its process is in.
    pub(crate) fn pod(&self) -> Option<&'a Pod> {
        // A container in no pod has the message too, for the container's sake.
        self.process?.pod.as_ref().filter(|pod| !pod.name.is_empty())
    }

    /// The container that its process is in, whether that is in a pod or not.
    pub(crate) fn container(&self) -> Option<&'a Container> {
        self.process?.pod.as_ref()?.container.as_ref()
    }
}

pub(crate) fn kind(event: &Event) -> EventType {
    match event {
        Event::ProcessExec(_) => EventType::ProcessExec,
        Event::ProcessExit(_) => EventType::ProcessExit,
        Event::ProcessKprobe(_) => EventType::ProcessKprobe,
        Event::ProcessTracepoint(_) => EventType::ProcessTracepoint,
        Event::ProcessLoader(_) => EventType::ProcessLoader,
        Event::ProcessUprobe(_) => EventType::ProcessUprobe,
        Event::ProcessThrottle(_) => EventType::ProcessThrottle,
        Event::ProcessLsm(_) => EventType::ProcessLsm,
        Event::ProcessUsdt(_) => EventType::ProcessUsdt,
        Event::Test(_) => EventType::Test,
        Event::RateLimitInfo(_) => EventType::RateLimitInfo,
    }
}

/// Its processes, to be changed.
pub(crate) fn processes_mut(response: &mut GetEventsResponse) -> impl Iterator<Item = &mut Process> {
    macro_rules! all {
        ($it:expr) => {
            ($it.process.as_mut(), $it.parent.as_mut(), $it.ancestors.as_mut_slice())
        };
    }
    let (process, parent, ancestors) = match response.event.as_mut() {
        Some(Event::ProcessExec(it)) => all!(it),
        Some(Event::ProcessExit(it)) => all!(it),
        Some(Event::ProcessKprobe(it)) => all!(it),
        Some(Event::ProcessTracepoint(it)) => all!(it),
        Some(Event::ProcessLoader(it)) => all!(it),
        Some(Event::ProcessUprobe(it)) => all!(it),
        Some(Event::ProcessLsm(it)) => all!(it),
        Some(Event::ProcessUsdt(it)) => all!(it),
        Some(Event::ProcessThrottle(_) | Event::Test(_) | Event::RateLimitInfo(_)) | None => {
            (None, None, &mut [] as &mut [Process])
        }
    };
    process.into_iter().chain(parent).chain(ancestors)
}

#[cfg(feature = "cel")]
fn encode(event: &Event) -> Vec<u8> {
    use prost::Message as _;

    match event {
        Event::ProcessExec(it) => it.encode_to_vec(),
        Event::ProcessExit(it) => it.encode_to_vec(),
        Event::ProcessKprobe(it) => it.encode_to_vec(),
        Event::ProcessTracepoint(it) => it.encode_to_vec(),
        Event::ProcessLoader(it) => it.encode_to_vec(),
        Event::ProcessUprobe(it) => it.encode_to_vec(),
        Event::ProcessThrottle(it) => it.encode_to_vec(),
        Event::ProcessLsm(it) => it.encode_to_vec(),
        Event::ProcessUsdt(it) => it.encode_to_vec(),
        Event::Test(it) => it.encode_to_vec(),
        Event::RateLimitInfo(it) => it.encode_to_vec(),
    }
}
