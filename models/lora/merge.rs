//! Merging: a tensor with changes added to it.

use super::applied::{Applied, Loras};
use super::change::Rows;
use super::error::LoraError;
use super::fit::{Change, Fitted};
use super::kind::Magnitude;
use super::places::Segment;
use crate::net::Net;
use rayon::prelude::*;
use reflux_ir::{DType, HostTensor};

/// The tensor `tensor` of `net`, which is `base` in the checkpoint, with what `loras` merge into it: computed in f32 and
/// rounded once to `dtype`. Each LoRA changes the checkpoint's weight, whichever others there are.
pub(super) fn merged(
    loras: &Loras,
    net: &'static Net,
    tensor: &str,
    base: &HostTensor,
    dtype: DType,
) -> Result<HostTensor, LoraError> {
    let (before, columns) = (base.to_f32(), base.shape.iter().skip(1).product());
    let mut parts = Vec::new();
    for applied in &loras.0 {
        for fitted in applied.lora.modules.iter().filter(|fitted| fitted.weight.net == net) {
            parts.extend(parts_of(applied, fitted, tensor, &before, columns)?);
        }
    }
    let mut values = before.clone();
    let rows = values.par_chunks_mut(columns).zip(before.par_chunks(columns)).enumerate();
    rows.for_each(|(row, (to, before))| parts.iter().for_each(|part| part.add_row(row, before, to)));
    Ok(HostTensor::from_f32(base.shape.clone(), &values).cast(dtype))
}

/// What a LoRA's tensors for one module add to the tensor `tensor`, which is `base` in rows of `columns`.
fn parts_of(
    applied: &Applied,
    fitted: &Fitted,
    tensor: &str,
    base: &[f32],
    columns: usize,
) -> Result<Vec<Part>, LoraError> {
    let is_merged = |change: &&Change| !applied.keeps(fitted, change);
    let weight: Vec<&Change> = fitted.weight_changes.iter().filter(is_merged).collect();
    let bias: Vec<&Change> = fitted.bias_changes.iter().collect();
    let mut parts = Vec::new();
    for (segment, changes, magnitude) in fitted
        .weight
        .segments
        .iter()
        .map(|segment| (segment, &weight, fitted.magnitude.as_ref()))
        .chain(fitted.bias.iter().flat_map(|bias| &bias.segments).map(|segment| (segment, &bias, None)))
        .filter(|(segment, changes, _)| segment.tensor == tensor && !changes.is_empty())
    {
        parts.push(Part::of(applied, segment, changes, magnitude, base, columns)?);
    }
    Ok(parts)
}

/// Changes of some rows of a tensor.
struct Part {
    segment: Segment,
    changes: Vec<(Rows, f32)>,
    norms: Option<Norms>,
}

/// The norms that a DoRA gives, and, if they are of columns, those that there would be without it.
struct Norms {
    wanted: Vec<f32>,
    of_columns: Option<Vec<f32>>,
}

impl Part {
    fn of(
        Applied { lora, strength, .. }: &Applied,
        segment: &Segment,
        changes: &[&Change],
        magnitude: Option<&Magnitude>,
        base: &[f32],
        columns: usize,
    ) -> Result<Self, LoraError> {
        let read = |change: &&Change| Ok((change.delta.rows(&lora.file, columns)?, change.factor * strength));
        let changes = changes.iter().map(read).collect::<Result<Vec<_>, LoraError>>()?;
        let mut part = Self { segment: segment.clone(), changes, norms: None };
        if let Some(Magnitude { norms, of_columns }) = magnitude {
            let wanted = lora.file.values(norms)?;
            let of_columns = of_columns.then(|| part.norms_of_columns(base, columns));
            part.norms = Some(Norms { wanted, of_columns });
        }
        Ok(part)
    }

    /// Adds what the row `row` of the tensor changes by, which is `before` without any LoRA, to `to`.
    fn add_row(&self, row: usize, before: &[f32], to: &mut [f32]) {
        let Some(place) = self.segment.place_of(row) else { return };
        let Some(norms) = &self.norms else {
            return self.changes.iter().for_each(|(rows, factor)| rows.add_row(place, *factor, to));
        };
        let mut changed = before.to_vec();
        self.changes.iter().for_each(|(rows, factor)| rows.add_row(place, *factor, &mut changed));
        let norm = norm(&changed);
        for (column, (to, (changed, before))) in to.iter_mut().zip(changed.iter().zip(before)).enumerate() {
            let scale = match &norms.of_columns {
                Some(now) => norms.wanted[column] / now[column],
                None => norms.wanted[place] / norm,
            };
            // Zeros have no norm, and stay.
            *to += if scale.is_finite() { changed * scale - before } else { changed - before };
        }
    }

    /// The norms of the columns of what the changes make of `base`.
    fn norms_of_columns(&self, base: &[f32], columns: usize) -> Vec<f32> {
        let mut squares = vec![0.0_f64; columns];
        for (row, before) in base.chunks_exact(columns).enumerate() {
            let mut changed = before.to_vec();
            self.add_row(row, before, &mut changed);
            squares.iter_mut().zip(&changed).for_each(|(sum, &value)| *sum += f64::from(value).powi(2));
        }
        squares.into_iter().map(|sum| sum.sqrt() as f32).collect()
    }
}

/// ‖row‖.
fn norm(row: &[f32]) -> f32 {
    row.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt() as f32
}
