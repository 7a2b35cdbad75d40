//! What is measured on a checkpoint, for the options that depend on it.

use super::equations::{solved, squared};
use super::schedule::CacheSchedule;
use super::sites;
use super::{Method, Site};
use reflux_ir::{Name, Program, ValueId};

/// The values of a step by which an option of a method is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Measured {
    /// For MagCache's ratios: the stream after all blocks and before the first, both `[batch, tokens, channels]`.
    Stream { end: Name, start: Name },
    /// For TeaCache's polynomial: what the first block reads, which is compared with the result of the step.
    Input(Name),
}

/// The highest power of TeaCache's polynomial.
const DEGREE: usize = 4;

impl Method {
    /// The option whose value is measured on a checkpoint, if the method has one.
    pub fn measured_option(&self) -> Option<&'static str> {
        match self.schedule {
            CacheSchedule::Magnitudes(_) => Some("ratios"),
            CacheSchedule::Accumulated(_) => Some("coefficients"),
            _ => None,
        }
    }

    /// The values of `program` by which that option is measured.
    ///
    /// # Errors
    /// If there is no such option, or not one variant with one such value: why.
    pub fn measured(&self, program: &Program) -> Result<Measured, String> {
        let Site { name: site, .. } = self.site;
        let mut variants = program.variants.values();
        let (Some(graph), None) = (variants.next(), variants.next()) else {
            return Err("the program has several variants".to_owned());
        };
        let &[end] = &self.site.values(graph)[..] else {
            return Err(format!("the program has not one of {site}"));
        };
        let name = |value: ValueId| graph[value].name.clone();
        let measured = match self.schedule {
            CacheSchedule::Magnitudes(_) => sites::stream_start(graph, end)
                .map(|start| Measured::Stream { end: name(end), start: name(start) }),
            CacheSchedule::Accumulated(_) => {
                sites::first_input(graph, end).map(|input| Measured::Input(name(input)))
            }
            _ => return Err(format!("{self} has no option that is measured")),
        };
        measured.ok_or_else(|| format!("no block makes `%{}` of its stream by a product", name(end)))
    }
}

impl Measured {
    /// With how many steps at least it can be measured on this many pictures: the first step of each has none before it.
    pub fn least_steps(&self, pictures: usize) -> usize {
        match self {
            Self::Stream { .. } => 2,
            Self::Input(_) => 1 + (DEGREE + 1).div_ceil(pictures.max(1)),
        }
    }
}

/// The polynomial of degree 4, highest power first, that gives the changes of the result from those of the input with the least
/// squared error; `samples` are pairs of these. `None` if there are too few different ones.
pub fn polynomial_through(samples: &[[f64; 2]]) -> Option<Vec<f64>> {
    let mut inputs: Vec<f64> = samples.iter().map(|&[input, _]| input).collect();
    inputs.sort_by(f64::total_cmp);
    inputs.dedup();
    // Powers of numbers up to 1 are of one size, so that the equations are well conditioned.
    let scale =
        inputs.last().copied().filter(|scale| inputs.len() > DEGREE && scale.is_normal() && *scale > 0.0)?;
    let rows: Vec<Vec<f64>> = samples
        .iter()
        .map(|&[input, _]| (0..=DEGREE).map(|power| (input / scale).powi((DEGREE - power) as i32)).collect())
        .collect();
    let moment = |i: usize| rows.iter().zip(samples).map(|(row, &[_, result])| row[i] * result).sum();
    let fitted = solved(squared(&rows), (0..=DEGREE).map(moment).collect()).into_iter().enumerate();
    let unscaled = fitted.map(|(power, coefficient)| coefficient / scale.powi((DEGREE - power) as i32));
    let unscaled: Vec<f64> = unscaled.collect();
    unscaled.iter().all(|coefficient| coefficient.is_finite()).then_some(unscaled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_polynomial_takes_as_many_steps_as_it_has_numbers() {
        let input = Measured::Input("x".into());
        assert_eq!([1, 2, 4, 5, 9].map(|pictures| input.least_steps(pictures)), [6, 4, 3, 2, 2]);
        assert_eq!(Measured::Stream { end: "a".into(), start: "b".into() }.least_steps(1), 2);
    }

    /// Samples that lie on a polynomial give that.
    #[test]
    fn a_polynomial_is_found_again() {
        let expected = [-1012.52, 517.014, -78.2716, 5.8724, -0.0801909];
        let value = |x: f64| expected.iter().fold(0.0, |value, coefficient| value * x + coefficient);
        let samples: Vec<_> = (1..=12).map(|x| f64::from(x) * 0.025).map(|x| [x, value(x)]).collect();
        let found = polynomial_through(&samples).unwrap();
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6 * expected.abs(), "{found} {expected}");
        }
        assert_eq!(polynomial_through(&samples[..4]), None);
        assert_eq!(polynomial_through(&[[0.1, 0.2]; 20]), None);
    }
}
