//! Replacement of `remap` in builds without VRL.

/// A program; there is none in these builds.
#[derive(Debug)]
pub(super) enum Program {}

#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    Remap,
    Condition,
}

#[derive(Debug, Default)]
pub(super) struct Budget;

impl Budget {
    pub fn set_strict(&mut self, _: bool) {}

    pub fn takes_long(&self) -> bool {
        false
    }
}

impl Program {
    /// Refuses every program.
    ///
    /// # Errors
    /// Always fails: this build has no programs.
    pub fn compile(_: &str, _: Purpose, _: &mut Budget) -> Result<Self, String> {
        Err("this build has no programs: build s1-forwarder with the feature `remap`".to_owned())
    }
}
