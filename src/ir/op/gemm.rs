use super::rowwise::{in_order, result};
use super::{Arg, Binary, Body, BodyBuilder, InferError, Linear, Op, OpKind, Operator, ensure, float};
use crate::{DType, Fact};
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// A product and its epilogue, which is applied to each element before it is written.
///
/// `product` is `linear(x, W, b)`, or `rescale(matmul_i8(x, W), x, W, b)` and the like, with N columns; it stays f32. The
/// columns are divided into segments, each with its own formula over `acc`, which stands for its columns of the product, and
/// over operands that broadcast to them. A product for queries, keys, values and MLP can thus apply the activation to the MLP
/// only. The result is one value, and its slices are the segments.
///
/// A formula may add further products to its columns before anything else, as in `silu(acc + linear(h, B))`: they are summed up
/// with the product itself, in f32. A branch of low rank beside a linear is such a product.
///
/// Operands are in the order in which product and segments name them; the result is rounded to `dtype`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gemm {
    pub product: Body,
    pub segments: Vec<Segment>,
    pub dtype: DType,
}

/// Neighbouring columns of a product, and the formula applied to them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    pub columns: usize,
    pub body: Body,
}

impl Segment {
    /// The fact of its columns of the product; `rows` are the leading extents.
    pub fn acc(&self, rows: &[usize]) -> Fact {
        Fact::new(DType::F32, [rows, &[self.columns]].concat())
    }
}

impl Gemm {
    /// Whether `op` can be part of a product.
    fn is_product(op: &Op) -> bool {
        matches!(op, Op::Linear(_) | Op::MatmulCodes(_) | Op::Rescale(_))
    }

    /// The operands in the order in which the text names them.
    pub fn operands(&self) -> Vec<usize> {
        let mut operands = self.product.operands();
        for segment in &self.segments {
            for operand in segment.body.operands() {
                if !operands.contains(&operand) {
                    operands.push(operand);
                }
            }
        }
        operands
    }

    /// The gemm that reads the products its segments add as operands, behind those that it has, and these products: the
    /// operands `[x, W]` of each.
    pub fn split_sums(&self) -> (Vec<[usize; 2]>, Self) {
        let (first, mut products) = (self.operands().len(), Vec::new());
        let mut segments = Vec::with_capacity(self.segments.len());
        for Segment { columns, body } in &self.segments {
            let (added, rest) = body.split_sum();
            let mut builder = BodyBuilder::default();
            let mut sum = Arg::Acc;
            for product in added {
                sum = builder.term(Binary::Add, vec![sum, Arg::Operand(first + products.len())]);
                products.push(product);
            }
            let result = builder.append(&rest, |arg| if arg == Arg::Acc { sum } else { arg });
            let body = builder.finish(result).expect("its text is no longer than it was");
            segments.push(Segment { columns: *columns, body });
        }
        (products, Self { product: self.product.clone(), segments, dtype: self.dtype })
    }

    /// The fact of the product: f32 `[…, N]`.
    pub fn product_fact(&self, inputs: &[&Fact]) -> Result<Fact, InferError> {
        if let Some(term) = self.product.terms().iter().find(|term| !Self::is_product(&term.op)) {
            return Err(InferError(format!("`{}` is not a product", term.op.name())));
        }
        let product = self.product.infer_result(inputs, None)?;
        ensure!(
            self.product.last().is_some() && product.dtype == DType::F32,
            "{product} is not the type of a product"
        );
        Ok(product)
    }

    /// The first column of each segment.
    pub fn starts(&self) -> impl Iterator<Item = usize> {
        self.segments.iter().scan(0, |start, segment| {
            let first = *start;
            *start += segment.columns;
            Some(first)
        })
    }
}

impl Operator for Gemm {
    const NAMES: &'static [&'static str] = &["gemm"];
    const KIND: OpKind = OpKind::Fused;

    fn arity(&self) -> RangeInclusive<usize> {
        let operands = self.operands().len();
        operands..=operands
    }

    fn takes_quantized(&self) -> bool {
        true
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Fact, InferError> {
        in_order(self.operands())?;
        let product = self.product_fact(inputs)?;
        let (&columns, rows) = product.shape.split_last().expect("a product has columns");
        let divided = self.segments.iter().map(|segment| segment.columns).fold(0, usize::saturating_add);
        ensure!(
            divided == columns,
            "the columns of the segments add up to {divided}, but the product has {columns}"
        );
        for segment in &self.segments {
            let (added, formula) = segment.body.split_sum();
            if let Some(term) = formula.terms().iter().find(|term| !term.op.works_by_elements()) {
                return Err(InferError(format!("`{}` does not work element by element", term.op.name())));
            }
            for operand in segment.body.operands() {
                float("an operand of an epilogue", inputs[operand])?;
            }
            let acc = segment.acc(rows);
            for product in added {
                let [x, weight] = product.map(|operand| inputs[operand].widened());
                let shape = Linear {}.infer(&[&x, &weight])?.shape;
                ensure!(shape == acc.shape, "what is added to columns of shape {} is {shape}", acc.shape);
            }
            let made = segment.body.infer_result(inputs, Some(&acc))?;
            ensure!(
                made.shape == acc.shape,
                "the formula of a segment of shape {} gives shape {}",
                acc.shape,
                made.shape
            );
        }
        result(product, self.dtype)
    }

    fn flops(&self, inputs: &[&Fact], output: &Fact) -> u64 {
        let Some((_, rows)) = output.shape.split_last() else { return 0 };
        let epilogues =
            self.segments.iter().map(|segment| segment.body.flops(inputs, Some(&segment.acc(rows))));
        epilogues.fold(self.product.flops(inputs, None), u64::saturating_add)
    }

    /// `PRODUCT {FORMULA}`, `PRODUCT {columns: FORMULA, …}`, or the product alone.
    fn formula(&self, operand: &dyn Fn(usize) -> String) -> Option<String> {
        let product = self.product.written(operand);
        Some(match &self.segments[..] {
            [only] if only.body.result() == Arg::Acc => product,
            [only] => format!("{product} {{{}}}", only.body.written(operand)),
            several => {
                let segment =
                    |Segment { columns, body }: &Segment| format!("{columns}: {}", body.written(operand));
                let segments: Vec<_> = several.iter().map(segment).collect();
                format!("{product} {{{}}}", segments.join(", "))
            }
        })
    }
}
