/// The kind of an op. Each op declares it once, as [`Operator::KIND`](super::Operator::KIND); code that treats ops alike
/// asks for the kind instead of keeping a list of ops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OpKind {
    /// A value from outside the graph, declared by the program.
    Input,
    /// A weight or a number: written where it is read, but one value however often that is.
    Leaf,
    /// The first operand's data, seen differently. It takes no time.
    View,
    /// Each element of the result is computed from one element of each operand.
    Elementwise,
    /// Each element of the result is computed from a whole row (the last axis) of the first operand; the shape stays the
    /// same.
    RowReduction,
    /// Any other op that combines many elements without multiplying two values.
    Reduction,
    /// Sums of products of two values, which matrix units compute.
    Contraction,
    /// Converts between numbers and the codes that stand for them, or products of codes into numbers.
    Codes,
    /// Positions and times, tables of angles computed from them, and rotation by such a table.
    Position,
    /// Copies elements to another place, without arithmetic.
    Movement,
    /// Moves parts of a value between devices, all of which run it together.
    Collective,
    /// A formula over other ops, see [`Body`](super::Body).
    Fused,
}

impl OpKind {
    /// Whether an op of this kind computes its value, rather than standing for one that is given.
    pub const fn is_computed(self) -> bool {
        !matches!(self, Self::Input | Self::Leaf)
    }

    /// Whether an op of this kind takes no time, because it neither computes nor copies.
    pub const fn is_free(self) -> bool {
        matches!(self, Self::Input | Self::Leaf | Self::View)
    }
}
