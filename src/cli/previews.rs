//! `--preview`: where small pictures go while a picture is drawn.

use super::console::print;
use crate::Error;
use crate::files::OutputFile;
use crate::pipeline::{Image, ImageFormat};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What becomes of previews.
pub struct Previews {
    /// The file that holds the last one.
    file: Option<PathBuf>,
    as_json: bool,
    /// Why one could not be written.
    failed: Option<Error>,
}

/// The line that is printed of each.
#[derive(Serialize)]
struct Line<'a> {
    preview: Preview<'a>,
}

#[derive(Serialize)]
struct Preview<'a> {
    image: usize,
    step: usize,
    steps: usize,
    file: Option<&'a Path>,
    /// The picture, in base64.
    png: String,
}

impl Previews {
    /// Beside `out`: `owl.preview.png` for `owl.png`. With `as_json` each is printed too.
    ///
    /// # Errors
    /// [`Error::Usage`] if `out` is no file and nothing is printed, or if an input would be overwritten.
    pub fn beside(out: &Path, is_stream: bool, as_json: bool, inputs: &[&Path]) -> Result<Self, Error> {
        if is_stream && !as_json {
            let message = "--preview writes a file beside --out, which is none; name a file, or add --json";
            return Err(Error::Usage(message.into()));
        }
        let file = (!is_stream).then(|| out.with_extension("preview.png"));
        if let Some(file) = &file {
            OutputFile::at(file)?.refuse_inputs(inputs.iter().copied())?;
        }
        Ok(Self { file, as_json, failed: None })
    }

    /// Takes the preview of picture `image` after step `step` of `steps`, counted from 1.
    pub fn take(&mut self, image: usize, step: usize, steps: usize, picture: &Image) {
        if self.failed.is_none() {
            self.failed = self.write(image, step, steps, picture).err();
        }
    }

    fn write(&self, image: usize, step: usize, steps: usize, picture: &Image) -> Result<(), Error> {
        let mut png = Vec::new();
        let encoded = picture.encode(ImageFormat::Png, &mut png);
        encoded.expect("memory can be written to, and previews are small");
        if let Some(file) = &self.file {
            OutputFile::at(file)?.write(|out| out.write_all(&png))?;
        }
        if !self.as_json {
            return Ok(());
        }
        let png = BASE64_STANDARD.encode(png);
        let line = Line { preview: Preview { image, step, steps, file: self.file.as_deref(), png } };
        print(&format!("{}\n", serde_json::to_string(&line).expect("a preview is plain data")))
    }

    /// Gives back the error of one that could not be written.
    ///
    /// # Errors
    /// That error.
    pub fn check(&mut self) -> Result<(), Error> {
        self.failed.take().map_or(Ok(()), Err)
    }
}
