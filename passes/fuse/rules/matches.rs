//! Matching of spines in an e-graph, and matches as egg's patterns.

use super::rule::{Level, Match, SpineOp, Tree};
use crate::fuse::term::{ENode, Terms, What};
use egg::{ENodeOrVar, Id, Language, PatternAst, RecExpr, Subst, Var};
use indexmap::IndexMap;
use reflux_ir::op::Op;

/// The most matches that a rule may have in a round: 1.5 times what the largest block of FLUX needs.
pub(super) const MOST_MATCHES: usize = 600;

/// Which terms of a class rules consider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breadth {
    /// All.
    All,
    /// Of each kind of op, the one with the shortest formula and the one with the longest. The number of ways to divide a
    /// formula between ops is exponential in its length; this keeps only a few.
    Ends,
}

/// The ops of class `id` that are of `kind`, with their operands.
fn ops_of(terms: &Terms, id: Id, kind: SpineOp, breadth: Breadth) -> Vec<(&Op, &[Id])> {
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
        if rank(terms, &found) < rank(terms, shortest) {
            *shortest = found;
        }
        if rank(terms, &found) > rank(terms, longest) {
            *longest = found;
        }
    }
    let pairs = ends.into_values().flat_map(|[a, b]| if a == b { vec![a] } else { vec![a, b] });
    pairs.collect()
}

/// By what ops are short and long; ops of one length have an order of some kind.
fn rank<'f>(terms: &Terms, (op, operands): &(&'f Op, &'f [Id])) -> (usize, &'f Op, &'f [Id]) {
    let length = match op {
        // A slice is as long as what it takes a part of: the longest has absorbed most beside its own columns.
        Op::Slice(_) => {
            let whole = terms[operands[0]].nodes.iter();
            let ops =
                whole.filter_map(|term| if let What::Op(op) = &term.what { Some(length(op)) } else { None });
            ops.max().unwrap_or(0)
        }
        op => length(op),
    };
    (length, op, operands)
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
pub(super) fn levels(terms: &Terms, id: Id, spine: &[SpineOp], breadth: Breadth) -> Vec<Vec<Level>> {
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
    pub(super) fn tree(&self) -> Tree {
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

    /// The inverse of the pattern that [`pattern`] makes of a match; nothing if the e-graph has no such term.
    pub(super) fn from_pattern(terms: &Terms, ast: &PatternAst<ENode>, subst: &Subst) -> Option<Self> {
        let classes = classes_of(terms, ast, subst)?;
        let nodes = ast.as_ref();
        let mut levels = Vec::new();
        let mut next = nodes.last();
        while let Some(ENodeOrVar::ENode(term)) = next {
            let What::Op(op) = &term.what else { break };
            let inner =
                term.operands.iter().position(|&id| matches!(nodes[usize::from(id)], ENodeOrVar::ENode(_)));
            let operands = term.operands.iter().map(|&id| classes[usize::from(id)]).collect();
            levels.push(Level { op: op.clone(), operands, at: inner.unwrap_or(0) });
            next = inner.map(|at| &nodes[usize::from(term.operands[at])]);
        }
        Some(Self { levels })
    }
}

/// The class of each node of a term, if the e-graph has it.
pub(super) fn classes_of(terms: &Terms, ast: &PatternAst<ENode>, subst: &Subst) -> Option<Vec<Id>> {
    let mut ids: Vec<Id> = Vec::with_capacity(ast.as_ref().len());
    for node in ast.as_ref() {
        ids.push(match node {
            ENodeOrVar::Var(var) => terms.find(subst[*var]),
            ENodeOrVar::ENode(term) => {
                let id = terms.lookup(term.clone().map_children(|child| ids[usize::from(child)]))?;
                terms.find(id)
            }
        });
    }
    Some(ids)
}

/// A term as egg's patterns write it, its classes as variables.
pub(super) fn pattern(tree: &Tree) -> (PatternAst<ENode>, Subst) {
    fn add(tree: &Tree, ast: &mut PatternAst<ENode>, subst: &mut Subst) -> Id {
        match tree {
            Tree::Class(id) => {
                let var = Var::from_u32(u32::try_from(usize::from(*id)).expect("classes are few"));
                subst.insert(var, *id);
                ast.add(ENodeOrVar::Var(var))
            }
            Tree::Op(op, operands) => {
                let operands = operands.iter().map(|tree| add(tree, ast, subst)).collect();
                ast.add(ENodeOrVar::ENode(ENode::op(op.clone(), operands)))
            }
        }
    }
    let (mut ast, mut subst) = (RecExpr::default(), Subst::default());
    add(tree, &mut ast, &mut subst);
    (ast, subst)
}
