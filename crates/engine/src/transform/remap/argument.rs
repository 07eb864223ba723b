//! Measures the arguments of functions. VRL has no way to exchange an argument of a call, so the source is changed
//! before it is compiled: `upcase(.a)` becomes `upcase(measured_argument(.a, "upcase", 2097152, 7))`. An argument is
//! evaluated once, and its type stays what it was.

use vrl::compiler::function::{ArgumentList, Compiled, Error, Example, FunctionCompileContext, Parameter};
use vrl::compiler::state::{TypeInfo, TypeState};
use vrl::compiler::value::kind;
use vrl::compiler::{Context, Expression, Function, Resolved, TypeDef};
use vrl::value::Value;

use super::control::{Call, Control};
use super::functions::{Bound, find};

pub(super) const NAME: &str = "measured_argument";

const PARAMETERS: &[Parameter] = &[
    Parameter::required("value", kind::ANY, "The argument."),
    Parameter::required("function", kind::BYTES, "The function that gets it."),
    Parameter::required("limit", kind::INTEGER, "The largest size."),
    Parameter::required("offset", kind::INTEGER, "Where the argument is in the user's source."),
];

/// An argument in the user's source.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub function: &'static str,
    pub bound: Bound,
    pub start: usize,
    pub end: usize,
}

/// A source whose arguments are measured.
#[derive(Debug)]
pub(super) struct Measured {
    pub source: String,
    /// Place in the user's source, and number of bytes, of each inserted text. Sorted.
    inserted: Vec<(usize, usize)>,
}

impl Measured {
    /// Returns the source with measured arguments. `limit` gives the largest size of an argument.
    pub fn new(source: &str, places: &[Place], limit: impl Fn(&Place) -> usize) -> Self {
        let mut insertions: Vec<(usize, bool, usize, String)> = Vec::with_capacity(places.len() * 2);
        for place in places {
            let Place { function, start, end, .. } = place;
            // An argument that begins where its first part begins is opened before it, and closed after it.
            insertions.push((*start, true, usize::MAX - end, format!("{NAME}(")));
            let rest = format!(", \"{function}\", {}, {start})", limit(place));
            insertions.push((*end, false, usize::MAX - start, rest));
        }
        insertions.sort();
        let mut measured = Self { source: String::with_capacity(source.len() * 3), inserted: Vec::new() };
        let mut copied = 0;
        for (at, _, _, text) in insertions {
            measured.source.push_str(source.get(copied..at).unwrap_or_default());
            measured.source.push_str(&text);
            measured.inserted.push((at, text.len()));
            copied = at;
        }
        measured.source.push_str(source.get(copied..).unwrap_or_default());
        measured
    }

    /// Returns the place in the user's source for the place `offset` in the measured source.
    pub fn original(&self, offset: usize) -> usize {
        let mut before = 0;
        for (at, length) in &self.inserted {
            if at + before + length > offset {
                return (offset - before).min(*at);
            }
            before += length;
        }
        offset - before
    }
}

/// The function that measures.
#[derive(Debug)]
pub(super) struct Argument;

impl Function for Argument {
    fn identifier(&self) -> &'static str {
        NAME
    }

    fn usage(&self) -> &'static str {
        "Returns the argument if it is not too large."
    }

    fn category(&self) -> &'static str {
        ""
    }

    fn return_kind(&self) -> u16 {
        kind::ANY
    }

    fn examples(&self) -> &'static [Example] {
        &[]
    }

    fn parameters(&self) -> &'static [Parameter] {
        PARAMETERS
    }

    fn compile(&self, state: &TypeState, _: &mut FunctionCompileContext, arguments: ArgumentList) -> Compiled {
        let number = |keyword| match arguments.required_literal(keyword, state)? {
            Value::Integer(number) => Ok(usize::try_from(number).unwrap_or_default()),
            _ => Ok::<_, Error>(0),
        };
        let function = arguments.required_literal("function", state)?;
        let function = function.to_str_lossy().and_then(|name| find(&name)).unwrap_or(NAME);
        let value = arguments.required("value");
        let call = Call { function, offset: number("offset")? };
        Ok(Box::new(ArgumentValue { type_def: value.type_def(state), limit: number("limit")?, value, call }))
    }
}

#[derive(Debug, Clone)]
struct ArgumentValue {
    value: Box<dyn Expression>,
    /// Type at the beginning of the argument: later the argument's side effects have changed the state.
    type_def: TypeDef,
    limit: usize,
    call: Call,
}

impl Expression for ArgumentValue {
    fn resolve(&self, context: &mut Context<'_>) -> Resolved {
        let value = self.value.resolve(context)?;
        Control::measured(self.call);
        let size = size(&value, self.limit, 0);
        if size > self.limit {
            let Self { call: Call { function, .. }, limit, .. } = self;
            return Err(format!("an argument of `{function}` is larger than {limit} bytes").into());
        }
        Ok(value)
    }

    fn resolve_constant(&self, state: &TypeState) -> Option<Value> {
        self.value.resolve_constant(state)
    }

    fn type_info(&self, state: &TypeState) -> TypeInfo {
        TypeInfo::new(state.clone(), self.type_def.clone())
    }
}

/// Returns the size of a value in bytes, including what a list or an object needs for each element. An element may be
/// indented when it is printed. Counting ends above `limit`.
fn size(value: &Value, limit: usize, depth: usize) -> usize {
    let mut sum = 0;
    match value {
        Value::Bytes(bytes) => sum = bytes.len(),
        Value::String(text) => sum = text.len(),
        Value::Array(elements) => {
            for element in elements {
                sum += 32 + 2 * depth + size(element, limit, depth + 1);
                if sum > limit {
                    break;
                }
            }
        }
        Value::Object(members) => {
            for (key, member) in members {
                sum += 64 + 2 * depth + key.len() + size(member, limit, depth + 1);
                if sum > limit {
                    break;
                }
            }
        }
        _ => {}
    }
    sum
}
