//! Rowwise ops, single and fused, in one pass over memory.

use super::formula::{Cut, Formula};
use super::tiles::for_each;
use crate::coded::Coded;
use crate::quantize::quantize_whole;
use crate::value::{Value, burn_shape};
use burn::tensor::DType as BurnDType;
use burn_flex::{Flex, FlexDevice, FlexTensor};
use reflux_ir::op::{Arg, Op, Quantize, Term};
use reflux_ir::{DType, Fact};

/// The fewest elements for which another thread pays off.
const SHARE: usize = 1 << 13;

/// `result` of `terms`, of type `fact`. Returns the operands if they or the terms are not supported here.
pub fn run(
    terms: &[Term],
    result: Arg,
    operands: Vec<Value<Flex>>,
    fact: &Fact,
) -> Result<Value<Flex>, Vec<Value<Flex>>> {
    if fact.shape.elements() == 0 {
        return Err(operands);
    }
    let operands: Vec<_> = operands.into_iter().map(in_runs).collect();
    match terms.split_last() {
        Some((Term { op: Op::Quantize(op), args }, rest)) => {
            let coded = encode(op, rest, args[0], &operands, fact);
            coded.map(Value::Quantized).ok_or(operands)
        }
        _ if fact.dtype == DType::F32 => evaluate(terms, result, operands, fact).map(Value::Float),
        _ => Err(operands),
    }
}

/// The value, made contiguous along its last axis.
pub fn in_runs(value: Value<Flex>) -> Value<Flex> {
    match value {
        Value::Float(x) if x.layout().strides().last() != Some(&1) => Value::Float(x.to_contiguous()),
        value => value,
    }
}

/// Evaluates in place of an operand of the result's shape, if there is one that nothing else reads.
fn evaluate(
    terms: &[Term],
    result: Arg,
    mut operands: Vec<Value<Flex>>,
    fact: &Fact,
) -> Result<FlexTensor, Vec<Value<Flex>>> {
    let shape = burn_shape(&fact.shape);
    let bytes = shape.num_elements() * size_of::<f32>();
    let place = operands.iter().enumerate().position(|(index, value)| {
        let is_table = |term: &Term| matches!(term.op, Op::Rope(_)) && term.args[1] == Arg::Operand(index);
        match value {
            Value::Float(x) => {
                let layout = x.layout();
                let is_whole = *layout.shape() == shape && layout.is_contiguous() && x.bytes().len() == bytes;
                x.dtype() == BurnDType::F32 && is_whole && x.is_unique() && !terms.iter().any(is_table)
            }
            _ => false,
        }
    });
    let mut y = match place {
        Some(index) => match std::mem::replace(&mut operands[index], Value::Scalar(0.0, DType::F32)) {
            Value::Float(x) => x,
            _ => unreachable!("just seen"),
        },
        None => FlexTensor::empty(shape.clone(), BurnDType::F32),
    };
    match Formula::new(terms, result, &operands, place.map(Arg::Operand), &shape, Cut::Longest) {
        Some(formula) => {
            write(&formula, y.storage_mut());
            Ok(y)
        }
        None => {
            if let Some(index) = place {
                operands[index] = Value::Float(y);
            }
            Err(operands)
        }
    }
}

/// Some rows of a result, or some columns of one.
struct RowPart<'y> {
    row: usize,
    column: usize,
    place: &'y mut [f32],
}

/// All rows to `y`.
fn write(formula: &Formula, y: &mut [f32]) {
    if formula.is_nothing() {
        return;
    }
    let columns = formula.columns();
    let parts: Vec<RowPart> = if formula.is_elementwise() && columns > SHARE {
        let rows = y.chunks_mut(columns).enumerate();
        let parts = rows.flat_map(|(row, y)| {
            let parts = y.chunks_mut(SHARE).enumerate();
            parts.map(move |(part, place)| RowPart { row, column: part * SHARE, place })
        });
        parts.collect()
    } else {
        let rows = SHARE.div_ceil(columns);
        let parts = y.chunks_mut(rows * columns).enumerate();
        parts.map(|(part, place)| RowPart { row: part * rows, column: 0, place }).collect()
    };
    for_each(
        parts,
        || formula.workspace(),
        |workspace, RowPart { row, column, place }| {
            for (index, place) in place.chunks_mut(columns).enumerate() {
                formula.evaluate(workspace, row + index, column, place);
            }
        },
    );
}

/// The codes of `x`, which is one of `terms` or an operand of them; `fact` is the type of the result.
fn encode(
    op: &Quantize,
    terms: &[Term],
    x: Arg,
    operands: &[Value<Flex>],
    fact: &Fact,
) -> Option<Coded<Flex>> {
    let shape = burn_shape(&fact.shape);
    let formula = &Formula::new(terms, x, operands, None, &shape, Cut::Rows)?;
    let host = quantize_whole(fact, op, || {
        let mut workspace = formula.workspace();
        move |row, place| formula.evaluate(&mut workspace, row, 0, place)
    });
    Some(Coded::upload(host, &FlexDevice))
}
