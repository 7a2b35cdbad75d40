//! The filters with which Pillow resizes (`libImaging/Resample.c`): a pixel of the result is a sum of those of the source that its
//! filter reaches, which gets wider where the result is smaller.

use std::f64::consts::PI;

/// Filters of Pillow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filter {
    Bilinear,
    Bicubic,
    /// What diffusers resizes pictures with.
    Lanczos,
}

impl Filter {
    /// How far it reaches, in pixels of the result or of the source, whichever are larger.
    fn support(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    /// Its weight at a distance from the center, before all are divided by their sum.
    fn weight(self, x: f64) -> f64 {
        match self {
            Self::Bilinear => (1.0 - x.abs()).max(0.0),
            Self::Bicubic => cubic(x.abs()),
            Self::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            Self::Lanczos => 0.0,
        }
    }
}

/// Keys' convolution with a = -1/2.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    match x {
        ..1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
        ..2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
        _ => 0.0,
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (x * PI).sin() / (x * PI) }
}

/// What one pixel of the result is made of: weights of the source's pixels from the first on. Their sum is 1.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Window {
    pub first: usize,
    pub weights: Vec<f64>,
}

/// The windows that take `from` pixels to `to`.
pub(crate) fn windows(from: usize, to: usize, filter: Filter) -> Vec<Window> {
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0);
    let support = filter.support() * stretch;
    let window = |index: usize| {
        let center = (index as f64 + 0.5) * scale;
        let first = (center - support + 0.5).max(0.0) as usize;
        let end = ((center + support + 0.5) as usize).min(from);
        let weights: Vec<f64> =
            (first..end).map(|x| filter.weight((x as f64 - center + 0.5) * (1.0 / stretch))).collect();
        let sum: f64 = weights.iter().sum();
        Window { first, weights: weights.iter().map(|weight| weight / sum).collect() }
    };
    (0..to).map(window).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halving_takes_four_pixels_for_two() {
        // The triangle reaches two pixels to both sides: 1, 3, 3, 1 in eighths.
        let halved = windows(8, 4, Filter::Bilinear);
        assert_eq!(halved[1], Window { first: 1, weights: vec![0.125, 0.375, 0.375, 0.125] });
        // At the edge, the weights inside of the picture are all there are.
        assert_eq!(halved[0].weights.iter().sum::<f64>(), 1.0);
        assert_eq!((halved[0].first, halved[0].weights.len()), (0, 3));
        // A filter is 1 in its middle and 0 at all other whole numbers.
        for filter in [Filter::Bilinear, Filter::Bicubic, Filter::Lanczos] {
            let at = |x: f64| filter.weight(x);
            assert!((at(0.0) - 1.0).abs() < 1e-15 && at(1.0).abs() < 1e-15 && at(-2.0).abs() < 1e-15);
        }
        assert_eq!(Filter::Bicubic.weight(0.5), 0.5625);
    }
}
