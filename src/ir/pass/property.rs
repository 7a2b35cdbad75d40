//! What passes need of a program, and end.

use crate::op::Op;
use crate::{Graph, Program, ValueId};
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

/// Whether all that `id` is made of, but for weights, comes out of attention.
fn is_of_attention(graph: &Graph, id: ValueId) -> bool {
    match graph[id].op {
        Op::Attention(_) => true,
        Op::Input(_) => false,
        _ => {
            let operands = graph.operands(id);
            let mut made_of = operands.iter().filter(|&&operand| !graph.is_leaf(operand)).peekable();
            made_of.peek().is_some() && made_of.all(|&operand| is_of_attention(graph, operand))
        }
    }
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OneVariant => "that every step runs the same graph",
            Self::FreshAttention => "that every step computes its attention",
        })
    }
}
