//! A picture in overlapping tiles, for a decoder that has no room for all of it.

use super::resolved::Resolved;
use reflux_ir::HostTensor;
use reflux_models::Geometry;

/// How a picture is decoded in tiles, which have their own statistics in the decoder's norms: where tiles overlap, a picture passes from
/// one to the next linearly, so that no edge shows.
pub(super) struct Tiles {
    /// Tokens of the picture, down and across.
    grid: [usize; 2],
    /// Tokens of a tile, down and across.
    tile: [usize; 2],
    /// Where tiles begin, in tokens, down and across.
    starts: [Vec<usize>; 2],
    pixels_per_token: usize,
}

impl Tiles {
    /// The tiles of the picture that `request` asks for; `None` if it fits into one.
    pub fn of(request: &Resolved, geometry: Geometry) -> Option<Self> {
        let unit = geometry.pixels_per_token();
        let tokens = request.vae_tiling? / unit;
        let grid = [request.height, request.width].map(|pixels| pixels / unit);
        let tile = grid.map(|extent| extent.min(tokens));
        let starts = [0, 1].map(|axis| starts(grid[axis], tile[axis]));
        (grid != tile).then_some(Self { grid, tile, starts, pixels_per_token: unit })
    }

    /// The row and the column of each tile among the tiles.
    pub fn places(&self) -> impl Iterator<Item = [usize; 2]> + '_ {
        let [down, across] = [0, 1].map(|axis| self.starts[axis].len());
        (0..down).flat_map(move |row| (0..across).map(move |column| [row, column]))
    }

    /// The tokens of the tile at `place`, of packed latents `[1, tokens, channels]`.
    pub fn cut(&self, latents: &HostTensor, place: [usize; 2]) -> HostTensor {
        let [y, x] = [0, 1].map(|axis| self.starts[axis][place[axis]]);
        let token = latents.bytes.len() / (self.grid[0] * self.grid[1]);
        let [height, width] = self.tile;
        let row = |row: usize| {
            let from = (row * self.grid[1] + x) * token;
            &latents.bytes[from..from + width * token]
        };
        let bytes = (y..y + height).flat_map(row).copied().collect();
        HostTensor::new(latents.dtype, vec![1, height * width, latents.shape[2]], bytes)
    }

    /// The picture `f32[1, 3, height, width]` of decoded tiles, in the order of [`Tiles::places`].
    pub fn blend(&self, tiles: &[HostTensor]) -> HostTensor {
        let unit = self.pixels_per_token;
        let [height, width] = self.grid.map(|tokens| tokens * unit);
        let shares = [0, 1].map(|axis| shares(&self.starts[axis], self.tile[axis] * unit, unit));
        let mut picture = vec![0.0; 3 * height * width];
        for ([row, column], tile) in self.places().zip(tiles) {
            let (down, across) = (&shares[0][row], &shares[1][column]);
            let [top, left] = [self.starts[0][row] * unit, self.starts[1][column] * unit];
            for (index, line) in tile.to_f32().chunks(across.len()).enumerate() {
                let (channel, y) = (index / down.len(), index % down.len());
                let at = (channel * height + top + y) * width + left;
                let to = picture[at..at + across.len()].iter_mut();
                to.zip(line.iter().zip(across))
                    .for_each(|(to, (value, share))| *to += value * share * down[y]);
            }
        }
        HostTensor::from_f32([1, 3, height, width], &picture)
    }
}

/// Where tiles of `tile` begin along an axis of `extent`: as few as overlap by a quarter or more, evenly spread.
fn starts(extent: usize, tile: usize) -> Vec<usize> {
    let overlap = tile / 4;
    let gaps = (extent - tile).div_ceil(tile - overlap);
    (0..=gaps).map(|index| index * (extent - tile) / gaps.max(1)).collect()
}

/// The share that each tile, which begins at one of `starts` and has `length` pixels, has of each of its pixels. Shares fall linearly
/// to the ends of a tile within its overlap with the next, and are one in all.
fn shares(starts: &[usize], length: usize, unit: usize) -> Vec<Vec<f32>> {
    let overlap = |left: usize, right: usize| (starts[left] * unit + length - starts[right] * unit) as f32;
    let weight = |tile: usize, at: usize| {
        let rise = if tile == 0 { 1.0 } else { (at as f32 + 0.5) / overlap(tile - 1, tile) };
        let is_last = tile + 1 == starts.len();
        let fall = if is_last { 1.0 } else { ((length - at) as f32 - 0.5) / overlap(tile, tile + 1) };
        rise.min(fall).min(1.0)
    };
    let total = |pixel: usize| -> f32 {
        let tiles =
            (0..starts.len()).filter(|&tile| (0..length).contains(&pixel.wrapping_sub(starts[tile] * unit)));
        tiles.map(|tile| weight(tile, pixel - starts[tile] * unit)).sum()
    };
    let share = |tile: usize, at: usize| weight(tile, at) / total(starts[tile] * unit + at);
    (0..starts.len()).map(|tile| (0..length).map(|at| share(tile, at)).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_an_axis_and_overlap() {
        assert_eq!(starts(64, 64), [0]);
        assert_eq!(starts(128, 64), [0, 32, 64]);
        assert_eq!(starts(65, 64), [0, 1]);
        for (extent, tile) in [(256, 64), (100, 16), (7, 4), (129, 64)] {
            let starts = starts(extent, tile);
            assert_eq!((starts[0], starts[starts.len() - 1]), (0, extent - tile));
            assert!(starts.windows(2).all(|pair| pair[0] < pair[1] && pair[1] + tile / 4 <= pair[0] + tile));
        }
    }

    /// In all, and with no step from one pixel to the next that would show.
    #[test]
    fn shares_are_one_in_all_and_change_slowly() {
        for (extent, tile) in [(128, 64), (100, 64), (40, 16), (200, 48)] {
            let (starts, unit) = (starts(extent, tile), 4);
            let shares = shares(&starts, tile * unit, unit);
            let mut total = vec![0.0; extent * unit];
            for (start, shares) in starts.iter().zip(&shares) {
                shares.iter().enumerate().for_each(|(at, share)| total[start * unit + at] += share);
                let steepest = shares.windows(2).map(|pair| (pair[0] - pair[1]).abs()).fold(0.0, f32::max);
                assert!(steepest <= 1.1 * 4.0 / (tile * unit) as f32, "{extent} {tile}: {steepest}");
            }
            assert!(total.iter().all(|total| (total - 1.0).abs() < 1e-5), "{total:?}");
        }
    }

    /// What tiles of one picture are cut from is what they are put together to.
    #[test]
    fn tiles_of_one_picture_are_that_picture() {
        let (grid, unit) = ([6, 9], 2);
        let tiles =
            Tiles { grid, tile: [4, 4], starts: [starts(6, 4), starts(9, 4)], pixels_per_token: unit };
        let numbers: Vec<f32> = (0..54 * 12).map(|at| (at as f32 * 0.37).sin()).collect();
        let latents = HostTensor::from_f32([1, 54, 12], &numbers);
        // Each token is three channels of its two by two pixels.
        let picture = |latents: &HostTensor, [height, width]: [usize; 2]| {
            let values = latents.to_f32();
            let pixel = |at: usize| {
                let (channel, y, x) =
                    (at / (4 * height * width), at / (2 * width) % (2 * height), at % (2 * width));
                values[(y / 2 * width + x / 2) * 12 + channel * 4 + y % 2 * 2 + x % 2]
            };
            let pixels: Vec<f32> = (0..3 * 4 * height * width).map(pixel).collect();
            HostTensor::from_f32([1, 3, 2 * height, 2 * width], &pixels)
        };
        let decoded: Vec<_> =
            tiles.places().map(|place| picture(&tiles.cut(&latents, place), [4, 4])).collect();
        let (found, expected) = (tiles.blend(&decoded).to_f32(), picture(&latents, grid).to_f32());
        assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5));
    }
}
