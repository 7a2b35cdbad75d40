//! Weights, and what is made of weights and positions alone: a model has it as initializers, laid out as its nodes read it.
//!
//! `merge-linear` puts weights together and `pack` lays them out in panels, in `prepare weights`. In a model these are initializers
//! themselves, or onnxruntime would hold both the parts and the whole.

use super::body::{Form, scales_shape};
use super::error::ExportError;
use super::message::{ElementType, Typed};
use super::names::Names;
use indexmap::IndexMap;
use rayon::prelude::*;
use reflux_ir::op::{Op, axis_index};
use reflux_ir::{DType, Fact, Graph, HostTensor, QuantizedTensor, ValueId, WeightData, WeightSource};
use std::collections::HashMap;

/// A leaf of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeafId(usize);

#[derive(Debug)]
struct Leaf {
    name: String,
    fact: Fact,
    source: Source,
    /// The forms that nodes read, with the names of their initializers.
    forms: IndexMap<Form, String>,
}

#[derive(Debug)]
enum Source {
    /// A tensor of the weights.
    Weight,
    /// Positions, and angles of them.
    Known(HostTensor),
    /// `concat`, `reshape` or `transpose` of other leaves.
    Moved(Op, Vec<LeafId>),
}

/// The leaves of a model, in the order in which nodes read them.
#[derive(Debug, Default)]
pub struct Leaves {
    leaves: Vec<Leaf>,
    weights: HashMap<(String, Fact), LeafId>,
}

impl Leaves {
    /// The weight `tensor`.
    pub fn weight(&mut self, tensor: &str, fact: &Fact) -> LeafId {
        let key = (tensor.to_owned(), fact.clone());
        if let Some(&known) = self.weights.get(&key) {
            return known;
        }
        let id = self.push(tensor.to_owned(), fact.clone(), Source::Weight);
        self.weights.insert(key, id);
        id
    }

    /// The value `id` of a graph as a leaf, if it is one: `operands` are those of its operands that are.
    pub fn of_value(&mut self, graph: &Graph, id: ValueId, operands: &[Option<LeafId>]) -> Option<LeafId> {
        let node = &graph[id];
        let operands = operands.iter().copied().collect::<Option<Vec<_>>>()?;
        let source = match &node.op {
            Op::PositionIds(op) => Source::Known(op.ids()),
            Op::RelativeBuckets(op) => Source::Known(op.ids()),
            Op::RopeTable(op) => match &self.leaves[operands.first()?.0].source {
                Source::Known(ids) => Source::Known(op.table(ids)),
                _ => return None,
            },
            Op::Concat(op) => {
                let axis = axis_index(op.axis, node.fact.shape.len());
                let can_be = !node.fact.is_quantized() || axis == 0 && node.fact.shape.len() == 2;
                can_be.then(|| Source::Moved(node.op.clone(), operands))?
            }
            Op::Reshape(_) | Op::Transpose(_) => Source::Moved(node.op.clone(), operands),
            _ => return None,
        };
        Some(self.push(node.name.to_string(), node.fact.clone(), source))
    }

    fn push(&mut self, name: String, fact: Fact, source: Source) -> LeafId {
        self.leaves.push(Leaf { name, fact, source, forms: IndexMap::new() });
        LeafId(self.leaves.len() - 1)
    }

    /// What the initializer is called that is this form of a leaf.
    pub fn read(&mut self, id: LeafId, form: Form, names: &mut Names) -> String {
        let leaf = &mut self.leaves[id.0];
        let suffix = match form {
            Form::Plain | Form::Codes | Form::Transposed | Form::TransposedCodes => "",
            Form::Scales | Form::FlatScales => ".scale",
            Form::Zeros => ".zero",
        };
        leaf.forms.entry(form).or_insert_with(|| names.free(&format!("{}{suffix}", leaf.name))).clone()
    }

    /// The leaves that are read, in order.
    pub fn read_leaves(&self) -> impl Iterator<Item = LeafId> {
        (0..self.leaves.len()).map(LeafId).filter(|&id| !self.leaves[id.0].forms.is_empty())
    }

    /// Whether a leaf needs no weights.
    pub fn is_known(&self, id: LeafId) -> bool {
        match &self.leaves[id.0].source {
            Source::Weight => false,
            Source::Known(_) => true,
            Source::Moved(_, parts) => parts.iter().all(|&part| self.is_known(part)),
        }
    }

    /// The initializers of a leaf.
    pub fn initializers(&self, id: LeafId) -> Vec<(Form, Typed)> {
        let leaf = &self.leaves[id.0];
        let typed = |(&form, name): (&Form, &String)| {
            let (element, shape) = form.of(&leaf.fact).unwrap_or((ElementType::F32, Vec::new()));
            (form, Typed { name: name.clone(), element, shape })
        };
        leaf.forms.iter().map(typed).collect()
    }

    /// The bytes of the [`initializers`](Self::initializers) of a leaf.
    ///
    /// # Errors
    /// If `weights` have not what the program reads.
    pub fn bytes(&self, id: LeafId, weights: &dyn WeightSource) -> Result<Vec<Vec<u8>>, ExportError> {
        let leaf = &self.leaves[id.0];
        let data = self.data(id, weights)?;
        Ok(leaf.forms.keys().map(|&form| bytes_of(&data, form, &leaf.fact)).collect())
    }

    /// The value of a leaf, exactly of its type.
    fn data(&self, id: LeafId, weights: &dyn WeightSource) -> Result<WeightData, ExportError> {
        let Leaf { name, fact, source, .. } = &self.leaves[id.0];
        match source {
            Source::Known(known) => Ok(known.clone().into()),
            Source::Weight => weight(name, fact, weights),
            Source::Moved(op, parts) => {
                let parts =
                    parts.iter().map(|&part| self.data(part, weights)).collect::<Result<Vec<_>, _>>()?;
                Ok(moved(op, parts, fact))
            }
        }
    }
}

/// The weight `tensor` in the type `fact`.
fn weight(tensor: &str, fact: &Fact, weights: &dyn WeightSource) -> Result<WeightData, ExportError> {
    let data = weights.weight(tensor, fact)?;
    let found = match &data {
        WeightData::Dense(dense) => Fact::new(dense.dtype, dense.shape.clone()),
        WeightData::Quantized(quantized) => quantized.fact.clone(),
    };
    let other = |advice| ExportError::WeightType {
        tensor: tensor.to_owned(),
        found: found.to_string(),
        expected: fact.to_string(),
        advice,
    };
    if found.shape != fact.shape {
        return Err(other("they have to have the same shape"));
    }
    match data {
        WeightData::Quantized(quantized) if found.same_type(fact) => {
            quantized.check().map_err(|_| other("its codes and scales contradict its type"))?;
            Ok(quantized.into())
        }
        WeightData::Dense(dense) if !fact.is_coded() && !found.is_coded() => {
            Ok(dense.cast(fact.dtype).into())
        }
        WeightData::Dense(_) if fact.is_quantized() => {
            Err(other("quantize the weights first, as `reflux compile` does"))
        }
        _ => Err(other("its codes are of another type")),
    }
}

/// What `op` makes of `parts`, of type `fact`.
fn moved(op: &Op, parts: Vec<WeightData>, fact: &Fact) -> WeightData {
    if fact.is_quantized() {
        // Rows below each other: so are their scales.
        let mut whole =
            QuantizedTensor { fact: fact.clone(), codes: Vec::new(), scales: Vec::new(), zeros: Vec::new() };
        for part in parts {
            if let WeightData::Quantized(part) = part {
                whole.codes.extend(part.codes);
                whole.scales.extend(part.scales);
                whole.zeros.extend(part.zeros);
            }
        }
        return whole.into();
    }
    let parts: Vec<HostTensor> = parts
        .into_iter()
        .filter_map(|part| match part {
            WeightData::Dense(dense) => Some(dense),
            WeightData::Quantized(_) => None,
        })
        .collect();
    let size = fact.dtype.bytes();
    let bytes = match op {
        Op::Concat(op) => {
            let axis = axis_index(op.axis, fact.shape.len());
            let run = |part: &HostTensor| size * part.shape[axis..].iter().product::<usize>();
            let runs: usize = fact.shape[..axis].iter().product();
            (0..runs)
                .flat_map(|index| parts.iter().map(move |part| (part, index)))
                .flat_map(|(part, index)| &part.bytes[index * run(part)..][..run(part)])
                .copied()
                .collect()
        }
        Op::Transpose(op) => permuted(&parts[0].bytes, &parts[0].shape, &op.perm, size),
        _ => parts.into_iter().flat_map(|part| part.bytes).collect(),
    };
    HostTensor::new(fact.dtype, fact.shape.to_vec(), bytes).into()
}

/// Elements of `size` bytes with their axes permuted.
fn permuted(from: &[u8], shape: &[usize], perm: &[usize], size: usize) -> Vec<u8> {
    let mut strides = vec![size; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    let extents: Vec<usize> = perm.iter().map(|&axis| shape[axis]).collect();
    let strides: Vec<usize> = perm.iter().map(|&axis| strides[axis]).collect();
    let mut to = Vec::with_capacity(from.len());
    let mut index = vec![0; extents.len()];
    let mut place = 0;
    while to.len() < from.len() {
        to.extend_from_slice(&from[place..place + size]);
        for axis in (0..extents.len()).rev() {
            index[axis] += 1;
            place += strides[axis];
            if index[axis] < extents[axis] {
                break;
            }
            place -= strides[axis] * extents[axis];
            index[axis] = 0;
        }
    }
    to
}

/// Elements of `size` bytes of a matrix of so many columns, column by column.
fn columns_of(from: &[u8], columns: usize, size: usize) -> Vec<u8> {
    match size {
        1 => columns_of_sized::<1>(from, columns),
        2 => columns_of_sized::<2>(from, columns),
        4 => columns_of_sized::<4>(from, columns),
        _ => permuted(from, &[from.len() / (columns * size), columns], &[1, 0], size),
    }
}

/// Some columns at a time, so that what is read of a row is used before the next row takes its place in the cache.
fn columns_of_sized<const SIZE: usize>(from: &[u8], columns: usize) -> Vec<u8> {
    const AT_A_TIME: usize = 16;
    let (from, _) = from.as_chunks::<SIZE>();
    let rows = from.len() / columns;
    let mut to = vec![[0; SIZE]; from.len()];
    to.par_chunks_mut(AT_A_TIME * rows).enumerate().for_each(|(index, to)| {
        let first = index * AT_A_TIME;
        let width = to.len() / rows;
        for (row, from) in from.chunks_exact(columns).enumerate() {
            for (column, element) in from[first..first + width].iter().enumerate() {
                to[column * rows + row] = *element;
            }
        }
    });
    to.into_flattened()
}

/// The bytes of one form of a value of type `fact`.
fn bytes_of(data: &WeightData, form: Form, fact: &Fact) -> Vec<u8> {
    let transposed = |bytes: &[u8], size: usize| match fact.shape[..] {
        [_, _, _] => permuted(bytes, &fact.shape, &[1, 0, 2], size),
        _ => columns_of(bytes, fact.shape.columns(), size),
    };
    match (data, form) {
        (WeightData::Dense(dense), Form::Transposed) => transposed(&dense.bytes, dense.dtype.bytes()),
        (WeightData::Dense(dense), _) => dense.bytes.clone(),
        (WeightData::Quantized(quantized), Form::Scales | Form::FlatScales) => {
            debug_assert_eq!(quantized.scales.len(), scales_shape(fact).iter().product::<usize>());
            DType::F32.encode(&quantized.scales)
        }
        (WeightData::Quantized(quantized), Form::Zeros) => DType::F32.encode(&quantized.zeros),
        (WeightData::Quantized(quantized), form) => {
            let codes = match form {
                Form::Transposed | Form::TransposedCodes => transposed(&quantized.codes, 1),
                _ => quantized.codes.clone(),
            };
            // Two 4-bit codes share a byte, the first in its lower half.
            match fact.dtype {
                DType::U4 => {
                    codes.chunks(2).map(|pair| pair[0] | pair.get(1).copied().unwrap_or(0) << 4).collect()
                }
                _ => codes,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_permuted_as_the_op_says() {
        let bytes: Vec<u8> = (0..24).collect();
        let permuted = permuted(&bytes, &[2, 3, 4], &[2, 0, 1], 1);
        let expected: Vec<u8> =
            (0..4).flat_map(|c| (0..2).flat_map(move |a| (0..3).map(move |b| a * 12 + b * 4 + c))).collect();
        assert_eq!(permuted, expected);
    }

    #[test]
    fn columns_of_a_matrix_are_its_transpose() {
        for (rows, columns) in [(1, 1), (3, 40), (40, 3), (17, 33)] {
            for size in [1, 2, 4, 8] {
                let bytes: Vec<u8> = (0..rows * columns * size).map(|i| (i * 7 % 251) as u8).collect();
                let expected = permuted(&bytes, &[rows, columns], &[1, 0], size);
                assert_eq!(columns_of(&bytes, columns, size), expected, "{rows} × {columns} of {size}");
            }
        }
    }

    #[test]
    fn parts_are_put_together_along_any_axis() {
        let part = |from: u8, columns: usize| {
            let numbers: Vec<f32> = (0..2 * columns).map(|i| f32::from(from) + i as f32).collect();
            WeightData::from(HostTensor::from_f32([2, columns], &numbers))
        };
        let op = Op::from(reflux_ir::op::Concat { axis: -1 });
        let WeightData::Dense(whole) =
            moved(&op, vec![part(0, 2), part(10, 1)], &Fact::new(DType::F32, [2, 3]))
        else {
            panic!("it is dense")
        };
        assert_eq!(whole.to_f32(), [0.0, 1.0, 10.0, 2.0, 3.0, 11.0]);
    }

    #[test]
    fn panels_of_rows_are_read_as_columns() {
        // Rows 0 to 3 of a matrix [4, 3] in panels of two: [2, 3, 2].
        let numbers = [0.0, 10.0, 1.0, 11.0, 2.0, 12.0, 20.0, 30.0, 21.0, 31.0, 22.0, 32.0];
        let panels = HostTensor::from_f32([2, 3, 2], &numbers);
        let fact = Fact::new(DType::F32, [2, 3, 2]);
        let bytes = bytes_of(&panels.into(), Form::Transposed, &fact);
        let expected = [0.0, 10.0, 20.0, 30.0, 1.0, 11.0, 21.0, 31.0, 2.0, 12.0, 22.0, 32.0];
        assert_eq!(DType::F32.decode(&bytes), expected);
    }
}
