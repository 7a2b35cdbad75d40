//! Products with epilogues: one kernel if there is one, else a product and a kernel for each segment.

use super::planner::{Moved, Planner};
use crate::backend::cuda::added::AddedProduct;
use crate::backend::cuda::gemm;
use crate::backend::cuda::matmul::{MatmulKind, MatmulLaunch, products_of};
use crate::backend::cuda::source::{self, Accumulator, PlacedSegment, Scaling, StoredValue};
use crate::backend::cuda::unsupported::Unsupported;
use crate::backend::cuda::view::{Pointer, View};
use reflux_ir::op::{Arg, Body, Gemm, Op, Segment, Term, Unary};
use reflux_ir::{DType, Fact, ValueId};
use std::ops::Range;

impl Planner<'_> {
    /// Plans the product and the epilogues of its segments.
    pub(super) fn gemm(
        &mut self,
        id: ValueId,
        op: &Gemm,
        operands: &[ValueId],
        fact: &Fact,
    ) -> Result<StoredValue, Unsupported> {
        let target = self.target(id, fact);
        let operand = |arg: &Arg| match arg {
            Arg::Operand(index) => Ok(operands[*index]),
            other => Err(Unsupported(format!("a product does not read {other:?}"))),
        };
        match op.product.terms() {
            [Term { op: Op::Linear(_), args }] => {
                let (x, weight) = (self.data(operand(&args[0])?)?, self.data(operand(&args[1])?)?);
                if x.dtype != DType::BF16 || fact.dtype != DType::BF16 && op.segments.len() > 1 {
                    return Err(products_of(x.dtype));
                }
                if weight.shape.len() != 2 {
                    return Err(Unsupported("there is no kernel for weights in panels".into()));
                }
                let bias = args.get(2).map(|arg| self.data(operand(arg)?)).transpose()?;
                // Rows of several pictures may not be evenly spaced.
                let x = if x.rows().is_some() { x } else { self.copied(id, &x) };
                let scaling = Scaling { bias: bias.clone(), ..Scaling::default() };
                if self.fused(
                    (id, op),
                    (MatmulKind::Bf16, [&x, &weight]),
                    &scaling,
                    operands,
                    &target.data,
                )? {
                    return Ok(target);
                }
                let in_place = fact.dtype == DType::BF16 && target.data.rows().is_some();
                // If the product is not in place, it is stored rounded to bf16.
                let y = if in_place { target.data.clone() } else { self.room(&fact.shape, DType::BF16) };
                let is_gelu = matches!(&op.segments[..], [only] if is_gelu_of_acc(&only.body));
                let gelu = is_gelu && bias.is_some() && in_place;
                let matmul = MatmulLaunch::new(MatmulKind::Bf16, [&x, &weight, &y])?;
                let bias = bias.as_ref().map(Pointer::to);
                self.push_matmul(id, MatmulLaunch { bias, gelu, ..matmul });
                if !gelu {
                    let product = |part: &dyn Fn(&View) -> View| Accumulator::Numbers(part(&y));
                    self.epilogues(id, op, operands, &target.data, product, in_place)?;
                }
            }
            [Term { op: Op::MatmulCodes(codes_op), args: codes }, Term { op: Op::Rescale(_), args }] => {
                let factors = [operand(&codes[0])?, operand(&codes[1])?];
                // The rescaled value is a term; the others are operands.
                let others = args[1..].iter().map(operand).collect::<Result<Vec<_>, _>>()?;
                let scaling = self.scaling(&[&[id], &others[..]].concat(), fact)?;
                let [x, weight] = [self.data(factors[0])?, self.data(factors[1])?];
                let (kind, weight) = self.factors(id, *codes_op, &x, weight)?;
                let x = if x.rows().is_some() { x } else { self.copied(id, &x) };
                if self.fused((id, op), (kind, [&x, &weight]), &scaling, operands, &target.data)? {
                    return Ok(target);
                }
                let sums = self.room(&fact.shape, kind.sums());
                self.push_matmul(id, MatmulLaunch::new(kind, [&x, &weight, &sums])?);
                let product = |part: &dyn Fn(&View) -> View| {
                    Accumulator::Sums(Box::new((part(&sums), scaling.part(part))))
                };
                self.epilogues(id, op, operands, &target.data, product, false)?;
            }
            _ => return Err(Unsupported("there is no kernel for this product".into())),
        }
        Ok(target)
    }

    /// Plans the product and its epilogue as one kernel, if there is one; returns whether there is.
    fn fused(
        &mut self,
        (id, op): (ValueId, &Gemm),
        (kind, matrices): (MatmulKind, [&View; 2]),
        scaling: &Scaling,
        operands: &[ValueId],
        y: &View,
    ) -> Result<bool, Unsupported> {
        let (mut added, mut formulas) = (Vec::new(), Vec::new());
        for (Segment { columns, body }, start) in op.segments.iter().zip(op.starts()) {
            let (products, formula) = body.split_sum();
            for [x, weight] in products.iter().map(|product| product.map(|index| self.data(operands[index])))
            {
                added.push(AddedProduct { columns: start..start + columns, x: x?, weight: weight? });
            }
            formulas.push((start, columns, formula));
        }
        // Formulas do not read codes or products.
        let read: Vec<usize> = formulas.iter().flat_map(|(_, _, formula)| formula.operands()).collect();
        let views: Vec<View> =
            read.iter().map(|&index| self.data(operands[index])).collect::<Result<_, _>>()?;
        let number = |index| read.iter().position(|&known| known == index).expect("it is read");
        let moved = self.moved.get(&id).cloned().unwrap_or_default();
        let mut parts = Vec::new();
        for (start, columns, formula) in formulas {
            let body = formula.renumbered(number);
            let mut at = start;
            let within = moved.iter().filter(|moved| (start..start + columns).contains(&moved.columns.start));
            for Moved { columns, to, .. } in within {
                let between = at..columns.start;
                parts.extend((!between.is_empty()).then(|| part(y, between, &body)));
                parts.push(PlacedSegment {
                    columns: columns.clone(),
                    body: body.clone(),
                    target: to.clone(),
                });
                at = columns.end;
            }
            let rest = at..start + columns;
            parts.extend((!rest.is_empty()).then(|| part(y, rest, &body)));
        }
        let Ok(kernels) = gemm::kernels(self.gpu, kind, matrices, scaling, &added, &parts, &views) else {
            return Ok(false);
        };
        self.push_one_of(id, kernels);
        for Moved { slice, to, .. } in moved {
            self.stored.insert(slice, to.into());
        }
        Ok(true)
    }

    /// A kernel for each segment, except those without an epilogue whose product is already in its place.
    fn epilogues(
        &mut self,
        id: ValueId,
        op: &Gemm,
        operands: &[ValueId],
        whole: &View,
        product: impl Fn(&dyn Fn(&View) -> View) -> Accumulator,
        in_place: bool,
    ) -> Result<(), Unsupported> {
        let (added, op) = op.split_sums();
        // Formulas do not read codes or products.
        let mut views = self.views(operands)?;
        for product in added {
            let [x, weight] = product.map(|index| views[index].clone());
            if x.dtype != DType::BF16 {
                return Err(products_of(x.dtype));
            }
            let shape = [&x.shape[..x.shape.len() - 1], &weight.shape[..1]].concat();
            let y = self.room(&shape, DType::BF16);
            self.push_matmul(id, MatmulLaunch::new(MatmulKind::Bf16, [&x, &weight, &y])?);
            views.push(y);
        }
        for (Segment { columns, body }, start) in op.segments.iter().zip(op.starts()) {
            if in_place && body.result() == Arg::Acc {
                continue;
            }
            let part = |view: &View| view.slice(view.shape.len() - 1, start, start + columns);
            let read = body.operands();
            let numbered =
                body.renumbered(|index| read.iter().position(|&known| known == index).expect("it is read"));
            let read: Vec<StoredValue> = read.iter().map(|&index| views[index].clone().into()).collect();
            let target = part(whole).into();
            let kernel = source::rowwise(&numbered, &read, Some(&product(&part)), &target)?;
            self.push(id, kernel);
        }
        Ok(())
    }
}

/// `columns` of a product, from which `body` computes the same columns of `y`.
fn part(y: &View, columns: Range<usize>, body: &Body) -> PlacedSegment {
    let target = y.slice(y.shape.len() - 1, columns.start, columns.end);
    PlacedSegment { columns, body: body.clone(), target }
}

fn is_gelu_of_acc(body: &Body) -> bool {
    matches!(body.terms(), [Term { op: Op::Unary(Unary::GeluTanh), args }] if args[..] == [Arg::Acc])
}
