//! What was found, for people.

use crate::evaluation::{Adherence, Evaluation, Row, Spread};
use reflux_ir::pass::counted;
use reflux_ir::si;
use std::fmt::Write;

/// Headings, from the name on.
const HEADINGS: [&str; 12] = [
    "name",
    "steps",
    "computed",
    "s/picture",
    "speed-up",
    "PSNR dB",
    "worst",
    "SSIM",
    "latents",
    "adherence",
    "peak",
    "weights",
];

/// A table with a line for each row.
pub fn of(found: &Evaluation) -> String {
    let Evaluation { model, device, dtype, width, height, prompts, rows, .. } = found;
    let pictures = counted(prompts.len(), "picture");
    let mut text = format!("{model}: {pictures} of {width}×{height} a row, {dtype} on {device}\n");
    let base = rows.first().map_or(0.0, |base| base.median_seconds);
    let lines: Vec<[String; 12]> =
        std::iter::once(HEADINGS.map(str::to_owned)).chain(rows.iter().map(|row| cells(row, base))).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 12] = std::array::from_fn(width);
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

fn cells(row: &Row, base: f64) -> [String; 12] {
    let none = || "-".to_owned();
    let spread =
        |of: Option<Spread>, digits: usize| of.map_or_else(none, |of| format!("{:.digits$}", of.median));
    let quality = row.quality;
    [
        row.name.clone(),
        row.steps.to_string(),
        whole_or(row.computed_steps),
        format!("{:.3}", row.median_seconds),
        format!("{:.2}×", base / row.median_seconds),
        spread(quality.map(|quality| quality.psnr), 1),
        quality.map_or_else(none, |quality| format!("{:.1}", quality.psnr.worst)),
        spread(quality.map(|quality| quality.ssim), 3),
        spread(quality.map(|quality| quality.latent_l2), 3),
        row.adherence.map_or_else(none, adherence),
        row.peak_bytes.map_or_else(none, |bytes| format!("{}B", si(bytes))),
        format!("{}B", si(row.weight_bytes)),
    ]
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
