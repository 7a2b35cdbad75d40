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
        let size = panels.features * WIDTH;
        // A vector of 16 numbers is a row of a panel: with a single panel, factors would have to be loaded as fast as they are used.
        let in_pairs = if S::F32_LANES == WIDTH { panels.values.len() / (2 * size) } else { 0 };
        let (pairs, singles) = panels.values.split_at(in_pairs * 2 * size);
        for (index, pair) in pairs.chunks_exact(2 * size).enumerate() {
            let (first, second) = pair.split_at(size);
            let place = index * 2 * WIDTH;
            let mut write = |row: usize, sums: &[f32]| y[row][place..][..2 * WIDTH].copy_from_slice(sums);
            blocks::<S, 2, 1, 12>(simd, x, [first, second], &mut write);
        }
        for (index, panel) in singles.chunks_exact(size).enumerate() {
            let place = (2 * in_pairs + index) * WIDTH;
            multiply(simd, x, panel, |row, sums| y[row][place..][..WIDTH].copy_from_slice(sums));
        }
    }
}

/// The most rows of a tile of results: a panel of 256 features stays in the first-level cache for all of them, and the rows of
/// wide matrices in the second-level one for all panels.
pub const HEIGHT: usize = 96;

/// Calls `write` with the number of each row of `a` and its products with the columns of `panel`, which has a row for each
/// column of `a`.
#[inline(always)]
pub fn multiply<S: Simd>(simd: S, a: Matrix<f32>, panel: &[f32], mut write: impl FnMut(usize, &[f32])) {
    match S::F32_LANES {
        16 => blocks::<S, 1, 1, 12>(simd, a, [panel], &mut write),
        8 => blocks::<S, 1, 2, ROWS>(simd, a, [panel], &mut write),
        4 => blocks::<S, 1, 4, 6>(simd, a, [panel], &mut write),
        _ => blocks::<S, 1, WIDTH, 1>(simd, a, [panel], &mut write),
    }
}

/// The products with several panels, whose sums of a row go to `write` one after the other, in blocks of `N` rows of `VECTORS`
/// vectors of each panel.
#[inline(always)]
fn blocks<S: Simd, const PANELS: usize, const VECTORS: usize, const N: usize>(
    simd: S,
    a: Matrix<f32>,
    panels: [&[f32]; PANELS],
    write: &mut impl FnMut(usize, &[f32]),
) {
    let panels = panels.map(|panel| S::as_simd_f32s(panel).0.as_chunks::<VECTORS>().0);
    for first in (0..a.rows).step_by(N) {
        match a.rows - first {
            1 => block::<S, PANELS, VECTORS, 1>(simd, a, first, panels, write),
            2..=4 if N > 4 => block::<S, PANELS, VECTORS, 4>(simd, a, first, panels, write),
            5..=8 if N > 8 => block::<S, PANELS, VECTORS, 8>(simd, a, first, panels, write),
            _ => block::<S, PANELS, VECTORS, N>(simd, a, first, panels, write),
        }
    }
}

/// `N` rows from `first` on; the last row is repeated if there are fewer.
#[inline(always)]
fn block<S: Simd, const PANELS: usize, const VECTORS: usize, const N: usize>(
    simd: S,
    a: Matrix<f32>,
    first: usize,
    panels: [&[[S::f32s; VECTORS]]; PANELS],
    write: &mut impl FnMut(usize, &[f32]),
) {
    let mut factors: [&[f32]; N] = [&[]; N];
    for (index, factors) in factors.iter_mut().enumerate() {
        *factors = &a.row((first + index).min(a.rows - 1))[..a.columns];
    }
    let mut of_panels: [&[[S::f32s; VECTORS]]; PANELS] = [&[]; PANELS];
    for (of_panel, panel) in of_panels.iter_mut().zip(panels) {
        *of_panel = &panel[..a.columns];
    }
    let mut sums = [[[simd.splat_f32s(0.0); VECTORS]; PANELS]; N];
    for step in 0..a.columns {
        for row in 0..N {
            let factor = simd.splat_f32s(factors[row][step]);
            for panel in 0..PANELS {
                for column in 0..VECTORS {
                    let vector = of_panels[panel][step][column];
                    sums[row][panel][column] = simd.mul_add_e_f32s(factor, vector, sums[row][panel][column]);
                }
            }
        }
    }
    for (index, sums) in sums.iter().enumerate().take(a.rows - first) {
        write(first + index, bytemuck::cast_slice(sums));
    }
}
