//! Reshaping of strided tensors without copying.

/// The strides, in elements, under which a tensor with `extents` and `strides` has `shape`, with the same elements in the same
/// order. `None` if there are none, or if the tensor is empty.
pub fn reshaped(extents: &[usize], strides: &[usize], shape: &[usize]) -> Option<Vec<usize>> {
    // Runs of axes that lie behind each other without gaps, innermost first: extent and stride.
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (&extent, &stride) in extents.iter().zip(strides).rev().filter(|(extent, _)| **extent != 1) {
        match runs.last_mut() {
            Some((run, inner)) if stride == *inner * *run => *run *= extent,
            _ => runs.push((extent, stride)),
        }
    }
    let mut runs = runs.into_iter();
    let (mut left, mut next) = runs.next().unwrap_or((1, 1));
    let mut strides = vec![0; shape.len()];
    for (place, &extent) in strides.iter_mut().zip(shape).rev() {
        if left == 1 && extent != 1 {
            (left, next) = runs.next()?;
        }
        if extent == 0 || !left.is_multiple_of(extent) {
            return None;
        }
        *place = next;
        (left, next) = (left / extent, next * extent);
    }
    Some(strides)
}
