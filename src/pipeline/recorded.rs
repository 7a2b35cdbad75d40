//! What a picture says of how it was made: the metadata that Reflux writes, or else the `parameters` text of the web UIs.

use super::image::PARAMETERS;
use super::read_image::read;
use super::request::{ReferenceSize, Request};
use super::source::{SOURCES, Source};
use crate::Error;
use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;
use std::str::FromStr;

/// The most bytes of text that are read, unpacked.
const LONGEST_TEXT: usize = 1 << 24;

/// How a picture was made, as far as it says.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    /// What was asked for, without the pictures that it was drawn from.
    pub request: Request,
    pub model: Option<String>,
    /// The dtype, by name.
    pub dtype: Option<String>,
    /// The passes on the transformer, as text.
    pub passes: Option<String>,
    /// The pictures that it was drawn from, by the names of the options for them.
    pub sources: BTreeMap<&'static str, Source>,
    /// What it says that cannot be followed, or may lead to another picture.
    pub warnings: Vec<String>,
}

impl Recorded {
    /// Reads the text of a PNG; its pixels are not looked at.
    ///
    /// # Errors
    /// If it is no PNG, does not say how it was made, or says something that Reflux cannot do.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let bytes = read(path).map_err(|error| Error::Read { path: path.to_owned(), error })?;
        let refused = |why: String| Error::Image { path: path.to_owned(), why };
        let texts = texts(bytes).map_err(refused)?;
        let own = texts.get("Software").is_some_and(|made_by| made_by.starts_with("reflux "));
        match texts.get(PARAMETERS) {
            _ if own => Self::of_own(&texts),
            Some(parameters) => Self::of_parameters(parameters),
            None => {
                Err("it does not say how it was made: it has neither Reflux's text nor `parameters`".into())
            }
        }
        .map_err(refused)
    }

    /// From the metadata that Reflux writes.
    fn of_own(texts: &BTreeMap<String, String>) -> Result<Self, String> {
        let text = |key: &str| texts.get(key).cloned();
        let mut request = Request {
            prompts: vec![text("prompt").unwrap_or_default()],
            negative_prompt: text("negative_prompt"),
            true_cfg_scale: number(texts, "true_cfg_scale")?,
            steps: number(texts, "steps")?,
            guidance: number(texts, "guidance")?,
            width: number(texts, "width")?,
            height: number(texts, "height")?,
            seed: number(texts, "seed")?.unwrap_or(0),
            num_images: number(texts, "images")?,
            image_index: number(texts, "image")?,
            max_sequence_length: number(texts, "max_sequence_length")?,
            strength: number(texts, "strength")?,
            flow_shift: number(texts, "flow_shift")?,
            vae_tiling: number(texts, "vae_tiling")?,
            ..Request::default()
        };
        if let Some(sigmas) = texts.get("sigmas") {
            let each = sigmas.split(',').map(|sigma| sigma.parse().map_err(|_| unreadable("sigmas", sigmas)));
            request.sigmas = Some(each.collect::<Result<_, _>>()?);
        }
        if texts.get("reference_size").is_some_and(|size| size == "own") {
            request.reference_size = ReferenceSize::Own;
        }
        let mut sources = BTreeMap::new();
        for key in SOURCES {
            if let Some(value) = texts.get(key) {
                sources.insert(key, Source::parse(value).ok_or_else(|| unreadable(key, value))?);
            }
        }
        let mut warnings = Vec::new();
        let version = format!("reflux {}", crate::VERSION);
        if let Some(other) = texts.get("Software").filter(|software| **software != version) {
            warnings.push(format!("it was made by {other}, this is {version}: the picture may differ"));
        }
        if let Some(latents) = texts.get("init_latents") {
            return Err(format!("it was drawn from {latents}, which are not in it; draw from these again"));
        }
        let [model, dtype, passes] = ["model", "dtype", "passes"].map(text);
        Ok(Self { request, model, dtype, passes, sources, warnings })
    }

    /// From the text of the web UIs: the prompt, the negative prompt, and a line of settings.
    fn of_parameters(parameters: &str) -> Result<Self, String> {
        let (texts, line) = match parameters.trim_end().rsplit_once('\n') {
            Some((texts, line)) if line.starts_with("Steps: ") => (texts, line),
            None if parameters.starts_with("Steps: ") => ("", parameters.trim_end()),
            _ => return Err("its `parameters` have no line that begins with `Steps:`".into()),
        };
        let (prompt, negative) = match texts.strip_prefix("Negative prompt: ") {
            Some(negative) => ("", Some(negative)),
            None => match texts.split_once("\nNegative prompt: ") {
                Some((prompt, negative)) => (prompt, Some(negative)),
                None => (texts, None),
            },
        };
        let mut settings = settings(line);
        let mut warnings = vec![
            "its settings are another program's, which draws other noise from the same seed: the picture will be another".to_owned(),
        ];
        let sampler = settings.remove("Sampler").unwrap_or_default();
        if !["Euler", "euler", "Euler Simple"].contains(&sampler.as_str()) {
            return Err(format!("it was drawn with the sampler `{sampler}`; Reflux has `Euler` alone"));
        }
        if let Some(schedule) =
            settings.remove("Schedule type").filter(|kind| !["Simple", "Automatic"].contains(&kind.as_str()))
        {
            warnings.push(format!("its schedule type `{schedule}` is not known; the model's own is used"));
        }
        let size = settings.remove("Size");
        let size = size.as_deref().map(|size| {
            let (width, height) = size.split_once('x').ok_or_else(|| unreadable("Size", size))?;
            let side = |text: &str| text.parse::<usize>().map_err(|_| unreadable("Size", size));
            Ok::<_, String>((side(width)?, side(height)?))
        });
        let size = size.transpose()?;
        let true_cfg_scale: Option<f32> = taken(&mut settings, "CFG scale")?;
        let request = Request {
            prompts: vec![prompt.to_owned()],
            negative_prompt: negative
                .filter(|_| true_cfg_scale.is_some_and(|scale| scale > 1.0))
                .map(str::to_owned),
            true_cfg_scale,
            steps: taken(&mut settings, "Steps")?,
            guidance: taken(&mut settings, "Distilled CFG Scale")?,
            width: size.map(|(width, _)| width),
            height: size.map(|(_, height)| height),
            seed: taken(&mut settings, "Seed")?.unwrap_or(0),
            strength: taken(&mut settings, "Denoising strength")?,
            ..Request::default()
        };
        if request.strength.is_some() {
            warnings.push("it was drawn from another picture, which it does not name".into());
        }
        let model = settings.remove("Model");
        for key in ["Model hash", "Version"] {
            settings.remove(key);
        }
        if !settings.is_empty() {
            let names: Vec<_> = settings.into_keys().collect();
            warnings.push(format!("what it says of {} is not followed", names.join(", ")));
        }
        Ok(Self { request, model, warnings, ..Self::default() })
    }
}

fn unreadable(key: &str, value: &str) -> String {
    format!("what it says of `{key}` cannot be read: {value:?}")
}

/// The number that `key` has, if it is there.
fn number<N: FromStr>(texts: &BTreeMap<String, String>, key: &str) -> Result<Option<N>, String> {
    let Some(text) = texts.get(key) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| unreadable(key, text))
}

/// As [`number`]; `key` is no longer there.
fn taken<N: FromStr>(texts: &mut BTreeMap<String, String>, key: &str) -> Result<Option<N>, String> {
    let number = number(texts, key);
    texts.remove(key);
    number
}

/// `key: value, key: value`, where a value with separators is in quotes.
fn settings(line: &str) -> BTreeMap<String, String> {
    let mut settings = BTreeMap::new();
    let mut rest = line;
    while let Some((key, after)) = rest.split_once(':') {
        let after = after.trim_start();
        let mut quoted = serde_json::Deserializer::from_str(after).into_iter::<String>();
        let (value, end) = match quoted.next() {
            Some(Ok(value)) if after.starts_with('"') => (value, quoted.byte_offset()),
            _ => {
                let end = after.find(',').unwrap_or(after.len());
                (after[..end].trim().to_owned(), end)
            }
        };
        settings.insert(key.trim().to_owned(), value);
        rest =
            after[end..].trim_start_matches(|separator: char| separator == ',' || separator.is_whitespace());
    }
    settings
}

/// The texts of a PNG before its pixels, by keyword.
fn texts(bytes: Vec<u8>) -> Result<BTreeMap<String, String>, String> {
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), png::Limits { bytes: LONGEST_TEXT });
    decoder.set_ignore_text_chunk(false);
    let reader = decoder.read_info().map_err(|error| format!("it is no PNG that can be read: {error}"))?;
    let info = reader.info();
    let mut texts = BTreeMap::new();
    for text in &info.uncompressed_latin1_text {
        texts.insert(text.keyword.clone(), text.text.clone());
    }
    let damaged = |error: png::DecodingError| format!("its text is damaged: {error}");
    for text in &info.compressed_latin1_text {
        let mut text = text.clone();
        text.decompress_text_with_limit(LONGEST_TEXT).map_err(damaged)?;
        texts.insert(text.keyword.clone(), text.get_text().map_err(|error| error.to_string())?);
    }
    for text in &info.utf8_text {
        let mut text = text.clone();
        text.decompress_text_with_limit(LONGEST_TEXT).map_err(damaged)?;
        texts.insert(text.keyword.clone(), text.get_text().map_err(|error| error.to_string())?);
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_the_web_uis_are_read() {
        let text = "an owl, at night\nsecond line\nNegative prompt: blurry\nSteps: 20, Sampler: Euler, Schedule type: Simple, CFG \
                    scale: 2, Distilled CFG Scale: 3.5, Seed: 7, Size: 96x128, Model hash: ab, Model: \"a, b: c\", Version: f2.0";
        let recorded = Recorded::of_parameters(text).unwrap();
        let request = &recorded.request;
        assert_eq!(request.prompts, ["an owl, at night\nsecond line"]);
        assert_eq!((request.negative_prompt.as_deref(), request.true_cfg_scale), (Some("blurry"), Some(2.0)));
        assert_eq!((request.steps, request.guidance, request.seed), (Some(20), Some(3.5), 7));
        assert_eq!((request.width, request.height), (Some(96), Some(128)));
        assert_eq!((recorded.model.as_deref(), recorded.warnings.len()), (Some("a, b: c"), 1));
        let more =
            Recorded::of_parameters(&format!("{text}, Hires upscale: 2, Lora hashes: \"x: 1\"")).unwrap();
        assert!(more.warnings[1].contains("Hires upscale, Lora hashes"), "{:?}", more.warnings);
        for (text, why) in [
            (text.replace("Euler", "DPM++ 2M"), "the sampler `DPM++ 2M`"),
            (text.replace("96x128", "large"), "`Size`"),
            (text.replace("Seed: 7", "Seed: x"), "`Seed`"),
            ("an owl".into(), "no line that begins"),
        ] {
            let refused = Recorded::of_parameters(&text).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
    }
}
