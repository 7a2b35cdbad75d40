//! What a rule is, and what it may know of the e-graph.

use crate::fuse::term::{Terms, What};
use egg::Id;
use reflux_ir::Fact;
use reflux_ir::op::{Constant, Op};
use reflux_ir::pass::Mismatch;

/// A directional equality: a term that matches `spine` equals the terms that `rewrite` returns for it.
#[derive(Clone, Copy, Debug)]
pub struct FuseRule {
    /// The name, which states a fact: `gemm-absorbs-rowwise`.
    pub name: &'static str,
    /// The rewrite in one line: `left side → right side`.
    pub pattern: &'static str,
    /// The ops that the rule looks at: the root, one of the root's operands, and so on down.
    pub spine: &'static [SpineOp],
    pub rewrite: fn(&Classes, &Match) -> Result<Vec<Tree>, Mismatch>,
}

/// A kind of op in a spine.
#[derive(Clone, Copy, Debug)]
pub struct SpineOp {
    /// The kind in messages, without an article.
    pub name: &'static str,
    pub is: fn(&Op) -> bool,
}

/// A place where a rule may apply: ops from the root down, each an operand of the one above.
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

/// A replacement: new ops over existing classes.
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

/// The view of the e-graph that rules get.
#[derive(Debug)]
pub struct Classes<'e> {
    terms: &'e Terms,
}

impl<'e> Classes<'e> {
    pub(in crate::fuse) fn new(terms: &'e Terms) -> Self {
        Self { terms }
    }

    pub fn fact(&self, id: Id) -> &'e Fact {
        &self.terms[id].data.fact
    }

    /// The constant that the class is equal to, if any.
    pub fn constant(&self, id: Id) -> Option<&'e Constant> {
        self.terms[id].data.constant.as_ref()
    }

    /// The canonical id of the class: united classes share one.
    pub fn find(&self, id: Id) -> Id {
        self.terms.find(id)
    }

    /// The ops that class `id` is equal to.
    pub fn ops_of(&self, id: Id) -> impl Iterator<Item = (&'e Op, &'e [Id])> {
        self.terms[id].nodes.iter().filter_map(|term| match &term.what {
            What::Op(op) => Some((op, term.operands.as_slice())),
            _ => None,
        })
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

    /// Whether `tree` is of the type of class `id`, and what is wrong with it if not.
    pub(super) fn check(&self, id: Id, tree: &Tree) -> Result<(), String> {
        let (fact, due) = (self.infer(tree)?, self.fact(id));
        if fact.same_type(due) { Ok(()) } else { Err(format!("it makes {fact} of {due}")) }
    }

    /// The fact of a replacement, if its ops accept their operands.
    pub(super) fn infer(&self, tree: &Tree) -> Result<Fact, String> {
        match tree {
            Tree::Class(id) => Ok(self.fact(*id).clone()),
            Tree::Op(op, operands) => {
                let facts = operands.iter().map(|tree| self.infer(tree)).collect::<Result<Vec<_>, _>>()?;
                op.infer(&facts.iter().collect::<Vec<_>>()).map_err(|error| error.to_string())
            }
        }
    }
}
