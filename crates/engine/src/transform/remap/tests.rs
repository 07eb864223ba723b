//! The worst that each function can do in one call.

use std::collections::BTreeSet;

use tikv_jemalloc_ctl::thread::allocatedp;
use vrl::value::{KeyString, ObjectMap, Value};

use crate::program_threads::processor_time;

use super::functions::{Bound, MAX_ARGUMENT, MAX_PARSED, names};
use super::*;
use std::time::Duration;

/// The allocator of the program, which counts what a thread allocates.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Returns texts and lists as large as a function accepts them. `text` needs the most steps of a search.
fn inputs() -> Vec<(&'static str, Value)> {
    let mut random = fastrand::Rng::with_seed(7);
    let text: String = (0..MAX_PARSED).map(|_| if random.bool() { 'a' } else { 'b' }).collect();
    let filled = |pattern: &str, size: usize| pattern.repeat(size / pattern.len());
    let many = |element: Value, size: usize| Value::Array(vec![element; size]);
    let object = |size: usize| -> ObjectMap {
        (0..size).map(|number| (KeyString::from(format!("{number:06}")), Value::from("x"))).collect()
    };
    vec![
        ("text", text.clone().into()),
        ("words", filled("aB ", MAX_PARSED).into()),
        ("escapes", filled("%41", MAX_PARSED).into()),
        ("json", format!("[{}0]", filled("{\"\":{}},", MAX_PARSED - 10)).into()),
        ("lists", format!("{}{}", "[".repeat(MAX_PARSED / 2), "]".repeat(MAX_PARSED / 2)).into()),
        ("csv", filled(",", MAX_PARSED).into()),
        ("pairs", filled("a= ", MAX_PARSED).into()),
        ("query", filled("a=&", MAX_PARSED).into()),
        ("url", format!("http://a/?{}", filled("a=&", MAX_PARSED - 20)).into()),
        ("cef", format!("CEF:0|a|b|c|d|e|1|{}", filled("a=b ", MAX_PARSED - 20)).into()),
        ("quotes", filled("a=\"", MAX_PARSED).into()),
        ("cef_quotes", format!("CEF:0|a|b|c|d|e|1|{}", filled("a=\\", MAX_PARSED - 20)).into()),
        ("needles", many(text[MAX_PARSED - 20..].into(), MAX_PARSED / 54)),
        ("deep", (0..600).fold(many(1.into(), 700), |inner, _| Value::Array(vec![inner]))),
        ("path", filled("/a", MAX_PARSED).into()),
        ("digits", filled("1", MAX_PARSED).into()),
        ("format", filled("%c", MAX_PARSED).into()),
        ("large", filled("a\u{1}é", MAX_ARGUMENT).into()),
        ("hex", filled("41", MAX_ARGUMENT).into()),
        ("base64", filled("QUJD", MAX_ARGUMENT).into()),
        ("list", Value::Array((0..MAX_ARGUMENT / 32).map(|number| (number as i64).into()).collect())),
        ("few", Value::Array((0..MAX_ARGUMENT / 160).map(|number| (number as i64).into()).collect())),
        ("names", many("ab".into(), MAX_ARGUMENT / 34)),
        ("entries", many(Value::Array(vec!["key".into(), 1.into()]), MAX_ARGUMENT / 104)),
        ("members", many(Value::from(&serde_json::json!({ "key": "a", "value": 1 })), MAX_ARGUMENT / 200)),
        ("objects", many(Value::Object(object(1)), MAX_ARGUMENT / 108)),
        ("object", Value::Object(object(MAX_ARGUMENT / 71))),
        ("same", filled("a", MAX_ARGUMENT).into()),
        ("half", filled("a", MAX_ARGUMENT / 2).into()),
        ("many", filled("a", MAX_PARSED).into()),
        ("needle", format!("{}b", filled("a", MAX_PARSED / 2)).into()),
        ("small", Value::Object(object(MAX_PARSED / 71))),
        ("number", 7.into()),
        ("float", (&serde_json::json!(7.5)).into()),
    ]
}

/// As much work for each byte of a text as an expression may be at that length.
const SLOW: &str = "r'[ab]*a[ab]{142}[cd]'";
/// Finds many matches, and reads all that follows for each.
const QUADRATIC: &str = "r'[ab]*?a[ab]{1,60}?[cd]|[ab]'";
/// Every match has many groups.
const GROUPS: &str = "r'(?P<a>(?P<b>(?P<c>(?P<d>(?P<e>(?P<f>(?P<g>(?P<h>[ab]))))))))'";

/// Returns calls of each function with its worst arguments.
fn calls() -> Vec<String> {
    let once = [
        "match(text, R)",
        "match_any(text, [R])",
        "match_array([slice!(text, 0, 32700)], R)",
        "find(text, R)",
        "parse_regex(text, R) ?? {}",
    ];
    let once = once.iter().map(|call| call.replace('R', SLOW));
    let all = [
        "parse_regex_all!(text, R)",
        "parse_regex_all!(text, R, numeric_groups: true)",
        "replace(text, R, \"$0$0\")",
        "replace_with(text, R) -> |m| { m.string }",
        "split(text, R)",
    ];
    let patterns = [SLOW, QUADRATIC, GROUPS];
    let all = all.iter().flat_map(|call| patterns.map(|pattern| call.replace('R', pattern)));
    let others = "
        abs!(.number) append!(.list,.list) array!(.list) basename!(.path) bool(true) camelcase!(.words) ceil!(.float)
        chunks!(.text,1) compact!(.objects) compact!(.object) contains!(.large,\"ab\") contains_all!(.text,.needles) encode_json!(.deep,pretty:true)
        decode_base16!(.hex) decode_base64!(.base64) decode_percent!(.escapes) del(.object) dirname!(.path)
        downcase!(.large) encode_base16!(.large) encode_base64!(.large) encode_json(.large) encode_json(.object)
        encode_json(.list) encode_logfmt!(.small) encode_percent!(.words) ends_with!(.large,\"ab\") exists(.list)
        filter(array!(.list))->|_i,_v|{true} find!(.large,\"ab\") float!(.float) floor!(.float)
        for_each(array!(.list))->|_i,_v|{true} format_int!(.number,2) format_timestamp!(now(),format:string!(.format))
        from_entries!(.members) from_unix_timestamp!(.number) get!(.object,[\"a\"]) includes!(.list,\"a\")
        int!(.number) ip_aton!(\"1.2.3.4\") ip_cidr_contains!(\"1.0.0.0/8\",\"1.2.3.4\") ip_ntoa!(.number)
        ip_subnet!(\"1.2.3.4\",\"/8\") ip_to_ipv6!(\"1.2.3.4\") ipv6_to_ipv4!(\"::ffff:1.2.3.4\") is_array(.list)
        is_boolean(.list) is_empty!(.list) is_float(.list) is_integer(.list) is_ipv4!(.large) is_ipv6!(.large)
        is_json!(.json) is_json!(.lists) is_null(.list) is_nullish(.large) is_object(.list) is_regex(.list)
        is_string(.list) is_timestamp(.list) join!(.names,\"abcdef\") kebabcase!(.words) keys!(.object) length!(.object)
        map_keys(object!(.object))->|k|{k} map_values(array!(.list))->|v|{v} merge!(.object,.object)
        merge!(.object,.object,deep:true) mod!(.number,2) now() object!(.object) object_from_array!(.entries)
        object_from_array!(.names,.names) parse_bytes!(.digits,unit:\"b\") parse_cef!(.cef) parse_csv!(.csv)
        parse_duration!(.digits,\"s\") parse_float!(.digits) parse_int!(.digits,10) parse_json!(.json)
        parse_json!(.lists) parse_key_value!(.pairs) parse_key_value!(.quotes) parse_csv!(.quotes) parse_cef!(.cef_quotes) parse_query_string!(.query) parse_timestamp!(.digits,\"%Y\")
        parse_timestamp!(.digits,format:string!(.format)) parse_url!(.url) pascalcase!(.words) pop!(.list)
        push!(.list,1) remove!(.object,[\"a\"]) replace!(.large,\"a\",\"bcd\") replace!(.large,\"\",\"b\")
        round!(.float) screamingsnakecase!(.words) shannon_entropy!(.words)
        shannon_entropy!(.words,segmentation:\"grapheme\") slice!(.large,1) snakecase!(.words) split!(.text,\"\")
        split_path!(.path) starts_with!(.large,\"ab\") string!(.large) strip_whitespace!(.large) strlen!(.large)
        tally!(.names) tally_value!(.list,1) timestamp(now()) to_bool!(.digits) to_entries!(.object) to_float!(.digits)
        to_int!(.digits) to_string!(.large) to_unix_timestamp(now()) truncate!(.large,1000) unique!(.list) upcase!(.large)
        values!(.object) zip!([.few,.few])";
    // Nearly found at each place.
    let needles = "
        find!(.same,\"NEEDLE\") find!(.same,\"NEEDLE\",from:1) find(text,\"NEEDLE\") find!(.many,.needle)
        replace!(.same,\"NEEDLE\",\"b\") replace!(.many,.needle,\"b\") split!(.many,.needle)
        contains!(.same,string!(.half)+\"b\") contains!(.same,string!(.half)+\"b\",case_sensitive:false)
        starts_with!(.same,string!(.half)+\"b\",case_sensitive:false)
        ends_with!(.same,\"b\"+string!(.half),case_sensitive:false)
        contains_all!(.many,[.needle]) includes!([.half],string!(.half)+\"b\")
        parse_key_value!(.many,key_value_delimiter:string!(.needle),field_delimiter:string!(.needle))";
    let needle = format!("{}b", "a".repeat(14_000));
    let needles = needles.split_whitespace().map(|call| call.replace("NEEDLE", &needle));
    once.chain(all).chain(others.split_whitespace().map(str::to_owned)).chain(needles).collect()
}

/// In a debug build VRL is many times slower.
const MAX_TIME: Duration = Duration::from_secs(if cfg!(debug_assertions) { 5 } else { 1 });
const MAX_MEMORY: u64 = 64 * 1024 * 1024;

#[test]
fn no_call_of_a_function_takes_long_or_much_memory() {
    let inputs = inputs();
    let allocated = allocatedp::read().unwrap();
    let mut called = BTreeSet::new();
    let mut problems = Vec::new();
    for call in calls() {
        let name = names().find(|name| call.starts_with(&format!("{name}(")) || call.starts_with(&format!("{name}!(")));
        called.insert(name.unwrap_or_else(|| panic!("{call} calls no function")));
        let source = format!("text = string!(.text)\n.result = {call}\n");
        let program = Program::compile(&source, Purpose::Remap, &mut Budget::default())
            .unwrap_or_else(|error| panic!("{call}: {error}"));
        let named = inputs.iter().filter(|(name, _)| source.contains(&format!(".{name}")));
        let named = named.map(|(name, value)| (KeyString::from(*name), value.clone()));
        let mut event = Value::Object(named.collect());
        let before = (processor_time(), allocated.get());
        let run = program.run(&mut event, &mut Control::start());
        let time = processor_time() - before.0;
        let memory = allocated.get() - before.1;
        if let Run::Failed(reason) = &run
            && reason.contains("larger than")
        {
            problems.push(format!("{}: not called: {reason}", &call[..call.len().min(100)]));
        }
        if time > MAX_TIME || memory > MAX_MEMORY {
            problems.push(format!("{}: {time:?}, {} KiB", &call[..call.len().min(100)], memory / 1024));
        }
    }
    assert_eq!(problems, Vec::<String>::new());
    assert!(allocated.get() > MAX_MEMORY, "memory is counted");
    assert_eq!(called, names().collect::<BTreeSet<_>>(), "each function has its worst call");
}

#[test]
fn only_a_text_without_variables_is_a_literal_pattern() {
    let event = serde_json::json!({ "text": format!("{}b", "a".repeat(40_000)), "pattern": "a".repeat(40_000) });
    let run = |call: &str| {
        let source = format!("text = string!(.text)\npattern = string!(.pattern)\n{call}");
        let program = Program::compile(&source, Purpose::Remap, &mut Budget::default()).unwrap();
        program.run(&mut Value::from(&event), &mut Control::start())
    };
    assert_eq!(run("find(text, \"b\")"), Run::Done(40_000.into()));
    assert_eq!(run("find(text, s'b')"), Run::Done(40_000.into()));
    for call in
        ["find(text, \"{{ pattern }}\")", "find(text, \"b{{ pattern }}\")", "replace(text, \"{{ pattern }}\", \"\")"]
    {
        let run = run(call);
        assert!(
            matches!(&run, Run::Failed(reason) if reason.contains("is larger than 32768 bytes")),
            "{call}: {run:?}"
        );
    }
    // A long pattern is not compared with each place.
    let source = format!(".found = find!(.text, \"{}b\")", "a".repeat(14_000));
    let program = Program::compile(&source, Purpose::Remap, &mut Budget::default()).unwrap();
    let mut event = Value::from(&serde_json::json!({ "text": "a".repeat(MAX_ARGUMENT) }));
    let before = processor_time();
    assert_eq!(program.run(&mut event, &mut Control::start()), Run::Done(Value::Null));
    let took = processor_time() - before;
    assert!(took < Duration::from_millis(250), "{took:?}");

    // Places that no text has.
    for call in
        ["find(\"abc\", \"c\", 10)", "find(\"abc\", r'c', 10)", "find(\"abc\", \"c\", -1)", "find(\"abc\", r'c', -1)"]
    {
        assert_eq!(run(call), Run::Done(Value::Null), "{call}");
    }
    assert_eq!(
        (run("find(\"abc\", \"\", 3)"), run("find(\"abc\", \"\", 4)")),
        (Run::Done(3.into()), Run::Done(Value::Null))
    );
}

/// A record of the console that makes a program panic must not stop the program's lane.
#[test]
fn a_function_that_panics_is_a_failure_of_the_program() {
    let source = "bytes = decode_base64!(\"/w==\")\n.x = starts_with(bytes, bytes, case_sensitive: false)";
    let program = Program::compile(source, Purpose::Remap, &mut Budget::default()).unwrap();
    let run = program.run(&mut Value::Object(ObjectMap::new()), &mut Control::start());
    let Run::Failed(reason) = run else { panic!("{run:?}") };
    assert_eq!(
        reason,
        "a function of VRL cannot deal with its arguments; the last call was `starts_with` at line 2, column 18"
    );
}

/// An expression remembers how searches of texts went, up to some MiB for each thread.
#[test]
fn what_expressions_remember_of_texts_is_given_back() {
    use crate::transform::{RedactionKeys, Schema, Steps, TransformSettings, Transformed};
    let condition = |number: u32| format!("match(to_string(.text) ?? \"\", r'[ab]*a[ab]{{{}}}[xy]')", 100 + number);
    let conditions: Vec<_> = (0..8).map(condition).collect();
    let settings: TransformSettings = serde_json::from_value(serde_json::json!({ "drop": conditions })).unwrap();
    let steps = Steps::new(&settings, Schema::Raw, None, RedactionKeys::Configured).unwrap().unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    let mut out = Vec::with_capacity(4096);
    let kept = Kept::start();
    let mut most = 0;
    for _ in 0..150 {
        let text: String = (0..1_000).map(|_| if random.bool() { 'a' } else { 'b' }).collect();
        out.clear();
        out.extend_from_slice(serde_json::json!({ "text": text }).to_string().as_bytes());
        let mut mapped = Transformed::default();
        steps.apply(&mut out, 0, &mut mapped);
        assert_eq!(mapped.remap_error, None);
        drop(text);
        most = most.max(kept.bytes());
    }
    // One event may take the memory over the limit.
    assert!(most > 1024 * 1024, "these expressions remember nothing: {most}");
    assert!(most < 8 * 1024 * 1024, "{most} bytes are kept");
}

/// The examples of VRL's own documentation.
#[test]
fn what_measures_arguments_changes_no_result() {
    let all = vrl::stdlib::all();
    let mut compared = 0;
    let mut differing = Vec::new();
    for function in all.iter().filter(|function| names().any(|name| name == function.identifier())) {
        for example in function.examples().iter().filter(|example| example.deterministic && !example.skip) {
            let run = |compiled: &Compiled| {
                let mut event = example.input.map_or(Value::Object(ObjectMap::new()), |input| {
                    serde_json::from_str::<Value>(input).unwrap_or_else(|error| panic!("{input}: {error}"))
                });
                let mut metadata = Value::Object(ObjectMap::new());
                let mut secrets = Secrets::default();
                let mut target = TargetValueRef { value: &mut event, metadata: &mut metadata, secrets: &mut secrets };
                let mut runtime = Runtime::new(RuntimeState::default());
                let result = runtime.resolve(&mut target, compiled, &TimeZone::parse("UTC").unwrap());
                (result.is_ok(), result.ok(), event)
            };
            let Ok(theirs) = vrl::compiler::compile(example.source, &all) else { continue };
            let ours = match Program::compile(example.source, Purpose::Remap, &mut Budget::default()) {
                Ok(ours) => ours,
                Err(problem) => {
                    let refusals = ["cannot be called here", "a text multiplied", "read-only"];
                    if !refusals.iter().any(|text| problem.contains(text)) {
                        differing.push(format!("{}: {problem}", example.source));
                    }
                    continue;
                }
            };
            let results = (run(&ours.compiled), run(&theirs.program));
            if results.0 != results.1 {
                differing.push(format!("{}: {results:?}", example.source));
            }
            compared += 1;
        }
    }
    assert_eq!(differing, Vec::<String>::new());
    assert!(compared > 100, "{compared}");
}

#[test]
fn a_place_in_the_changed_source_is_that_of_the_users() {
    let source = "upcase(truncate(.a, 3))";
    let places = [(7, 22, "upcase"), (16, 18, "truncate"), (20, 21, "truncate")];
    let places = places.map(|(start, end, function)| argument::Place { function, bound: Bound::Argument, start, end });
    let measured = Measured::new(source, &places, |_| 9);
    let expected = "upcase(measured_argument(truncate(measured_argument(.a, \"truncate\", 9, 16), \
                    measured_argument(3, \"truncate\", 9, 20)), \"upcase\", 9, 7))";
    assert_eq!(measured.source, expected);
    for (text, original) in [("upcase", 0), ("truncate(", 7), (".a", 16), ("3, \"truncate\", 9, 20", 20)] {
        assert_eq!(measured.original(expected.find(text).unwrap()), original, "{text}");
    }
    assert_eq!(measured.original(expected.len() - 1), source.len() - 1);
    assert_eq!(measured.original(expected.len() + 5), source.len() + 5, "nothing is out of bounds");
}
