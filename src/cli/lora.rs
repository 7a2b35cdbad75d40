//! Options for LoRAs.

use crate::pipeline::{LoraFiles, LoraSpec};
use clap::ValueEnum;
use reflux_ir::pass::Pipeline;
use reflux_passes::LoraMode;
use std::path::Path;

/// Which LoRAs.
#[derive(clap::Args)]
pub struct LoraArgs {
    /// Apply this LoRA, of any of the usual forms, with a strength of STRENGTH instead of 1; may be repeated. The same as
    /// the pass lora(files=[FILE:STRENGTH])
    #[arg(long, value_name = "FILE[:STRENGTH]")]
    lora: Vec<LoraSpec>,
    /// Where LoRAs are applied [default: merge]
    #[arg(long, value_enum, ignore_case = true, requires = "lora")]
    lora_mode: Option<ModeArg>,
    /// Leave out tensors of LoRAs that the model has no use for, with a warning
    #[arg(long, requires = "lora")]
    lora_partial: bool,
}

/// `--lora-mode`
#[derive(Clone, Copy, Debug, ValueEnum)]
enum ModeArg {
    /// In the weights, when they are read
    Merge,
    /// Beside the products, which may be quantized without them
    Branch,
}

impl LoraArgs {
    /// The pass that applies them, if there are any.
    pub fn passes(&self) -> Pipeline {
        let mut passes = Pipeline::new();
        if !self.lora.is_empty() {
            let mode = match self.lora_mode {
                None | Some(ModeArg::Merge) => LoraMode::Merge,
                Some(ModeArg::Branch) => LoraMode::Branch,
            };
            let files = self.lora.iter().map(LoraSpec::to_string).collect();
            passes.push(LoraFiles { files, mode, partial: self.lora_partial });
        }
        passes
    }

    /// The files.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.lora.iter().map(|spec| spec.path.as_path())
    }
}
