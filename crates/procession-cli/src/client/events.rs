//! `procession events`.

use std::future::poll_fn;
use std::pin::Pin;
use std::process::ExitCode;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use anyhow::anyhow;
use jiff::tz::TimeZone;
use procession_api::json;
use procession_api::proto::procession::v1::follow_response::Item;
use procession_api::proto::procession::v1::{FollowRequest, FollowResponse, Process};
use procession_api::proto::tetragon::get_events_response::Event;
use procession_api::proto::tetragon::{
    EventType, FieldFilter, Filter, GetEventsRequest, GetEventsResponse, ProcessExec,
};
use procession_filter::FieldFilters;
use tokio_stream::Stream as _;
use tonic::{Code, Status, Streaming};

use super::args::EventsArgs;
use super::connect::{Agent, refusal};
use super::depth::Depths;
use super::screen::{Reader, Screen};
use super::{answer, filter, screen};
use crate::args::{OutputArg, WrongOption};
use crate::display::{self, Accounts};
use crate::render::{Compact, MessageForm, MessageView, Text, TextOptions, View as _};
use crate::summary;

/// How long to wait before trying again to reach an agent.
const RECONNECT_WAIT: Duration = Duration::from_secs(2);

/// What is asked for.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) allow: Vec<Filter>,
    pub(super) fields: Vec<FieldFilter>,
    has_snapshot: bool,
}

impl Request {
    pub(super) fn new(args: &EventsArgs) -> anyhow::Result<Self> {
        let has_fields = !args.show.fields.is_empty() || !args.show.exclude_fields.is_empty();
        if has_fields && args.show.look.output != OutputArg::Json {
            return Err(anyhow!("--fields and --exclude-fields choose fields of JSON: they need `-o json`"));
        }
        let accounts = Accounts::here(display::users().users().clone());
        let allow = filter::allow(&args.select, &filter::types(&args.events), &accounts)?;
        let fields = filter::fields(&args.show);
        FieldFilters::new(&fields).map_err(|error| unknown_field(&error.to_string()))?;
        Ok(Self { allow, fields, has_snapshot: args.events.snapshot })
    }
}

/// A filter's error is about the request, of which who types options knows nothing.
fn unknown_field(error: &str) -> anyhow::Error {
    let why = error.split_once(".fields: ").map_or(error, |(_, why)| why);
    anyhow!("--fields and --exclude-fields take fields of events, such as `process.binary`: {why}")
}

pub(super) async fn run(args: &EventsArgs, screen: &mut Screen<'_>) -> anyhow::Result<ExitCode> {
    let request = Request::new(args).map_err(WrongOption)?;
    let mut presenter = Presenter::new(args, TimeZone::system());
    let mut is_said = false;
    loop {
        let failure = match follow(args, &request, &mut presenter, screen, &mut is_said).await {
            Ok(Reader::Gone | Reader::Reads) => return Ok(ExitCode::SUCCESS),
            Err(failure) => failure,
        };
        match failure {
            Failure::Passing(error) if args.reconnect => {
                if !std::mem::replace(&mut is_said, true) {
                    summary::tell(format_args!("{error:#}; trying again every {RECONNECT_WAIT:?}"));
                }
                tokio::time::sleep(RECONNECT_WAIT).await;
            }
            Failure::Passing(error) | Failure::Lasting(error) => return Err(error),
        }
    }
}

/// Why a stream ended.
enum Failure {
    /// It may work again later.
    Passing(anyhow::Error),
    /// It will not.
    Lasting(anyhow::Error),
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let error = refusal(&status);
        match status.code() {
            Code::InvalidArgument
            | Code::Unimplemented
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::FailedPrecondition => Self::Lasting(error),
            _ => Self::Passing(error),
        }
    }
}

/// Connects, and shows what comes until nobody reads it. `is_said`: that there is no agent.
async fn follow(
    args: &EventsArgs,
    request: &Request,
    presenter: &mut Presenter,
    screen: &mut Screen<'_>,
    is_said: &mut bool,
) -> Result<Reader, Failure> {
    let agent = Agent::connect(&args.server).await.map_err(Failure::Passing)?;
    let mut feed = Feed::open(&agent, args.server.timeout, request).await?;
    if std::mem::take(is_said) {
        summary::tell(format_args!("the agent is back; what happened meanwhile is not shown"));
    } else {
        summary::begun("told by the agent", args.is_selective());
    }
    loop {
        let mut next = Some(feed.next().await);
        let mut failure = None;
        // What is ready by now is written with it.
        while let Some(told) = next {
            match told {
                Some(Ok(told)) => presenter.show(&told, screen.lines()),
                Some(Err(status)) => failure = Some(status.into()),
                None => failure = Some(Failure::Passing(anyhow!("the agent has ended the stream"))),
            }
            if failure.is_some() || screen.write_some().map_err(Failure::Lasting)? == Reader::Gone {
                break;
            }
            next = feed.ready().await;
        }
        let reader = screen.write().map_err(Failure::Lasting)?;
        for note in presenter.notes.drain(..) {
            summary::tell(format_args!("{note}"));
        }
        match (reader, failure) {
            (Reader::Gone, _) => return Ok(Reader::Gone),
            (Reader::Reads, Some(failure)) => return Err(failure),
            (Reader::Reads, None) => {}
        }
    }
}

/// What an agent tells.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one at a time")]
pub(super) enum Told {
    Event(GetEventsResponse),
    Running(Process),
    SnapshotEnd,
    Lost(u64),
}

impl Told {
    /// `None`: it is of a later version.
    pub(super) fn of(response: FollowResponse) -> Option<Self> {
        Some(match response.item? {
            Item::Event(event) => Self::Event(event),
            Item::Running(process) => Self::Running(process),
            Item::SnapshotEnd(_) => Self::SnapshotEnd,
            Item::Lost(lost) => Self::Lost(lost.events),
        })
    }
}

/// A stream of it.
enum Feed {
    Events(Streaming<GetEventsResponse>),
    Follow(Streaming<FollowResponse>),
}

impl Feed {
    async fn open(agent: &Agent, timeout: Duration, request: &Request) -> Result<Self, Status> {
        let Request { allow, fields, has_snapshot } = request.clone();
        if has_snapshot {
            let request = FollowRequest { allow_list: allow, deny_list: Vec::new(), field_filters: fields };
            return Ok(Self::Follow(answer(timeout, agent.lineage().follow(request)).await?));
        }
        let allow_list = filter::with_losses(allow);
        let request = GetEventsRequest { allow_list, field_filters: fields, ..GetEventsRequest::default() };
        Ok(Self::Events(answer(timeout, agent.sensors().get_events(request)).await?))
    }

    async fn next(&mut self) -> Option<Result<Told, Status>> {
        poll_fn(|context| self.poll(context)).await
    }

    /// What comes next, if it is here already.
    async fn ready(&mut self) -> Option<Option<Result<Told, Status>>> {
        poll_fn(|context| match self.poll(context) {
            Poll::Ready(told) => Poll::Ready(Some(told)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Told, Status>>> {
        let follow = match self {
            Self::Events(events) => {
                return Pin::new(events).poll_next(context).map(|it| it.map(|it| it.map(Told::Event)));
            }
            Self::Follow(follow) => follow,
        };
        loop {
            let Some(response) = ready!(Pin::new(&mut *follow).poll_next(context)) else {
                return Poll::Ready(None);
            };
            let told = match response {
                Err(status) => Err(status),
                Ok(response) => match Told::of(response) {
                    Some(told) => Ok(told),
                    None => continue,
                },
            };
            return Poll::Ready(Some(told));
        }
    }
}

/// From what is told to lines.
#[derive(Debug)]
pub(super) struct Presenter {
    /// `None`: JSON.
    form: Option<MessageForm>,
    zone: TimeZone,
    /// Only where a tree is drawn.
    depths: Option<Depths>,
    /// Only what runs in no container: filters know only of pods.
    is_host_only: bool,
    /// Losses are told among the events.
    has_losses: bool,
    /// What is to be said beside the events.
    pub(super) notes: Vec<String>,
}

impl Presenter {
    pub(super) fn new(args: &EventsArgs, zone: TimeZone) -> Self {
        let look = &args.show.look;
        let form = match look.output {
            OutputArg::Text => Some(MessageForm::Text(Text::new(TextOptions {
                forks: false,
                tree: look.tree,
                ancestors: look.ancestors,
                width: screen::width(look.terminal.wide),
                palette: screen::palette(look.terminal.color),
            }))),
            OutputArg::Compact => Some(MessageForm::Compact(Compact {
                node_name: String::new(),
                timestamps: args.show.timestamps,
                capabilities: true,
                palette: screen::palette(look.terminal.color),
            })),
            OutputArg::Json => None,
        };
        let types = filter::types(&args.events);
        Self {
            has_losses: form.is_none() && (types.is_empty() || types.contains(&EventType::RateLimitInfo)),
            form,
            zone,
            depths: look.tree.then(Depths::default),
            is_host_only: args.select.which.host,
            notes: Vec::new(),
        }
    }

    /// Appends the line of what is told to `out`, if it has one.
    pub(super) fn show(&mut self, told: &Told, out: &mut Vec<u8>) {
        match told {
            Told::Event(event) => self.event(event, out),
            Told::Running(process) => self.running(process, out),
            Told::SnapshotEnd => {}
            Told::Lost(events) => {
                self.notes
                    .push(format!("{} lost: more came than were read here", summary::events_were(*events)));
            }
        }
    }

    fn event(&mut self, event: &GetEventsResponse, out: &mut Vec<u8>) {
        if let Some(Event::RateLimitInfo(info)) = &event.event
            && !self.has_losses
        {
            self.notes.push(format!(
                "{} left out by the agent: there were too many",
                summary::events_were(info.number_of_dropped_process_events)
            ));
            return;
        }
        let depth = self.depths.as_mut().map_or(0, |depths| depths.of_event(event));
        let view = MessageView::of_event(event, depth);
        if self.is_host_only && view.as_ref().is_some_and(|view| view.place().is_some()) {
            return;
        }
        match (&mut self.form, view) {
            (None, _) => json::write(event, out),
            (Some(form), Some(view)) => form.render(&view, &self.zone, out),
            (Some(_), None) => {}
        }
    }

    fn running(&mut self, entry: &Process, out: &mut Vec<u8>) {
        let Some(view) = MessageView::of_process(entry) else { return };
        if self.is_host_only && view.place().is_some() {
            return;
        }
        if let Some(depths) = &mut self.depths {
            depths.running(view.process, view.depth());
        }
        match &mut self.form {
            Some(form) => form.render(&view, &self.zone, out),
            // As if it were run now: programs that read events need to know no other message.
            None => json::write(&as_event(entry), out),
        }
    }
}

fn as_event(entry: &Process) -> GetEventsResponse {
    let process = entry.process.clone();
    let time = process.as_ref().and_then(|process| process.start_time);
    let exec = ProcessExec { process, ..ProcessExec::default() };
    GetEventsResponse { event: Some(Event::ProcessExec(exec)), time, ..GetEventsResponse::default() }
}
