//! What an adapter does to one tensor, row by row.

use super::error::LoraError;
use super::file::{LoraFile, Tensor};

/// A change of a matrix `[out, in]`, or of a vector, of which each element is a row.
#[derive(Clone, Debug)]
pub(super) enum Delta {
    /// `B · A`, of `A` `[rank, in]` and `B` `[out, rank]`.
    LowRank { down: Tensor, up: Tensor },
    /// The Kronecker product of `[a, b]` and `[out / a, in / b]`.
    Kronecker(Factor, Factor),
    /// `(B₁ · A₁) ⊙ (B₂ · A₂)`, the products element by element.
    Hadamard([Tensor; 2], [Tensor; 2]),
    /// The change itself.
    Whole(Tensor),
}

/// A matrix, whole or as a product of `[rows, rank]` and `[rank, columns]`.
#[derive(Clone, Debug)]
pub(super) enum Factor {
    Whole(Tensor),
    Product(Tensor, Tensor),
}

/// A [`Delta`] in memory, in f32.
pub(super) enum Rows {
    LowRank(Product),
    Kronecker { left: Matrix, right: Matrix },
    Hadamard(Product, Product),
    Whole(Matrix),
}

/// A dense matrix, row-major.
pub(super) struct Matrix {
    values: Vec<f32>,
    columns: usize,
}

/// A product of two matrices, of which rows are computed when they are asked for.
pub(super) struct Product {
    up: Matrix,
    down: Matrix,
}

impl Delta {
    /// Its numbers, of `columns` in each row.
    ///
    /// # Errors
    /// If they are no finite floats.
    pub fn rows(&self, file: &LoraFile, columns: usize) -> Result<Rows, LoraError> {
        Ok(match self {
            Self::LowRank { down, up } => Rows::LowRank(Product::read(file, up, down)?),
            Self::Kronecker(left, right) => {
                Rows::Kronecker { left: left.read(file)?, right: right.read(file)? }
            }
            Self::Hadamard([up, down], [up2, down2]) => {
                Rows::Hadamard(Product::read(file, up, down)?, Product::read(file, up2, down2)?)
            }
            Self::Whole(tensor) => Rows::Whole(Matrix { values: file.values(tensor)?, columns }),
        })
    }

    /// Everything that is read of the file.
    pub fn tensors(&self) -> Vec<&Tensor> {
        match self {
            Self::LowRank { down, up } => vec![down, up],
            Self::Kronecker(left, right) => [left.tensors(), right.tensors()].concat(),
            Self::Hadamard(first, second) => first.iter().chain(second).collect(),
            Self::Whole(tensor) => vec![tensor],
        }
    }
}

impl Factor {
    /// `[rows, columns]`.
    pub fn shape(&self) -> [usize; 2] {
        match self {
            Self::Whole(whole) => extents(whole),
            Self::Product(up, down) => [extents(up)[0], extents(down)[1]],
        }
    }

    fn tensors(&self) -> Vec<&Tensor> {
        match self {
            Self::Whole(whole) => vec![whole],
            Self::Product(up, down) => vec![up, down],
        }
    }

    fn read(&self, file: &LoraFile) -> Result<Matrix, LoraError> {
        match self {
            Self::Whole(tensor) => Matrix::read(file, tensor),
            Self::Product(up, down) => Ok(Product::read(file, up, down)?.whole()),
        }
    }
}

/// A tensor's rows and columns; what is no matrix is a column.
pub(super) fn extents(tensor: &Tensor) -> [usize; 2] {
    match tensor.shape[..] {
        [rows, columns, ..] => [rows, columns],
        [rows] => [rows, 1],
        [] => [1, 1],
    }
}

impl Matrix {
    fn read(file: &LoraFile, tensor: &Tensor) -> Result<Self, LoraError> {
        Ok(Self { values: file.values(tensor)?, columns: extents(tensor)[1] })
    }

    fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.columns..(row + 1) * self.columns]
    }

    fn rows(&self) -> usize {
        self.values.len() / self.columns
    }
}

impl Product {
    fn read(file: &LoraFile, up: &Tensor, down: &Tensor) -> Result<Self, LoraError> {
        Ok(Self { up: Matrix::read(file, up)?, down: Matrix::read(file, down)? })
    }

    /// Adds `factor` times a row of the product to `to`.
    fn add_row(&self, row: usize, factor: f32, to: &mut [f32]) {
        for (&weight, down) in self.up.row(row).iter().zip(self.down.values.chunks_exact(self.down.columns)) {
            let weight = weight * factor;
            to.iter_mut().zip(down).for_each(|(to, &down)| *to += weight * down);
        }
    }

    fn whole(&self) -> Matrix {
        let columns = self.down.columns;
        let mut values = vec![0.0; self.up.rows() * columns];
        values.chunks_exact_mut(columns).enumerate().for_each(|(row, to)| self.add_row(row, 1.0, to));
        Matrix { values, columns }
    }
}

impl Rows {
    /// Adds `factor` times the row `row` of the change to `to`.
    pub fn add_row(&self, row: usize, factor: f32, to: &mut [f32]) {
        match self {
            Self::LowRank(product) => product.add_row(row, factor, to),
            Self::Kronecker { left, right } => {
                let (outer, inner) = (left.row(row / right.rows()), right.row(row % right.rows()));
                for (to, &outer) in to.chunks_exact_mut(right.columns).zip(outer) {
                    let outer = outer * factor;
                    to.iter_mut().zip(inner).for_each(|(to, &inner)| *to += outer * inner);
                }
            }
            Self::Hadamard(first, second) => {
                let [mut a, mut b] = [vec![0.0; to.len()], vec![0.0; to.len()]];
                first.add_row(row, factor, &mut a);
                second.add_row(row, 1.0, &mut b);
                to.iter_mut().zip(a.iter().zip(&b)).for_each(|(to, (a, b))| *to += a * b);
            }
            Self::Whole(matrix) => {
                to.iter_mut().zip(matrix.row(row)).for_each(|(to, &change)| *to += factor * change);
            }
        }
    }
}
