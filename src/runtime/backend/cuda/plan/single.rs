//! Unfused ops: each is planned as a formula of one term, or as a product without an epilogue.

use super::planner::Planner;
use crate::backend::cuda::matmul::{MatmulKind, MatmulLaunch, products_of};
use crate::backend::cuda::source::{Accumulator, Kernel, PRELUDE, Scaling, StoredValue, c_type, rowwise};
use crate::backend::cuda::unsupported::Unsupported;
use crate::backend::cuda::view::{Pointer, View};
use reflux_ir::op::{Arg, Body, BodyBuilder, Gemm, MatmulCodes, Op, Rescale, Segment, TimestepEmbedding};
use reflux_ir::{DType, Fact, Granularity, ValueId};
use std::fmt::Write;

/// Whether a row of the result is a formula over a row of each operand.
pub(super) fn is_formula(op: &Op) -> bool {
    let is_by_rows = op.works_by_rows() && op.kind().is_computed();
    is_by_rows || matches!(op, Op::Dequantize(_) | Op::Quantize(_))
}

impl Planner<'_> {
    pub(super) fn single(
        &mut self,
        id: ValueId,
        op: &Op,
        operands: &[ValueId],
        fact: &Fact,
    ) -> Result<StoredValue, Unsupported> {
        match op {
            Op::Quantize(op) if fact.scales.is_some_and(|scales| scales.per == Granularity::Tensor) => {
                self.quantize_all(id, op, operands[0], fact)
            }
            Op::Dequantize(_) if self.graph[operands[0]].fact.dtype.is_block() => {
                self.dequantize_blocks(id, operands[0], fact)
            }
            op if is_formula(op) => self.of_one_term(id, op, operands, fact),
            Op::Linear(_) => {
                let args = (0..operands.len()).map(Arg::Operand).collect();
                let mut product = BodyBuilder::default();
                let result = product.term(op.clone(), args);
                self.product_alone(id, product, result, operands, fact)
            }
            Op::Rescale(op) if self.is_rescaled(operands[0]) => {
                let (acc, matmul) = (operands[0], self.graph[operands[0]].op.clone());
                let read = [&self.graph.operands(acc)[..], &operands[1..]].concat();
                let mut product = BodyBuilder::default();
                let sums = product.term(matmul, vec![Arg::Operand(0), Arg::Operand(1)]);
                let args = [sums].into_iter().chain((2..read.len()).map(Arg::Operand)).collect();
                let result = product.term(op.clone(), args);
                self.product_alone(id, product, result, &read, fact)
            }
            Op::Rescale(_) => self.rescale(id, operands, fact),
            Op::MatmulCodes(op) => self.matmul_codes(id, *op, operands, fact),
            Op::TimestepEmbedding(op) => self.timestep_embedding(id, op, operands[0], fact),
            other => Err(Unsupported(format!("`{}` has no kernel", other.name()))),
        }
    }

    /// A formula of one term, which contains the constants among its operands.
    fn of_one_term(
        &mut self,
        id: ValueId,
        op: &Op,
        operands: &[ValueId],
        fact: &Fact,
    ) -> Result<StoredValue, Unsupported> {
        let takes = |id: &ValueId| {
            let fact = &self.graph[*id].fact;
            match op {
                Op::Cast(_) => !fact.is_quantized(),
                Op::Dequantize(_) => true,
                _ => fact.dtype.is_float(),
            }
        };
        if !operands.iter().all(takes) || !fact.dtype.is_float() && !fact.is_quantized() {
            return Err(Unsupported("there are no kernels for integer arithmetic".into()));
        }
        let (mut body, mut read) = (BodyBuilder::default(), Vec::new());
        let mut arg = |body: &mut BodyBuilder, id: ValueId| match &self.graph[id].op {
            constant @ Op::Constant(_) => body.term(constant.clone(), Vec::new()),
            _ => {
                let known = read.iter().position(|&other| other == id);
                Arg::Operand(known.unwrap_or_else(|| {
                    read.push(id);
                    read.len() - 1
                }))
            }
        };
        let args = operands.iter().map(|&id| arg(&mut body, id)).collect();
        let result = body.term(op.clone(), args);
        let body = body.finish(result).expect("it is of one term");
        self.formula(id, &body, &read, fact)
    }

    /// A product without an epilogue.
    fn product_alone(
        &mut self,
        id: ValueId,
        product: BodyBuilder,
        result: Arg,
        operands: &[ValueId],
        fact: &Fact,
    ) -> Result<StoredValue, Unsupported> {
        let columns = fact.shape.last().copied().unwrap_or(0);
        let product = product.finish(result).expect("it is short");
        let segments = vec![Segment { columns, body: Body::of(Arg::Acc) }];
        self.gemm(id, &Gemm { product, segments, dtype: fact.dtype }, operands, fact)
    }

    /// Whether `id` is a product of codes that only a `rescale` reads; the two are then one product.
    pub(super) fn is_rescaled(&self, id: ValueId) -> bool {
        let users: Vec<ValueId> = self.graph.users(id).collect();
        let is_product = matches!(self.graph[id].op, Op::MatmulCodes(_));
        let is_result = self.graph.outputs().iter().any(|output| output.value == id);
        let [user] = users[..] else { return false };
        is_product && !is_result && matches!(self.graph[user].op, Op::Rescale(_))
    }

    /// The sums of a product of codes.
    fn matmul_codes(
        &mut self,
        id: ValueId,
        op: MatmulCodes,
        operands: &[ValueId],
        fact: &Fact,
    ) -> Result<StoredValue, Unsupported> {
        let [x, weight] = [self.data(operands[0])?, self.data(operands[1])?];
        let (kind, weight) = self.factors(id, op, &x, weight)?;
        let y = self.room(&fact.shape, fact.dtype);
        self.push_matmul(id, MatmulLaunch::new(kind, [&x, &weight, &y])?);
        Ok(y.into())
    }

    /// The kind of product for these codes, and the weight in the form that it takes.
    pub(super) fn factors(
        &mut self,
        id: ValueId,
        op: MatmulCodes,
        x: &View,
        weight: View,
    ) -> Result<(MatmulKind, View), Unsupported> {
        match op {
            MatmulCodes::MatmulI8 => Ok((MatmulKind::I8, weight)),
            MatmulCodes::MatmulF8 => {
                self.takes_eight_bit_floats()?;
                Ok((MatmulKind::F8, weight))
            }
            MatmulCodes::MatmulW8 if x.dtype == DType::BF16 => {
                // Every code is exact in bf16.
                let wide = self.room(&weight.shape, DType::BF16);
                self.copy(id, &weight, wide.clone());
                Ok((MatmulKind::Bf16, wide))
            }
            MatmulCodes::MatmulW8 => Err(products_of(x.dtype)),
        }
    }

    /// Rescales the sums of a product that are stored in memory.
    fn rescale(
        &mut self,
        id: ValueId,
        operands: &[ValueId],
        fact: &Fact,
    ) -> Result<StoredValue, Unsupported> {
        let sums = self.data(operands[0])?;
        let scaling = self.scaling(operands, fact)?;
        let target = self.target(id, fact);
        let product = Accumulator::Sums(Box::new((sums, scaling)));
        self.push(id, rowwise(&Body::of(Arg::Acc), &[], Some(&product), &target)?);
        Ok(target)
    }

    /// The factors and the bias of `rescale` over `operands`, whose result is of type `fact`.
    pub(super) fn scaling(&self, operands: &[ValueId], fact: &Fact) -> Result<Scaling, Unsupported> {
        let facts: Vec<&Fact> = operands.iter().map(|&id| &self.graph[id].fact).collect();
        let (codes, bias) = operands[1..].split_at(Rescale::quantized(&facts));
        let (&weight, x) = codes.split_last().expect("the weight is quantized");
        let columns = fact.shape.last().copied().unwrap_or(0);
        // A single scale applies to every column.
        let column = match self.scales(weight)? {
            scale if scale.shape.is_empty() => View { shape: vec![columns], strides: vec![0], ..scale },
            scales => scales,
        };
        Ok(Scaling {
            row: x.first().map(|&x| self.scales(x)).transpose()?,
            column: Some(column),
            bias: bias.first().map(|&bias| self.data(bias)).transpose()?,
        })
    }

    fn timestep_embedding(
        &mut self,
        id: ValueId,
        op: &TimestepEmbedding,
        times: ValueId,
        fact: &Fact,
    ) -> Result<StoredValue, Unsupported> {
        let times = self.data(times)?;
        let times = if times.is_contiguous() { times } else { self.copied(id, &times) };
        let (count, half) = (times.shape.iter().product::<usize>(), op.dim / 2);
        let mut table = String::new();
        for frequency in op.frequencies() {
            // Writing to a string cannot fail.
            let _ = write!(table, "{frequency:?}f, ");
        }
        let to = self.room(&fact.shape, fact.dtype);
        let text = format!(
            "{PRELUDE}\n#define ELEMENT {}\n#define TIMES {count}\n#define HALF {half}\n\
             __constant__ const float FREQUENCIES[HALF] = {{ {table}}};\n{}",
            c_type(times.dtype),
            include_str!("../kernels/timestep_embedding.cuh")
        );
        let blocks = u32::try_from((count * half).div_ceil(256));
        let kernel = Kernel {
            name: "timestep_embedding".into(),
            text,
            grid: [blocks.map_err(|error| Unsupported(error.to_string()))?, 1, 1],
            block: 256,
            shared: 0,
            maps: Vec::new(),
            pointers: [&times, &to].map(Pointer::to).to_vec(),
        };
        self.push(id, kernel);
        Ok(to.into())
    }
}
