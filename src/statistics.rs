//! Summaries of measured numbers.

/// The median of `values`, at least one: of an even number, the mean of the two in the middle.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let values = sorted(values);
    values[(values.len() - 1) / 2].midpoint(values[values.len() / 2])
}

/// The 95th percentile of `values`, at least one: the smallest that 95 of 100 do not exceed.
pub(crate) fn p95(values: impl IntoIterator<Item = f64>) -> f64 {
    let values = sorted(values);
    values[(values.len() * 95).div_ceil(100) - 1]
}

fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values
}
