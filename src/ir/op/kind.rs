/// What sort of an op it is. Each op says it once, as [`Operator::KIND`](super::Operator::KIND); whoever treats ops alike asks
/// for the kind and keeps no list of ops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OpKind {
    /// A value from outside the graph, declared by the program.
    Input,
    /// A weight or a number: written where it is read, and there once however often that is.
    Leaf,
    /// The first operand's data, seen differently. It takes no time.
    View,
    /// Each element of the result is made of one element of each operand.
    Elementwise,
    /// Each element of the result is made of a whole row (the last axis) of the first operand; the shape stays.
    RowReduction,
    /// Any other op that puts many elements together without multiplying two values.
    Reduction,
    /// Sums of products of two values: what matrix units are for.
    Contraction,
    /// Between numbers and the codes that stand for them, or between products of codes and numbers.
    Codes,
    /// Positions and times, tables of angles made of them, and the rotation by such a table.
    Position,
    /// Elements copied to another place: no arithmetic.
    Movement,
    /// A formula over other ops, see [`Body`](super::Body).
    Fused,
}

impl OpKind {
    /// Whether an op of this kind computes its value: all but those of values that are given.
    pub const fn is_computed(self) -> bool {
        !matches!(self, Self::Input | Self::Leaf)
    }

    /// Whether an op of this kind takes no time: there is nothing to compute, and nothing to copy.
    pub const fn is_free(self) -> bool {
        matches!(self, Self::Input | Self::Leaf | Self::View)
    }
}
