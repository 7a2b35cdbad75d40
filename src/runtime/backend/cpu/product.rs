//! Products `x · Wᵀ` of rows with rows.
//!
//! Both matrices are contiguous along the summed axis, so each result is a dot product of two contiguous rows, and neither
//! matrix has to be packed first. A block of a few rows by [`COLUMNS`] columns keeps its sums in registers. Each sum is
//! computed in the same order in every block and tile, so the bits do not depend on how the work is divided.

mod int8;
mod single;

use super::matrix::Matrix;
use super::tiles::{for_each, tiles};
use std::ops::Range;

/// Columns of a block of results.
const COLUMNS: usize = 4;

/// The most rows of a tile: with 256 columns they stay in the first-level cache during a pass over the weights.
pub const HEIGHT: usize = 24;

/// Below this many multiply-adds, a product is not divided between threads.
const SHARE: usize = 1 << 18;

/// Numbers that can be multiplied.
pub trait Number: Copy + Sync {
    /// The type of sums of their products.
    type Sum: Copy + Default + Send;

    /// The dot products of the rows of `x`, one per row of `y`, with those of `weight`.
    fn multiply(x: Matrix<Self>, weight: Matrix<Self>, y: &mut [&mut [Self::Sum]]);
}

/// Dot products in registers.
trait MicroKernel: Copy {
    type Number: Number;

    /// The dot products of each row of `x` with each of `weights`, all of the same length.
    fn dots<const N: usize>(
        self,
        x: [&[Self::Number]; N],
        weights: [&[Self::Number]; COLUMNS],
    ) -> [[<Self::Number as Number>::Sum; COLUMNS]; N];
}

/// A product by one thread, in blocks of `ROWS` rows. Everything is inlined, because code that is not is compiled without
/// vectors.
#[inline(always)]
fn multiply<K: MicroKernel, const ROWS: usize>(
    kernel: K,
    x: Matrix<K::Number>,
    weight: Matrix<K::Number>,
    y: &mut [&mut [<K::Number as Number>::Sum]],
) {
    for start in (0..weight.rows).step_by(COLUMNS) {
        let columns = start..(start + COLUMNS).min(weight.rows);
        // The last block may have fewer columns; its last one is repeated then.
        let mut weights: [&[K::Number]; COLUMNS] = [&[]; COLUMNS];
        for (column, row) in weights.iter_mut().enumerate() {
            *row = weight.row((start + column).min(columns.end - 1));
        }
        for (block, y) in y.chunks_mut(ROWS).enumerate() {
            let first = block * ROWS;
            if y.len() == ROWS {
                dots::<K, ROWS>(kernel, x, first, weights, y, columns.clone());
            } else {
                for (row, y) in y.chunks_mut(1).enumerate() {
                    dots::<K, 1>(kernel, x, first + row, weights, y, columns.clone());
                }
            }
        }
    }
}

/// The block of results at `first` and `columns`.
#[inline(always)]
fn dots<K: MicroKernel, const N: usize>(
    kernel: K,
    x: Matrix<K::Number>,
    first: usize,
    weights: [&[K::Number]; COLUMNS],
    y: &mut [&mut [<K::Number as Number>::Sum]],
    columns: Range<usize>,
) {
    let mut rows: [&[K::Number]; N] = [&[]; N];
    for (row, x_row) in rows.iter_mut().enumerate() {
        *x_row = x.row(first + row);
    }
    let sums = kernel.dots(rows, weights);
    for (y, sums) in y.iter_mut().zip(&sums) {
        y[columns.clone()].copy_from_slice(&sums[..columns.len()]);
    }
}

/// Writes `x · Wᵀ` to `y`, row-major.
pub fn product<T: Number>(x: Matrix<T>, weight: Matrix<T>, y: &mut [T::Sum]) {
    let tiles = tiles(y, weight.rows, tile_size([x.rows, weight.rows, x.columns], HEIGHT));
    for_each(
        tiles,
        || (),
        |(), mut tile| {
            T::multiply(x.rows(tile.rows), weight.rows(tile.columns), &mut tile.places);
        },
    );
}

/// The height, at most `most`, and the width of tiles: a few tiles for each thread, unless they would be too small.
pub fn tile_size([rows, columns, features]: [usize; 3], most: usize) -> [usize; 2] {
    let shares = (rows * columns * features / SHARE).clamp(1, 4 * rayon::current_num_threads());
    let bands = rows.div_ceil(most);
    let height = rows.div_ceil(bands).next_multiple_of(2 * single::ROWS);
    let width = columns.div_ceil(shares.div_ceil(bands)).next_multiple_of(8 * COLUMNS);
    [height, width]
}
