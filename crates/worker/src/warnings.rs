//! Warns of lanes that work, and probably do not do what was meant: duplicates, and scopes that the token does not see.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use s1_forwarder_engine::checkpoint::ledger::repair_between;
use s1_forwarder_engine::console::ConsoleSettings;
use s1_forwarder_engine::source::VisibleScopes;
use s1_forwarder_record::{LaneId, Stream, Timestamp};
use s1_forwarder_settings::Id;
use s1_forwarder_telemetry::{LaneWarnings, Telemetry, lane_span};
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::duplicates::{Duplicate, find_duplicates};
use crate::lanes::spec::LaneSpec;
use crate::pipeline::{Pipeline, TenantRules, arguments};
use crate::valid_pipelines::ValidPipelines;

/// Wait between two comparisons of all pipelines. Files that are written one after the other cause a change each.
const PAUSE: Duration = Duration::from_secs(2);
/// Lines that are logged for one change.
const MAX_LOGGED: usize = 100;

/// The warnings of the lanes that this process runs.
#[derive(Debug, Default)]
pub struct Warnings(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    duplicates: BTreeMap<LaneId, Duplicate>,
    /// By pipeline: the part of its scope that its token does not see.
    unseen: BTreeMap<String, Unseen>,
    /// The pairs of pipelines of which the log has said that one has duplicates of the other.
    reported: BTreeSet<(String, String)>,
    listings: HashMap<Listed, Listing>,
    /// The file of each pipeline.
    files: HashMap<String, String>,
}

/// The part of a scope that a token does not see.
#[derive(Debug)]
struct Unseen {
    text: Arc<str>,
    scope: ScopeOfToken,
    /// Time since when the console may have sent no records of this part. `None` if it sent all.
    since: Option<Timestamp>,
}

impl Unseen {
    /// Returns the commands that deliver the records that were not seen, up to `now`: for each stream, or for all
    /// streams (`None`).
    fn repairs(
        &self,
        scope: &ScopeOfToken,
        lanes: &[Arc<LaneSpec>],
        file: &str,
        flags: &str,
        now: Timestamp,
    ) -> Vec<(Option<Stream>, String)> {
        let Some(since) = self.since else { return Vec::new() };
        // Records that are younger than half of `overlap` are read again anyway.
        let is_read = |lane: &Arc<LaneSpec>| now.since(since) < lane.pull.overlap / 2;
        if lanes.iter().all(is_read) {
            return Vec::new();
        }
        if self.scope == *scope {
            let settles_after = lanes.iter().map(|lane| lane.pull.settles_after()).max().unwrap_or_default();
            return vec![(None, repair_between(since, now, settles_after, file, flags))];
        }
        // The ledger is a new one: `verify` compares the records of the former scope.
        let backfill = |stream| {
            let overlaps = lanes.iter().filter(|lane| lane.id.stream == stream).map(|lane| lane.pull.overlap);
            let until = now.minus(overlaps.min().unwrap_or_default() / 2).plus(Duration::from_secs(1));
            if until <= since {
                return None;
            }
            let command = format!(
                "to fetch it: s1-forwarder backfill {file} --stream {stream} --from {since:.0} --to {until:.0}{flags}"
            );
            Some((Some(stream), command))
        };
        let streams: BTreeSet<Stream> = lanes.iter().map(|lane| lane.id.stream).collect();
        streams.into_iter().filter_map(backfill).collect()
    }
}

/// The scope of a console that is asked for with one token.
#[derive(Debug, PartialEq, Eq)]
struct ScopeOfToken {
    host: String,
    /// References to the places of the tokens.
    tokens: Vec<String>,
    ids: [Box<[Id]>; 3],
}

/// The scopes of one level that a token sees, as last listed.
#[derive(Debug)]
struct Listing {
    started_at: Instant,
    seen: Arc<OnceCell<VisibleScopes>>,
}

/// Host and sources of a console's tokens, and the key of the settings that is compared with the list.
type Listed = (String, Vec<String>, &'static str);

fn tokens_of(console: &ConsoleSettings) -> Vec<String> {
    console.token.iter().map(|token| token.reference()).collect()
}

impl ScopeOfToken {
    fn of(console: &ConsoleSettings) -> Self {
        Self {
            host: console.url.host().to_owned(),
            tokens: tokens_of(console),
            ids: [console.accounts.clone(), console.sites.clone(), console.groups.clone()],
        }
    }
}

impl Warnings {
    /// Sets the files of the running pipelines, and the flags with which a command reads them.
    pub fn set_files<'a>(&self, pipelines: impl Iterator<Item = &'a Arc<Pipeline>>, flags: &str) {
        let files = pipelines.map(|pipeline| (pipeline.name.clone(), arguments(&pipeline.path) + flags));
        self.0.lock().files = files.collect();
    }

    /// Returns the arguments with which a command reads the pipeline.
    pub fn file_of(&self, pipeline: &str) -> String {
        self.0.lock().files.get(pipeline).cloned().unwrap_or_else(|| "FILE".to_owned())
    }

    /// Returns the scopes that the console's token sees, to be compared with this key of the settings. Pipelines with
    /// the same token share them. The console is asked again if the last request began `max_age` ago.
    pub fn listing(
        &self,
        console: &ConsoleSettings,
        key: &'static str,
        max_age: Duration,
    ) -> Arc<OnceCell<VisibleScopes>> {
        let new = || Listing { started_at: Instant::now(), seen: Arc::default() };
        let mut known = self.0.lock();
        let listed = (console.url.host().to_owned(), tokens_of(console), key);
        let listing = known.listings.entry(listed).or_insert_with(new);
        if listing.seen.initialized() && listing.started_at.elapsed() >= max_age {
            *listing = new();
        }
        listing.seen.clone()
    }

    /// Sets the text about the part of the scope that the token of a pipeline does not see, and logs a new text.
    /// `since` is when this may have begun.
    pub fn set_unseen(&self, pipeline: &str, console: &ConsoleSettings, text: Arc<str>, since: Option<Timestamp>) {
        let mut known = self.0.lock();
        let before = known.unseen.remove(pipeline);
        let is_new = before.as_ref().is_none_or(|before| before.text != text);
        let since = before.and_then(|before| before.since).or(since);
        let unseen = Unseen { text: text.clone(), scope: ScopeOfToken::of(console), since };
        known.unseen.insert(pipeline.to_owned(), unseen);
        drop(known);
        if is_new {
            warn!(pipeline, "{text}");
        }
    }

    /// Ends the warning about a pipeline's scope: the token sees the scope, or may not say so. Logs and returns what to
    /// do about the records that the token did not see, of a stream or of all streams.
    pub fn clear_unseen(
        &self,
        pipeline: &str,
        console: &ConsoleSettings,
        lanes: &[Arc<LaneSpec>],
        state_flags: &str,
        now: Timestamp,
    ) -> Vec<(Option<Stream>, String)> {
        let Some(before) = self.0.lock().unseen.remove(pipeline) else { return Vec::new() };
        let file = self.file_of(pipeline);
        let mut repairs = before.repairs(&ScopeOfToken::of(console), lanes, &file, state_flags, now);
        for (_, repair) in &mut repairs {
            *repair =
                format!("the warning about the scope is over; what was not seen does not come by itself; {repair}");
            warn!(pipeline, "{repair}");
        }
        repairs
    }

    fn set_duplicates(&self, pipelines: &[Arc<Pipeline>], duplicates: BTreeMap<LaneId, Duplicate>) {
        let names: BTreeSet<&str> = pipelines.iter().map(|pipeline| pipeline.name.as_str()).collect();
        let tokens = |pipeline: &Arc<Pipeline>| (pipeline.console.url.host().to_owned(), tokens_of(&pipeline.console));
        let tokens: HashSet<(String, Vec<String>)> = pipelines.iter().map(tokens).collect();
        let mut known = self.0.lock();
        known.duplicates = duplicates;
        known.unseen.retain(|pipeline, _| names.contains(pipeline.as_str()));
        known.listings.retain(|(host, of, _), _| tokens.contains(&(host.clone(), of.clone())));
    }

    /// Gives each lane that runs its warnings, and logs duplicates that are new.
    pub fn show(&self, telemetry: &Telemetry) {
        let mut known = self.0.lock();
        let Known { duplicates, unseen, reported, .. } = &mut *known;
        let (mut duplicate, mut unseen_scope) = (0, 0);
        let mut running = BTreeSet::new();
        for lane in telemetry.running_lanes() {
            let mut warnings = LaneWarnings { duplicate_of: None, unseen: None };
            warnings.unseen = unseen.get(&lane.id.pipeline).map(|unseen| unseen.text.clone());
            if let Some(Duplicate { shown, .. }) = duplicates.get(&lane.id) {
                duplicate += 1;
                warnings.duplicate_of = shown.as_ref().map(|shown| shown.to_string().into());
                running.insert(lane.id.pipeline.clone());
            }
            unseen_scope += i64::from(warnings.unseen.is_some());
            lane.set_warnings(warnings);
        }
        telemetry.process().duplicate_lanes().set(duplicate);
        telemetry.process().unseen_scope_lanes().set(unseen_scope);
        telemetry.process().unused_tokens().set(i64::try_from(telemetry.unused_tokens()).unwrap_or(i64::MAX));
        // By each two pipelines, whichever is the first: one lane with its duplicate, and how many lanes it has.
        let mut pairs: BTreeMap<(&str, &str), (&LaneId, &LaneId, usize)> = BTreeMap::new();
        for (id, Duplicate { of, .. }) in duplicates.iter().filter(|(id, _)| running.contains(&id.pipeline)) {
            let (one, other) = (id.pipeline.as_str(), of.pipeline.as_str());
            let (first, _, lanes) = pairs.entry((one.min(other), one.max(other))).or_insert((id, of, 0));
            *lanes += usize::from(first.pipeline == id.pipeline);
        }
        let pairs: BTreeMap<(String, String), _> =
            pairs.into_iter().map(|((one, other), lanes)| ((one.to_owned(), other.to_owned()), lanes)).collect();
        let new: Vec<_> = pairs.iter().filter(|(pair, _)| !reported.contains(*pair)).collect();
        for (_, (id, of, lanes)) in new.iter().take(MAX_LOGGED) {
            // Both say the same, whichever of them ran first.
            let (id, of) = if id.pipeline <= of.pipeline { (id, of) } else { (of, id) };
            lane_span(id).in_scope(|| {
                warn!(
                    duplicate_of = %of,
                    lanes,
                    "another pipeline's lane sends the same records to the same place: each arrives twice"
                );
            });
        }
        if let Some(more) = new.len().checked_sub(MAX_LOGGED).filter(|more| *more > 0) {
            warn!(more, "more pipelines have lanes that are duplicates: `check` and the status page name them");
        }
        for (pipeline, other) in reported.iter().filter(|pair| !pairs.contains_key(*pair)).take(MAX_LOGGED) {
            info!(%pipeline, %other, "the pipeline has no duplicates of the other one's lanes any more");
        }
        *reported = pairs.into_keys().collect();
    }
}

/// Looks for duplicates when the pipelines have changed. Never returns.
pub async fn follow_pipelines(
    warnings: Arc<Warnings>,
    valid: Arc<ValidPipelines>,
    tenants: TenantRules,
    telemetry: Arc<Telemetry>,
) {
    loop {
        valid.changed().await;
        let pipelines = valid.all();
        let tenants = tenants.clone();
        // Secrets are read, whose file system may not answer.
        let found = spawn_blocking(move || (find_duplicates(&pipelines, &tenants, true), pipelines)).await;
        if let Ok((duplicates, pipelines)) = found {
            warnings.set_duplicates(&pipelines, duplicates);
            warnings.show(&telemetry);
        }
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::new_token::tests::Rotation;

    #[tokio::test]
    async fn the_end_of_a_warning_says_what_delivers_what_was_not_seen() {
        let rotation = Rotation::new();
        let console = &rotation.lanes[0].console;
        let since = Timestamp::from_micros(1_790_000_000_000_000);
        let now = Timestamp::from_micros(1_790_003_600_000_000);
        let warnings = Warnings::default();
        warnings.set_unseen("acme", console, "not 2".into(), Some(since));
        warnings.set_unseen("acme", console, "not 3".into(), Some(now));
        let lanes = &rotation.lanes;
        let known = warnings.0.lock();
        let unseen = &known.unseen["acme"];
        assert_eq!(
            unseen.repairs(&ScopeOfToken::of(console), lanes, "p/acme.yaml", " --state file:s", now),
            [(
                None,
                "from 2026-09-21T16:28:31Z on: s1-forwarder verify p/acme.yaml \
              --from 2026-09-21T14:00:00Z --to 2026-09-21T16:00:00Z --repair --state file:s"
                    .to_owned()
            )],
            "the console sends it now"
        );
        let mut other = ConsoleSettings::clone(console);
        other.sites = ["100000000000000007".parse().unwrap()].into();
        assert_eq!(
            unseen.repairs(&ScopeOfToken::of(&other), lanes, "FILE", "", now),
            [(
                Some(Stream::Activities),
                "to fetch it: s1-forwarder backfill FILE --stream activities --from 2026-09-21T14:13:20Z \
                 --to 2026-09-21T15:10:51Z"
                    .to_owned()
            )],
            "the file has another scope"
        );
    }
}
