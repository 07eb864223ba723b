//! Compiles the user's programs and runs them on events.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use s1_forwarder_mapping::Schema;
use s1_forwarder_record::MAX_EVENT_DEPTH;
use tokio::time::Instant;
use vrl::value::Value;

use super::event_redactor::{EventRedactor, parse};
use super::remap::{Budget, Control, Kept, MAX_EVENT, Program, Provenance, Run, is_too_complex, is_too_deep};
use super::settings::OnError;
use super::tags::{FAILED_TAG, OVERRAN_TAG};
use super::transformed::{Dropped, Transformed};
use super::tree::{Json, Tree};
use crate::weak_cache::WeakCache;

pub(super) use super::remap::Purpose;

/// Longest reason of a failure in characters. A program can nest many calls.
const MAX_REASON: usize = 200;
/// Most memory that the regular expressions of a pipeline's programs keep of the texts that they have searched.
const MAX_KEPT: i64 = 4 * 1024 * 1024;

/// The compiled programs of a lane.
#[derive(Debug)]
struct CompiledPrograms {
    conditions: Vec<Arc<Program>>,
    remap: Option<Arc<Program>>,
}

/// The programs of a lane.
#[derive(Debug)]
pub(super) struct Programs {
    is_empty: bool,
    on_error: OnError,
    compiled: RwLock<Arc<CompiledPrograms>>,
    /// Bytes that the programs have kept since they were compiled.
    kept: AtomicI64,
}

/// Key of a compiled program that is kept: its source, and its pipeline. Expressions remember texts, which no other
/// pipeline may get.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ProgramKey {
    pipeline: String,
    purpose: Purpose,
    source: String,
}

static COMPILED: LazyLock<WeakCache<ProgramKey, Program>> = LazyLock::new(WeakCache::default);

/// Programs that were compiled lately, each with the time of that. The lanes of a file that was checked begin a moment
/// later. Nothing else uses its programs until then.
static RECENT: Mutex<VecDeque<(Instant, Arc<Program>)>> = Mutex::new(VecDeque::new());
const UNUSED_FOR: Duration = Duration::from_secs(30);

/// Compiles the programs of a pipeline file, within one limit for all of them.
#[derive(Debug, Default)]
pub struct Compiler {
    /// Pipeline whose programs are kept, so that each is compiled once: by the check of the file, for all lanes and
    /// sinks.
    pipeline: Option<String>,
    budget: Budget,
}

impl Compiler {
    /// Returns the compiler of a pipeline that lanes run, or may run soon.
    pub fn of(pipeline: &str) -> Self {
        Self { pipeline: Some(pipeline.to_owned()), budget: Budget::default() }
    }

    /// With `is_strict`, refuses programs that would take too long to compile, also because of their assignments,
    /// before it compiles them. This is for programs of authors who are not trusted.
    #[must_use]
    pub fn strict(mut self, is_strict: bool) -> Self {
        self.budget.set_strict(is_strict);
        self
    }

    /// Returns whether the programs so far take longer to compile than the programs of one file should.
    pub fn takes_long(&self) -> bool {
        self.budget.takes_long()
    }

    /// Checks the `remap` of a sink.
    ///
    /// # Errors
    /// The compiler's diagnostics.
    pub fn check(&mut self, source: &str) -> Result<(), String> {
        self.compile(source, Purpose::Remap).map(|_| ())
    }

    pub(super) fn compile(&mut self, source: &str, purpose: Purpose) -> Result<Arc<Program>, String> {
        let Some(pipeline) = &self.pipeline else {
            return Program::compile(source, purpose, &mut self.budget).map(Arc::new);
        };
        let key = ProgramKey { pipeline: pipeline.clone(), purpose, source: source.to_owned() };
        // A program for which nothing is left is refused as if it were new: the compiler says where.
        if let Some((program, used)) =
            COMPILED.get(&key).and_then(|program| self.budget.with(program.cost).map(|used| (program, used)))
        {
            self.budget = used;
            return Ok(program);
        }
        let program = Arc::new(Program::compile(source, purpose, &mut self.budget)?);
        let now = Instant::now();
        let mut recent = RECENT.lock();
        recent.push_back((now, program.clone()));
        drop(recent);
        Ok(COMPILED.get_or_insert_with(key, || program))
    }
}

/// Reason why a program has made no event of another.
enum ProgramError {
    Failed(String),
    /// The program took too long.
    Overran(String),
}

/// Drops compiled programs that no lane has begun to use for a while.
pub fn forget_unused_programs() {
    let now = Instant::now();
    let mut recent = RECENT.lock();
    let old = recent.iter().take_while(|(compiled, _)| now.saturating_duration_since(*compiled) > UNUSED_FOR).count();
    let dropped: Vec<_> = recent.drain(..old).collect();
    drop(recent);
    drop(dropped);
}

impl CompiledPrograms {
    /// Compiles the programs again.
    ///
    /// # Errors
    /// If there is no thread for the compiler.
    fn again(&self) -> Result<Self, String> {
        let again = |program: &Arc<Program>| program.again().map(Arc::new);
        let conditions = self.conditions.iter().map(again).collect::<Result<_, _>>()?;
        Ok(Self { conditions, remap: self.remap.as_ref().map(again).transpose()? })
    }

    /// Runs the programs and redacts. A dropped event is removed from `out`.
    ///
    /// # Errors
    /// If a program failed, or reached a limit. The event in `out` is unchanged then.
    fn run(
        &self,
        events: &EventRedactor,
        out: &mut Vec<u8>,
        start: usize,
        known: &HashSet<String>,
    ) -> Result<Option<Dropped>, ProgramError> {
        let bytes = &out[start..];
        if bytes.len() > MAX_EVENT {
            let reason = format!("the event has {} bytes; programs accept at most {MAX_EVENT}", bytes.len());
            return Err(ProgramError::Failed(reason));
        }
        if is_too_complex(bytes) {
            let reason = "the event has too many objects and lists for a program".to_owned();
            return Err(ProgramError::Failed(reason));
        }
        // A raw record that is not valid JSON has nothing to run a program on.
        let event = std::str::from_utf8(bytes).ok().and_then(Value::parse_whole).filter(Value::is_object);
        let mut event = event.ok_or_else(|| ProgramError::Failed("the event is not valid JSON".to_owned()))?;
        let mut control = Control::start();
        for (index, condition) in self.conditions.iter().enumerate() {
            match condition.run(&mut event, &mut control) {
                Run::Done(Value::Boolean(true)) => {
                    out.truncate(start);
                    let is_last = self.remap.is_none() && index + 1 == self.conditions.len();
                    return Ok(Some(Dropped::Condition { is_last }));
                }
                Run::Done(_) | Run::Aborted => {}
                Run::Failed(reason) => return Err(ProgramError::Failed(format!("drop[{index}]: {reason}"))),
                Run::Overran(reason) => return Err(ProgramError::Overran(format!("drop[{index}]: {reason}"))),
            }
        }
        if let Some(program) = &self.remap {
            let provenance = Provenance::of(&event, events.schema);
            match program.run(&mut event, &mut control) {
                Run::Done(_) => {}
                Run::Aborted => {
                    out.truncate(start);
                    return Ok(Some(Dropped::Remap));
                }
                Run::Failed(reason) => return Err(ProgramError::Failed(format!("remap: {reason}"))),
                Run::Overran(reason) => return Err(ProgramError::Overran(format!("remap: {reason}"))),
            }
            if is_too_deep(&event) {
                let reason = format!("remap: its event is nested more than {MAX_EVENT_DEPTH} levels deep");
                return Err(ProgramError::Failed(reason));
            }
            if let Some(provenance) = provenance {
                provenance.restore(&mut event);
            }
        }
        events.redactor.event(&mut event, events.schema, known);
        let mut json = Vec::with_capacity(out.len() - start);
        event.write(&mut json);
        if json.len() > MAX_EVENT {
            let reason = format!("remap: its event has {} bytes; programs make at most {MAX_EVENT}", json.len());
            return Err(ProgramError::Failed(reason));
        }
        out.truncate(start);
        out.extend_from_slice(&json);
        Ok(None)
    }
}

impl Programs {
    pub fn new(conditions: Vec<Arc<Program>>, remap: Option<Arc<Program>>, on_error: OnError) -> Self {
        Self {
            is_empty: conditions.is_empty() && remap.is_none(),
            on_error,
            compiled: RwLock::new(Arc::new(CompiledPrograms { conditions, remap })),
            kept: AtomicI64::new(0),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// Runs the programs on the event that begins at `start`, and redacts it. A dropped event is removed from `out`.
    /// `known` are the event's texts that are replacements already.
    pub fn run(
        &self,
        events: &EventRedactor,
        out: &mut Vec<u8>,
        start: usize,
        mapped: &mut Transformed,
        known: &HashSet<String>,
    ) {
        let kept = Kept::start();
        let capacity = out.capacity();
        let programs = self.compiled.read().clone();
        match programs.run(events, out, start, known) {
            Ok(dropped) => mapped.dropped = dropped,
            Err(failed) => self.fail(events, out, start, mapped, failed, known),
        }
        let grown = out.capacity().saturating_sub(capacity) as i64;
        let kept = kept.bytes() - grown;
        if kept > 0 && self.kept.fetch_add(kept, Ordering::Relaxed) + kept > MAX_KEPT {
            self.forget(&programs);
        }
    }

    /// Frees what regular expressions remember of the texts that they have searched, by compiling the programs again.
    /// Otherwise the old programs would keep it as long as the lane lives.
    fn forget(&self, programs: &CompiledPrograms) {
        match programs.again() {
            Ok(programs) => {
                *self.compiled.write() = Arc::new(programs);
                self.kept.store(0, Ordering::Relaxed);
            }
            Err(reason) => tracing::warn!(reason, "the programs of a pipeline cannot be compiled again"),
        }
    }

    /// Handles a failure. The event stays as it was, except for redactions, and for a tag if it is forwarded.
    fn fail(
        &self,
        events: &EventRedactor,
        out: &mut Vec<u8>,
        start: usize,
        mapped: &mut Transformed,
        error: ProgramError,
        known: &HashSet<String>,
    ) {
        let mut event = parse(&out[start..]);
        let overran = matches!(error, ProgramError::Overran(_));
        let (ProgramError::Failed(mut reason) | ProgramError::Overran(mut reason)) = error;
        if let Some((end, _)) = reason.char_indices().nth(MAX_REASON) {
            reason.truncate(end);
            reason.push('…');
        }
        mapped.remap_error = Some(reason);
        mapped.remap_overran = overran;
        mapped.on_error = self.on_error;
        if event.is_none() && events.redactor.is_empty() {
            return;
        }
        let event_or_metadata = match events.schema {
            Schema::Ecs => event.as_mut(),
            Schema::Ocsf => event.as_mut().and_then(|event| event.member("metadata")),
            Schema::Raw => None,
        };
        let name = if events.schema == Schema::Ocsf { "labels" } else { "tags" };
        let tags = event_or_metadata.and_then(|object| object.member(name)?.elements());
        if self.on_error == OnError::Deliver
            && let Some(tags) = tags
        {
            tags.push(Json::of_text(FAILED_TAG.to_owned()));
            if overran {
                tags.push(Json::of_text(OVERRAN_TAG.to_owned()));
            }
        }
        events.finish(out, start, event, known);
    }
}
