//! Which events a reader of the API gets.

use std::ops::Not as _;

use procession_api::proto::tetragon::{EventType, Filter, GetEventsResponse, Pod, Process};
use regex::bytes::RegexSet;

use crate::FilterError;
use crate::capabilities::CapabilityFilter;
#[cfg(feature = "cel")]
use crate::expression::Expressions;
use crate::labels::Selector;
use crate::pattern::{Budget, compile_set};
use crate::pids::PidSet;
use crate::view::View;

/// What the agent adds to processes, without which some filters could never match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FilterOptions {
    /// Credentials: what filters by capabilities look at.
    pub credentials: bool,
    /// Ancestors: what `ancestor_binary_regex` looks at.
    pub ancestors: bool,
}

/// The filters of one reader: an event passes if one of the allow list matches, or there are none,
/// and none of the deny list does.
///
/// The fields of a filter must all match; of several values in a field, one is enough; a filter without
/// fields matches every event. An event without process, such as one of throttling, does not match a
/// field that looks at one. `in_init_tree` is false where nobody said that it is true.
///
/// Where nobody can tell, an event is kept back: a filter that cannot decide (its expression fails on
/// the event, or it asks for capabilities that nobody saw) does not match in the allow list, and does
/// in the deny list.
///
/// `pid_set` is about what this reader was shown before, so each reader needs a filter of its own, and
/// must be shown every event.
#[derive(Debug)]
pub struct EventFilter {
    allow: Vec<Compiled>,
    deny: Vec<Compiled>,
    families: Vec<Family>,
    errors: u64,
}

/// One filter: its conditions, those first that take the least time.
#[derive(Debug)]
struct Compiled(Vec<Condition>);

#[derive(Debug)]
enum Condition {
    /// By number: a client may know more than we do.
    Events(Vec<i32>),
    Pids(Vec<u32>),
    /// The place in [`EventFilter::families`].
    Family(usize),
    HealthCheck(bool),
    InInitTree(bool),
    Namespaces(Vec<String>),
    /// No event that we know has a policy.
    Policies,
    Capabilities(CapabilityFilter),
    Labels(Vec<Selector>),
    Pattern(Subject, RegexSet),
    #[cfg(feature = "cel")]
    Expressions(Expressions),
}

/// What a regular expression looks at.
#[derive(Clone, Copy, Debug)]
enum Subject {
    Binary,
    Arguments,
    ParentBinary,
    ParentArguments,
    AncestorBinary,
    ContainerId,
    ContainerName,
    Namespace,
    Pod,
}

#[derive(Debug)]
struct Family {
    pids: PidSet,
    has_event: bool,
}

/// Whether something matches. Of several, the least that one says is what all say together, the most
/// is what any says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    No,
    Unknown,
    Yes,
}

/// What all expressions together may do on one event, and what came of them.
#[derive(Debug)]
#[cfg_attr(not(feature = "cel"), expect(dead_code, reason = "expressions alone take steps"))]
pub(crate) struct Effort {
    /// What may still be read: see `expression`.
    pub(crate) steps: usize,
    /// How many failed.
    pub(crate) errors: u64,
}

/// How much all expressions of a reader may read of one event. About four milliseconds; those that come
/// after that fail on it.
const MAX_STEPS: usize = 200_000;

impl From<bool> for Verdict {
    fn from(matches: bool) -> Self {
        if matches { Self::Yes } else { Self::No }
    }
}

impl EventFilter {
    /// Compiles filters. The error says which filter and which field cannot be used, and why.
    pub fn new(
        allow_list: &[Filter],
        deny_list: &[Filter],
        options: FilterOptions,
    ) -> Result<Self, FilterError> {
        let mut compiler = Compiler { options, budget: Budget::default(), families: Vec::new() };
        let allow = compiler.list("allow_list", allow_list)?;
        let deny = compiler.list("deny_list", deny_list)?;
        Ok(Self { allow, deny, families: compiler.families, errors: 0 })
    }

    /// Whether the reader gets `event`.
    pub fn admits(&mut self, event: &GetEventsResponse) -> bool {
        let view = View::of(event);
        for family in &mut self.families {
            family.has_event = family.pids.follow(&view);
        }
        let Self { allow, deny, families, errors } = self;
        let mut effort = Effort { steps: MAX_STEPS, errors: 0 };
        let mut any = |list: &[Compiled]| {
            let mut verdicts = list.iter().map(|filter| filter.verdict(&view, families, &mut effort));
            let mut most = Verdict::No;
            while most != Verdict::Yes
                && let Some(verdict) = verdicts.next()
            {
                most = most.max(verdict);
            }
            most
        };
        let admits = (allow.is_empty() || any(allow) == Verdict::Yes) && any(deny) == Verdict::No;
        *errors += effort.errors;
        admits
    }

    /// How many times an expression failed on an event.
    pub fn errors(&self) -> u64 {
        self.errors
    }
}

impl Compiled {
    fn verdict(&self, view: &View<'_>, families: &[Family], effort: &mut Effort) -> Verdict {
        let mut least = Verdict::Yes;
        for condition in &self.0 {
            least = least.min(condition.verdict(view, families, effort));
            if least == Verdict::No {
                break;
            }
        }
        least
    }
}

impl Condition {
    #[cfg_attr(not(feature = "cel"), expect(unused_variables, reason = "expressions alone fail"))]
    fn verdict(&self, view: &View<'_>, families: &[Family], effort: &mut Effort) -> Verdict {
        let has = |test: &dyn Fn(&Process) -> bool| view.process.is_some_and(test);
        let matches = match self {
            Self::Events(kinds) => view.kind.is_some_and(|kind| kinds.contains(&(kind as i32))),
            Self::Pids(pids) => has(&|process| process.pid.is_some_and(|pid| pids.contains(&pid))),
            Self::Family(index) => families.get(*index).is_some_and(|family| family.has_event),
            Self::HealthCheck(expected) => has(&|_| is_health_check(view) == *expected),
            Self::InInitTree(expected) => {
                has(&|process| process.in_init_tree.unwrap_or_default() == *expected)
            }
            Self::Namespaces(names) => has(&|process| {
                let namespace = process.pod.as_ref().map_or("", |pod| &pod.namespace);
                names.iter().any(|name| name == namespace)
            }),
            Self::Policies => false,
            Self::Capabilities(filter) => return capabilities(filter, view.process),
            Self::Labels(selectors) => view
                .pod()
                .is_some_and(|pod| selectors.iter().any(|selector| selector.selects(&pod.pod_labels))),
            Self::Pattern(subject, patterns) => {
                subject.is_any(view, |text| patterns.is_match(text.as_bytes()))
            }
            #[cfg(feature = "cel")]
            Self::Expressions(expressions) => return expressions.verdict(view, effort),
        };
        matches.into()
    }
}

fn capabilities(filter: &CapabilityFilter, process: Option<&Process>) -> Verdict {
    match process {
        None => Verdict::No,
        Some(Process { cap: None, .. }) => Verdict::Unknown,
        Some(Process { cap: Some(held), .. }) => filter.admits(held).into(),
    }
}

/// Whether the process or its parent may be a probe of the kubelet.
fn is_health_check(view: &View<'_>) -> bool {
    let is_probe = |process: &Process| {
        let container = process.pod.as_ref().and_then(|pod| pod.container.as_ref());
        container.is_some_and(|container| container.maybe_exec_probe)
    };
    [view.process, view.parent].into_iter().flatten().any(is_probe)
}

impl Subject {
    fn is_any(self, view: &View<'_>, matches: impl Fn(&str) -> bool) -> bool {
        let process = |text: fn(&Process) -> &str| view.process.is_some_and(|it| matches(text(it)));
        let parent = |text: fn(&Process) -> &str| view.parent.is_some_and(|it| matches(text(it)));
        let pod = |text: fn(&Pod) -> &str| view.pod().is_some_and(|pod| matches(text(pod)));
        match self {
            Self::Binary => process(|process| &process.binary),
            Self::Arguments => process(|process| &process.arguments),
            Self::ParentBinary => parent(|parent| &parent.binary),
            Self::ParentArguments => parent(|parent| &parent.arguments),
            Self::AncestorBinary => view.ancestors.iter().any(|ancestor| matches(&ancestor.binary)),
            Self::ContainerId => process(|process| &process.docker),
            Self::ContainerName => view.container().is_some_and(|container| matches(&container.name)),
            Self::Namespace => pod(|pod| &pod.namespace),
            Self::Pod => pod(|pod| &pod.name),
        }
    }
}

struct Compiler {
    options: FilterOptions,
    budget: Budget,
    families: Vec<Family>,
}

/// The most filters that a list may have.
const MAX_FILTERS: usize = 1_024;

impl Compiler {
    fn list(&mut self, name: &str, filters: &[Filter]) -> Result<Vec<Compiled>, FilterError> {
        if filters.len() > MAX_FILTERS {
            return Err(
                FilterError::new(format_args!("at most {MAX_FILTERS} filters are taken")).within(name)
            );
        }
        let compile = |(index, filter)| {
            let compiled = self.filter(filter);
            compiled.map_err(|error| error.within(format_args!("[{index}]")).within(name))
        };
        filters.iter().enumerate().map(compile).collect()
    }

    fn filter(&mut self, filter: &Filter) -> Result<Compiled, FilterError> {
        let mut conditions = Vec::new();
        conditions.extend(given(&filter.event_set).map(Condition::Events));
        conditions.extend(given(&filter.pid).map(Condition::Pids));
        conditions.extend(given(&filter.pid_set).map(|pids| self.family(&pids)));
        conditions.extend(filter.health_check.map(Condition::HealthCheck));
        conditions.extend(filter.in_init_tree.map(Condition::InInitTree));
        conditions.extend(given(&filter.namespace).map(Condition::Namespaces));
        conditions.extend(given(&filter.policy_names).map(|_| Condition::Policies));
        conditions.extend(self.capabilities(filter)?);
        conditions.extend(labels(&filter.labels)?);
        self.patterns(filter, &mut conditions)?;
        conditions.extend(expressions(&filter.cel_expression, &mut self.budget)?);
        Ok(Compiled(conditions))
    }

    fn family(&mut self, pids: &[u32]) -> Condition {
        self.families.push(Family { pids: PidSet::new(pids), has_event: false });
        Condition::Family(self.families.len() - 1)
    }

    fn capabilities(&self, filter: &Filter) -> Result<Option<Condition>, FilterError> {
        let Some(capabilities) = &filter.capabilities else { return Ok(None) };
        let compiled = if self.options.credentials {
            CapabilityFilter::new(capabilities)
        } else {
            Err(FilterError::new("the agent tells no capabilities: start it with `--enable-process-cred`"))
        };
        let compiled = compiled.map_err(|error| error.within("capabilities"))?;
        Ok(Some(Condition::Capabilities(compiled)))
    }

    fn patterns(&mut self, filter: &Filter, conditions: &mut Vec<Condition>) -> Result<(), FilterError> {
        if !filter.ancestor_binary_regex.is_empty() && !self.options.ancestors {
            let error = FilterError::new("the agent tells no ancestors: start it with `--enable-ancestors`");
            return Err(error.within("ancestor_binary_regex"));
        }
        for (name, subject, patterns) in [
            ("namespace_regex", Subject::Namespace, &filter.namespace_regex),
            ("pod_regex", Subject::Pod, &filter.pod_regex),
            ("container_name_regex", Subject::ContainerName, &filter.container_name_regex),
            ("container_id", Subject::ContainerId, &filter.container_id),
            ("binary_regex", Subject::Binary, &filter.binary_regex),
            ("parent_binary_regex", Subject::ParentBinary, &filter.parent_binary_regex),
            ("ancestor_binary_regex", Subject::AncestorBinary, &filter.ancestor_binary_regex),
            ("arguments_regex", Subject::Arguments, &filter.arguments_regex),
            ("parent_arguments_regex", Subject::ParentArguments, &filter.parent_arguments_regex),
        ] {
            if !patterns.is_empty() {
                let set = compile_set(patterns, &mut self.budget).map_err(|error| error.within(name))?;
                conditions.push(Condition::Pattern(subject, set));
            }
        }
        Ok(())
    }
}

/// A field that asks for something.
fn given<T: Clone>(values: &[T]) -> Option<Vec<T>> {
    values.is_empty().not().then(|| values.to_vec())
}

fn labels(selectors: &[String]) -> Result<Option<Condition>, FilterError> {
    let parse = |(index, text): (usize, &String)| {
        let selector = Selector::parse(text);
        selector.map_err(|error| error.within(format_args!("[{index}]")).within("labels"))
    };
    let selectors = selectors.iter().enumerate().map(parse).collect::<Result<Vec<_>, _>>()?;
    Ok(given(&selectors).map(Condition::Labels))
}

#[cfg(feature = "cel")]
fn expressions(texts: &[String], budget: &mut Budget) -> Result<Option<Condition>, FilterError> {
    if texts.is_empty() {
        return Ok(None);
    }
    let expressions = Expressions::new(texts, budget).map_err(|error| error.within("cel_expression"))?;
    Ok(Some(Condition::Expressions(expressions)))
}

#[cfg(not(feature = "cel"))]
fn expressions(texts: &[String], _: &mut Budget) -> Result<Option<Condition>, FilterError> {
    if texts.is_empty() {
        return Ok(None);
    }
    Err(FilterError::new("this program was built without expressions").within("cel_expression"))
}

/// Whether `kind` is one of `set`, or of all if that is empty.
pub(crate) fn is_in(kind: EventType, set: &[i32]) -> bool {
    set.is_empty() || set.contains(&(kind as i32))
}
