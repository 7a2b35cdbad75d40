//! How far numbers are from others, in f64.

/// The PSNR of equal pictures, and the most of any: 8-bit pictures that differ in one level alone can come above it.
const HIGHEST_PSNR: f64 = 100.0;

/// The root mean square difference of the channels of two pictures, 0 to 255.
pub(crate) fn rms(a: &[u8], b: &[u8]) -> f64 {
    let squared = |(a, b): (&u8, &u8)| f64::from(a.abs_diff(*b)).powi(2);
    let sum: f64 = a.iter().zip(b).map(squared).sum();
    (sum / a.len() as f64).sqrt()
}

/// Peak signal-to-noise ratio of the channels of two pictures in dB: 20 · log₁₀(255 / [`rms`]), at most 100.
pub(crate) fn psnr(a: &[u8], b: &[u8]) -> f64 {
    (20.0 * (255.0 / rms(a, b)).log10()).min(HIGHEST_PSNR)
}

/// The relative L2 distance ‖found − expected‖ / ‖expected‖; 0 for equal values.
pub(crate) fn relative_l2(found: &[f32], expected: &[f32]) -> f64 {
    let pairs = found.iter().zip(expected).map(|(a, b)| (f64::from(*a), f64::from(*b)));
    let (difference, norm) = pairs.fold((0.0, 0.0), |(difference, norm), (found, expected)| {
        (difference + (found - expected).powi(2), norm + expected * expected)
    });
    if difference == 0.0 { 0.0 } else { (difference / norm).sqrt() }
}
