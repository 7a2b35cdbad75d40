//! Weights whose rows are made where they are needed.

use crate::{Fact, Granularity};
use rayon::prelude::*;

/// The most bytes that one thread makes at a time: reading from a file, and memory that is new, is what takes the time.
const SHARE: usize = 1 << 20;

/// With fewer bytes, another thread does not pay off.
const LEAST_SHARE: usize = 1 << 14;

/// Makes the host bytes of the rows from one on, as many as there is room for.
type Write<'s> = dyn Fn(usize, &mut [u8]) + Send + Sync + 's;

/// A weight that is in no memory of this process yet. Whoever needs it has its rows written to where they stay, so that no copy
/// of all of it is made on the way. Rows are those along the first axis; a tensor of fewer than two axes is one row.
pub struct WeightRows<'s> {
    fact: Fact,
    scales: Vec<f32>,
    zeros: Vec<f32>,
    write: Box<Write<'s>>,
}

impl<'s> WeightRows<'s> {
    /// Numbers, or blocks, of type `fact`. `write` makes the host bytes of the rows from one on, as many as there is room for.
    pub fn new(fact: Fact, write: impl Fn(usize, &mut [u8]) + Send + Sync + 's) -> Self {
        Self { fact, scales: Vec::new(), zeros: Vec::new(), write: Box::new(write) }
    }

    /// Codes of type `fact`, a byte for each, with their scales, row by row, and without zero points.
    pub fn coded(fact: Fact, scales: Vec<f32>, write: impl Fn(usize, &mut [u8]) + Send + Sync + 's) -> Self {
        Self { fact, scales, zeros: Vec::new(), write: Box::new(write) }
    }

    /// The same codes with zero points, as many as there are scales.
    pub fn with_zeros(mut self, zeros: Vec<f32>) -> Self {
        self.zeros = zeros;
        self
    }

    /// The rows of all `parts`, one below the other; `None` if these are of different types, or have a scale for all rows.
    pub fn stacked(parts: Vec<Self>) -> Option<Self> {
        let first = parts.first()?.fact.clone();
        let row = |fact: &Fact| (fact.dtype, fact.scales, fact.shape.get(1..).map(<[usize]>::to_vec));
        let is_alike = |part: &Self| part.fact.shape.len() > 1 && row(&part.fact) == row(&first);
        let is_one_scale = first.scales.is_some_and(|scales| scales.per == Granularity::Tensor);
        if is_one_scale || !parts.iter().all(is_alike) {
            return None;
        }
        let mut shape = first.shape.to_vec();
        shape[0] = parts.iter().map(|part| part.fact.shape[0]).sum();
        let scales = parts.iter().flat_map(|part| part.scales.iter().copied()).collect();
        let zeros = parts.iter().flat_map(|part| part.zeros.iter().copied()).collect();
        let write = move |mut first: usize, mut to: &mut [u8]| {
            for part in &parts {
                let rows = part.fact.shape[0];
                let bytes = rows.saturating_sub(first).saturating_mul(part.row_bytes()).min(to.len());
                let (own, rest) = to.split_at_mut(bytes);
                if !own.is_empty() {
                    part.write(first, own);
                }
                (first, to) = (first.saturating_sub(rows), rest);
            }
        };
        Some(Self { fact: Fact { shape: shape.into(), ..first }, scales, zeros, write: Box::new(write) })
    }

    /// Its type: that of numbers, of blocks, or of codes with scales.
    pub fn fact(&self) -> &Fact {
        &self.fact
    }

    /// The scales of codes; numbers have none.
    pub fn scales(&self) -> &[f32] {
        &self.scales
    }

    /// The zero points of codes that have them.
    pub fn zeros(&self) -> &[f32] {
        &self.zeros
    }

    /// The size of a row in host memory.
    pub fn row_bytes(&self) -> usize {
        self.fact.row_bytes()
    }

    /// Writes the rows from `first` on, as many as `to` has room for, by this thread.
    pub fn write(&self, first: usize, to: &mut [u8]) {
        (self.write)(first, to);
    }

    /// [`write`](Self::write), by all threads.
    pub fn write_in_parallel(&self, first: usize, to: &mut [u8]) {
        let row_bytes = self.row_bytes().max(1);
        let share = (to.len() / rayon::current_num_threads()).clamp(LEAST_SHARE, SHARE);
        let rows = (share / row_bytes).max(1);
        let parts = to.par_chunks_mut(rows * row_bytes).enumerate();
        parts.for_each(|(index, part)| self.write(first + index * rows, part));
    }

    /// All of it, in new memory.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.fact.dtype.host_bytes(self.fact.shape.elements())];
        self.write_in_parallel(0, &mut bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, HostTensor, Scales};

    fn numbers(from: f32, shape: [usize; 2]) -> WeightRows<'static> {
        let values: Vec<f32> = (0..shape[0] * shape[1]).map(|i| from + i as f32).collect();
        let tensor = HostTensor::from_f32(shape, &values);
        let row = shape[1] * 4;
        WeightRows::new(Fact::new(DType::F32, shape), move |first, to| {
            to.copy_from_slice(&tensor.bytes[first * row..][..to.len()]);
        })
    }

    #[test]
    fn stacked_rows_follow_each_other() {
        let stacked = || WeightRows::stacked(vec![numbers(0.0, [2, 3]), numbers(6.0, [1, 3])]).unwrap();
        assert_eq!(stacked().fact().to_string(), "f32[3,3]");
        let all: Vec<u8> = (0..9).flat_map(|i| (i as f32).to_le_bytes()).collect();
        assert_eq!(stacked().to_bytes(), all);
        // From any row on, as many as there is room for.
        for (first, count) in [(0, 1), (1, 1), (1, 2), (2, 1)] {
            let mut some = vec![0; count * 12];
            stacked().write(first, &mut some);
            assert_eq!(some, all[first * 12..][..count * 12], "{count} from {first}");
        }
    }

    #[test]
    fn rows_of_other_types_are_not_stacked() {
        assert!(WeightRows::stacked(vec![numbers(0.0, [2, 3]), numbers(0.0, [2, 4])]).is_none());
        let coded = |per, scales: usize| {
            let fact = Fact::new(DType::I8, [2, 3]).scaled(Scales { dtype: DType::F32, per });
            WeightRows::coded(fact, vec![1.0; scales], |_, to| to.fill(1))
        };
        let two = |per, scales| WeightRows::stacked(vec![coded(per, scales), coded(per, scales)]);
        assert_eq!(two(Granularity::Row, 2).unwrap().scales().len(), 4);
        assert!(two(Granularity::Tensor, 1).is_none());
    }
}
