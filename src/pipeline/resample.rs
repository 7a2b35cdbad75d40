//! Resizing of pictures, byte for byte as Pillow's `Image.resize` does it with `LANCZOS`, which diffusers uses
//! (`libImaging/Resample.c`): columns first, then rows, each with weights in fixed point and bytes in between.

use std::f64::consts::PI;

/// Bits behind the point of a weight.
const PRECISION: u32 = 32 - 8 - 2;

/// How far the filter reaches, in pixels of the result or of the source, whichever are larger.
const SUPPORT: f64 = 3.0;

/// Rows of RGB, 8 bits each, `[height, width]` pixels.
pub(super) struct Pixels {
    pub size: [usize; 2],
    pub bytes: Vec<u8>,
}

/// The pixels at another size, `[height, width]`.
pub(super) fn resize(pixels: Pixels, to: [usize; 2]) -> Pixels {
    let [rows, columns] = to;
    let pixels = if pixels.size[1] == columns { pixels } else { resize_columns(&pixels, columns) };
    if pixels.size[0] == rows { pixels } else { resize_rows(&pixels, rows) }
}

/// What one pixel of the result is made of: weights of the source's pixels from the first on.
struct Window {
    first: usize,
    weights: Vec<i32>,
}

/// The same, with weights as Pillow has them for pictures of floating-point numbers; their sum is 1.
pub(crate) struct ExactWindow {
    pub first: usize,
    pub weights: Vec<f64>,
}

/// The windows that take `from` pixels to `to`.
fn windows(from: usize, to: usize) -> Vec<Window> {
    let fixed = |weight: f64| {
        let scaled = weight * f64::from(1 << PRECISION);
        (if scaled < 0.0 { scaled - 0.5 } else { scaled + 0.5 }) as i32
    };
    let window = |ExactWindow { first, weights }: ExactWindow| Window {
        first,
        weights: weights.into_iter().map(fixed).collect(),
    };
    exact_windows(from, to).into_iter().map(window).collect()
}

/// The windows that take `from` pixels to `to`.
pub(crate) fn exact_windows(from: usize, to: usize) -> Vec<ExactWindow> {
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0);
    let support = SUPPORT * stretch;
    let window = |index: usize| {
        let center = (index as f64 + 0.5) * scale;
        let first = (center - support + 0.5).max(0.0) as usize;
        let end = ((center + support + 0.5) as usize).min(from);
        let weights: Vec<f64> =
            (first..end).map(|x| lanczos((x as f64 - center + 0.5) * (1.0 / stretch))).collect();
        let sum: f64 = weights.iter().sum();
        ExactWindow { first, weights: weights.iter().map(|weight| weight / sum).collect() }
    };
    (0..to).map(window).collect()
}

fn lanczos(x: f64) -> f64 {
    let sinc = |x: f64| if x == 0.0 { 1.0 } else { (x * PI).sin() / (x * PI) };
    if (-SUPPORT..SUPPORT).contains(&x) { sinc(x) * sinc(x / SUPPORT) } else { 0.0 }
}

impl Window {
    /// The byte that the window makes of `bytes`, one of each pixel of the source.
    fn sum(&self, bytes: impl Iterator<Item = u8>) -> u8 {
        let products = self.weights.iter().zip(bytes).map(|(weight, byte)| weight * i32::from(byte));
        let sum = products.fold(1 << (PRECISION - 1), i32::wrapping_add);
        (sum >> PRECISION).clamp(0, 255) as u8
    }
}

fn resize_columns(pixels: &Pixels, columns: usize) -> Pixels {
    let [rows, from] = pixels.size;
    let windows = windows(from, columns);
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

fn resize_rows(pixels: &Pixels, rows: usize) -> Pixels {
    let [from, columns] = pixels.size;
    let stride = columns * 3;
    let mut bytes = Vec::with_capacity(rows * stride);
    for window in windows(from, rows) {
        let source = &pixels.bytes[window.first * stride..];
        bytes.extend((0..stride).map(|at| window.sum(source.iter().skip(at).step_by(stride).copied())));
    }
    Pixels { size: [rows, columns], bytes }
}
