//! Distances between the results of two runs.

use crate::StepResults;
use reflux_ir::HostTensor;

/// The largest relative L2 distance between results with the same name and step. Infinite if one lacks a result, or has a
/// value that is not finite.
pub fn distance(found: &StepResults, expected: &StepResults) -> f64 {
    if found.len() < expected.len() {
        return f64::INFINITY;
    }
    let pairs = found.iter().zip(expected).flat_map(|(found, expected)| {
        expected
            .iter()
            .map(|(name, value)| found.get(name).map_or(f64::INFINITY, |found| apart(found, value)))
    });
    pairs.fold(0.0, |most, apart| if apart.is_nan() { f64::INFINITY } else { apart.max(most) })
}

fn apart(found: &HostTensor, expected: &HostTensor) -> f64 {
    if found.shape != expected.shape {
        return f64::INFINITY;
    }
    let pairs = found.to_f32().into_iter().zip(expected.to_f32());
    let (difference, norm) = pairs.fold((0.0, 0.0), |(difference, norm), (a, b)| {
        let (a, b) = (f64::from(a), f64::from(b));
        (difference + (a - b) * (a - b), norm + b * b)
    });
    if difference == 0.0 { 0.0 } else { (difference / norm).sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reflux_ir::Name;

    fn results(steps: &[&[(&str, &[f32])]]) -> StepResults {
        let tensor = |values: &[f32]| HostTensor::from_f32([values.len()], values);
        let step = |step: &&[(&str, &[f32])]| {
            step.iter().map(|(name, values)| (Name::from(name), tensor(values))).collect()
        };
        steps.iter().map(step).collect()
    }

    #[test]
    fn the_worst_result_of_the_worst_step_counts() {
        let expected = results(&[&[("y", &[3.0, 4.0])], &[("y", &[3.0, 4.0]), ("z", &[1.0])]]);
        assert_eq!(distance(&expected, &expected), 0.0);
        let found = results(&[&[("y", &[3.0, 4.5])], &[("y", &[3.0, 5.0]), ("z", &[1.1])]]);
        assert!((distance(&found, &expected) - 0.2).abs() < 1e-9);
        // What was not asked for does not count.
        let more = results(&[&[("y", &[3.0, 4.0]), ("w", &[9.0])], &[("y", &[3.0, 4.0]), ("z", &[1.0])]]);
        assert_eq!(distance(&more, &expected), 0.0);
    }

    #[test]
    fn what_cannot_be_compared_is_infinitely_far() {
        let expected = results(&[&[("y", &[3.0, 4.0])]]);
        let not_a_number = results(&[&[("y", &[3.0, f32::NAN])]]);
        let too_short = results(&[&[("y", &[3.0])]]);
        let missing = results(&[&[("z", &[3.0, 4.0])]]);
        for wrong in [not_a_number, too_short, missing, StepResults::new()] {
            assert_eq!(distance(&wrong, &expected), f64::INFINITY);
        }
        let zero = results(&[&[("y", &[0.0, 0.0])]]);
        assert_eq!(distance(&expected, &zero), f64::INFINITY);
    }
}
