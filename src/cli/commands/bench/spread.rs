//! Summaries of measured times.

use crate::statistics::{median, p95};
use std::time::Duration;

/// A summary of several times, in ms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    /// The 95th percentile: the smallest time that 95 of 100 do not exceed.
    pub p95: f64,
}

impl Spread {
    /// The summary of `times`, at least one.
    pub fn of(times: &[Duration]) -> Self {
        let ms = || times.iter().map(|time| time.as_secs_f64() * 1e3);
        Self { median: median(ms()), p95: p95(ms()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ms: impl IntoIterator<Item = u64>) -> (f64, f64) {
        let times: Vec<_> = ms.into_iter().map(Duration::from_millis).collect();
        let Spread { median, p95 } = Spread::of(&times);
        (median, p95)
    }

    #[test]
    fn times_are_ranked_not_averaged() {
        assert_eq!(of([7]), (7.0, 7.0));
        assert_eq!(of([4, 1]), (2.5, 4.0));
        assert_eq!(of([900, 1, 2]), (2.0, 900.0));
        assert_eq!(of((1..=100).rev()), (50.5, 95.0));
    }
}
