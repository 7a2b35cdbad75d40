//! What was found, for people.

use crate::evaluation::{Adherence, Evaluation, NetworkMetric, Row, Spread};
use reflux_ir::pass::counted;
use reflux_ir::si;
use std::fmt::Write;

/// Headings of numbers that every row has.
const HEADINGS: [&str; 9] =
    ["name", "steps", "computed", "s/picture", "speed-up", "PSNR dB", "worst", "SSIM", "latents"];

/// A table with a line for each row.
pub fn of(found: &Evaluation) -> String {
    let Evaluation { model, device, dtype, width, height, prompts, rows, .. } = found;
    let pictures = counted(prompts.len(), "picture");
    let mut text = format!("{model}: {pictures} of {width}×{height} a row, {dtype} on {device}\n");
    let base = rows.first().map_or(0.0, |base| base.median_seconds);
    let has_score = |metric: &NetworkMetric| rows.iter().any(|row| row.scores.contains_key(metric));
    let metrics: Vec<NetworkMetric> = NetworkMetric::ALL.into_iter().filter(has_score).collect();
    let headings = HEADINGS.into_iter().chain(metrics.iter().map(|metric| metric.title()));
    let headings = headings.chain(["adherence", "peak", "weights"]).map(str::to_owned).collect();
    let lines: Vec<Vec<String>> =
        std::iter::once(headings).chain(rows.iter().map(|row| cells(row, base, &metrics))).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    for line in &lines {
        let (name, numbers) = (&line[0], &line[1..]);
        // Writing to a string cannot fail.
        let _ = write!(text, "{name:<0$}", widths[0]);
        for (number, width) in numbers.iter().zip(&widths[1..]) {
            let _ = write!(text, "  {number:>width$}");
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

fn cells(row: &Row, base: f64, metrics: &[NetworkMetric]) -> Vec<String> {
    let none = || "-".to_owned();
    let spread =
        |of: Option<Spread>, digits: usize| of.map_or_else(none, |of| format!("{:.digits$}", of.median));
    let quality = row.quality;
    let mut cells = vec![
        row.name.clone(),
        row.steps.to_string(),
        whole_or(row.computed_steps),
        format!("{:.3}", row.median_seconds),
        format!("{:.2}×", base / row.median_seconds),
        spread(quality.map(|quality| quality.psnr), 1),
        quality.map_or_else(none, |quality| format!("{:.1}", quality.psnr.worst)),
        spread(quality.map(|quality| quality.ssim), 3),
        spread(quality.map(|quality| quality.latent_l2), 3),
    ];
    cells.extend(metrics.iter().map(|metric| spread(row.scores.get(metric).copied(), metric.decimals())));
    cells.extend([
        row.adherence.map_or_else(none, adherence),
        row.peak_bytes.map_or_else(none, |bytes| format!("{}B", si(bytes))),
        format!("{}B", si(row.weight_bytes)),
    ]);
    cells
}

/// A mean that is mostly a whole number.
fn whole_or(mean: f64) -> String {
    if mean.fract() == 0.0 { format!("{mean:.0}") } else { format!("{mean:.1}") }
}

/// Background, subject and size, in percent.
fn adherence(Adherence { background, subject, size }: Adherence) -> String {
    let percent = [background, subject, size].map(|share| format!("{:.0}", share * 100.0));
    format!("{} %", percent.join("/"))
}
