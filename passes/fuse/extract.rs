//! Extraction: one term per class, so that the total cost of the needed classes is least.
//!
//! Classes share: a term that two others read is paid for once. So the cheapest term of each class on its own, which egg's
//! extractor finds, need not give the cheapest program: a gemm whose epilogue serves one reader pays off only if the others
//! read it too. This extraction is exact: terms that another one of their class can always replace are dropped first, and the
//! rest is searched by branch and bound.

use super::term::{ENode, Terms, What};
use egg::Id;
use fixedbitset::FixedBitSet;
use reflux_ir::op::Op;
use reflux_ir::{Fact, Machine, Name};
use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Add;
use std::rc::Rc;

/// The cost of terms: estimated nanoseconds; ties are broken by the number of unfused ops, then by the number of ops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Price {
    pub nanoseconds: u64,
    pub unfused: u64,
    pub ops: u64,
}

impl Add for Price {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            nanoseconds: self.nanoseconds.saturating_add(other.nanoseconds),
            unfused: self.unfused.saturating_add(other.unfused),
            ops: self.ops.saturating_add(other.ops),
        }
    }
}

impl Price {
    const MOST: Self = Self { nanoseconds: u64::MAX, unfused: u64::MAX, ops: u64::MAX };
}

/// Which terms to look for.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Extraction {
    /// Those with the least total cost.
    #[default]
    Best,
    /// Costly ones, for tests: results must not depend on costs.
    Worst,
}

impl Extraction {
    /// Whether it is the default.
    pub(super) fn is_best(&self) -> bool {
        *self == Self::Best
    }
}

/// The term of each class that is needed, and what they cost.
#[derive(Debug)]
pub struct Extracted {
    /// By class; operands are classes.
    pub terms: BTreeMap<Id, ENode>,
    /// Of the terms, each once.
    pub price: Price,
    /// Of the terms chosen greedily: with each paid for once, and as a tree.
    pub greedy: Price,
    pub tree: Price,
    /// Whether the search hit its limit; the terms are then the best that were found.
    pub is_cut_short: bool,
}

/// The limit of a search: how many choices it may make, and how many classes and candidates it may visit.
const MOST_CHOICES: usize = 1_000;
const MOST_WORK: usize = 1_000_000;

/// How many classes and candidates the searches for all regions of a program may visit together, which is half a second's work.
/// FLUX.1 has regions of three kinds, and each stays within the limit of one.
const MOST_WORK_IN_ALL: usize = 8_000_000;

/// What the searches for the regions of a program have visited so far.
#[derive(Debug, Default)]
pub struct Effort(Cell<usize>);

impl Effort {
    /// What one more search may visit.
    fn left(&self) -> usize {
        MOST_WORK_IN_ALL.saturating_sub(self.0.get()).min(MOST_WORK)
    }

    fn spend(&self, work: usize) {
        self.0.set(self.0.get().saturating_add(work));
    }
}

/// The terms that make `roots`. Leaves need the classes that `leaves` says: outside, they are made of those.
pub fn extract(
    terms: &Terms,
    roots: &[Id],
    leaves: &HashMap<Name, Vec<Id>>,
    machine: &Machine,
    extraction: Extraction,
    effort: &Effort,
) -> Extracted {
    let problem = Problem { most_work: effort.left(), ..Problem::new(terms, roots, leaves, machine) };
    let (greedy, tree) = problem.greedy();
    let greedy_price = problem.price_of(&greedy);
    let (chosen, is_cut_short) = match extraction {
        Extraction::Best => BranchAndBound::run(&problem, greedy),
        Extraction::Worst => (problem.worst(), false),
    };
    effort.spend(problem.work.get());
    let price = problem.price_of(&chosen);
    let terms =
        problem.needed(&chosen).into_iter().map(|class| (problem.ids[class], chosen[&class].term.clone()));
    Extracted { terms: terms.collect(), price, greedy: greedy_price, tree, is_cut_short }
}

/// A term that may be chosen.
#[derive(Clone, Debug)]
struct Candidate {
    term: ENode,
    price: Price,
    /// The classes of its operands, each once.
    needs: Vec<usize>,
}

/// The candidate that is chosen, by class.
type Chosen = BTreeMap<usize, Rc<Candidate>>;

#[derive(Clone, Debug)]
struct Problem {
    ids: Rc<[Id]>,
    /// Candidates by class, cheapest first.
    classes: Vec<Vec<Rc<Candidate>>>,
    /// What is needed in any case.
    roots: FixedBitSet,
    /// Work done so far, for this problem and its parts, and the limit of that.
    work: Rc<Cell<usize>>,
    most_work: usize,
}

impl Problem {
    fn new(terms: &Terms, roots: &[Id], leaves: &HashMap<Name, Vec<Id>>, machine: &Machine) -> Self {
        let mut ids: Vec<Id> = terms.classes().map(|class| class.id).collect();
        ids.sort();
        let place = |id: Id| ids.binary_search(&terms.find(id)).expect("classes have their operands");
        let pricing = Pricing::new(terms, machine);
        let mut classes: Vec<Vec<Rc<Candidate>>> = Vec::with_capacity(ids.len());
        for (class, &id) in ids.iter().enumerate() {
            let candidate = |term: &ENode| {
                let behind = match &term.what {
                    What::Leaf(name) => leaves.get(name).map(Vec::as_slice).unwrap_or_default(),
                    What::Op(_) => &[],
                };
                let needs: BTreeSet<usize> =
                    term.operands.iter().chain(behind).map(|&id| place(id)).collect();
                Candidate {
                    term: term.clone(),
                    price: pricing.price(term),
                    needs: needs.into_iter().collect(),
                }
            };
            let mut candidates: Vec<_> = terms[id].nodes.iter().map(candidate).collect();
            candidates.retain(|candidate| !candidate.needs.contains(&class));
            candidates.sort_by(|a, b| (a.price, &a.term).cmp(&(b.price, &b.term)));
            classes.push(candidates.into_iter().map(Rc::new).collect());
        }
        let roots = roots.iter().map(|&id| place(id)).collect();
        Self { roots, ids: ids.into(), classes, work: Rc::default(), most_work: MOST_WORK }
    }

    fn count(&self, work: usize) {
        self.work.set(self.work.get().saturating_add(work));
    }

    /// Whether the limit is reached.
    fn is_tired(&self) -> bool {
        self.work.get() >= self.most_work
    }

    /// For each class the candidate that is cheapest if nothing is shared, and what the roots cost then.
    fn greedy(&self) -> (Chosen, Price) {
        let mut best: BTreeMap<usize, (Price, Rc<Candidate>)> = BTreeMap::new();
        loop {
            let mut changed = false;
            for (class, candidates) in self.classes.iter().enumerate() {
                for candidate in candidates {
                    let mut needs =
                        candidate.needs.iter().map(|need| best.get(need).map(|(price, _)| *price));
                    let total = needs.try_fold(candidate.price, |sum, price| Some(sum + price?));
                    let known = best.get(&class).map_or(Price::MOST, |(price, _)| *price);
                    if let Some(total) = total.filter(|&total| total < known) {
                        best.insert(class, (total, Rc::clone(candidate)));
                        changed = true;
                    }
                }
            }
            if !changed {
                break;
            }
        }
        let tree = self.roots.ones().map(|root| best[&root].0).fold(Price::default(), Add::add);
        (best.into_iter().map(|(class, (_, candidate))| (class, candidate)).collect(), tree)
    }

    /// The classes that the roots need under `choice`.
    fn needed(&self, choice: &Chosen) -> BTreeSet<usize> {
        let mut needed = BTreeSet::new();
        let mut open: Vec<usize> = self.roots.ones().collect();
        while let Some(class) = open.pop() {
            if needed.insert(class) {
                open.extend(&choice[&class].needs);
            }
        }
        needed
    }

    fn price_of(&self, choice: &Chosen) -> Price {
        let prices = self.needed(choice).into_iter().map(|class| choice[&class].price);
        prices.fold(Price::default(), Add::add)
    }

    /// A choice of terms that cost much, for tests: for each class the term that is dearest with all that it is made of, as a
    /// tree.
    fn worst(&self) -> Chosen {
        let mut choice = BTreeMap::new();
        for root in self.roots.ones() {
            // Where classes are made of each other in many ways, that takes too long; any choice will do for a test.
            if self.worst_of(root, &mut choice, &mut BTreeSet::new()).is_none() {
                return self.greedy().0;
            }
        }
        choice.into_iter().map(|(class, (_, candidate))| (class, candidate)).collect()
    }

    /// What the dearest tree of `class` costs that has none of the classes `above` in it.
    fn worst_of(
        &self,
        class: usize,
        choice: &mut BTreeMap<usize, (Price, Rc<Candidate>)>,
        above: &mut BTreeSet<usize>,
    ) -> Option<Price> {
        if let Some((price, _)) = choice.get(&class) {
            return Some(*price);
        }
        self.count(self.classes[class].len());
        if self.is_tired() || !above.insert(class) {
            return None;
        }
        let mut dearest: Option<(Price, Rc<Candidate>)> = None;
        for candidate in &self.classes[class] {
            let mut needs = candidate.needs.iter().map(|&need| self.worst_of(need, choice, above));
            let tree = needs.try_fold(candidate.price, |sum, price| Some(sum + price?));
            // Of two that cost the same, the fused one is the one that can be wrong.
            let rank = |price: &Price| (price.nanoseconds, Reverse(price.unfused));
            let is_dearer = |price: &Price| dearest.as_ref().is_none_or(|(most, _)| rank(price) > rank(most));
            if let Some(price) = tree.filter(is_dearer) {
                dearest = Some((price, Rc::clone(candidate)));
            }
        }
        above.remove(&class);
        let dearest = dearest?;
        let price = dearest.0;
        choice.insert(class, dearest);
        Some(price)
    }

    /// The classes that `from` may need, whatever is chosen, themselves included; `without` is left out, with what only it
    /// needs.
    fn reachable(&self, from: impl Iterator<Item = usize>, without: Option<usize>) -> FixedBitSet {
        let mut seen = FixedBitSet::with_capacity(self.classes.len());
        let mut open: Vec<usize> = from.collect();
        while let Some(class) = open.pop() {
            if Some(class) != without && !seen.put(class) {
                self.count(self.classes[class].len());
                open.extend(self.classes[class].iter().flat_map(|candidate| &candidate.needs));
            }
        }
        seen
    }

    /// By class, the classes without which it cannot be made, itself included. Of what the roots cannot reach, nothing is
    /// said.
    fn always_needed(&self) -> Vec<FixedBitSet> {
        let reached = self.reachable(self.roots.ones(), None);
        // From too much to what is left when every candidate had its say.
        let mut always = vec![reached.clone(); self.classes.len()];
        loop {
            let mut changed = false;
            for class in reached.ones() {
                self.count(self.classes[class].len());
                let candidates = self.classes[class].iter().map(|candidate| below(candidate, &always));
                let mut needed = candidates.reduce(|a, b| &a & &b).unwrap_or_default();
                needed.grow_and_insert(class);
                if needed.count_ones(..) < always[class].count_ones(..) {
                    always[class] = needed;
                    changed = true;
                }
            }
            if !changed {
                return always;
            }
        }
    }

    /// The price of the cheapest candidate of `class`.
    fn least(&self, class: usize) -> Price {
        self.classes[class].iter().map(|candidate| candidate.price).min().unwrap_or_default()
    }

    /// Makes roots of all that is needed in any case, and drops candidates that another one of their class can always
    /// replace: all that it needs is needed without it or for the other one too, and it costs no more than the other one
    /// and what would not be needed any more.
    fn presolve(&mut self) {
        loop {
            let always = self.always_needed();
            let due = self.roots.ones().fold(self.roots.clone(), |due, root| &due | &always[root]);
            self.roots = due;
            let mut dropped = false;
            for class in self.reachable(self.roots.ones(), None).ones() {
                let before = self.classes[class].len();
                if before > 1 && !self.is_tired() {
                    self.classes[class] = self.undominated(class, &always);
                }
                dropped |= self.classes[class].len() < before;
            }
            if !dropped || self.is_tired() {
                return;
            }
        }
    }

    fn undominated(&self, class: usize, always: &[FixedBitSet]) -> Vec<Rc<Candidate>> {
        // What only this class needs.
        let mut own = self.reachable(self.roots.ones(), None);
        own.difference_with(&self.reachable(self.roots.ones(), Some(class)));
        let replaces = |better: &Candidate, worse: &Candidate| {
            let needed = below(worse, always);
            let reached = self.reachable(better.needs.iter().copied(), None);
            // What may be made of the class itself could be out of the question, as things are chosen.
            let is_there = |&need: &usize| needed.contains(need) || self.roots.contains(need);
            if reached.contains(class) || !better.needs.iter().all(is_there) {
                return false;
            }
            let mut spared = &needed & &own;
            spared.difference_with(&reached);
            let spared = spared.ones().filter(|&other| other != class).map(|other| self.least(other));
            better.price <= spared.fold(worse.price, Add::add)
        };
        let mut kept: Vec<Rc<Candidate>> = Vec::new();
        for candidate in &self.classes[class] {
            let is_made_of_itself = candidate.needs.iter().any(|&need| always[need].contains(class));
            if is_made_of_itself || kept.iter().any(|better| replaces(better, candidate)) {
                continue;
            }
            kept.retain(|worse| !replaces(candidate, worse));
            kept.push(Rc::clone(candidate));
        }
        kept
    }

    /// What the roots cost at least.
    fn bound(&self) -> Price {
        self.roots.ones().map(|class| self.least(class)).fold(Price::default(), Add::add)
    }
}

/// The classes without which `candidate` cannot be made.
fn below(candidate: &Candidate, always: &[FixedBitSet]) -> FixedBitSet {
    candidate.needs.iter().fold(FixedBitSet::default(), |needed, &need| &needed | &always[need])
}

/// Branch and bound over problems, each simplified, and taken apart where it falls apart, before it is divided.
#[derive(Default)]
struct BranchAndBound {
    choices: usize,
}

impl BranchAndBound {
    /// The cheapest choice, and whether the search was cut short; `greedy` is the one to beat.
    fn run(problem: &Problem, greedy: Chosen) -> (Chosen, bool) {
        let mut search = Self::default();
        let found = search.best(problem.clone(), problem.price_of(&greedy));
        (found.unwrap_or(greedy), search.choices >= MOST_CHOICES || problem.is_tired())
    }

    /// The cheapest choice, if one costs less than `limit`.
    fn best(&mut self, mut problem: Problem, limit: Price) -> Option<Chosen> {
        problem.presolve();
        if problem.bound() >= limit || self.choices >= MOST_CHOICES || problem.is_tired() {
            return None;
        }
        let found = match &problem.parts()[..] {
            [] => {
                let chosen = problem.roots.ones().map(|class| (class, Rc::clone(&problem.classes[class][0])));
                Some(chosen.collect()).filter(is_acyclic)
            }
            [_] => self.best_divided(&problem, limit),
            parts => self.best_of_parts(problem.clone(), parts),
        };
        found.filter(|choice| problem.price_of(choice) < limit)
    }

    /// Tries the candidates of one class in turn.
    fn best_divided(&mut self, problem: &Problem, mut limit: Price) -> Option<Chosen> {
        // Users tend to come after what they use, and decide what is to be chosen of that.
        let class = problem.roots.ones().rfind(|&class| problem.classes[class].len() != 1)?;
        let mut best = None;
        for candidate in &problem.classes[class] {
            self.choices += 1;
            let mut divided = problem.clone();
            divided.classes[class] = vec![Rc::clone(candidate)];
            if let Some(choice) = self.best(divided, limit) {
                limit = problem.price_of(&choice);
                best = Some(choice);
            }
        }
        best
    }

    /// Decides each part while the others stand as they may: what is best for one does not depend on them.
    fn best_of_parts(&mut self, mut problem: Problem, parts: &[FixedBitSet]) -> Option<Chosen> {
        let (greedy, _) = problem.greedy();
        let settle = |problem: &mut Problem, part: &FixedBitSet, choice: &Chosen| {
            for class in part.ones() {
                problem.classes[class] =
                    choice.get(&class).or(greedy.get(&class)).into_iter().cloned().collect();
            }
        };
        for part in parts {
            let mut alone = problem.clone();
            for other in parts.iter().filter(|other| *other != part) {
                settle(&mut alone, other, &greedy);
            }
            let (standing, _) = alone.greedy();
            let found = self.best(alone.clone(), alone.price_of(&standing));
            settle(&mut problem, part, &found.unwrap_or(standing));
        }
        let (choice, _) = problem.greedy();
        Some(choice)
    }
}

impl Problem {
    /// Whether something could be made of itself, as things may be chosen.
    fn is_cyclic(&self) -> bool {
        let reached = self.reachable(self.roots.ones(), None);
        let needs =
            |class: usize| self.classes[class].iter().flat_map(|candidate| candidate.needs.iter().copied());
        reached.ones().any(|class| self.reachable(needs(class), None).contains(class))
    }

    /// The classes whose choices depend on each other, part by part; what is needed in any case joins nothing, unless it
    /// could close a cycle.
    fn parts(&self) -> Vec<FixedBitSet> {
        let contested = self.roots.ones().filter(|&class| self.classes[class].len() != 1);
        if contested.count() > 1 && self.is_cyclic() {
            return vec![self.reachable(self.roots.ones(), None)];
        }
        let mut parts: Vec<FixedBitSet> = Vec::new();
        for class in self.roots.ones().filter(|&class| self.classes[class].len() != 1) {
            let mut part = FixedBitSet::with_capacity(self.classes.len());
            let mut open = vec![class];
            while let Some(class) = open.pop() {
                if !part.put(class) {
                    let needs = self.classes[class].iter().flat_map(|candidate| &candidate.needs);
                    open.extend(needs.filter(|&&need| !self.roots.contains(need)));
                }
            }
            let (joined, apart): (Vec<_>, Vec<_>) =
                parts.into_iter().partition(|other: &FixedBitSet| !other.is_disjoint(&part));
            joined.iter().for_each(|other| part.union_with(other));
            parts = apart;
            parts.push(part);
        }
        parts
    }
}

/// Whether nothing that is chosen is made of itself.
fn is_acyclic(choice: &Chosen) -> bool {
    let mut made: BTreeSet<usize> = BTreeSet::new();
    loop {
        let can_be_made = |(class, candidate): (&usize, &Rc<Candidate>)| {
            (!made.contains(class) && candidate.needs.iter().all(|need| made.contains(need)))
                .then_some(*class)
        };
        let found: Vec<usize> = choice.iter().filter_map(can_be_made).collect();
        if found.is_empty() {
            return made.len() == choice.len();
        }
        made.extend(found);
    }
}

/// What terms cost on a machine.
pub(super) struct Pricing<'e> {
    terms: &'e Terms,
    machine: &'e Machine,
    /// The classes that can be made in a part of a larger tensor: by an op that writes with any stride on this machine, or as
    /// a view of such a class.
    in_place: BTreeSet<Id>,
}

impl<'e> Pricing<'e> {
    pub(super) fn new(terms: &'e Terms, machine: &'e Machine) -> Self {
        let mut pricing = Self { terms, machine, in_place: BTreeSet::new() };
        loop {
            let is_made_in_place = |term: &ENode| match &term.what {
                What::Op(op) if machine.writes_strided(op) => true,
                What::Op(op) if op.is_view() => pricing.is_in_place(term.operands[0]),
                _ => false,
            };
            let found = terms.classes().filter(|class| class.nodes.iter().any(is_made_in_place));
            let found: BTreeSet<Id> = found.map(|class| class.id).collect();
            if found.len() == pricing.in_place.len() {
                return pricing;
            }
            pricing.in_place = found;
        }
    }

    fn is_in_place(&self, id: Id) -> bool {
        self.in_place.contains(&self.terms.find(id))
    }

    pub(super) fn price(&self, term: &ENode) -> Price {
        let What::Op(op) = &term.what else { return Price::default() };
        if op.kind().is_free() {
            return Price::default();
        }
        let facts: Vec<&Fact> = term.operands.iter().map(|&id| &self.terms[id].data.fact).collect();
        let Ok(output) = op.infer(&facts) else { return Price::MOST };
        let is_free = matches!(op, Op::Concat(_)) && term.operands.iter().all(|&id| self.is_in_place(id));
        let nanoseconds = if is_free { 0 } else { self.machine.nanoseconds(op, &facts, &output) };
        // Attention and concatenation are as fused as they can be.
        let is_fused = op.is_fused() || matches!(op, Op::Attention(_) | Op::Concat(_));
        Price { nanoseconds, unfused: u64::from(!is_fused), ops: 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A problem of `classes` classes, each of up to three candidates that may need any classes, later ones too.
    fn random(state: &mut u64, classes: usize) -> Problem {
        let mut below = |bound: u64| {
            *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (*state >> 33) % bound
        };
        let mut candidates = |class: usize| -> Vec<Rc<Candidate>> {
            let mut all: Vec<Candidate> = (0..1 + below(3))
                .map(|index| {
                    // The first candidate needs earlier classes only, so that every class can be made.
                    let reach = if index == 0 { class } else { classes } as u64;
                    let needs: BTreeSet<usize> =
                        (0..below(4)).filter(|_| reach > 0).map(|_| below(reach) as usize).collect();
                    let price = Price { nanoseconds: below(20), ..Price::default() };
                    let term = ENode::leaf(format!("c{class}_{index}").into());
                    Candidate {
                        term,
                        price,
                        needs: needs.into_iter().filter(|&need| need != class).collect(),
                    }
                })
                .collect();
            all.sort_by(|a, b| (a.price, &a.term).cmp(&(b.price, &b.term)));
            all.into_iter().map(Rc::new).collect()
        };
        let classes: Vec<_> = (0..classes).map(&mut candidates).collect();
        let roots = [classes.len() - 1, classes.len() / 2].into_iter().collect();
        let ids = (0..classes.len()).map(Id::from).collect();
        Problem { ids, classes, roots, work: Rc::default(), most_work: MOST_WORK }
    }

    /// The least price of all choices that can be made, by trying them all.
    fn exhaustive(problem: &Problem, choice: &mut Chosen, class: usize) -> Price {
        if class == problem.classes.len() {
            let needed = problem.needed(choice);
            let chosen: Chosen = choice
                .iter()
                .filter(|(class, _)| needed.contains(class))
                .map(|(&class, c)| (class, Rc::clone(c)))
                .collect();
            return if is_acyclic(&chosen) { problem.price_of(choice) } else { Price::MOST };
        }
        let prices = problem.classes[class].iter().map(|candidate| {
            choice.insert(class, Rc::clone(candidate));
            exhaustive(problem, choice, class + 1)
        });
        prices.min().unwrap_or(Price::MOST)
    }

    #[test]
    fn the_cheapest_choice_is_found() {
        let (mut state, mut beaten) = (7, 0);
        for round in 0..400 {
            let problem = random(&mut state, 3 + round % 7);
            let (greedy, _) = problem.greedy();
            let greedy_price = problem.price_of(&greedy);
            let (found, is_cut_short) = BranchAndBound::run(&problem, greedy);
            let needed = problem.needed(&found);
            let chosen: Chosen = found
                .iter()
                .filter(|(class, _)| needed.contains(class))
                .map(|(&class, c)| (class, Rc::clone(c)))
                .collect();
            assert!(is_acyclic(&chosen) && !is_cut_short);
            let best = exhaustive(&problem, &mut Chosen::new(), 0);
            assert_eq!(problem.price_of(&found), best, "round {round}: {problem:?}");
            beaten += usize::from(best < greedy_price);
        }
        assert!(beaten > 20, "greedy choices are as good nearly always: {beaten}");
    }
}
