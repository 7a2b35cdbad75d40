//! What running something takes, counted from shapes alone.

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
    const PREFIXES: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];
    let mut value = count as f64;
    let mut prefix = 0;
    // 999.5 would round up to 1000 of the smaller unit.
    while value >= 999.5 {
        value /= 1000.0;
        prefix += 1;
    }
    let decimals = match value {
        _ if prefix == 0 => 0,
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {}", PREFIXES[prefix])
}

#[cfg(test)]
mod tests {
    use super::si;

    #[test]
    fn si_keeps_three_digits() {
        let printed = [0, 999, 1000, 12_345, 999_499, 999_500, 74_360_000_000_000].map(si);
        assert_eq!(printed, ["0 ", "999 ", "1.00 k", "12.3 k", "999 k", "1.00 M", "74.4 T"]);
    }
}
