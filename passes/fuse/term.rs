//! The language of the e-graph: the IR's ops over values from outside the region, with the IR's facts as analysis.

use egg::{Analysis, DidMerge, EGraph, FromOp, FromOpError, Id, Language};
use reflux_ir::op::{Constant, Op};
use reflux_ir::{Fact, Name};
use serde_json::Map;
use std::collections::HashMap;
use std::fmt;

/// An op over classes, or a value that comes from outside.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ENode {
    pub what: What,
    pub operands: Vec<Id>,
}

/// What a term is, its operands aside.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum What {
    /// A value from outside the region, as written where it is read; the analysis knows its fact.
    Leaf(Name),
    Op(Op),
}

impl ENode {
    /// A value from outside.
    pub fn leaf(name: Name) -> Self {
        Self { what: What::Leaf(name), operands: Vec::new() }
    }

    /// `op` over `operands`.
    pub fn op(op: impl Into<Op>, operands: Vec<Id>) -> Self {
        Self { what: What::Op(op.into()), operands }
    }
}

impl Language for ENode {
    type Discriminant = What;

    fn discriminant(&self) -> What {
        self.what.clone()
    }

    /// Attributes count: an op with other attributes is another op.
    fn matches(&self, other: &Self) -> bool {
        self.what == other.what && self.operands.len() == other.operands.len()
    }

    fn children(&self) -> &[Id] {
        &self.operands
    }

    fn children_mut(&mut self) -> &mut [Id] {
        &mut self.operands
    }
}

/// Of leaves and of ops without attributes, which is as much as a word says: for terms written down in tests.
impl FromOp for ENode {
    type Error = FromOpError;

    fn from_op(word: &str, operands: Vec<Id>) -> Result<Self, FromOpError> {
        match (word.starts_with('%'), Op::from_text(word, Map::new())) {
            (true, _) if operands.is_empty() => Ok(Self::leaf(word.into())),
            (false, Some(Ok(op))) => Ok(Self::op(op, operands)),
            _ => Err(FromOpError::new(word, operands)),
        }
    }
}

/// As explanations write it: `mul`, `%x`, `layer_norm{eps=1e-6}`, `rowwise[%0 * %1]`.
impl fmt::Display for ENode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Leaf(name) => f.write_str(name),
            What::Op(Op::Constant(Constant { value, .. })) => write!(f, "{:?}", value.0),
            What::Op(op) => f.write_str(&op.to_string()),
        }
    }
}

/// The analysis data of a class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    pub fact: Fact,
    /// The number that the class is, if it is one.
    pub constant: Option<Constant>,
}

/// The analysis: every class has a fact, inferred by its ops. A rule that unites different types panics here.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    leaves: HashMap<Name, Fact>,
}

impl Facts {
    /// Of an e-graph whose leaves are of these types.
    pub fn new(leaves: impl IntoIterator<Item = (Name, Fact)>) -> Self {
        Self { leaves: leaves.into_iter().collect() }
    }
}

/// The e-graph of a region.
pub type Terms = EGraph<ENode, Facts>;

impl Analysis<ENode> for Facts {
    type Data = Known;

    fn make(terms: &mut Terms, term: &ENode, _id: Id) -> Known {
        match &term.what {
            What::Leaf(name) => Known { fact: terms.analysis.leaves[name].clone(), constant: None },
            What::Op(op) => {
                let facts: Vec<&Fact> = term.operands.iter().map(|&id| &terms[id].data.fact).collect();
                // Rules infer a replacement before they add it; here it cannot fail but by a bug of theirs.
                let fact = op.infer(&facts).unwrap_or_else(|error| panic!("`{term}` does not type: {error}"));
                let constant = if let Op::Constant(constant) = op { Some(constant.clone()) } else { None };
                Known { fact, constant }
            }
        }
    }

    fn merge(&mut self, known: &mut Known, other: Known) -> DidMerge {
        assert!(known.fact.same_type(&other.fact), "{} and {} were said to be equal", known.fact, other.fact);
        let rate = known.fact.rate.min(other.fact.rate);
        // Whichever of the two is known to be a number, both are it.
        let constant = known.constant.clone().or_else(|| other.constant.clone());
        let both = Known { fact: Fact { rate, ..known.fact.clone() }, constant };
        let changed = DidMerge(*known != both, other != both);
        *known = both;
        changed
    }
}
