//! Moving of numbers that are known while a graph is read.

use super::tensor::Known;

impl Known {
    /// Numbers of shape `shape`, each the one that `from` says the place of, given its own index.
    pub fn moved(&self, shape: &[usize], mut from: impl FnMut(&[usize]) -> usize) -> Self {
        let numbers = indices(shape).map(|index| self.numbers[from(&index)]).collect();
        Self { element: self.element, shape: shape.to_vec(), numbers }
    }

    /// The number at `index` of a shape that this one broadcasts to.
    pub fn broadcast_at(&self, index: &[usize]) -> f64 {
        let offset = index.len() - self.shape.len();
        let own = self
            .shape
            .iter()
            .enumerate()
            .map(|(axis, &extent)| if extent == 1 { 0 } else { index[offset + axis] });
        self.numbers[place(own, &self.shape)]
    }

    /// The same numbers under another shape.
    pub fn reshaped(&self, shape: Vec<usize>) -> Self {
        Self { element: self.element, shape, numbers: self.numbers.clone() }
    }
}

/// The place of the element `index` of a tensor of shape `shape`.
pub fn place(index: impl IntoIterator<Item = usize>, shape: &[usize]) -> usize {
    index.into_iter().zip(shape).fold(0, |place, (index, extent)| place * extent + index)
}

/// All indices of a tensor of shape `shape`, in row-major order.
pub fn indices(shape: &[usize]) -> impl Iterator<Item = Vec<usize>> {
    let elements: usize = shape.iter().product();
    (0..elements).map(move |mut place| {
        let mut index = vec![0; shape.len()];
        for (own, extent) in index.iter_mut().zip(shape).rev() {
            (*own, place) = (place % extent, place / extent);
        }
        index
    })
}
