//! The settings of the file that events are exported to.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use procession_api::proto::tetragon::{
    GetEventLogParamsRequest, GetEventLogParamsResponse, SetEventLogParamsRequest, SetEventLogParamsResponse,
};
use procession_api::proto::tetragon_servers::event_log_service_server::EventLogService;
use tonic::{Request, Response, Status};

use super::{Control, EventLogChanges};

/// `tetragon.EventLogService`.
pub(super) struct EventLogs(Arc<dyn Control>);

impl EventLogs {
    pub(super) fn new(control: Arc<dyn Control>) -> Self {
        Self(control)
    }
}

#[tonic::async_trait]
impl EventLogService for EventLogs {
    async fn set_event_log_params(
        &self,
        request: Request<SetEventLogParamsRequest>,
    ) -> Result<Response<SetEventLogParamsResponse>, Status> {
        let changes = read(&request.into_inner())?;
        if self.0.event_log().is_none() {
            return Err(not_exported());
        }
        self.0.set_event_log(changes)?;
        Ok(Response::new(SetEventLogParamsResponse {}))
    }

    async fn get_event_log_params(
        &self,
        _request: Request<GetEventLogParamsRequest>,
    ) -> Result<Response<GetEventLogParamsResponse>, Status> {
        let params = self.0.event_log().ok_or_else(not_exported)?;
        let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        Ok(Response::new(GetEventLogParamsResponse {
            max_size: number(params.max_size_mb),
            rotation_interval: print_duration(params.rotation_interval),
            max_backups: number(params.max_backups),
        }))
    }
}

fn not_exported() -> Status {
    Status::failed_precondition("events are not exported to a file: export-filename is not set")
}

fn read(request: &SetEventLogParamsRequest) -> Result<EventLogChanges, Status> {
    let SetEventLogParamsRequest { max_size, rotation_interval, max_backups } = request;
    if max_size.is_some_and(|size| size < 1) {
        return Err(Status::invalid_argument("max_size is in megabytes, and at least 1"));
    }
    if max_backups.is_some_and(|backups| backups < 0) {
        return Err(Status::invalid_argument("max_backups is a number of files, and not negative"));
    }
    Ok(EventLogChanges {
        max_size_mb: max_size.map(i32::unsigned_abs),
        rotation_interval: rotation_interval.as_deref().map(parse_duration).transpose()?,
        max_backups: max_backups.map(i32::unsigned_abs),
    })
}

fn parse_duration(text: &str) -> Result<Duration, Status> {
    let parsed = if text == "0" { Ok(SignedDuration::ZERO) } else { text.parse::<SignedDuration>() };
    let duration = parsed.ok().and_then(|duration| Duration::try_from(duration).ok());
    duration.ok_or_else(|| {
        Status::invalid_argument(format!("`{text}` is no rotation_interval: write one such as 1h or 90m"))
    })
}

/// As Go prints it, so that the reference system's clients read it.
fn print_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let fraction = match duration.subsec_nanos() {
        0 => String::new(),
        nanos => format!(".{nanos:09}").trim_end_matches('0').to_owned(),
    };
    match (hours, minutes) {
        (0, 0) => format!("{seconds}{fraction}s"),
        (0, _) => format!("{minutes}m{seconds}{fraction}s"),
        _ => format!("{hours}h{minutes}m{seconds}{fraction}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_go_does() {
        for (text, printed) in [
            ("0", "0s"),
            ("0s", "0s"),
            ("1h", "1h0m0s"),
            ("90m", "1h30m0s"),
            ("1h30m5s", "1h30m5s"),
            ("1500ms", "1.5s"),
        ] {
            let duration = parse_duration(text).unwrap();
            assert_eq!(print_duration(duration), printed);
            assert_eq!(parse_duration(printed).unwrap(), duration, "{printed}");
        }
        for bad in ["", "1", "h", "-1h", "1y", "99999999999999999999h"] {
            assert!(parse_duration(bad).unwrap_err().message().contains(&format!("`{bad}`")), "{bad}");
        }
    }

    #[test]
    fn only_numbers_that_mean_something_are_taken() {
        let none = SetEventLogParamsRequest::default();
        assert_eq!(read(&none).unwrap(), EventLogChanges::default());
        let some = SetEventLogParamsRequest { max_size: Some(7), max_backups: Some(0), ..none.clone() };
        let changes = read(&some).unwrap();
        assert_eq!((changes.max_size_mb, changes.max_backups), (Some(7), Some(0)));
        for bad in [
            SetEventLogParamsRequest { max_size: Some(0), ..none.clone() },
            SetEventLogParamsRequest { max_size: Some(i32::MIN), ..none.clone() },
            SetEventLogParamsRequest { max_backups: Some(-1), ..none.clone() },
        ] {
            assert_eq!(read(&bad).unwrap_err().code(), tonic::Code::InvalidArgument);
        }
    }
}
