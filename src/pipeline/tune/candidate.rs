//! What is searched: which steps compute, and how the others forecast what they reuse.

use super::predictor::Predictor;
use fastrand::Rng;
use reflux_passes::StepMask;

/// One way to reuse, of as many computed steps as all that it is compared with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Candidate {
    /// The number of the predictor among those that are searched.
    pub predictor: usize,
    /// Whether each step computes.
    pub computes: Vec<bool>,
}

/// Of all changes, those that move one step, and not two.
const SINGLE: f64 = 0.9;
/// Of all moves of a step, those by at most [`NEAR`].
const NEARBY: f64 = 0.7;
const NEAR: usize = 3;
/// Of all changes, those of the predictor, where there are several.
const OF_PREDICTOR: f64 = 0.1;

impl Candidate {
    /// `computed` of `steps` steps: the first quarter of them at the start, the others as far from each other as they can be.
    pub fn even(steps: usize, computed: usize) -> Self {
        let fixed = fixed(computed);
        let (left, rest) = (computed - fixed, steps - fixed);
        let mut computes = vec![false; steps];
        computes[..fixed].fill(true);
        // The last of a stretch of steps, so that the first stretch is one of reuse.
        (1..=left).for_each(|count| computes[fixed + count * rest / left - 1] = true);
        Self { predictor: 0, computes }
    }

    pub fn mask(&self) -> StepMask {
        self.computes.iter().copied().collect()
    }

    pub fn computed(&self) -> usize {
        self.computes.iter().filter(|computes| **computes).count()
    }

    /// The first step that differs from one of `other`.
    pub fn first_difference(&self, other: &Self) -> usize {
        let reuses = |candidate: &Self| candidate.computes.iter().position(|computes| !computes);
        let steps = self.computes.len();
        let of_masks = (0..steps).find(|&step| self.computes[step] != other.computes[step]).unwrap_or(steps);
        match self.predictor == other.predictor {
            true => of_masks,
            false => of_masks.min(reuses(self).unwrap_or(steps)),
        }
    }

    /// A neighbour, drawn from `rng`, of which one of the `predictors` reuses.
    pub fn neighbour(&self, predictors: usize, rng: &mut Rng) -> Self {
        let mut changed = self.clone();
        if predictors > 1 && rng.f64() < OF_PREDICTOR {
            let other = rng.usize(..predictors - 1);
            changed.predictor = other + usize::from(other >= self.predictor);
            return changed;
        }
        let moves = if rng.f64() < SINGLE { 1 } else { 2 };
        (0..moves).for_each(|_| changed.move_one(rng));
        changed
    }

    /// Lets a step reuse that computes, and another compute.
    fn move_one(&mut self, rng: &mut Rng) {
        let [from, to] = self.movable();
        let Some(&from) = rng.choice(&from) else { return };
        let near: Vec<usize> = to.iter().copied().filter(|step| step.abs_diff(from) <= NEAR).collect();
        let among = if !near.is_empty() && rng.f64() < NEARBY { near } else { to };
        let Some(&to) = rng.choice(&among) else { return };
        self.computes.swap(from, to);
    }

    /// The steps that compute and may not have to, and those that reuse.
    fn movable(&self) -> [Vec<usize>; 2] {
        let fixed = fixed(self.computed());
        let (computes, reuses) = (fixed..self.computes.len()).partition(|&step| self.computes[step]);
        [computes, reuses]
    }

    /// All that differ by one moved step; those come first that differ last, as they cost least to try.
    pub fn all_neighbours(&self) -> Vec<Self> {
        let [from, to] = self.movable();
        let pairs = from.iter().flat_map(|&from| to.iter().map(move |&to| (from, to)));
        let mut all: Vec<(usize, usize)> = pairs.collect();
        all.sort_by_key(|&(from, to)| std::cmp::Reverse((from.min(to), from.max(to))));
        let moved = |(from, to)| {
            let mut moved = self.clone();
            moved.computes.swap(from, to);
            moved
        };
        all.into_iter().map(moved).collect()
    }

    /// The pass that runs it.
    pub fn pass(&self, predictors: &[Predictor]) -> String {
        predictors[self.predictor].pass(&self.mask())
    }
}

/// How many of the first steps always compute (BudCache, arXiv 2606.13496).
fn fixed(computed: usize) -> usize {
    (computed / 4).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(digits: &str, predictor: usize) -> Candidate {
        Candidate { predictor, computes: digits.chars().map(|digit| digit == '1').collect() }
    }

    #[test]
    fn even_ones_have_as_many_as_asked() {
        for steps in 1..30 {
            for computed in 1..=steps {
                let even = Candidate::even(steps, computed);
                assert_eq!((even.computes.len(), even.computed()), (steps, computed));
                assert!(even.computes[..fixed(computed)].iter().all(|computes| *computes));
            }
        }
        // Seven steps after the first have three that compute: the second, the fourth and the last.
        assert_eq!(Candidate::even(8, 4), of("10101001", 0));
        assert_eq!(Candidate::even(9, 1), of("100000000", 0));
    }

    #[test]
    fn neighbours_keep_the_count_and_the_first_steps() {
        let mut rng = Rng::with_seed(1);
        let start = Candidate::even(28, 11);
        let mut seen = std::collections::HashSet::new();
        for _ in 0..500 {
            let near = start.neighbour(3, &mut rng);
            assert_eq!(near.computed(), 11);
            assert!(near.computes[..2].iter().all(|computes| *computes));
            let moved = (0..28).filter(|&step| near.computes[step] != start.computes[step]).count();
            assert!(moved <= 4);
            assert!(moved == 0 || near.predictor == 0);
            seen.insert(near);
        }
        assert!(seen.len() > 100);
        // Nothing can move where all compute, or one.
        assert_eq!(Candidate::even(5, 5).neighbour(1, &mut rng), Candidate::even(5, 5));
        assert_eq!(Candidate::even(5, 1).neighbour(1, &mut rng), Candidate::even(5, 1));
        assert_eq!(start.all_neighbours().len(), 9 * 17);
    }

    #[test]
    fn what_differs_first_is_what_has_to_run() {
        assert_eq!(of("11010", 0).first_difference(&of("11001", 0)), 3);
        assert_eq!(of("11010", 0).first_difference(&of("11010", 0)), 5);
        assert_eq!(of("11010", 0).first_difference(&of("11010", 1)), 2);
        assert_eq!(of("11010", 1).first_difference(&of("11001", 0)), 2);
        assert_eq!(of("11111", 1).first_difference(&of("11111", 0)), 5);
    }
}
