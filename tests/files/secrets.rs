//! No secret reaches an error, a log, Debug or Serialize output: every place that can hold one holds a canary, and
//! everything that can be printed is searched for it.

use std::fs;

use s1_forwarder::pipeline::{FileOptions, Loaded, load};
use s1_forwarder::settings::Credential;

const CANARY: &str = "canary7f3a";

fn everything_printable(loaded: &Loaded) -> String {
    let mut out = format!("{loaded:?} {loaded:#?}");
    for problem in &loaded.problems {
        out += &format!("{problem} {problem:?} {}", serde_json::to_string(problem).unwrap());
    }
    for pipeline in &loaded.pipelines {
        out += &serde_json::to_string(&pipeline.console).unwrap();
        out += &serde_json::to_string(&pipeline.transform).unwrap();
        out += &format!(
            "{:?} {}",
            Credential::new(pipeline.console.token.first().clone()),
            pipeline.console.token.first().reference()
        );
    }
    out
}

fn load_text(text: &str) -> Loaded {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("acme.yaml"), text).unwrap();
    load(&[directory.path().to_owned()], &FileOptions::default())
}

const VALID: &str = r#"
console: { url: https://c.example, token: CANARY, proxy: "http://user:CANARY@proxy.example:3128" }
streams: { threats: {} }
sinks:
  - { name: a, type: http, url: "https://siem.example/CANARY?key=CANARY", headers: { Authorization: CANARY, X-Any: CANARY } }
  - { name: b, type: http, url: "https://siem.example/", auth: { type: basic, user: u, password: CANARY } }
  - { name: c, type: http, url: "https://siem.example/", auth: { type: bearer, token: CANARY } }
  - { name: d, type: http, url: "https://siem.example/", auth: { type: hmac, secret: CANARY } }
  - { name: e, type: http, url: "https://siem.example/", proxy: "http://u:CANARY@p.example", auth: { type: oauth2, token_url: "https://login.example/", client_id: i, client_secret: CANARY } }
  - { name: f, type: kafka, brokers: ["kafka:9092"], topic: t, options: { security.protocol: SASL_SSL, linger.ms: 5, enable.idempotence: true, client.id: CANARY, sasl.password: CANARY } }
"#;

#[test]
fn valid_files_do_not_print_their_secrets() {
    let loaded = load_text(&VALID.replace("CANARY", CANARY));
    assert_eq!(loaded.pipelines.len(), 1, "{:?}", loaded.problems);
    let printed = everything_printable(&loaded);
    assert!(!printed.contains(CANARY), "{printed}");
    // Each secret in the file is warned of, once.
    let warned: Vec<_> = loaded.problems.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(
        warned,
        [
            "console.token",
            "sinks[0].headers.Authorization",
            "sinks[1].auth.password",
            "sinks[2].auth.token",
            "sinks[3].auth.secret",
            "sinks[4].auth.client_secret",
            "sinks[5].options.sasl.password"
        ]
    );
}

/// Whatever stands where a secret belongs, and however wrong the rest is, the error does not repeat it.
#[test]
fn errors_do_not_print_secrets() {
    let shapes = [
        "CANARY",
        "[CANARY]",
        "{ CANARY: x }",
        "{ value: CANARY }",
        "{ file: [CANARY] }",
        "{ file: x, env: CANARY, CANARY: y }",
        "{ env: { CANARY: CANARY } }",
        "'CANARY' x",
        "\"CANARY",
        "CANARY: CANARY",
        "|\n      CANARY\n  x: CANARY",
        "!tag CANARY",
        "*CANARY",
    ];
    let places = [
        "console: { url: https://c.example, token: % }\nstreams: { threats: {} }\nsinks: [{ type: stdout }]\n",
        "console:\n  url: https://c.example\n  token: %\nstrems: { threats: {} }\n",
        "console: { url: 'https://user:%@c.example', token: { env: T } }\n",
        "console: { url: 'https://:%@', token: { env: T } }\n",
        "console: { url: c.example, token: { env: T }, proxy: % }\n",
        "sinks: [{ type: http, url: % }]\n",
        "sinks: [{ type: kafka, brokers: [b], topic: t, options: { sasl.password: % } }]\n",
        "sinks: [{ type: kafka, brokers: [b], topic: t, options: % }]\n",
        "sinks: [{ type: http, url: 'https://x.example', auth: % }]\n",
        "sinks: [{ type: http, url: 'https://x.example', auth: { type: basic, user: u, password: % } }]\n",
        "sinks: [{ type: http, url: 'https://x.example', auth: { type: bearer, tokn: % } }]\n",
        "sinks: [{ type: http, url: 'https://x.example', headers: { Authorization: % } }]\n",
        "sinks: [{ type: http, url: 'https://x.example', headers: % }]\n",
        "sinks: [{ type: kafka, brokers: [b], topic: t, options: { sasl.password: % } }]\n",
        "sinks: [{ type: splunk_hec, url: 'https://x.example', token: % }]\n",
    ];
    for place in places {
        for shape in shapes {
            let text = place.replace('%', shape).replace("CANARY", CANARY);
            let loaded = load_text(&text);
            let printed = everything_printable(&loaded);
            assert!(!printed.contains(CANARY), "{text}\n{printed}");
        }
        // A number is no text, but may be a secret all the same.
        let loaded = load_text(&place.replace('%', "8141592653589793"));
        let printed = everything_printable(&loaded);
        assert!(!printed.contains("8141592653589793"), "{place}\n{printed}");
    }
}
