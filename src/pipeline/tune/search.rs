//! Simulated annealing over schedules, and then hill climbing (BudCache, arXiv 2606.13496).

use super::candidate::Candidate;
use crate::Error;
use fastrand::Rng;

/// What is searched for, and how long.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// How many predictors there are.
    pub predictors: usize,
    /// Changes that are tried by annealing.
    pub iterations: usize,
    pub seed: u64,
}

/// Finds out how far a candidate is from what is wanted.
pub trait Judge {
    /// The error of `candidate`, at least 0; if that exceeds `limit`, anything that does.
    fn judge(&mut self, candidate: &Candidate, limit: f64) -> Result<f64, Error>;

    /// Is told that the candidates to come are neighbours of `candidate`, which it has judged.
    fn adopt(&mut self, candidate: &Candidate);

    /// Is told how many candidates have been tried, and about how many will be.
    fn progress(&mut self, tried: usize, of: usize, best: f64);
}

/// By how much a change may worsen the error, relative to it, at the first and the last change: such a change is made with a
/// probability of 1/e.
const TEMPERATURES: [f64; 2] = [0.05, 1e-5];

impl Search {
    /// The best candidate that is found from `start`, and its error. No predictor is better in the place of the one that is found, nor
    /// is any other place of a single step that computes.
    ///
    /// # Errors
    /// Those of `judge`.
    pub fn run(
        &self,
        (start, error): (Candidate, f64),
        judge: &mut impl Judge,
    ) -> Result<(Candidate, f64), Error> {
        let annealed = self.anneal(start, error, judge)?;
        self.climb(annealed, judge)
    }

    fn anneal(
        &self,
        start: Candidate,
        error: f64,
        judge: &mut impl Judge,
    ) -> Result<(Candidate, f64), Error> {
        let mut rng = Rng::with_seed(self.seed);
        let mut current = (start.clone(), error);
        let mut best = current.clone();
        let total = self.iterations + start.all_neighbours().len();
        for iteration in 0..self.iterations {
            let candidate = current.0.neighbour(self.predictors, &mut rng);
            // A worse one is taken with the probability exp(-(error - current) / (current · temperature)).
            let luck = -rng.f64().ln();
            let limit = current.1 * (1.0 + luck * self.temperature(iteration));
            let error = judge.judge(&candidate, limit)?;
            if error <= limit {
                judge.adopt(&candidate);
                current = (candidate, error);
                if current.1 < best.1 {
                    best = current.clone();
                }
            }
            judge.progress(iteration + 1, total, best.1);
        }
        Ok(best)
    }

    fn temperature(&self, iteration: usize) -> f64 {
        let [hot, cold] = TEMPERATURES;
        hot * (cold / hot).powf(iteration as f64 / (self.iterations.max(2) - 1) as f64)
    }

    /// Makes changes as long as one makes it better.
    fn climb(
        &self,
        (mut best, mut error): (Candidate, f64),
        judge: &mut impl Judge,
    ) -> Result<(Candidate, f64), Error> {
        judge.adopt(&best);
        let mut tried = self.iterations;
        // Neighbours since the last one that was better.
        let mut in_vain = 0;
        loop {
            let others = (0..self.predictors).filter(|&predictor| predictor != best.predictor);
            let others: Vec<Candidate> =
                others.map(|predictor| Candidate { predictor, ..best.clone() }).collect();
            let neighbours = [best.all_neighbours(), others].concat();
            let mut better = None;
            for candidate in neighbours {
                let found = judge.judge(&candidate, error)?;
                (tried, in_vain) = (tried + 1, in_vain + 1);
                judge.progress(tried, tried + best.all_neighbours().len().saturating_sub(in_vain), error);
                if found < error {
                    better = Some((candidate, found));
                    break;
                }
            }
            let Some(found) = better else { return Ok((best, error)) };
            (best, error) = found;
            in_vain = 0;
            judge.adopt(&best);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// Wants certain steps to compute, and the second predictor.
    struct Toy {
        wanted: Vec<usize>,
        judged: Vec<Candidate>,
        adopted: HashSet<Candidate>,
    }

    impl Judge for Toy {
        fn judge(&mut self, candidate: &Candidate, limit: f64) -> Result<f64, Error> {
            self.judged.push(candidate.clone());
            let nearest = |wanted: &usize| {
                let computed = (0..candidate.computes.len()).filter(|&step| candidate.computes[step]);
                computed.map(|step| step.abs_diff(*wanted)).min().unwrap() as f64
            };
            let far: f64 = self.wanted.iter().map(nearest).sum();
            let error = 1.0 + far + if candidate.predictor == 1 { 0.0 } else { 0.5 };
            Ok(if error > limit { f64::MAX } else { error })
        }

        fn adopt(&mut self, candidate: &Candidate) {
            assert!(self.judged.contains(candidate));
            self.adopted.insert(candidate.clone());
        }

        fn progress(&mut self, tried: usize, of: usize, best: f64) {
            assert!(tried <= of && best >= 1.0);
        }
    }

    #[test]
    fn the_best_schedule_is_found_every_time() {
        let wanted = vec![0, 3, 4, 17, 25];
        let search = Search { predictors: 3, iterations: 200, seed: 4 };
        let run = || {
            let mut toy = Toy { wanted: wanted.clone(), judged: Vec::new(), adopted: HashSet::new() };
            let start = Candidate::even(28, 5);
            let error = toy.judge(&start, f64::MAX).unwrap();
            let found = search.run((start, error), &mut toy).unwrap();
            (found, toy.judged)
        };
        let ((candidate, error), judged) = run();
        assert_eq!((candidate.predictor, error), (1, 1.0));
        assert!(wanted.iter().all(|&step| candidate.computes[step]), "{candidate:?}");
        assert_eq!(run(), ((candidate, error), judged));
    }
}
