//! Writes events as the objects of a HEC body. LogScale accepts the same format.

use std::io::Write;

use s1_forwarder_engine::sink::Event;
use s1_forwarder_record::member;
use serde_json::json;

use crate::http::transport::framing::label_members;
use crate::{BuildError, DestinationHash, SinkContext};

/// Metadata of each event, as templates.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Metadata<'a> {
    pub(crate) index: Option<&'a str>,
    pub(crate) source: Option<&'a str>,
    pub(crate) sourcetype: Option<&'a str>,
    pub(crate) host: Option<&'a str>,
}

/// [`Metadata`] with defaults, placeholders replaced, in the order of writing.
pub(crate) type Filled = Vec<(&'static str, String)>;

impl Metadata<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        [self.index, self.source, self.sourcetype, self.host] == [None; 4]
    }

    /// Source and host of an event do not decide where it arrives.
    pub(crate) fn describe_destination(
        &self,
        context: &SinkContext,
        hash: &mut DestinationHash<'_>,
    ) -> Result<(), BuildError> {
        for (name, value) in self.fill(context)?.iter().filter(|(name, _)| matches!(*name, "index" | "sourcetype")) {
            hash.text(name, value);
        }
        Ok(())
    }

    pub(crate) fn fill(&self, context: &SinkContext) -> Result<Filled, BuildError> {
        let default_type = format!("sentinelone:{}", context.lane.stream.singular());
        let host = self.host.map(|host| context.fill("host", host)).transpose()?;
        let mut filled = vec![
            ("host", host.unwrap_or_else(|| context.hostname().to_owned())),
            ("source", context.fill("source", self.source.unwrap_or("s1:{stream}"))?),
            ("sourcetype", context.fill("sourcetype", self.sourcetype.unwrap_or(&default_type))?),
        ];
        if let Some(index) = self.index {
            filled.push(("index", context.fill("index", index)?));
        }
        Ok(filled)
    }
}

#[derive(Debug)]
pub(crate) struct Events {
    /// The text between the time and the event: metadata.
    before: String,
    /// The text after the event's own indexed fields: the indexed fields of the lane.
    after: String,
    /// Whether Splunk's app reads the events. If so, the record's site is an indexed field, and all events of a
    /// snapshot have its time. The app's search for assets looks back an hour only.
    for_app: bool,
}

/// The objects of a record that may name its site; the first is the record itself.
const SITES: [&str; 3] = ["", "agentRealtimeInfo", "agentDetectionInfo"];

/// Returns the JSON text of the site's name, if the record has one.
fn site(record: &[u8]) -> Option<&[u8]> {
    let objects = SITES.iter().map(|name| if name.is_empty() { record } else { member(record, name) });
    objects.map(|object| member(object, "siteName")).find(|value| value.starts_with(b"\"") && *value != b"\"\"")
}

impl Events {
    pub(crate) fn new(metadata: &Filled, context: &SinkContext) -> Self {
        let keys = metadata.iter().map(|(key, value)| format!(r#""{key}":{},"#, json!(value)));
        let labels = label_members(context);
        Self {
            before: format!(r#"{}"event":"#, keys.collect::<String>()),
            after: format!(
                r#","pipeline":{},"stream":"{}"{labels}}}}}"#,
                json!(context.lane.pipeline),
                context.lane.stream
            ),
            for_app: false,
        }
    }

    /// See [`Self::for_app`].
    pub(crate) fn for_app(self, for_app: bool) -> Self {
        Self { for_app, ..self }
    }

    pub(crate) fn write(&self, event: Event<'_>, out: &mut Vec<u8>) {
        // Writing into a Vec cannot fail.
        let _ = out.write_all(b"{");
        let snapshot = event.snapshot.filter(|_| self.for_app);
        if let Some(time) = snapshot.or(event.time) {
            let millis = time.millis();
            let _ = write!(out, r#""time":{}.{:03},"#, millis.div_euclid(1_000), millis.rem_euclid(1_000));
        }
        out.extend_from_slice(self.before.as_bytes());
        out.extend_from_slice(event.body);
        let _ = write!(out, r#","fields":{{"event_id":"{}""#, event.identity);
        if let Some(error) = event.error {
            let _ = write!(out, r#","error":{}"#, json!(error));
        }
        if self.for_app
            && let Some(site) = site(event.body)
        {
            out.extend_from_slice(br#","siteName":"#);
            out.extend_from_slice(site);
        }
        out.extend_from_slice(self.after.as_bytes());
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use s1_forwarder_engine::sink::Batch;
    use s1_forwarder_record::{Identity, Stream, Timestamp};

    #[test]
    fn events_are_objects_one_after_another() {
        let context = SinkContext::sample();
        let mut batch = Batch::new(Stream::Threats);
        for (time, error) in [(Some(Timestamp::from_micros(1_789_547_400_123_456)), None), (None, Some("why \"so\""))] {
            batch.push_with("1", Identity::of("h", Stream::Threats, "1", ""), time, |out| {
                out.extend_from_slice(br#"{"id":"1"}"#);
                error.map(Into::into)
            });
        }
        let metadata = Metadata { index: Some("edr"), source: Some("s-{stream}"), ..Metadata::default() };
        let hec = Events::new(&metadata.fill(&context).unwrap(), &context);
        let mut out = Vec::new();
        batch.events().for_each(|event| hec.write(event, &mut out));
        let id = batch.event(0).unwrap().identity;
        let object = |error: &str| {
            format!(
                r#""host":"usea1-acme.sentinelone.net","source":"s-threats","sourcetype":"sentinelone:threat","index":"edr","event":{{"id":"1"}},"fields":{{"event_id":"{id}",{error}"pipeline":"acme","stream":"threats","label.customer":"acme-eu"}}}}"#
            )
        };
        let second = object(r#""error":"why \"so\"","#);
        assert_eq!(String::from_utf8(out).unwrap(), format!("{{\"time\":1789547400.123,{}\n{{{second}\n", object("")));
    }
}
