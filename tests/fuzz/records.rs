//! Every kind of record through every schema.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use serde::de::IgnoredAny;
use serde_json::Value;

use super::bodies::examples;
use super::{Target, assert_shown, outline, processor_time};
use crate::record::{RecordSplitter, Stream};
use crate::transform::{MapError, Origin, RedactionKeys, Schema, Steps, TransformSettings, Transformer};

const SCHEMAS: [Schema; 3] = [Schema::Ecs, Schema::Ocsf, Schema::Raw];

const WORDS: &[&str] = &[
    "id",
    "threatInfo",
    "agentDetectionInfo",
    "agentRealtimeInfo",
    "indicators",
    "mitigationStatus",
    "containerInfo",
    "kubernetesInfo",
    "threatId",
    "createdAt",
    "updatedAt",
    "filePath",
    "fileSize",
    "sha1",
    "sha256",
    "md5",
    "confidenceLevel",
    "classification",
    "engines",
    "agentIpV4",
    "externalIp",
    "cloudProviders",
    "networkInterfaces",
    "inet",
    "physical",
    "processUser",
    "tactics",
    "techniques",
    "name",
    "link",
    "labels",
    "activityType",
    "data",
    "osFamily",
    "userId",
    "username",
    "email",
    "newValue",
    "ipAddress",
    "computerName",
    "alertInfo",
    "ruleInfo",
    "sourceProcessInfo",
    "targetProcessInfo",
    "alertId",
    "eventType",
    "srcIp",
    "dnsResponse",
    "loginIsSuccessful",
    "severity",
    "registrationToken",
    "site",
    "licenseKey",
    "tags",
    "detectionTime",
    "attacks",
    "observables",
    "cveId",
    "baseScore",
    "CORP\\jane",
    "user@example.com",
    "DNS",
    "FILECREATION",
    "T1059.001",
    "malicious",
    "27",
    "3608",
];

/// The mapper of a stream and a schema; `variant` is its settings.
fn transformer(stream: Stream, schema: Schema, variant: usize) -> Transformer {
    let settings = serde_json::json!({
        "keep_original": variant & 1 == 1,
        "labels": { "customer": "acme", "site": "{site.name}" },
        "redact": if variant & 2 == 2 {
            serde_json::json!(["process.command_line", { "path": "user.name", "with": "replace" }])
        } else {
            serde_json::json!([])
        },
    });
    let settings: TransformSettings = serde_json::from_value(settings).unwrap();
    let origin = Origin { pipeline: "acme".to_owned(), console_host: "console.example".to_owned(), stream };
    let steps = Steps::new(&settings, schema, None, RedactionKeys::OfTests).unwrap().map(Arc::new);
    Transformer::new(&settings, schema, origin).with_steps(steps)
}

/// What mapping has cost this thread.
struct Spent {
    processor: Duration,
    /// Bytes, in all. Only a build with programs has the allocator that counts them.
    allocated: u64,
}

impl Spent {
    /// Bounds what was spent on a record of `record` bytes, of which `written` were written. An event names a value in
    /// several fields, and may have all of the record as a text; small records have what each event has.
    fn assert_bounded(&self, record: usize, written: usize) {
        let Self { processor, allocated } = *self;
        assert!(written <= 8 * record + 8 * 1024, "{written} bytes of {record}");
        assert!(allocated <= (500 * record + 1024 * 1024) as u64, "{allocated} bytes were allocated for {record}");
        // A hundred times what it takes, so that no busy machine is a finding.
        let most = Duration::from_millis(500) + Duration::from_micros(100) * u32::try_from(record).unwrap();
        assert!(processor <= most, "{processor:?} for {record} bytes");
    }

    fn so_far() -> Self {
        #[cfg(feature = "remap")]
        let allocated = tikv_jemalloc_ctl::thread::allocatedp::read().unwrap().get();
        #[cfg(not(feature = "remap"))]
        let allocated = 0;
        Self { processor: processor_time(), allocated }
    }

    fn since(&self) -> Self {
        let Self { processor, allocated } = Self::so_far();
        Self { processor: processor - self.processor, allocated: allocated - self.allocated }
    }
}

#[test]
fn records() {
    let variants = Stream::ALL.len() * SCHEMAS.len() * 4;
    let transformers: Vec<_> = (0..variants)
        .map(|number| {
            let stream = number % Stream::ALL.len();
            let rest = number / Stream::ALL.len();
            let transformer = transformer(Stream::ALL[stream], SCHEMAS[rest % SCHEMAS.len()], rest / SCHEMAS.len());
            (RefCell::new(transformer), SCHEMAS[rest % SCHEMAS.len()])
        })
        .collect();
    let mut seeds = Vec::new();
    for (index, (_, record)) in examples().into_iter().enumerate() {
        for rest in 0..SCHEMAS.len() * 4 {
            let header = u8::try_from(rest * Stream::ALL.len() + index).unwrap();
            seeds.push([&[header][..], record.to_string().as_bytes()].concat());
        }
    }
    Target { name: "records", seeds, words: WORDS, header: 1 }.run(|input| {
        let Some((variant, record)) = input.split_first() else { return String::new() };
        let number = usize::from(*variant) % variants;
        let (transformer, schema) = &transformers[number];
        let mut out = Vec::new();
        let before = Spent::so_far();
        let mapped = transformer.borrow_mut().map(record, &mut out);
        let spent = before.since();
        let is_record = serde_json::from_slice::<Value>(record).is_ok_and(|record| record.is_object());
        spent.assert_bounded(record.len(), out.len());
        if *schema != Schema::Raw {
            let is_json = serde_json::from_slice::<IgnoredAny>(&out).is_ok();
            assert!(is_json, "whatever the record is: {}", String::from_utf8_lossy(&out));
        }
        if is_record && *schema != Schema::Raw {
            let event = serde_json::from_slice::<Value>(&out).unwrap_or_else(|error| {
                panic!("{error}: {}", String::from_utf8_lossy(&out));
            });
            assert!(event.is_object() && !out.contains(&b'\n'), "{event}");
            // Which fields there are is what differs from one path through the mapping to another.
            let keys = |value: &Value| value.as_object().map(|map| map.keys().cloned().collect::<Vec<_>>().join(","));
            return format!("{number} {:?} {}", result_of(&mapped.err()), keys(&event).unwrap_or_default());
        }
        format!("{number} {:?}", result_of(&mapped.err()))
    });
}

/// The input of `map`: lines, arrays and pages.
#[test]
fn input_of_map() {
    let mut seeds = Vec::new();
    for (index, (_, record)) in examples().into_iter().enumerate() {
        let pretty = serde_json::to_string_pretty(&record).unwrap();
        let texts = [
            format!("{record}\n{record}\n"),
            format!("[{record},\n{record}]"),
            format!("{{\"data\":[{pretty}],\"pagination\":{{}}}}\n"),
            format!("{{\n\"data\":{{\"alerts\":{{\"edges\":[{{\"node\":{record}}}]}}}}}}"),
            pretty,
        ];
        let header = u8::try_from(index).unwrap();
        seeds.extend(texts.into_iter().map(|text| [&[header][..], text.as_bytes()].concat()));
    }
    Target { name: "map", seeds, words: WORDS, header: 1 }.run(|input| {
        let Some((stream, text)) = input.split_first() else { return String::new() };
        let mut splitter = RecordSplitter::new(text, Stream::ALL[usize::from(*stream) % Stream::ALL.len()]);
        let mut records = 0_usize;
        loop {
            match splitter.next_record() {
                Ok(Some(record)) => {
                    let at = usize::try_from(record.offset).unwrap();
                    assert_eq!(&text[at..at + record.bytes.len()], record.bytes);
                    records += 1;
                }
                Ok(None) => return format!("{}", records.min(3)),
                Err(error) => {
                    assert_shown(&error.to_string());
                    return format!("{} {}", records.min(3), outline(&error.to_string()));
                }
            }
        }
    });
}

fn result_of(error: &Option<MapError>) -> String {
    error.as_ref().map(|error| outline(&error.to_string())).unwrap_or_default()
}
