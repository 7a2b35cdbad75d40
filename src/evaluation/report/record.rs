//! The table as plain data: JSON and CSV.

use super::front;
use super::headline::Headline;
use super::run::Run;
use crate::VERSION;
use crate::evaluation::{NetworkMetric, Row, RowKind, Spread};
use crate::page::escape;
use reflux_ir::DType;
use serde::Serialize;
use serde_json::Value;

/// All runs, for JSON.
#[derive(Debug, Serialize)]
struct Records<'r> {
    /// Of the Reflux that wrote this.
    version: &'static str,
    runs: Vec<RunRecord<'r>>,
}

#[derive(Debug, Serialize)]
struct RunRecord<'r> {
    /// Of the Reflux that evaluated.
    version: &'r str,
    model: &'r str,
    device: &'r str,
    dtype: DType,
    width: usize,
    height: usize,
    steps: usize,
    guidance: Option<f32>,
    prompts: usize,
    headline: String,
    rows: Vec<Record<'r>>,
    warnings: &'r [String],
}

/// A row. Times are in seconds, sizes in bytes, PSNR in dB, adherence is between 0 and 1.
#[derive(Clone, Debug, Serialize)]
pub struct Record<'r> {
    pub name: &'r str,
    pub kind: RowKind,
    pub passes: &'r str,
    pub steps: usize,
    pub computed_steps: f64,
    pub cold_seconds: f64,
    pub median_seconds: f64,
    pub p95_seconds: f64,
    /// The base's median time by this one's; none if one of both was not timed.
    pub speed_up: Option<f64>,
    pub psnr_median: Option<f64>,
    pub psnr_worst: Option<f64>,
    pub ssim_median: Option<f64>,
    pub ssim_worst: Option<f64>,
    pub latent_l2_median: Option<f64>,
    pub latent_l2_worst: Option<f64>,
    pub trajectory_cosine_median: Option<f64>,
    pub trajectory_cosine_worst: Option<f64>,
    pub adherence_background: Option<f64>,
    pub adherence_subject: Option<f64>,
    pub adherence_size: Option<f64>,
    pub lpips_median: Option<f64>,
    pub lpips_worst: Option<f64>,
    pub clip_score_median: Option<f64>,
    pub clip_score_worst: Option<f64>,
    pub arniqa_median: Option<f64>,
    pub arniqa_worst: Option<f64>,
    pub image_reward_median: Option<f64>,
    pub image_reward_worst: Option<f64>,
    pub peak_bytes: Option<u64>,
    pub weight_bytes: u64,
    /// Whether no other row is as fast and as near to the base's pictures, and better in one of both.
    pub on_front: bool,
}

/// All rows of `run`.
pub fn records(run: &Run) -> Vec<Record<'_>> {
    let rows = &run.evaluation.rows;
    let front = front::front(&front::points(rows));
    let is_on_front = |at: usize| front.iter().any(|point| point.row == at);
    rows.iter().enumerate().map(|(at, row)| record(row, run.base(), is_on_front(at))).collect()
}

fn record<'r>(row: &'r Row, base: &Row, on_front: bool) -> Record<'r> {
    let quality = row.quality.as_ref();
    let both =
        |spread: Option<Spread>| (spread.map(|spread| spread.median), spread.map(|spread| spread.worst));
    let (psnr_median, psnr_worst) = both(quality.map(|quality| quality.psnr));
    let (ssim_median, ssim_worst) = both(quality.map(|quality| quality.ssim));
    let (latent_l2_median, latent_l2_worst) = both(quality.map(|quality| quality.latent_l2));
    let (trajectory_cosine_median, trajectory_cosine_worst) =
        both(quality.and_then(|quality| quality.trajectory_cosine));
    let score = |metric: NetworkMetric| both(row.scores.get(&metric).copied());
    let (lpips_median, lpips_worst) = score(NetworkMetric::Lpips);
    let (clip_score_median, clip_score_worst) = score(NetworkMetric::ClipScore);
    let (arniqa_median, arniqa_worst) = score(NetworkMetric::Arniqa);
    let (image_reward_median, image_reward_worst) = score(NetworkMetric::ImageReward);
    let is_timed = base.median_seconds > 0.0 && row.median_seconds > 0.0;
    Record {
        name: &row.name,
        kind: row.kind,
        passes: &row.passes,
        steps: row.steps,
        computed_steps: row.computed_steps,
        cold_seconds: row.cold_seconds,
        median_seconds: row.median_seconds,
        p95_seconds: row.p95_seconds,
        speed_up: is_timed.then_some(base.median_seconds / row.median_seconds),
        psnr_median,
        psnr_worst,
        ssim_median,
        ssim_worst,
        latent_l2_median,
        latent_l2_worst,
        trajectory_cosine_median,
        trajectory_cosine_worst,
        adherence_background: row.adherence.map(|adherence| adherence.background),
        adherence_subject: row.adherence.map(|adherence| adherence.subject),
        adherence_size: row.adherence.map(|adherence| adherence.size),
        lpips_median,
        lpips_worst,
        clip_score_median,
        clip_score_worst,
        arniqa_median,
        arniqa_worst,
        image_reward_median,
        image_reward_worst,
        peak_bytes: row.peak_bytes,
        weight_bytes: row.weight_bytes,
        on_front,
    }
}

/// `runs` as JSON.
pub fn json(runs: &[Run]) -> String {
    let records = Records { version: VERSION, runs: runs.iter().map(run_record).collect() };
    serde_json::to_string_pretty(&records).expect("records are plain data") + "\n"
}

fn run_record(run: &Run) -> RunRecord<'_> {
    let Run { evaluation, warnings, .. } = run;
    RunRecord {
        version: &evaluation.version,
        model: &evaluation.model,
        device: &evaluation.device,
        dtype: evaluation.dtype,
        width: evaluation.width,
        height: evaluation.height,
        steps: evaluation.steps,
        guidance: evaluation.guidance,
        prompts: evaluation.prompts.len(),
        headline: Headline::of(run).to_string(),
        rows: records(run),
        warnings,
    }
}

/// Rows of `runs` as CSV, whose columns are the fields of a [`Record`] behind the number of the run and its model.
pub fn csv(runs: &[Run]) -> String {
    let mut text = String::new();
    for (at, run) in runs.iter().enumerate() {
        for record in records(run) {
            let Ok(Value::Object(fields)) = serde_json::to_value(&record) else {
                unreachable!("it is a struct")
            };
            if text.is_empty() {
                let names: Vec<&str> =
                    ["run", "model"].into_iter().chain(fields.keys().map(String::as_str)).collect();
                text = names.join(",") + "\n";
            }
            let first = [(at + 1).to_string(), escape::csv(&run.evaluation.model)];
            let line: Vec<String> = first.into_iter().chain(fields.values().map(field)).collect();
            text += &(line.join(",") + "\n");
        }
    }
    text
}

fn field(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => escape::csv(text),
        other => other.to_string(),
    }
}
