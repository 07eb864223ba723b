//! Applies the user's steps to a mapped event: `drop`, `remap`, `redact`, in this order. Redaction is last, so that
//! nothing escapes it that a program copies.

use std::collections::HashSet;

use s1_forwarder_mapping::Schema;

use super::event_redactor::{EventRedactor, parse};
use super::programs::{Compiler, Programs, Purpose};
use super::redact::{RedactionKeys, Redactor};
use super::settings::TransformSettings;
use super::transformed::Transformed;

/// Most conditions of `drop`.
const MAX_CONDITIONS: usize = 64;

/// The compiled steps of a lane. Lanes with the same settings share them.
#[derive(Debug)]
pub struct Steps {
    events: EventRedactor,
    programs: Programs,
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
        Ok(Some(Self {
            events: EventRedactor { schema, redactor },
            programs: Programs::new(conditions, remap, settings.on_error),
        }))
    }

    /// Applies the steps to the event that begins at `start`. A dropped event is removed from `out`.
    pub(super) fn apply(&self, out: &mut Vec<u8>, start: usize, mapped: &mut Transformed) {
        self.apply_with(out, start, mapped, &HashSet::new());
    }

    /// Applies the steps once more to an event on which a program failed. It was redacted then, and its hashes stay.
    pub fn apply_again(&self, event: &mut Vec<u8>) -> Transformed {
        let mut mapped = Transformed::default();
        let EventRedactor { schema, redactor } = &self.events;
        let before = parse(event);
        let known = before.map(|mut before| redactor.replacements(&mut before, *schema)).unwrap_or_default();
        self.apply_with(event, 0, &mut mapped, &known);
        mapped
    }

    /// Applies the steps. `known` are the event's texts that are replacements already.
    fn apply_with(&self, out: &mut Vec<u8>, start: usize, mapped: &mut Transformed, known: &HashSet<String>) {
        if self.has_programs() {
            self.programs.run(&self.events, out, start, mapped, known);
        } else {
            self.events.redact(out, start, known);
        }
    }

    /// Returns whether the steps have a program of the user.
    pub fn has_programs(&self) -> bool {
        !self.programs.is_empty()
    }

    pub(super) fn unmatched_redactions(&self) -> impl Iterator<Item = &str> {
        self.events.redactor.unmatched()
    }

    pub(super) fn redacts(&self) -> bool {
        !self.events.redactor.is_empty()
    }

    /// Redacts the event that begins at `start`, for example the event of a record that could not be mapped.
    pub(super) fn redact(&self, out: &mut Vec<u8>, start: usize) {
        self.events.redact(out, start, &HashSet::new());
    }
}
