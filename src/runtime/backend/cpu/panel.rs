//! Products `A · P` with a panel `P` of few columns, packed row after row: a block of results keeps its sums in registers
//! during a pass over the panel's rows. Each sum is computed in the order of these rows, whichever block it is in.

use super::matrix::Matrix;
use burn_flex::FlexTensor;
use pulp::{Arch, Simd, WithSimd};
use std::ops::Range;

/// The columns of a panel.
pub const WIDTH: usize = 16;

/// Rows of a block of results. With vectors of 8 numbers, its twelve sums and their factors fill the registers.
pub const ROWS: usize = 6;

/// A matrix in panels of [`WIDTH`] rows, like a weight in panels of [`reflux_ir::op::Linear`].
#[derive(Clone, Copy)]
pub struct Panels<'a> {
    values: &'a [f32],
    features: usize,
}

impl<'a> Panels<'a> {
    /// The matrix in `tensor`, if that is a contiguous `[panels, in, WIDTH]`.
    pub fn of(tensor: &'a FlexTensor) -> Option<Self> {
        match tensor.layout().shape()[..] {
            [_, features, WIDTH] if features > 0 => Some(Self { values: tensor.as_slice()?, features }),
            _ => None,
        }
    }

    /// Rows of the matrix, columns of products with it.
    pub fn rows(self) -> usize {
        self.values.len() / self.features
    }

    /// The products of the rows of `x`, one per row of `y`, with `rows` of the matrix, in whole panels.
    pub fn multiply(self, x: Matrix<f32>, rows: Range<usize>, y: &mut [&mut [f32]]) {
        let values = &self.values[rows.start * self.features..rows.end * self.features];
        Arch::new().dispatch(Multiply { x, panels: Self { values, ..self }, y });
    }
}

struct Multiply<'a, 'y> {
    x: Matrix<'a, f32>,
    panels: Panels<'a>,
    y: &'a mut [&'y mut [f32]],
}

impl WithSimd for Multiply<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { x, panels, y } = self;
        for (index, panel) in panels.values.chunks_exact(panels.features * WIDTH).enumerate() {
            multiply(simd, x, panel, |row, sums| y[row][index * WIDTH..][..WIDTH].copy_from_slice(sums));
        }
    }
}

/// The most rows of a tile of results: a panel of 256 features stays in the first-level cache for all of them.
pub const HEIGHT: usize = 48;

/// Calls `write` with the number of each row of `a` and its products with the columns of `panel`, which has a row for each
/// column of `a`.
#[inline(always)]
pub fn multiply<S: Simd>(simd: S, a: Matrix<f32>, panel: &[f32], write: impl FnMut(usize, &[f32])) {
    match S::F32_LANES {
        16 => blocks::<S, 1, 12>(simd, a, panel, write),
        8 => blocks::<S, 2, ROWS>(simd, a, panel, write),
        4 => blocks::<S, 4, 6>(simd, a, panel, write),
        _ => blocks::<S, WIDTH, 1>(simd, a, panel, write),
    }
}

/// [`multiply`], in blocks of `N` rows of `VECTORS` vectors.
#[inline(always)]
fn blocks<S: Simd, const VECTORS: usize, const N: usize>(
    simd: S,
    a: Matrix<f32>,
    panel: &[f32],
    mut write: impl FnMut(usize, &[f32]),
) {
    let panel = S::as_simd_f32s(panel).0.as_chunks::<VECTORS>().0;
    for first in (0..a.rows).step_by(N) {
        match a.rows - first {
            1 => block::<S, VECTORS, 1>(simd, a, first, panel, &mut write),
            2..=4 if N > 4 => block::<S, VECTORS, 4>(simd, a, first, panel, &mut write),
            _ => block::<S, VECTORS, N>(simd, a, first, panel, &mut write),
        }
    }
}

/// `N` rows from `first` on; the last row is repeated if there are fewer.
#[inline(always)]
fn block<S: Simd, const VECTORS: usize, const N: usize>(
    simd: S,
    a: Matrix<f32>,
    first: usize,
    panel: &[[S::f32s; VECTORS]],
    write: &mut impl FnMut(usize, &[f32]),
) {
    let mut factors: [&[f32]; N] = [&[]; N];
    for (index, factors) in factors.iter_mut().enumerate() {
        *factors = &a.row((first + index).min(a.rows - 1))[..panel.len()];
    }
    let mut sums = [[simd.splat_f32s(0.0); VECTORS]; N];
    for (step, vectors) in panel.iter().enumerate() {
        for row in 0..N {
            let factor = simd.splat_f32s(factors[row][step]);
            for column in 0..VECTORS {
                sums[row][column] = simd.mul_add_e_f32s(factor, vectors[column], sums[row][column]);
            }
        }
    }
    for (index, sums) in sums.iter().enumerate().take(a.rows - first) {
        write(first + index, bytemuck::cast_slice(sums));
    }
}
