//! Running of rules by egg, within limits that do not depend on time.

use super::matches::{Breadth, MOST_MATCHES, classes_of, pattern};
use super::rule::{Classes, FuseRule, Match};
use crate::fuse::term::{ENode, Facts, Terms};
use egg::{Applier, ENodeOrVar, Id, PatternAst, SearchMatches, Searcher, Subst, Symbol, Var};
use indexmap::IndexMap;
use reflux_ir::pass::Allowance;
use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// How often a rule was tried, how often it added something new, and how long that took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub tries: usize,
    pub hits: usize,
    pub time: Duration,
}

/// Limits of terms in an e-graph, and of matches that are tried in all: 1.5 times what the largest block of FLUX needs. They do not
/// depend on time, so results are reproducible.
const MOST_TERMS: usize = 450;
const MOST_TRIES: usize = 2_500;

/// A run of rules over one e-graph: what they may do, and what they did. Clones share that.
#[derive(Clone, Debug)]
pub struct Run {
    pub breadth: Breadth,
    allowance: Allowance,
    tries: Arc<AtomicUsize>,
    is_exhausted: Arc<AtomicBool>,
    tallies: Arc<Mutex<IndexMap<&'static str, Tally>>>,
    /// The message of the first rule that was found to be wrong.
    bug: Arc<OnceLock<String>>,
}

impl Run {
    /// A run over terms of `breadth`, in which rules are applied as often as `allowance` has it.
    pub fn new(breadth: Breadth, allowance: Allowance) -> Self {
        let (tries, is_exhausted, tallies, bug) = Default::default();
        Self { breadth, allowance, tries, is_exhausted, tallies, bug }
    }

    /// Whether a limit ended the run.
    pub fn is_exhausted(&self) -> bool {
        self.is_exhausted.load(Ordering::Relaxed)
    }

    /// What was counted of each rule.
    pub fn tallies(&self) -> IndexMap<&'static str, Tally> {
        self.tallies.lock().expect("no rule panics while it counts").clone()
    }

    /// What of this run's allowance has been used.
    pub fn allowance(&self) -> &Allowance {
        &self.allowance
    }

    /// The replacement, if there was one, that could not take the place of what it was to replace: a bug of a rule.
    pub fn bug(&self) -> Option<&String> {
        self.bug.get()
    }

    fn exhaust(&self) {
        self.is_exhausted.store(true, Ordering::Relaxed);
    }

    /// Whether one more match may be tried.
    fn take(&self, terms: &Terms) -> bool {
        let tries = self.tries.fetch_add(1, Ordering::Relaxed);
        let is_allowed = tries < MOST_TRIES && terms.total_size() < MOST_TERMS;
        if !is_allowed {
            self.exhaust();
        }
        is_allowed
    }

    fn tally(&self, rule: &FuseRule, update: impl FnOnce(&mut Tally)) {
        let mut tallies = self.tallies.lock().expect("no rule panics while it counts");
        update(tallies.entry(rule.name).or_default());
    }

    /// `rules` as egg's rewrites.
    pub fn rewrites(&self, rules: &[FuseRule]) -> Vec<egg::Rewrite<ENode, Facts>> {
        let rewrite = |&rule: &FuseRule| {
            let running = Running { rule, run: self.clone() };
            egg::Rewrite::new(rule.name, running.clone(), running).expect("rules have no variables")
        };
        rules.iter().map(rewrite).collect()
    }
}

/// A rule as egg runs it.
#[derive(Clone)]
struct Running {
    rule: FuseRule,
    run: Run,
}

impl Running {
    fn matches_of(&self, terms: &Terms, id: Id) -> Vec<SearchMatches<'static, ENode>> {
        let matches = self.rule.matches(terms, id, self.run.breadth).into_iter();
        let found = matches.map(|found| {
            let (ast, subst) = pattern(&found.tree());
            SearchMatches { eclass: id, substs: vec![subst], ast: Some(Cow::Owned(ast)) }
        });
        found.collect()
    }
}

impl Searcher<ENode, Facts> for Running {
    fn search_eclass_with_limit(
        &self,
        terms: &Terms,
        id: Id,
        limit: usize,
    ) -> Option<SearchMatches<'_, ENode>> {
        self.matches_of(terms, id).into_iter().take(limit).next()
    }

    fn search_with_limit(&self, terms: &Terms, limit: usize) -> Vec<SearchMatches<'_, ENode>> {
        let start = Instant::now();
        let mut ids: Vec<Id> = terms.classes().map(|class| class.id).collect();
        ids.sort();
        let limit = limit.min(MOST_MATCHES);
        let found: Vec<_> = ids.into_iter().flat_map(|id| self.matches_of(terms, id)).take(limit).collect();
        if found.len() == MOST_MATCHES {
            self.run.exhaust();
        }
        self.run.tally(&self.rule, |tally| tally.time += start.elapsed());
        found
    }

    fn vars(&self) -> Vec<Var> {
        Vec::new()
    }
}

impl Applier<ENode, Facts> for Running {
    fn apply_matches(&self, terms: &mut Terms, matches: &[SearchMatches<ENode>], name: Symbol) -> Vec<Id> {
        let apply = |found: &SearchMatches<ENode>| {
            let ast = found.ast.as_deref().expect("the search gives terms");
            self.apply_one(terms, found.eclass, &found.substs[0], Some(ast), name)
        };
        matches.iter().flat_map(apply).collect()
    }

    fn apply_one(
        &self,
        terms: &mut Terms,
        id: Id,
        subst: &Subst,
        ast: Option<&PatternAst<ENode>>,
        name: Symbol,
    ) -> Vec<Id> {
        if !self.run.take(terms) {
            return Vec::new();
        }
        let start = Instant::now();
        let ast = ast.expect("the search gives terms");
        let united = self.unite(terms, id, ast, subst, name);
        self.run.tally(&self.rule, |tally| {
            tally.tries += 1;
            tally.hits += united.len();
            tally.time += start.elapsed();
        });
        united
    }
}

impl Running {
    /// Makes what the rule makes of the term `ast` one with class `id`, which it is of.
    fn unite(
        &self,
        terms: &mut Terms,
        id: Id,
        ast: &PatternAst<ENode>,
        subst: &Subst,
        name: Symbol,
    ) -> Vec<Id> {
        let found = Match::from_pattern(terms, ast, subst);
        let replacements = found.and_then(|found| (self.rule.rewrite)(&Classes::new(terms), &found).ok());
        let mut united = Vec::new();
        for tree in replacements.unwrap_or_default() {
            let (to, more) = pattern(&tree);
            let mut subst = subst.clone();
            more_into(&mut subst, &to, &more);
            // Most of what a round finds, the rounds before have found; that takes no look at types.
            if is_known(terms, ast, &to, &subst) {
                continue;
            }
            if let Err(why) = Classes::new(terms).check(id, &tree) {
                self.run.bug.get_or_init(|| self.rule.bug(&why));
                continue;
            }
            let place = || format!("{} → {}", shown(terms, ast, &subst), shown(terms, &to, &subst));
            if self.run.allowance.take(self.rule.name, place) {
                let (united_id, is_new) = terms.union_instantiations(ast, &to, &subst, name);
                united.extend(is_new.then_some(united_id));
            }
        }
        united
    }
}

/// Adds the variables of `ast` from `more`.
fn more_into(subst: &mut Subst, ast: &PatternAst<ENode>, more: &Subst) {
    for node in ast.as_ref() {
        if let ENodeOrVar::Var(var) = node {
            subst.insert(*var, more[*var]);
        }
    }
}

/// A term with the classes that it reads by their numbers or, if they are values from outside, by their names.
fn shown(terms: &Terms, ast: &PatternAst<ENode>, subst: &Subst) -> String {
    let mut texts: Vec<String> = Vec::with_capacity(ast.as_ref().len());
    for node in ast.as_ref() {
        texts.push(match node {
            ENodeOrVar::Var(var) => {
                let leaf = terms[subst[*var]].nodes.iter().find(|term| term.operands.is_empty());
                leaf.map_or_else(|| format!("%{}", subst[*var]), ENode::to_string)
            }
            ENodeOrVar::ENode(term) => {
                let operands: Vec<_> =
                    term.operands.iter().map(|&id| texts[usize::from(id)].clone()).collect();
                format!("{term}({})", operands.join(", "))
            }
        });
    }
    texts.pop().unwrap_or_default()
}

/// Whether the e-graph has both terms, in one class.
fn is_known(terms: &Terms, from: &PatternAst<ENode>, to: &PatternAst<ENode>, subst: &Subst) -> bool {
    let look_up = |ast| classes_of(terms, ast, subst)?.last().copied();
    let from = look_up(from);
    from.is_some() && from == look_up(to)
}
