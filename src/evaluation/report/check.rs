//! What has to be true of an evaluation for a page of it to make sense.

use crate::evaluation::plausible::{self, Number, Range};
use crate::evaluation::{Adherence, Evaluation, Row, RowKind, Spread};
use reflux_ir::pass::counted;
use std::collections::HashSet;

/// What is missing in `evaluation`, in words.
///
/// # Errors
/// What contradicts itself, with its place.
pub fn check(evaluation: &Evaluation) -> Result<Vec<String>, String> {
    let rows = &evaluation.rows;
    let Some(base) = rows.first() else {
        return Err("it has no rows: nothing has been evaluated yet; run `reflux eval` again".into());
    };
    if base.kind != RowKind::Base {
        return Err(format!("rows[0]: `{}` is not the base, which comes first", base.name));
    }
    let (mut names, mut warnings) = (HashSet::new(), Vec::new());
    for (at, row) in rows.iter().enumerate() {
        let refuse = |why: String| Err(format!("rows[{at}] (`{}`): {why}", row.name));
        if !names.insert(&row.name) {
            return refuse("another row has this name".into());
        }
        if at > 0 && row.kind == RowKind::Base {
            return refuse("there is more than one base".into());
        }
        if let Err(why) = plausible::check(numbers(row)) {
            return refuse(why);
        }
        let (due, found) = (evaluation.prompts.len(), row.pictures.len());
        if found > due {
            return refuse(format!("it has {} for {}", counted(found, "picture"), counted(due, "prompt")));
        }
        if found < due {
            warnings.push(format!("`{}` has {found} of {}", row.name, counted(due, "picture")));
        }
        if row.median_seconds == 0.0 {
            warnings.push(format!("`{}` was not timed: it is missing from plots of time", row.name));
        }
        warnings.extend(row.warnings.iter().map(|warning| format!("`{}`: {warning}", row.name)));
    }
    Ok(warnings)
}

/// All numbers of `row` that are shown.
fn numbers(row: &Row) -> Vec<Number> {
    use Range::{Correlation, Decibels, Distance, Seconds, Share, Steps};
    let mut numbers = vec![
        ("computed_steps".to_owned(), row.computed_steps, Steps),
        ("steps".to_owned(), row.steps as f64, Steps),
        ("cold_seconds".to_owned(), row.cold_seconds, Seconds),
        ("median_seconds".to_owned(), row.median_seconds, Seconds),
        ("p95_seconds".to_owned(), row.p95_seconds, Seconds),
    ];
    for (name, stages) in [("cold_stages", &row.cold_stages), ("stages", &row.stages)] {
        numbers.extend(plausible::of_stages(name, stages));
    }
    let mut spread = |name: &str, Spread { median, worst }: Spread, range| {
        numbers.extend([(format!("{name}.median"), median, range), (format!("{name}.worst"), worst, range)]);
    };
    if let Some(quality) = row.quality {
        spread("quality.psnr", quality.psnr, Decibels);
        spread("quality.ssim", quality.ssim, Correlation);
        spread("quality.latent_l2", quality.latent_l2, Distance);
        if let Some(cosine) = quality.trajectory_cosine {
            spread("quality.trajectory_cosine", cosine, Correlation);
        }
    }
    for (metric, score) in &row.scores {
        spread(metric.title(), *score, metric.range());
    }
    if let Some(Adherence { background, subject, size }) = row.adherence {
        let shares = [("background", background), ("subject", subject), ("size", size)];
        numbers.extend(shares.map(|(name, value)| (format!("adherence.{name}"), value, Share)));
    }
    let pictures = row.pictures.iter().enumerate();
    numbers.extend(
        pictures.flat_map(|(at, picture)| plausible::of_picture(&format!("pictures[{at}]."), picture)),
    );
    numbers
}
