//! Expressions in CEL over events.
//!
//! A client writes them, so they are bounded: in length, in depth, and in time, by refusing loops inside
//! of loops and patterns that are not known beforehand. What can be told to be wrong is told when an
//! expression is compiled: names that are not there, and results that are not true or false.

mod check;
mod value;

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;

use cel::common::types::{CelBool, CelNull};
use cel::common::value::CowVal;
use cel::context::VariableResolver;
use cel::{Context, Env, IdedExpr, Value};
use procession_api::proto::tetragon::{EventType, GetEventsResponse};
use prost_reflect::MessageDescriptor;
use regex::bytes::Regex;

use crate::error::shown;
use crate::event_filter::{Effort, Verdict};
use crate::pattern::{Budget, compile};
use crate::view::View;
use crate::{FilterError, schema};

/// Longest expression, in bytes.
const MAX_LENGTH: usize = 4096;

/// How deep the parser may go.
const MAX_NESTING: u16 = 64;

/// For the parser, which takes kilobytes for each level, whatever thread compiles the filter.
const PARSER_STACK: usize = 64 << 20;

/// How much may be read for one expression on one event: see [`value::Message`]. About a millisecond.
const MAX_STEPS: usize = 50_000;

/// What it takes to begin with an expression, in the time of steps.
const STEPS_TO_BEGIN: usize = 100;

/// The function that an expression's `matches` becomes.
const MATCHES: &str = "@matches";

/// The expressions of a filter: whether any is true of an event.
pub(crate) struct Expressions {
    context: Context<'static, 'static>,
    expressions: Vec<Expression>,
}

struct Expression {
    root: IdedExpr,
    /// The events that it speaks of: it is false of all others.
    events: Vec<i32>,
}

/// What an expression gives.
enum Answer {
    Bool(bool),
    /// The value of a field that is not there.
    Null,
    Other,
}

impl Expressions {
    pub(crate) fn new(texts: &[String], budget: &mut Budget) -> Result<Self, FilterError> {
        let mut patterns = Vec::new();
        let mut expressions = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            budget.take_expression(text)?;
            let expression = Expression::new(text, &mut patterns, budget);
            expressions.push(expression.map_err(|error| error.within(format_args!("[{index}]")))?);
        }
        let context = context(patterns)?;
        let compiled = Self { context, expressions };
        compiled.try_out()?;
        Ok(compiled)
    }

    /// An expression that fails is counted, and leaves the others to decide.
    pub(crate) fn verdict(&self, view: &View<'_>, effort: &mut Effort) -> Verdict {
        let Some(kind) = view.kind else { return Verdict::No };
        let mut expressions =
            self.expressions.iter().filter(|it| it.events.contains(&(kind as i32))).peekable();
        if expressions.peek().is_none() {
            return Verdict::No;
        }
        let mut most = Verdict::No;
        for expression in expressions {
            let verdict = self.decide(expression, view, effort);
            effort.errors += u64::from(verdict == Verdict::Unknown);
            most = most.max(verdict);
            if most == Verdict::Yes {
                break;
            }
        }
        most
    }

    fn decide(&self, expression: &Expression, view: &View<'_>, effort: &mut Effort) -> Verdict {
        if effort.steps == 0 {
            return Verdict::Unknown;
        }
        let allowed = effort.steps.min(MAX_STEPS);
        let names = Names::new(view, allowed);
        let answer = self.evaluate(expression, &names);
        let used = (allowed - names.steps.load(Ordering::Relaxed)).max(STEPS_TO_BEGIN);
        effort.steps = effort.steps.saturating_sub(used);
        match answer {
            Ok(Answer::Bool(is_true)) => is_true.into(),
            Ok(Answer::Null | Answer::Other) | Err(_) => Verdict::Unknown,
        }
    }

    fn evaluate(&self, expression: &Expression, names: &Names<'_>) -> Result<Answer, cel::ExecutionError> {
        let mut scope = scope(&self.context);
        scope.set_variable_resolver(names);
        let value = Value::resolve_val(&expression.root, &scope)?;
        Ok(match value.downcast_ref::<CelBool>() {
            Some(value) => Answer::Bool(*value.inner()),
            None if value.downcast_ref::<CelNull>().is_some() => Answer::Null,
            None => Answer::Other,
        })
    }

    /// Finds what gives something else, as far as an empty event shows it.
    fn try_out(&self) -> Result<(), FilterError> {
        let nothing = GetEventsResponse::default();
        let view = View::of(&nothing);
        for (index, expression) in self.expressions.iter().enumerate() {
            if matches!(self.evaluate(expression, &Names::new(&view, MAX_STEPS)), Ok(Answer::Other)) {
                return Err(FilterError::new("it must be true or false").within(format_args!("[{index}]")));
            }
        }
        Ok(())
    }
}

/// A scope whose values need not live as long as what it is in.
fn scope<'a>(context: &'a Context<'a, 'a>) -> Context<'a, 'a> {
    context.new_inner_scope()
}

impl fmt::Debug for Expressions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expressions").field("expressions", &self.expressions.len()).finish_non_exhaustive()
    }
}

impl Expression {
    fn new(text: &str, patterns: &mut Vec<Regex>, budget: &mut Budget) -> Result<Self, FilterError> {
        if text.len() > MAX_LENGTH {
            return Err(FilterError::new(format_args!("at most {MAX_LENGTH} bytes are taken")));
        }
        let checked = checked(text, patterns.len());
        let checked = checked.map_err(|why| FilterError::new(format_args!("`{}`: {why}", shown(text))))?;
        for pattern in &checked.patterns {
            patterns.push(compile(pattern, budget)?);
        }
        Ok(Self { root: checked.root, events: checked.events })
    }
}

/// Parses and checks on a thread of its own, whose stack is large enough for anything of this length.
fn checked(text: &str, first_pattern: usize) -> Result<check::Checked, String> {
    thread::scope(|scope| {
        let parser = thread::Builder::new().name("expression".to_owned()).stack_size(PARSER_STACK);
        let parse = || {
            let parser =
                environment().parser().enable_optional_syntax(false).max_recursion_depth(MAX_NESTING);
            let root = parser.parse(text).map_err(|errors| one_line(&errors.to_string()))?;
            check::check(root, first_pattern)
        };
        let thread = parser.spawn_scoped(scope, parse).map_err(|error| error.to_string())?;
        thread.join().unwrap_or_else(|_| Err("the parser failed on it".to_owned()))
    })
}

/// The first line of the parser's error, without its drawing.
fn one_line(error: &str) -> String {
    let line = error.lines().find(|line| !line.trim().is_empty()).unwrap_or("it is no expression");
    line.trim().trim_start_matches("ERROR: ").to_owned()
}

fn environment() -> &'static Arc<Env> {
    static ENVIRONMENT: OnceLock<Arc<Env>> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| Arc::new(Env::stdlib()))
}

fn context(patterns: Vec<Regex>) -> Result<Context<'static, 'static>, FilterError> {
    let mut context = Context::with_env(environment().clone());
    let matches = move |text: Arc<String>, pattern: i64| {
        let pattern = usize::try_from(pattern).ok().and_then(|place| patterns.get(place));
        pattern.is_some_and(|pattern| pattern.is_match(text.as_bytes()))
    };
    context.add_function(MATCHES, matches).map_err(FilterError::new)?;
    Ok(context)
}

/// The events by name. All but one are empty.
struct Names<'a> {
    kind: Option<EventType>,
    event: &'a [u8],
    /// What may still be read.
    steps: AtomicUsize,
}

impl<'a> Names<'a> {
    fn new(view: &'a View<'_>, steps: usize) -> Self {
        Self { kind: view.kind, event: view.encoded(), steps: AtomicUsize::new(steps) }
    }
}

impl VariableResolver for Names<'_> {
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        let (number, descriptor) = event(name)?;
        let is_told = self.kind.is_some_and(|kind| u32::try_from(kind as i32) == Ok(*number));
        let encoded = if is_told { self.event } else { &[] };
        Some(CowVal::owned(value::Message::new(descriptor.clone(), encoded, &self.steps)))
    }
}

fn event(name: &str) -> Option<&'static (u32, MessageDescriptor)> {
    static EVENTS: OnceLock<Vec<(String, (u32, MessageDescriptor))>> = OnceLock::new();
    let events = EVENTS.get_or_init(|| {
        let known = schema::events().iter();
        known.filter_map(|field| Some((field.name().to_owned(), schema::event(field.name())?))).collect()
    });
    events.iter().find(|(other, _)| other == name).map(|(_, event)| event)
}
