//! What each op declares, and checks that ops share.

use super::OpKind;
use crate::{Fact, Granularity};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::fmt::Debug;
use std::hash::Hash;
use std::ops::RangeInclusive;

/// Why an op does not accept its inputs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InferError(pub String);

/// `ensure!(condition, "message", …)`: fails inference with the message unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::op::InferError(format!($($message)+)));
        }
    };
}
pub(super) use ensure;

/// What an op declares.
pub trait Operator: Clone + Debug + Eq + Hash + Ord + Serialize + DeserializeOwned {
    /// The mnemonics that stand for this op in IR text: one, but for families such as [`Unary`](super::Unary).
    const NAMES: &'static [&'static str];
    /// The kind of the op.
    const KIND: OpKind;

    /// The mnemonic of this op.
    fn name(&self) -> &'static str {
        Self::NAMES[0]
    }

    /// How many inputs it takes.
    fn arity(&self) -> RangeInclusive<usize>;

    /// Dtype and shape of the result. The number of inputs is one that [`Operator::arity`] allows. The rate that is returned
    /// is only the op's own; [`Op::infer`](super::Op::infer) joins it with those of the inputs.
    fn infer(&self, inputs: &[&Fact]) -> Result<Fact, InferError>;

    /// Floating-point operations, a multiply-add counting two.
    fn flops(&self, _inputs: &[&Fact], output: &Fact) -> u64 {
        if matches!(Self::KIND, OpKind::Movement | OpKind::Collective) { 0 } else { per_element(1, output) }
    }

    /// Bytes read and written when the op runs by itself.
    fn bytes(&self, inputs: &[&Fact], output: &Fact) -> u64 {
        inputs.iter().map(|input| input.bytes()).fold(output.bytes(), u64::saturating_add)
    }

    /// Bytes that a device sends to others.
    fn sent(&self, _inputs: &[&Fact]) -> u64 {
        0
    }

    /// Whether each row of the result depends on only one row of each operand.
    fn works_by_rows(&self) -> bool {
        matches!(Self::KIND, OpKind::Elementwise | OpKind::RowReduction)
    }

    /// Whether an input may be quantized.
    fn takes_quantized(&self) -> bool {
        false
    }

    /// What a fused op computes, with its operands as `operand` writes them; `None` for other ops.
    fn formula(&self, _operand: &dyn Fn(usize) -> String) -> Option<String> {
        None
    }

    /// The attributes as printed in braces.
    fn attributes(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(map)) => map,
            _ => Map::new(),
        }
    }

    /// The op called `name` with these attributes.
    fn from_text(_name: &str, attributes: Map<String, Value>) -> Result<Self, serde_json::Error> {
        serde_json::from_value(Value::Object(attributes))
    }
}

/// The index of `axis` in `0..rank`; a negative axis counts from the back. Verified ops have no other axes.
pub fn axis_index(axis: i64, rank: usize) -> usize {
    (if axis < 0 { axis + rank as i64 } else { axis }) as usize
}

/// Like [`axis_index`], for an op that is not verified yet.
pub(super) fn axis_of(axis: i64, rank: usize) -> Result<usize, InferError> {
    let ranks = rank as i64;
    ensure!((-ranks..ranks).contains(&axis), "axis {axis} is outside a value of rank {rank}");
    Ok(axis_index(axis, rank))
}

/// Checks that codes of `x`, if it is quantized, can be divided and put together along `axis` as they are: rows have a scale each,
/// and stay whole.
pub(super) fn rows_stay(x: &Fact, axis: usize) -> Result<(), InferError> {
    let is_by_row = x.scales.is_none_or(|scales| scales.per == Granularity::Row) && axis + 1 < x.shape.len();
    ensure!(
        x.scales.is_none() || is_by_row,
        "{x} cannot be divided or put together along axis {axis} without quantizing it again"
    );
    Ok(())
}

/// Checks that an operand is a float, naming it in the error.
pub(super) fn float(what: &str, fact: &Fact) -> Result<(), InferError> {
    ensure!(fact.dtype.is_float(), "{what} must be floating point, not {fact}");
    Ok(())
}

/// Checks that the operands have the same dtype.
pub(super) fn one_dtype(inputs: &[&Fact]) -> Result<(), InferError> {
    let dtype = inputs[0].dtype;
    match inputs.iter().find(|other| other.dtype != dtype) {
        None => Ok(()),
        Some(other) => {
            Err(InferError(format!("operands must have the same dtype, not {dtype} and {}", other.dtype)))
        }
    }
}

/// `operations` for each element of the result.
pub(super) fn per_element(operations: usize, output: &Fact) -> u64 {
    (output.shape.elements() as u64).saturating_mul(operations as u64)
}
