//! Addresses of the operands for each row of a result.

use burn_flex::FlexTensor;

/// A value as it broadcasts to a result.
pub struct BroadcastView<'a> {
    values: &'a [f32],
    /// One for each axis of the result, 0 where the value repeats.
    strides: Vec<usize>,
}

impl<'a> BroadcastView<'a> {
    /// `x`, broadcast to `shape` as in numpy.
    pub fn of(x: &'a FlexTensor, shape: &[usize]) -> Option<Self> {
        let (extents, own) = (x.layout().shape(), x.layout().strides());
        let added = shape.len().checked_sub(extents.len())?;
        let mut strides = vec![0; shape.len()];
        for (axis, (&extent, &stride)) in extents.iter().zip(own).enumerate() {
            if extent != 1 {
                strides[added + axis] = usize::try_from(stride).ok()?;
            }
        }
        Some(Self { values: &x.storage()[x.layout().start_offset()..], strides })
    }

    /// The cosines and sines of a table `[2, tokens, dim / 2]`, broadcast to a result `[…, tokens, heads, dim]`.
    pub fn of_table(table: &'a FlexTensor, shape: &[usize]) -> Option<[Self; 2]> {
        let &[_, tokens, _] = &table.layout().shape()[..] else { return None };
        let [of_half, of_token, 1] = *table.layout().strides() else { return None };
        let mut strides = vec![0; shape.len()];
        strides[shape.len() - 1] = 1;
        if tokens != 1 {
            strides[shape.len() - 3] = usize::try_from(of_token).ok()?;
        }
        let values = &table.storage()[table.layout().start_offset()..];
        let sines = &values[usize::try_from(of_half).ok()?..];
        Some([Self { values, strides: strides.clone() }, Self { values: sines, strides }])
    }
}

/// The rows of a result, and those of the views that it is computed from.
pub struct Rows<'a> {
    /// All axes of the result but the last, outermost first, with the strides of each view.
    leading: Vec<Axis>,
    /// The length of a row.
    pub columns: usize,
    views: Vec<(&'a [f32], Width)>,
}

/// Whether a view has an element for each column of a row, or one for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    Each,
    One,
}

struct Axis {
    extent: usize,
    strides: Vec<usize>,
}

impl Axis {
    /// This and the next axis joined into one, if the strides of every view allow it.
    fn join(&self, inner: &Self) -> Option<Self> {
        let mut strides = self.strides.iter().zip(&inner.strides);
        let joined = strides.all(|(&outer, &stride)| outer == stride * inner.extent);
        joined.then(|| Self { extent: self.extent * inner.extent, strides: inner.strides.clone() })
    }
}

impl<'a> Rows<'a> {
    /// Rows along the last axis of a result of `shape`; or, if `any` rows will do, along as many of the last axes as
    /// possible. `None` if a view is not contiguous along them.
    pub fn new(shape: &[usize], views: Vec<BroadcastView<'a>>, any: bool) -> Option<Self> {
        let mut leading: Vec<Axis> = Vec::new();
        for (axis, &extent) in shape.iter().enumerate() {
            let next = Axis { extent, strides: views.iter().map(|view| view.strides[axis]).collect() };
            let last = axis + 1 == shape.len() && !any;
            match leading.last().and_then(|outer| outer.join(&next)) {
                Some(joined) if !last => *leading.last_mut().expect("just seen") = joined,
                _ if extent == 1 && !last => {}
                _ => leading.push(next),
            }
        }
        let none = || Axis { extent: 1, strides: vec![0; views.len()] };
        let columns = leading.pop().unwrap_or_else(none);
        let width = |stride| match stride {
            0 => Some(Width::One),
            1 => Some(Width::Each),
            _ => None,
        };
        let views = views.iter().zip(columns.strides);
        let views = views.map(|(view, stride)| Some((view.values, width(stride)?))).collect::<Option<_>>()?;
        Some(Self { leading, columns: columns.extent, views })
    }

    /// Where row `index` of each view starts.
    #[inline(always)]
    pub fn locate(&self, index: usize, starts: &mut [usize]) {
        starts.fill(0);
        let mut rest = index;
        for axis in self.leading.iter().rev() {
            let position = rest % axis.extent;
            rest /= axis.extent;
            for (start, stride) in starts.iter_mut().zip(&axis.strides) {
                *start += position * stride;
            }
        }
    }

    /// How many views there are.
    pub fn len(&self) -> usize {
        self.views.len()
    }

    pub fn width(&self, view: usize) -> Width {
        self.views[view].1
    }

    /// The elements of `view` from `column` on, in a row that starts at `start`.
    #[inline(always)]
    pub fn read(&self, view: usize, start: usize, column: usize) -> &'a [f32] {
        let (values, width) = self.views[view];
        match width {
            Width::Each => &values[start + column..],
            Width::One => &values[start..],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Shape, TensorData};

    fn tensor(shape: &[usize]) -> FlexTensor {
        let values: Vec<f32> = (0..shape.iter().product()).map(|i: usize| i as f32).collect();
        FlexTensor::from_data(TensorData::new(values, Shape::from(shape.to_vec())))
    }

    /// The first element of each row of each view.
    fn firsts(rows: &Rows, count: usize) -> Vec<Vec<f32>> {
        let mut starts = vec![0; rows.len()];
        let of_row = |row| {
            rows.locate(row, &mut starts);
            (0..rows.len()).map(|view| rows.read(view, starts[view], 0)[0]).collect()
        };
        (0..count).map(of_row).collect()
    }

    #[test]
    fn rows_broadcast() {
        let shape = [2, 3, 4];
        let (whole, batch, vector, column) =
            (tensor(&shape), tensor(&[2, 1, 4]), tensor(&[4]), tensor(&[3, 1]));
        let views = [&whole, &batch, &vector, &column].map(|x| BroadcastView::of(x, &shape).unwrap());
        let rows = Rows::new(&shape, views.into(), true).unwrap();
        assert_eq!(rows.columns, 4);
        assert_eq!(
            (0..4).map(|view| rows.width(view)).collect::<Vec<_>>(),
            [Width::Each, Width::Each, Width::Each, Width::One]
        );
        let expected: Vec<Vec<f32>> =
            (0..6).map(|row| vec![4.0 * row as f32, 4.0 * (row / 3) as f32, 0.0, (row % 3) as f32]).collect();
        assert_eq!(firsts(&rows, 6), expected);
    }

    #[test]
    fn rows_are_as_long_as_can_be() {
        let shape = [2, 3, 4];
        let (whole, vector, one) = (tensor(&shape), tensor(&[3, 4]), tensor(&[1]));
        let columns = |views: &[&FlexTensor], any| {
            let views = views.iter().map(|x| BroadcastView::of(x, &shape).unwrap()).collect();
            Rows::new(&shape, views, any).unwrap().columns
        };
        assert_eq!(columns(&[&whole, &one], true), 24);
        assert_eq!(columns(&[&whole, &vector], true), 12);
        assert_eq!(columns(&[&whole, &vector], false), 4);
        assert_eq!(columns(&[], true), 24);
    }

    #[test]
    fn slices_are_read_where_they_are() {
        let x = tensor(&[2, 3, 8]).narrow(2, 4, 4);
        let rows = Rows::new(&[2, 3, 4], vec![BroadcastView::of(&x, &[2, 3, 4]).unwrap()], true).unwrap();
        assert_eq!(firsts(&rows, 6), [4.0, 12.0, 20.0, 28.0, 36.0, 44.0].map(|first| vec![first]));
        let column = tensor(&[2, 3, 8]).narrow(2, 4, 1);
        assert!(Rows::new(&[2, 3, 1], vec![BroadcastView::of(&column, &[2, 3, 1]).unwrap()], true).is_none());
    }

    #[test]
    fn tables_have_a_row_for_each_token() {
        let table = tensor(&[2, 3, 2]);
        let views = BroadcastView::of_table(&table, &[2, 3, 2, 4]).unwrap();
        let rows = Rows::new(&[2, 3, 2, 4], views.into(), false).unwrap();
        let tokens = [0.0, 0.0, 2.0, 2.0, 4.0, 4.0];
        let expected: Vec<_> = [tokens, tokens].concat().iter().map(|cos| vec![*cos, cos + 6.0]).collect();
        assert_eq!(firsts(&rows, 12), expected);
    }
}
