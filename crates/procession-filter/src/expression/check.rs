//! What can be known of an expression before there is an event.
//!
//! The types of fields are known, so names are checked, and what would fail on every event is refused.
//! Three things are written anew, as the evaluator does not know messages: the presence of a field
//! becomes a field of its own ([`HAS`]), a `matches` refers to the pattern compiled before, and the name
//! of an enum's value becomes its number.

use cel::IdedExpr;
use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, SelectExpr, operators};
use cel::common::types::CelInt;
use prost_reflect::{EnumValueDescriptor, FieldDescriptor, Kind, MessageDescriptor};

use super::MATCHES;
use super::net;
use super::value::{HAS, wrapped};
use crate::error::suggestion;
use crate::schema;

/// How deep an expression may be, as evaluating it takes stack for each level.
const MAX_DEPTH: usize = 64;

/// How many operators, names and constants it may have.
const MAX_NODES: usize = 500;

/// Functions that take and give values. All take time in proportion to what they are given.
const FUNCTIONS: [&str; 11] =
    ["size", "int", "uint", "double", "string", "bytes", "type", "dyn", "contains", "startsWith", "endsWith"];

/// Names of types, as `type()` gives them.
const TYPES: [&str; 9] = ["int", "uint", "double", "string", "bytes", "bool", "list", "map", "null_type"];

/// An expression that may be used.
pub(super) struct Checked {
    pub(super) root: IdedExpr,
    /// The numbers of the events that it speaks of.
    pub(super) events: Vec<i32>,
    /// What its calls of [`MATCHES`] refer to.
    pub(super) patterns: Vec<String>,
}

/// As much as is known of a value.
#[derive(Clone, Debug, PartialEq)]
enum Type {
    Message(MessageDescriptor),
    List(Box<Type>),
    Map(Box<Type>),
    Bool,
    /// A value that may be null, and whether it is true or false otherwise.
    Wrapped(bool),
    /// None of those above.
    Scalar,
    Unknown,
}

type Known = Result<Type, String>;

/// Checks an expression, and writes it anew. `first_pattern` is how many others have been compiled.
pub(super) fn check(mut root: IdedExpr, first_pattern: usize) -> Result<Checked, String> {
    let mut checker = Checker { first_pattern, ..Checker::default() };
    let kind = checker.expression(&mut root)?;
    if !kind.may_be_bool() {
        return Err("it must be true or false".to_owned());
    }
    if checker.events.is_empty() {
        return Err(format!("it is about no event: it must speak of {}", event_names().join(", ")));
    }
    Ok(Checked { root, events: checker.events, patterns: checker.patterns })
}

#[derive(Default)]
struct Checker {
    events: Vec<i32>,
    first_pattern: usize,
    patterns: Vec<String>,
    /// Variables of loops, innermost last.
    scope: Vec<(String, Type)>,
    depth: usize,
    nodes: usize,
    is_in_loop: bool,
}

impl Checker {
    fn expression(&mut self, expression: &mut IdedExpr) -> Known {
        self.nodes += 1;
        if self.depth >= MAX_DEPTH || self.nodes > MAX_NODES {
            return Err(format!("it is too large: {MAX_NODES} parts and a depth of {MAX_DEPTH} are taken"));
        }
        self.depth += 1;
        let known = self.node(&mut expression.expr);
        self.depth -= 1;
        known
    }

    fn node(&mut self, expr: &mut Expr) -> Known {
        if let Some(number) = self.enum_value(expr)? {
            *expr = Expr::Literal(LiteralValue::Int(CelInt::from(number)));
        }
        match expr {
            Expr::Literal(LiteralValue::Boolean(_)) => Ok(Type::Bool),
            Expr::Literal(_) => Ok(Type::Scalar),
            Expr::Ident(name) => self.variable(name),
            Expr::Select(select) => self.select(select),
            Expr::Call(call) => self.call(call),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            Expr::List(list) => {
                let mut element = Type::Unknown;
                for (index, item) in list.elements.iter_mut().enumerate() {
                    let known = self.expression(item)?;
                    element = if index == 0 { known } else { element.or(known) };
                }
                Ok(Type::List(Box::new(element)))
            }
            Expr::Map(map) => {
                for entry in &mut map.entries {
                    if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                        self.expression(&mut entry.key)?;
                        self.expression(&mut entry.value)?;
                    }
                }
                Ok(Type::Map(Box::new(Type::Unknown)))
            }
            Expr::Struct(_) => Err("messages cannot be made".to_owned()),
            Expr::Unspecified => Err("a part of it is missing".to_owned()),
        }
    }

    fn variable(&mut self, name: &str) -> Known {
        if let Some(known) = self.local(name) {
            return Ok(known);
        }
        if let Some((number, message)) = super::event(name) {
            let number = i32::try_from(*number).unwrap_or_default();
            if !self.events.contains(&number) {
                self.events.push(number);
            }
            return Ok(Type::Message(message.clone()));
        }
        if TYPES.contains(&name) {
            return Ok(Type::Scalar);
        }
        let events = event_names();
        let near = suggestion(name, events.iter().copied());
        Err(format!("`{name}` is not known{near} (events are {})", events.join(", ")))
    }

    fn local(&self, name: &str) -> Option<Type> {
        self.scope.iter().rev().find(|(other, _)| other == name).map(|(_, known)| known.clone())
    }

    /// `CapabilitiesType.CAP_SYS_ADMIN`, with or without the package.
    fn enum_value(&self, expr: &Expr) -> Result<Option<i64>, String> {
        let Expr::Select(SelectExpr { operand, field, test: false }) = expr else { return Ok(None) };
        let name = match &operand.expr {
            Expr::Ident(name) => name,
            Expr::Select(SelectExpr { operand, field, test: false }) if matches!(&operand.expr, Expr::Ident(package) if package == "tetragon") => {
                field
            }
            _ => return Ok(None),
        };
        if self.local(name).is_some() {
            return Ok(None);
        }
        let Some(descriptor) = schema::enumeration(name) else { return Ok(None) };
        if let Some(value) = descriptor.get_value_by_name(field) {
            return Ok(Some(i64::from(value.number())));
        }
        let values: Vec<_> = descriptor.values().collect();
        let near = suggestion(field, values.iter().map(EnumValueDescriptor::name));
        Err(format!("`{name}` has no value `{field}`{near}"))
    }

    fn select(&mut self, select: &mut SelectExpr) -> Known {
        let operand = self.expression(&mut select.operand)?;
        let field = &mut select.field;
        match operand {
            Type::Message(message) => {
                let known = message_field(&message, field)?;
                if select.test {
                    field.insert_str(0, HAS);
                    return Ok(Type::Bool);
                }
                Ok(known)
            }
            Type::Map(_) if select.test => Ok(Type::Bool),
            Type::Map(value) => Ok(*value),
            Type::Unknown if select.test => Err(format!("nothing is known of what has `{field}`")),
            Type::Unknown => Ok(Type::Unknown),
            Type::List(_) | Type::Bool | Type::Wrapped(_) | Type::Scalar => {
                Err(format!("what has no fields has no `{field}`"))
            }
        }
    }

    fn call(&mut self, call: &mut CallExpr) -> Known {
        if self.is_in_loop
            && call.func_name == operators::ADD
            && !call.args.first().is_some_and(is_accumulator)
        {
            return Err(
                "nothing can be added up inside of a loop, which could take too much memory".to_owned()
            );
        }
        let mut known = Vec::new();
        for argument in call.target.as_deref_mut().into_iter().chain(&mut call.args) {
            known.push(self.expression(argument)?);
        }
        match (call.func_name.as_str(), &mut known[..]) {
            (operators::EQUALS | operators::NOT_EQUALS | operators::IN, [one, other]) => {
                let is_message = |it: &Type| matches!(it, Type::Message(_));
                if is_message(one) || is_message(other) {
                    return Err("messages cannot be compared: compare their fields".to_owned());
                }
                Ok(Type::Bool)
            }
            (operators::LOGICAL_AND | operators::LOGICAL_OR | operators::LOGICAL_NOT, all) => {
                if all.iter().all(Type::may_be_bool) {
                    return Ok(Type::Bool);
                }
                Err("what is joined by `&&`, `||` and `!` must be true or false".to_owned())
            }
            (
                operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS,
                [_, _],
            )
            | (operators::NOT_STRICTLY_FALSE, [_]) => Ok(Type::Bool),
            (operators::CONDITIONAL, [condition, yes, no]) if condition.may_be_bool() => {
                Ok(yes.clone().or(no.clone()))
            }
            (operators::INDEX, [Type::List(inner) | Type::Map(inner), _]) => Ok((**inner).clone()),
            (operators::INDEX, [Type::Unknown, _]) => Ok(Type::Unknown),
            (operators::ADD, [Type::List(one), Type::List(other)]) => {
                Ok(Type::List(Box::new(one.clone().or((**other).clone()))))
            }
            (
                operators::ADD
                | operators::SUBSTRACT
                | operators::MULTIPLY
                | operators::DIVIDE
                | operators::MODULO,
                [_, _],
            )
            | (operators::NEGATE, [_]) => Ok(Type::Scalar),
            ("matches", [_, _]) => self.matches(call),
            ("contains" | "startsWith" | "endsWith" | "bool", _) => Ok(Type::Bool),
            ("dyn", _) => Ok(Type::Unknown),
            (name, _) if net::TESTS.contains(&name) => Ok(Type::Bool),
            (name, _) if FUNCTIONS.contains(&name) || net::OTHERS.contains(&name) => Ok(Type::Scalar),
            (name, _) => {
                let all = FUNCTIONS.into_iter().chain(net::TESTS).chain(net::OTHERS).chain(["matches"]);
                let near = suggestion(name, all);
                Err(format!("`{name}` is no function that can be used there{near}"))
            }
        }
    }

    /// A pattern must be known beforehand: to compile one for every event takes too long.
    fn matches(&mut self, call: &mut CallExpr) -> Known {
        let pattern = call.args.pop();
        let Some(IdedExpr { id, expr: Expr::Literal(LiteralValue::String(pattern)) }) = pattern else {
            return Err("the pattern of `matches` must be written out".to_owned());
        };
        let text = call.target.take().map_or_else(|| call.args.pop(), |text| Some(*text));
        let place = i64::try_from(self.first_pattern + self.patterns.len())
            .map_err(|_| "it has too many patterns".to_owned())?;
        self.patterns.push(pattern.inner().to_owned());
        let place = IdedExpr { id, expr: Expr::Literal(LiteralValue::Int(CelInt::from(place))) };
        call.args = text.into_iter().chain([place]).collect();
        MATCHES.clone_into(&mut call.func_name);
        Ok(Type::Bool)
    }

    fn comprehension(&mut self, it: &mut ComprehensionExpr) -> Known {
        let (key, element) = match self.expression(&mut it.iter_range)? {
            Type::List(element) => (Type::Scalar, *element),
            Type::Map(value) if it.iter_var2.is_some() => (Type::Scalar, *value),
            Type::Map(_) => (Type::Scalar, Type::Scalar),
            Type::Unknown => (Type::Unknown, Type::Unknown),
            Type::Message(_) | Type::Bool | Type::Wrapped(_) | Type::Scalar => {
                return Err("only lists and maps have elements".to_owned());
            }
        };
        if self.is_in_loop {
            return Err("a loop inside of a loop takes too long".to_owned());
        }
        let result = self.expression(&mut it.accu_init)?;
        let outside = self.scope.len();
        match &it.iter_var2 {
            Some(second) => self.scope.extend([(it.iter_var.clone(), key), (second.clone(), element)]),
            None => self.scope.push((it.iter_var.clone(), element)),
        }
        self.scope.push((it.accu_var.clone(), result));
        self.is_in_loop = true;
        self.expression(&mut it.loop_cond)?;
        let step = self.expression(&mut it.loop_step)?;
        self.is_in_loop = false;
        self.scope.truncate(outside);
        self.scope.push((it.accu_var.clone(), step));
        let known = self.expression(&mut it.result);
        self.scope.truncate(outside);
        known
    }
}

impl Type {
    fn may_be_bool(&self) -> bool {
        matches!(self, Self::Bool | Self::Wrapped(true) | Self::Unknown)
    }

    /// What is known of a value that is one or the other. A list of nothing is a list of anything.
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::List(one), Self::List(other)) if *one == Self::Unknown => Self::List(other),
            (Self::List(one), Self::List(other)) if *other == Self::Unknown => Self::List(one),
            (Self::Unknown, other) => other,
            (one, other) if one == other => one,
            _ => Self::Unknown,
        }
    }
}

/// What a loop has found so far, which no expression can name.
fn is_accumulator(expression: &IdedExpr) -> bool {
    matches!(&expression.expr, Expr::Ident(name) if name.starts_with('@'))
}

fn message_field(message: &MessageDescriptor, name: &str) -> Known {
    let Some(field) = message.get_field_by_name(name) else {
        let fields: Vec<_> = message.fields().collect();
        let near = suggestion(name, fields.iter().map(FieldDescriptor::name));
        return Err(format!("`{}` has no field `{name}`{near}", message.name()));
    };
    if field.is_map() {
        let value = field.kind().as_message().map(|entry| entry.map_entry_value_field().kind());
        return Ok(Type::Map(Box::new(value.map_or(Type::Unknown, |kind| type_of(&kind)))));
    }
    let known = type_of(&field.kind());
    Ok(if field.is_list() { Type::List(Box::new(known)) } else { known })
}

fn type_of(kind: &Kind) -> Type {
    match kind {
        Kind::Message(message) if wrapped(message).is_some() => {
            Type::Wrapped(wrapped(message).is_some_and(|value| value.kind() == Kind::Bool))
        }
        Kind::Message(message) => Type::Message(message.clone()),
        Kind::Bool => Type::Bool,
        _ => Type::Scalar,
    }
}

fn event_names() -> Vec<&'static str> {
    schema::events().iter().map(FieldDescriptor::name).collect()
}
