//! What was asked for, as filters of the API.

use anyhow::{anyhow, ensure};
use procession_api::proto::tetragon::{EventType, FieldFilter, FieldFilterAction, Filter};
use procession_filter::{EventFilter, FilterOptions, may_be_id};
use prost_types::FieldMask;

use super::args::{EventSelectArgs, EventShowArgs, SelectArgs};
use crate::display::Accounts;

/// Events that have a process, by their names in expressions.
const EVENTS: [&str; 2] = ["process_exec", "process_exit"];

/// What the agent adds to events, nobody knows here.
pub(super) const EVERYTHING: FilterOptions = FilterOptions { credentials: true, ancestors: true };

/// The options that filters are made of, by the fields that they become.
const OPTIONS: [(&str, &str); 6] = [
    ("binary_regex", "--binary"),
    ("namespace_regex", "--namespace-regex"),
    ("pod_regex", "--pod"),
    ("container_name_regex", "--container"),
    ("container_id", "--container"),
    ("cel_expression", "--cel-expression"),
];

/// The alternatives of which one must match. None: everything does. That they can be used is found out here: an
/// agent would speak of its API, and not of options.
pub(super) fn allow(
    select: &SelectArgs,
    types: &[EventType],
    accounts: &Accounts,
) -> anyhow::Result<Vec<Filter>> {
    let uids =
        select.which.user.iter().map(|user| Ok(accounts.uid(user)?.0)).collect::<anyhow::Result<Vec<_>>>()?;
    let filter = Filter {
        pid: select.which.pid.clone(),
        binary_regex: select.which.binary.clone(),
        // The empty namespace is that of processes in no pod.
        namespace: if select.which.host { vec![String::new()] } else { select.which.namespace.clone() },
        namespace_regex: select.namespace_regex.clone(),
        pod_regex: select.which.pod.clone(),
        event_set: types.iter().map(|kind| i32::from(*kind)).collect(),
        cel_expression: expressions(&select.cel_expression, &uids)?,
        ..Filter::default()
    };
    if filter == Filter::default() && select.which.container.is_empty() {
        return Ok(Vec::new());
    }
    let filters = with_containers(filter, &select.which.container);
    EventFilter::new(&filters, &[], EVERYTHING).map_err(|error| refused(&error.to_string()))?;
    Ok(filters)
}

/// An error that begins with a place in a request, such as `allow_list[0].pod_regex[1]`, in terms of options.
fn refused(error: &str) -> anyhow::Error {
    let (place, why) = error.split_once(": ").unwrap_or(("", error));
    match OPTIONS.iter().find(|(field, _)| place.contains(field)) {
        Some((_, option)) => anyhow!("`{option}`: {why}"),
        None => anyhow!("{error}"),
    }
}

/// A container is meant by its name or by its id, and what one filter asks for must all hold.
fn with_containers(filter: Filter, containers: &[String]) -> Vec<Filter> {
    let ids: Vec<_> = containers.iter().filter(|text| may_be_id(text)).map(|id| id_pattern(id)).collect();
    let by_id = (!ids.is_empty()).then(|| Filter { container_id: ids, ..filter.clone() });
    let by_name = Filter { container_name_regex: containers.to_vec(), ..filter };
    std::iter::once(by_name).chain(by_id).collect()
}

/// Events tell no more of an id than its first 31 digits.
fn id_pattern(id: &str) -> String {
    const TOLD: usize = 31;
    format!("^{}", id.get(..TOLD).unwrap_or(id).to_ascii_lowercase())
}

/// Expressions that are alternatives. The users are in them because no other condition knows users; each
/// speaks of one kind of event, since it is not asked about the others then.
fn expressions(given: &[String], uids: &[u32]) -> anyhow::Result<Vec<String>> {
    if uids.is_empty() {
        return Ok(given.to_vec());
    }
    let mut expressions = Vec::new();
    for event in EVENTS {
        let is_one: Vec<_> = uids.iter().map(|uid| format!("{event}.process.uid == {uid}u")).collect();
        let is_one = is_one.join(" || ");
        if given.is_empty() {
            expressions.push(is_one);
            continue;
        }
        let about = given.iter().filter(|given| given.contains(event));
        expressions.extend(about.map(|given| format!("({given}) && ({is_one})")));
    }
    ensure!(
        !expressions.is_empty(),
        "`--user` asks for execs and exits, and `--cel-expression` for neither: nothing could be shown"
    );
    Ok(expressions)
}

/// The kinds of events that are asked for. None: all that the agent tells.
pub(super) fn types(select: &EventSelectArgs) -> Vec<EventType> {
    let mut types = select.event_types.clone();
    types.extend(select.exec.then_some(EventType::ProcessExec));
    types.extend(select.exit.then_some(EventType::ProcessExit));
    types
}

/// Adds to filters what asks for losses: they are told of to those alone who do.
pub(super) fn with_losses(mut allow: Vec<Filter>) -> Vec<Filter> {
    if allow.is_empty() {
        // One without conditions admits everything.
        allow.push(Filter::default());
    }
    let losses = vec![EventType::RateLimitInfo.into()];
    allow.push(Filter { event_set: losses, ..Filter::default() });
    allow
}

/// Which fields are to be told.
pub(super) fn fields(show: &EventShowArgs) -> Vec<FieldFilter> {
    let filter = |paths: &[String], action: FieldFilterAction| {
        (!paths.is_empty()).then(|| FieldFilter {
            event_set: Vec::new(),
            fields: Some(FieldMask { paths: paths.iter().map(|path| path.trim().to_owned()).collect() }),
            action: action.into(),
            invert_event_set: None,
        })
    };
    let include = filter(&show.fields, FieldFilterAction::Include);
    let exclude = filter(&show.exclude_fields, FieldFilterAction::Exclude);
    include.into_iter().chain(exclude).collect()
}

#[cfg(test)]
mod tests {
    use procession_api::users::Users;

    use super::*;
    use crate::args::WhichArgs;

    fn select() -> SelectArgs {
        SelectArgs::default()
    }

    fn of(which: WhichArgs) -> SelectArgs {
        SelectArgs { which, ..select() }
    }

    fn of_user(users: &[&str]) -> SelectArgs {
        of(WhichArgs { user: users.iter().map(|user| (*user).to_owned()).collect(), ..WhichArgs::default() })
    }

    fn users() -> Accounts {
        Accounts::here(Users::parse(b"root:x:0:0\nwww:x:33:33"))
    }

    #[test]
    fn what_cannot_be_used_is_told_by_its_option() {
        let which = WhichArgs { pod: vec!["a".to_owned(), "(".to_owned()], ..WhichArgs::default() };
        let error = allow(&of(which), &[], &users()).unwrap_err().to_string();
        assert!(error.starts_with("`--pod`: `(` is not a regular expression"), "{error}");
        let select = SelectArgs { cel_expression: vec!["1 +".to_owned()], ..SelectArgs::default() };
        let error = allow(&select, &[], &users()).unwrap_err().to_string();
        assert!(error.starts_with("`--cel-expression`: "), "{error}");
        assert_eq!(refused("too many").to_string(), "too many");
    }

    #[test]
    fn nothing_asked_for_is_no_filter() {
        assert_eq!(allow(&select(), &[], &users()).unwrap(), []);
    }

    #[test]
    fn conditions_go_into_one_filter() {
        let select = of(WhichArgs {
            pid: vec![7],
            binary: vec!["sh$".into()],
            namespace: vec!["shop".into()],
            pod: vec!["^cart".into()],
            ..WhichArgs::default()
        });
        let filters = allow(&select, &[EventType::ProcessExec], &users()).unwrap();
        let expected = Filter {
            pid: vec![7],
            binary_regex: vec!["sh$".into()],
            namespace: vec!["shop".into()],
            pod_regex: vec!["^cart".into()],
            event_set: vec![1],
            ..Filter::default()
        };
        assert_eq!(filters, [expected]);
    }

    #[test]
    fn a_container_is_meant_by_name_or_id() {
        let id = "4F2AC1D97E0B36588C6A54F3E2B1907D0".to_owned();
        let select =
            of(WhichArgs { pid: vec![7], container: vec!["web".into(), id.clone()], ..WhichArgs::default() });
        let filters = allow(&select, &[], &users()).unwrap();
        assert_eq!(filters[0].container_name_regex, ["web".to_owned(), id]);
        assert_eq!(filters[1].container_id, ["^4f2ac1d97e0b36588c6a54f3e2b1907"]);
        assert!(filters.len() == 2 && filters.iter().all(|filter| filter.pid == [7]));
    }

    #[test]
    fn users_are_asked_for_in_expressions() {
        let one = of_user(&["www", "5"]);
        assert_eq!(
            allow(&one, &[], &users()).unwrap()[0].cel_expression,
            [
                "process_exec.process.uid == 33u || process_exec.process.uid == 5u",
                "process_exit.process.uid == 33u || process_exit.process.uid == 5u"
            ]
        );
        let both = SelectArgs { cel_expression: vec!["process_exit.status == 1u".into()], ..of_user(&["5"]) };
        assert_eq!(
            allow(&both, &[], &users()).unwrap()[0].cel_expression,
            ["(process_exit.status == 1u) && (process_exit.process.uid == 5u)"]
        );
        let neither = SelectArgs { cel_expression: vec!["process_loader.path == 'x'".into()], ..one };
        assert!(allow(&neither, &[], &users()).unwrap_err().to_string().contains("nothing could be shown"));
        let unknown = of_user(&["nobody-here"]);
        assert!(allow(&unknown, &[], &users()).unwrap_err().to_string().contains("nobody-here"));
    }

    #[test]
    fn the_host_is_the_empty_namespace() {
        let filters = allow(&of(WhichArgs { host: true, ..WhichArgs::default() }), &[], &users()).unwrap();
        assert_eq!(filters[0].namespace, [""]);
    }
}
