//! Fused ops at random.

use super::{Maker, pick};
use reflux_ir::op::{
    Arg, Body, BodyBuilder, Cast, Constant, Gemm, LayerNorm, Linear, MatmulCodes, Op, Quantize, Real,
    Rescale, RmsNorm, Rope, Rowwise, Segment,
};
use reflux_ir::{DType, Fact, Granularity, Scales, ValueId};
use serde_json::Map;

/// A formula in the making, with what it reads.
#[derive(Default)]
struct Formula {
    builder: BodyBuilder,
    operands: Vec<ValueId>,
}

impl Formula {
    fn operand(&mut self, id: ValueId) -> Arg {
        self.operands.push(id);
        Arg::Operand(self.operands.len() - 1)
    }
}

impl Maker<'_> {
    pub(super) fn rowwise(&mut self) -> Option<ValueId> {
        let x = self.float(1..5);
        let mut formula = Formula::default();
        let mut result = formula.operand(x);
        for _ in 0..self.rng.usize(1..6) {
            result = self.term(&mut formula, x, result, true);
        }
        let mut dtype = pick(self.rng, &[self.dtype, self.dtype, DType::F32]);
        if self.rng.usize(0..8) == 0 {
            dtype = pick(self.rng, &[DType::I8, DType::F8E4M3]);
            let scales = Scales { per: Granularity::Row, dtype: DType::F32 };
            let op = Quantize { dtype, scales, quant_min: None, eps: Real(1e-5) };
            result = formula.builder.term(op, vec![result]);
        }
        let body = formula.builder.finish(result)?;
        let order = body.operands();
        let body = renumbered(&body, &order);
        let operands: Vec<ValueId> = order.iter().map(|&index| formula.operands[index]).collect();
        self.add(Rowwise { body, dtype }, &operands)
    }

    pub(super) fn gemm(&mut self) -> Option<ValueId> {
        let x = self.float(1..5);
        let fact = self.fact(x);
        let (features, columns) = (*fact.shape.last()?, pick(self.rng, &[2, 4, 8, 16]));
        let mut product = Formula::default();
        let result = if self.rng.usize(0..3) > 0 {
            let weight = self.of(Fact::new(fact.dtype, [columns, features]));
            let mut args = vec![product.operand(x), product.operand(weight)];
            if self.rng.bool() {
                let bias = self.of(Fact::new(fact.dtype, [columns]));
                args.push(product.operand(bias));
            }
            product.builder.term(Linear {}, args)
        } else {
            let scales = Scales { per: Granularity::Row, dtype: DType::F32 };
            let weight = self.weight(Fact::new(DType::I8, [columns, features]).scaled(scales));
            let args = vec![product.operand(x), product.operand(weight)];
            let acc = product.builder.term(MatmulCodes::MatmulW8, args);
            product.builder.term(Rescale { dtype: DType::F32 }, vec![acc, Arg::Operand(1)])
        };
        let body = product.builder.finish(result)?;
        let mut operands = product.operands;
        let parts = if self.rng.usize(0..3) == 0 { vec![columns / 2; 2] } else { vec![columns] };
        let mut segments = Vec::new();
        for columns in parts {
            let like =
                self.of(Fact::new(fact.dtype, [&fact.shape[..fact.shape.len() - 1], &[columns]].concat()));
            let mut formula = Formula { builder: BodyBuilder::default(), operands };
            let mut result = Arg::Acc;
            for _ in 0..self.rng.usize(0..4) {
                result = self.term(&mut formula, like, result, false);
            }
            segments.push(Segment { columns, body: formula.builder.finish(result)? });
            operands = formula.operands;
        }
        let dtype = pick(self.rng, &[fact.dtype, fact.dtype, DType::F32]);
        let gemm = Gemm { product: body, segments, dtype };
        let order = gemm.operands();
        let segment = |Segment { columns, body }: &Segment| Segment {
            columns: *columns,
            body: renumbered(body, &order),
        };
        let op = Gemm {
            product: renumbered(&gemm.product, &order),
            segments: gemm.segments.iter().map(segment).collect(),
            dtype,
        };
        let operands: Vec<ValueId> = order.iter().map(|&index| operands[index]).collect();
        self.add(op, &operands)
    }

    /// One more term over `arg`, whose shape is that of `x`.
    fn term(&mut self, formula: &mut Formula, x: ValueId, arg: Arg, whole_rows: bool) -> Arg {
        let names: Vec<&str> = Op::names().collect();
        let (eps, shape) = (Real(1e-5), self.fact(x).shape);
        match pick(self.rng, &names) {
            "layer_norm" if whole_rows => formula.builder.term(LayerNorm { eps }, vec![arg]),
            "rms_norm" if whole_rows => {
                let last = self.last_of(x);
                let weight = self.of(last);
                let weight = formula.operand(weight);
                formula.builder.term(RmsNorm { eps }, vec![arg, weight])
            }
            "rope" if whole_rows && shape.len() == 4 && shape[3].is_multiple_of(2) => {
                let table = self.of(Fact::new(DType::F32, [2, shape[1], shape[3] / 2]));
                let table = formula.operand(table);
                formula.builder.term(Rope {}, vec![arg, table])
            }
            "cast" => {
                let dtype = pick(self.rng, &[DType::F32, DType::BF16, DType::F16]);
                formula.builder.term(Cast { dtype }, vec![arg])
            }
            name => {
                let op = Op::from_text(name, Map::new()).and_then(Result::ok);
                let Some(op) = op.filter(Op::works_by_elements) else { return arg };
                let mut args = vec![arg];
                for _ in 1..*op.arity().start() {
                    args.push(self.other_term(formula, x));
                }
                if self.rng.bool() {
                    args.reverse();
                }
                formula.builder.term(op, args)
            }
        }
    }

    /// A number, or an operand that broadcasts.
    fn other_term(&mut self, formula: &mut Formula, x: ValueId) -> Arg {
        if self.rng.usize(0..3) == 0 {
            let value = Real(pick(self.rng, &[0.0, 1.0, -1.0, 0.5, 2.0]));
            return formula.builder.term(Constant { value, dtype: DType::F32 }, Vec::new());
        }
        let other = self.broadcasting(x);
        formula.operand(other)
    }
}

/// `body` with its operands numbered by their place in `order`.
fn renumbered(body: &Body, order: &[usize]) -> Body {
    body.renumbered(|index| order.iter().position(|&known| known == index).unwrap_or(index))
}
