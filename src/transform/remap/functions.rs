//! The functions that a program may call: those of VRL whose result is about as long as their arguments.
//!
//! VRL's functions of the environment, the system and the network are not compiled in at all. Left out here are `log`,
//! which writes into the worker's log, functions that decompress or fill, and those for other formats of logs.

use vrl::compiler::function::{ArgumentList, Compiled, Example, FunctionCompileContext, Parameter};
use vrl::compiler::state::{TypeInfo, TypeState};
use vrl::compiler::{Context, Expression, Function, Resolved};
use vrl::value::Value;

const ALLOWED: &[&str] = &[
    "abs",
    "append",
    "array",
    "basename",
    "bool",
    "camelcase",
    "ceil",
    "chunks",
    "compact",
    "contains",
    "contains_all",
    "decode_base16",
    "decode_base64",
    "decode_percent",
    "del",
    "dirname",
    "downcase",
    "encode_base16",
    "encode_base64",
    "encode_json",
    "encode_logfmt",
    "encode_percent",
    "ends_with",
    "exists",
    "filter",
    "find",
    "float",
    "floor",
    "for_each",
    "format_int",
    "format_timestamp",
    "from_entries",
    "from_unix_timestamp",
    "get",
    "includes",
    "int",
    "ip_aton",
    "ip_cidr_contains",
    "ip_ntoa",
    "ip_subnet",
    "ip_to_ipv6",
    "ipv6_to_ipv4",
    "is_array",
    "is_boolean",
    "is_empty",
    "is_float",
    "is_integer",
    "is_ipv4",
    "is_ipv6",
    "is_json",
    "is_null",
    "is_nullish",
    "is_object",
    "is_regex",
    "is_string",
    "is_timestamp",
    "join",
    "kebabcase",
    "keys",
    "length",
    "map_keys",
    "map_values",
    "match",
    "match_any",
    "match_array",
    "merge",
    "mod",
    "now",
    "object",
    "object_from_array",
    "parse_bytes",
    "parse_cef",
    "parse_csv",
    "parse_duration",
    "parse_float",
    "parse_int",
    "parse_json",
    "parse_key_value",
    "parse_query_string",
    "parse_regex",
    "parse_regex_all",
    "parse_timestamp",
    "parse_url",
    "pascalcase",
    "pop",
    "push",
    "redact",
    "remove",
    "replace",
    "replace_with",
    "round",
    "screamingsnakecase",
    "shannon_entropy",
    "slice",
    "snakecase",
    "split",
    "split_path",
    "starts_with",
    "string",
    "strip_whitespace",
    "strlen",
    "tally",
    "tally_value",
    "timestamp",
    "to_bool",
    "to_entries",
    "to_float",
    "to_int",
    "to_string",
    "to_unix_timestamp",
    "truncate",
    "unique",
    "upcase",
    "values",
    "zip",
];

/// Functions whose result can be as long as two of their arguments multiplied: the value, and what is put into it.
const BOUNDED: &[(&str, &str, &str)] = &[("join", "value", "separator"), ("replace", "value", "with")];

/// Largest result of a bounded function.
const MAX_RESULT: usize = 8 * 1024 * 1024;

pub(super) fn allowed() -> Vec<Box<dyn Function>> {
    let all = vrl::stdlib::all().into_iter();
    all.filter(|function| ALLOWED.contains(&function.identifier()))
        .map(|function| match BOUNDED.iter().find(|(name, ..)| *name == function.identifier()) {
            Some((_, value, inserted)) => Box::new(Bounded { function, value, inserted }) as Box<dyn Function>,
            None => function,
        })
        .collect()
}

/// True for a function of VRL that programs cannot call here, to say so instead of `undefined function`.
pub(super) fn is_withheld(name: &str) -> bool {
    const NOT_COMPILED: &[&str] = &[
        "decrypt",
        "decrypt_ip",
        "dns_lookup",
        "encode_proto",
        "encrypt",
        "encrypt_ip",
        "find_enrichment_table_records",
        "get_enrichment_table_record",
        "get_env_var",
        "get_hostname",
        "get_secret",
        "get_timezone_name",
        "http_request",
        "parse_etld",
        "parse_proto",
        "remove_secret",
        "reverse_dns",
        "set_secret",
        "validate_json_schema",
    ];
    !ALLOWED.contains(&name)
        && (NOT_COMPILED.contains(&name) || vrl::stdlib::all().iter().any(|function| function.identifier() == name))
}

/// A function of VRL that refuses arguments whose result would be too large.
#[derive(Debug)]
struct Bounded {
    function: Box<dyn Function>,
    value: &'static str,
    inserted: &'static str,
}

impl Function for Bounded {
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
        &[]
    }

    fn parameters(&self) -> &'static [Parameter] {
        self.function.parameters()
    }

    fn compile(&self, state: &TypeState, context: &mut FunctionCompileContext, arguments: ArgumentList) -> Compiled {
        let value = arguments.required(self.value);
        let inserted = arguments.optional(self.inserted);
        let call = self.function.compile(state, context, arguments)?;
        Ok(Box::new(BoundedCall { call, value, inserted }))
    }
}

#[derive(Debug, Clone)]
struct BoundedCall {
    call: Box<dyn Expression>,
    value: Box<dyn Expression>,
    inserted: Option<Box<dyn Expression>>,
}

impl Expression for BoundedCall {
    fn resolve(&self, context: &mut Context<'_>) -> Resolved {
        if let Some(inserted) = &self.inserted {
            let inserted = length(&inserted.resolve(context)?);
            let value = length(&self.value.resolve(context)?);
            if inserted.saturating_mul(value.saturating_add(1)) > MAX_RESULT && inserted > 1 {
                return Err("the result could be larger than 8 MiB".into());
            }
        }
        self.call.resolve(context)
    }

    fn resolve_constant(&self, state: &TypeState) -> Option<Value> {
        self.call.resolve_constant(state)
    }

    fn type_info(&self, state: &TypeState) -> TypeInfo {
        self.call.type_info(state)
    }
}

/// Bytes of a text, elements of a list.
fn length(value: &Value) -> usize {
    match value {
        Value::Bytes(bytes) => bytes.len(),
        Value::String(text) => text.len(),
        Value::Array(elements) => elements.len(),
        _ => 0,
    }
}
