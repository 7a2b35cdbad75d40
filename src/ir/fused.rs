//! The normal form of fused ops: formulas name each operand once and contain constants. Only this form survives printing: text
//! cannot show that two operands are the same value, or that one is a constant.

use crate::op::{Arg, Body, BodyBuilder, Constant, Gemm, Op, Rowwise, Segment};
use crate::{DType, Graph, ValueId};

impl Graph {
    /// `op` over `operands` in its one form, if it is a fused op.
    pub(crate) fn normal_form(&self, op: Op, operands: Vec<ValueId>) -> (Op, Vec<ValueId>) {
        if !op.is_fused() || self.is_normal(&operands) {
            return (op, operands);
        }
        let read = |body: &Body| self.reading(body, &operands);
        let (op, order) = match op {
            Op::Rowwise(Rowwise { body, dtype }) => {
                let body = read(&body);
                let order = body.operands();
                (Rowwise { body: renumbered(&body, &order), dtype }.into(), order)
            }
            Op::Gemm(Gemm { product, segments, dtype }) => {
                let segments = segments.iter();
                let segments =
                    segments.map(|Segment { columns, body }| Segment { columns: *columns, body: read(body) });
                let mut gemm = Gemm { product: read(&product), segments: segments.collect(), dtype };
                let order = gemm.operands();
                gemm.product = renumbered(&gemm.product, &order);
                gemm.segments.iter_mut().for_each(|segment| segment.body = renumbered(&segment.body, &order));
                (gemm.into(), order)
            }
            op => unreachable!("`{op}` is not a fused op"),
        };
        (op, order.into_iter().map(|index| operands[index]).collect())
    }

    /// Whether a fused op over `operands` is in its one form.
    pub(crate) fn is_normal(&self, operands: &[ValueId]) -> bool {
        let is_new = |(at, id): (usize, &ValueId)| !operands[..at].contains(id);
        operands.iter().enumerate().all(is_new)
            && !operands.iter().any(|&id| matches!(self[id].op, Op::Constant(_)))
    }

    /// `body` with the first of equal operands in the place of all of them, and numbers in the place of constants.
    fn reading(&self, body: &Body, operands: &[ValueId]) -> Body {
        let mut builder = BodyBuilder::default();
        let args: Vec<Arg> = operands
            .iter()
            .map(|&id| match &self[id].op {
                Op::Constant(constant) => {
                    builder.term(Constant::of(constant.rounded() as f32, DType::F32), Vec::new())
                }
                _ => Arg::Operand(operands.iter().position(|&other| other == id).expect("it is one of them")),
            })
            .collect();
        let result = builder.append(body, |arg| match arg {
            Arg::Operand(index) => args.get(index).copied().unwrap_or(arg),
            arg => arg,
        });
        builder.finish(result).expect("its text is no longer than it was")
    }
}

/// `body` with its operands numbered by their place in `order`.
fn renumbered(body: &Body, order: &[usize]) -> Body {
    let place = |index: usize| order.iter().position(|&known| known == index);
    body.renumbered(|index| place(index).expect("the order has every operand"))
}
