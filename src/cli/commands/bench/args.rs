//! The arguments of `reflux bench`.

use super::subject::SubjectArgs;
use crate::cli::device::DeviceArg;
use crate::cli::lowering::{SizeArgs, net_names};
use crate::cli::memory::MemoryArg;
use crate::cli::number;
use crate::cli::passes::PassArgs;
use std::path::PathBuf;

#[derive(clap::Args)]
// Networks are printed in bf16 unless told otherwise; here they run as `generate` runs them.
#[command(mut_arg("dtype", |arg| arg.help("Element type to compute in [default: f32 on the processor, bf16 on a GPU]")))]
pub struct Args {
    /// An ONNX file, which is measured instead of a model's network
    #[arg(value_name = "FILE.onnx", conflicts_with_all = ["model", "config", "net", "image"])]
    pub onnx: Option<PathBuf>,
    #[command(flatten)]
    pub subject: SubjectArgs,
    /// Which network to measure
    #[arg(long, default_value = "transformer", value_parser = net_names())]
    pub net: String,
    /// Measure whole pictures: text encoders, all steps, the decoder
    #[arg(long, conflicts_with_all = ["net", "profile"])]
    pub image: bool,
    /// What stays on the device between pictures
    #[arg(long, value_enum, default_value = "resident", requires = "image")]
    pub memory: MemoryArg,
    /// Device to run on; on several, as in cuda:0-3, each step is divided among them
    #[arg(long, default_value = "auto")]
    pub device: DeviceArg,
    /// Run on as many GPUs, from the first on: --devices 4 is --device cuda:0-3
    #[arg(long, value_name = "N", value_parser = number::positive, allow_negative_numbers = true, conflicts_with = "device")]
    pub devices: Option<usize>,
    #[command(flatten)]
    pub passes: PassArgs,
    #[command(flatten)]
    pub sizes: SizeArgs,
    /// Measured runs of a step, for each variant of the schedule
    #[arg(long, value_name = "N", default_value = "10", value_parser = number::positive, allow_negative_numbers = true)]
    pub runs: usize,
    /// Unmeasured runs before the measured ones
    #[arg(long, value_name = "N", default_value = "2", value_parser = number::count, allow_negative_numbers = true)]
    pub warmup: usize,
    /// Print everything as one JSON object
    #[arg(long)]
    pub json: bool,
    /// Also run the whole schedule once and measure every op
    #[arg(long)]
    pub profile: bool,
}
