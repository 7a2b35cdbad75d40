//! How near pictures and latents are to others, in f64.

pub(crate) use crate::distances::relative_l2;

use crate::distances;
use crate::pipeline::Image;

/// The largest level of a channel.
const WHITE: f64 = 255.0;

/// The side of SSIM's window, in pixels, and the standard deviation of its Gaussian (Wang et al. 2004, section III.C).
const WINDOW: usize = 11;
const SIGMA: f64 = 1.5;

/// What keeps SSIM's quotients stable: (0.01 · 255)² and (0.03 · 255)².
const C1: f64 = (0.01 * WHITE) * (0.01 * WHITE);
const C2: f64 = (0.03 * WHITE) * (0.03 * WHITE);

/// The PSNR of two pictures of one size.
pub fn psnr(a: &Image, b: &Image) -> f64 {
    assert_same_size(a, b);
    distances::psnr(a.pixels(), b.pixels())
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Pixels by their place `(x, y)`.
    fn picture([height, width]: [usize; 2], pixel: impl Fn(usize, usize) -> [usize; 3]) -> Image {
        let places = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        let bytes = places.flat_map(|(x, y)| pixel(x, y).map(|value| (value % 256) as u8));
        Image::from_pixels(width, height, bytes.collect())
    }

    fn grey(level: usize) -> Image {
        picture([16, 16], |_, _| [level; 3])
    }

    fn assert_near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found}, not {expected}");
    }

    #[test]
    fn psnr_is_the_log_of_the_mean_squared_difference() {
        // Every channel differs by 5: 10 · log₁₀(65025 / 25).
        assert_near(psnr(&grey(100), &grey(105)), 34.151_403_521_958_73);
        // One channel of 256 pixels by 16: a mean of 1/3.
        let dot = picture([16, 16], |x, y| if (x, y) == (3, 4) { [116, 100, 100] } else { [100; 3] });
        assert_near(psnr(&grey(100), &dot), 10.0 * (65_025.0_f64 * 3.0).log10());
        assert_near(psnr(&grey(0), &grey(255)), 0.0);
        assert_eq!(psnr(&dot, &dot), 100.0);
    }

    #[test]
    fn ssim_of_plain_pictures_compares_their_means() {
        // Without variance: (2ab + C₁) / (a² + b² + C₁).
        let expected = (2.0 * 100.0 * 120.0 + 6.5025) / (100.0_f64.powi(2) + 120.0_f64.powi(2) + 6.5025);
        assert_near(ssim(&grey(100), &grey(120)), expected);
        assert_eq!(ssim(&grey(7), &grey(7)), 1.0);
    }

    /// Against the same formula written with numpy's convolutions.
    #[test]
    fn ssim_is_that_of_another_program() {
        let size = [16, 20];
        let a = picture(size, |x, y| [x * 12, y * 15, x * y]);
        let b = picture(size, |x, y| [x * 12 + y, y * 15 + x * 3, x * y * 2 + 7]);
        assert_near(ssim(&a, &b), 0.913_997_377_031_059_8);
        assert_near(psnr(&a, &b), 14.220_775_844_223_459);
        let rough = picture(size, |x, y| {
            let add = |value: usize| match (x + y) % 2 {
                0 => (value % 256).saturating_sub(10),
                _ => (value % 256 + 10).min(255),
            };
            [x * 12, y * 15, x * y].map(add)
        });
        assert_near(ssim(&a, &rough), 0.854_073_845_659_405_8);
    }

    #[test]
    fn distances_of_latents_are_relative() {
        assert_near(relative_l2(&[3.0, 5.0], &[3.0, 4.0]), 0.2);
        assert_eq!(relative_l2(&[0.0], &[0.0]), 0.0);
        assert_near(cosine(&[1.0, 0.0], &[1.0, 1.0]), 0.5_f64.sqrt());
        assert_near(cosine(&[1.0, 2.0], &[-2.0, -4.0]), -1.0);
        assert_eq!(cosine(&[0.1, 0.2, 0.3], &[0.1, 0.2, 0.3]), 1.0);
        // The first step is the same, the second at a right angle.
        assert_near(trajectory_cosine(&[1.0, 2.0, 1.0, 0.0], &[1.0, 2.0, 0.0, 5.0], 2), 0.5);
    }
}
