//! Convolutions, as products of the kernels with panels of a few neighbouring pixels each.

use super::matrix::Matrix;
use super::panel;
use super::tiles::{Tile, for_each, tiles};
use burn::tensor::{DType, Shape};
use burn_flex::FlexTensor;
use pulp::{Arch, Simd, WithSimd};
use reflux_ir::op::Conv2d;

/// See [`Conv2d`]; all of it is f32. `None` if it is not [plain](Conv2d::is_plain), or an extent is zero.
pub fn conv2d(
    op: &Conv2d,
    x: &FlexTensor,
    kernels: &FlexTensor,
    bias: Option<&FlexTensor>,
) -> Option<FlexTensor> {
    if !op.is_plain() {
        return None;
    }
    let [x, kernels] = [x, kernels].map(FlexTensor::to_contiguous);
    let bias = bias.map(FlexTensor::to_contiguous);
    let &[images, channels, height, width] = &x.layout().shape()[..] else { return None };
    let &[out, _, kernel_height, kernel_width] = &kernels.layout().shape()[..] else { return None };
    let window = Window { height, width, kernel_height, kernel_width, padding: op.padding };
    let features = channels * kernel_height * kernel_width;
    let (rows, columns) = (window.rows(), window.columns());
    if images * features * out * rows * columns == 0 {
        return None;
    }
    let kernels = Matrix::new(kernels.storage(), [out, features], features);
    let bias = bias.as_ref().map(|bias| bias.storage::<f32>());
    let mut y = FlexTensor::empty(Shape::new([images, out, rows, columns]), DType::F32);
    // Whole rows of an image, some for each thread.
    let share = rows.div_ceil(4 * rayon::current_num_threads()) * columns;
    let images = x.storage::<f32>().chunks_exact(channels * height * width);
    let results = y.storage_mut::<f32>().chunks_exact_mut(out * rows * columns);
    let jobs = images.zip(results).flat_map(|(x, y)| {
        let tiles = tiles(y, rows * columns, [out, share]);
        tiles.into_iter().map(|tile| Convolve { window, x, kernels, bias, tile }).collect::<Vec<_>>()
    });
    let arch = Arch::new();
    for_each(jobs.collect(), || (), |(), job| arch.dispatch(job));
    Some(y)
}

/// The geometry of a convolution.
#[derive(Clone, Copy)]
struct Window {
    height: usize,
    width: usize,
    kernel_height: usize,
    kernel_width: usize,
    padding: usize,
}

impl Window {
    /// Rows of the result.
    fn rows(self) -> usize {
        self.height + 2 * self.padding + 1 - self.kernel_height
    }

    /// Columns of the result.
    fn columns(self) -> usize {
        self.width + 2 * self.padding + 1 - self.kernel_width
    }

    /// Fills the panel for neighbouring pixels of the result, one per column, from (`row`, `column`) on. Its rows are the
    /// elements of a kernel; each holds the pixels of the image `x` that this element is multiplied by, zero outside of the
    /// image.
    #[inline(always)]
    fn pack(self, x: &[f32], row: usize, column: usize, panel: &mut [f32]) {
        let mut places = panel.chunks_exact_mut(panel::WIDTH);
        for channel in x.chunks_exact(self.height * self.width) {
            for dy in 0..self.kernel_height {
                let y = (row + dy).wrapping_sub(self.padding);
                let line = if y < self.height { &channel[y * self.width..][..self.width] } else { &[] };
                for (dx, place) in places.by_ref().take(self.kernel_width).enumerate() {
                    let start = (column + dx).wrapping_sub(self.padding);
                    match line.get(start..start.wrapping_add(panel::WIDTH)) {
                        Some(run) => place.copy_from_slice(run),
                        None => {
                            for (index, x) in place.iter_mut().enumerate() {
                                *x = line.get(start.wrapping_add(index)).copied().unwrap_or(0.0);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Some rows of the result of one image, in all channels.
struct Convolve<'a, 'y> {
    window: Window,
    x: &'a [f32],
    kernels: Matrix<'a, f32>,
    bias: Option<&'a [f32]>,
    tile: Tile<'y, f32>,
}

impl WithSimd for Convolve<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let columns = self.window.columns();
        let mut panel = vec![0.0; self.kernels.columns * panel::WIDTH];
        let pixels = self.tile.columns.clone();
        for first in pixels.clone().step_by(columns) {
            for column in (0..columns).step_by(panel::WIDTH) {
                self.window.pack(self.x, first / columns, column, &mut panel);
                let start = first - pixels.start + column;
                let end = first - pixels.start + columns;
                panel::multiply(simd, self.kernels, &panel, |channel, sums| {
                    let bias = self.bias.map_or(0.0, |bias| bias[channel]);
                    for (y, sum) in self.tile.places[channel][start..end].iter_mut().zip(sums) {
                        *y = sum + bias;
                    }
                });
            }
        }
    }
}
