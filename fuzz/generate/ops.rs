//! One random op over suitable operands.

use super::{Maker, pick};
use reflux_ir::op::{
    AllGather, AllToAll, Argmax, Attention, AvgPool2d, Cast, Concat, Conv2d, Dequantize, Embedding,
    GroupNorm, LayerNorm, Linear, Matmul, MatmulCodes, MaxPool2d, Mean, Op, Parts, PositionIds, Quantize,
    Real, RelativeBuckets, Rescale, Reshape, RmsNorm, Rope, RopeTable, ScoreBound, Select, Shard, Slice,
    Softmax, TimestepEmbedding, Transpose, Upsample, Where,
};
use reflux_ir::{DType, Fact, Granularity, Scales, Shape, ValueId};
use serde_json::Map;

const FLOATS: [DType; 3] = [DType::F32, DType::BF16, DType::F16];

impl Maker<'_> {
    /// Adds one of all ops; nothing where no operands were found that it takes.
    pub(super) fn any_op(&mut self) -> Option<ValueId> {
        let names: Vec<&str> = Op::names().collect();
        let name = pick(self.rng, &names);
        self.op(name)
    }

    /// Adds an op called `name`.
    pub(super) fn op(&mut self, name: &str) -> Option<ValueId> {
        let eps = Real(pick(self.rng, &[1e-6, 1e-5, 0.1]));
        match name {
            _ if Op::kind_of(name).is_some_and(|kind| !kind.is_computed()) => None,
            "rowwise" => self.rowwise(),
            "gemm" => self.gemm(),
            "layer_norm" => {
                let x = self.float(1..5);
                let last = self.last_of(x);
                let affine =
                    if self.rng.bool() { vec![] } else { vec![self.of(last.clone()), self.of(last)] };
                self.add(LayerNorm { eps }, &[vec![x], affine].concat())
            }
            "rms_norm" => {
                let x = self.float(1..5);
                let last = self.last_of(x);
                let weight = self.of(last);
                self.add(RmsNorm { eps }, &[x, weight])
            }
            "group_norm" => {
                let x = self.float(2..5);
                let (dtype, channels) = (self.fact(x).dtype, self.fact(x).shape[1]);
                let groups = pick(self.rng, &[1, 2, channels]);
                let parameter = Fact::new(dtype, [channels]);
                let (weight, bias) = (self.of(parameter.clone()), self.of(parameter));
                self.add(GroupNorm { groups, eps }, &[x, weight, bias])
            }
            "linear" => {
                let x = self.float(1..5);
                self.linear(x)
            }
            "matmul" => {
                let a = self.float(2..5);
                let fact = self.fact(a);
                let mut shape = fact.shape.to_vec();
                let rank = shape.len();
                shape[rank - 2] = fact.shape[rank - 1];
                shape[rank - 1] = pick(self.rng, &[1, 2, 4, 8]);
                if self.rng.bool() {
                    shape.drain(..rank - 2);
                }
                let b = self.of(Fact::new(fact.dtype, shape));
                self.add(Matmul {}, &[a, b])
            }
            "conv2d" => {
                let x = self.float(4..5);
                let fact = self.fact(x);
                let kernel = pick(self.rng, &[1, 2, 3]);
                let out = pick(self.rng, &[1, 2, 4]);
                let weight = self.of(Fact::new(fact.dtype, [out, fact.shape[1], kernel, kernel]));
                let bias = if self.rng.bool() { vec![] } else { vec![self.of(Fact::new(fact.dtype, [out]))] };
                let padding = self.rng.usize(0..3);
                let [stride, dilation] = [0; 2].map(|_| pick(self.rng, &[1, 1, 1, 2]));
                self.add(Conv2d { padding, stride, dilation, groups: 1 }, &[vec![x, weight], bias].concat())
            }
            "max_pool2d" | "avg_pool2d" => {
                let x = self.float(4..5);
                let [kernel, stride] = [0; 2].map(|_| self.rng.usize(1..4));
                match name {
                    "max_pool2d" => self.add(MaxPool2d { kernel, stride }, &[x]),
                    _ => self.add(AvgPool2d { kernel, stride }, &[x]),
                }
            }
            "where" => {
                let x = self.pick(|fact| !fact.is_quantized())?;
                let shape = self.fact(x).shape;
                let dtype = pick(self.rng, &FLOATS);
                let condition = self.of(Fact::new(dtype, shape));
                let other = self.broadcasting(x);
                self.add(Where {}, &[condition, x, other])
            }
            "upsample" => {
                let x = self.pick(|fact| fact.shape.len() == 4 && !fact.is_quantized())?;
                let factor = self.rng.usize(1..4);
                self.add(Upsample { factor }, &[x])
            }
            "attention" => self.attention(),
            "score_bound" => {
                let dtype = pick(self.rng, &FLOATS);
                let weight = Fact::new(dtype, [2 * self.rng.usize(1..5)]);
                let queries = self.rng.usize(1..3);
                let weights: Vec<_> =
                    (0..queries + self.rng.usize(1..3)).map(|_| self.of(weight.clone())).collect();
                let codes = pick(self.rng, &[None, None, Some(DType::I8), Some(DType::F8E4M3)]);
                self.add(ScoreBound { queries, scale: Real(0.35), codes }, &weights)
            }
            "rope" => {
                let even = |fact: &Fact| {
                    fact.dtype.is_float() && fact.shape.len() == 4 && fact.shape[3].is_multiple_of(2)
                };
                let x = self.pick(even)?;
                let shape = self.fact(x).shape;
                let table = self.of(Fact::new(DType::F32, [2, shape[1], shape[3] / 2]));
                self.add(Rope {}, &[x, table])
            }
            "rope_table" => {
                let axes: Vec<usize> = (0..self.rng.usize(1..4)).map(|_| 2 * self.rng.usize(1..3)).collect();
                let tokens = pick(self.rng, &[1, 2, 6, 17]);
                let ids = self.of(Fact::new(DType::F32, [tokens, axes.len()]));
                self.add(RopeTable { axes, theta: Real(10000.0) }, &[ids])
            }
            "position_ids" => {
                let [text, rows, columns] = [0; 3].map(|_| self.rng.usize(0..4));
                self.add(PositionIds { text, rows, columns, time: rows % 2 }, &[])
            }
            "relative_buckets" => {
                let length = self.rng.usize(1..7);
                let buckets = pick(self.rng, &[4, 8, 16]);
                self.add(RelativeBuckets { length, buckets, max_distance: 64 }, &[])
            }
            "timestep_embedding" => {
                let x = self.float(0..3);
                let dim = 2 * self.rng.usize(1..9);
                self.add(TimestepEmbedding { dim, max_period: Real(10000.0) }, &[x])
            }
            "cast" => {
                let x = self.pick(|fact| !fact.is_quantized())?;
                let dtype =
                    pick(self.rng, &[DType::F32, DType::BF16, DType::F16, DType::F32, DType::I32, DType::I8]);
                self.add(Cast { dtype }, &[x])
            }
            "concat" => {
                let x = self.pick(|fact| !fact.shape.is_empty())?;
                let fact = self.fact(x);
                let axis = self.rng.usize(..fact.shape.len());
                let mut operands = vec![x];
                for _ in 0..self.rng.usize(0..3) {
                    let mut shape = fact.shape.to_vec();
                    shape[axis] = if self.rng.bool() { shape[axis] } else { self.rng.usize(1..4) };
                    let part = Fact { shape: shape.into(), ..fact.clone() };
                    operands.push(self.of(part));
                }
                let axis = self.axis(axis, fact.shape.len());
                self.add(Concat { axis }, &operands)
            }
            "shard" | "all_gather" | "all_to_all" => self.together(name == "all_to_all"),
            "slice" => {
                let x = self.pick(|fact| !fact.shape.is_empty() && !fact.is_quantized())?;
                let shape = self.fact(x).shape;
                let axis = self.rng.usize(..shape.len());
                let start = self.rng.usize(..shape[axis]);
                let end = self.rng.usize(start + 1..=shape[axis]);
                let axis = self.axis(axis, shape.len());
                self.add(Slice { axis, start, end }, &[x])
            }
            "reshape" => {
                let x = self.pick(|fact| !fact.is_quantized())?;
                let shape = self.reshaped(x);
                self.add(Reshape { shape }, &[x])
            }
            "transpose" => {
                let x = self.pick(|fact| !fact.is_quantized())?;
                let mut perm: Vec<usize> = (0..self.fact(x).shape.len()).collect();
                self.rng.shuffle(&mut perm);
                self.add(Transpose { perm }, &[x])
            }
            "select" => {
                let x = self.pick(|fact| !fact.shape.is_empty() && !fact.is_quantized())?;
                let shape = self.fact(x).shape;
                let prefix = self.rng.usize(..shape.len()).min(self.rng.usize(..shape.len()));
                let index = self.of(Fact::new(DType::I32, &shape[..prefix]));
                self.add(Select {}, &[x, index])
            }
            "embedding" => {
                let rank = self.rng.usize(0..3);
                let shape = self.shape(rank);
                let ids = self.of(Fact::new(DType::I32, shape));
                let dtype = pick(self.rng, &[self.dtype, self.dtype, DType::I32]);
                let table = self.of(Fact::new(dtype, [128, 4]));
                self.add(Embedding {}, &[ids, table])
            }
            "argmax" => {
                let rank = self.rng.usize(1..4);
                let shape = self.shape(rank);
                let x = self.of(Fact::new(DType::I32, shape));
                self.add(Argmax {}, &[x])
            }
            "mean" => {
                let x = self.float(1..5);
                self.add(Mean {}, &[x])
            }
            "softmax" => {
                let x = self.float(1..5);
                self.add(Softmax {}, &[x])
            }
            "sum" | "amax" => {
                let x = self.float(1..5);
                self.add(Op::from_text(name, Map::new())?.ok()?, &[x])
            }
            "quantize" => {
                let x = self.float(1..5);
                self.quantize(x)
            }
            "dequantize" => {
                let x = self.pick(Fact::is_quantized);
                let x = match x.filter(|_| self.rng.bool()) {
                    Some(x) => x,
                    None => self.coded_weight(),
                };
                let dtype = pick(self.rng, &FLOATS);
                self.add(Dequantize { dtype }, &[x])
            }
            "matmul_i8" | "matmul_f8" | "matmul_w8" | "rescale" => self.product_of_codes(name),
            _ => self.elementwise(name),
        }
    }

    /// An op without attributes, element by element over operands that broadcast.
    fn elementwise(&mut self, name: &str) -> Option<ValueId> {
        let op = Op::from_text(name, Map::new())?.ok()?;
        let is_float = self.rng.usize(0..8) > 0;
        let x = self.pick(|fact| !fact.is_quantized() && fact.dtype.is_float() == is_float)?;
        let mut operands = vec![x];
        for _ in 1..*op.arity().start() {
            let other = self.broadcasting(x);
            operands.push(other);
        }
        if self.rng.usize(0..4) == 0 {
            operands.reverse();
        }
        self.add(op, &operands)
    }

    /// A value that broadcasts to the shape of `x`.
    pub(super) fn broadcasting(&mut self, x: ValueId) -> ValueId {
        let fact = self.fact(x);
        let shape = match self.rng.usize(0..6) {
            0 => Shape::default(),
            1 => fact.shape.last().copied().into_iter().collect::<Vec<_>>().into(),
            2 => fact
                .shape
                .iter()
                .map(|&extent| if self.rng.bool() { 1 } else { extent })
                .collect::<Vec<_>>()
                .into(),
            _ => fact.shape.clone(),
        };
        self.of(Fact::new(fact.dtype, shape))
    }

    /// The type of what is along the last axis of `x`.
    pub(super) fn last_of(&self, x: ValueId) -> Fact {
        let fact = self.fact(x);
        Fact::new(fact.dtype, [*fact.shape.last().expect("it has an axis")])
    }

    /// A share of a value, perhaps of another axis then, and all of it again: what differs from device to device is no result.
    fn together(&mut self, exchanges: bool) -> Option<ValueId> {
        /// All programs are for as many devices.
        const DEVICES: usize = 2;
        let x = self.pick(|fact| fact.shape.len() > 1 && !fact.is_coded())?;
        let shape = self.fact(x).shape;
        let axis = self.rng.usize(..shape.len());
        let first = self.rng.usize(1..=shape[axis]);
        let extents = [first, shape[axis] - first].into_iter().filter(|&extent| extent > 0).collect();
        let divided = (axis, Parts { devices: DEVICES, extents });
        let mut share = self.add(Shard::of(axis, &divided.1), &[x])?;
        let mut gathered = divided.clone();
        let other = (axis + 1) % shape.len();
        if exchanges && self.fact(share).shape[other] == shape[other] {
            gathered = (other, Parts { devices: DEVICES, extents: vec![shape[other]] });
            share = self.add(AllToAll::of(&divided, &gathered), &[share])?;
        }
        self.add(AllGather::of(gathered.0, &gathered.1), &[share])
    }

    /// `axis` from the front or from the back.
    fn axis(&mut self, axis: usize, rank: usize) -> i64 {
        if self.rng.bool() { axis as i64 } else { axis as i64 - rank as i64 }
    }

    /// Another shape of as many elements.
    fn reshaped(&mut self, x: ValueId) -> Shape {
        let mut left = self.fact(x).shape.elements();
        let mut extents = Vec::new();
        for _ in 0..self.rng.usize(0..4) {
            let factors: Vec<usize> =
                [1, 2, 3, 4, 8].into_iter().filter(|factor| left.is_multiple_of(*factor)).collect();
            let factor = pick(self.rng, &factors);
            extents.push(factor);
            left /= factor;
        }
        if left > 1 || self.rng.bool() {
            extents.push(left);
        }
        self.rng.shuffle(&mut extents);
        extents.into()
    }

    /// A linear of `x`.
    pub(super) fn linear(&mut self, x: ValueId) -> Option<ValueId> {
        let fact = self.fact(x);
        let (features, out) =
            (*fact.shape.last()?, pick(self.rng, &[1, 4, 8, 16, 32, features_or(fact.shape.last())]));
        let shape = if out % 4 == 0 && self.rng.usize(0..10) == 0 {
            vec![out / 4, features, 4]
        } else {
            vec![out, features]
        };
        let weight = self.of(Fact::new(fact.dtype, shape));
        let bias = if self.rng.bool() { vec![] } else { vec![self.of(Fact::new(fact.dtype, [out]))] };
        self.add(Linear {}, &[vec![x, weight], bias].concat())
    }

    /// A linear of `x` with this many columns.
    pub(super) fn linear_to(&mut self, x: ValueId, out: usize) -> Option<ValueId> {
        let fact = self.fact(x);
        let weight = self.weight(Fact::new(fact.dtype, [out, *fact.shape.last()?]));
        let bias = if self.rng.bool() { vec![] } else { vec![self.weight(Fact::new(fact.dtype, [out]))] };
        self.add(Linear {}, &[vec![x, weight], bias].concat())
    }

    fn attention(&mut self) -> Option<ValueId> {
        let q = self.float(4..5);
        let Fact { dtype, shape, .. } = self.fact(q);
        let causal = self.rng.usize(0..4) == 0;
        let keys = if causal || self.rng.bool() { shape[1] } else { pick(self.rng, &[1, 2, 5]) };
        let fact = Fact::new(dtype, [shape[0], keys, shape[2], shape[3]]);
        let (k, v) = (self.of(fact.clone()), self.of(fact));
        let mut operands = vec![q, k, v];
        if self.rng.usize(0..3) == 0 {
            let dtype = pick(self.rng, &Attention::CODES);
            let eps = Real(pick(self.rng, &[1e-5, 0.0625]));
            let quantize = Quantize { dtype, scales: Attention::SCALES, quant_min: None, eps };
            operands = vec![self.add(quantize.clone(), &[q])?, self.add(quantize, &[k])?, v];
        }
        let bounded = !causal && self.rng.usize(0..4) == 0;
        if bounded {
            operands.push(self.of(Fact::new(DType::F32, [0; 0])));
        } else if self.rng.usize(0..4) == 0 {
            let scores = [shape[0], shape[2], shape[1], keys];
            let bias = scores.map(|extent| if self.rng.bool() { 1 } else { extent });
            let start = self.rng.usize(0..3);
            operands.push(self.of(Fact::new(dtype, &bias[start..])));
        }
        let scale = Real(pick(self.rng, &[1.0, 0.25, 0.35]));
        self.add(Attention { scale, causal, bounded }, &operands)
    }

    pub(super) fn quantize(&mut self, x: ValueId) -> Option<ValueId> {
        let dtype = pick(self.rng, &[DType::I8, DType::I8, DType::F8E4M3]);
        let quant_min =
            if dtype == DType::I8 { pick(self.rng, &[None, Some(-127), Some(-128)]) } else { None };
        let scales = self.scales();
        let eps = Real(pick(self.rng, &[1e-5, 1e-12]));
        self.add(Quantize { dtype, scales, quant_min, eps }, &[x])
    }

    fn scales(&mut self) -> Scales {
        let per =
            pick(self.rng, &[Granularity::Row, Granularity::Row, Granularity::Tensor, Granularity::Group(3)]);
        Scales { per, dtype: pick(self.rng, &FLOATS) }
    }

    /// A weight that is quantized when it is loaded.
    fn coded_weight(&mut self) -> ValueId {
        let dtype = pick(self.rng, &[DType::I8, DType::F8E4M3, DType::U4]);
        let scales = self.scales();
        let shape = self.shape(2);
        self.weight(Fact::new(dtype, shape).scaled(scales))
    }

    /// A product of codes, and, if asked for, its rescaled value.
    fn product_of_codes(&mut self, name: &str) -> Option<ValueId> {
        let matmul = match name {
            "matmul_i8" => MatmulCodes::MatmulI8,
            "matmul_f8" => MatmulCodes::MatmulF8,
            "matmul_w8" => MatmulCodes::MatmulW8,
            _ => pick(self.rng, &[MatmulCodes::MatmulI8, MatmulCodes::MatmulF8, MatmulCodes::MatmulW8]),
        };
        let codes = if matmul == MatmulCodes::MatmulF8 { DType::F8E4M3 } else { DType::I8 };
        let x = match matmul {
            MatmulCodes::MatmulW8 => self.float(1..5),
            _ => match self.pick(|fact| fact.is_quantized() && fact.dtype == codes) {
                Some(x) => x,
                None => {
                    let x = self.float(1..5);
                    let scales = Scales { per: Granularity::Row, dtype: pick(self.rng, &FLOATS) };
                    self.add(Quantize { dtype: codes, scales, quant_min: None, eps: Real(1e-5) }, &[x])?
                }
            },
        };
        let out = pick(self.rng, &[1, 4, 8, 16]);
        let per = pick(self.rng, &[Granularity::Row, Granularity::Row, Granularity::Tensor]);
        let scales = Scales { per, dtype: pick(self.rng, &FLOATS) };
        let features = *self.fact(x).shape.last()?;
        let weight = self.of(Fact::new(codes, [out, features]).scaled(scales));
        let acc = self.add(matmul, &[x, weight])?;
        if name != "rescale" {
            return Some(acc);
        }
        let dtype = pick(self.rng, &[self.dtype, DType::F32]);
        let mut operands = vec![acc];
        operands.extend(self.fact(x).is_quantized().then_some(x));
        operands.push(weight);
        if self.rng.bool() {
            operands.push(self.of(Fact::new(dtype, [out])));
        }
        self.add(Rescale { dtype }, &operands)
    }
}

fn features_or(extent: Option<&usize>) -> usize {
    extent.copied().unwrap_or(2)
}
