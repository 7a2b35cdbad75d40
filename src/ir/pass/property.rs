//! What passes need of a program, and end.

use crate::op::Op;
use crate::{Graph, Program, Rate, ValueId};
use std::fmt;

/// Something that holds of a program or does not, read off the program itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Property {
    /// Every step runs the same graph.
    OneVariant,
    /// Every step computes its attention: no result of one is carried over from an earlier step.
    FreshAttention,
}

impl Property {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::OneVariant, Self::FreshAttention];

    /// Whether it holds of `program`.
    pub fn holds(self, program: &Program) -> bool {
        match self {
            Self::OneVariant => program.variants.len() == 1,
            Self::FreshAttention => !program.variants.values().any(|graph| {
                let mut carried = graph.outputs().iter().filter(|output| program.is_carried(&output.label));
                carried.any(|output| is_of_attention(graph, output.value))
            }),
        }
    }
}

/// Whether all that `id` is made of, but for weights, is one attention: a sum of several is no result of a module.
fn is_of_attention(graph: &Graph, id: ValueId) -> bool {
    attention_of(graph, id).is_some()
}

/// The attention that `id` is made of, if it is the only one and there is nothing else.
fn attention_of(graph: &Graph, id: ValueId) -> Option<ValueId> {
    if let Op::Attention(_) = graph[id].op {
        return Some(id);
    }
    let made_of = graph.operands(id).into_iter().filter(|&operand| graph[operand].fact.rate > Rate::Weights);
    let mut attentions = made_of.map(|operand| attention_of(graph, operand));
    let first = attentions.next()??;
    attentions.all(|other| other == Some(first)).then_some(first)
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OneVariant => "that every step runs the same graph",
            Self::FreshAttention => "that every step computes its attention",
        })
    }
}
