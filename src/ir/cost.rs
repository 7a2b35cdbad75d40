//! Costs: FLOP and bytes, counted from shapes alone.

use std::iter::Sum;
use std::ops::Add;

/// Work and memory traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Floating-point operations; a multiply-add counts two.
    pub flops: u64,
    /// Bytes read and written.
    pub bytes: u64,
}

impl Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { flops: self.flops.saturating_add(other.flops), bytes: self.bytes.saturating_add(other.bytes) }
    }
}

impl Sum for Cost {
    fn sum<I: Iterator<Item = Self>>(costs: I) -> Self {
        costs.fold(Self::default(), Add::add)
    }
}

/// `count` with three significant digits and an SI prefix: `74.4 T`. Append the unit to it.
pub fn si(count: u64) -> String {
    three_digits(count, &["", "k", "M", "G", "T", "P", "E"])
}

/// A time with three significant digits, or whole seconds: `113 µs`.
pub fn duration(nanoseconds: u64) -> String {
    three_digits(nanoseconds, &["ns", "µs", "ms", "s"])
}

/// `count` of the first of `units`, each a thousand times the one before.
fn three_digits(count: u64, units: &[&str]) -> String {
    let mut value = count as f64;
    let mut unit = 0;
    // 999.5 would round up to 1000 of the smaller unit.
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = match value {
        _ if unit == 0 => 0,
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::{duration, si};

    #[test]
    fn si_keeps_three_digits() {
        let printed = [0, 999, 1000, 12_345, 999_499, 999_500, 74_360_000_000_000].map(si);
        assert_eq!(printed, ["0 ", "999 ", "1.00 k", "12.3 k", "999 k", "1.00 M", "74.4 T"]);
    }

    #[test]
    fn durations_end_in_seconds() {
        let printed = [0, 1_500, 113_107, 5_213_600_000, u64::MAX].map(duration);
        assert_eq!(printed, ["0 ns", "1.50 µs", "113 µs", "5.21 s", "18446744074 s"]);
    }
}
