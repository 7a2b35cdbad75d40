//! Division of results among threads.

use rayon::prelude::*;
use std::ops::Range;

/// A part of a matrix: some columns of some rows.
pub struct Tile<'y, T> {
    pub rows: Range<usize>,
    pub columns: Range<usize>,
    /// Where the result goes, one run for each row.
    pub places: Vec<&'y mut [T]>,
}

/// Divides `y`, whose rows have `columns` numbers, into tiles of `height` rows and `width` columns; smaller ones at the ends.
pub fn tiles<T>(y: &mut [T], columns: usize, [height, width]: [usize; 2]) -> Vec<Tile<'_, T>> {
    let mut tiles = Vec::new();
    for (band, y) in y.chunks_mut(height * columns).enumerate() {
        let first = tiles.len();
        let rows = band * height..band * height + y.len() / columns;
        tiles.extend((0..columns).step_by(width).map(|start| Tile {
            rows: rows.clone(),
            columns: start..(start + width).min(columns),
            places: Vec::with_capacity(rows.len()),
        }));
        for row in y.chunks_mut(columns) {
            for (tile, place) in tiles[first..].iter_mut().zip(row.chunks_mut(width)) {
                tile.places.push(place);
            }
        }
    }
    tiles
}

/// Calls `work` with each of `jobs`, in parallel if there are several, passing what `init` returns for each thread.
pub fn for_each<J: Send, W>(jobs: Vec<J>, init: impl Fn() -> W + Sync, work: impl Fn(&mut W, J) + Sync) {
    // Handing a single job to another thread can take longer than the job.
    if jobs.len() < 2 {
        let mut state = init();
        jobs.into_iter().for_each(|job| work(&mut state, job));
    } else {
        jobs.into_par_iter().for_each_init(&init, &work);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_are_a_partition() {
        let mut y = vec![0; 7 * 10];
        for tile in tiles(&mut y, 10, [3, 4]) {
            assert_eq!(tile.places.len(), tile.rows.len());
            for (row, place) in tile.rows.clone().zip(tile.places) {
                assert_eq!(place.len(), tile.columns.len());
                place.iter_mut().zip(tile.columns.clone()).for_each(|(y, column)| *y += 10 * row + column);
            }
        }
        assert!(y.into_iter().eq(0..70));
    }
}
