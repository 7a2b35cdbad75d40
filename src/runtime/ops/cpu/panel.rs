//! Products `A · P` with a panel `P` of few columns, packed row after row: a block of results keeps its sums in registers while
//! the rows of the panel pass by.

use super::matrix::Matrix;
use pulp::Simd;

/// Rows of a block of results.
pub const ROWS: usize = 4;

/// Vectors to a row of a panel.
const VECTORS: usize = 2;

/// How many columns a panel has.
pub const fn width<S: Simd>() -> usize {
    VECTORS * S::F32_LANES
}

/// Calls `write` with the number of each row of `a` and its products with the columns of `panel`, which has a row for each
/// column of `a`.
#[inline(always)]
pub fn multiply<S: Simd>(simd: S, a: Matrix<f32>, panel: &[f32], mut write: impl FnMut(usize, &[f32])) {
    for first in (0..a.rows).step_by(ROWS) {
        // The last block may have fewer rows: the last one stands in for those that are missing.
        let mut rows: [&[f32]; ROWS] = [&[]; ROWS];
        for (index, row) in rows.iter_mut().enumerate() {
            *row = a.row((first + index).min(a.rows - 1));
        }
        let sums = sums(simd, rows, panel);
        for (index, sums) in sums.iter().enumerate().take(a.rows - first) {
            write(first + index, bytemuck::cast_slice(sums));
        }
    }
}

#[inline(always)]
fn sums<S: Simd>(simd: S, rows: [&[f32]; ROWS], panel: &[f32]) -> [[S::f32s; VECTORS]; ROWS] {
    let panel = S::as_simd_f32s(panel).0.as_chunks::<VECTORS>().0;
    let mut factors: [&[f32]; ROWS] = [&[]; ROWS];
    for (factors, row) in factors.iter_mut().zip(rows) {
        *factors = &row[..panel.len()];
    }
    let mut sums = [[simd.splat_f32s(0.0); VECTORS]; ROWS];
    for (step, vectors) in panel.iter().enumerate() {
        for row in 0..ROWS {
            let factor = simd.splat_f32s(factors[row][step]);
            for column in 0..VECTORS {
                sums[row][column] = simd.mul_add_e_f32s(factor, vectors[column], sums[row][column]);
            }
        }
    }
    sums
}
