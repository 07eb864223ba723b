//! `redact`, and the secrets of the console that are redacted without being asked for.

use s1_forwarder::record::Stream;
use s1_forwarder::transform::{Compiler, Origin, RedactionKeys, Schema, Steps, Transformer};
use serde_json::{Value, json};

use super::{HOST, run, settings, transformer};

const KEY: &str = "a-key-of-32-bytes-for-this-test!";

fn record() -> Value {
    json!({ "id": "1", "activityType": 27, "createdAt": "2026-01-31T00:00:00Z", "secondaryDescription": "text",
        "data": { "username": "jane", "list": [{ "deep": "one" }, { "deep": 2 }, { "other": true }] } })
}

#[test]
fn values_are_removed_replaced_or_hashed_through_lists() {
    let transform = format!(
        "keep_original: true\nredact: [data.username, {{ path: data.list.deep, with: hash, key: {KEY} }}, \
         {{ path: secondaryDescription, with: replace }}, nothing.here]\n"
    );
    let (event, _) = run(&transform, Schema::Raw, &record());
    let event = event.unwrap();
    // printf one | openssl dgst -sha256 -hmac KEY, and the same of 2.
    let hash = |text: &str| {
        use hmac::{KeyInit, Mac};
        let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(KEY.as_bytes()).unwrap();
        mac.update(text.as_bytes());
        hex::encode(&mac.finalize().into_bytes()[..16])
    };
    assert_eq!(
        event,
        json!({ "id": "1", "activityType": 27, "createdAt": "2026-01-31T00:00:00Z", "secondaryDescription": "[redacted]",
            "data": { "list": [{ "deep": hash("one") }, { "deep": hash("2") }, { "other": true }] } })
    );
}

/// The paths of the record are redacted in the text that an event keeps of it, those of the event in the event.
#[test]
fn the_original_is_redacted_too() {
    for (schema, name) in [(Schema::Ecs, "/event/original"), (Schema::Ocsf, "/raw_data")] {
        let transform = "keep_original: true\nredact: [data.username, user.name, actor.user.name]\n";
        let (event, _) = run(transform, schema, &record());
        let event = event.unwrap();
        let original: Value = serde_json::from_str(event.pointer(name).unwrap().as_str().unwrap()).unwrap();
        assert!(original["data"].get("username").is_none() && original["data"]["list"][0]["deep"] == "one");
        let plain = run("keep_original: true", schema, &record()).0.unwrap();
        assert!(plain.pointer(name).unwrap().as_str().unwrap().contains("jane"));
        assert!(event.pointer("/user/name").or(event.pointer("/actor/user/name")).is_none(), "{event:#}");
    }
}

/// Events of a record, with the transform of a pipeline file.
fn events(transform: &str, record: &str) -> impl Iterator<Item = (Schema, String)> {
    [Schema::Ecs, Schema::Ocsf, Schema::Raw].into_iter().map(move |schema| {
        let mut out = Vec::new();
        let _ = transformer(&settings(transform), schema, Stream::Activities).map(record.as_bytes(), &mut out);
        (schema, String::from_utf8(out).unwrap())
    })
}

const PROGRAM: &str = "remap: '.added = 1'\n";

/// What cannot be searched is not in the event, whether it is beyond the levels of a record or of an event.
#[test]
fn nothing_escapes_in_a_record_with_many_levels() {
    for (levels, program) in [115, 119, 122, 125, 127, 300, 100_000].into_iter().flat_map(|n| [(n, ""), (n, PROGRAM)]) {
        let deep = format!("{}{{\"username\":\"jane\",\"x\":\"jane\"}}{}", "[".repeat(levels), "]".repeat(levels));
        let record = record().to_string().replace("\"id\"", &format!("\"deep\":{deep},\"id\""));
        for everywhere in [false, true] {
            // Everywhere, one path finds the rest. Otherwise each place has its own.
            let paths = if everywhere {
                "{ path: data.username, with: replace, everywhere: true }"
            } else {
                "data.username, deep, user.name, actor.user.name, related.user, message"
            };
            let transform = format!("keep_original: true\n{program}redact: [{paths}]\n");
            for (schema, event) in events(&transform, &record) {
                assert!(!event.contains("jane"), "{schema:?} {levels} {everywhere}: {event}");
                assert!(schema == Schema::Raw || event.contains("SentinelOne"), "{schema:?} {levels}: {event}");
            }
        }
    }
}

#[test]
fn conditions_hold_for_a_record_with_many_levels_and_large_numbers() {
    for levels in [100, 118, 119, 122, 125, 127, 128, 300] {
        let deep = format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        let record = record().to_string().replace("\"id\"", &format!("\"deep\":{deep},\"big\":-1e400,\"id\""));
        let condition = "drop: [ '.event.code == \"27\" || .metadata.event_code == \"27\" || .activityType == 27' ]";
        for redact in ["", "redact: [data]"] {
            for (schema, event) in events(&format!("{condition}\n{redact}\n"), &record) {
                // A raw record with more levels is one that cannot be mapped.
                let is_error = schema == Schema::Raw && levels > 119;
                assert_eq!(event.is_empty(), !is_error, "{schema:?} {levels}: {event}");
            }
        }
    }
}

/// Equal keys, in the record and in what an event has of it.
#[test]
fn each_value_of_a_key_is_redacted() {
    let record = r#"{"id":"1","activityType":27,"createdAt":"2026-01-31T00:00:00Z","note":"jane, bob, carl and dora",
        "data":{"username":"jane","username":"bob"},"data":{"username":"carl","user\u006eame":["dora"],"x":1.50}}"#;
    for program in ["", PROGRAM] {
        let transform = format!(
            "keep_original: true\n{program}redact: [{{ path: data.username, with: replace, everywhere: true }}]\n"
        );
        for (schema, event) in events(&transform, record) {
            assert!(!["jane", "bob", "carl", "dora"].iter().any(|name| event.contains(name)), "{schema:?}: {event}");
            assert!(event.contains("1.5"), "{schema:?}: {event}");
        }
    }
    let (_, raw) = events("redact: [nothing.here]", r#"{"id":"1","a":[1],"a":{"b":1e400},"n":0.10}"#).last().unwrap();
    assert_eq!(raw, r#"{"a":[[1],{"b":1e400}],"id":"1","n":0.10}"#);
}

#[test]
fn equal_values_stay_equal_under_one_key_only() {
    let hashed = |key: &str| {
        let transform = format!("redact: [{{ path: user.name, with: hash, key: {key} }}]");
        run(&transform, Schema::Ecs, &record()).0.unwrap()["user"]["name"].as_str().unwrap().to_owned()
    };
    assert_eq!((hashed(KEY), hashed(KEY).len()), (hashed(KEY), 32));
    assert_ne!(hashed(KEY), hashed("another-key-of-32-bytes-for-this"));
}

/// Entries at different paths that lead to one value.
#[test]
fn one_of_two_entries_for_a_value_holds() {
    let hash = format!("{{ path: data.username, with: hash, key: {KEY} }}");
    let all = format!("{{ path: data.username, with: hash, key: {KEY}, everywhere: true }}");
    let replace = "{ path: data, with: replace }".to_owned();
    for (entries, expected) in [
        ([&hash, &replace], Some(32)),
        ([&replace, &hash], Some("[redacted]".len())),
        ([&replace, &all], Some(32)),
        ([&all, &replace], Some(32)),
        ([&hash, &"data".to_owned()], None),
        ([&"data".to_owned(), &all], None),
        ([&"data.username".to_owned(), &replace], None),
        ([&replace, &"data.username".to_owned()], None),
    ] {
        let (event, _) = run(&format!("redact: {entries:?}").replace('"', ""), Schema::Raw, &record());
        let event = event.unwrap();
        let length = event.pointer("/data/username").and_then(Value::as_str).map(str::len);
        assert_eq!(length, expected, "{entries:?}: {event}");
        assert!(!event.to_string().contains("jane"), "{event}");
    }
}

#[test]
fn redactions_that_cannot_be_are_refused() {
    for (transform, expected) in [
        ("redact: ['']", "is not a path"),
        ("redact: ['a..b']", "is not a path"),
        ("redact: ['user.*']", "is not a path"),
        ("redact: ['user[0].name']", "is not a path"),
        ("redact: [.user.name]", "no dot at its beginning: write `user.name`"),
        ("redact: [$.user.name]", "no `$` at its beginning: write `user.name`"),
        ("redact: [$user.name]", "write `user.name`"),
        ("redact: [\"$['related'].user[*]\"]", "write `related.user`"),
        ("redact: ['$.process[0].parent.*']", "write `process.parent`"),
        ("redact: [$..name]", "`$..name` is not a path"),
        ("redact: ['$']", "`$` is not a path"),
        ("redact: [$.metadata.uid]", "has the identity of an event"),
        ("redact: [related.user.0]", "leave out `0`"),
        ("redact: ['@timestamp']", "need the time of an event"),
        ("redact: [{ path: a, with: remove, everywhere: true }]", "`with: hash` or `with: replace`"),
        ("redact: [{ path: a, with: hash, key: short }]", "fewer than 16 bytes"),
        ("redact: [{ path: a, with: hash }]", "needs a `key`"),
        ("redact: [{ path: a, with: remove, key: x }]", "a `key` is for `with: hash`"),
        ("redact: [{ path: metadata.uid, with: replace }]", "has the identity of an event"),
        // Only one of the two could hold.
        ("redact: [a, b, { path: a, with: replace }]", "redact[2]: redact[0] has `a` too"),
        ("redact: [{ path: a, with: replace }, { path: a, with: replace, everywhere: true }]", "redact[1]: redact[0]"),
    ] {
        let errors = Steps::check(&settings(transform), &mut Compiler::default()).unwrap_err();
        assert!(errors[0].to_string().contains(expected), "{transform}: {errors:?}");
    }
    let twice = settings("redact: [a, { path: a, with: remove }, a.b]");
    assert_eq!(Steps::check(&twice, &mut Compiler::default()), Ok(()), "they do the same");
    let transform = settings("redact: [{ path: a, with: hash, key: { env: S1_NO_SUCH_VARIABLE } }]");
    assert_eq!(Steps::check(&transform, &mut Compiler::default()), Ok(()), "secrets are read when a lane starts");
    let error = Steps::new(&transform, Schema::Ecs, None, RedactionKeys::Configured).unwrap_err().to_string();
    assert!(error.contains("is not set"), "{error}");
    assert!(Steps::new(&transform, Schema::Ecs, None, RedactionKeys::OfTests).is_ok());
}

/// A user's name stands in many fields, in sentences and in the record: `everywhere` finds it in all of them.
#[test]
fn a_value_is_redacted_wherever_it_stands() {
    let mut record = record();
    record["primaryDescription"] = json!("The management user Jane (jane) logged in; janet did not.");
    record["data"]["path"] = json!(r"C:\Users\jane\file.txt");
    for (schema, path) in
        [(Schema::Ecs, "related.user"), (Schema::Ocsf, "actor.user.name"), (Schema::Raw, "data.username")]
    {
        let plain = run("keep_original: true", schema, &record).0.unwrap();
        let transform =
            format!("keep_original: true\nredact: [{{ path: {path}, with: hash, key: {KEY}, everywhere: true }}]\n");
        let (event, _) = run(&transform, schema, &record);
        let (event, text) = (event.clone().unwrap(), event.unwrap().to_string());
        assert!(plain.to_string().contains("(jane)"), "{schema:?}");
        assert!(!text.replace("janet", "").contains("jane"), "{schema:?}: {text}");
        assert!(text.contains("janet did not"), "{schema:?}: {text}");
        let hash = event.pointer("/related/user/0").or(event.pointer("/actor/user/name"));
        let hash = hash.or(event.pointer("/data/username")).unwrap().as_str().unwrap();
        assert_eq!(hash.len(), 32, "hashed once: {text}");
        assert!(text.matches(hash).count() >= 3, "{schema:?}: {text}");
        for identity in ["/sentinel_one/identity", "/metadata/uid"] {
            assert_eq!(event.pointer(identity), plain.pointer(identity));
        }
    }
}

/// A path that only the record has is as good as one of the event: what is there is replaced in both.
#[test]
fn a_value_at_a_path_of_the_kept_record_is_redacted_wherever_it_stands() {
    let mut record = record();
    record["primaryDescription"] = json!("The management user Jane (jane) logged in; janet did not.");
    record["data"]["byUser"] = json!("jane");
    record["data"]["link"] = json!("https://siem.example/?user=acme%5Cjane&by%3Djane");
    for (schema, original) in [(Schema::Ecs, "/event/original"), (Schema::Ocsf, "/raw_data"), (Schema::Raw, "")] {
        let transform = "keep_original: true\nredact: [{ path: data.username, with: replace, everywhere: true }]";
        let plain = run("keep_original: true", schema, &record).0.unwrap();
        assert!(plain.to_string().replace("janet", "").matches("jane").count() >= 5, "{schema:?}: {plain}");
        let event = run(transform, schema, &record).0.unwrap();
        let text = event.to_string();
        assert!(!text.replace("janet", "").contains("jane"), "{schema:?}: {text}");
        let kept = event.pointer(original).unwrap();
        let kept = kept.as_str().map_or_else(|| kept.clone(), |text| serde_json::from_str(text).unwrap());
        assert_eq!(kept["data"]["link"], "https://siem.example/?user=acme%5C[redacted]&by%3D[redacted]");
        assert_eq!((&kept["data"]["username"], &kept["data"]["byUser"]), (&json!("[redacted]"), &json!("[redacted]")));
        for identity in ["/sentinel_one/identity", "/metadata/uid"] {
            assert_eq!(event.pointer(identity), plain.pointer(identity));
        }
    }
}

/// What has no field in the schema is copied under the record's names, in another spelling, and a key that the record
/// has twice gets a number.
#[test]
fn a_path_of_the_record_is_redacted_where_the_mapping_copied_it() {
    // A parser would keep one of the two.
    let record = r#"{"id":"1","activityType":27,"createdAt":"2026-01-31T00:00:00Z","data":{"username":"jane","fullScopeDetails":"jane","role":"r"},
        "data":{"username":"jane","fullName":"jane","list":[{"byUser":"jane"},{"byUser":"jane"}]},"data":{"username":"jane"}}"#;
    let paths = ["data.username", "data.fullName", "data.fullScopeDetails", "data.list.byUser"];
    for (schema, own, copied, repeated) in [
        // The text of unexpected values has those of one name as a list.
        (
            Schema::Ecs,
            ["user.name", "related.user"],
            "sentinel_one.activity.data.flattened.fullScopeDetails",
            r#"\"data_2\":[{"#,
        ),
        (Schema::Ocsf, ["user.name", "actor.user.name"], "unmapped.data.fullScopeDetails", r#""data_3":{"#),
    ] {
        let event = |transform: &str| {
            let mut out = Vec::new();
            transformer(&settings(transform), schema, Stream::Activities).map(record.as_bytes(), &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let plain = event("keep_original: true");
        assert!(plain.contains("data_2") && plain.contains(repeated) && plain.matches("jane").count() > 6, "{plain}");
        let all = [paths.as_slice(), &own].concat().join(", ");
        let redacted = event(&format!("keep_original: true\nredact: [{all}]"));
        assert!(!redacted.contains("jane") && redacted.contains("data_2"), "{schema:?}: {redacted}");
        // Two paths to one place: it is hashed once, as elsewhere.
        let hash = |path: &str| format!("{{ path: {path}, with: hash, key: {KEY} }}");
        let one = event(&format!("redact: [{}]", hash("data.fullScopeDetails")));
        let two = event(&format!("redact: [{}, {}]", hash("data.fullScopeDetails"), hash(copied)));
        assert_eq!(one.split("processed_time").next(), two.split("processed_time").next());
        assert_ne!(one.split("processed_time").next(), event("{}").split("processed_time").next());
    }
}

/// A value of another shape than its field has is in a text, with the path that it would have.
#[test]
fn a_path_is_redacted_in_the_text_of_unexpected_shapes() {
    let record =
        r#"{"id":"1","agentRealtimeInfo":{"agentOsType":{"full":"jane","short":"j"}},"brandNew":{"user":"jane"}}"#;
    let event = |transform: &str| {
        let mut out = Vec::new();
        transformer(&settings(transform), Schema::Ecs, Stream::Threats).map(record.as_bytes(), &mut out).unwrap();
        let event: Value = serde_json::from_slice(&out).unwrap();
        event["sentinel_one"]["threat"]["unexpected"].as_str().unwrap().to_owned()
    };
    let plain = r#"{"agent_realtime_info":{"agent_os_type":{"full":"jane","short":"j"}},"brand_new":{"user":"jane"}}"#;
    assert_eq!(event("{}"), plain);
    let own = "sentinel_one.threat.agent_realtime_info.agent_os_type.full";
    for path in ["agentRealtimeInfo.agentOsType.full", own] {
        let removed = plain.replacen(r#""full":"jane","#, "", 1);
        assert_eq!(event(&format!("redact: [{path}]")), removed, "{path}");
    }
    let everywhere = "redact: [{ path: brandNew.user, with: replace, everywhere: true }]";
    assert_eq!(event(everywhere), plain.replace("jane", "[redacted]"));
}

/// What a record has beyond the bounds is in a text, with its path. What had too many levels has no paths.
#[test]
fn a_path_is_redacted_beyond_the_bounds_of_a_record() {
    let many: Vec<_> =
        (0..10_000).map(|number| json!(number)).chain([json!({ "user": "jane" }), json!("kept")]).collect();
    let wide = json!({ "id": "1", "list": many, "alertInfo": { "alertId": "7" } }).to_string();
    let deep = format!(r#"{{"id":"1","list":{}{{"user":"jane"}}{},"other":"kept"}}"#, "[".repeat(300), "]".repeat(300));
    for (record, rest) in [(&wide, r#"{"list":[{"user":"[redacted]"},"kept"]}"#), (&deep, r#"{"list":"[redacted]"}"#)] {
        for schema in [Schema::Ecs, Schema::Ocsf] {
            let event = |transform: &str| {
                let mut out = Vec::new();
                let transformed =
                    transformer(&settings(transform), schema, Stream::Alerts).map(record.as_bytes(), &mut out).unwrap();
                assert!(transformed.mapped.overflowed);
                serde_json::from_slice::<Value>(&out).unwrap()
            };
            let own = if schema == Schema::Ecs { "/sentinel_one/alert/overflow" } else { "/unmapped/overflow" };
            assert!(event("{}").pointer(own).unwrap().as_str().unwrap().contains("jane"));
            let redacted = event("redact: [{ path: list.user, with: replace }]");
            assert_eq!(redacted.pointer(own).unwrap(), rest, "{schema:?}");
            let removed = event("keep_original: true\nredact: [list.user]").to_string();
            assert!(!removed.contains("jane") && removed.contains("kept"), "{schema:?}");
        }
    }
}

/// OCSF lists the values that analysts search by once more, with their paths.
#[test]
fn an_observable_is_redacted_with_its_path() {
    for (with, expected) in [("remove", None), ("replace", Some("[redacted]"))] {
        let redact = format!("redact: [{{ path: actor.user, with: {with} }}]");
        let event = run(&redact, Schema::Ocsf, &record()).0.unwrap();
        let observables = event["observables"].as_array().unwrap();
        let name = observables.iter().find(|one| one["name"] == "actor.user.name").unwrap();
        assert_eq!(name.get("value").and_then(Value::as_str), expected, "{event}");
    }
}

/// Schemas have a name without its domain in fields of their own.
#[test]
fn the_name_in_an_address_is_redacted_too() {
    let mut record = record();
    record["data"]["username"] = json!("jane.doe+x@corp.example");
    record["primaryDescription"] = json!("jane.doe+x@corp.example (jane.doe+x) logged in");
    record["data"]["url"] = json!("https://a.example/?user=jane.doe%2Bx%40corp.example");
    let transform = "keep_original: true\nredact: [{ path: data.username, with: replace, everywhere: true }]";
    for schema in [Schema::Ecs, Schema::Ocsf, Schema::Raw] {
        let event = run(transform, schema, &record).0.unwrap().to_string();
        assert!(!event.contains("jane.doe"), "{schema:?}: {event}");
    }
}

/// A record may use a value as a name.
#[test]
fn a_value_is_redacted_in_the_keys_of_a_record() {
    let mut record = record();
    record["data"]["logins"] =
        json!({ "jane": 1, "acme\\jane": { "jane": [{ "jane": 2 }] }, "janet": 3, "[redacted]": 4 });
    let transform = "keep_original: true\nredact: [{ path: data.username, with: replace, everywhere: true }]";
    for (schema, original) in [(Schema::Ecs, "/event/original"), (Schema::Ocsf, "/raw_data"), (Schema::Raw, "")] {
        let event = run(transform, schema, &record).0.unwrap();
        assert!(!event.to_string().replace("janet", "").contains("jane"), "{schema:?}: {event}");
        let kept = event.pointer(original).unwrap();
        let kept: Value = kept.as_str().map_or_else(|| kept.clone(), |text| serde_json::from_str(text).unwrap());
        let logins = kept["data"]["logins"].as_object().unwrap();
        let numbers = logins.iter().filter(|(key, _)| key.starts_with("[redacted]")).map(|(_, value)| value.as_i64());
        assert_eq!(numbers.flatten().sum::<i64>(), 5, "each value stays: {logins:?}");
        assert_eq!(logins["janet"], 3);
    }
}

/// A user may have the name of a field. Events keep their form, and other paths what they mean.
#[test]
fn a_user_with_the_name_of_a_field_changes_no_field() {
    for name in ["event", "user", "name", "original", "data", "sentinel_one", "activity", "identity", "metadata", "id"]
    {
        let mut record = record();
        record["data"]["username"] = json!(name);
        record["data"]["ipAddress"] = json!("192.0.2.77");
        let transform = "keep_original: true\nredact: [{ path: data.username, with: replace, everywhere: true }, \
                         { path: data.ipAddress, with: replace }, data.fullScopeDetails]";
        for (schema, required) in [
            (Schema::Ecs, &["/event/original", "/sentinel_one/identity", "/@timestamp", "/user/name"][..]),
            (Schema::Ocsf, &["/raw_data", "/metadata/uid", "/time"]),
            (Schema::Raw, &["/id", "/createdAt", "/data"]),
        ] {
            let event = run(transform, schema, &record).0.unwrap();
            for path in required {
                assert!(event.pointer(path).is_some(), "{name}: no {path} in {event}");
            }
            let kept = event.pointer(required[0]).and_then(Value::as_str).unwrap_or_default();
            let kept = if schema == Schema::Raw { event.to_string() } else { kept.to_owned() };
            assert!(!kept.contains("192.0.2.77"), "{name}: {kept}");
        }
    }
}

/// The identity is not looked into.
#[test]
fn an_identity_stays_even_if_a_value_is_in_it() {
    let plain = run("{}", Schema::Ecs, &record()).0.unwrap();
    let identity = plain["sentinel_one"]["identity"].as_str().unwrap();
    let mut record = record();
    record["secondaryDescription"] = json!(identity);
    let transform = "keep_original: true\nredact: [{ path: sentinel_one.activity.description.secondary, with: replace, everywhere: true }]";
    let (event, _) = run(transform, Schema::Ecs, &record);
    let event = event.unwrap();
    let before = run("{}", Schema::Ecs, &record).0.unwrap();
    assert_eq!(event["sentinel_one"]["identity"], before["sentinel_one"]["identity"]);
}

#[test]
fn paths_that_no_event_has_are_known() {
    let mut transformer = transformer(&settings("redact: [user.nmae, user.name]"), Schema::Ecs, Stream::Activities);
    assert_eq!(transformer.unmatched_redactions(), ["user.nmae", "user.name"]);
    transformer.map(record().to_string().as_bytes(), &mut Vec::new()).unwrap();
    assert_eq!(transformer.unmatched_redactions(), ["user.nmae"]);
}

/// It is not known what is at a path of a record that is not JSON: nothing of it is sent.
#[test]
fn a_record_that_cannot_be_read_is_redacted_as_a_whole() {
    for (schema, expected) in [
        (Schema::Ecs, r#""original":"[redacted]""#),
        (Schema::Ocsf, r#""raw_data":"[redacted]""#),
        (Schema::Raw, r#""[redacted]""#),
    ] {
        let mut out = Vec::new();
        let result = transformer(&settings("redact: [user.name]"), schema, Stream::Activities)
            .map(b"{\"name\":\"jane", &mut out);
        let event = String::from_utf8(out).unwrap();
        assert!(event.contains(expected) && !event.contains("jane"), "{event}");
        assert!(result.is_err() || schema == Schema::Raw);
        let cut = transformer(&settings("redact: [user.name]"), schema, Stream::Activities)
            .truncated(b"{\"name\":\"jane")
            .into_owned();
        assert_eq!(cut, br#""[redacted]""#);
    }
}

const SECRETS: [&str; 4] = ["licenseKey", "licenceKey", "registrationToken", "passphrase"];

fn with_secrets(stream: Stream) -> Value {
    let secrets = |at: &str| -> Value {
        SECRETS.iter().map(|key| (key.to_string(), json!(format!("CANARY {at} \" }}")))).collect()
    };
    let mut record = secrets("top");
    record["id"] = json!("1");
    record["name"] = json!("n");
    for inner in [
        "data",
        "threatInfo",
        "agentRealtimeInfo",
        "agentDetectionInfo",
        "alertInfo",
        "ruleInfo",
        "detectionTime",
        "analytics",
        "networkInterfaces",
        "unheardOf",
        "lastUpdatedBy",
        "_extra",
        "realTime",
    ] {
        record[inner] = secrets(inner);
        record[inner]["deeper"] = json!([{ "list": [secrets("deep")] }]);
        record[inner]["kept"] = json!(format!("kept {inner}"));
    }
    record["stream"] = json!(stream.name());
    record
}

/// Default: a secret of the console is in no event of any stream and schema, original and raw included.
#[test]
fn secrets_of_the_console_are_in_no_event() {
    for stream in Stream::ALL {
        for schema in [Schema::Ecs, Schema::Ocsf, Schema::Raw] {
            let record = with_secrets(stream).to_string();
            let map = |transform: &str, record: &str| {
                let mut out = Vec::new();
                let result = transformer(&settings(transform), schema, stream).map(record.as_bytes(), &mut out);
                (String::from_utf8(out).unwrap(), result.is_ok())
            };
            let (event, mapped) = map("keep_original: true", &record);
            assert!(mapped && !event.contains("CANARY"), "{stream} {schema:?}: {event}");
            assert!(event.contains("[redacted]") && event.contains("kept unheardOf"), "{stream} {schema:?}: {event}");
            serde_json::from_str::<Value>(&event).unwrap();
            // A record that cannot be mapped, with the secret cut off.
            let (cut, mapped) = map("{}", "{ \"licenseKey\" : { \"a\": \"CANARY");
            assert!(!cut.contains("CANARY") && (!mapped || schema == Schema::Raw), "{stream} {schema:?}: {cut}");
            let (open, _) = map("keep_original: true\nkeep_console_secrets: true", &record);
            assert!(open.contains("CANARY top"), "{stream} {schema:?}: the switch lets them through");
        }
    }
}

#[test]
fn what_only_looks_like_a_secret_stays() {
    let record = br#"{"id":"1","note":"the licenseKey\": x","licenseKeyName":"n","licenseKey":"","passphrase":null,"registrationToken": ["t"]}"#;
    let mut out = Vec::new();
    let origin = Origin { pipeline: "p".to_owned(), console_host: HOST.to_owned(), stream: Stream::Activities };
    let identity = {
        let mut out = Vec::new();
        Transformer::new(&settings("keep_original: true"), Schema::Ecs, origin.clone()).map(record, &mut out).unwrap();
        serde_json::from_slice::<Value>(&out).unwrap()["sentinel_one"]["identity"].clone()
    };
    Transformer::new(&settings("{}"), Schema::Raw, origin.clone()).map(record, &mut out).unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        r#"{"id":"1","note":"the licenseKey\": x","licenseKeyName":"n","licenseKey":"","passphrase":null,"registrationToken": "[redacted]"}"#
    );
    let mut open = Vec::new();
    let settings = settings("keep_original: true\nkeep_console_secrets: true");
    Transformer::new(&settings, Schema::Ecs, origin).map(record, &mut open).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&open).unwrap()["sentinel_one"]["identity"], identity);
}

/// A record that is not JSON is repaired first, raw ones too, so that there is a path to redact.
#[test]
fn a_damaged_record_is_redacted_and_not_replaced() {
    for (schema, path) in [
        (Schema::Ecs, "host.name"),
        (Schema::Ocsf, "device.hostname"),
        (Schema::Raw, "agentRealtimeInfo.agentComputerName"),
    ] {
        let transform = format!("keep_original: true\nredact: [{{ path: {path}, with: replace }}]\n");
        let mut transformer = transformer(&settings(&transform), schema, Stream::Threats);
        for damage in [&br"\ud83d"[..], b"\xff\xfe", b"\n", br"\x"] {
            let parts = [
                br#"{"id":"1000000000000000001","agentRealtimeInfo":{"agentComputerName":"PC1"},"#,
                &br#""threatInfo":{"threatName":"evil"#[..],
                damage,
                br#".exe","updatedAt":"2026-11-26T20:00:01Z"}}"#,
            ];
            let mut event = Vec::new();
            assert!(transformer.map(&parts.concat(), &mut event).unwrap().mapped.repaired);
            let event: Value = serde_json::from_slice(&event).unwrap();
            let found = path.split('.').fold(&event, |event, key| &event[key]);
            assert_eq!(found, "[redacted]", "{event:#}");
            assert!(event.to_string().contains("1000000000000000001"));
        }
    }
}
