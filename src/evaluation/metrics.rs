//! How near pictures and latents are to others, in f64.

use crate::pipeline::Image;

/// The PSNR of equal pictures, and the most of any: 8-bit pictures that differ in one level alone can come above it.
const HIGHEST_PSNR: f64 = 100.0;

/// The largest level of a channel.
const WHITE: f64 = 255.0;

/// The side of SSIM's window, in pixels, and the standard deviation of its Gaussian (Wang et al. 2004, section III.C).
const WINDOW: usize = 11;
const SIGMA: f64 = 1.5;

/// What keeps SSIM's quotients stable: (0.01 · 255)² and (0.03 · 255)².
const C1: f64 = (0.01 * WHITE) * (0.01 * WHITE);
const C2: f64 = (0.03 * WHITE) * (0.03 * WHITE);

/// Peak signal-to-noise ratio of two pictures of one size in dB: 10 · log₁₀(255² / mean squared difference of all channels), at
/// most 100.
pub fn psnr(a: &Image, b: &Image) -> f64 {
    assert_same_size(a, b);
    let squared = |(a, b): (&u8, &u8)| f64::from(a.abs_diff(*b)).powi(2);
    let sum: f64 = a.pixels().iter().zip(b.pixels()).map(squared).sum();
    let mean = sum / a.pixels().len() as f64;
    (10.0 * (WHITE * WHITE / mean).log10()).min(HIGHEST_PSNR)
}

/// Structural similarity of the luminance of two pictures of one size, each side of at least 11 pixels: the mean over all places
/// where the window lies inside of them (Wang et al. 2004, equation 13). Pictures are not made smaller before.
pub fn ssim(a: &Image, b: &Image) -> f64 {
    assert_same_size(a, b);
    let size = [a.height(), a.width()];
    let (a, b) = (luminance(a), luminance(b));
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).collect::<Vec<_>>();
    let [mean_a, mean_b, mean_aa, mean_bb, mean_ab] =
        [&a, &b, &product(&a, &a), &product(&b, &b), &product(&a, &b)].map(|plane| windowed(plane, size));
    let at = |index: usize| {
        let (a, b) = (mean_a[index], mean_b[index]);
        let (variance_a, variance_b) = (mean_aa[index] - a * a, mean_bb[index] - b * b);
        let covariance = mean_ab[index] - a * b;
        let alike = (2.0 * a * b + C1) * (2.0 * covariance + C2);
        alike / ((a * a + b * b + C1) * (variance_a + variance_b + C2))
    };
    (0..mean_a.len()).map(at).sum::<f64>() / mean_a.len() as f64
}

/// The relative L2 distance ‖found − expected‖ / ‖expected‖; 0 for equal values.
pub fn relative_l2(found: &[f32], expected: &[f32]) -> f64 {
    let pairs = found.iter().zip(expected).map(|(a, b)| (f64::from(*a), f64::from(*b)));
    let (difference, norm) = pairs.fold((0.0, 0.0), |(difference, norm), (found, expected)| {
        (difference + (found - expected).powi(2), norm + expected * expected)
    });
    if difference == 0.0 { 0.0 } else { (difference / norm).sqrt() }
}

/// The cosine of the angle between two vectors, 1 where both are 0.
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let pairs = a.iter().zip(b).map(|(a, b)| (f64::from(*a), f64::from(*b)));
    let (product, aa, bb) =
        pairs.fold((0.0, 0.0, 0.0), |(product, aa, bb), (a, b)| (product + a * b, aa + a * a, bb + b * b));
    // Rounding must not make equal vectors differ.
    if aa == product && bb == product { 1.0 } else { product / (aa * bb).sqrt() }
}

/// The mean over `steps` of the [`cosine`] between what both have after each.
pub fn trajectory_cosine(a: &[f32], b: &[f32], steps: usize) -> f64 {
    let length = a.len() / steps;
    let each = a.chunks_exact(length).zip(b.chunks_exact(length));
    each.map(|(a, b)| cosine(a, b)).sum::<f64>() / steps as f64
}

fn assert_same_size(a: &Image, b: &Image) {
    assert_eq!((a.width(), a.height()), (b.width(), b.height()), "pictures of one size are compared");
}

/// Of each pixel, 0 to 255 (ITU-R BT.601).
fn luminance(image: &Image) -> Vec<f64> {
    let of = |[red, green, blue]: &[u8; 3]| {
        0.299 * f64::from(*red) + 0.587 * f64::from(*green) + 0.114 * f64::from(*blue)
    };
    image.pixels().as_chunks().0.iter().map(of).collect()
}

/// The means of a plane `[height, width]` in windows around each place where they fit, weighted by the Gaussian.
fn windowed(plane: &[f64], [height, width]: [usize; 2]) -> Vec<f64> {
    let weights = gaussian();
    let columns = width - WINDOW + 1;
    let weigh = |values: &mut dyn Iterator<Item = f64>| -> f64 {
        values.zip(&weights).map(|(value, weight)| value * weight).sum()
    };
    let row = |row: &[f64]| -> Vec<f64> {
        row.windows(WINDOW).map(|window| weigh(&mut window.iter().copied())).collect()
    };
    let rows: Vec<Vec<f64>> = plane.chunks_exact(width).map(row).collect();
    let at = |y: usize, x: usize| weigh(&mut rows[y..].iter().map(|row| row[x]));
    (0..height - WINDOW + 1).flat_map(|y| (0..columns).map(move |x| (y, x))).map(|(y, x)| at(y, x)).collect()
}

/// The window along one side; the sum is 1.
fn gaussian() -> [f64; WINDOW] {
    let at = |index: usize| {
        let distance = index as f64 - (WINDOW / 2) as f64;
        (-distance * distance / (2.0 * SIGMA * SIGMA)).exp()
    };
    let weights: [f64; WINDOW] = std::array::from_fn(at);
    let sum: f64 = weights.iter().sum();
    weights.map(|weight| weight / sum)
}
