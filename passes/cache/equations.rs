//! Small systems of linear equations.

/// `XᵀX`, where `rows` are those of `X`, all of one length.
pub fn squared(rows: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let size = rows.first().map_or(0, Vec::len);
    let product = |i: usize, j: usize| rows.iter().map(|row| row[i] * row[j]).sum();
    (0..size).map(|i| (0..size).map(|j| product(i, j)).collect()).collect()
}

/// The solution `x` of `a · x = b`, where `a` is symmetric and positive definite, so that no pivot is 0: by elimination.
pub fn solved(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
    let size = b.len();
    for pivot in 0..size {
        let (above, below) = a.split_at_mut(pivot + 1);
        let equation = &above[pivot];
        for (row, other) in below.iter_mut().enumerate() {
            let factor = other[pivot] / equation[pivot];
            other.iter_mut().zip(equation).for_each(|(entry, &by)| *entry -= factor * by);
            b[pivot + 1 + row] -= factor * b[pivot];
        }
    }
    for row in (0..size).rev() {
        let known: f64 = (row + 1..size).map(|column| a[row][column] * b[column]).sum();
        b[row] = (b[row] - known) / a[row][row];
    }
    b
}
