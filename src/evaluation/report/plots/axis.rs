//! Ticks of axes.

use plotters::coord::ranged1d::Ranged;
use plotters::coord::types::RangedCoordf64;

/// An axis from one number to another over some pixels.
#[derive(Clone, Copy, Debug)]
pub struct Axis {
    pub from: f64,
    pub to: f64,
    pub pixels: [f64; 2],
}

impl Axis {
    /// Where `value` is.
    pub fn at(&self, value: f64) -> f64 {
        let share = (value - self.from) / (self.to - self.from);
        self.pixels[0] + share * (self.pixels[1] - self.pixels[0])
    }

    /// Round numbers, `most` at most.
    pub fn ticks(&self, most: usize) -> Vec<f64> {
        RangedCoordf64::from(self.from..self.to).key_points(most)
    }
}

/// The decimals that tell `ticks` apart.
pub fn decimals(ticks: &[f64]) -> usize {
    let steps = ticks.windows(2).map(|pair| pair[1] - pair[0]);
    let step = steps.fold(f64::INFINITY, f64::min);
    if step.is_finite() && step > 0.0 {
        (-(step * 1.0001).log10().floor()).clamp(0.0, 6.0) as usize
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        let axis = Axis { from: 0.0, to: 1.3, pixels: [100.0, 360.0] };
        let ticks = axis.ticks(8);
        assert!((4..=8).contains(&ticks.len()), "{ticks:?}");
        assert_eq!(decimals(&ticks), 1, "{ticks:?}");
        assert_eq!(axis.at(0.65), 230.0);
        assert_eq!((decimals(&[0.0, 5.0, 10.0]), decimals(&[0.0, 0.25, 0.5]), decimals(&[3.0])), (0, 1, 0));
    }
}
