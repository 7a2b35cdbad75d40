//! The programs of a compiled model.

use super::report::CompiledProgram;
use crate::Error;
use crate::digest::of_bytes;
use crate::pipeline::compiled::{ProgramEntry, described, file_name};
use crate::pipeline::networks::Networks;
use reflux_ir::Program;
use reflux_models::Sizes;
use reflux_models::scheduler::Levels;

/// A program for pictures of one size, after the passes.
pub struct Made {
    /// The network's name.
    network: &'static str,
    pub sizes: Sizes,
    /// The time of each step, on which passes may have decided.
    pub timesteps: Vec<f32>,
    pub program: Program,
    pub text: String,
}

/// The denoiser's programs for these sizes, each once.
///
/// # Errors
/// If passes fail.
pub fn made(networks: &mut Networks, sizes: &[Sizes]) -> Result<Vec<Made>, Error> {
    let denoiser = networks.family().denoiser();
    let mut make = |sizes: Sizes| -> Result<Made, Error> {
        let tokens = networks.family().geometry.image_tokens(&sizes);
        let schedule = networks.config().schedule(&Levels::even(sizes.steps), tokens)?;
        networks.run_at(Some(&schedule));
        let program = networks.program(denoiser, &sizes)?.clone();
        let text = program.to_string();
        Ok(Made { network: denoiser.name, sizes, timesteps: schedule.timesteps, program, text })
    };
    let once = sizes.iter().enumerate().filter(|(index, size)| !sizes[..*index].contains(size));
    once.map(|(_, &size)| make(size)).collect()
}

impl Made {
    /// What the manifest says of it.
    pub fn entry(&self) -> ProgramEntry {
        ProgramEntry {
            file: file_name(self.network, &self.sizes),
            sha256: of_bytes(self.text.as_bytes()),
            sizes: self.sizes.into(),
            timesteps: self.timesteps.iter().map(|&time| time.into()).collect(),
        }
    }

    /// What is reported of it.
    pub fn report(&self, is_new: bool) -> CompiledProgram {
        let file = file_name(self.network, &self.sizes);
        CompiledProgram { sizes: described(&self.sizes), file, bytes: self.text.len() as u64, is_new }
    }
}
