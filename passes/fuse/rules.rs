//! The equalities that fusing knows, and how they are found and applied. `README.md` beside this file says what a rule
//! must be.

mod build;
mod concat;
mod gemm;
mod kinds;
mod rowwise;
mod segment;

use super::term::{Facts, Term, Terms, What};
use egg::{
    Applier, ENodeOrVar, Id, Language, PatternAst, RecExpr, SearchMatches, Searcher, Subst, Symbol, Var,
};
use indexmap::IndexMap;
use reflux_ir::Fact;
use reflux_ir::op::{Constant, Op};
use reflux_ir::pass::{Allowance, Mismatch};
use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Every rule. The first three make fused ops of single ones, the others let them absorb their neighbours.
pub static RULES: &[FuseRule] = &[
    rowwise::OP_TO_ROWWISE,
    gemm::LINEAR_TO_GEMM,
    gemm::RESCALE_TO_GEMM,
    rowwise::ROWWISE_ABSORBS_ROWWISE,
    gemm::GEMM_ABSORBS_ROWWISE,
    segment::SEGMENT_ABSORBS_ROWWISE,
    segment::SEGMENTS_BESIDE,
    concat::ROPE_OF_CONCAT,
];

/// A directional equality: a term of the form of `spine` is equal to what `rewrite` makes of it.
#[derive(Clone, Copy, Debug)]
pub struct FuseRule {
    /// A fact: `gemm-absorbs-rowwise`.
    pub name: &'static str,
    /// What becomes what.
    pub pattern: &'static str,
    /// The ops that the rule looks at: the root, one of the root's operands, and so on down.
    pub spine: &'static [Kind],
    pub rewrite: fn(&Classes, &Match) -> Result<Vec<Tree>, Mismatch>,
}

/// What an op of a spine may be.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// What to call such an op in a sentence.
    pub name: &'static str,
    pub is: fn(&Op) -> bool,
}

/// A place where a rule may fit: ops from the root down, each an operand of the one above.
#[derive(Clone, Debug)]
pub struct Match {
    pub levels: Vec<Level>,
}

/// One op of a [`Match`].
#[derive(Clone, Debug)]
pub struct Level {
    pub op: Op,
    pub operands: Vec<Id>,
    /// Which operand the next level is.
    pub at: usize,
}

impl Level {
    /// The fact of the op's result.
    pub fn fact(&self, classes: &Classes) -> Result<Fact, Mismatch> {
        let facts: Vec<&Fact> = self.operands.iter().map(|&id| classes.fact(id)).collect();
        self.op.infer(&facts).map_err(|error| Mismatch::new(error.to_string()))
    }
}

/// A replacement: ops down to classes that are there.
#[derive(Clone, Debug)]
pub enum Tree {
    Class(Id),
    Op(Op, Vec<Tree>),
}

impl Tree {
    /// `op` over classes.
    pub fn over(op: impl Into<Op>, operands: Vec<Id>) -> Self {
        Self::Op(op.into(), operands.into_iter().map(Self::Class).collect())
    }

    /// `op` over terms.
    pub fn of(op: impl Into<Op>, operands: Vec<Tree>) -> Self {
        Self::Op(op.into(), operands)
    }
}

/// What rules may know of the e-graph.
#[derive(Debug)]
pub struct Classes<'e> {
    terms: &'e Terms,
}

impl<'e> Classes<'e> {
    pub(super) fn new(terms: &'e Terms) -> Self {
        Self { terms }
    }

    pub fn fact(&self, id: Id) -> &'e Fact {
        &self.terms[id].data.fact
    }

    /// The number that the class is, if it is one.
    pub fn constant(&self, id: Id) -> Option<&'e Constant> {
        self.terms[id].data.constant.as_ref()
    }

    /// The class as it is called now: classes that were united have one name.
    pub fn find(&self, id: Id) -> Id {
        self.terms.find(id)
    }

    /// Every op that is called `name`, with its class and operands, in a fixed order.
    pub fn ops(&self, name: &'static str) -> Vec<(Id, &'e Op, &'e [Id])> {
        let mut found: Vec<_> = self
            .terms
            .classes()
            .flat_map(|class| class.nodes.iter().map(move |term| (class.id, term)))
            .filter_map(|(id, term)| match &term.what {
                What::Op(op) if op.name() == name => Some((id, op, term.operands.as_slice())),
                _ => None,
            })
            .collect();
        found.sort();
        found
    }

    /// Whether `tree` is of the type of class `id`.
    fn check(&self, id: Id, tree: &Tree) -> Result<(), Mismatch> {
        let (fact, due) = (self.infer(tree)?, self.fact(id));
        if fact.same_type(due) {
            return Ok(());
        }
        Err(Mismatch::new(format!("the result would be {fact} instead of {due}")))
    }

    /// The fact of a replacement, if its ops accept their operands.
    fn infer(&self, tree: &Tree) -> Result<Fact, Mismatch> {
        match tree {
            Tree::Class(id) => Ok(self.fact(*id).clone()),
            Tree::Op(op, operands) => {
                let facts = operands.iter().map(|tree| self.infer(tree)).collect::<Result<Vec<_>, _>>()?;
                op.infer(&facts.iter().collect::<Vec<_>>()).map_err(|error| Mismatch::new(error.to_string()))
            }
        }
    }
}

impl FuseRule {
    /// The replacements of `found` in class `id`, which are of its type.
    pub fn replacements(&self, classes: &Classes, id: Id, found: &Match) -> Result<Vec<Tree>, Mismatch> {
        let replacements = (self.rewrite)(classes, found)?;
        replacements.iter().try_for_each(|tree| classes.check(id, tree))?;
        Ok(replacements)
    }

    /// Whether the rule fits somewhere in class `id`; if not, what is in the way where it comes nearest.
    pub(super) fn answer(&self, terms: &Terms, id: Id) -> Result<(), Mismatch> {
        let classes = Classes::new(terms);
        let mut nearest = None;
        for found in self.matches(terms, terms.find(id), Breadth::All) {
            match self.replacements(&classes, id, &found) {
                Ok(_) => return Ok(()),
                Err(mismatch) => drop(nearest.get_or_insert(mismatch)),
            }
        }
        Err(nearest.unwrap_or_else(|| {
            let fits = |&depth: &usize| {
                !levels(terms, terms.find(id), &self.spine[..depth], Breadth::All).is_empty()
            };
            let depth = (1..self.spine.len()).rev().find(fits).unwrap_or(0);
            let due = self.spine[depth].name;
            Mismatch::new(match depth {
                0 => format!("the value is no {due}"),
                _ => format!("no operand of the {} is a {due}", self.spine[depth - 1].name),
            })
        }))
    }

    /// The places in class `id` where the ops are those of the rule.
    pub(super) fn matches(&self, terms: &Terms, id: Id, breadth: Breadth) -> Vec<Match> {
        levels(terms, id, self.spine, breadth).into_iter().map(|levels| Match { levels }).collect()
    }
}

/// Which terms of a class rules look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breadth {
    /// All.
    All,
    /// Of each kind of op, the one of the shortest formula and the one of the longest. There are as many ways to divide a
    /// formula between ops as it has parts, and for each part as many again; of these, there are few.
    Ends,
}

/// The ops of class `id` that are of `kind`, with their operands.
fn ops_of(terms: &Terms, id: Id, kind: Kind, breadth: Breadth) -> Vec<(&Op, &[Id])> {
    let of_kind = terms[id].nodes.iter().filter_map(|term| match &term.what {
        What::Op(op) if (kind.is)(op) => Some((op, term.operands.as_slice())),
        _ => None,
    });
    let all: Vec<_> = of_kind.collect();
    if breadth == Breadth::All || all.len() <= 2 {
        return all;
    }
    let mut ends: IndexMap<&str, [(&Op, &[Id]); 2]> = IndexMap::new();
    for found in all {
        let [shortest, longest] = ends.entry(found.0.name()).or_insert([found; 2]);
        if rank(&found) < rank(shortest) {
            *shortest = found;
        }
        if rank(&found) > rank(longest) {
            *longest = found;
        }
    }
    let pairs = ends.into_values().flat_map(|[a, b]| if a == b { vec![a] } else { vec![a, b] });
    pairs.collect()
}

/// By what ops are short and long; ops of one length have an order of some kind.
fn rank<'f>((op, operands): &(&'f Op, &'f [Id])) -> (usize, &'f Op, &'f [Id]) {
    (length(op), op, operands)
}

/// How many terms the formulas of `op` have.
fn length(op: &Op) -> usize {
    match op {
        Op::Rowwise(op) => op.body.terms().len(),
        Op::Gemm(op) => op.segments.iter().map(|segment| segment.body.terms().len()).sum(),
        _ => 0,
    }
}

/// The ways down from class `id` along `spine`.
fn levels(terms: &Terms, id: Id, spine: &[Kind], breadth: Breadth) -> Vec<Vec<Level>> {
    let Some((&kind, below)) = spine.split_first() else { return vec![Vec::new()] };
    let mut found = Vec::new();
    for (op, operands) in ops_of(terms, id, kind, breadth) {
        if found.len() > MOST_MATCHES {
            break;
        }
        let level = |at| Level { op: op.clone(), operands: operands.to_vec(), at };
        if below.is_empty() {
            found.push(vec![level(0)]);
            continue;
        }
        for (at, &operand) in operands.iter().enumerate() {
            let rest = levels(terms, operand, below, breadth).into_iter();
            found.extend(rest.map(|rest| std::iter::once(level(at)).chain(rest).collect()));
        }
    }
    found
}

impl Match {
    /// The match as a term.
    fn tree(&self) -> Tree {
        let mut below: Option<Tree> = None;
        for Level { op, operands, at } in self.levels.iter().rev() {
            let mut operands: Vec<Tree> = operands.iter().copied().map(Tree::Class).collect();
            if let Some(below) = below {
                operands[*at] = below;
            }
            below = Some(Tree::Op(op.clone(), operands));
        }
        below.expect("a spine has an op")
    }

    /// The inverse of the pattern that [`pattern`] makes of a match.
    fn from_pattern(ast: &PatternAst<Term>, subst: &Subst) -> Self {
        let nodes = ast.as_ref();
        let mut levels = Vec::new();
        let mut next = nodes.last();
        while let Some(ENodeOrVar::ENode(term)) = next {
            let What::Op(op) = &term.what else { break };
            let inner =
                term.operands.iter().position(|&id| matches!(nodes[usize::from(id)], ENodeOrVar::ENode(_)));
            let class = |&id: &Id| match &nodes[usize::from(id)] {
                ENodeOrVar::Var(var) => subst[*var],
                // What the next level is; nothing reads it.
                ENodeOrVar::ENode(_) => Id::from(0),
            };
            let operands = term.operands.iter().map(class).collect();
            levels.push(Level { op: op.clone(), operands, at: inner.unwrap_or(0) });
            next = inner.map(|at| &nodes[usize::from(term.operands[at])]);
        }
        Self { levels }
    }
}

/// A term as egg's patterns write it, its classes as variables.
fn pattern(tree: &Tree) -> (PatternAst<Term>, Subst) {
    fn add(tree: &Tree, ast: &mut PatternAst<Term>, subst: &mut Subst) -> Id {
        match tree {
            Tree::Class(id) => {
                let var = Var::from_u32(u32::try_from(usize::from(*id)).expect("classes are few"));
                subst.insert(var, *id);
                ast.add(ENodeOrVar::Var(var))
            }
            Tree::Op(op, operands) => {
                let operands = operands.iter().map(|tree| add(tree, ast, subst)).collect();
                ast.add(ENodeOrVar::ENode(Term::op(op.clone(), operands)))
            }
        }
    }
    let (mut ast, mut subst) = (RecExpr::default(), Subst::default());
    add(tree, &mut ast, &mut subst);
    (ast, subst)
}

/// How often a rule was tried, how often it told something new, and how long that took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub tries: usize,
    pub hits: usize,
    pub time: Duration,
}

/// Tallies by rule, shared by the rules of a run.
pub type Tallies = Arc<Mutex<IndexMap<&'static str, Tally>>>;

/// Adds `more` to `tallies`.
pub fn add(tallies: &Tallies, more: &Tallies) {
    let mut tallies = tallies.lock().expect("no rule panics while it counts");
    for (rule, more) in more.lock().expect("no rule panics while it counts").iter() {
        let tally = tallies.entry(rule).or_default();
        tally.tries += more.tries;
        tally.hits += more.hits;
        tally.time += more.time;
    }
}

/// So many terms an e-graph may have, so many matches a rule may have in a round, and so many matches may be tried in all:
/// half as much again as the largest block of FLUX takes. What holds of them does not depend on a clock.
const MOST_TERMS: usize = 450;
const MOST_MATCHES: usize = 600;
const MOST_TRIES: usize = 2_500;

/// What a run of rules may do, and whether that was enough. Clones share what has been done.
#[derive(Clone, Debug)]
pub struct Effort {
    pub breadth: Breadth,
    tries: Arc<AtomicUsize>,
    is_exhausted: Arc<AtomicBool>,
}

impl Effort {
    pub fn new(breadth: Breadth) -> Self {
        Self { breadth, tries: Arc::default(), is_exhausted: Arc::default() }
    }

    /// Whether there was more to do than is allowed.
    pub fn is_exhausted(&self) -> bool {
        self.is_exhausted.load(Ordering::Relaxed)
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
}

/// A rule as egg runs it.
#[derive(Clone)]
struct Running {
    rule: FuseRule,
    tallies: Tallies,
    allowance: Allowance,
    effort: Effort,
}

/// `rules` as egg's rewrites, applied as often as is allowed.
pub fn rewrites(
    rules: &[FuseRule],
    tallies: &Tallies,
    allowance: &Allowance,
    effort: &Effort,
) -> Vec<egg::Rewrite<Term, Facts>> {
    let rewrite = |&rule: &FuseRule| {
        let (allowance, effort) = (allowance.clone(), effort.clone());
        let running = Running { rule, tallies: Arc::clone(tallies), allowance, effort };
        egg::Rewrite::new(rule.name, running.clone(), running).expect("rules have no variables")
    };
    rules.iter().map(rewrite).collect()
}

impl Running {
    fn tally(&self, update: impl FnOnce(&mut Tally)) {
        let mut tallies = self.tallies.lock().expect("no rule panics while it counts");
        update(tallies.entry(self.rule.name).or_default());
    }

    fn matches_of(&self, terms: &Terms, id: Id) -> Vec<SearchMatches<'static, Term>> {
        let matches = self.rule.matches(terms, id, self.effort.breadth).into_iter();
        let found = matches.map(|found| {
            let (ast, subst) = pattern(&found.tree());
            SearchMatches { eclass: id, substs: vec![subst], ast: Some(Cow::Owned(ast)) }
        });
        found.collect()
    }
}

impl Searcher<Term, Facts> for Running {
    fn search_eclass_with_limit(
        &self,
        terms: &Terms,
        id: Id,
        limit: usize,
    ) -> Option<SearchMatches<'_, Term>> {
        self.matches_of(terms, id).into_iter().take(limit).next()
    }

    fn search_with_limit(&self, terms: &Terms, limit: usize) -> Vec<SearchMatches<'_, Term>> {
        let start = Instant::now();
        let mut ids: Vec<Id> = terms.classes().map(|class| class.id).collect();
        ids.sort();
        let limit = limit.min(MOST_MATCHES);
        let found: Vec<_> = ids.into_iter().flat_map(|id| self.matches_of(terms, id)).take(limit).collect();
        if found.len() == MOST_MATCHES {
            self.effort.exhaust();
        }
        self.tally(|tally| tally.time += start.elapsed());
        found
    }

    fn vars(&self) -> Vec<Var> {
        Vec::new()
    }
}

impl Applier<Term, Facts> for Running {
    fn apply_matches(&self, terms: &mut Terms, matches: &[SearchMatches<Term>], name: Symbol) -> Vec<Id> {
        let apply = |found: &SearchMatches<Term>| {
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
        ast: Option<&PatternAst<Term>>,
        name: Symbol,
    ) -> Vec<Id> {
        if !self.effort.take(terms) {
            return Vec::new();
        }
        let start = Instant::now();
        let ast = ast.expect("the search gives terms");
        let found = Match::from_pattern(ast, subst);
        let replacements = (self.rule.rewrite)(&Classes::new(terms), &found).unwrap_or_default();
        let mut united = Vec::new();
        for tree in replacements {
            let (to, more) = pattern(&tree);
            let mut subst = subst.clone();
            more_into(&mut subst, &to, &more);
            let place = || format!("{} → {}", shown(terms, ast, &subst), shown(terms, &to, &subst));
            // Most of what a round finds, the rounds before have found; that takes no look at types.
            if is_known(terms, ast, &to, &subst)
                || Classes::new(terms).check(id, &tree).is_err()
                || !self.allowance.take(self.rule.name, place)
            {
                continue;
            }
            let (united_id, is_new) = terms.union_instantiations(ast, &to, &subst, name);
            united.extend(is_new.then_some(united_id));
        }
        self.tally(|tally| {
            tally.tries += 1;
            tally.hits += united.len();
            tally.time += start.elapsed();
        });
        united
    }
}

/// Adds the variables of `ast` from `more`.
fn more_into(subst: &mut Subst, ast: &PatternAst<Term>, more: &Subst) {
    for node in ast.as_ref() {
        if let ENodeOrVar::Var(var) = node {
            subst.insert(*var, more[*var]);
        }
    }
}

/// A term with the classes that it reads by their numbers or, if they are values from outside, by their names.
fn shown(terms: &Terms, ast: &PatternAst<Term>, subst: &Subst) -> String {
    let mut texts: Vec<String> = Vec::with_capacity(ast.as_ref().len());
    for node in ast.as_ref() {
        texts.push(match node {
            ENodeOrVar::Var(var) => {
                let leaf = terms[subst[*var]].nodes.iter().find(|term| term.operands.is_empty());
                leaf.map_or_else(|| format!("%{}", subst[*var]), Term::to_string)
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
fn is_known(terms: &Terms, from: &PatternAst<Term>, to: &PatternAst<Term>, subst: &Subst) -> bool {
    let look_up = |ast: &PatternAst<Term>| {
        let mut ids: Vec<Id> = Vec::with_capacity(ast.as_ref().len());
        for node in ast.as_ref() {
            ids.push(match node {
                ENodeOrVar::Var(var) => terms.find(subst[*var]),
                ENodeOrVar::ENode(term) => {
                    terms.lookup(term.clone().map_children(|child| ids[usize::from(child)]))?
                }
            });
        }
        ids.last().map(|&id| terms.find(id))
    };
    let from = look_up(from);
    from.is_some() && from == look_up(to)
}
