//! Files and formats of output pictures.

use super::out_names::{Named, is_template, names};
use crate::Error;
use crate::files::OutputFile;
use crate::pipeline::{Image, ImageFormat, Request};
use reflux_models::Defaults;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What `--out` names: a file for each picture, or one place for all of them.
pub struct Pictures {
    format: ImageFormat,
    outputs: Vec<OutputFile>,
    /// How many are written.
    written: usize,
}

impl Pictures {
    /// The places of `pictures`: what `out` makes of its placeholders, or `out.png` for one, `out-0.png`, `out-1.png`, … for several;
    /// a device, a pipe or standard output for all, one after the other.
    ///
    /// # Errors
    /// If one of them could not be written, or is to be of a format that is not.
    pub fn named(out: &Path, pictures: &[Named<'_>]) -> Result<Self, Error> {
        if let Some(stream) = stream(out)? {
            let format = ImageFormat::of(out).unwrap_or_default();
            return Ok(Self { format, outputs: vec![stream], written: 0 });
        }
        let (stem, extension) = parts(out)?;
        let format = ImageFormat::of(&out.with_extension(&extension));
        let format = format.ok_or_else(|| usage(out, "must end in .png, .jpg or .webp"))?;
        let name = |number: Option<usize>| {
            let mut name = stem.clone();
            if let Some(number) = number {
                name.push(format!("-{number}"));
            }
            name.push(".");
            name.push(&extension);
            out.with_file_name(name)
        };
        let names = match pictures {
            _ if is_template(out) => names(&name(None), pictures)?,
            [_] => vec![name(None)],
            _ => (0..pictures.len()).map(|number| name(Some(number))).collect(),
        };
        let outputs = names.iter().map(|name| OutputFile::at(name)).collect::<Result<_, _>>()?;
        Ok(Self { format, outputs, written: 0 })
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &Path> {
        self.outputs.iter().map(OutputFile::path)
    }

    /// Refuses what would write something else where pictures go.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn refuse_mixing(&self, latents: Option<&OutputFile>, as_json: bool) -> Result<(), Error> {
        if latents.is_some_and(|latents| self.outputs.iter().any(|output| output.is_same(latents))) {
            return Err(Error::Usage(
                "--out and --save-latents name the same file; give two different ones".into(),
            ));
        }
        let is_printed = self.are_printed() || latents.is_some_and(OutputFile::is_stdout);
        if as_json && is_printed {
            let message =
                "--json prints to standard output, so nothing else can be written there; name files";
            return Err(Error::Usage(message.into()));
        }
        Ok(())
    }

    /// Refuses to write over what is read.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn refuse_inputs(&self, inputs: &[&Path]) -> Result<(), Error> {
        self.outputs.iter().try_for_each(|output| output.refuse_inputs(inputs.iter().copied()))
    }

    /// Refuses pictures that the format cannot hold.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn refuse_sizes(&self, request: &Request, defaults: &Defaults) -> Result<(), Error> {
        let (width, height) =
            (request.width.unwrap_or(defaults.width), request.height.unwrap_or(defaults.height));
        let (format, most) = (self.format.name(), self.format.most_pixels());
        if width.max(height) > most {
            let message =
                format!("{width}×{height}: a {format} has at most {most} pixels each way; write a .png");
            return Err(Error::Usage(message));
        }
        Ok(())
    }

    /// Whether they go somewhere else than into files.
    pub fn are_streamed(&self) -> bool {
        self.outputs.iter().any(|output| !output.is_file())
    }

    /// Whether they go to standard output.
    pub fn are_printed(&self) -> bool {
        self.outputs.iter().any(OutputFile::is_stdout)
    }

    /// Writes the next picture, and says where.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn write(&mut self, image: &Image) -> Result<PathBuf, Error> {
        self.written += 1;
        self.write_at(self.written - 1, image)
    }

    /// Writes the picture with this number, and says where.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn write_at(&mut self, index: usize, image: &Image) -> Result<PathBuf, Error> {
        let index = index.min(self.outputs.len() - 1);
        let output = &mut self.outputs[index];
        output.write(|out| image.encode(self.format, out))?;
        Ok(output.path().to_owned())
    }
}

fn usage(out: &Path, why: &str) -> Error {
    Error::Usage(format!("--out {} {why}", out.display()))
}

/// The name of the file `out`, and its ending.
fn parts(out: &Path) -> Result<(OsString, OsString), Error> {
    let is_folder = out.as_os_str().as_encoded_bytes().ends_with(b"/");
    let Some(stem) = out.file_stem().filter(|_| !is_folder) else {
        return Err(usage(out, "names a folder; name a file in it"));
    };
    if out.is_dir() {
        return Err(usage(out, "is a folder; name a file in it"));
    }
    let extension = match out.extension() {
        Some(extension) => extension.to_owned(),
        // A name whose only dot is the first character has no extension; a hidden file is hardly intended.
        None if stem.as_encoded_bytes().starts_with(b".") => {
            return Err(usage(out, "has no name before the dot"));
        }
        None => "png".into(),
    };
    Ok((stem.to_owned(), extension))
}

/// What `out` names, if it is neither a file nor going to be one.
fn stream(out: &Path) -> Result<Option<OutputFile>, Error> {
    let is_there = out.as_os_str() == "-" || out.symlink_metadata().is_ok();
    if !is_there || out.is_dir() {
        return Ok(None);
    }
    OutputFile::binary(out).map(|output| Some(output).filter(|output| !output.is_file()))
}
