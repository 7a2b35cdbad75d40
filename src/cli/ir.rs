//! `reflux ir`

use super::{DTypeArg, write_result};
use crate::Error;
use crate::pipeline::{Defaults, bundled_model};
use reflux_ir::text::PrintOptions;
use reflux_ir::{DType, Program, export};
use reflux_models::{ModelConfig, Net, PIXELS_PER_TOKEN, Sizes};
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    /// A FLUX.1 model in diffusers layout; only its config files are read [default: the bundled one]
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    model: Option<PathBuf>,
    /// A built-in configuration
    #[arg(long, value_name = "NAME", value_parser = ModelConfig::BUILT_IN)]
    config: Option<String>,
    #[arg(long, value_enum, default_value = "transformer")]
    net: NetArg,
    /// In another format than IR text
    #[arg(long, value_enum)]
    export: Option<Export>,
    /// Where to write it [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Add the FLOP and bytes of each op
    #[arg(long)]
    costs: bool,
    /// Print every block by itself
    #[arg(long)]
    unrolled: bool,
    /// In pixels [default: the model's]
    #[arg(long)]
    width: Option<usize>,
    /// In pixels [default: the model's]
    #[arg(long)]
    height: Option<usize>,
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// [default: the model's]
    #[arg(long)]
    steps: Option<usize>,
    /// T5 tokens [default: the model's]
    #[arg(long)]
    max_sequence_length: Option<usize>,
    #[arg(long, value_enum, default_value = "bf16")]
    dtype: DTypeArg,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum NetArg {
    Transformer,
    T5,
    Clip,
    Vae,
}

impl From<NetArg> for Net {
    fn from(arg: NetArg) -> Self {
        match arg {
            NetArg::Transformer => Self::Transformer,
            NetArg::T5 => Self::T5,
            NetArg::Clip => Self::Clip,
            NetArg::Vae => Self::Vae,
        }
    }
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Export {
    /// Graphviz: render it with `dot -Tsvg`
    Dot,
    /// Model Explorer's graph
    Json,
    /// Model Explorer's node data: FLOP per op, to colour that graph with
    Costs,
}

pub fn ir(args: &Args) -> Result<(), Error> {
    let (config, defaults) = match (&args.config, &args.model) {
        (Some(name), _) => {
            let config = ModelConfig::built_in(name).expect("clap knows the names");
            let defaults = Defaults::of_family(&config);
            (config, defaults)
        }
        (None, model) => {
            let folder = model.clone().map_or_else(bundled_model, Ok)?;
            let config = ModelConfig::read(&folder)?;
            let defaults = Defaults::of(&folder, &config)?;
            (config, defaults)
        }
    };
    let sizes = Sizes {
        batch: args.batch,
        steps: args.steps.unwrap_or(defaults.steps),
        text_tokens: args.max_sequence_length.unwrap_or(defaults.max_sequence_length),
        height: args.height.unwrap_or(defaults.height),
        width: args.width.unwrap_or(defaults.width),
    };
    for (what, pixels) in [("width", sizes.width), ("height", sizes.height)] {
        if pixels == 0 || !pixels.is_multiple_of(PIXELS_PER_TOKEN) {
            return Err(Error::Size { what, pixels });
        }
    }
    let dtype: DType = args.dtype.into();
    let program = config.lower(args.net.into(), &sizes, dtype)?;
    write_result(args.out.as_deref(), &render(&program, args))
}

fn render(program: &Program, args: &Args) -> String {
    match args.export {
        None => {
            let options = PrintOptions { costs: args.costs, provenance: false, unrolled: args.unrolled };
            program.print(&options)
        }
        Some(Export::Dot) => export::dot(program),
        Some(Export::Json) => format!("{:#}\n", export::model_explorer(program)),
        Some(Export::Costs) => format!("{:#}\n", export::node_data(program, |cost| cost.flops)),
    }
}
