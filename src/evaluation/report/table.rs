//! The table for people: in HTML on the page, and in Markdown.

use super::headline::Headline;
use super::record::{Record, records};
use super::run::Run;
use super::units::{Unit, times};
use crate::evaluation::{NetworkMetric, RowKind};
use crate::page::escape;
use reflux_ir::pass::counted;
use std::fmt::Write;

/// What stands where nothing is known.
const NONE: &str = "–";

/// A column of numbers.
#[derive(Clone, Debug)]
pub struct Column {
    pub title: String,
    /// What it is, in a sentence.
    pub help: &'static str,
    pub cells: Vec<Cell>,
}

#[derive(Clone, Debug)]
pub struct Cell {
    pub text: String,
    /// What it is sorted by.
    pub value: Option<f64>,
}

impl Cell {
    fn new(value: Option<f64>, text: impl Fn(f64) -> String) -> Self {
        Self { text: value.map_or_else(|| NONE.to_owned(), text), value }
    }
}

/// The columns of numbers of `records`, in order.
pub fn columns(records: &[Record]) -> Vec<Column> {
    let time = Unit::of_seconds(records.iter().map(|record| record.median_seconds));
    let memory =
        Unit::of_bytes(records.iter().filter_map(|record| record.peak_bytes).map(|bytes| bytes as f64));
    let disk = Unit::of_bytes(records.iter().map(|record| record.weight_bytes as f64));
    // Whole numbers of steps are written as such where all are.
    let is_whole = records.iter().all(|record| record.computed_steps.fract() == 0.0);
    let steps_decimals = usize::from(!is_whole);
    let column = |title: String, help, cell: &dyn Fn(&Record) -> Cell| Column {
        title,
        help,
        cells: records.iter().map(cell).collect(),
    };
    let fixed = |decimals: usize| move |value: f64| format!("{value:.decimals$}");
    let timed = |value: f64| (value > 0.0).then_some(value);
    let mut columns = vec![
        column("Steps".into(), "Steps from noise to picture", &|r| Cell::new(Some(r.steps as f64), fixed(0))),
        column("Computed".into(), "Steps that compute the whole network, in the mean over pictures", &|r| {
            Cell::new(Some(r.computed_steps), fixed(steps_decimals))
        }),
        column(format!("Time, {}", time.name), "Median of a picture, without the first", &|r| {
            Cell::new(timed(r.median_seconds), |value| time.number(value))
        }),
        column("Speed-up".into(), "The base's median time by this one's", &|r| Cell::new(r.speed_up, times)),
        column(
            "PSNR, dB".into(),
            "Median peak signal-to-noise ratio of pictures against the base's; 100 are equal pictures",
            &|r| Cell::new(r.psnr_median, fixed(1)),
        ),
        column("Worst PSNR".into(), "The lowest PSNR of all pictures", &|r| {
            Cell::new(r.psnr_worst, fixed(1))
        }),
        column(
            "SSIM".into(),
            "Median structural similarity of pictures to the base's; 1 are equal pictures",
            &|r| Cell::new(r.ssim_median, fixed(3)),
        ),
        column("Latent error".into(), "Median relative L2 distance of final latents from the base's", &|r| {
            Cell::new(r.latent_l2_median, fixed(4))
        }),
        column(
            "Adherence, %".into(),
            "Pictures that show the background, the subject and the size that the prompt asks for; sorted by their mean",
            &adherence,
        ),
    ];
    let score = |metric: NetworkMetric| {
        let median = |r: &Record| match metric {
            NetworkMetric::Lpips => r.lpips_median,
            NetworkMetric::ClipScore => r.clip_score_median,
            NetworkMetric::Arniqa => r.arniqa_median,
            NetworkMetric::ImageReward => r.image_reward_median,
        };
        column(metric.title().into(), metric.help(), &|r| Cell::new(median(r), fixed(metric.decimals())))
    };
    columns.extend(NetworkMetric::ALL.map(score));
    columns.extend([
        column(format!("Memory, {}", memory.name), "Measured peak of device memory", &|r| {
            Cell::new(r.peak_bytes.map(|bytes| bytes as f64), |value| memory.number(value))
        }),
        column(
            format!("Weights, {}", disk.name),
            "What the denoiser's weights take on disk once compiled",
            &|r| Cell::new(Some(r.weight_bytes as f64), |value| disk.number(value)),
        ),
    ]);
    // What nothing is known of needs no column, such as adherence for most models.
    columns.retain(|column| column.cells.iter().any(|cell| cell.value.is_some()));
    columns
}

fn adherence(record: &Record) -> Cell {
    let (Some(background), Some(subject), Some(size)) =
        (record.adherence_background, record.adherence_subject, record.adherence_size)
    else {
        return Cell { text: NONE.to_owned(), value: None };
    };
    let percent = |share: f64| format!("{:.0}", 100.0 * share);
    let text = [background, subject, size].map(percent).join(" / ");
    Cell { text, value: Some((background + subject + size) / 3.0) }
}

/// The table of `run` in HTML; the page's script makes its titles sort it.
pub fn html(run: &Run) -> String {
    let records = records(run);
    let columns = columns(&records);
    let mut html = String::from("<table class=\"rows\">\n<thead><tr>");
    let mut title = |title: &str, help: &str, class: &str| {
        let (title, help) = (escape::html(title), escape::html(help));
        // Writing to a string cannot fail.
        let _ = write!(html, "<th scope=\"col\" class=\"{class}\" title=\"{help}\">{title}</th>");
    };
    title("Name", "Rows marked with ● are on the Pareto front: nothing is as fast and as near", "text");
    title("Passes", "All passes that ran", "text");
    columns.iter().for_each(|column| title(&column.title, column.help, "number"));
    html += "</tr></thead>\n<tbody>\n";
    for (at, record) in records.iter().enumerate() {
        let (name, passes) = (escape::html(record.name), escape::html(record.passes));
        let class = match record.kind {
            RowKind::Base => "base",
            RowKind::Config => "config",
            RowKind::FewerSteps => "fewer",
        };
        let front = if record.on_front {
            "<span class=\"front\" role=\"img\" aria-label=\"on the Pareto front\">●</span>"
        } else {
            ""
        };
        // Grey says it to those who see it.
        let tag = match record.kind {
            RowKind::FewerSteps => " <span class=\"unseen\">(the plain model with fewer steps)</span>",
            RowKind::Base | RowKind::Config => "",
        };
        let _ = write!(
            html,
            "<tr class=\"{class}\" data-row=\"{at}\"><th scope=\"row\">{front}<bdi>{name}</bdi>{tag}</th>"
        );
        let passes = if passes.is_empty() { "none".to_owned() } else { passes };
        let _ = write!(html, "<td class=\"passes\" title=\"{passes}\"><code>{passes}</code></td>");
        for column in &columns {
            let Cell { text, value } = &column.cells[at];
            let value = value.map(|value| value.to_string()).unwrap_or_default();
            let _ = write!(html, "<td class=\"number\" data-value=\"{value}\">{text}</td>");
        }
        html += "</tr>\n";
    }
    html + "</tbody>\n</table>\n"
}

/// The tables of `runs` in Markdown, each below its headline.
pub fn markdown(runs: &[Run]) -> String {
    let sections = runs.iter().map(|run| {
        let records = records(run);
        let columns = columns(&records);
        let mut text = format!("{}\n\n{}\n\n", escape::markdown(&Headline::of(run).to_string()), what(run));
        let titles = columns.iter().map(|column| format!(" {} |", column.title)).collect::<String>();
        let _ = writeln!(text, "| | Passes |{titles}\n|---|---|{}", "--:|".repeat(columns.len()));
        for (at, record) in records.iter().enumerate() {
            let name = escape::markdown(record.name);
            let name = if record.on_front { format!("**{name}**") } else { name };
            let passes =
                if record.passes.is_empty() { "none".to_owned() } else { escape::markdown(record.passes) };
            let cells: String =
                columns.iter().map(|column| format!(" {} |", column.cells[at].text)).collect();
            let _ = writeln!(text, "| {name} | {passes} |{cells}");
        }
        text + "\nRows in bold are on the Pareto front: nothing is as fast and as near to the base.\n"
    });
    sections.collect::<Vec<_>>().join("\n")
}

/// What `run` was made with, as a line of Markdown.
fn what(run: &Run) -> String {
    let evaluation = &run.evaluation;
    let (model, device) = (escape::markdown(&evaluation.model), escape::markdown(&evaluation.device));
    let (dtype, width, height) = (evaluation.dtype, evaluation.width, evaluation.height);
    let prompts = counted(evaluation.prompts.len(), "prompt");
    let steps = counted(evaluation.steps, "step");
    format!("{model}, {width}×{height}, {steps}, {dtype} on {device}, {prompts}.")
}
