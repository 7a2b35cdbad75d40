//! The pictures of a page: which of a run, and as how many bytes.

use super::front;
use super::run::Run;
use crate::evaluation::{PictureResult, Row};
use crate::{Image, ImageFormat, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder};
use std::path::{Component, Path};

/// What all pictures of a page may take, in bytes of its text, if there are [`USUAL`] or fewer.
const MOST_BYTES: usize = 4_300_000;

/// Pictures of a page without the option.
pub const USUAL: usize = 24;

/// Prompts that are shown even if that leaves room for few rows.
const FEWEST_PROMPTS: usize = 3;

/// Pictures of a run: the same rows for each of some prompts.
#[derive(Debug)]
pub struct Album {
    /// Their places in the evaluation.
    pub prompts: Vec<usize>,
    pub rows: Vec<usize>,
    /// By prompt and row. What could not be read is missing.
    pub pictures: Vec<Vec<Option<Embedded>>>,
    /// How they were made smaller, in words.
    pub coding: String,
    pub warnings: Vec<String>,
}

/// A picture as a part of the page.
#[derive(Clone, Debug)]
pub struct Embedded {
    /// A `data:` address.
    pub address: String,
    pub width: usize,
    pub height: usize,
}

/// How pictures are written: lossless or as JPEG of a quality, and no side longer than so many pixels.
#[derive(Clone, Copy, Debug)]
struct Coding {
    longest: usize,
    quality: Option<u8>,
}

/// From good to small. The first whose pictures fit is taken.
const CODINGS: [Coding; 12] = [
    Coding { longest: 2048, quality: None },
    Coding { longest: 1024, quality: Some(92) },
    Coding { longest: 1024, quality: Some(85) },
    Coding { longest: 768, quality: Some(88) },
    Coding { longest: 640, quality: Some(85) },
    Coding { longest: 512, quality: Some(85) },
    Coding { longest: 448, quality: Some(85) },
    Coding { longest: 384, quality: Some(82) },
    Coding { longest: 320, quality: Some(80) },
    Coding { longest: 256, quality: Some(80) },
    Coding { longest: 192, quality: Some(75) },
    Coding { longest: 128, quality: Some(60) },
];

impl Album {
    /// `most` pictures of `run` at most, which take their share of the bytes of a page that has `of` in all.
    pub fn of(run: &Run, most: usize, of: usize) -> Self {
        let (prompts, rows) = chosen(run, most);
        let mut warnings = Vec::new();
        let mut decode = |prompt: usize, row: usize| {
            let picture = run.evaluation.rows[row].pictures.get(prompt)?;
            // All codings but the first have fewer pixels.
            open(&run.folders[row], picture).map_err(|why| warnings.push(why)).ok()
        };
        let decoded: Vec<Vec<Option<Image>>> =
            prompts.iter().map(|&prompt| rows.iter().map(|&row| decode(prompt, row)).collect()).collect();
        let count = prompts.len() * rows.len();
        let budget = MOST_BYTES * count.max(1) / of.max(1) * of.max(USUAL) / USUAL;
        let is_last = |at: usize| at + 1 == CODINGS.len();
        let mut codings = CODINGS.iter().enumerate();
        let (coding, pictures) = codings
            .find_map(|(at, coding)| {
                Some((coding, encoded(&decoded, *coding, if is_last(at) { usize::MAX } else { budget })?))
            })
            .expect("the last coding has no limit");
        let largest = decoded.iter().flatten().flatten().map(|image| image.width().max(image.height())).max();
        Self { prompts, rows, pictures, coding: words(*coding, largest.unwrap_or(0)), warnings }
    }
}

/// How pictures of `largest` pixels a side were written.
fn words(coding: Coding, largest: usize) -> String {
    let size = match coding.longest {
        longest if longest >= largest => "at their own size".to_owned(),
        longest => format!("scaled to {longest} pixels"),
    };
    match coding.quality {
        None => format!("without loss, {size}"),
        Some(quality) => format!(
            "as JPEG of quality {quality}, {size}; numbers were measured on the original pictures, and differences that are shown \
             here include those of JPEG"
        ),
    }
}

/// Prompts and rows whose pictures are shown: the base, those on the Pareto front, then the others; the prompt that changes most,
/// then some from all over the list.
fn chosen(run: &Run, most: usize) -> (Vec<usize>, Vec<usize>) {
    let evaluation = &run.evaluation;
    let front = front::front(&front::points(&evaluation.rows));
    let mut order: Vec<usize> = (0..evaluation.rows.len()).collect();
    let is_on_front = |row: usize| front.iter().any(|point| point.row == row);
    order.sort_by_key(|&row| (row != 0, !is_on_front(row), row));
    order.retain(|&row| !evaluation.rows[row].pictures.is_empty());
    let known = evaluation.prompts.len();
    if order.is_empty() || known == 0 || most == 0 {
        return (Vec::new(), Vec::new());
    }
    let fewest = FEWEST_PROMPTS.min(known).min((most / 2).max(1));
    let prompts = (most / order.len()).clamp(fewest, known);
    order.truncate((most / prompts).max(1));
    // In the order of the evaluation, as in the table.
    order.sort_unstable();
    (spread(&evaluation.rows, known, prompts), order)
}

/// `count` of `known` prompts, evenly, with the one in whose pictures rows differ most from the base.
fn spread(rows: &[Row], known: usize, count: usize) -> Vec<usize> {
    let psnr = |prompt: usize| {
        let all = rows.iter().filter_map(|row| row.pictures.get(prompt)?.psnr);
        all.fold(f64::INFINITY, f64::min)
    };
    let mut prompts: Vec<usize> = (0..count).map(|at| at * known / count).collect();
    let worst = (0..known).min_by(|&a, &b| psnr(a).total_cmp(&psnr(b))).unwrap_or(0);
    if !prompts.contains(&worst) {
        let nearest = (0..count).min_by_key(|&at| prompts[at].abs_diff(worst)).unwrap_or(0);
        prompts[nearest] = worst;
    }
    prompts
}

/// The picture that was evaluated, if it is still there.
fn open(folder: &Path, picture: &PictureResult) -> Result<Image, String> {
    let path = folder.join(&picture.file);
    let is_inside = picture.file.components().all(|part| matches!(part, Component::Normal(_)));
    if !is_inside || picture.file.as_os_str().is_empty() {
        let file = picture.file.display();
        return Err(format!("`{file}` is no file in {}: it is left out", folder.display()));
    }
    let image = Image::open(&path).map_err(|error| format!("{error}: it is left out"))?;
    let digest = digest::of_file(&path, u64::MAX);
    if digest.is_ok_and(|digest| digest != picture.sha256.to_ascii_lowercase()) {
        return Err(format!("{} is not the picture that was evaluated: it is left out", path.display()));
    }
    // More is never shown.
    Ok(smaller(image, CODINGS[0].longest))
}

/// `pictures` in `coding`, if all of them take `most` bytes at most.
fn encoded(
    pictures: &[Vec<Option<Image>>],
    coding: Coding,
    most: usize,
) -> Option<Vec<Vec<Option<Embedded>>>> {
    let mut left = most;
    let mut encode = |picture: &Option<Image>| match picture {
        None => Some(None),
        Some(image) => {
            let embedded = embedded(image, coding);
            left = left.checked_sub(embedded.address.len())?;
            Some(Some(embedded))
        }
    };
    pictures.iter().map(|row| row.iter().map(&mut encode).collect()).collect()
}

fn embedded(image: &Image, coding: Coding) -> Embedded {
    let smaller = smaller(image.clone(), coding.longest);
    let (width, height) = (smaller.width(), smaller.height());
    let mut bytes = Vec::new();
    let (kind, written) = match coding.quality {
        None => ("webp", smaller.encode(ImageFormat::WebP, &mut bytes).map_err(|error| error.to_string())),
        Some(quality) => {
            let encoder = JpegEncoder::new_with_quality(&mut bytes, quality);
            let size = (width as u32, height as u32);
            let written = encoder.write_image(smaller.pixels(), size.0, size.1, ExtendedColorType::Rgb8);
            ("jpeg", written.map_err(|error| error.to_string()))
        }
    };
    // Memory can be written to, and no side is longer than the formats allow.
    debug_assert!(written.is_ok(), "{written:?}");
    Embedded { address: format!("data:image/{kind};base64,{}", BASE64.encode(bytes)), width, height }
}

/// `image` with no side longer than `longest`.
fn smaller(image: Image, longest: usize) -> Image {
    let (width, height) = (image.width(), image.height());
    let side = width.max(height);
    if side <= longest {
        return image;
    }
    let scaled = |length: usize| (length * longest).div_ceil(side).max(1);
    image.resized([scaled(height), scaled(width)])
}
