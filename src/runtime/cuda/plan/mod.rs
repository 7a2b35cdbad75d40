//! A graph as launches over buffers.

mod arena;
mod gemm;
mod lookup;
mod pictures;
mod reserve;
mod single_head;

use super::Gpu;
use super::source::{self, Kernel, Pointer, Target, Unsupported};
use super::view::View;
use reflux_ir::op::{Arg, Body, Op, Rowwise, Slice, Transpose, axis_index};
use reflux_ir::{DType, Fact, Granularity, Graph, Name, ValueId};
use std::collections::HashMap;
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
    /// That of an input, a weight, or what is known from the op alone; of codes or of their scales.
    Given { value: ValueId, scales: bool },
    /// That of the graph's result of this number.
    Output(usize),
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

/// Where a value is: its numbers, or its codes and their scales.
#[derive(Clone, Debug)]
struct Stored {
    data: View,
    scales: Option<View>,
}

/// Plans `graph` for kernels of our own, on `gpu`.
///
/// # Errors
/// If it has an op that none of them computes; the message says which.
pub fn plan(graph: &Graph, gpu: Gpu) -> Result<Plan, Unsupported> {
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
    for id in graph.order() {
        planner.value(id).map_err(|Unsupported(why)| Unsupported(format!("%{}: {why}", graph[id].name)))?;
    }
    planner.copy_outputs()?;
    Ok(planner.finish())
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
    fn target_like(&mut self, id: ValueId, fact: &Fact, operands: &[View]) -> Target {
        match operands.iter().find(|view| view.shape[..] == fact.shape[..]) {
            Some(view) if !self.reserved.contains_key(&id) => {
                Target { data: self.room_in_order(&fact.shape, fact.dtype, &view.order()), scales: None }
            }
            _ => self.target(id, fact),
        }
    }

    /// Where the value of `id`, of type `fact`, is to be made.
    fn target(&mut self, id: ValueId, fact: &Fact) -> Target {
        let data = self.reserved.get(&id).cloned().unwrap_or_else(|| self.room(&fact.shape, fact.dtype));
        let scales = fact.is_quantized().then(|| {
            let rows = &fact.shape[..fact.shape.len() - 1];
            self.room(rows, DType::F32)
        });
        Target { data, scales }
    }

    fn value(&mut self, id: ValueId) -> Result<(), Unsupported> {
        let node = &self.graph[id];
        let (op, fact) = (node.op.clone(), node.fact.clone());
        self.check(&fact)?;
        let operands = self.graph.operands(id);
        let stored = match &op {
            Op::Constant(_) => return Ok(()),
            Op::Input(_) | Op::Weight(_) | Op::RelativeBuckets(_) => self.given(id, &fact)?,
            // Made elsewhere.
            Op::Slice(_) if self.stored.contains_key(&id) => return Ok(()),
            Op::Slice(Slice { axis, start, end }) => {
                let data = self.data(operands[0])?;
                let axis = axis_index(*axis, data.shape.len());
                Stored { data: data.slice(axis, *start, *end), scales: None }
            }
            Op::Reshape(reshape) => {
                let data = self.data(operands[0])?;
                match data.reshape(&reshape.shape) {
                    Some(data) => Stored { data, scales: None },
                    None => {
                        let copy = self.copied(id, &data)?;
                        let data = copy.reshape(&reshape.shape).expect("a copy has no gaps");
                        Stored { data, scales: None }
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
                        self.copy(id, &data, part)?;
                    }
                }
                Stored { data: whole, scales: None }
            }
            Op::Select(_) => {
                let (table, index) = (self.data(operands[0])?, self.data(operands[1])?);
                let rows_apart = if index.shape.is_empty() { 0 } else { table.shape[index.shape.len()] };
                let target = self.target(id, &fact);
                self.push(id, lookup::gather(&table, &index, rows_apart, &target.data)?);
                Stored { data: target.data, scales: None }
            }
            Op::Embedding(_) => {
                let (index, table) = (self.data(operands[0])?, self.data(operands[1])?);
                let to = self.room(&fact.shape, fact.dtype);
                self.push(id, lookup::gather(&table, &index, 0, &to)?);
                Stored { data: to, scales: None }
            }
            Op::Argmax(_) => {
                let x = self.data(operands[0])?;
                let to = self.room(&fact.shape, fact.dtype);
                self.push(id, lookup::argmax(&x, &to)?);
                Stored { data: to, scales: None }
            }
            Op::Rowwise(Rowwise { body, .. }) => {
                let views = self.views(&operands)?;
                let target = match source::is_elementwise(body) {
                    true => self.target_like(id, &fact, &views),
                    false => self.target(id, &fact),
                };
                self.push(id, source::rowwise(body, &views, None, &target)?);
                Stored { data: target.data, scales: target.scales }
            }
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
                Stored { data: target.data, scales: None }
            }
            Op::Transpose(Transpose { perm }) => {
                Stored { data: self.data(operands[0])?.permuted(perm), scales: None }
            }
            Op::Conv2d(conv2d) => self.conv2d(id, conv2d, &operands, &fact)?,
            Op::GroupNorm(norm) => self.group_norm(id, norm, &operands, &fact)?,
            Op::Upsample(upsample) => {
                let x = self.data(operands[0])?;
                self.upsample(id, upsample, &x, &fact)?
            }
            other => return Err(Unsupported(format!("`{}` has no kernel here", other.name()))),
        };
        self.stored.insert(id, stored);
        Ok(())
    }

    /// Sees to it that the last axis of `id` is the innermost in memory.
    fn lay_out(&mut self, id: ValueId) -> Result<(), Unsupported> {
        let data = self.data(id)?;
        if data.strides.last() != Some(&1) {
            let data = self.copied(id, &data)?;
            self.stored.insert(id, Stored { data, scales: None });
        }
        Ok(())
    }

    /// Whether there are kernels here for values of a type.
    fn check(&self, fact: &Fact) -> Result<(), Unsupported> {
        let is_known = match fact.scales {
            None => true,
            Some(scales) if scales.per == Granularity::Row => match fact.dtype {
                DType::I8 => true,
                // Older GPUs do not convert to it.
                DType::F8E4M3 => self.gpu.capability >= (8, 9),
                _ => false,
            },
            Some(_) => false,
        };
        if is_known { Ok(()) } else { Err(Unsupported(format!("no kernel here takes {fact}"))) }
    }

    fn given(&mut self, id: ValueId, fact: &Fact) -> Result<Stored, Unsupported> {
        let bytes = fact.shape.elements() * fact.dtype.bytes();
        let data = self.buffer(Place::Given { value: id, scales: false }, bytes);
        let scales = fact.is_quantized().then(|| {
            let rows = &fact.shape[..fact.shape.len() - 1];
            let place = Place::Given { value: id, scales: true };
            let buffer = self.buffer(place, rows.iter().product::<usize>() * 4);
            View::whole(buffer, rows, DType::F32)
        });
        Ok(Stored { data: View::whole(data, &fact.shape, fact.dtype), scales })
    }

    fn data(&self, id: ValueId) -> Result<View, Unsupported> {
        match self.stored.get(&id) {
            Some(stored) => Ok(stored.data.clone()),
            None => Err(Unsupported(format!("{} is no value in memory", self.graph.operand(id)))),
        }
    }

    fn views(&self, ids: &[ValueId]) -> Result<Vec<View>, Unsupported> {
        ids.iter().map(|&id| self.data(id)).collect()
    }

    fn scales(&self, id: ValueId) -> Result<View, Unsupported> {
        let scales = self.stored.get(&id).and_then(|stored| stored.scales.clone());
        scales.ok_or_else(|| Unsupported(format!("{} has no scale per row", self.graph.operand(id))))
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

    fn copy(&mut self, id: ValueId, from: &View, to: View) -> Result<(), Unsupported> {
        let body = Body::of(Arg::Operand(0));
        let target = Target { data: to, scales: None };
        let kernel = source::rowwise(&body, std::slice::from_ref(from), None, &target)?;
        self.push(id, kernel);
        Ok(())
    }

    /// A copy of `view` without gaps.
    fn copied(&mut self, id: ValueId, view: &View) -> Result<View, Unsupported> {
        let room = self.room(&view.shape, view.dtype);
        self.copy(id, view, room.clone())?;
        Ok(room)
    }

    /// Results that were not made where they go.
    fn copy_outputs(&mut self) -> Result<(), Unsupported> {
        for (index, output) in self.graph.outputs().to_vec().into_iter().enumerate() {
            let fact = self.graph[output.value].fact.clone();
            let buffer = self.buffers.iter().position(|buffer| buffer.place == Place::Output(index));
            let whole = View::whole(buffer.expect("reserved"), &fact.shape, fact.dtype);
            let data = self.data(output.value)?;
            if !data.is_same_place(&whole) {
                self.copy(output.value, &data, whole)?;
            }
        }
        Ok(())
    }
}

impl Launch {
    /// The value that it makes, or a part of it.
    pub fn value(&self) -> &Name {
        match self {
            Self::Kernel { value, .. } | Self::Matmul { value, .. } => value,
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
        }
    }
}

/// Whether a kernel of ours makes the value, wherever it is told to.
fn is_kernel(op: &Op) -> bool {
    matches!(op, Op::Rowwise(_) | Op::Gemm(_) | Op::Attention(_) | Op::Select(_))
}
