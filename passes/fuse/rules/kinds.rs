//! The ops that spines are made of.

use super::rule::Kind;
use reflux_ir::op::Op;

pub const LINEAR: Kind = Kind { name: "linear", is: |op| matches!(op, Op::Linear(_)) };
pub const MATMUL_CODES: Kind = Kind { name: "product of codes", is: |op| matches!(op, Op::MatmulCodes(_)) };
pub const RESCALE: Kind = Kind { name: "rescale", is: |op| matches!(op, Op::Rescale(_)) };
pub const GEMM: Kind = Kind { name: "gemm", is: |op| matches!(op, Op::Gemm(_)) };
pub const ROWWISE: Kind = Kind { name: "rowwise", is: |op| matches!(op, Op::Rowwise(_)) };
pub const SLICE: Kind = Kind { name: "slice", is: |op| matches!(op, Op::Slice(_)) };
pub const CONCAT: Kind = Kind { name: "concat", is: |op| matches!(op, Op::Concat(_)) };
pub const ROPE: Kind = Kind { name: "rope", is: |op| matches!(op, Op::Rope(_)) };

/// Every op that a formula can have, but numbers, which are formulas already.
pub const BY_ROWS: Kind =
    Kind { name: "op that works row by row", is: |op| op.works_by_rows() && op.kind().is_computed() };
