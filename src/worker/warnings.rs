//! Lanes that work, and probably do not do what was meant: duplicates, and scopes that the token does not see.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::context::WorkerContext;
use super::duplicates::{Duplicate, find_duplicates};
use super::scope::Compared;
use super::usage::id_of;
use super::valid_pipelines::ValidPipelines;
use crate::console::ConsoleSettings;
use crate::pipeline::Pipeline;
use crate::settings::Id;
use crate::state::LaneId;
use crate::telemetry::{LaneWarnings, Telemetry, lane_span};

/// Between two comparisons of all pipelines. Files that are written one after the other cause a change each.
const PAUSE: Duration = Duration::from_secs(2);
/// Lines that are logged for one change.
const MAX_LOGGED: usize = 100;

/// The warnings of the lanes that this process runs.
#[derive(Debug, Default)]
pub struct Warnings(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    duplicates: BTreeMap<LaneId, Duplicate>,
    /// What the token of a pipeline does not see.
    unseen: BTreeMap<String, Arc<str>>,
    /// The pipelines of which the log has said that one has duplicates of the other.
    reported: BTreeSet<(String, String)>,
    comparisons: HashMap<ScopeOfToken, Comparison>,
}

/// The scope of a console that is asked for with one token.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ScopeOfToken {
    host: String,
    /// Where the tokens are.
    tokens: Vec<String>,
    ids: [Box<[Id]>; 3],
}

#[derive(Debug)]
struct Comparison {
    begun: Instant,
    result: Arc<OnceCell<Compared>>,
}

impl ScopeOfToken {
    fn of(console: &ConsoleSettings) -> Self {
        Self {
            host: console.url.host().to_owned(),
            tokens: console.token.iter().map(|token| token.reference()).collect(),
            ids: [console.accounts.clone(), console.sites.clone(), console.groups.clone()],
        }
    }
}

impl Warnings {
    /// The comparison of a scope, which pipelines with the same one share. If it has ended, and began `max_age` ago, it
    /// is a new one.
    pub fn comparison(&self, console: &ConsoleSettings, max_age: Duration) -> Arc<OnceCell<Compared>> {
        let new = || Comparison { begun: Instant::now(), result: Arc::default() };
        let mut known = self.0.lock();
        let comparison = known.comparisons.entry(ScopeOfToken::of(console)).or_insert_with(new);
        if comparison.result.initialized() && comparison.begun.elapsed() >= max_age {
            *comparison = new();
        }
        comparison.result.clone()
    }

    /// Sets what the token of a pipeline does not see of the scope, and logs it if that is new.
    pub fn set_unseen(&self, pipeline: &str, unseen: Option<Arc<str>>) {
        let mut known = self.0.lock();
        let before = match &unseen {
            Some(text) => known.unseen.insert(pipeline.to_owned(), text.clone()),
            None => known.unseen.remove(pipeline),
        };
        drop(known);
        match (before, unseen) {
            (before, Some(text)) if before.as_ref() != Some(&text) => {
                warn!(pipeline, "{text}");
            }
            (Some(_), None) => info!(pipeline, "the warning about the scope is over"),
            _ => {}
        }
    }

    fn set_duplicates(&self, pipelines: &[Arc<Pipeline>], duplicates: BTreeMap<LaneId, Duplicate>) {
        let names: BTreeSet<&str> = pipelines.iter().map(|pipeline| pipeline.name.as_str()).collect();
        let scopes: HashSet<ScopeOfToken> =
            pipelines.iter().map(|pipeline| ScopeOfToken::of(&pipeline.console)).collect();
        let mut known = self.0.lock();
        known.duplicates = duplicates;
        known.unseen.retain(|pipeline, _| names.contains(pipeline.as_str()));
        known.comparisons.retain(|scope, _| scopes.contains(scope));
    }

    /// Gives each lane that runs its warnings, and logs duplicates that are new.
    pub fn show(&self, telemetry: &Telemetry) {
        let mut known = self.0.lock();
        let Known { duplicates, unseen, reported, .. } = &mut *known;
        let (mut duplicate, mut unseen_scope) = (0, 0);
        let mut running = BTreeSet::new();
        for lane in telemetry.running_lanes() {
            let mut warnings = LaneWarnings { duplicate_of: None, unseen: unseen.get(&lane.pipeline).cloned() };
            if !duplicates.is_empty() {
                let id = id_of(&lane);
                if let Some(Duplicate { shown, .. }) = duplicates.get(&id) {
                    duplicate += 1;
                    warnings.duplicate_of = shown.as_ref().map(|shown| shown.to_string().into());
                    running.insert(id.pipeline);
                }
            }
            unseen_scope += i64::from(warnings.unseen.is_some());
            lane.set_warnings(warnings);
        }
        telemetry.process().duplicate_lanes().set(duplicate);
        telemetry.process().unseen_scope_lanes().set(unseen_scope);
        // Of each two pipelines, whichever is the first, one lane with its duplicate, and how many lanes it has.
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
            lane_span(&id.pipeline, id.stream, &id.sink).in_scope(|| {
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
pub async fn follow_pipelines(context: Arc<WorkerContext>, valid: Arc<ValidPipelines>) {
    loop {
        valid.changed().await;
        let pipelines = valid.all();
        let tenants = context.options.files.tenants.clone();
        // Secrets are read, whose file system may not answer.
        let found = spawn_blocking(move || (find_duplicates(&pipelines, &tenants, true), pipelines)).await;
        if let Ok((duplicates, pipelines)) = found {
            context.warnings.set_duplicates(&pipelines, duplicates);
            context.warnings.show(&context.telemetry);
        }
        sleep(PAUSE).await;
    }
}
