//! Files of packed latents.

use crate::Error;
use crate::files::OutputFile;
use crate::tensors;
use reflux_ir::HostTensor;
use std::path::Path;

/// The one tensor of safetensors files with latents.
const LATENTS: &str = "latents";

/// Writes the latents of single pictures as one tensor.
///
/// # Errors
/// [`Error::Write`].
pub fn write(output: &mut OutputFile, latents: &[HostTensor]) -> Result<(), Error> {
    tensors::write(output, &[(LATENTS.to_owned(), joined(latents))])
}

/// One tensor `[pictures, tokens, channels]` from those of single pictures.
fn joined(latents: &[HostTensor]) -> HostTensor {
    let values: Vec<f32> = latents.iter().flat_map(HostTensor::to_f32).collect();
    let shape = latents.first().map_or([0, 0, 0], |first| [latents.len(), first.shape[1], first.shape[2]]);
    HostTensor::from_f32(shape, &values)
}

/// Reads latents to start from.
///
/// # Errors
/// If there are none in the file.
pub fn read(path: &Path) -> Result<HostTensor, Error> {
    let mut tensors = tensors::read(path)?;
    let found = tensors.iter().position(|(name, _)| name == LATENTS);
    let Some(index) = found else {
        let why = format!("it holds no tensor `{LATENTS}`, packed as f32[pictures, tokens, channels]");
        return Err(Error::Tensors { path: path.to_owned(), why });
    };
    let latents = tensors.swap_remove(index).1;
    if !latents.dtype.is_float() {
        let why = format!(
            "`{LATENTS}` has dtype {}; latents must be floating-point numbers, f32 as Reflux saves them",
            latents.dtype
        );
        return Err(Error::Tensors { path: path.to_owned(), why });
    }
    Ok(latents)
}
