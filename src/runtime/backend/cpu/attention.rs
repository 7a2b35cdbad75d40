//! Attention for some queries of a head at a time, so that their scores stay in the cache.

use super::functions::softmax;
use super::matrix::Matrix;
use super::panel;
use super::product::Number;
use super::rows::{BroadcastView, Rows, Width};
use super::tiles::for_each;
use burn::tensor::{DType, Shape};
use burn_flex::FlexTensor;
use pulp::{Arch, Simd, WithSimd};
use reflux_ir::op;

/// Queries that are computed at once.
const QUERIES: usize = 24;

/// See [`op::Attention`]; all of it is f32. Of codes, `q` and `k` are the numbers that these are by themselves, and `scales` those of their
/// rows, in order. `None` if an extent is zero.
pub fn attention(
    op: &op::Attention,
    [q, k, v]: [&FlexTensor; 3],
    scales: Option<[&[f32]; 2]>,
    bias: Option<&FlexTensor>,
) -> Option<FlexTensor> {
    let &[batch, queries, heads, dim] = &q.layout().shape()[..] else { return None };
    let keys = k.layout().shape()[1];
    let [q, k, v] =
        [q, k, v].map(|x| if x.layout().strides()[3] == 1 { x.clone() } else { x.to_contiguous() });
    if batch * queries * heads * dim * keys == 0 {
        return None;
    }
    let bias = match bias {
        None => None,
        Some(bias) => {
            let scores = [batch, heads, queries, keys];
            Some(Rows::new(&scores, vec![BroadcastView::of(bias, &scores)?], false)?)
        }
    };
    let of_heads = scales.map(|scales| scales.map(|scales| by_head(scales, batch, heads)));
    let mut y = FlexTensor::empty(Shape::new([batch, queries, heads, dim]), DType::F32);
    // Where the results go, by batch and head.
    let mut places: Vec<Vec<&mut [f32]>> = Vec::new();
    places.resize_with(batch * heads, || Vec::with_capacity(queries));
    for (index, place) in y.storage_mut::<f32>().chunks_mut(dim).enumerate() {
        places[index / (queries * heads) * heads + index % heads].push(place);
    }
    let mut jobs: Vec<Attend> = Vec::new();
    for (head, places) in places.into_iter().enumerate() {
        let [q, k, v] = [&q, &k, &v].map(|x| of_head(x, [head / heads, head % heads]));
        let of_head = of_heads.as_ref().map(|[queries, keys]| [&queries[head], &keys[head]]);
        let mut places = places.into_iter();
        for first in (0..queries).step_by(QUERIES) {
            let places: Vec<_> = places.by_ref().take(QUERIES).collect();
            let q = q.rows(first..first + places.len());
            let causal = op.causal.then_some(first);
            let bias = bias.as_ref().map(|bias| (bias, head * queries + first));
            let scales = of_head.map(|[queries, keys]| [&queries[first..first + places.len()], &keys[..]]);
            jobs.push(Attend { scale: op.scale.0 as f32, scales, causal, q, k, v, bias, places });
        }
    }
    for_each(jobs, Vec::new, |scores, job| job.run(scores));
    Some(y)
}

/// The scales of the rows `[batch, tokens, heads]`, of each batch and head.
fn by_head(scales: &[f32], batch: usize, heads: usize) -> Vec<Vec<f32>> {
    let of_batch = scales.len() / batch;
    let of =
        |head: usize| scales[head / heads * of_batch..][..of_batch].iter().skip(head % heads).step_by(heads);
    (0..batch * heads).map(|head| of(head).copied().collect()).collect()
}

/// The rows of one head of `x` `[batch, tokens, heads, dim]`, whose last axis is contiguous.
fn of_head(x: &FlexTensor, [batch, head]: [usize; 2]) -> Matrix<'_, f32> {
    let (shape, strides) = (x.layout().shape(), x.layout().strides());
    let start = x.layout().start_offset() + batch * strides[0] as usize + head * strides[2] as usize;
    Matrix::new(&x.storage()[start..], [shape[1], shape[3]], strides[1] as usize)
}

/// Some queries of one head.
struct Attend<'a, 'y> {
    scale: f32,
    /// Of codes, the scales of these queries and of the keys.
    scales: Option<[&'a [f32]; 2]>,
    /// The index of the first query, if each query sees only the keys up to its own.
    causal: Option<usize>,
    q: Matrix<'a, f32>,
    k: Matrix<'a, f32>,
    v: Matrix<'a, f32>,
    /// The bias of the scores, and its row for the first query.
    bias: Option<(&'a Rows<'a>, usize)>,
    /// Where the result of each query goes.
    places: Vec<&'y mut [f32]>,
}

impl Attend<'_, '_> {
    fn run(self, scores: &mut Vec<f32>) {
        let keys = self.k.rows;
        scores.resize(self.q.rows * keys, 0.0);
        f32::multiply(self.q, self.k, &mut scores.chunks_mut(keys).collect::<Vec<_>>());
        let arch = Arch::new();
        arch.dispatch(
            #[inline(always)]
            || {
                for (index, scores) in scores.chunks_mut(keys).enumerate() {
                    self.weigh(index, scores);
                }
            },
        );
        let weights = Matrix::new(scores, [self.q.rows, keys], keys);
        arch.dispatch(Mix { weights, v: self.v, places: self.places });
    }

    /// Turns the scores of query `index` into weights.
    #[inline(always)]
    fn weigh(&self, index: usize, scores: &mut [f32]) {
        let scale = self.scale * self.scales.map_or(1.0, |[queries, _]| queries[index]);
        scores.iter_mut().for_each(|score| *score *= scale);
        if let Some([_, keys]) = self.scales {
            scores.iter_mut().zip(keys).for_each(|(score, scale)| *score *= scale);
        }
        if let Some((bias, first)) = self.bias {
            let mut start = [0];
            bias.locate(first + index, &mut start);
            let row = bias.read(0, start[0], 0);
            match bias.width(0) {
                Width::Each => scores.iter_mut().zip(row).for_each(|(score, bias)| *score += bias),
                Width::One => scores.iter_mut().for_each(|score| *score += row[0]),
            }
        }
        let seen = self.causal.map_or(scores.len(), |first| first + index + 1);
        let (seen, unseen) = scores.split_at_mut(seen);
        softmax(seen);
        unseen.fill(0.0);
    }
}

/// The weighted sum of the values.
struct Mix<'a, 'y> {
    weights: Matrix<'a, f32>,
    v: Matrix<'a, f32>,
    places: Vec<&'y mut [f32]>,
}

impl WithSimd for Mix<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let mut panel = vec![0.0; self.v.rows * panel::WIDTH];
        for start in (0..self.v.columns).step_by(panel::WIDTH) {
            let columns = start..(start + panel::WIDTH).min(self.v.columns);
            for (index, place) in panel.chunks_exact_mut(panel::WIDTH).enumerate() {
                place[..columns.len()].copy_from_slice(&self.v.row(index)[columns.clone()]);
            }
            panel::multiply(simd, self.weights, &panel, |row, sums| {
                self.places[row][columns.clone()].copy_from_slice(&sums[..columns.len()]);
            });
        }
    }
}
