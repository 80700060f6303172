//! What clients and administrators ask for: filters in all their forms, requests, events.

use procession_api::dynamic::{EVENT, Unknown, parse_json};
use procession_api::json;
use procession_api::proto::tetragon::get_events_response::Event;
use procession_api::proto::tetragon::{
    Container, EnvVar, FieldFilter, FieldFilterAction, Filter, GetEventsRequest, GetEventsResponse, Pod,
    Process, ProcessExec, RedactionFilter,
};
use procession_api::users::Users;
use procession_filter::{EventFilter, FieldFilters, FilterOptions, Redaction};
use prost::Message as _;

use crate::memory;

/// Filters, field filters and redaction filters as options have them: what is taken can be used.
pub fn filters_json(text: &[u8]) {
    let Ok(text) = str::from_utf8(text) else { return };
    if let Ok(filters) = procession_filter::parse_filters(text) {
        admits(&filters);
    }
    if let Ok(filters) = procession_filter::parse_field_filters(text)
        && let Ok(filters) = FieldFilters::new(&filters)
    {
        filters.apply(&exec()).expect("what is encoded can be cut");
    }
    if let Ok(filters) = procession_filter::parse_redaction_filters(text)
        && let Ok(redaction) = Redaction::new(&filters)
    {
        redaction.apply(&mut exec());
    }
}

/// A regular expression of RE2. What has no operators matches itself.
pub fn re2(pattern: &[u8]) {
    let Ok(pattern) = str::from_utf8(pattern) else { return };
    let filter = |pattern: &str| Filter { arguments_regex: vec![pattern.to_owned()], ..Filter::default() };
    admits(&[filter(pattern)]);
    let quoted = format!("^\\Q{pattern}\\E$");
    if !pattern.contains('\\') && pattern.len() < 1_000 {
        let process = Process { arguments: pattern.to_owned(), ..Process::default() };
        let event = ProcessExec { process: Some(process), ..ProcessExec::default() };
        let mut filter = EventFilter::new(&[filter(&quoted)], &[], OPTIONS).expect("a text is an expression");
        let event =
            GetEventsResponse { event: Some(Event::ProcessExec(event)), ..GetEventsResponse::default() };
        assert!(filter.admits(&event));
    }
}

/// An expression in CEL.
pub fn cel(text: &[u8]) {
    let Ok(text) = str::from_utf8(text) else { return };
    admits(&[Filter { cel_expression: vec![text.to_owned()], ..Filter::default() }]);
}

/// Paths of fields, with commas between them. To include what was included changes nothing.
pub fn field_paths(paths: &[u8]) {
    let Ok(paths) = str::from_utf8(paths) else { return };
    for action in [FieldFilterAction::Include, FieldFilterAction::Exclude] {
        let paths = paths.split(',').map(str::to_owned).collect();
        let mut filter = FieldFilter { action: action.into(), ..FieldFilter::default() };
        filter.fields.get_or_insert_default().paths = paths;
        let Ok(filters) = FieldFilters::new(&[filter]) else { continue };
        let once = filters.apply(&exec()).expect("what is encoded can be cut");
        assert_eq!(filters.apply(&once).expect("what is encoded can be cut"), once);
    }
}

const OPTIONS: FilterOptions = FilterOptions { credentials: true, ancestors: true };

/// Filters, if they can be used, on an event: an event is never both what is let in and what is not.
fn admits(filters: &[Filter]) {
    let Ok(mut allow) = EventFilter::new(filters, &[], OPTIONS) else { return };
    let mut deny = EventFilter::new(&[], filters, OPTIONS).expect("the same filters can be used again");
    let event = exec();
    assert!(filters.is_empty() || !(allow.admits(&event) && deny.admits(&event)));
}

fn exec() -> GetEventsResponse {
    let container = Container { name: "app".to_owned(), ..Container::default() };
    let labels = [("app".to_owned(), "cart".to_owned())].into();
    let pod = Pod {
        namespace: "shop".to_owned(),
        container: Some(container),
        pod_labels: labels,
        ..Pod::default()
    };
    let process = Process {
        exec_id: "bm9kZTo1Ojc=".to_owned(),
        pid: Some(7),
        binary: "/usr/bin/curl".to_owned(),
        arguments: "--token=gehe\u{ef}m http://x".to_owned(),
        pod: Some(pod),
        environment_variables: vec![EnvVar { key: "TOKEN".to_owned(), value: "abc".to_owned() }],
        ..Process::default()
    };
    let parent = Process { pid: Some(6), binary: "/bin/bash".to_owned(), ..Process::default() };
    let exec = ProcessExec { process: Some(process), parent: Some(parent.clone()), ancestors: vec![parent] };
    GetEventsResponse { event: Some(Event::ProcessExec(exec)), ..GetEventsResponse::default() }
}

/// A request for events as it comes over the wire, on two events; what is not one may be a filter for redaction.
pub fn requests(message: &[u8]) {
    if let Ok(request) = GetEventsRequest::decode(message) {
        admits(&request.allow_list);
        admits(&request.deny_list);
        if let Ok(fields) = FieldFilters::new(&request.field_filters) {
            let once = fields.apply(&exec()).expect("what is encoded can be cut");
            assert_eq!(fields.apply(&once).expect("what is encoded can be cut"), once);
        }
        let filter = EventFilter::new(&request.allow_list, &request.deny_list, OPTIONS);
        if let (Ok(mut filter), true) = (filter, request.deny_list.is_empty()) {
            let alone = EventFilter::new(&request.allow_list, &[], OPTIONS).map(|mut it| it.admits(&exec()));
            assert_eq!(alone.ok(), Some(filter.admits(&exec())));
        }
    }
    if let Ok(filter) = RedactionFilter::decode(message)
        && let Ok(redaction) = Redaction::new(&[filter])
    {
        let mut once = exec();
        redaction.apply(&mut once);
        redaction.apply(&mut once.clone());
        assert!(once.encoded_len() < 64 << 10, "what is hidden is short");
    }
}

/// A line of JSON that may be an event: what can be read is the same when it is written and read again.
pub fn events(line: &[u8]) {
    let Ok(line) = str::from_utf8(line) else { return };
    let Ok(event) = parse_json::<GetEventsResponse>(EVENT, line, Unknown::Ignore) else { return };
    let mut written = Vec::new();
    json::write(&event, &mut written);
    let written = String::from_utf8(written).expect("JSON is text");
    assert!(written.strip_suffix('\n').is_some_and(|line| !line.contains(char::is_control)), "{written}");
    assert_eq!(
        parse_json::<GetEventsResponse>(EVENT, &written, Unknown::Deny).ok(),
        Some(event),
        "{written}"
    );
}

/// A passwd file: the first line with an id, and the first with a name, count.
pub fn passwd(text: &[u8]) {
    let users = memory::within(text, 64 << 10, 64, || Users::parse(text));
    for line in text.split(|byte| *byte == b'\n') {
        let only = Users::parse(line);
        let Some(name) = str::from_utf8(line).ok().and_then(|line| line.split(':').next()) else { continue };
        if let Some(uid) = only.uid(name) {
            assert!(users.uid(name).is_some() && users.name(uid).is_some());
        }
    }
}
