use std::time::Duration;

use s1_forwarder::destinations::SinkSettings;
use s1_forwarder::destinations::settings::{schema, types};
use s1_forwarder::transform::Schema;
use serde_json::{Value, json};

use crate::support::batches::settings;

fn refused(keys: Value) -> String {
    serde_json::from_value::<SinkSettings>(keys).unwrap_err().to_string()
}

#[test]
fn common_keys_and_own_keys_live_side_by_side() {
    let settings = settings(json!({
        "type": "http", "name": "siem", "url": "https://siem.example/in", "streams": ["threats"], "schema": "raw",
        "batch": { "events": 10, "bytes": "1MiB", "timeout": "2s" }, "compression": "zstd",
        "retry": { "initial": "1s", "max": "5s" }, "concurrency": 9, "timeout": "3s", "format": "json_array",
    }));
    assert_eq!((settings.name(), settings.concurrency()), ("siem", 9));
    assert_eq!(settings.batch_timeout(), Duration::from_secs(2));
    assert_eq!(settings.common.retry.max.0, Duration::from_secs(5));
    let limits = settings.build(&crate::support::batches::context(s1_forwarder::record::Stream::Threats)).unwrap();
    assert_eq!((limits.limits().events, limits.limits().bytes), (10, 1 << 20));
}

#[test]
fn what_is_silent_has_the_defaults_of_its_type() {
    let http = settings(json!({ "type": "http", "url": "https://siem.example/in" }));
    assert_eq!((http.name(), http.concurrency(), http.batch_timeout()), ("http", 4, Duration::from_secs(1)));
    let stdout = settings(json!({ "type": "stdout", "concurrency": 4 }));
    assert_eq!((stdout.name(), stdout.concurrency()), ("stdout", 1), "lines of one stream stay in order");
}

#[test]
fn mistakes_are_named() {
    for (keys, part) in [
        (json!({ "url": "https://x" }), "a sink needs a `type`"),
        (json!({ "type": "slunk" }), "unknown sink type `slunk`; the types are"),
        (json!({ "type": "http", "url": "https://x", "fromat": "ndjson" }), "unknown field `fromat`"),
        (json!({ "type": "http" }), "missing field `url`"),
        (json!({ "type": "http", "url": "ftp://x" }), "begins with https://"),
        (json!({ "type": "http", "url": "https://user:canary@x" }), "not in the URL"),
        (json!({ "type": "http", "url": "https://x", "batch": { "event": 1 } }), "unknown field `event`"),
        (json!({ "type": "http", "url": "https://x", "concurrency": 0 }), "nonzero"),
        (json!({ "type": "http", "url": "https://x", "auth": { "type": "basic", "user": "u" } }), "password"),
        (json!({ "type": "file" }), "missing field `path`"),
    ] {
        let message = refused(keys.clone());
        assert!(message.contains(part) && !message.contains("canary"), "{keys} → {message}");
    }
}

#[test]
fn what_contradicts_itself_is_refused_when_it_is_built() {
    let context = crate::support::batches::context(s1_forwarder::record::Stream::Threats);
    for (keys, part) in [
        (json!({ "type": "stdout", "compression": "gzip" }), "`compression: gzip` is not supported"),
        (json!({ "type": "file", "path": "{nobody}.ndjson" }), "`{nobody}` is not a placeholder"),
        (json!({ "type": "http", "url": "https://x", "headers": { "a b": "c" } }), "`headers.a b`"),
        (json!({ "type": "http", "url": "https://x", "headers": { "Host": "c" } }), "sets this header itself"),
        (json!({ "type": "http", "url": "https://x", "tls": { "cert_file": "/nowhere" } }), "key_file"),
    ] {
        let message = settings(keys.clone()).build(&context).unwrap_err().to_string();
        assert!(message.contains(part), "{keys} → {message}");
    }
}

#[test]
fn headers_are_not_those_of_the_connection_and_hold_what_a_header_can() {
    let context = crate::support::batches::context(s1_forwarder::record::Stream::Threats);
    let built = |name: &str, value: &str| {
        let keys = json!({ "type": "http", "url": "https://x", "headers": { name: value } });
        settings(keys).build(&context).map_err(|error| error.to_string())
    };
    for name in [
        "CONNECTION",
        "Content-Encoding",
        "Content-Length",
        "expect",
        "Host",
        "Keep-Alive",
        "Proxy-Connection",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "Upgrade",
        "HTTP2-Settings",
    ] {
        let error = built(name, "c4nary").unwrap_err();
        assert!(error.contains(&format!("`headers.{name}`: the forwarder sets this header itself")), "{error}");
    }
    let error = built("Proxy-Authorization", "c4nary").unwrap_err();
    assert!(error.contains("write user name and password into `proxy`") && !error.contains("c4nary"), "{error}");
    for value in ["c4nary\r\nB: c", "c4nary\u{0}", "c4nary\u{7f}"] {
        let error = built("X-Tenant", value).unwrap_err();
        assert!(error.contains("`headers.X-Tenant`") && !error.contains("c4nary"), "{error}");
    }
    built("X-Tenant", "a b\n").unwrap();
    let hmac = json!({ "type": "hmac", "secret": "s", "header": "Host" });
    let keys = json!({ "type": "http", "url": "https://x", "auth": hmac });
    let error = settings(keys).build(&context).unwrap_err().to_string();
    assert!(error.contains("`auth.header`: the forwarder sets this header itself"), "{error}");
}

/// Their author could otherwise choose another host, or another resource of it.
#[test]
fn settings_that_become_a_part_of_a_url_stay_in_their_part() {
    let context = crate::support::batches::context(s1_forwarder::record::Stream::Threats);
    let aws = json!({ "type": "elasticsearch", "url": "https://x", "auth": { "type": "aws", "region": "eu-west-1" } });
    let datadog = json!({ "type": "datadog", "api_key": "k", "site": "us5.datadoghq.com" });
    let google = json!({
        "type": "google_secops", "project": "example.com:security-1", "location": "europe-west2", "instance": "1b-2c",
        "forwarder": "3d", "api_version": "v1alpha", "log_type": "X_{stream}", "metadata_server": true,
    });
    let azure = json!({
        "type": "azure_logs", "url": "https://x", "dcr_immutable_id": "dcr-1", "stream_name": "Custom-{stream}",
        "tenant_id": "contoso.onmicrosoft.com", "client_id": "c", "client_secret": "s",
    });
    let index = json!({ "type": "elasticsearch", "url": "https://x", "index": "events" });
    let leaves = ["x@127.0.0.1:22100/#", "../../other", "a/b", "a?b", "a\nb", ""];
    for (keys, pointers) in [
        (aws, &["/auth/region", "/auth/service"][..]),
        (datadog, &["/site"]),
        (google, &["/project", "/location", "/instance", "/forwarder", "/api_version"]),
        (azure, &["/dcr_immutable_id", "/tenant_id"]),
        (index, &["/index"]),
    ] {
        settings(keys.clone()).build(&context).unwrap();
        for pointer in pointers {
            for text in leaves {
                let mut changed = keys.clone();
                let (parent, key) = pointer.rsplit_once('/').unwrap();
                changed.pointer_mut(parent).unwrap()[key] = json!(text);
                let refused = settings(changed.clone()).build(&context).unwrap_err().to_string();
                assert!(refused.contains(&pointer[1..].replace('/', ".")), "{changed} → {refused}");
            }
        }
    }
    // Texts with placeholders are escaped, but for what has a meaning in every path.
    let dots = json!({
        "type": "azure_logs", "url": "https://x", "dcr_immutable_id": "d", "stream_name": "..", "managed_identity": true,
    });
    let refused = settings(dots).build(&context).unwrap_err().to_string();
    assert!(refused.contains("`stream_name`: `..` cannot be a part of the URL's path"), "{refused}");
}

/// Literals, in the file or from it, never come out of Debug.
#[test]
fn secrets_do_not_show() {
    let settings = settings(json!({
        "type": "http", "url": "https://siem.example/canary/in?key=canary", "headers": { "x-key": "canary" },
        "auth": { "type": "oauth2", "token_url": "https://id.example/canary", "client_id": "c", "client_secret": "canary" },
    }));
    let context = crate::support::batches::context(s1_forwarder::record::Stream::Threats);
    let shown = format!("{settings:?} {:?}", settings.build(&context).unwrap());
    assert!(!shown.contains("canary"), "{shown}");
    for keys in [
        json!({ "type": "splunk_hec", "url": "https://h", "token": "canary" }),
        json!({ "type": "sumo", "url": "https://h/receiver/v1/http/canary" }),
        json!({ "type": "sumo", "url": "https://h/receiver/v1/http", "code": "canary", "token": "canary" }),
        json!({ "type": "logscale", "url": "https://h", "token": "canary" }),
        json!({ "type": "panther", "url": "https://h/http/canary", "headers": { "x": "canary" } }),
    ] {
        let settings = crate::support::batches::settings(keys);
        let shown = format!("{settings:?} {:?}", settings.build(&context).unwrap());
        assert!(!shown.contains("canary"), "{shown}");
    }
}

/// Rows name each type: its keys, other values of those that decide where events arrive, and of some that do not.
#[test]
fn each_type_says_where_its_events_arrive() {
    let azure = json!({ "url": "https://a", "dcr_immutable_id": "dcr-1", "managed_identity": true });
    let secops = json!({ "project": "p", "location": "eu", "instance": "i", "metadata_server": true });
    let intake = json!({ "url": "https://a" });
    let with_token = json!({ "url": "https://a", "token": "t" });
    let auth = json!({ "auth": { "type": "basic", "user": "u", "password": "p" } });
    let cases = [
        ("http", intake.clone(), json!({ "url": "https://b", "headers": { "x": "y" } }), json!({ "envelope": true })),
        (
            "splunk_hec",
            with_token.clone(),
            json!({ "url": "https://b", "token": "u", "index": "i", "sourcetype": "s" }),
            json!({ "source": "s", "host": "h", "url": "https://a/services/collector/event" }),
        ),
        (
            "elasticsearch",
            intake.clone(),
            json!({ "url": "https://b", "data_stream": "logs-x-y", "index": "i", "content": "integration" }),
            json!({ "api_key": "k", "ingest_pipeline": "p", "manage_templates": false }),
        ),
        (
            "azure_logs",
            azure,
            json!({ "url": "https://b", "dcr_immutable_id": "dcr-2", "stream_name": "Custom-b" }),
            json!({ "client_id": "c" }),
        ),
        (
            "google_secops",
            secops,
            json!({ "project": "q", "location": "us", "instance": "j", "log_type": "L", "url": "https://b" }),
            json!({ "namespace": "n", "forwarder": "f" }),
        ),
        (
            "sekoia",
            json!({ "intake_key": "k" }),
            json!({ "intake_key": "l", "url": "https://b" }),
            json!({ "format": "batch" }),
        ),
        (
            "datadog",
            json!({ "api_key": "k" }),
            json!({ "api_key": "l", "site": "datadoghq.eu", "url": "https://b", "source": "s" }),
            json!({ "service": "s", "tags": { "a": "b" } }),
        ),
        ("otlp", intake.clone(), json!({ "url": "https://b", "headers": { "x": "y" } }), json!({ "encoding": "json" })),
        (
            "loki",
            intake.clone(),
            json!({ "url": "https://b", "tenant": "t", "auth": auth["auth"] }),
            json!({ "labels": { "a": "b" } }),
        ),
        (
            "sumo",
            intake.clone(),
            json!({ "url": "https://b", "code": "c", "token": "t", "source_category": "s" }),
            json!({ "source_name": "n", "fields": { "a": "b" } }),
        ),
        (
            "logscale",
            with_token,
            json!({ "url": "https://b", "token": "u", "index": "i", "sourcetype": "s" }),
            json!({ "source": "s" }),
        ),
        ("panther", intake, json!({ "url": "https://b", "headers": { "x": "y" } }), json!({ "envelope": true })),
        #[cfg(feature = "kafka")]
        (
            "kafka",
            json!({ "brokers": ["a:9092"], "topic": "t" }),
            json!({ "brokers": ["b:9092"], "topic": "u" }),
            json!({ "options": { "linger.ms": "5" }, "timestamp": "event" }),
        ),
        (
            "syslog",
            json!({ "address": "tls://a:6514" }),
            json!({ "address": "tls://a:6515" }),
            json!({ "payload": "cef", "app_name": "x" }),
        ),
        ("file", json!({ "path": "a" }), json!({ "path": "b" }), json!({ "envelope": true })),
        ("stdout", json!({}), json!({}), json!({ "envelope": true })),
    ];
    let names: Vec<&str> = cases.iter().map(|(name, ..)| *name).collect();
    assert_eq!(names.len(), types().len(), "a type is missing");
    let context = crate::support::batches::context(s1_forwarder::record::Stream::Threats);
    let hasher = s1_forwarder::destinations::DestinationHasher::new(false);
    for (name, base, moving, staying) in cases {
        let destination = |change: Option<(&String, &Value)>| {
            let mut keys = base.clone();
            keys["type"] = json!(name);
            if let Some((key, value)) = change {
                keys[key] = value.clone();
            }
            settings(keys).process_destination_id(&context, &hasher).unwrap()
        };
        for (changes, moves) in [(moving, true), (staying, false)] {
            for change in changes.as_object().unwrap() {
                assert_eq!(destination(Some(change)) != destination(None), moves, "{name}: {change:?}");
            }
        }
    }
}

#[test]
fn every_http_sink_takes_headers_and_pins() {
    for type_name in types().iter().filter(|name| !["kafka", "syslog", "file", "stdout"].contains(name)) {
        let schema = schema(type_name).unwrap();
        assert!(schema["properties"]["headers"].is_object(), "{type_name}");
        assert!(schema["properties"]["tls"]["properties"]["pin_sha256"].is_object(), "{type_name}");
    }
}

#[test]
fn the_destinations_own_limits_hold_whatever_batch_says() {
    let context = crate::support::batches::context(s1_forwarder::record::Stream::Threats);
    let much = json!({ "events": 1_000_000, "bytes": "1GiB" });
    for (keys, bytes) in [
        (json!({ "type": "splunk_hec", "url": "https://h", "token": "t" }), 838_860_800),
        (json!({ "type": "sumo", "url": "https://h/x" }), 1_000_000),
        (json!({ "type": "logscale", "url": "https://h", "token": "t" }), 5_000_000),
        (json!({ "type": "panther", "url": "https://h/x", "compression": "none" }), 900_000),
    ] {
        let mut keys = keys;
        keys["batch"] = much.clone();
        assert_eq!(settings(keys.clone()).build(&context).unwrap().limits().bytes, bytes, "{keys}");
    }
}

#[test]
fn each_page_is_in_the_index_and_each_type_with_a_page_has_its_example() {
    let index = std::fs::read_to_string("docs/sinks/README.md").unwrap();
    for file in std::fs::read_dir("docs/sinks").unwrap() {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if name == "README" {
            continue;
        }
        assert!(index.contains(&format!("({name}.md)")), "{name} is not in the index");
        if types().contains(&name) {
            let page = std::fs::read_to_string(&path).unwrap();
            let example = format!("pipelines/{name}.yaml");
            assert!(page.contains(&example) && std::path::Path::new(&example).exists(), "{name} has no example");
        }
    }
}

/// What `check` says to set is on the page too. Nothing is said where events have an identity.
#[test]
fn a_type_whose_events_may_have_no_identity_says_what_to_set() {
    let http = json!({ "url": "https://h/x" });
    let azure = json!({ "url": "https://h", "dcr_immutable_id": "dcr-0", "managed_identity": true });
    let hec = json!({ "url": "https://h", "token": "t" });
    let syslog = json!({ "address": "tcp://h:601" });
    let mapped = json!({ "schema": "ecs" });
    for (type_name, base, bare, helped, advice) in [
        ("file", json!({ "path": "x" }), json!({}), json!({ "envelope": true }), "`envelope: true`"),
        ("stdout", json!({}), json!({}), json!({ "envelope": true }), "`envelope: true`"),
        ("http", http.clone(), json!({}), json!({ "envelope": true }), "`envelope: true`"),
        ("sumo", http.clone(), json!({ "content": "integration" }), json!({ "envelope": true }), "`envelope: true`"),
        ("panther", http.clone(), json!({}), mapped.clone(), "`envelope: true`"),
        ("sekoia", json!({ "intake_key": "k" }), json!({}), mapped.clone(), "`schema: ecs`"),
        ("loki", http, json!({ "structured_metadata": false }), json!({}), "`structured_metadata: true`"),
        ("syslog", syslog, json!({ "format": "rfc3164" }), json!({}), "`format: rfc5424`"),
        ("splunk_hec", hec, json!({ "endpoint": "raw" }), json!({}), "`endpoint: event`"),
        ("azure_logs", azure, json!({ "content": "integration" }), json!({}), "`content: forwarder`"),
    ] {
        let with = |keys: &Value| {
            let mut all = json!({ "type": type_name });
            for part in [&base, keys] {
                all.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
            }
            settings(all).without_identity(Schema::Raw)
        };
        let said = with(&bare).unwrap_or_else(|| panic!("{type_name}: nothing is said"));
        assert!(said.contains(advice), "{type_name}: {said}");
        assert_eq!(with(&helped), None, "{type_name} {helped}");
        let page = std::fs::read_to_string(format!("docs/sinks/{type_name}.md")).unwrap();
        let section = page.split("\n## Is it still there?\n").nth(1).unwrap_or_else(|| panic!("{type_name}"));
        assert!(section.contains("no identity") && section.contains(advice), "{type_name}: {section}");
    }
}

#[test]
fn each_type_has_a_schema_of_its_own_that_needs_no_other() {
    for type_name in types() {
        let schema = schema(type_name).unwrap();
        assert_eq!(schema["additionalProperties"], false, "{type_name}");
        assert_eq!(schema["properties"]["type"], json!({ "const": type_name }));
        assert!(schema["properties"]["batch"]["properties"]["events"].is_object(), "{type_name} has the common keys");
        assert!(!schema.to_string().contains("$ref"), "{type_name}");
    }
    assert_eq!(schema("slunk"), None);
}

#[test]
fn a_schema_accepts_what_is_accepted_and_refuses_what_is_refused() {
    let http = jsonschema::validator_for(&schema("http").unwrap()).unwrap();
    let good = json!({
        "type": "http", "name": "siem", "url": "https://siem.example/in", "headers": { "x": { "env": "X" } },
        "auth": { "type": "hmac", "secret": { "file": "key" }, "form": "github" }, "batch": { "bytes": "5MiB" },
    });
    assert!(http.is_valid(&good), "{:?}", http.iter_errors(&good).map(|error| error.to_string()).collect::<Vec<_>>());
    settings(good);
    for bad in [
        json!({ "type": "http" }),
        json!({ "type": "http", "url": "https://x", "more": 1 }),
        json!({ "type": "file", "url": "https://x" }),
        json!({ "type": "http", "url": "https://x", "auth": { "type": "basic", "token": "t" } }),
    ] {
        assert!(!http.is_valid(&bad), "{bad}");
        refused(bad);
    }
}
