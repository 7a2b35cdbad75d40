//! The README's table and plot of what optimizations of the bundled model cost and gain.
//!
//! ```text
//! cargo run --release --bin evidence              # evaluates, and writes README.md's table and docs/evidence/
//! cargo run --release --bin evidence -- --check   # evaluates, and compares what does not depend on the machine's speed
//! ```

mod configs;

use configs::{CONFIGS, FEWER, UNFUSED};
use reflux::evaluation::{
    Evaluation, EvaluationOptions, Progressed, PromptSet, Report, Row, RowKind, evaluate,
};
use reflux::ir::pass::Recipe;
use reflux::models::{ModelFiles, Parts};
use reflux::{OpenOptions, Request, bundled_model, registry};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// How many of the bundled model's prompts: the first, half of which ask for what it has never seen.
const PROMPTS: usize = 8;
/// Of these, those that are drawn to check the table, as CI has little time.
const CHECKED: usize = 2;

const BEGIN: &str = "<!-- evidence: written by `cargo run --release --bin evidence` -->\n";
const END: &str = "<!-- /evidence -->\n";

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let facts = root.join("docs/evidence/pictures.csv");
    let folder = tempfile::tempdir()?;
    match std::env::args().nth(1).as_deref() {
        None => {
            let found = run(folder.path(), PROMPTS)?;
            let readme = root.join("README.md");
            let text = std::fs::read_to_string(&readme)?;
            let (before, rest) = text.split_once(BEGIN).ok_or("README.md has no place for the table")?;
            let (_, after) = rest.split_once(END).ok_or("the place for the table does not end")?;
            std::fs::write(readme, format!("{before}{BEGIN}{}{END}{after}", table(&found)))?;
            std::fs::write(facts, csv(&found))?;
            let plots = Report::read(&[folder.path()])?.plots();
            let plot = plots.iter().find(|plot| plot.name.contains("quality")).ok_or("there is no plot")?;
            std::fs::write(root.join("docs/evidence/quality.svg"), &plot.svg)?;
            Ok(ExitCode::SUCCESS)
        }
        Some("--check") => {
            let found = csv(&run(folder.path(), CHECKED)?);
            let differences = differences(&found, &std::fs::read_to_string(facts)?);
            differences.iter().for_each(|difference| eprintln!("{difference}"));
            Ok(if differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Some(other) => Err(format!("`{other}` is not known; --check is").into()),
    }
}

/// Draws the first `prompts` prompts in all ways.
fn run(folder: &Path, prompts: usize) -> Result<Evaluation, Box<dyn Error>> {
    let parse = |passes: &str| Recipe::parse(passes, &registry());
    let fused = CONFIGS.iter().map(|(name, passes)| Ok(((*name).to_owned(), parse(passes)?)));
    let unfused = UNFUSED.iter().map(|(name, passes)| Ok(((*name).to_owned(), parse(passes)?.only())));
    let configs = fused.chain(unfused).collect::<Result<Vec<_>, reflux::Error>>()?;
    let options = EvaluationOptions {
        files: ModelFiles::find(&bundled_model()?, Parts::default())?,
        open: OpenOptions::default(),
        request: Request { steps: Some(20), guidance: Some(3.5), ..Request::default() },
        prompts: PromptSet::bundled().first(prompts),
        configs,
        fewer_steps: Some(FEWER.to_vec()),
        networks: Default::default(),
        folder: folder.to_owned(),
        resume: true,
    };
    let mut observe = |event: Progressed| {
        if let Progressed::Picture { row, picture: 0, .. } = event {
            eprintln!("{row}");
        }
    };
    Ok(evaluate(&options, &mut observe)?)
}

/// The table of README.md.
fn table(found: &Evaluation) -> String {
    let mut text = String::from(
        "\n| | steps that compute | s a picture | faster | PSNR, median | worst | SSIM | latents | background, subject, size | weights |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
    );
    let base = &found.rows[0];
    for row in &found.rows {
        let computed = format!("{:.1}", row.computed_steps);
        let computed = computed.strip_suffix(".0").unwrap_or(&computed);
        let quality = row.quality.map_or("| | | ".to_owned(), |quality| {
            format!(
                "{:.1} | {:.1} | {:.3} | {:.3}",
                quality.psnr.median, quality.psnr.worst, quality.ssim.median, quality.latent_l2.median
            )
        });
        let adherence = row.adherence.map_or(String::new(), |found| {
            let percent = |share: f64| format!("{:.0}", 100.0 * share);
            format!("{}, {}, {} %", percent(found.background), percent(found.subject), percent(found.size))
        });
        text += &format!(
            "| {} | {computed} of {} | {:.2} | {:.2}× | {quality} | {adherence} | {:.1} MB |\n",
            name(row),
            row.steps,
            row.median_seconds,
            base.median_seconds / row.median_seconds,
            row.weight_bytes as f64 / 1e6,
        );
    }
    text + "\n![quality against time](docs/evidence/quality.svg)\n"
}

/// What a row is, as a reader would ask for it.
fn name(row: &Row) -> String {
    let passes = |configs: &[(&str, &str)]| {
        configs.iter().find(|(name, _)| *name == row.name).map(|(_, passes)| (*passes).to_owned())
    };
    let by = if row.name.contains("tuned") { ", found by `tune`" } else { "" };
    match (row.kind, passes(&CONFIGS), passes(&UNFUSED)) {
        (RowKind::Base, ..) => "the plain model".to_owned(),
        (RowKind::FewerSteps, ..) => format!("the plain model with {} steps", row.steps),
        (RowKind::Config, Some(passes), _) => format!("`{passes}`{by}"),
        (RowKind::Config, None, Some(passes)) => format!("`--passes-only {passes}`"),
        (RowKind::Config, None, None) => row.name.clone(),
    }
}

/// Of each row and picture what does not depend on the machine's speed.
fn csv(found: &Evaluation) -> String {
    let mut text = String::from("row,weight_bytes,picture,steps_that_compute,psnr,ssim,latent_l2\n");
    for row in &found.rows {
        for (index, picture) in row.pictures.iter().enumerate() {
            let number = |number: Option<f64>| number.map_or(String::new(), |number| format!("{number:.4}"));
            let quality = [picture.psnr, picture.ssim, picture.latent_l2].map(number).join(",");
            text +=
                &format!("{},{},{index},{},{quality}\n", row.name, row.weight_bytes, picture.computed_steps);
        }
    }
    text
}

/// Above this, in dB, a PSNR tells how a few pixels were rounded.
const FINEST: f64 = 60.0;

/// The lines of `found` that `committed` does not have, or with numbers that are further apart than two processors' rounding makes
/// them: 2 dB, or 2 % of what pictures differ by. Of quantized products one number that is rounded the other way changes a picture by
/// more than a decibel; what passes cost differs by several.
fn differences(found: &str, committed: &str) -> Vec<String> {
    let columns = |line: &str| line.split(',').map(str::to_owned).collect::<Vec<_>>();
    let known: Vec<Vec<String>> = committed.lines().map(columns).collect();
    let differs = |line: &&str| {
        let found = columns(line);
        let is_same = |known: &Vec<String>| known[..4] == found[..4];
        !known.iter().filter(|known| is_same(known)).any(|known| {
            let pairs = found[4..].iter().zip(&known[4..]);
            pairs.zip([2.0, 0.02, 0.02]).all(|((found, known), tolerance)| {
                match (found.parse::<f64>(), known.parse::<f64>()) {
                    (Ok(found), Ok(known)) => (found.min(FINEST) - known.min(FINEST)).abs() <= tolerance,
                    _ => found == known,
                }
            })
        })
    };
    found
        .lines()
        .filter(differs)
        .map(|line| format!("not what docs/evidence/pictures.csv says: {line}"))
        .collect()
}
