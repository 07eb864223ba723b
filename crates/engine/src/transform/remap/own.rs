//! Functions that are evaluated here instead of by VRL, which cannot be ended between two matches. If a text has many
//! matches, the next search begins where the last one ended, and may again read all that follows. VRL's `find` compares
//! a text with each place of another one.

use std::borrow::Cow;

use memchr::memmem;
use regex::{Captures, Regex};
use vrl::compiler::function::{ArgumentList, Compiled, Example, FunctionCompileContext, Parameter};
use vrl::compiler::state::{TypeInfo, TypeState};
use vrl::compiler::value::VrlValueConvert;
use vrl::compiler::{Context, Expression, Function, Resolved};
use vrl::value::{KeyString, ObjectMap, Value};

/// Largest result of `join` and `replace`, which can be as long as two of their arguments multiplied.
const MAX_RESULT: usize = 8 * 1024 * 1024;

type Evaluate = fn(&mut Context<'_>, Arguments) -> Resolved;

/// The values of the arguments, in the order of the function's parameters.
type Arguments = std::vec::IntoIter<Option<Value>>;

/// A function of VRL that is evaluated here. VRL still checks its arguments, and knows the type of its result.
#[derive(Debug)]
pub(super) struct Own {
    function: Box<dyn Function>,
    evaluate: Evaluate,
}

impl Own {
    pub fn instead_of(function: Box<dyn Function>) -> Box<dyn Function> {
        let evaluate: Evaluate = match function.identifier() {
            "find" => find,
            "join" => join,
            "parse_regex_all" => parse_regex_all,
            "replace" => replace,
            "split" => split,
            _ => return function,
        };
        Box::new(Self { function, evaluate })
    }
}

impl Function for Own {
    fn identifier(&self) -> &'static str {
        self.function.identifier()
    }

    fn usage(&self) -> &'static str {
        self.function.usage()
    }

    fn category(&self) -> &'static str {
        self.function.category()
    }

    fn return_kind(&self) -> u16 {
        self.function.return_kind()
    }

    fn examples(&self) -> &'static [Example] {
        self.function.examples()
    }

    fn parameters(&self) -> &'static [Parameter] {
        self.function.parameters()
    }

    fn compile(&self, state: &TypeState, context: &mut FunctionCompileContext, arguments: ArgumentList) -> Compiled {
        let values = self.parameters().iter().map(|parameter| arguments.optional(parameter.keyword)).collect();
        let types = self.function.compile(state, context, arguments)?;
        Ok(Box::new(OwnCall { evaluate: self.evaluate, types, arguments: values }))
    }
}

#[derive(Debug, Clone)]
struct OwnCall {
    evaluate: Evaluate,
    /// VRL's own expression, which is never evaluated.
    types: Box<dyn Expression>,
    arguments: Vec<Option<Box<dyn Expression>>>,
}

impl Expression for OwnCall {
    fn resolve(&self, context: &mut Context<'_>) -> Resolved {
        let mut values = Vec::with_capacity(self.arguments.len());
        for argument in &self.arguments {
            values.push(argument.as_ref().map(|argument| argument.resolve(context)).transpose()?);
        }
        (self.evaluate)(context, values.into_iter())
    }

    fn type_info(&self, state: &TypeState) -> TypeInfo {
        self.types.type_info(state)
    }
}

fn next(arguments: &mut Arguments) -> Option<Value> {
    arguments.next().flatten()
}

fn required(arguments: &mut Arguments) -> Value {
    next(arguments).unwrap_or(Value::Null)
}

/// Implements `find(value, pattern, from)`.
fn find(_: &mut Context<'_>, mut arguments: Arguments) -> Resolved {
    let value = required(&mut arguments);
    let pattern = required(&mut arguments);
    let from = next(&mut arguments).map_or(Ok(0), VrlValueConvert::try_integer)?;
    // An index below zero is beyond each text, as it is for VRL.
    let from = usize::try_from(from).unwrap_or(usize::MAX);
    let found = if let Some(pattern) = pattern.as_regex() {
        let text = value.try_bytes_utf8_lossy()?;
        // VRL panics beyond the end.
        (from <= text.len()).then(|| pattern.find_at(&text, from)).flatten().map(|found| found.start())
    } else {
        let text = value.try_bytes()?;
        let pattern = pattern.try_bytes()?;
        text.get(from..).and_then(|rest| memmem::find(rest, &pattern)).map(|found| found + from)
    };
    Ok(found.and_then(|found| i64::try_from(found).ok()).into())
}

/// Implements `join(value, separator)`.
fn join(_: &mut Context<'_>, mut arguments: Arguments) -> Resolved {
    let elements = required(&mut arguments).try_array()?;
    let separator = next(&mut arguments);
    let separator = separator.as_ref().map(VrlValueConvert::try_bytes_utf8_lossy).transpose()?.unwrap_or_default();
    let texts: Option<Vec<Cow<'_, str>>> = elements.iter().map(Value::to_str_lossy).collect();
    let texts = texts.ok_or("all array items must be strings")?;
    check_result(texts.len(), separator.len())?;
    Ok(texts.join(&*separator).into())
}

/// Implements `parse_regex_all(value, pattern, numeric_groups)`.
fn parse_regex_all(context: &mut Context<'_>, mut arguments: Arguments) -> Resolved {
    let value = required(&mut arguments);
    let text = value.try_bytes_utf8_lossy()?;
    let pattern = required(&mut arguments).try_regex()?;
    let is_numbered = next(&mut arguments).map_or(Ok(false), VrlValueConvert::try_boolean)?;
    let mut found = Vec::new();
    for captures in pattern.captures_iter(&text) {
        context.checkpoint()?;
        found.push(Value::Object(groups(&pattern, &captures, is_numbered)));
    }
    Ok(found.into())
}

/// Returns the named groups of a match; a group that took no part is null. With `is_numbered`, also returns all groups
/// that took part, by their numbers.
fn groups(pattern: &Regex, captures: &Captures<'_>, is_numbered: bool) -> ObjectMap {
    let mut groups = ObjectMap::new();
    if is_numbered {
        for (number, group) in captures.iter().flatten().enumerate() {
            groups.insert(KeyString::from(number.to_string()), group.as_str().into());
        }
    }
    for (number, name) in pattern.capture_names().enumerate() {
        if let Some(name) = name {
            groups.insert(KeyString::from(name), captures.get(number).map(|group| group.as_str()).into());
        }
    }
    groups
}

/// Implements `replace(value, pattern, with, count)`.
fn replace(context: &mut Context<'_>, mut arguments: Arguments) -> Resolved {
    let value = required(&mut arguments);
    let text = value.try_bytes_utf8_lossy()?;
    let pattern = required(&mut arguments);
    let with = required(&mut arguments);
    let with = with.try_bytes_utf8_lossy()?;
    let count = next(&mut arguments).map_or(Ok(-1), VrlValueConvert::try_integer)?;
    if with.len() > 1 {
        check_result(text.len() + 1, with.len())?;
    }
    let most = usize::try_from(count).unwrap_or(usize::MAX);
    let Some(pattern) = pattern.as_regex() else {
        let pattern = pattern.try_bytes_utf8_lossy()?;
        return Ok(text.replacen(&*pattern, &with, most).into());
    };
    let mut replaced = String::new();
    let mut copied = 0;
    for captures in pattern.captures_iter(&text).take(most) {
        context.checkpoint()?;
        let whole = captures.get_match();
        replaced.push_str(&text[copied..whole.start()]);
        captures.expand(&with, &mut replaced);
        copied = whole.end();
    }
    replaced.push_str(&text[copied..]);
    Ok(replaced.into())
}

/// Implements `split(value, pattern, limit)`.
fn split(context: &mut Context<'_>, mut arguments: Arguments) -> Resolved {
    let value = required(&mut arguments);
    let text = value.try_bytes_utf8_lossy()?;
    let pattern = required(&mut arguments);
    let limit = next(&mut arguments).map_or(Ok(i64::MAX), VrlValueConvert::try_integer)?;
    let limit = usize::try_from(limit).unwrap_or_default();
    let Some(pattern) = pattern.as_regex() else {
        let pattern = pattern.try_bytes_utf8_lossy()?;
        return Ok(text.splitn(limit, &*pattern).collect::<Vec<_>>().into());
    };
    let mut parts: Vec<Value> = Vec::new();
    for part in pattern.splitn(&text, limit) {
        context.checkpoint()?;
        parts.push(part.into());
    }
    Ok(parts.into())
}

fn check_result(times: usize, inserted: usize) -> Result<(), &'static str> {
    if times.saturating_mul(inserted) > MAX_RESULT { Err("the result could be larger than 8 MiB") } else { Ok(()) }
}
