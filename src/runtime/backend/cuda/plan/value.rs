//! The kernels of each op.

use super::lookup;
use super::planner::Planner;
use crate::backend::cuda::attention::{self, Handover};
use crate::backend::cuda::known::is_known;
use crate::backend::cuda::source::{self, StoredValue};
use crate::backend::cuda::unsupported::Unsupported;
use crate::backend::cuda::view::View;
use reflux_ir::op::{
    Arg, Attention, Body, BodyBuilder, Dequantize, Op, Rowwise, Slice, Transpose, axis_index,
};
use reflux_ir::{DType, Fact, ValueId};

impl Planner<'_> {
    pub fn value(&mut self, id: ValueId) -> Result<(), Unsupported> {
        let node = &self.graph[id];
        let (op, fact) = (node.op.clone(), node.fact.clone());
        let operands = self.graph.operands(id);
        if !self.graph.is_leaf(id) && fact.shape.elements() == 0 {
            let nothing = self.target(id, &fact);
            self.stored.insert(id, nothing);
            return Ok(());
        }
        if operands.iter().any(|&id| self.graph[id].fact.shape.elements() == 0) {
            return Err(Unsupported("the tensor is empty".into()));
        }
        let stored = match &op {
            Op::Constant(_) => return Ok(()),
            Op::Input(_) | Op::Weight(_) => self.given(id, &fact),
            _ if is_known(self.graph, id) => self.given(id, &fact),
            // Computed with its operand.
            Op::Slice(_) if self.stored.contains_key(&id) => return Ok(()),
            Op::Slice(Slice { axis, start, end }) => {
                let data = self.data(operands[0])?;
                let axis = axis_index(*axis, data.shape.len());
                data.slice(axis, *start, *end).into()
            }
            Op::Reshape(reshape) => {
                let data = self.data(operands[0])?;
                match data.reshape(&reshape.shape) {
                    Some(data) => data.into(),
                    None => {
                        let copy = self.copied(id, &data);
                        let data = copy.reshape(&reshape.shape).expect("a copy has no gaps");
                        data.into()
                    }
                }
            }
            // Computed, or copied, where an exchange reads them.
            Op::Rowwise(rowwise) if self.scattered.contains_key(&id) => {
                return self.scattered_formula(id, rowwise, &operands, &fact);
            }
            Op::Concat(_) if self.exchanged_in_parts.contains(&id) => return Ok(()),
            Op::Concat(concat) => {
                let axis = axis_index(concat.axis, fact.shape.len());
                let whole = self.reserved[&id].clone();
                let mut start = 0;
                for operand in operands {
                    let end = start + self.graph[operand].fact.shape[axis];
                    let part = whole.slice(axis, start, end);
                    start = end;
                    let parts = part.views().into_iter().zip(self.stored(operand)?.views());
                    for (part, data) in parts {
                        if !data.is_same_place(&part) {
                            self.copy(id, &data, part);
                        }
                    }
                }
                whole
            }
            Op::Select(_) => {
                let (table, index) = (self.data(operands[0])?, self.data(operands[1])?);
                let rows_apart = if index.shape.is_empty() { 0 } else { table.shape[index.shape.len()] };
                let target = self.target(id, &fact);
                self.push(id, lookup::gather(&table, &index, rows_apart, &target.data)?);
                target.data.into()
            }
            Op::Embedding(_) => {
                let (index, table) = (self.data(operands[0])?, self.data(operands[1])?);
                let to = self.room(&fact.shape, fact.dtype);
                self.push(id, lookup::gather(&table, &index, 0, &to)?);
                to.into()
            }
            Op::Argmax(_) => {
                let x = self.data(operands[0])?;
                let to = self.room(&fact.shape, fact.dtype);
                self.push(id, lookup::argmax(&x, &to)?);
                to.into()
            }
            Op::Mean(_) => {
                let x = self.data(operands[0])?;
                let x = if x.is_contiguous() { x } else { self.copied(id, &x) };
                let to = self.room(&fact.shape, fact.dtype);
                self.push(id, lookup::mean(&x, &to)?);
                to.into()
            }
            Op::Rowwise(Rowwise { body, .. }) => self.formula(id, body, &operands, &fact)?,
            Op::Gemm(gemm) => self.gemm(id, gemm, &operands, &fact)?,
            Op::Attention(attention) => {
                if let Some(&bias) = attention.bias(&operands) {
                    self.lay_out(bias)?;
                }
                if let Some(&bound) = attention.bound(&operands) {
                    self.data_or_constant(bound);
                }
                self.attention(id, attention, &operands, &fact)?
            }
            op @ (Op::Shard(_) | Op::AllGather(_) | Op::AllToAll(_)) => self.together(id, op, operands[0])?,
            Op::Transpose(Transpose { perm }) => self.data(operands[0])?.permuted(perm).into(),
            Op::Conv2d(conv2d) => self.conv2d(id, conv2d, &operands, &fact)?,
            Op::GroupNorm(norm) => self.group_norm(id, norm, &operands, &fact)?,
            Op::Upsample(upsample) => {
                let x = self.data(operands[0])?;
                self.upsample(id, upsample, &x, &fact)?
            }
            // Computed with its `rescale`.
            Op::MatmulCodes(_) if self.is_rescaled(id) => return Ok(()),
            op => self.single(id, op, &operands, &fact)?,
        };
        self.stored.insert(id, stored);
        Ok(())
    }

    fn attention(
        &mut self,
        id: ValueId,
        op: &Attention,
        operands: &[ValueId],
        fact: &Fact,
    ) -> Result<StoredValue, Unsupported> {
        let (mut views, target) = (self.views(operands)?, self.target(id, fact));
        let mut scales = Vec::new();
        for (index, &operand) in operands.iter().enumerate().take(2) {
            if !self.graph[operand].fact.is_quantized() {
                continue;
            }
            if attention::takes_codes(self.gpu, op, &views) {
                scales.push(self.scales(operand)?);
            } else {
                views[index] = self.numbers(id, operand, fact.dtype)?;
            }
        }
        if attention::is_single_head(&views[0]) && op.bias(&views).is_none() {
            self.single_head(id, op, [&views[0], &views[1], &views[2]], &target.data)?;
        } else {
            let handover = Handover::needed(self.gpu, op, &views).map(|[numbers, words]| {
                let partials = self.room(&[numbers], DType::F32);
                Ok(Handover { partials, signals: self.signals(words)? })
            });
            let handover = handover.transpose()?;
            let kernel = attention::kernel(self.gpu, op, &views, &scales, handover.as_ref(), &target.data)?;
            self.push(id, kernel);
        }
        Ok(target.data.into())
    }

    /// The numbers of the codes `codes`, by a kernel of its own for what computes `id`.
    fn numbers(&mut self, id: ValueId, codes: ValueId, dtype: DType) -> Result<View, Unsupported> {
        let mut body = BodyBuilder::default();
        let result = body.term(Dequantize { dtype }, vec![Arg::Operand(0)]);
        let body = body.finish(result).expect("it is of one term");
        let (stored, room) = (self.stored(codes)?, self.room(&self.graph[codes].fact.shape.clone(), dtype));
        self.push(id, source::rowwise(&body, &[stored], None, &room.clone().into())?);
        Ok(room)
    }

    /// Makes the last axis of `id` contiguous, by a copy if necessary.
    pub fn lay_out(&mut self, id: ValueId) -> Result<(), Unsupported> {
        let data = self.data(id)?;
        if data.strides.last() != Some(&1) {
            let data = self.copied(id, &data);
            self.stored.insert(id, data.into());
        }
        Ok(())
    }

    /// A formula without a product.
    pub fn formula(
        &mut self,
        id: ValueId,
        body: &Body,
        operands: &[ValueId],
        fact: &Fact,
    ) -> Result<StoredValue, Unsupported> {
        let operands = operands.iter().map(|&id| self.stored(id)).collect::<Result<Vec<_>, _>>()?;
        self.takes_codes(fact)?;
        let target = match body.works_by_elements() {
            true => self.target_like(id, fact, &operands),
            false => self.target(id, fact),
        };
        self.push(id, source::rowwise(body, &operands, None, &target)?);
        Ok(target)
    }

    /// Checks that the GPU can compute with the codes of `fact`, if it is quantized.
    pub fn takes_codes(&self, fact: &Fact) -> Result<(), Unsupported> {
        if fact.dtype == DType::F8E4M3 { self.takes_eight_bit_floats() } else { Ok(()) }
    }

    pub fn takes_eight_bit_floats(&self) -> Result<(), Unsupported> {
        /// Older GPUs neither convert to f8e4m3 nor multiply it.
        const FIRST: (u32, u32) = (8, 9);
        if self.gpu.capability < FIRST {
            return Err(Unsupported("GPUs before sm_89 do not compute in f8e4m3".into()));
        }
        Ok(())
    }
}
