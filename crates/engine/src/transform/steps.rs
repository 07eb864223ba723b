//! Applies the user's steps to a mapped event: `drop`, `remap`, `redact`, in this order. Redaction is last, so that
//! nothing escapes it that a program copies.

use std::collections::HashSet;
#[cfg(feature = "remap")]
use std::collections::VecDeque;
use std::sync::Arc;
#[cfg(feature = "remap")]
use std::sync::LazyLock;
#[cfg(feature = "remap")]
use std::sync::atomic::{AtomicI64, Ordering};
#[cfg(feature = "remap")]
use std::time::Duration;

#[cfg(feature = "remap")]
use parking_lot::{Mutex, RwLock};
use s1_forwarder_mapping::{REDACTED, Schema};
#[cfg(feature = "remap")]
use s1_forwarder_record::MAX_EVENT_DEPTH;
#[cfg(feature = "remap")]
use tokio::time::Instant;

#[cfg(not(feature = "remap"))]
use super::no_remap::{Budget, Program, Purpose};
use super::redact::{RedactionKeys, Redactor};
#[cfg(feature = "remap")]
use super::remap::{Budget, Control, Kept, MAX_EVENT, Program, Provenance, Purpose, Run, is_too_complex, is_too_deep};
#[cfg(feature = "remap")]
use super::settings::OnError;
use super::settings::TransformSettings;
#[cfg(feature = "remap")]
use super::transformed::Dropped;
use super::transformed::Transformed;
use super::tree::{Json, Tree};
#[cfg(feature = "remap")]
use crate::weak_cache::WeakCache;

/// Tag of a forwarded event that its program failed on, added to `tags` or to `metadata.labels`.
pub const FAILED_TAG: &str = "remap_failed";

/// Further tag, if the program took too long.
pub const OVERRAN_TAG: &str = "remap_overran";

/// Longest reason of a failure in characters. A program can nest many calls.
#[cfg(feature = "remap")]
const MAX_REASON: usize = 200;
/// Most conditions of `drop`.
const MAX_CONDITIONS: usize = 64;
/// Most memory that the regular expressions of a pipeline's programs keep of the texts that they have searched.
#[cfg(feature = "remap")]
const MAX_KEPT: i64 = 4 * 1024 * 1024;

/// The compiled steps of a lane. Lanes with the same settings share them.
#[derive(Debug)]
pub struct Steps {
    schema: Schema,
    redactor: Redactor,
    has_programs: bool,
    #[cfg(feature = "remap")]
    on_error: OnError,
    #[cfg(feature = "remap")]
    programs: RwLock<Arc<Programs>>,
    /// Bytes that the programs have kept since they were compiled.
    #[cfg(feature = "remap")]
    kept: AtomicI64,
}

/// The programs of a lane.
#[derive(Debug)]
struct Programs {
    conditions: Vec<Arc<Program>>,
    remap: Option<Arc<Program>>,
}

/// Key of a compiled program that is kept: its source, and its pipeline. Expressions remember texts, which no other
/// pipeline may get.
#[cfg(feature = "remap")]
#[derive(Debug, PartialEq, Eq, Hash)]
struct ProgramKey {
    pipeline: String,
    purpose: Purpose,
    source: String,
}

#[cfg(feature = "remap")]
static COMPILED: LazyLock<WeakCache<ProgramKey, Program>> = LazyLock::new(WeakCache::default);

/// Programs that were compiled lately, each with the time of that. The lanes of a file that was checked begin a moment
/// later. Nothing else uses its programs until then.
#[cfg(feature = "remap")]
static RECENT: Mutex<VecDeque<(Instant, Arc<Program>)>> = Mutex::new(VecDeque::new());
#[cfg(feature = "remap")]
const UNUSED_FOR: Duration = Duration::from_secs(30);

/// Compiles the programs of a pipeline file, within one limit for all of them.
#[derive(Debug, Default)]
pub struct Compiler {
    /// Pipeline whose programs are kept, so that each is compiled once: by the check of the file, for all lanes and
    /// sinks.
    #[cfg_attr(not(feature = "remap"), expect(dead_code, reason = "only programs are compiled"))]
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
    /// If the program cannot be compiled, with the compiler's diagnostics.
    pub fn check(&mut self, source: &str) -> Result<(), String> {
        self.compile(source, Purpose::Remap).map(|_| ())
    }

    #[cfg(feature = "remap")]
    fn compile(&mut self, source: &str, purpose: Purpose) -> Result<Arc<Program>, String> {
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

    #[cfg(not(feature = "remap"))]
    fn compile(&mut self, source: &str, purpose: Purpose) -> Result<Arc<Program>, String> {
        Program::compile(source, purpose, &mut self.budget).map(Arc::new)
    }
}

/// Reason why a program has made no event of another.
#[cfg(feature = "remap")]
enum ProgramError {
    Failed(String),
    /// The program took too long.
    Overran(String),
}

/// A part of `transform` that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {problem}", self.place())]
pub struct StepsError {
    /// Key below `transform`, such as `["drop", "0"]`; or `["remap"]`, which may be the sink's.
    pub key: Vec<String>,
    /// Problem, in several lines for a program.
    pub problem: String,
}

impl StepsError {
    fn new(key: &str, index: Option<usize>, problem: String) -> Self {
        let index = index.map(|index| index.to_string());
        Self { key: std::iter::once(key.to_owned()).chain(index).collect(), problem }
    }

    /// Returns the key as it is written below `transform`: `drop[0]`.
    pub fn place(&self) -> String {
        let mut place = String::new();
        for key in &self.key {
            match key.parse::<usize>() {
                Ok(index) => place.push_str(&format!("[{index}]")),
                Err(_) => place.push_str(key),
            }
        }
        place
    }
}

/// Parses an event; `None` if the bytes are not a JSON object.
fn parse(event: &[u8]) -> Option<Json> {
    std::str::from_utf8(event).ok().and_then(Json::parse).filter(Json::is_object)
}

/// Drops compiled programs that no lane has begun to use for a while.
pub fn forget_unused_programs() {
    #[cfg(feature = "remap")]
    {
        let now = Instant::now();
        let mut recent = RECENT.lock();
        let old =
            recent.iter().take_while(|(compiled, _)| now.saturating_duration_since(*compiled) > UNUSED_FOR).count();
        let dropped: Vec<_> = recent.drain(..old).collect();
        drop(recent);
        drop(dropped);
    }
}

impl Steps {
    /// Checks the steps of `settings` without reading secrets.
    ///
    /// # Errors
    /// If a part cannot be used, with all such parts.
    pub fn check(settings: &TransformSettings, compiler: &mut Compiler) -> Result<(), Vec<StepsError>> {
        let redactions = settings.redact.iter().enumerate().filter_map(|(index, redaction)| {
            super::redact::check(redaction).err().map(|problem| StepsError::new("redact", Some(index), problem))
        });
        let mut errors: Vec<_> = redactions.collect();
        let contradictions = super::redact::contradictions(&settings.redact);
        errors.extend(contradictions.map(|(index, problem)| StepsError::new("redact", Some(index), problem)));
        if settings.drop.len() > MAX_CONDITIONS {
            let problem = format!("{} conditions; there are at most {MAX_CONDITIONS}", settings.drop.len());
            errors.push(StepsError::new("drop", None, problem));
        }
        for (index, source) in settings.drop.iter().enumerate().take(MAX_CONDITIONS) {
            let compiled = compiler.compile(source, Purpose::Condition);
            errors.extend(compiled.err().map(|problem| StepsError::new("drop", Some(index), problem)));
        }
        let remap = settings.remap.as_deref().and_then(|source| compiler.check(source).err());
        errors.extend(remap.map(|problem| StepsError::new("remap", None, problem)));
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Compiles the steps of `settings`; `remap` is the sink's program, if it has its own. Returns `None` if there are
    /// no steps.
    ///
    /// # Errors
    /// If a part cannot be used, with the first such part.
    pub fn new(
        settings: &TransformSettings,
        schema: Schema,
        remap: Option<&str>,
        keys: RedactionKeys,
    ) -> Result<Option<Self>, StepsError> {
        Self::compiled_by(&mut Compiler::default(), settings, schema, remap, keys)
    }

    /// Compiles the steps as [`Self::new`] does, with programs that `compiler` may have already.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn compiled_by(
        compiler: &mut Compiler,
        settings: &TransformSettings,
        schema: Schema,
        remap: Option<&str>,
        keys: RedactionKeys,
    ) -> Result<Option<Self>, StepsError> {
        let remap = remap.or(settings.remap.as_deref());
        if settings.redact.is_empty() && settings.drop.is_empty() && remap.is_none() {
            return Ok(None);
        }
        let redactor = Redactor::new(&settings.redact, keys)
            .map_err(|(index, problem)| StepsError::new("redact", Some(index), problem))?;
        let conditions = settings.drop.iter().enumerate().map(|(index, source)| {
            compiler
                .compile(source, Purpose::Condition)
                .map_err(|problem| StepsError::new("drop", Some(index), problem))
        });
        let conditions: Vec<_> = conditions.collect::<Result<_, _>>()?;
        let remap = remap.map(|source| compiler.compile(source, Purpose::Remap)).transpose();
        let remap = remap.map_err(|problem| StepsError::new("remap", None, problem))?;
        let programs = Programs { conditions, remap };
        Ok(Some(Self {
            schema,
            redactor,
            has_programs: programs.remap.is_some() || !programs.conditions.is_empty(),
            #[cfg(feature = "remap")]
            on_error: settings.on_error,
            #[cfg(feature = "remap")]
            programs: RwLock::new(Arc::new(programs)),
            #[cfg(feature = "remap")]
            kept: AtomicI64::new(0),
        }))
    }

    /// Applies the steps to the event that begins at `start`. A dropped event is removed from `out`.
    pub(super) fn apply(&self, out: &mut Vec<u8>, start: usize, mapped: &mut Transformed) {
        self.apply_with(out, start, mapped, &HashSet::new());
    }

    /// Applies the steps once more to an event on which a program failed. It was redacted then, and its hashes stay.
    pub fn apply_again(&self, event: &mut Vec<u8>) -> Transformed {
        let mut mapped = Transformed::default();
        let before = parse(event);
        let known = before.map(|mut before| self.redactor.replacements(&mut before, self.schema)).unwrap_or_default();
        self.apply_with(event, 0, &mut mapped, &known);
        mapped
    }

    /// Applies the steps. `known` are the event's texts that are replacements already.
    fn apply_with(&self, out: &mut Vec<u8>, start: usize, mapped: &mut Transformed, known: &HashSet<String>) {
        #[cfg(feature = "remap")]
        if self.has_programs() {
            return self.run(out, start, mapped, known);
        }
        // Only `drop` and `remap` skip an event.
        let _ = mapped;
        self.redact_with(out, start, known);
    }

    /// Returns whether the steps have a program of the user.
    pub fn has_programs(&self) -> bool {
        self.has_programs
    }

    pub(super) fn unmatched_redactions(&self) -> impl Iterator<Item = &str> {
        self.redactor.unmatched()
    }

    pub(super) fn redacts(&self) -> bool {
        !self.redactor.is_empty()
    }

    /// Redacts the event that begins at `start`, for example the event of a record that could not be mapped.
    pub(super) fn redact(&self, out: &mut Vec<u8>, start: usize) {
        self.redact_with(out, start, &HashSet::new());
    }

    fn redact_with(&self, out: &mut Vec<u8>, start: usize, known: &HashSet<String>) {
        if !self.redactor.is_empty() {
            let event = parse(&out[start..]);
            self.finish(out, start, event, known);
        }
    }

    /// Replaces the bytes from `start` on by `event`, redacted. `event` is `None` if the bytes are not an event.
    fn finish<T: Tree>(&self, out: &mut Vec<u8>, start: usize, event: Option<T>, known: &HashSet<String>) {
        out.truncate(start);
        match event {
            Some(mut event) => {
                self.redactor.event(&mut event, self.schema, known);
                event.write(out);
            }
            // It is not known which part of the bytes is at a path.
            None => out.extend_from_slice(format!("\"{REDACTED}\"").as_bytes()),
        }
    }
}

#[cfg(feature = "remap")]
impl Programs {
    /// Compiles the programs again.
    ///
    /// # Errors
    /// If there is no thread for the compiler.
    fn again(&self) -> Result<Self, String> {
        let again = |program: &Arc<Program>| program.again().map(Arc::new);
        let conditions = self.conditions.iter().map(again).collect::<Result<_, _>>()?;
        Ok(Self { conditions, remap: self.remap.as_ref().map(again).transpose()? })
    }
}

#[cfg(feature = "remap")]
impl Steps {
    fn run(&self, out: &mut Vec<u8>, start: usize, mapped: &mut Transformed, known: &HashSet<String>) {
        let kept = Kept::start();
        let capacity = out.capacity();
        let programs = self.programs.read().clone();
        match self.run_programs(&programs, out, start, known) {
            Ok(dropped) => mapped.dropped = dropped,
            Err(failed) => self.fail(out, start, mapped, failed, known),
        }
        let grown = out.capacity().saturating_sub(capacity) as i64;
        let kept = kept.bytes() - grown;
        if kept > 0 && self.kept.fetch_add(kept, Ordering::Relaxed) + kept > MAX_KEPT {
            self.forget(&programs);
        }
    }

    /// Frees what regular expressions remember of the texts that they have searched, by compiling the programs again.
    /// Otherwise the old programs would keep it as long as the lane lives.
    fn forget(&self, programs: &Programs) {
        match programs.again() {
            Ok(programs) => {
                *self.programs.write() = Arc::new(programs);
                self.kept.store(0, Ordering::Relaxed);
            }
            Err(reason) => tracing::warn!(reason, "the programs of a pipeline cannot be compiled again"),
        }
    }

    /// Runs the programs and redacts. A dropped event is removed from `out`.
    ///
    /// # Errors
    /// If a program failed, or reached a limit. The event in `out` is unchanged then.
    fn run_programs(
        &self,
        programs: &Programs,
        out: &mut Vec<u8>,
        start: usize,
        known: &HashSet<String>,
    ) -> Result<Option<Dropped>, ProgramError> {
        use vrl::value::Value;

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
        for (index, condition) in programs.conditions.iter().enumerate() {
            match condition.run(&mut event, &mut control) {
                Run::Done(Value::Boolean(true)) => {
                    out.truncate(start);
                    let is_last = programs.remap.is_none() && index + 1 == programs.conditions.len();
                    return Ok(Some(Dropped::Condition { is_last }));
                }
                Run::Done(_) | Run::Aborted => {}
                Run::Failed(reason) => return Err(ProgramError::Failed(format!("drop[{index}]: {reason}"))),
                Run::Overran(reason) => return Err(ProgramError::Overran(format!("drop[{index}]: {reason}"))),
            }
        }
        if let Some(program) = &programs.remap {
            let provenance = Provenance::of(&event, self.schema);
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
        self.redactor.event(&mut event, self.schema, known);
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

    /// Handles a failure. The event stays as it was, except for redactions, and for a tag if it is forwarded.
    fn fail(
        &self,
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
        if event.is_none() && self.redactor.is_empty() {
            return;
        }
        let event_or_metadata = match self.schema {
            Schema::Ecs => event.as_mut(),
            Schema::Ocsf => event.as_mut().and_then(|event| event.member("metadata")),
            Schema::Raw => None,
        };
        let name = if self.schema == Schema::Ocsf { "labels" } else { "tags" };
        let tags = event_or_metadata.and_then(|object| object.member(name)?.elements());
        if self.on_error == OnError::Deliver
            && let Some(tags) = tags
        {
            tags.push(Json::of_text(FAILED_TAG.to_owned()));
            if overran {
                tags.push(Json::of_text(OVERRAN_TAG.to_owned()));
            }
        }
        self.finish(out, start, event, known);
    }
}
