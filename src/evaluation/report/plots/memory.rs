//! Peak memory of the device, and what the weights take of it.

use super::bars::{Bar, Frame, Group, bars};
use super::drawing::Drawing;
use crate::evaluation::report::units::{Unit, bytes, known_bytes};
use crate::evaluation::{Row, RowKind};
use crate::page::ink::Ink;

/// Both for each row.
pub fn memory(rows: &[Row]) -> Option<Drawing> {
    let peaks = || rows.iter().filter_map(|row| row.peak_bytes);
    let all = peaks().chain(rows.iter().map(|row| row.weight_bytes));
    if all.clone().max()? == 0 {
        return None;
    }
    let unit = Unit::of_bytes(all.map(|bytes| bytes as f64));
    let part = |ink, value: u64| vec![(ink, String::new(), value as f64)];
    let group = |row: &Row| {
        let peak = row.peak_bytes.map(|peak| Bar {
            what: "at the peak",
            parts: part(Ink::Part(5), peak),
            share: 1.0,
            is_labelled: true,
        });
        let weights = Bar {
            what: "of weights, within",
            parts: part(Ink::Part(0), row.weight_bytes),
            share: 0.5,
            is_labelled: peak.is_none(),
        };
        Group {
            name: row.name.clone(),
            is_muted: row.kind == RowKind::FewerSteps,
            bars: peak.into_iter().chain([weights]).collect(),
        }
    };
    let groups: Vec<Group> = rows.iter().map(group).collect();
    let mut legend = vec![(Ink::Part(0), "weights of the denoiser, as on disk".to_owned())];
    if peaks().next().is_some() {
        legend.push((Ink::Part(5), "peak of device memory".to_owned()));
    }
    let mut drawing = bars(&Frame { title: "Memory and weights", unit, overlap: true, legend }, &groups);
    let (base, lowest) = (&rows[0], rows.iter().min_by_key(|row| row.weight_bytes)?);
    drawing.description = format!(
        "Horizontal bars: the peak of device memory of each row, and the denoiser's weights. The base needs {} and has weights of \
         {}; the smallest weights are those of {}, {}.",
        known_bytes(base.peak_bytes),
        bytes(base.weight_bytes),
        lowest.name,
        bytes(lowest.weight_bytes)
    );
    Some(drawing)
}
