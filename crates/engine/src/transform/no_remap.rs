//! Takes the place of `programs.rs` in a build without the feature `remap`: there is no program.

use std::collections::HashSet;
use std::convert::Infallible;

use super::event_redactor::EventRedactor;
use super::settings::OnError;
use super::transformed::Transformed;

#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    Remap,
    Condition,
}

/// Refuses every program. It has braces so that a caller makes it as it makes the one of the other build.
#[derive(Debug, Default)]
pub struct Compiler {}

impl Compiler {
    pub fn of(_: &str) -> Self {
        Self {}
    }

    #[must_use]
    pub fn strict(self, _: bool) -> Self {
        self
    }

    pub fn takes_long(&self) -> bool {
        false
    }

    /// Refuses the `remap` of a sink.
    ///
    /// # Errors
    /// Always fails: this build has no programs.
    pub fn check(&mut self, source: &str) -> Result<(), String> {
        self.compile(source, Purpose::Remap).map(|_| ())
    }

    pub(super) fn compile(&mut self, _: &str, _: Purpose) -> Result<Infallible, String> {
        Err("this build has no programs: build s1-forwarder with the feature `remap`".to_owned())
    }
}

/// Does nothing.
pub fn forget_unused_programs() {}

#[derive(Debug)]
pub(super) struct Programs;

impl Programs {
    pub fn new(_: Vec<Infallible>, _: Option<Infallible>, _: OnError) -> Self {
        Self
    }

    pub fn is_empty(&self) -> bool {
        true
    }

    /// Redacts the event.
    pub fn run(
        &self,
        events: &EventRedactor,
        out: &mut Vec<u8>,
        start: usize,
        _: &mut Transformed,
        known: &HashSet<String>,
    ) {
        events.redact(out, start, known);
    }
}
