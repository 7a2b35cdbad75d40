//! The reference for fused ops: evaluates their formulas term by term, each as a single op.

use super::execute_op;
use crate::RunError;
use crate::backend::BurnBackend;
use crate::value::{Value, float_dtype};
use burn::tensor::Slice;
use burn::tensor::ops::FloatTensor;
use reflux_ir::op::{Arg, Body, Constant, Gemm, Op, Rowwise, Term};
use reflux_ir::{DType, Fact};

/// The result of `body`, in f32 or as codes. `facts` are those of the operands; `acc` is the product, if there is one.
fn evaluate<B: BurnBackend>(
    body: &Body,
    operands: &[Value<B>],
    facts: &[Fact],
    acc: Option<(&Value<B>, &Fact)>,
    device: &B::Device,
) -> Result<Value<B>, RunError> {
    let borrowed: Vec<&Fact> = facts.iter().collect();
    let terms = body.infer(&borrowed, acc.map(|(_, fact)| fact)).expect("formulas are verified");
    let mut values: Vec<Value<B>> = Vec::with_capacity(terms.len());
    let read = |values: &[Value<B>], arg: Arg| match arg {
        Arg::Operand(index) => (widened(operands[index].clone()), facts[index].widened()),
        Arg::Acc => acc.map(|(value, fact)| (value.clone(), fact.clone())).expect("formulas are verified"),
        Arg::Term(index) => (values[index].clone(), terms[index].widened()),
    };
    for (Term { op, args }, fact) in body.terms().iter().zip(&terms) {
        let (args, inputs): (Vec<_>, Vec<_>) = args.iter().map(|&arg| read(&values, arg)).unzip();
        values.push(match op {
            Op::Constant(Constant { value, .. }) => Value::Scalar(value.0, DType::F32),
            // Rounds, but the result stays f32.
            Op::Cast(_) => widened(execute_op(op, &inputs, fact, args, device)?),
            op => execute_op(op, &inputs, fact, args, device)?,
        });
    }
    Ok(read(&values, body.result()).0)
}

/// The result of the formula, rounded.
pub fn rowwise<B: BurnBackend>(
    op: &Rowwise,
    operands: Vec<Value<B>>,
    facts: &[Fact],
    device: &B::Device,
) -> Result<Value<B>, RunError> {
    let value = evaluate(&op.body, &operands, facts, None, device)?;
    Ok(match value {
        Value::Quantized(_) => value,
        value => Value::Float(B::float_cast(value.float(device), float_dtype(op.dtype))),
    })
}

/// The product and its epilogue, segment by segment.
pub fn gemm<B: BurnBackend>(
    op: &Gemm,
    operands: Vec<Value<B>>,
    facts: &[Fact],
    fact: &Fact,
    device: &B::Device,
) -> Result<FloatTensor<B>, RunError> {
    let product = evaluate(&op.product, &operands, facts, None, device)?;
    let rows = &fact.shape[..fact.shape.len() - 1];
    let mut parts = Vec::with_capacity(op.segments.len());
    for (segment, start) in op.segments.iter().zip(op.starts()) {
        let columns = Slice::from(start..start + segment.columns);
        let mut ranges = vec![Slice::from(..); rows.len()];
        ranges.push(columns);
        let acc = match (&product, op.segments.len()) {
            (whole, 1) => whole.clone(),
            (whole, _) => Value::Float(B::float_slice(whole.clone().float(device), &ranges)),
        };
        let acc = Some((&acc, &segment.acc(rows)));
        parts.push(evaluate(&segment.body, &operands, facts, acc, device)?.float(device));
    }
    let last = rows.len();
    let whole = if parts.len() == 1 { parts.remove(0) } else { B::float_cat(parts, last) };
    Ok(B::float_cast(whole, float_dtype(op.dtype)))
}

fn widened<B: BurnBackend>(value: Value<B>) -> Value<B> {
    match value {
        Value::Float(x) => Value::Float(B::float_cast(x, float_dtype(DType::F32))),
        other => other,
    }
}
