//! Folders as `reflux eval` leaves them, with pictures that are drawn here.

use image::{Rgb, RgbImage};
use reflux::StageTime;
use reflux::evaluation::{
    Adherence, Evaluation, NetworkMetric, PassSummary, PictureResult, Prompt, Quality, Row, RowKind, Spread,
};
use reflux::ir::DType;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// A row to make: its name, kind, passes, steps, computed steps, seconds, median PSNR and bytes of weights.
type Sketch = (&'static str, RowKind, &'static str, usize, f64, f64, f64, u64);

/// Small, with every kind of row: what is compared with snapshots.
pub const SMALL: [Sketch; 5] = [
    ("base", RowKind::Base, "", 20, 20.0, 1.2, 100.0, 32_000_000),
    ("fora 2", RowKind::Config, "cache(fora,interval=2)", 20, 10.0, 0.62, 31.5, 32_000_000),
    ("int8dq", RowKind::Config, "quantize(int8dq)", 20, 20.0, 1.3, 42.0, 16_500_000),
    ("both", RowKind::Config, "quantize(int8dq),cache(fora,interval=4)", 20, 5.0, 0.35, 24.25, 16_500_000),
    ("10 steps", RowKind::FewerSteps, "", 10, 10.0, 0.61, 25.0, 32_000_000),
];

/// As many rows as a real evaluation has.
pub const LARGE: [Sketch; 14] = [
    ("base", RowKind::Base, "fuse", 28, 28.0, 1.236, 100.0, 32_300_000),
    ("fora 2", RowKind::Config, "fuse,cache(fora,interval=2)", 28, 14.0, 0.652, 31.2, 32_300_000),
    ("fora 3", RowKind::Config, "fuse,cache(fora,interval=3)", 28, 10.0, 0.478, 27.1, 32_300_000),
    ("fora 5", RowKind::Config, "fuse,cache(fora,interval=5)", 28, 6.0, 0.301, 21.9, 32_300_000),
    (
        "taylorseer 2",
        RowKind::Config,
        "fuse,cache(taylorseer,interval=2,order=1)",
        28,
        16.0,
        0.741,
        36.4,
        32_300_000,
    ),
    (
        "taylorseer 4",
        RowKind::Config,
        "fuse,cache(taylorseer,interval=4,order=1)",
        28,
        10.0,
        0.486,
        30.6,
        32_300_000,
    ),
    (
        "tune 10",
        RowKind::Config,
        "fuse,cache(schedule=0011011101110111011101110110,forecast)",
        28,
        10.0,
        0.481,
        34.9,
        32_300_000,
    ),
    ("int8dq", RowKind::Config, "quantize(int8dq),fuse", 28, 28.0, 1.104, 43.8, 16_900_000),
    (
        "int8dq, fora 2",
        RowKind::Config,
        "quantize(int8dq),fuse,cache(fora,interval=2)",
        28,
        14.0,
        0.588,
        30.9,
        16_900_000,
    ),
    ("fp8dq", RowKind::Config, "quantize(fp8dq),fuse", 28, 28.0, 1.161, 36.9, 16_900_000),
    ("unfused", RowKind::Config, "none", 28, 28.0, 1.412, 100.0, 32_300_000),
    ("20 steps", RowKind::FewerSteps, "fuse", 20, 20.0, 0.901, 30.2, 32_300_000),
    ("14 steps", RowKind::FewerSteps, "fuse", 14, 14.0, 0.648, 26.8, 32_300_000),
    ("8 steps", RowKind::FewerSteps, "fuse", 8, 8.0, 0.396, 21.4, 32_300_000),
];

/// Networks that have judged the pictures.
const NETWORKS: [NetworkMetric; 2] = [NetworkMetric::Lpips, NetworkMetric::ClipScore];

/// Prompts of pictures that can be drawn here: a disc on a ground.
pub const PROMPTS: [&str; 4] = [
    "a red apple on a blue background",
    "large owl on a pink background",
    "a small rocket on a yellow background",
    "grinning face on a green background",
];

/// Writes an evaluation of `sketches` and `prompts` to `folder`, with pictures of `side` pixels, and gives it.
pub fn write(folder: &Path, sketches: &[Sketch], prompts: &[&str], side: u32) -> Evaluation {
    let rows = sketches.iter().enumerate().map(|(at, sketch)| {
        let pictures =
            prompts.iter().enumerate().map(|(prompt, _)| picture(folder, at, sketch, prompt, side));
        row(sketch, pictures.collect())
    });
    let evaluation = Evaluation {
        version: reflux::VERSION.into(),
        model: "emoji".into(),
        device: "NVIDIA H200".into(),
        dtype: DType::BF16,
        width: side as usize,
        height: side as usize,
        steps: sketches[0].3,
        guidance: Some(3.5),
        prompts: prompts
            .iter()
            .zip(100..)
            .map(|(prompt, seed)| Prompt { prompt: (*prompt).into(), seed })
            .collect(),
        networks: NETWORKS.map(|metric| (metric, "0".repeat(64))).into(),
        rows: rows.collect(),
    };
    save(folder, &evaluation);
    evaluation
}

/// Writes `evaluation.json`.
pub fn save(folder: &Path, evaluation: &Evaluation) {
    std::fs::write(folder.join("evaluation.json"), serde_json::to_string_pretty(evaluation).unwrap())
        .unwrap();
}

fn row(sketch: &Sketch, pictures: Vec<PictureResult>) -> Row {
    let &(name, kind, passes, steps, computed_steps, seconds, psnr, weight_bytes) = sketch;
    let spread = |median: f64, worst: f64| Spread { median, worst };
    let error = 10_f64.powf(-psnr / 20.0);
    let stages = |denoise: f64, load: f64| {
        let stages = [("load", load), ("text encoders", 0.03), ("denoise", denoise), ("decode", 0.02)];
        let stages = stages.into_iter().filter(|(_, seconds)| *seconds > 0.0);
        stages.map(|(stage, seconds)| StageTime { stage: stage.into(), seconds }).collect()
    };
    Row {
        name: name.into(),
        kind,
        passes: passes.into(),
        steps,
        computed_steps,
        cold_seconds: seconds + 1.4,
        cold_stages: stages(seconds + 0.3, 1.0),
        median_seconds: seconds,
        p95_seconds: 1.1 * seconds,
        stages: stages(seconds - 0.055, 0.0),
        peak_bytes: Some(weight_bytes + 31_000_000),
        weight_bytes,
        graph: match passes {
            "" => Vec::new(),
            passes => vec![
                PassSummary {
                    pass: "canonicalize".into(),
                    ops: [1412, 1180],
                    notes: vec!["232 × fold-constants".into()],
                },
                PassSummary {
                    pass: passes.into(),
                    ops: [1180, 734],
                    notes: vec!["446 × a < b & c".into(), "second".into()],
                },
            ],
        },
        quality: (kind != RowKind::Base).then(|| Quality {
            psnr: spread(psnr, (psnr - 6.0).max(0.0)),
            ssim: spread(1.0 - error, 1.0 - 2.0 * error),
            latent_l2: spread(error, 2.0 * error),
            trajectory_cosine: (kind == RowKind::Config)
                .then(|| spread(1.0 - error / 10.0, 1.0 - error / 5.0)),
        }),
        adherence: Some(Adherence { background: 1.0, subject: 1.0 - error, size: 0.875 }),
        scores: NETWORKS
            .into_iter()
            .filter(|metric| kind != RowKind::Base || !metric.compares())
            .map(|metric| match metric {
                NetworkMetric::Lpips => (metric, spread(error, 2.0 * error)),
                _ => (metric, spread(31.0 - error, 28.0)),
            })
            .collect(),
        pictures,
        warnings: Vec::new(),
    }
}

/// Draws a picture that differs from the base's by noise of about the sketched PSNR.
fn picture(folder: &Path, at: usize, sketch: &Sketch, prompt: usize, side: u32) -> PictureResult {
    let file = PathBuf::from(format!("{at:02}/{prompt:03}.png"));
    std::fs::create_dir_all(folder.join(&file).parent().unwrap()).unwrap();
    let psnr = if sketch.1 == RowKind::Base { 100.0 } else { (sketch.6 + prompt as f64).min(100.0) };
    let amplitude = if psnr >= 100.0 { 0.0 } else { 255.0 * 10_f64.powf(-psnr / 20.0) };
    let grounds = [[46, 107, 214], [240, 166, 196], [246, 206, 86], [92, 170, 110]];
    let discs = [[206, 40, 46], [122, 82, 54], [220, 224, 230], [250, 196, 60]];
    let [ground, disc]: [[u8; 3]; 2] = [grounds[prompt % 4], discs[prompt % 4]];
    let mut random = fastrand::Rng::with_seed(prompt as u64 + 1);
    let middle = f64::from(side) / 2.0;
    let image = RgbImage::from_fn(side, side, |x, y| {
        // The further a row is from the base, the more its disc has moved.
        let [dx, dy] = [f64::from(x) - middle - amplitude / 400.0 * middle, f64::from(y) - middle];
        let inside = ((0.62 * middle - dx.hypot(dy)) / (0.02 * middle) + 0.5).clamp(0.0, 1.0);
        let light = 1.0 - 0.35 * (dx + dy) / f64::from(side);
        let noise = amplitude * (random.f64() - 0.5);
        Rgb([0, 1, 2].map(|channel| {
            let [ground, disc] = [ground, disc].map(|color| f64::from(color[channel]));
            (ground + inside * (disc * light - ground) + noise).clamp(0.0, 255.0) as u8
        }))
    });
    image.save(folder.join(&file)).unwrap();
    let is_base = sketch.1 == RowKind::Base;
    PictureResult {
        sha256: digest(&folder.join(&file)),
        file,
        seconds: sketch.5,
        computed_steps: sketch.4 as usize,
        psnr: (!is_base).then_some(psnr),
        ssim: (!is_base).then_some(0.9),
        latent_l2: (!is_base).then_some(0.1),
        trajectory_cosine: None,
        scores: Default::default(),
    }
}

/// Writes a picture of noise, which no coding makes small, and gives its name and digest.
pub fn noise(folder: &Path, side: u32) -> (PathBuf, String) {
    let mut random = fastrand::Rng::with_seed(1);
    let file = PathBuf::from("noise.png");
    let image = RgbImage::from_fn(side, side, |_, _| Rgb([0; 3].map(|_: u8| random.u8(..))));
    image.save(folder.join(&file)).unwrap();
    let digest = digest(&folder.join(&file));
    (file, digest)
}

fn digest(path: &Path) -> String {
    Sha256::digest(std::fs::read(path).unwrap()).iter().map(|byte| format!("{byte:02x}")).collect()
}
