//! A graph as launches over buffers.

mod arena;
mod foreign;
mod gemm;
mod lookup;
mod pictures;
mod quantize;
mod reserve;
mod single;
mod single_head;

pub use foreign::{Edge, Foreign};

use super::Gpu;
use super::source::{self, Coding, Kernel, Pointer, Stored, Unsupported};
use super::view::View;
use crate::ops::is_known;
use reflux_ir::op::{Arg, Body, Op, Rowwise, Slice, Transpose, axis_index};
use reflux_ir::{DType, Fact, Granularity, Graph, Name, Scales, ValueId};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

/// Kernels to launch in order, and where what they read and write is.
pub struct Plan {
    pub buffers: Vec<Buffer>,
    pub launches: Vec<Launch>,
    /// Bytes of all buffers of results inside the graph.
    pub arena: usize,
    /// Weights `[out, in, height, width]` that are read as `[out, height, width, in]`, and so in memory.
    pub channels_last: Vec<ValueId>,
}

/// Memory that launches point into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buffer {
    pub place: Place,
    pub bytes: usize,
}

/// Whose memory it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The plan's own, at this byte of its arena.
    Arena(usize),
    /// That of an input, a weight, or what is known from the ops alone.
    Given { value: ValueId, piece: Piece },
    /// That of the graph's result of this number.
    Output(usize),
}

/// What a value is made of in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Piece {
    /// Its numbers, or its codes.
    Data,
    /// What codes are multiplied by.
    Scales,
    /// What is added to unsigned codes.
    Zeros,
}

impl Piece {
    /// The pieces of a value of this type.
    pub fn of(fact: &Fact) -> &'static [Self] {
        match fact.scales {
            None => &[Self::Data],
            Some(_) if fact.dtype.has_zero_points() => &[Self::Data, Self::Scales, Self::Zeros],
            Some(_) => &[Self::Data, Self::Scales],
        }
    }
}

pub enum Launch {
    /// One of several kernels that do the same with the same buffers; the first is the best guess.
    Kernel {
        value: Name,
        kernels: Vec<Kernel>,
    },
    Matmul {
        value: Name,
        matmul: Matmul,
    },
    /// An op that no kernel of ours computes.
    Foreign(Foreign),
}

/// `y = x · Wᵀ (+ bias)`, all row-major: `x` `[m, k]`, `W` `[n, k]`, `y` `[m, n]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matmul {
    pub kind: MatmulKind,
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub x: Pointer,
    pub x_stride: usize,
    pub weight: Pointer,
    pub weight_stride: usize,
    pub y: Pointer,
    pub y_stride: usize,
    pub bias: Option<Pointer>,
    /// Whether `y` is the tanh GELU of that.
    pub gelu: bool,
}

impl Matmul {
    /// `y = x · Wᵀ` of what lies at these views.
    fn new(kind: MatmulKind, [x, weight, y]: [&View; 3]) -> Result<Self, Unsupported> {
        let matrix = |view: &View| {
            view.rows().ok_or_else(|| Unsupported("rows of a product are at several distances".into()))
        };
        let ([m, k, x_stride], [n, _, weight_stride]) = (matrix(x)?, matrix(weight)?);
        let [_, _, y_stride] = matrix(y)?;
        let [x, weight, y] = [x, weight, y].map(Pointer::to);
        Ok(Self { kind, m, n, k, x, x_stride, weight, weight_stride, y, y_stride, bias: None, gelu: false })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatmulKind {
    /// bf16 by bf16, in f32, to bf16.
    Bf16,
    /// i8 by i8, to i32.
    I8,
    /// f8e4m3 by f8e4m3, in f32, to f32.
    F8,
}

impl MatmulKind {
    /// What cuBLASLt makes.
    fn sums(self) -> DType {
        match self {
            Self::Bf16 => DType::BF16,
            Self::I8 => DType::I32,
            Self::F8 => DType::F32,
        }
    }
}

/// Plans `graph` for kernels of our own, on `gpu`; an op that none of them computes is a [`Launch::Foreign`].
pub fn plan(graph: &Graph, gpu: Gpu) -> Plan {
    plan_without(graph, gpu, &BTreeMap::new())
}

/// [`plan`], but that the values called so are known to have no kernel, and why.
pub fn plan_without(graph: &Graph, gpu: Gpu, refused: &BTreeMap<Name, String>) -> Plan {
    // By id: a weight may be called like a value.
    let known = refused.iter().filter_map(|(name, why)| Some((graph.find(name)?, why.clone())));
    let mut refused: HashMap<ValueId, String> = known.collect();
    loop {
        let mut planner = Planner {
            gpu,
            graph,
            stored: HashMap::new(),
            buffers: Vec::new(),
            launches: Vec::new(),
            reserved: HashMap::new(),
            moved: HashMap::new(),
            channels_last: Vec::new(),
        };
        planner.reserve_outputs();
        let known = refused.len();
        for id in order(graph) {
            let made = match refused.get(&id) {
                None => planner.value(id),
                Some(why) => Err(Unsupported(why.clone())),
            };
            if let Err(Unsupported(why)) = made {
                refused.insert(id, why.clone());
                planner.foreign(id, why);
            }
        }
        // What was planned for an op before it turned out to have no kernel is work for nothing: without it, then.
        if refused.len() == known {
            planner.copy_outputs();
            return planner.finish();
        }
    }
}

/// Program order, but that numbers are made of codes only when they are read: they share memory then, and may still be in the
/// cache.
fn order(graph: &Graph) -> Vec<ValueId> {
    let mut order = Vec::with_capacity(graph.len());
    let waits = |id: &ValueId| matches!(graph[*id].op, Op::Dequantize(_)) && graph.users(*id).count() > 0;
    let mut waiting: Vec<ValueId> = Vec::new();
    for id in graph.order() {
        if waits(&id) {
            waiting.push(id);
            continue;
        }
        let operands = graph.operands(id);
        let (due, rest) = waiting.into_iter().partition(|id| operands.contains(id));
        waiting = rest;
        order.extend::<Vec<_>>(due);
        order.push(id);
    }
    // Those that only results read.
    order.extend(waiting);
    order
}

struct Planner<'g> {
    gpu: Gpu,
    graph: &'g Graph,
    stored: HashMap<ValueId, Stored>,
    buffers: Vec<Buffer>,
    launches: Vec<Launch>,
    /// Where values are to be made: in a result of the graph, or in a part of a concatenation.
    reserved: HashMap<ValueId, View>,
    /// Columns of products that are to be elsewhere than the others, in order.
    moved: HashMap<ValueId, Vec<Moved>>,
    channels_last: Vec<ValueId>,
}

/// Columns of a product, which a slice takes, made where a concatenation has them.
#[derive(Clone)]
struct Moved {
    slice: ValueId,
    columns: Range<usize>,
    to: View,
}

impl Planner<'_> {
    fn buffer(&mut self, place: Place, bytes: usize) -> usize {
        self.buffers.push(Buffer { place, bytes });
        self.buffers.len() - 1
    }

    /// A place of our own for `shape`.
    fn room(&mut self, shape: &[usize], dtype: DType) -> View {
        self.room_in_order(shape, dtype, &(0..shape.len()).collect::<Vec<_>>())
    }

    /// A place of our own for `shape`, its axes in this order in memory.
    fn room_in_order(&mut self, shape: &[usize], dtype: DType, order: &[usize]) -> View {
        let bytes = shape.iter().product::<usize>() * dtype.bytes();
        let buffer = self.buffer(Place::Arena(0), bytes);
        View::ordered(buffer, shape, dtype, order)
    }

    /// Where the value of `id`, element by element one of `operands`, is to be made: they lie alike.
    fn target_like(&mut self, id: ValueId, fact: &Fact, operands: &[Stored]) -> Stored {
        match operands.iter().find(|operand| operand.data.shape[..] == fact.shape[..]) {
            Some(Stored { data, .. }) if !self.reserved.contains_key(&id) => {
                self.room_in_order(&fact.shape, fact.dtype, &data.order()).into()
            }
            _ => self.target(id, fact),
        }
    }

    /// Where the value of `id`, of type `fact`, is to be made.
    fn target(&mut self, id: ValueId, fact: &Fact) -> Stored {
        let data = self.reserved.get(&id).cloned().unwrap_or_else(|| self.room(&fact.shape, fact.dtype));
        self.with_scales(data, fact)
    }

    /// `data`, of type `fact`, with places of our own for scales.
    fn with_scales(&mut self, data: View, fact: &Fact) -> Stored {
        let coding = fact.scales.map(|scales| {
            let shape = scales_shape(scales, &fact.shape);
            Coding { per: scales.per, scales: self.room(&shape, DType::F32), zeros: None }
        });
        Stored { data, coding }
    }

    fn value(&mut self, id: ValueId) -> Result<(), Unsupported> {
        let node = &self.graph[id];
        let (op, fact) = (node.op.clone(), node.fact.clone());
        let operands = self.graph.operands(id);
        if !self.graph.is_leaf(id) && fact.shape.elements() == 0 {
            let nothing = self.target(id, &fact);
            self.stored.insert(id, nothing);
            return Ok(());
        }
        if operands.iter().any(|&id| self.graph[id].fact.shape.elements() == 0) {
            return Err(Unsupported("something is made of nothing".into()));
        }
        let stored = match &op {
            Op::Constant(_) => return Ok(()),
            Op::Input(_) | Op::Weight(_) => self.given(id, &fact),
            _ if is_known(self.graph, id) => self.given(id, &fact),
            // Made elsewhere.
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
            Op::Concat(concat) if !fact.is_quantized() => {
                let axis = axis_index(concat.axis, fact.shape.len());
                let whole = self.reserved[&id].clone();
                let mut start = 0;
                for operand in operands {
                    let end = start + self.graph[operand].fact.shape[axis];
                    let part = whole.slice(axis, start, end);
                    start = end;
                    let data = self.data(operand)?;
                    if !data.is_same_place(&part) {
                        self.copy(id, &data, part);
                    }
                }
                whole.into()
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
            Op::Rowwise(Rowwise { body, .. }) => self.formula(id, body, &operands, &fact)?,
            Op::Gemm(gemm) => self.gemm(id, gemm, &operands, &fact)?,
            Op::Attention(attention) => {
                if let Some(&bias) = operands.get(3) {
                    self.lay_out(bias)?;
                }
                let (views, target) = (self.views(&operands)?, self.target(id, &fact));
                let (qkv, bias) = ([&views[0], &views[1], &views[2]], views.get(3));
                if super::attention::is_single_head(qkv[0]) && bias.is_none() {
                    self.single_head(id, attention, qkv, &target.data)?;
                } else {
                    let kernel = super::attention::kernel(self.gpu, attention, qkv, bias, &target.data)?;
                    self.push(id, kernel);
                }
                target.data.into()
            }
            Op::Transpose(Transpose { perm }) => self.data(operands[0])?.permuted(perm).into(),
            Op::Conv2d(conv2d) => self.conv2d(id, conv2d, &operands, &fact)?,
            Op::GroupNorm(norm) => self.group_norm(id, norm, &operands, &fact)?,
            Op::Upsample(upsample) => {
                let x = self.data(operands[0])?;
                self.upsample(id, upsample, &x, &fact)?
            }
            // With what rescales it.
            Op::MatmulCodes(_) if self.is_rescaled(id) => return Ok(()),
            op => self.single(id, op, &operands, &fact)?,
        };
        self.stored.insert(id, stored);
        Ok(())
    }

    /// Sees to it that the last axis of `id` is the innermost in memory.
    fn lay_out(&mut self, id: ValueId) -> Result<(), Unsupported> {
        let data = self.data(id)?;
        if data.strides.last() != Some(&1) {
            let data = self.copied(id, &data);
            self.stored.insert(id, data.into());
        }
        Ok(())
    }

    /// A formula by itself.
    fn formula(
        &mut self,
        id: ValueId,
        body: &Body,
        operands: &[ValueId],
        fact: &Fact,
    ) -> Result<Stored, Unsupported> {
        let operands = operands.iter().map(|&id| self.stored(id)).collect::<Result<Vec<_>, _>>()?;
        self.takes_codes(fact)?;
        let target = match source::is_elementwise(body) {
            true => self.target_like(id, fact, &operands),
            false => self.target(id, fact),
        };
        self.push(id, source::rowwise(body, &operands, None, &target)?);
        Ok(target)
    }

    /// Whether the GPU computes with the codes of `fact`, if it is codes.
    fn takes_codes(&self, fact: &Fact) -> Result<(), Unsupported> {
        if fact.dtype == DType::F8E4M3 { self.takes_eight_bit_floats() } else { Ok(()) }
    }

    fn takes_eight_bit_floats(&self) -> Result<(), Unsupported> {
        /// Older ones do not convert to them, nor multiply them.
        const FIRST: (u32, u32) = (8, 9);
        if self.gpu.capability < FIRST {
            return Err(Unsupported("GPUs before sm_89 do not compute in f8e4m3".into()));
        }
        Ok(())
    }

    fn given(&mut self, id: ValueId, fact: &Fact) -> Stored {
        let bytes = fact.shape.elements() * fact.dtype.bits() / 8;
        let data = self.buffer(Place::Given { value: id, piece: Piece::Data }, bytes);
        let coding = fact.scales.map(|scales| {
            let (shape, dtype) = (scales_shape(scales, &fact.shape), scales_dtype(scales));
            let mut piece = |piece| {
                let bytes = shape.iter().product::<usize>() * dtype.bytes();
                View::whole(self.buffer(Place::Given { value: id, piece }, bytes), &shape, dtype)
            };
            let zeros = fact.dtype.has_zero_points().then(|| piece(Piece::Zeros));
            Coding { per: scales.per, scales: piece(Piece::Scales), zeros }
        });
        Stored { data: View::whole(data, &fact.shape, fact.dtype), coding }
    }

    fn stored(&self, id: ValueId) -> Result<Stored, Unsupported> {
        let stored = self.stored.get(&id).cloned();
        stored.ok_or_else(|| Unsupported(format!("{} is no value in memory", self.graph.operand(id))))
    }

    fn data(&self, id: ValueId) -> Result<View, Unsupported> {
        self.stored(id).map(|stored| stored.data)
    }

    fn views(&self, ids: &[ValueId]) -> Result<Vec<View>, Unsupported> {
        ids.iter().map(|&id| self.data(id)).collect()
    }

    /// The scales of codes: one for all, or one for each row.
    fn scales(&self, id: ValueId) -> Result<View, Unsupported> {
        match self.stored(id)?.coding {
            Some(Coding { per: Granularity::Row | Granularity::Tensor, scales, .. }) => Ok(scales),
            _ => Err(Unsupported(format!("{} has no scale per row", self.graph.operand(id)))),
        }
    }

    fn push(&mut self, id: ValueId, kernel: Kernel) {
        self.push_one_of(id, vec![kernel]);
    }

    fn push_one_of(&mut self, id: ValueId, kernels: Vec<Kernel>) {
        self.launches.push(Launch::Kernel { value: self.graph[id].name.clone(), kernels });
    }

    fn push_matmul(&mut self, id: ValueId, matmul: Matmul) {
        self.launches.push(Launch::Matmul { value: self.graph[id].name.clone(), matmul });
    }

    /// The numbers at `from`, or codes as the integers that they are, to `to`.
    fn copy(&mut self, id: ValueId, from: &View, to: View) {
        // Moved as they are.
        let is_moved = from.dtype == DType::I32 && to.dtype == DType::I32;
        let moved = |view: View| if is_moved { View { dtype: DType::F32, ..view } } else { view };
        let (from, to) = (moved(from.clone()), moved(to.clone()));
        let kernel = source::rowwise(&Body::of(Arg::Operand(0)), &[from.into()], None, &to.into());
        self.push(id, kernel.expect("numbers can be moved wherever they lie"));
    }

    /// A copy of `view` without gaps.
    fn copied(&mut self, id: ValueId, view: &View) -> View {
        let room = self.room(&view.shape, view.dtype);
        self.copy(id, view, room.clone());
        room
    }

    /// Results that were not made where they go.
    fn copy_outputs(&mut self) {
        for (index, output) in self.graph.outputs().to_vec().into_iter().enumerate() {
            let fact = self.graph[output.value].fact.clone();
            let buffer = self.buffers.iter().position(|buffer| buffer.place == Place::Output(index));
            let whole = View::whole(buffer.expect("reserved"), &fact.shape, fact.dtype);
            // A constant is nowhere yet.
            let data = match self.data(output.value) {
                Ok(data) => data,
                Err(_) => self.given(output.value, &fact).data,
            };
            if !data.is_same_place(&whole) {
                self.copy(output.value, &data, whole);
            }
        }
    }
}

impl Launch {
    /// The value that it makes, or a part of it.
    pub fn value(&self) -> &Name {
        match self {
            Self::Kernel { value, .. } | Self::Matmul { value, .. } => value,
            Self::Foreign(foreign) => &foreign.name,
        }
    }

    /// The buffers that it reads and writes.
    fn buffers(&self) -> Vec<usize> {
        match self {
            Self::Kernel { kernels, .. } => {
                let kernel = &kernels[0];
                let maps = kernel.maps.iter().map(|map| &map.pointer);
                maps.chain(&kernel.pointers).map(|pointer| pointer.buffer).collect()
            }
            Self::Matmul { matmul, .. } => {
                let pointers = [matmul.x, matmul.weight, matmul.y].into_iter().chain(matmul.bias);
                pointers.map(|pointer| pointer.buffer).collect()
            }
            Self::Foreign(foreign) => foreign.pointers().map(|pointer| pointer.buffer).collect(),
        }
    }
}

/// The shape of the scales of a value of `shape`.
fn scales_shape(scales: Scales, shape: &[usize]) -> Vec<usize> {
    let Some((&columns, rows)) = shape.split_last() else { return Vec::new() };
    match scales.per {
        Granularity::Tensor => Vec::new(),
        Granularity::Row => rows.to_vec(),
        Granularity::Group(size) => [rows, &[columns.div_ceil(size.into())]].concat(),
    }
}

/// What scales of weights are kept in: see [`Coded`](crate::coded::Coded).
fn scales_dtype(scales: Scales) -> DType {
    if matches!(scales.per, Granularity::Group(_)) { scales.dtype } else { DType::F32 }
}

/// Whether a kernel of ours makes the value, wherever it is told to.
fn is_kernel(op: &Op) -> bool {
    let is_fused = matches!(op, Op::Rowwise(_) | Op::Gemm(_));
    is_fused
        || single::is_formula(op)
        || matches!(op, Op::Linear(_) | Op::Rescale(_) | Op::Attention(_) | Op::Select(_))
}
