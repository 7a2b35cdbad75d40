//! The context of a pass: what it knows besides the program, and its report.

use super::{Allowance, Changed, PassError, PassReport};
use std::time::Instant;

/// What a pass knows besides the program, and its report.
pub struct PassContext<'a> {
    /// The time of each step in 0…1000, if it is known (diffusers' `scheduler.timesteps`).
    pub timesteps: Option<&'a [f32]>,
    pub report: &'a mut PassReport,
    /// How often rules may be applied.
    pub allowance: Allowance,
}

impl PassContext<'_> {
    /// Whether `rule`, which fits at `place`, may be applied there; counts it either way. Every application of every rule asks
    /// here, so that [`bisect`](super::bisect) can withhold some to find the one that breaks something.
    pub fn admit(&mut self, rule: &'static str, place: impl FnOnce() -> String) -> bool {
        let is_admitted = self.allowance.take(rule, place);
        self.report.count(rule, is_admitted.into());
        is_admitted
    }

    /// Counts a place where `rule` does not fit.
    pub fn reject(&mut self, rule: &'static str) {
        self.report.count(rule, Changed::No);
    }

    /// Does `work` for `rule` and measures its time.
    pub fn timed<R>(&mut self, rule: &'static str, work: impl FnOnce(&mut Self) -> R) -> R {
        let start = Instant::now();
        let result = work(self);
        self.report.spend(rule, start.elapsed());
        result
    }

    /// Applies `rule`, which fits at `place` of a graph or program, by `rewrite`, if [admitted](Self::admit); measures the time.
    ///
    /// # Errors
    /// Those of `rewrite`.
    pub fn apply_site<T, E>(
        &mut self,
        rule: &'static str,
        edited: &mut T,
        place: impl FnOnce(&T) -> String,
        rewrite: impl FnOnce(&mut T) -> Result<(), E>,
    ) -> Result<Changed, PassError>
    where
        PassError: From<E>,
    {
        if !self.admit(rule, || place(edited)) {
            return Ok(Changed::No);
        }
        self.timed(rule, |_| rewrite(edited))?;
        Ok(Changed::Yes)
    }
}
