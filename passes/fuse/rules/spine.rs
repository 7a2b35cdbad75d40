//! The ops that spines are made of.

use super::rule::SpineOp;
use reflux_ir::op::Op;

pub const LINEAR: SpineOp = SpineOp { name: "linear", is: |op| matches!(op, Op::Linear(_)) };
pub const MATMUL_CODES: SpineOp =
    SpineOp { name: "product of codes", is: |op| matches!(op, Op::MatmulCodes(_)) };
pub const RESCALE: SpineOp = SpineOp { name: "rescale", is: |op| matches!(op, Op::Rescale(_)) };
pub const GEMM: SpineOp = SpineOp { name: "gemm", is: |op| matches!(op, Op::Gemm(_)) };
pub const ROWWISE: SpineOp = SpineOp { name: "rowwise", is: |op| matches!(op, Op::Rowwise(_)) };
pub const SLICE: SpineOp = SpineOp { name: "slice", is: |op| matches!(op, Op::Slice(_)) };
pub const CONCAT: SpineOp = SpineOp { name: "concat", is: |op| matches!(op, Op::Concat(_)) };
pub const QUANTIZE: SpineOp = SpineOp { name: "quantize", is: |op| matches!(op, Op::Quantize(_)) };
pub const ROPE: SpineOp = SpineOp { name: "rope", is: |op| matches!(op, Op::Rope(_)) };

/// Every op that a formula can have, but numbers, which are formulas already.
pub const BY_ROWS: SpineOp =
    SpineOp { name: "op that works row by row", is: |op| op.works_by_rows() && op.kind().is_computed() };
