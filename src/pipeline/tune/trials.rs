//! The trials of a search: what it takes to reach the goal, and what is known of candidates.

use super::candidate::Candidate;
use super::goal::Goal;
use super::journal::{Journal, Known};
use super::rehearsal::Rehearsal;
use super::search::{Judge, Search};
use super::{Outcome, Tried, TuneOptions};
use crate::Error;
use crate::pipeline::report::Record;

/// A candidate and its error.
type Judged = (Candidate, f64);

/// What judges candidates: runs them, unless that was done before.
pub struct Trials<'p, 'o> {
    pub rehearsal: Rehearsal<'p>,
    pub journal: Journal,
    pub record: Record<'o>,
    pub tune: &'p TuneOptions,
    pub progress: &'o mut dyn FnMut(Tried),
    /// Steps that compute, in the search under way.
    pub computed: usize,
    /// Candidates that ran.
    pub tried: usize,
}

impl Trials<'_, '_> {
    /// The best schedule with the fewest computed steps of `goals`, from the fewest to the most, that reaches the goal; and one with
    /// the same number of them, evenly spread.
    ///
    /// # Errors
    /// If a network cannot run, or nothing reaches the goal.
    pub fn reach(&mut self, goals: Vec<usize>) -> Result<(Judged, Judged), Error> {
        let Goal::MinPsnr(least) = self.tune.goal else { return self.search(goals[0]) };
        let (mut low, mut high) = (0, goals.len());
        let mut best = None;
        while low < high {
            let middle = (low + high) / 2;
            let (found, even) = self.search(goals[middle])?;
            match self.psnr(&found.0)? >= least {
                true => (best, high) = (Some((found, even)), middle),
                false => low = middle + 1,
            }
        }
        let (found, even) = best.ok_or_else(|| {
            Error::Usage(format!(
                "no schedule that was found reaches {least} dB; ask for less, or for more steps"
            ))
        })?;
        self.computed = found.0.computed();
        Ok((found, even))
    }

    /// The best schedule of `computed` steps that compute, and an even one.
    fn search(&mut self, computed: usize) -> Result<(Judged, Judged), Error> {
        self.computed = computed;
        let start = Candidate::even(self.rehearsal.steps(), computed);
        let predictors = self.rehearsal.predictors.len();
        let mut even: Option<Judged> = None;
        for predictor in 0..predictors {
            let candidate = Candidate { predictor, ..start.clone() };
            let least = even.as_ref().map_or(f64::MAX, |(_, least)| *least);
            let error = self.judge(&candidate, least)?;
            if even.is_none() || error < least {
                self.adopt(&candidate);
                even = Some((candidate, error));
            }
        }
        let even = even.expect("there is a predictor");
        let search = Search { predictors, iterations: self.tune.iterations, seed: self.tune.seed };
        let found = search.run(even.clone(), self)?;
        Ok((found, even))
    }

    /// How near the pictures of a candidate are.
    ///
    /// # Errors
    /// If a network cannot run.
    pub fn outcome(&mut self, (candidate, error): &Judged) -> Result<Outcome, Error> {
        let pass = candidate.pass(self.rehearsal.predictors);
        Ok(Outcome { pass, error: *error, psnr: self.psnr(candidate)? })
    }

    /// The median over pictures.
    fn psnr(&mut self, candidate: &Candidate) -> Result<f64, Error> {
        self.rehearsal.psnr(candidate, &mut self.record)
    }
}

impl Judge for Trials<'_, '_> {
    fn judge(&mut self, candidate: &Candidate, limit: f64) -> Result<f64, Error> {
        let pass = candidate.pass(self.rehearsal.predictors);
        if let Some(Known { error, .. }) =
            self.journal.of(&pass).filter(|known| known.is_whole || known.error > limit)
        {
            return Ok(error);
        }
        self.tried += 1;
        let found = self.rehearsal.error(candidate, self.tune.objective, limit, &mut self.record)?;
        self.journal.add(pass, found)?;
        Ok(found.error)
    }

    fn adopt(&mut self, candidate: &Candidate) {
        self.rehearsal.adopt(candidate);
    }

    fn progress(&mut self, tried: usize, of: usize, error: f64) {
        (self.progress)(Tried { computed: self.computed, tried, of, error });
    }
}
