//! Resizing of pictures, byte for byte as Pillow's `Image.resize` does it (`libImaging/Resample.c`): columns first, then rows,
//! each with weights in fixed point and bytes in between.

use super::filter::{self, Filter};

/// Bits behind the point of a weight.
const PRECISION: u32 = 32 - 8 - 2;

/// Rows of RGB, 8 bits each, `[height, width]` pixels.
pub(super) struct Pixels {
    pub size: [usize; 2],
    pub bytes: Vec<u8>,
}

/// The pixels at another size, `[height, width]`.
pub(super) fn resize(pixels: Pixels, to: [usize; 2], filter: Filter) -> Pixels {
    let [rows, columns] = to;
    let pixels = if pixels.size[1] == columns { pixels } else { resize_columns(&pixels, columns, filter) };
    if pixels.size[0] == rows { pixels } else { resize_rows(&pixels, rows, filter) }
}

/// What one pixel of the result is made of, with weights in fixed point.
struct Window {
    first: usize,
    weights: Vec<i32>,
}

/// The windows that take `from` pixels to `to`.
fn windows(from: usize, to: usize, filter: Filter) -> Vec<Window> {
    let fixed = |weight: f64| {
        let scaled = weight * f64::from(1 << PRECISION);
        (if scaled < 0.0 { scaled - 0.5 } else { scaled + 0.5 }) as i32
    };
    let window = |filter::Window { first, weights }: filter::Window| Window {
        first,
        weights: weights.into_iter().map(fixed).collect(),
    };
    filter::windows(from, to, filter).into_iter().map(window).collect()
}

impl Window {
    /// The byte that the window makes of `bytes`, one of each pixel of the source.
    fn sum(&self, bytes: impl Iterator<Item = u8>) -> u8 {
        let products = self.weights.iter().zip(bytes).map(|(weight, byte)| weight * i32::from(byte));
        let sum = products.fold(1 << (PRECISION - 1), i32::wrapping_add);
        (sum >> PRECISION).clamp(0, 255) as u8
    }
}

fn resize_columns(pixels: &Pixels, columns: usize, filter: Filter) -> Pixels {
    let [rows, from] = pixels.size;
    let windows = windows(from, columns, filter);
    let mut bytes = Vec::with_capacity(rows * columns * 3);
    for row in pixels.bytes.chunks_exact(from * 3) {
        for window in &windows {
            let pixels = &row[window.first * 3..];
            bytes
                .extend([0, 1, 2].map(|channel| window.sum(pixels.iter().skip(channel).step_by(3).copied())));
        }
    }
    Pixels { size: [rows, columns], bytes }
}

fn resize_rows(pixels: &Pixels, rows: usize, filter: Filter) -> Pixels {
    let [from, columns] = pixels.size;
    let stride = columns * 3;
    let mut bytes = Vec::with_capacity(rows * stride);
    for window in windows(from, rows, filter) {
        let source = &pixels.bytes[window.first * stride..];
        bytes.extend((0..stride).map(|at| window.sum(source.iter().skip(at).step_by(stride).copied())));
    }
    Pixels { size: [rows, columns], bytes }
}
