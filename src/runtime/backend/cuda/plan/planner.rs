//! The planner's state, shared by all ops: places of values, and the kernels in order.

use super::routes::{Placed, Routes};
use super::{Buffer, Launch, Owner, Piece, SIGNALS};
use crate::backend::cuda::Gpu;
use crate::backend::cuda::matmul::MatmulLaunch;
use crate::backend::cuda::source::{self, Coding, Kernel, StoredValue};
use crate::backend::cuda::unsupported::Unsupported;
use crate::backend::cuda::view::View;
use reflux_ir::op::{Arg, Body};
use reflux_ir::{DType, Fact, Granularity, Graph, Scales, ValueId};
use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// A plan being built.
pub struct Planner<'g> {
    pub gpu: Gpu,
    pub graph: &'g Graph,
    pub stored: HashMap<ValueId, StoredValue>,
    pub buffers: Vec<Buffer>,
    pub launches: Vec<Launch>,
    /// Where values are to be computed: in a result of the graph, or in a part of a concatenation.
    pub reserved: HashMap<ValueId, StoredValue>,
    /// Columns of products that go elsewhere than the others, in order.
    pub moved: HashMap<ValueId, Vec<Moved>>,
    /// Where exchanges read and write, if what they read is computed there.
    pub routes: HashMap<ValueId, Routes>,
    /// Concatenations that are put together by the exchange that alone reads them.
    pub exchanged_in_parts: HashSet<ValueId>,
    /// Values that are computed in several places, and where.
    pub scattered: HashMap<ValueId, Vec<Placed>>,
    /// Those of them that have been.
    pub in_places: HashSet<ValueId>,
}

/// Columns of a product that a slice takes and a concatenation reads, computed in place in the concatenation.
#[derive(Clone)]
pub struct Moved {
    pub slice: ValueId,
    pub columns: Range<usize>,
    pub to: View,
}

impl<'g> Planner<'g> {
    pub fn new(graph: &'g Graph, gpu: Gpu) -> Self {
        Self {
            gpu,
            graph,
            stored: HashMap::new(),
            buffers: Vec::new(),
            launches: Vec::new(),
            reserved: HashMap::new(),
            moved: HashMap::new(),
            routes: HashMap::new(),
            exchanged_in_parts: HashSet::new(),
            scattered: HashMap::new(),
            in_places: HashSet::new(),
        }
    }
}

impl Planner<'_> {
    pub fn buffer(&mut self, place: Owner, bytes: usize) -> usize {
        self.buffers.push(Buffer { place, bytes });
        self.buffers.len() - 1
    }

    /// New memory for `shape` in the arena.
    pub fn room(&mut self, shape: &[usize], dtype: DType) -> View {
        self.room_in_order(shape, dtype, &(0..shape.len()).collect::<Vec<_>>())
    }

    /// New memory for `shape` in the arena, with the axes in this order.
    pub fn room_in_order(&mut self, shape: &[usize], dtype: DType, order: &[usize]) -> View {
        let bytes = shape.iter().product::<usize>() * dtype.bytes();
        let buffer = self.buffer(Owner::Arena(0), bytes);
        View::ordered(buffer, shape, dtype, order)
    }

    /// This many words by which blocks of a kernel tell each other what is done: see [`Owner::Signals`].
    pub fn signals(&mut self, words: usize) -> Result<View, Unsupported> {
        if words > SIGNALS {
            return Err(Unsupported(format!("its blocks need {words} signals, and there are {SIGNALS}")));
        }
        let buffer = self.buffer(Owner::Signals, words * DType::I32.bytes());
        Ok(View::whole(buffer, &[words], DType::I32))
    }

    /// Where the value of `id`, computed element by element from `operands`, is to go, with the layout of the operands.
    pub fn target_like(&mut self, id: ValueId, fact: &Fact, operands: &[StoredValue]) -> StoredValue {
        match operands.iter().find(|operand| operand.data.shape[..] == fact.shape[..]) {
            Some(StoredValue { data, .. }) if !self.reserved.contains_key(&id) => {
                self.room_in_order(&fact.shape, fact.dtype, &data.order()).into()
            }
            _ => self.target(id, fact),
        }
    }

    /// Where the value of `id`, of type `fact`, is to go.
    pub fn target(&mut self, id: ValueId, fact: &Fact) -> StoredValue {
        self.reserved.get(&id).cloned().unwrap_or_else(|| self.new_room(fact))
    }

    /// New memory for a value of type `fact`, with its scales. Of rows that are heads, the scales of a head lie next to each other, as
    /// attention reads them.
    pub fn new_room(&mut self, fact: &Fact) -> StoredValue {
        let data = self.room(&fact.shape, fact.dtype);
        let mut made = self.with_scales(data, fact);
        if let Some(Coding { scales, .. }) = &mut made.coding
            && let [_, _, _] = scales.shape[..]
        {
            *scales = View::ordered(scales.buffer, &scales.shape, scales.dtype, &[0, 2, 1]);
        }
        made
    }

    /// `data`, of type `fact`, with new memory for its scales.
    pub fn with_scales(&mut self, data: View, fact: &Fact) -> StoredValue {
        let coding = fact.scales.map(|scales| {
            let shape = scales_shape(scales, &fact.shape);
            Coding { per: scales.per, scales: self.room(&shape, DType::F32), zeros: None }
        });
        StoredValue { data, coding }
    }

    pub fn given(&mut self, id: ValueId, fact: &Fact) -> StoredValue {
        let bytes = fact.dtype.stored_bytes(fact.shape.elements());
        let data = self.buffer(Owner::Given { value: id, piece: Piece::Data }, bytes);
        let coding = fact.scales.map(|scales| {
            let (shape, dtype) = (scales_shape(scales, &fact.shape), scales_dtype(scales));
            let mut piece = |piece| {
                let bytes = shape.iter().product::<usize>() * dtype.bytes();
                View::whole(self.buffer(Owner::Given { value: id, piece }, bytes), &shape, dtype)
            };
            let zeros = fact.dtype.has_zero_points().then(|| piece(Piece::Zeros));
            Coding { per: scales.per, scales: piece(Piece::Scales), zeros }
        });
        StoredValue { data: View::whole(data, &fact.shape, fact.dtype), coding }
    }

    pub fn stored(&self, id: ValueId) -> Result<StoredValue, Unsupported> {
        let stored = self.stored.get(&id).cloned();
        stored.ok_or_else(|| Unsupported(format!("{} is not stored in memory", self.graph.operand(id))))
    }

    pub fn data(&self, id: ValueId) -> Result<View, Unsupported> {
        self.stored(id).map(|stored| stored.data)
    }

    /// Of a value that may be a constant, which is not in memory before something reads it from there.
    pub fn data_or_constant(&mut self, id: ValueId) -> View {
        if !self.stored.contains_key(&id) {
            let fact = self.graph[id].fact.clone();
            let given = self.given(id, &fact);
            self.stored.insert(id, given);
        }
        self.stored[&id].data.clone()
    }

    pub fn views(&self, ids: &[ValueId]) -> Result<Vec<View>, Unsupported> {
        ids.iter().map(|&id| self.data(id)).collect()
    }

    /// The scales of codes: one for all, or one for each row.
    pub fn scales(&self, id: ValueId) -> Result<View, Unsupported> {
        match self.stored(id)?.coding {
            Some(Coding { per: Granularity::Row | Granularity::Tensor, scales, .. }) => Ok(scales),
            _ => Err(Unsupported(format!("{} has no scale per row", self.graph.operand(id)))),
        }
    }

    pub fn push(&mut self, id: ValueId, kernel: Kernel) {
        self.push_one_of(id, vec![kernel]);
    }

    pub fn push_one_of(&mut self, id: ValueId, kernels: Vec<Kernel>) {
        self.launches.push(Launch::Kernel { value: self.graph[id].name.clone(), kernels });
    }

    pub fn push_matmul(&mut self, id: ValueId, matmul: MatmulLaunch) {
        self.launches.push(Launch::Matmul { value: self.graph[id].name.clone(), matmul });
    }

    /// Copies the numbers at `from`, or codes as integers, to `to`.
    pub fn copy(&mut self, id: ValueId, from: &View, to: View) {
        // What no arithmetic may touch is moved as a type of its size that can be.
        let moved_as = match [from.dtype, to.dtype] {
            [DType::I32, DType::I32] => Some(DType::F32),
            [DType::F8E4M3, DType::F8E4M3] => Some(DType::I8),
            _ => None,
        };
        let moved = |view: View| View { dtype: moved_as.unwrap_or(view.dtype), ..view };
        let (from, to) = (moved(from.clone()), moved(to.clone()));
        let kernel = source::rowwise(&Body::of(Arg::Operand(0)), &[from.into()], None, &to.into());
        self.push(id, kernel.expect("numbers can be moved wherever they lie"));
    }

    /// A copy of `view` without gaps.
    pub fn copied(&mut self, id: ValueId, view: &View) -> View {
        let room = self.room(&view.shape, view.dtype);
        self.copy(id, view, room.clone());
        room
    }

    /// Copies the results that were not computed in place.
    pub fn copy_outputs(&mut self) {
        for (index, output) in self.graph.outputs().to_vec().into_iter().enumerate() {
            let fact = self.graph[output.value].fact.clone();
            let buffer = self.buffers.iter().position(|buffer| buffer.place == Owner::Output(index));
            if fact.shape.elements() == 0 {
                continue;
            }
            let whole = View::whole(buffer.expect("reserved"), &fact.shape, fact.dtype);
            let data = self.data_or_constant(output.value);
            if !data.is_same_place(&whole) {
                self.copy(output.value, &data, whole);
            }
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

/// The dtype of stored scales: see [`Coded`](crate::coded::Coded).
fn scales_dtype(scales: Scales) -> DType {
    if matches!(scales.per, Granularity::Group(_)) { scales.dtype } else { DType::F32 }
}
