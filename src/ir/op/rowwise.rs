use super::{Body, InferError, OpKind, Operator, ensure, float};
use crate::{DType, Fact};
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// A formula evaluated row by row in one pass over memory: element-wise ops, norms over the last axis, rotations, and at
/// the end possibly a quantization by rows. See [`Body`] for how it rounds.
///
/// Operands are in the order in which the formula names them, and it names each of them; they broadcast as in its ops. The
/// result is rounded to `dtype`, unless it is quantized.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rowwise {
    pub body: Body,
    pub dtype: DType,
}

impl Operator for Rowwise {
    const NAMES: &'static [&'static str] = &["rowwise"];
    const KIND: OpKind = OpKind::Fused;

    fn arity(&self) -> RangeInclusive<usize> {
        let operands = self.body.operands().len();
        operands..=operands
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Fact, InferError> {
        in_order(self.body.operands())?;
        inputs.iter().try_for_each(|input| float("an operand of a formula", input))?;
        if let Some(term) = self.body.terms().iter().find(|term| !term.op.works_by_rows()) {
            return Err(InferError(format!("`{}` does not work row by row", term.op.name())));
        }
        result(self.body.infer_result(inputs, None)?, self.dtype)
    }

    fn flops(&self, inputs: &[&Fact], _output: &Fact) -> u64 {
        self.body.flops(inputs, None)
    }

    fn formula(&self, operand: &dyn Fn(usize) -> String) -> Option<String> {
        Some(self.body.written(operand))
    }
}

/// Checks that operands are numbered as the formula names them.
pub(super) fn in_order(operands: Vec<usize>) -> Result<(), InferError> {
    let is_in_order = operands.iter().copied().eq(0..operands.len());
    ensure!(is_in_order, "operands must be in the order in which the formula names them, not {operands:?}");
    Ok(())
}

/// The fact of a fused op whose formula has the result `body`.
pub(super) fn result(body: Fact, dtype: DType) -> Result<Fact, InferError> {
    if body.is_quantized() {
        ensure!(body.dtype == dtype, "the formula gives {}, not {dtype}", body.dtype);
        return Ok(body);
    }
    ensure!(body.dtype.is_float(), "a formula gives numbers, not {body}");
    ensure!(dtype.is_float(), "the result of a formula is floating point, not {dtype}");
    Ok(Fact { dtype, ..body })
}
