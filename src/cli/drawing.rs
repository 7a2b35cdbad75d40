//! Options of commands that draw pictures to learn something from them: how they are drawn, and where.

use super::device::DeviceArg;
use super::dtype::DTypeArg;
use super::memory::MemoryArg;
use super::number;
use crate::pipeline::{OpenOptions, Request};
use reflux_runtime::Device;

/// How pictures are drawn, and where.
#[derive(clap::Args)]
pub struct DrawArgs {
    /// Denoising steps [default: the model's]
    #[arg(long, value_parser = number::positive, allow_negative_numbers = true)]
    steps: Option<usize>,
    /// Embedded guidance, if the model has it [default: the model's]
    #[arg(long, value_parser = number::real, allow_negative_numbers = true)]
    guidance: Option<f32>,
    /// Width in pixels [default: the model's]
    #[arg(long, value_parser = number::pixels, allow_negative_numbers = true)]
    width: Option<usize>,
    /// Height in pixels [default: the model's]
    #[arg(long, value_parser = number::pixels, allow_negative_numbers = true)]
    height: Option<usize>,
    /// Device to run on
    #[arg(long, default_value = "auto", ignore_case = true)]
    device: DeviceArg,
    /// Element type to compute in [default: f32 on the processor, bf16 on a GPU]
    #[arg(long, value_enum, ignore_case = true)]
    dtype: Option<DTypeArg>,
    /// What stays on the device
    #[arg(long, value_enum, default_value = "resident", ignore_case = true)]
    memory: MemoryArg,
}

impl DrawArgs {
    /// Where the model runs.
    pub fn device(&self) -> Device {
        self.device.into()
    }

    /// What all pictures have in common; it has no prompts.
    pub fn request(&self) -> Request {
        Request {
            steps: self.steps,
            guidance: self.guidance,
            width: self.width,
            height: self.height,
            ..Request::default()
        }
    }

    /// How the model is opened, without passes.
    pub fn open_options(&self) -> OpenOptions {
        OpenOptions {
            device: Some(self.device()),
            dtype: self.dtype.map(Into::into),
            memory: self.memory.into(),
            ..OpenOptions::default()
        }
    }
}
