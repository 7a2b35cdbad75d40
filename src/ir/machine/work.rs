//! Which of an op's arithmetic runs on matrix units.

use crate::op::{Arg, Body, Gemm, MatmulCodes, Op, OpKind};
use crate::{DType, Fact};

/// A contraction, by itself or inside a fused op.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Contraction {
    pub units: Units,
    /// What its operands are multiplied in.
    pub dtype: DType,
    pub flops: u64,
}

/// Which of the machine's rates it runs at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Units {
    Product,
    Attention,
}

/// The contractions that `op` consists of; what else it computes runs beside them, element by element.
pub(super) fn contractions(op: &Op, inputs: &[&Fact], output: &Fact) -> Vec<Contraction> {
    match op {
        Op::Gemm(Gemm { product, segments, .. }) => {
            let rows = output.shape.split_last().map_or(&[][..], |(_, rows)| rows);
            let added =
                segments.iter().flat_map(|segment| inside(&segment.body, inputs, Some(&segment.acc(rows))));
            inside(product, inputs, None).into_iter().chain(added).collect()
        }
        _ => units(op).map(|units| contraction(op, units, inputs, output)).into_iter().collect(),
    }
}

fn units(op: &Op) -> Option<Units> {
    match op {
        Op::Attention(_) => Some(Units::Attention),
        _ if op.kind() == OpKind::Contraction => Some(Units::Product),
        _ => None,
    }
}

fn contraction(op: &Op, units: Units, inputs: &[&Fact], output: &Fact) -> Contraction {
    let dtype = match op {
        Op::MatmulCodes(MatmulCodes::MatmulI8) => DType::I8,
        Op::MatmulCodes(MatmulCodes::MatmulF8) => DType::F8E4M3,
        // Codes of a weight alone are widened to what they are multiplied with.
        _ => inputs.first().map_or(DType::F32, |input| input.dtype),
    };
    Contraction { units, dtype, flops: op.cost(inputs, output).flops }
}

/// The contractions among the terms of `body`. They multiply operands as they are, not widened as the terms after them.
fn inside(body: &Body, operands: &[&Fact], acc: Option<&Fact>) -> Vec<Contraction> {
    let Ok(facts) = body.infer(operands, acc) else { return Vec::new() };
    let fact = |arg: &Arg| match *arg {
        Arg::Operand(index) => operands.get(index).copied(),
        Arg::Term(index) => facts.get(index),
        Arg::Acc => acc,
    };
    let terms = body.terms().iter().zip(&facts);
    terms
        .filter_map(|(term, output)| {
            let inputs: Vec<_> = term.args.iter().map(fact).collect::<Option<_>>()?;
            Some(contraction(&term.op, units(&term.op)?, &inputs, output))
        })
        .collect()
}
