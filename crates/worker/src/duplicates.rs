//! Finds lanes that send the same records to the same place as a lane of another pipeline. A copied pipeline file has
//! such lanes.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use s1_forwarder_destinations::{DestinationHasher, DestinationId, SharedSinkResources, SinkContext, SinkSettings};
use s1_forwarder_engine::console::ConsoleSettings;
use s1_forwarder_engine::transform::Schema;
use s1_forwarder_record::{LaneId, Stream};
use s1_forwarder_settings::Id;

use crate::pipeline::{Pipeline, TenantRules};

/// Another lane that sends the same records to the same place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Duplicate {
    /// The other lane, for the operator.
    pub of: LaneId,
    /// The other lane, for readers of the lane's own pipeline. A tenant may know only its own lanes: `None` if no
    /// duplicate is one of them.
    pub shown: Option<LaneId>,
}

/// Returns the lanes that are a duplicate of another one. Both have the same console, stream and destination. The scope
/// of one lane is or contains the scope of the other, as far as the files say it. `pipelines` are sorted by name.
/// Paused pipelines do not count. Blocks if `reads_secrets` is set.
pub fn find_duplicates(
    pipelines: &[Arc<Pipeline>],
    tenants: &TenantRules,
    reads_secrets: bool,
) -> BTreeMap<LaneId, Duplicate> {
    let mut by_host: BTreeMap<&str, Vec<&Pipeline>> = BTreeMap::new();
    for pipeline in pipelines.iter().filter(|pipeline| pipeline.enabled) {
        by_host.entry(pipeline.console.url.host()).or_default().push(pipeline);
    }
    let hasher = DestinationHasher::new(reads_secrets);
    let shared = SharedSinkResources::default();
    let mut found = BTreeMap::new();
    for pipelines in by_host.into_values().filter(|pipelines| pipelines.len() > 1) {
        let members: Vec<Member<'_>> = pipelines
            .into_iter()
            .map(|pipeline| Member {
                pipeline,
                tenant: tenants.tenant_of(&pipeline.path),
                scope: Scope::of(&pipeline.console, &hasher),
            })
            .collect();
        let lanes: Vec<LaneDestination> =
            members.iter().enumerate().flat_map(|(index, member)| member.lanes(index, &shared, &hasher)).collect();
        let anywhere = others(&members, &lanes, |_| &None);
        let in_place = others(&members, &lanes, |member| &member.tenant);
        for (index, other) in anywhere.iter().enumerate() {
            let Some(other) = *other else { continue };
            let lane = &lanes[index];
            let shown = match members[lane.member].tenant {
                None => Some(other),
                Some(_) => in_place[index],
            };
            let id = |lane: usize| members[lanes[lane].member].id(&lanes[lane]);
            found.insert(id(index), Duplicate { of: id(other), shown: shown.map(id) });
        }
    }
    found
}

/// A sink that writes OCSF events of another version to the place of `of`. Both have the same identities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherVersion {
    pub pipeline: String,
    pub sink: String,
    /// The pipeline and the sink that come first.
    pub of: (String, String),
}

/// Returns the sinks whose events have another version of OCSF than the events of an earlier sink at the same place.
/// `pipelines` are sorted by name. Blocks if `reads_secrets` is set.
pub fn find_other_versions(pipelines: &[Arc<Pipeline>], reads_secrets: bool) -> Vec<OtherVersion> {
    let hasher = DestinationHasher::new(reads_secrets);
    let shared = SharedSinkResources::default();
    let mut firsts: HashMap<DestinationId, (&Pipeline, &SinkSettings)> = HashMap::new();
    let mut found = Vec::new();
    let enabled = pipelines.iter().filter(|pipeline| pipeline.enabled);
    for (pipeline, sink) in enabled.flat_map(|pipeline| pipeline.sinks.iter().map(move |sink| (pipeline, sink))) {
        let transform = &pipeline.transform;
        if sink.schema(transform.schema) != Schema::Ocsf {
            continue;
        }
        let version = |pipeline: &Pipeline, sink: &SinkSettings| sink.ocsf_version(pipeline.transform.ocsf_version);
        let mut other = None;
        for pull in pipeline.pulls.iter().filter(|pull| sink.accepts(pull.stream)) {
            let labels = transform.labels.clone();
            let context = SinkContext { labels, ..pipeline.lane_context(sink, pull.stream, shared.clone()) };
            let Ok(destination) = sink.process_destination_id(&context, &hasher) else { continue };
            let (first, first_sink) = *firsts.entry(destination).or_insert((&**pipeline, &**sink));
            if version(first, first_sink) != version(pipeline, sink) {
                other = other.or(Some((first.name.clone(), first_sink.name().to_owned())));
            }
        }
        found.extend(other.map(|of| OtherVersion {
            pipeline: pipeline.name.clone(),
            sink: sink.name().to_owned(),
            of,
        }));
    }
    found
}

/// A pipeline of a console that several pipelines have.
struct Member<'a> {
    pipeline: &'a Pipeline,
    /// See [`TenantRules::tenant_of`].
    tenant: Option<PathBuf>,
    scope: Scope<'a>,
}

/// One lane, by the indices of its pipeline and sink.
struct LaneDestination {
    member: usize,
    stream: Stream,
    sink: usize,
    destination: DestinationId,
}

impl Member<'_> {
    fn lanes(&self, index: usize, shared: &SharedSinkResources, hasher: &DestinationHasher) -> Vec<LaneDestination> {
        let mut lanes = Vec::new();
        for (position, sink) in self.pipeline.sinks.iter().enumerate() {
            for pull in self.pipeline.pulls.iter().filter(|pull| sink.accepts(pull.stream)) {
                let context = SinkContext {
                    // Labels that come from the console are equal where their templates are.
                    labels: self.pipeline.transform.labels.clone(),
                    ..self.pipeline.lane_context(sink, pull.stream, shared.clone())
                };
                // Only an invalid file has a sink without a destination.
                if let Ok(destination) = sink.process_destination_id(&context, hasher) {
                    lanes.push(LaneDestination { member: index, stream: pull.stream, sink: position, destination });
                }
            }
        }
        lanes
    }

    fn id(&self, lane: &LaneDestination) -> LaneId {
        let sink = self.pipeline.sinks[lane.sink].name().to_owned();
        LaneId { pipeline: self.pipeline.name.clone(), stream: lane.stream, sink }
    }
}

/// The records that a pipeline reads, as far as its file says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Scope<'a> {
    /// Ids of accounts, sites and groups, each list sorted. A record belongs to one id of each list that is not empty.
    levels: [Vec<&'a Id>; 3],
    /// Hash of the token. All that the token sees is the scope of a pipeline that names no ids.
    token: DestinationId,
}

impl<'a> Scope<'a> {
    fn of(console: &'a ConsoleSettings, hasher: &DestinationHasher) -> Self {
        let sorted = |ids: &'a [Id]| {
            let mut ids: Vec<&Id> = ids.iter().collect();
            ids.sort_unstable();
            ids.dedup();
            ids
        };
        let mut token = hasher.begin();
        if let Some(first) = console.token.iter().next() {
            token.secret("token", first);
        }
        Self {
            levels: [sorted(&console.accounts), sorted(&console.sites), sorted(&console.groups)],
            token: token.finish(),
        }
    }

    fn names_nothing(&self) -> bool {
        self.levels.iter().all(Vec::is_empty)
    }

    /// Returns whether each record of `other` is certain to be in this scope.
    fn contains(&self, other: &Self) -> bool {
        if self.names_nothing() {
            return self.token == other.token;
        }
        self.levels.iter().zip(&other.levels).all(|(own, others)| {
            let is_within = !others.is_empty() && others.iter().all(|id| own.binary_search(id).is_ok());
            own.is_empty() || is_within
        })
    }
}

/// Returns, for each lane, the first lane of another pipeline that is its duplicate. `place_of` divides the pipelines:
/// only pipelines of one place are compared. The time grows as the time of sorting, unless many scopes have one id and
/// differ in others.
fn others<'a, 'b>(
    members: &'a [Member<'b>],
    lanes: &[LaneDestination],
    place_of: impl Fn(&'a Member<'b>) -> &'a Option<PathBuf>,
) -> Vec<Option<usize>> {
    let key = |lane: usize| (place_of(&members[lanes[lane].member]), lanes[lane].stream, lanes[lane].destination);
    let mut order: Vec<usize> = (0..lanes.len()).collect();
    order.sort_by_key(|lane| key(*lane));
    let mut others = vec![None; lanes.len()];
    for group in order.chunk_by(|one, other| key(*one) == key(*other)) {
        let mut by_scope: BTreeMap<&Scope<'_>, Vec<usize>> = BTreeMap::new();
        for lane in group {
            by_scope.entry(&members[lanes[*lane].member].scope).or_default().push(*lane);
        }
        let scopes: Vec<&Scope<'_>> = by_scope.keys().copied().collect();
        let firsts: Vec<Vec<usize>> = by_scope.values().map(|of_scope| first_two(of_scope, lanes)).collect();
        let mut related = firsts.clone();
        for (outer, inner) in containing(&scopes) {
            related[outer].extend(&firsts[inner]);
            related[inner].extend(&firsts[outer]);
        }
        for (of_scope, related) in by_scope.values().zip(related) {
            let firsts = first_two(&related, lanes);
            for lane in of_scope {
                others[*lane] = firsts.iter().copied().find(|other| lanes[*other].member != lanes[*lane].member);
            }
        }
    }
    others
}

/// Returns the first of some lanes, and the first lane of another pipeline.
fn first_two(of: &[usize], lanes: &[LaneDestination]) -> Vec<usize> {
    let first = of.iter().min().copied();
    let is_of_another = |lane: &&usize| first.is_some_and(|first| lanes[first].member != lanes[**lane].member);
    let second = of.iter().filter(is_of_another).min().copied();
    first.into_iter().chain(second).collect()
}

/// Returns the pairs of different scopes of which the first contains the second.
fn containing(scopes: &[&Scope<'_>]) -> Vec<(usize, usize)> {
    let mut with_id: HashMap<(usize, &Id), Vec<usize>> = HashMap::new();
    let mut whole: HashMap<DestinationId, usize> = HashMap::new();
    for (index, scope) in scopes.iter().enumerate() {
        if scope.names_nothing() {
            whole.insert(scope.token, index);
        }
        for (level, ids) in scope.levels.iter().enumerate() {
            ids.iter().for_each(|id| with_id.entry((level, *id)).or_default().push(index));
        }
    }
    let mut pairs = Vec::new();
    for (inner, scope) in scopes.iter().enumerate() {
        // A scope that contains this one names any id of a level that it names, or it names nothing.
        let firsts = scope.levels.iter().enumerate().filter_map(|(level, ids)| Some((level, *ids.first()?)));
        let mut outer: Vec<usize> = firsts.filter_map(|first| with_id.get(&first)).flatten().copied().collect();
        outer.extend(whole.get(&scope.token));
        outer.sort_unstable();
        outer.dedup();
        outer.retain(|outer| *outer != inner && scopes[*outer].contains(scope));
        pairs.extend(outer.into_iter().map(|outer| (outer, inner)));
    }
    pairs
}
