//! Numbers of a column or an axis in one unit, with as many decimals as its values need.

/// A unit, and how many decimals are written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unit {
    pub name: &'static str,
    /// What one is worth.
    pub size: f64,
    pub decimals: usize,
}

impl Unit {
    /// For times, in seconds.
    pub fn of_seconds(values: impl IntoIterator<Item = f64>) -> Self {
        Self::of(values, &[("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)])
    }

    /// For sizes, in bytes.
    pub fn of_bytes(values: impl IntoIterator<Item = f64>) -> Self {
        Self::of(values, &[("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("B", 1.0)])
    }

    /// The largest of `units` in which the largest of `values` is at least 1, and three digits of the smallest of them that
    /// matters: what is below a hundredth of the largest needs no more than that has.
    fn of(values: impl IntoIterator<Item = f64>, units: &[(&'static str, f64)]) -> Self {
        let values: Vec<f64> = values.into_iter().filter(|value| *value > 0.0).collect();
        let largest = values.iter().copied().fold(0.0, f64::max);
        let smallest =
            values.into_iter().filter(|value| *value >= largest / 100.0).fold(f64::INFINITY, f64::min);
        let fits = units.iter().find(|(_, size)| largest >= *size);
        let &(name, size) = fits.or(units.last()).expect("there is a unit");
        let decimals = match smallest / size {
            100.0.. => 0,
            10.0.. => 1,
            1.0.. => 2,
            _ => 3,
        };
        Self { name, size, decimals: if name == "B" { 0 } else { decimals } }
    }

    /// The number alone.
    pub fn number(&self, value: f64) -> String {
        format!("{:.*}", self.decimals, value / self.size)
    }

    /// With the unit.
    pub fn text(&self, value: f64) -> String {
        format!("{} {}", self.number(value), self.name)
    }
}

/// A time by itself, such as `1.23 s`.
pub fn seconds(value: f64) -> String {
    Unit::of_seconds([value]).text(value)
}

/// A size by itself, such as `12.3 GB`.
pub fn bytes(value: u64) -> String {
    let value = value as f64;
    Unit::of_bytes([value]).text(value)
}

/// A size by itself, if it is known.
pub fn known_bytes(value: Option<u64>) -> String {
    value.map_or_else(|| "not known".to_owned(), bytes)
}

/// A ratio, such as `2.3×`.
pub fn times(ratio: f64) -> String {
    if ratio < 100.0 { format!("{ratio:.2}×") } else { format!("{ratio:.0}×") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_has_one_unit() {
        let unit = Unit::of_seconds([0.512, 1.21, 0.0001]);
        assert_eq!([0.512, 1.21, 0.0].map(|value| unit.number(value)), ["0.512", "1.210", "0.000"]);
        assert_eq!(
            (seconds(12.345), seconds(0.0123), seconds(0.0)),
            ("12.3 s".into(), "12.3 ms".into(), "0 µs".into())
        );
        let unit = Unit::of_bytes([6.1e6, 12.25e6]);
        assert_eq!([6.1e6, 12.25e6].map(|value| unit.text(value)), ["6.10 MB", "12.25 MB"]);
        assert_eq!((bytes(23_800_000_000), bytes(999)), ("23.8 GB".into(), "999 B".into()));
        assert_eq!((times(2.345), times(250.4)), ("2.35×".into(), "250×".into()));
    }
}
