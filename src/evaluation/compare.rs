//! The base's latents in files, and how near other pictures are to the base's.

use super::journal::Journal;
use super::metrics::{psnr, relative_l2, ssim, trajectory_cosine};
use super::plan::BASE;
use super::summary::PictureResult;
use crate::digest::of_file;
use crate::files::OutputFile;
use crate::pipeline::Image;
use crate::{Error, tensors};
use reflux_ir::HostTensor;

/// The tensor of latents after each step, `f32[steps, tokens, channels]`.
const LATENTS: &str = "latents";

/// Writes the base's latents after each step; gives back the file's digest.
pub fn keep_latents(
    journal: &Journal,
    index: usize,
    steps: usize,
    last: &HostTensor,
    trajectory: &[f32],
) -> Result<String, Error> {
    let shape = [steps, last.shape[1], last.shape[2]];
    let path = journal.latents(index);
    let latents = HostTensor::from_f32(shape, trajectory);
    tensors::write(&mut OutputFile::at(&path)?, &[(LATENTS.to_owned(), latents)])?;
    of_file(&path, u64::MAX).map_err(|error| Error::Read { path, error })
}

/// Compares a picture with the base's.
pub fn compare(
    journal: &Journal,
    index: usize,
    steps: usize,
    image: &Image,
    trajectory: &[f32],
    result: &mut PictureResult,
) -> Result<(), Error> {
    let base = journal.picture(BASE, index).expect("the base is drawn first");
    let expected = Image::open(journal.path(&base.result.file))?;
    let path = journal.latents(index);
    let found = tensors::read(&path)?.into_iter().find(|(name, _)| name == LATENTS);
    let Some((_, latents)) = found else {
        let why = format!("it holds no tensor `{LATENTS}`");
        return Err(Error::Tensors { path, why });
    };
    let (base_steps, latents) = (latents.shape[0], latents.to_f32());
    let last =
        |trajectory: &[f32], steps: usize| trajectory[trajectory.len() / steps * (steps - 1)..].to_vec();
    result.psnr = Some(psnr(image, &expected));
    result.ssim = Some(ssim(image, &expected));
    result.latent_l2 = Some(relative_l2(&last(trajectory, steps), &last(&latents, base_steps)));
    result.trajectory_cosine = (steps == base_steps).then(|| trajectory_cosine(trajectory, &latents, steps));
    Ok(())
}
