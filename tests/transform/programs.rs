//! `drop` and `remap`: what programs can do, and what they cannot.

use std::time::Duration;

use tokio::time::Instant;

use s1_forwarder::pipeline::{self, FileOptions, Problem, Severity, TenantRules};
use s1_forwarder::record::Stream;
use s1_forwarder::transform::{Compiler, Dropped, FAILED_TAG, OVERRAN_TAG, OnError, RedactionKeys, Schema, Steps};
use serde_json::{Value, json};

use super::{run, settings, transformer};

fn record() -> Value {
    json!({ "id": "1", "activityType": 27, "createdAt": "2026-01-31T00:00:00Z", "accountName": "Acme",
        "primaryDescription": "The user jane logged in.", "data": { "username": "jane", "ipAddress": "10.0.0.1" } })
}

fn problem(transform: &str) -> String {
    let errors = Steps::check(&settings(transform), &mut Compiler::default()).unwrap_err();
    errors.iter().map(|error| format!("{error}\n")).collect()
}

#[test]
fn conditions_and_abort_drop_events() {
    for (transform, dropped) in [
        ("drop: ['.event.provider == \"SentinelOne\"']", Some(Dropped::Condition { is_last: true })),
        (
            "drop: ['.event.kind == \"nothing\"', 'exists(.organization.name)']",
            Some(Dropped::Condition { is_last: true }),
        ),
        ("drop: ['.event.kind == \"nothing\"']", None),
        ("remap: 'if .organization.name == \"Acme\" { abort }'", Some(Dropped::Remap)),
        ("remap: 'if .organization.name == \"Other\" { abort }'", None),
    ] {
        let (event, mapped) = run(transform, Schema::Ecs, &record());
        assert_eq!((mapped.dropped, event.is_none()), (dropped, dropped.is_some()), "{transform}");
        assert_eq!(mapped.remap_error, None);
    }
}

/// The limits are those of an event, not of each program.
#[test]
fn conditions_share_the_limits_of_an_event() {
    let condition = "'x = 0; x = x + 1; ".to_owned() + &"x = x + 1; ".repeat(300) + "x < 0'";
    let conditions = |count: usize| format!("drop: [{}]", vec![condition.clone(); count].join(", "));
    assert_eq!(run(&conditions(2), Schema::Ecs, &record()).1.remap_error, None);
    let (event, mapped) = run(&conditions(60), Schema::Ecs, &record());
    let reason = mapped.remap_error.unwrap();
    assert!(reason.contains("more than 10,000 expressions for one event"), "{reason}");
    assert!(event.unwrap()["tags"].as_array().unwrap().contains(&json!(FAILED_TAG)));
    assert!(problem(&format!("drop: [{}]", vec!["'false'"; 65].join(", "))).starts_with("drop: 65 conditions"));
}

/// What the compiler does for each call and block grows with what was assigned before.
#[test]
fn what_would_take_long_to_compile_is_refused_at_once() {
    let paths = |count: usize| {
        let name = |number: usize| {
            format!(".{}{}", (b'a' + (number / 26) as u8) as char, (b'a' + (number % 26) as u8) as char)
        };
        (0..count).map(|number| format!("{} = 1; ", name(number))).collect::<String>()
    };
    let nested = format!("{}1{}; ", "if .aa == 1 { ".repeat(60), " }".repeat(60)).repeat(8);
    for program in [
        paths(600) + &nested,
        paths(500) + &"for_each([1]) -> |i, v| { 1 }; ".repeat(200),
        paths(400) + &"x = to_int(.zz) ?? 1; ".repeat(200),
        paths(400) + "x = " + &"downcase(".repeat(40) + "\"a\"" + &")".repeat(40),
    ] {
        let problem = problem(&format!("remap: '{program}'"));
        assert!(problem.contains("too long to compile"), "{problem}");
    }
    let usual = (0..40).map(|number| format!(".field{number} = downcase(to_string(.event.action) ?? \"none\"); "));
    let usual = format!("remap: '{}'", usual.collect::<String>());
    assert_eq!(Steps::check(&settings(&usual), &mut Compiler::default()), Ok(()));

    // All programs of a file have one limit.
    let mut budget = Compiler::default();
    let half = paths(100) + &"x = downcase(\"a\"); ".repeat(150);
    assert_eq!(budget.check(&half), Ok(()));
    assert!(budget.check(&half).unwrap_err().contains("too long to compile"));
    let mut budget = Compiler::default();
    assert_eq!(budget.check(&("x = [".to_owned() + &"r'a', ".repeat(30) + "1]")), Ok(()));
    let one_more = budget.check(&("x = [".to_owned() + &"r'a', ".repeat(30) + "1]")).unwrap_err();
    assert!(one_more.contains("more than 32 regular expressions in the programs of this file"), "{one_more}");
}

/// Who is not trusted has fewer expressions as well: the compiler copies what it knows of the types for each of them.
#[test]
fn many_assignments_are_refused_in_a_tenants_file_and_only_reported_in_the_operators() {
    let assigned = |count: usize| (0..count).map(|number| format!("v{number} = 1; ")).collect::<String>();
    let sum = (0..600).map(|_| "{{a}}").collect::<String>();
    for (program, how_often) in [
        (assigned(950), 1),
        (assigned(400) + "false", 7),
        (assigned(300) + "x = [" + &"1,".repeat(1_500) + "1]", 1),
        (assigned(300) + &"1; ".repeat(3_000), 2),
        (format!("a = \"x\"; .x = \"{sum}\""), 1),
    ] {
        let mut strict = Compiler::default().strict(true);
        let refused = (0..how_often).find_map(|_| strict.check(&program).err());
        assert!(refused.unwrap().contains("too long to compile"), "{program}");
    }
    let mut trusted = Compiler::default();
    assert_eq!((trusted.check(&assigned(400)), trusted.takes_long()), (Ok(()), false));
    assert_eq!((trusted.check(&assigned(900)), trusted.takes_long()), (Ok(()), true));

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("acme.yaml");
    let mut pipeline = json!({
        "console": { "url": "https://acme.example", "token": "a-token" }, "streams": { "activities": {} },
        "transform": { "drop": vec![assigned(400) + "false"; 7] },
        "sinks": [{ "type": "http", "url": "https://siem.example" }],
    });
    let load = |pipeline: &Value, for_files: bool| {
        std::fs::write(&file, pipeline.to_string()).unwrap();
        let tenants = TenantRules { for_files, ..TenantRules::default() };
        let loaded = pipeline::load(std::slice::from_ref(&file), &FileOptions { defaults: None, tenants });
        let of_programs = |problem: &&Problem| problem.message.contains("to compile");
        let severities: Vec<_> = loaded.problems.iter().filter(of_programs).map(|problem| problem.severity).collect();
        (loaded.pipelines.len(), severities)
    };
    assert_eq!(load(&pipeline, true), (0, vec![Severity::Error; 2]));
    assert_eq!(load(&pipeline, false), (1, vec![Severity::Warning]));
    pipeline["transform"] = json!({ "drop": vec![assigned(200) + "false"; 4] });
    assert_eq!(load(&pipeline, true), (1, vec![]));
}

#[test]
fn a_result_is_as_deep_as_a_record_may_be() {
    let deep = |levels: usize| format!("  .x = {}.x{}\n", "[".repeat(levels), "]".repeat(levels));
    // The event is one level.
    let allowed = "remap: |\n  .x = 1\n".to_owned() + &deep(60) + &deep(60) + &deep(6);
    let (event, mapped) = run(&allowed, Schema::Ecs, &record());
    assert_eq!(mapped.remap_error, None);
    assert!(event.unwrap()["x"].is_array());
    let (event, mapped) = run(&(allowed + &deep(1)), Schema::Ecs, &record());
    let reason = mapped.remap_error.unwrap();
    assert_eq!(reason, "remap: its event is nested more than 127 levels deep");
    let event = event.unwrap();
    assert!(event.get("x").is_none() && event["tags"].as_array().unwrap().contains(&json!(FAILED_TAG)), "{event}");
}

#[test]
fn a_program_changes_the_event_of_every_schema() {
    let program =
        "remap: |\n  .added = upcase(string!(.NAME))\n  del(.message)\n  .list = map_values([1, 2]) -> |v| { v + 1 }\n";
    for (schema, name, expected) in [
        (Schema::Ecs, "organization.name", "ACME"),
        (Schema::Ocsf, "message", "THE USER JANE LOGGED IN."),
        (Schema::Raw, "accountName", "ACME"),
    ] {
        let (event, mapped) = run(&program.replace("NAME", name), schema, &record());
        let event = event.unwrap();
        assert_eq!(mapped.remap_error, None, "{schema:?}");
        assert_eq!((&event["added"], &event["list"]), (&json!(expected), &json!([2, 3])), "{event:#}");
        assert!(event.get("message").is_none());
    }
}

#[test]
fn drop_comes_before_remap_and_redaction_comes_last() {
    let transform = "drop: ['exists(.mine)']\nremap: '.mine = .user.name'\nredact: [mine]\n";
    let (event, mapped) = run(transform, Schema::Ecs, &record());
    assert_eq!(
        (mapped.dropped, event.unwrap().get("mine")),
        (None, None),
        "remap is after drop, and redact after remap"
    );
}

/// A failure leaves the event as it was, also where the program has changed it already.
#[test]
fn an_event_on_which_a_program_fails_is_forwarded_with_a_tag() {
    let transform = "remap: |\n  .message = \"changed\"\n  .event.code = to_int!(.user.name)\nredact: [user.name]\n";
    let untouched = run("{}", Schema::Ecs, &record()).0.unwrap();
    let (event, mapped) = run(transform, Schema::Ecs, &record());
    let event = event.unwrap();
    assert!(mapped.remap_error.unwrap().contains("to_int"));
    assert_eq!((&event["message"], &event["event"]["code"]), (&untouched["message"], &untouched["event"]["code"]));
    let tags = event["tags"].as_array().unwrap();
    assert_eq!((tags.last(), tags.len()), (Some(&json!(FAILED_TAG)), untouched["tags"].as_array().unwrap().len() + 1));
    assert!(untouched["user"]["name"] == "jane" && event["user"].get("name").is_none(), "it is redacted all the same");

    let event = run("remap: '.x = to_int!(.message)'", Schema::Ocsf, &record()).0.unwrap();
    assert!(event["metadata"]["labels"].as_array().unwrap().contains(&json!(FAILED_TAG)));
    let (event, mapped) = run("drop: ['to_int!(.accountName) == 1']", Schema::Raw, &record());
    assert_eq!(event.unwrap(), record());
    assert!(mapped.remap_error.is_some());
}

/// An event that is not forwarded is as it was mapped: redacted, and without a tag.
#[test]
fn an_event_that_is_not_forwarded_has_no_tag() {
    let redact = "redact: [{ path: user.name, with: replace }]\nremap: '.x = to_int!(.message)'\non_error: ";
    for (word, on_error) in
        [("deliver", OnError::Deliver), ("dead_letter", OnError::DeadLetter), ("stop", OnError::Stop)]
    {
        let (event, mapped) = run(&format!("{redact}{word}"), Schema::Ecs, &record());
        let (event, is_forwarded) = (event.unwrap(), on_error == OnError::Deliver);
        assert_eq!((mapped.on_error, mapped.withheld().is_none()), (on_error, is_forwarded));
        assert_eq!(event["user"]["name"], "[redacted]");
        assert_eq!(event["tags"].as_array().unwrap().contains(&json!(FAILED_TAG)), is_forwarded, "{event}");
    }
    let (_, mapped) = run("remap: '.x = 1'\non_error: stop", Schema::Ecs, &record());
    assert_eq!((mapped.remap_error.as_deref(), mapped.withheld()), (None, None));
}

/// A dead letter was redacted. With a corrected program its hashes stay, and what the program copies is a hash too.
#[test]
fn the_steps_of_a_corrected_program_are_applied_to_what_was_redacted() {
    let redactions = "keep_original: true\non_error: dead_letter\nredact:\n\
        - { path: user.name, with: hash, key: 0123456789abcdef0123456789abcdef, everywhere: true }\n\
        - { path: labels.copy, with: hash, key: 0123456789abcdef0123456789abcdef }\n\
        - { path: message, with: replace }\n";
    for schema in [Schema::Ecs, Schema::Raw] {
        let redactions = if schema == Schema::Raw {
            redactions.replace("user.name", "data.username")
        } else {
            redactions.to_owned()
        };
        let path = if schema == Schema::Raw { ".data.username" } else { ".user.name" };
        let program = format!("remap: '.labels.copy = {path}; .labels.new = \"jane\"'");
        let direct = run(&format!("{redactions}{program}"), schema, &record()).0.unwrap();
        let (failed, mapped) =
            run(&format!("{redactions}remap: '.x = to_int!(\"x\" + to_string!({path}))'"), schema, &record());
        assert!(mapped.withheld().is_some());
        let mut stored = serde_json::to_vec(&failed.unwrap()).unwrap();
        assert!(!String::from_utf8_lossy(&stored).contains("jane"));

        let corrected = settings(&format!("{redactions}{program}"));
        let steps = Steps::new(&corrected, schema, None, RedactionKeys::Configured).unwrap().unwrap();
        let mapped = steps.apply_again(&mut stored);
        assert_eq!((mapped.remap_error, mapped.dropped), (None, None));
        let mut replayed: Value = serde_json::from_slice(&stored).unwrap();
        // What is at no path is the program's own. The name itself is not known any more.
        assert_eq!(replayed["labels"]["new"], "jane");
        replayed["labels"]["new"] = direct["labels"]["new"].clone();
        assert_eq!(replayed, direct, "{schema:?}");

        let dropping = settings(&format!("{redactions}remap: abort"));
        let steps = Steps::new(&dropping, schema, None, RedactionKeys::Configured).unwrap().unwrap();
        assert_eq!(steps.apply_again(&mut stored).dropped, Some(Dropped::Remap));
    }
}

#[test]
fn the_identity_never_changes() {
    let before = run("{}", Schema::Ecs, &record()).0.unwrap();
    for program in [
        ".sentinel_one.identity = \"x\"",
        "del(.sentinel_one)",
        ". = {}",
        "del(.sentinel_one.identity)",
        ".metadata.uid = \"x\"",
        ".metadata = {}",
        ". |= { \"sentinel_one\": { \"identity\": 1 } }",
    ] {
        let problem = problem(&format!("remap: '{program}'"));
        assert!(problem.contains("read-only"), "{program}: {problem}");
    }
    let after = run("remap: '.sentinel_one.mine = 1'", Schema::Ecs, &record()).0.unwrap();
    assert_eq!(before["sentinel_one"]["identity"], after["sentinel_one"]["identity"]);
    for path in ["sentinel_one", "sentinel_one.identity", "metadata", "metadata.uid"] {
        assert!(problem(&format!("redact: [{path}]")).contains("identity"), "{path}");
    }
}

#[test]
fn diagnostics_have_line_column_and_caret() {
    let problem = problem("remap: |\n  .a = 1\n  .b = upcase(.a, 2, 3)\n");
    assert!(problem.starts_with("remap: ") && problem.contains("program:2:") && problem.contains("^"), "{problem}");
    let condition = self::problem("drop: ['.a', '.b == ']");
    assert!(
        condition.contains("drop[0]: a condition has to be true or false") && condition.contains("drop[1]: "),
        "{condition}"
    );
}

/// A customer's program must not read the worker or open connections.
#[test]
fn nothing_outside_of_the_event_can_be_reached() {
    for call in [
        "get_env_var!(\"HOME\")",
        "get_hostname!()",
        "get_timezone_name!()",
        "dns_lookup!(\"example.com\")",
        "reverse_dns!(\"127.0.0.1\")",
        "http_request!(\"http://127.0.0.1\")",
        "log(\"x\")",
        "parse_proto!(\"x\", \"/etc/passwd\", \"x\")",
        "validate_json_schema!(\"x\", \"/etc/passwd\")",
        "get_enrichment_table_record!(\"x\", {})",
        "get_secret(\"x\")",
        "decode_gzip!(\"x\")",
        "random_bytes(10)",
    ] {
        let problem = problem(&format!("remap: '.x = {call}'"));
        assert!(problem.contains("cannot be called here"), "{call}: {problem}");
    }
    assert!(problem("remap: '%x = 1'").contains("read-only"), "there is no metadata");
}

#[test]
fn what_could_take_any_memory_or_stack_is_refused() {
    let deep = format!("remap: '.x = {}1{}'", "[".repeat(5_000), "]".repeat(5_000));
    let path = format!("remap: '.x{} = 1'", ".a".repeat(5_000));
    let sum = format!("remap: '.x = 1{}'", "+1".repeat(5_000));
    let regexes = format!("remap: '.x = [{}]'", "match(\"\", r\"a\"), ".repeat(33)).replace("r\"a\"", "r''a''");
    let long = format!("remap: '.x = \"{}\"'", "x".repeat(20_000));
    // The compiler would follow the type of each element.
    let line = |line: &str| format!("remap: |\n  s = [\"a\", \"b\"]\n{}  .x = s\n", format!("  {line}\n").repeat(60));
    let doubled = [
        "s = append(s, s)",
        "s = [s, s]",
        "s = {\"a\": s, \"b\": s}",
        ".s = [.s, .s]",
        "s.a = s",
        "if true { s = [s] } else { s = {\"a\": s} }",
    ]
    .map(line);
    for transform in &doubled {
        assert!(problem(transform).contains("too complex"), "{transform}");
    }
    let usual = "remap: |\n".to_owned()
        + &"  .a = .b\n  .c.d = upcase(.e) ?? \"x\"\n  m = \"a\" + to_string(.f) ?? \"\"\n".repeat(40);
    assert_eq!(Steps::check(&settings(&usual), &mut Compiler::default()), Ok(()), "moving fields is not complex");
    for (transform, expected) in [
        ("remap: '.x = \"aaaaaaaaaaaaaaaa\" * 100000000000'", "repeats it"),
        ("remap: '.x = .y * 2'", "repeats it"),
        ("remap: '.x = []; .x[4000000000] = 1'", "an index beyond"),
        ("remap: 'x = []; x[-4000000000] = 1; .x = x'", "an index beyond"),
        ("remap: '.x = match(\"\", r''\\w{900}\\w{900}'')'", "too large"),
        ("remap: '.x = set!({}, [4000000000], 1)'", "cannot be called here"),
        (&deep, "nested more than"),
        (&path, "a path of more than"),
        (&sum, "nested more than"),
        (&regexes, "regular expressions"),
        (&long, "a program has at most"),
    ] {
        let problem = problem(transform);
        assert!(problem.contains(expected), "{}: {problem}", &transform[..transform.len().min(80)]);
    }
    for allowed in
        ["remap: '.x = 2 * 3'", "remap: '.x = to_int(.y) ?? 0'", "remap: '.x = (2 + 1) * length(string!(.message))'"]
    {
        assert_eq!(Steps::check(&settings(allowed), &mut Compiler::default()), Ok(()), "{allowed}");
    }
}

/// A bound on the time of one event: closures over closures end.
#[test]
fn a_program_that_does_not_end_is_ended() {
    let list = (0..100).map(|number| number.to_string()).collect::<Vec<_>>().join(",");
    let program = format!(
        "remap: |\n  list = [{list}]\n  .n = 0\n  for_each(list) -> |_i, _v| {{ for_each(list) -> |_j, _w| {{ for_each(list) -> |_k, _x| {{ .n = to_int!(.n) + 1 }} }} }}\n"
    );
    let started_at = Instant::now();
    let (event, mapped) = run(&program, Schema::Ecs, &record());
    assert!(started_at.elapsed() < Duration::from_secs(5), "{:?}", started_at.elapsed());
    assert!(mapped.remap_error.unwrap().contains("the program was ended"));
    assert!(event.unwrap().get("n").is_none());
}

/// A value that is as deep as the bound on expressions allows is neither printed nor dropped by a deep recursion that
/// ends the worker.
#[test]
fn a_deep_value_does_not_exhaust_the_stack() {
    let list = (0..200).map(|number| number.to_string()).collect::<Vec<_>>().join(",");
    let program = format!(
        "remap: |\n  list = [{list}]\n  .x = 1\n  for_each(list) -> |_i, _v| {{ for_each(list) -> |_j, _w| {{ .x = [[[[[[[[.x]]]]]]]] }} }}\n"
    );
    let transform = settings(&program);
    // As large as the stack of a worker's thread.
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(move || {
        let mut out = Vec::new();
        transformer(&transform, Schema::Ecs, Stream::Activities).map(record().to_string().as_bytes(), &mut out).unwrap()
    });
    assert!(thread.unwrap().join().unwrap().remap_error.is_some());
}

#[test]
fn a_result_that_would_be_as_long_as_two_arguments_multiplied_is_refused() {
    let program = "remap: |\n  s = \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"\n  s = s + s + s + s + s + s + s + s\n  s = s + s + s + s + s + s + s + s\n  s = s + s + s + s + s + s + s + s\n  .x = CALL\n";
    for call in ["replace(s, \"a\", s)", "replace(s, \"\", s)", "join!(split(s, \"\"), s)"] {
        let (_, mapped) = run(&program.replace("CALL", call), Schema::Ecs, &record());
        assert!(mapped.remap_error.unwrap().contains("larger than 8 MiB"), "{call}");
    }
    let (event, mapped) =
        run("remap: '.x = join!([\"a\", \"b\"], \"-\") + replace(\"aXa\", \"X\", \"yy\")'", Schema::Ecs, &record());
    assert_eq!((mapped.remap_error, &event.unwrap()["x"]), (None, &json!("a-bayya")));
}

#[test]
fn an_event_that_is_too_large_is_forwarded_as_it_is() {
    let mut record = record();
    record["primaryDescription"] = json!("x".repeat(1 << 20));
    let (event, mapped) = run("remap: '.x = 1'", Schema::Raw, &record);
    assert!(mapped.remap_error.unwrap().contains("programs accept at most 1048576"));
    assert_eq!(event.unwrap(), record);
}

/// Searches a text of 32 KiB again and again, which nothing but its end between two matches bounds.
const SLOW: &str = r"parse_regex_all!(text, r'(?P<q>[ab]*?a[ab]{1,60}?c)|(?P<z>b)')";
const TEXT: &str = "text = \"abababababababab\"; text = text + text + text + text + text + text + text + text; text = text + text + text + text + text + text + text + text; text = text + text + text + text + text + text + text + text; text = text + text + text + text";

#[test]
fn a_program_that_takes_too_long_is_told_apart_and_its_event_goes_on() {
    let untouched = run("{}", Schema::Ecs, &record()).0.unwrap();
    let slow = |key: &str, program: &str| json!({ key: program, "redact": ["user.name"] }).to_string();
    let remap = slow("remap", &format!(".message = \"changed\"\n{TEXT}\n.x = {SLOW}"));
    let condition = format!("{TEXT}; length({SLOW}) > 0");
    let drop = json!({ "drop": [condition], "redact": ["user.name"] }).to_string();
    for (transform, place) in [(&remap, "remap: "), (&drop, "drop[0]: ")] {
        let (event, mapped) = run(transform, Schema::Ecs, &record());
        let event = event.unwrap();
        let reason = mapped.remap_error.unwrap();
        assert!(mapped.remap_overran && mapped.dropped.is_none(), "{reason}");
        let line = if place == "remap: " { "line 3" } else { "line 1" };
        assert!(reason.starts_with(place) && reason.contains("more than 100 ms"), "{reason}");
        assert!(reason.contains("`parse_regex_all`") && reason.contains(line), "{reason}");
        assert_eq!(event["message"], untouched["message"]);
        assert!(event["user"].get("name").is_none(), "it is redacted all the same");
        let tags = event["tags"].as_array().unwrap();
        assert!(tags.contains(&json!(FAILED_TAG)) && tags.contains(&json!(OVERRAN_TAG)), "{tags:?}");
    }
    let (_, mapped) = run("remap: '.x = to_int!(.message)'", Schema::Ecs, &record());
    assert!(!mapped.remap_overran, "an error is none");
}

#[test]
fn an_argument_that_is_too_large_for_its_function_is_refused_by_name() {
    for (call, expected) in [
        ("parse_json!(text)", "an argument of `parse_json` is larger than 32768 bytes"),
        ("match(text, r'a')", "an argument of `match` is larger than 32768 bytes"),
        ("match(text, r'[ab]{300}c')", "an argument of `match` is larger than"),
        ("replace_with(text, r'a') -> |m| { m.string }", "an argument of `replace_with` is larger than 32768 bytes"),
        ("split(text, \"\")", "an argument of `split` is larger than 32768 bytes"),
        ("upcase(text + text + text + text + text + text + text + text)", "an argument of `upcase` is larger than"),
    ] {
        // 512 KiB.
        let text = format!("{TEXT}; text = text + text + text + text + text + text + text + text;");
        let text = format!("{text} text = text + text");
        let (_, mapped) = run(&json!({ "remap": format!("{text}\n.x = {call}") }).to_string(), Schema::Ecs, &record());
        let reason = mapped.remap_error.unwrap_or_else(|| panic!("{call}"));
        assert!(reason.contains(expected) && reason.contains("line 2, column"), "{call}: {reason}");
        assert!(!reason.contains("measured_argument") && !mapped.remap_overran, "{reason}");
    }
    for pattern in ["[ab]{5000}c", "(a{1,100}){1,100}", "(?:(?P<n>a)|b){2000}"] {
        let problem = problem(&json!({ "remap": format!(".x = match(\"\", r'{pattern}')") }).to_string());
        assert!(problem.contains("too large"), "{pattern}: {problem}");
    }
    for pattern in [r"^(?P<host>[\w.]+) - (?P<user>\w+) (?P<bytes>\d+) \[(?P<time>.*)\]$", r"(?i)^(powershell|cmd)\b.*"]
    {
        let program = format!("{TEXT}; text = slice!(text, 0, 32000)\n.x = match(text, r'{pattern}')");
        let (_, mapped) = run(&json!({ "remap": program }).to_string(), Schema::Ecs, &record());
        assert_eq!(mapped.remap_error, None, "usual ones search a text of full length");
    }
}

/// To measure an argument must not evaluate it twice.
#[test]
fn an_argument_is_evaluated_once() {
    let program = "\n.list = [\"a\", \"b\"]\n.joined = join!(del(.list), \"-\")\n.s = upcase(string!(del(.joined)))\n";
    let (event, mapped) = run(&json!({ "remap": program }).to_string(), Schema::Ecs, &record());
    assert_eq!(mapped.remap_error, None);
    let event = event.unwrap();
    assert_eq!((&event["s"], event.get("list"), event.get("joined")), (&json!("A-B"), None, None));
    let problem = problem("remap: '.x = measured_argument(1, \"upcase\", 1, 1)'");
    assert!(problem.contains("cannot be called here"), "{problem}");
}

#[test]
fn a_program_makes_no_event_that_is_too_large_or_takes_too_much_memory_as_a_value() {
    let program = format!(
        "{TEXT}\n.a = text\n.list = [text, text, text, text, text, text, text, text]\n.b = [.list, .list]\n.c = [.list, .list]"
    );
    let (event, mapped) = run(&json!({ "remap": program }).to_string(), Schema::Ecs, &record());
    assert!(mapped.remap_error.unwrap().contains("programs make at most 1048576"));
    assert!(event.unwrap().get("a").is_none());
    let mut record = record();
    record["data"] = json!(vec![json!({}); 30_000]);
    let (event, mapped) = run("remap: '.x = 1'", Schema::Raw, &record);
    assert!(mapped.remap_error.unwrap().contains("too many objects"));
    assert_eq!(event.unwrap(), record);
}

/// Reasons go to logs, pages, headers and dead letters, where nothing redacts them.
#[test]
fn a_reason_names_no_value_of_the_event() {
    const CANARY: &str = "jane.canary@example.com";
    let mut record = record();
    record["primaryDescription"] = json!(CANARY);
    for (program, reason) in [
        (".n = to_int!(.primaryDescription)", Some("remap: function call error for \"to_int\" at line 1, column 6")),
        (
            ".n = upcase(to_string!(parse_json!(.primaryDescription)))",
            Some("remap: function call error for \"parse_json\" at line 1, column 24"),
        ),
        (
            ".n = int!(.primaryDescription)",
            Some("remap: function call error for \"int\" at line 1, column 6: expected integer, got string"),
        ),
        (".n = parse_timestamp!(.primaryDescription, .primaryDescription)", None),
        (".n = parse_bytes!(.primaryDescription, \"b\")", None),
        (".n = parse_duration!(.primaryDescription, \"s\")", None),
        (".n = parse_key_value!(.primaryDescription)", None),
        (".n = parse_cef!(.primaryDescription)", None),
        (".n = parse_csv!(.primaryDescription + \"\\\"\")", None),
        (".n = parse_url!(.primaryDescription)", None),
        (".n = parse_int!(.primaryDescription)", None),
        (".n = parse_float!(.primaryDescription)", None),
        (".n = to_bool!(.primaryDescription)", None),
        (".n = to_float!(.primaryDescription)", None),
        (".n = ip_aton!(.primaryDescription)", None),
        (".n = ip_subnet!(\"10.0.0.1\", .primaryDescription)", None),
        (".n = format_timestamp!(now(), \"%c\", timezone: string!(.primaryDescription))", None),
        (".n = decode_base64!(.primaryDescription)", None),
        (".n = match_array!([.primaryDescription], 1)", None),
    ] {
        let transform = json!({ "remap": program, "redact": ["primaryDescription"] }).to_string();
        if Steps::check(&settings(&transform), &mut Compiler::default()).is_err() {
            assert!(reason.is_none(), "{program}");
            continue;
        }
        let (_, mapped) = run(&transform, Schema::Raw, &record);
        let Some(found) = mapped.remap_error else { continue };
        assert!(!found.contains("canary") && !found.contains("jane"), "{program}: {found}");
        assert!(found.starts_with("remap: ") && found.chars().count() <= 201, "{program}: {found}");
        if let Some(reason) = reason {
            assert_eq!(found, reason, "{program}");
        }
    }
}

/// In a store that several customers' pipelines write to, one could write in the name of another.
#[test]
fn a_program_cannot_change_where_an_event_is_from() {
    for program in [
        ".labels.pipeline = \"victim\"",
        ".labels = {}",
        ". |= { \"labels\": { \"pipeline\": \"victim\" } }",
        ".labels = merge(object!(.labels), { \"pipeline\": \"victim\" })",
        "del(.labels)",
        "del(.labels.pipeline)",
        ".\"labels.pipeline\" = \"victim\"",
        ".observer.hostname = \"victim.sentinelone.net\"",
        ".\"observer.hostname\" = \"victim.sentinelone.net\"",
        "del(.observer)",
        ".metadata.log_source = \"victim.sentinelone.net\"",
        ".\"metadata.labels\" = [\"pipeline:victim\"]",
        ".x, .labels.pipeline = to_int(.y)",
        ".labels[0] = {\"pipeline\": \"victim\"}",
        ".labels[-1].pipeline = \"victim\"",
        ".\"labels\"[0] = 1",
        ".observer[0] = {\"hostname\": \"victim.example\"}",
        ".observer.hostname[0] = \"victim\"",
        ".metadata[0] = 1",
        ".[0] = 1",
        ".x, .labels[0] = to_int(.y)",
        ".labels[0] |= {\"pipeline\": \"victim\"}",
    ] {
        let problem = problem(&json!({ "remap": program }).to_string());
        assert!(problem.contains("read-only"), "{program}: {problem}");
    }
    let others = run("remap: '.labels.mine = \"1\"'", Schema::Ecs, &record()).0.unwrap();
    assert_eq!((&others["labels"]["mine"], &others["labels"]["pipeline"]), (&json!("1"), &json!("acme")));
    for program in [
        ".metadata.labels = [\"pipeline:victim\"]",
        ".metadata.labels = push(array!(.metadata.labels), \" Pipeline:victim\")",
        ".metadata.labels = \"pipeline:victim\"",
        ".metadata.labels = map_values(array!(.metadata.labels)) -> |_v| { \"pipeline:victim\" }",
        "del(.metadata.labels)",
    ] {
        let event = run(&json!({ "remap": program }).to_string(), Schema::Ocsf, &record()).0.unwrap();
        assert_eq!(event["metadata"]["labels"], json!(["pipeline:acme"]), "{program}");
    }
    let added = ".metadata.labels = push(array!(.metadata.labels), \"severity:high\")";
    let event = run(&json!({ "remap": added }).to_string(), Schema::Ocsf, &record()).0.unwrap();
    assert_eq!(event["metadata"]["labels"], json!(["pipeline:acme", "severity:high"]));
}
