//! Division of rows among threads.

use crate::backend::cuda::view::View;
use std::fmt;

/// How the elements of a row are divided among threads.
#[derive(Clone, Copy, Debug)]
pub struct RowLayout {
    pub columns: usize,
    /// Threads per row: a power of two within a warp, or several warps, which form a block.
    pub threads: usize,
    /// Neighbours that a thread loads at once.
    pub vector: usize,
}

impl RowLayout {
    pub(super) fn new(rows: usize, columns: usize, vector: usize) -> Self {
        /// Threads of a warp.
        const WARP: usize = 32;
        let threads = if columns <= 256 {
            // A warp is divided among rows only if no warp is left with fewer rows.
            let share = columns.div_ceil(vector).next_power_of_two().min(WARP);
            if rows.is_multiple_of(WARP / share) { share } else { WARP }
        } else {
            // Each thread has four loads of 16 bytes in flight at a time.
            columns.div_ceil(4 * vector).next_multiple_of(WARP).clamp(2 * WARP, 1024)
        };
        Self { columns, threads, vector }
    }

    /// For contiguous rows, each computed by a block.
    pub fn of_rows(columns: usize) -> Self {
        let vector = [8, 4, 2, 1].into_iter().find(|&vector| columns.is_multiple_of(vector)).unwrap_or(1);
        let threads = columns.div_ceil(vector).next_power_of_two().clamp(64, 1024);
        Self { columns, threads, vector }
    }

    /// How many times a thread loads [`Self::vector`] neighbours.
    fn chunks(&self) -> usize {
        self.columns.div_ceil(self.threads * self.vector)
    }

    /// How many elements of a row a thread holds.
    pub fn elements(&self) -> usize {
        self.vector * self.chunks()
    }

    pub(super) fn rows_per_block(&self) -> usize {
        if self.threads <= 32 { 128 / self.threads } else { 1 }
    }
}

/// As template arguments of the prelude's functions.
impl fmt::Display for RowLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { columns, threads, vector } = self;
        write!(f, "{columns}, {threads}, {vector}, {}", self.chunks())
    }
}

/// Whether `count` neighbours can be moved in one access, in every row of the view.
pub(super) fn allows(view: &View, count: usize) -> bool {
    let (last, outer) = view.strides.split_last().map_or((0, &[][..]), |(&last, outer)| (last, outer));
    let repeats = last == 0 || view.shape.last().is_none_or(|&extent| extent == 1);
    let is_aligned = |stride: &usize| stride.is_multiple_of(count);
    repeats || last == 1 && outer.iter().chain([&view.offset]).all(is_aligned)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernels assume: `reduce` uses whole warps, and shared memory only if a block has a single row.
    #[test]
    fn rows_have_whole_parts_of_warps_or_a_block() {
        for columns in
            [1usize, 2, 33, 36, 64, 100, 128, 200, 256, 257, 1000, 1024, 3072, 12_288, 15_360, 40_000]
        {
            for vector in [1, 2, 4, 8].into_iter().filter(|&vector| columns.is_multiple_of(vector)) {
                for rows in [1usize, 7, 30, 64, 4608] {
                    let layout = RowLayout::new(rows, columns, vector);
                    let threads = layout.threads;
                    assert!(threads * layout.elements() >= columns && threads <= 1024, "{layout:?}");
                    if threads < 32 {
                        assert!(threads.is_power_of_two() && rows.is_multiple_of(32 / threads), "{layout:?}");
                        assert_eq!(layout.rows_per_block() * threads, 128);
                    } else {
                        assert!(threads.is_multiple_of(32), "{layout:?}");
                        assert!(threads == 32 || layout.rows_per_block() == 1, "{layout:?}");
                    }
                }
            }
        }
    }
}
