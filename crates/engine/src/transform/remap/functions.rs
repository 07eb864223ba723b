//! The functions that a program may call: functions of VRL whose result is about as long as their arguments.
//!
//! VRL's functions of the environment, the system and the network are not compiled in at all. Left out here are `log`,
//! which writes into the worker's log, functions that decompress or fill, and functions for other formats of logs.
//! `redact` is left out too: it searches a text again and again, and nothing can end it meanwhile.

use vrl::compiler::Function;

use super::own::Own;

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

/// Functions that do not read the whole of their arguments.
const FREE: &[&str] = &[
    "array",
    "bool",
    "del",
    "exists",
    "float",
    "int",
    "is_array",
    "is_boolean",
    "is_float",
    "is_integer",
    "is_null",
    "is_object",
    "is_regex",
    "is_string",
    "is_timestamp",
    "now",
    "object",
    "string",
    "timestamp",
];

/// Functions that search a text for a regular expression. `match_any` searches for all of its expressions at once.
const SEARCHING: &[&str] = &[
    "find",
    "match",
    "match_any",
    "match_array",
    "parse_regex",
    "parse_regex_all",
    "replace",
    "replace_with",
    "split",
];

/// Functions whose result takes many times the memory of their argument, or that do much for each byte of it. Functions
/// whose name begins with `parse_` are such functions, too.
const COSTLY: &[&str] = &[
    "camelcase",
    "chunks",
    "contains_all",
    "decode_percent",
    "encode_logfmt",
    "encode_percent",
    "format_timestamp",
    "is_json",
    "kebabcase",
    "pascalcase",
    "screamingsnakecase",
    "shannon_entropy",
    "snakecase",
    "split_path",
    "to_bool",
    "to_float",
    "to_int",
];

/// The largest argument of a function, and the largest one of a function that parses, splits or searches.
pub(super) const MAX_ARGUMENT: usize = 2 * 1024 * 1024;
pub(super) const MAX_PARSED: usize = 32 * 1024;

/// Limit by which the arguments of a function are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    Free,
    Argument,
    Parsed,
    Searched,
}

pub(super) fn bound(name: &str) -> Bound {
    if FREE.contains(&name) {
        Bound::Free
    } else if SEARCHING.contains(&name) {
        Bound::Searched
    } else if COSTLY.contains(&name) || name.starts_with("parse_") {
        Bound::Parsed
    } else {
        Bound::Argument
    }
}

/// Returns `name` from the list of functions that programs may call; `None` if it is not there.
pub(super) fn find(name: &str) -> Option<&'static str> {
    ALLOWED.iter().find(|allowed| **allowed == name).copied()
}

/// Returns the names of all functions that a program may call.
#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    ALLOWED.iter().copied()
}

pub(super) fn allowed() -> Vec<Box<dyn Function>> {
    let all = vrl::stdlib::all().into_iter().filter(|function| find(function.identifier()).is_some());
    all.map(Own::instead_of).collect()
}

/// Returns whether VRL has this function, but programs cannot call it here. The error says so then, instead of
/// `undefined function`.
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
    find(name).is_none()
        && (NOT_COMPILED.contains(&name) || vrl::stdlib::all().iter().any(|function| function.identifier() == name))
}
