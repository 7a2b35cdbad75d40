//! What is told of the inputs of an ONNX file.

use super::number;
use reflux_ir::Rate;
use reflux_models::onnx::Dims;

/// Options for ONNX files.
#[derive(Clone, Default, clap::Args)]
pub struct OnnxArgs {
    /// Of an ONNX file, the extent of an axis that it leaves open, as in batch=1; may be repeated
    #[arg(long, value_name = "NAME=EXTENT", value_parser = dim)]
    dim: Vec<(String, usize)>,
    /// Of an ONNX file, how often an input changes, as in temb=schedule, so that passes can move what depends on it alone out of
    /// the step: weights, prompt, schedule or latent; may be repeated [default: latent, at every step]
    #[arg(long, value_name = "INPUT=RATE", value_parser = rate)]
    rate: Vec<(String, Rate)>,
}

impl OnnxArgs {
    /// The first of the options that is given.
    pub fn given(&self) -> Option<&'static str> {
        let given = [("--dim", self.dim.is_empty()), ("--rate", self.rate.is_empty())];
        given.into_iter().find_map(|(option, is_empty)| (!is_empty).then_some(option))
    }

    /// What they say.
    pub fn dims(&self) -> Dims {
        Dims { extents: self.dim.iter().cloned().collect(), rates: self.rate.iter().cloned().collect() }
    }
}

fn dim(text: &str) -> Result<(String, usize), String> {
    let (name, extent) = text.rsplit_once('=').ok_or("it must be a name and an extent, as in batch=1")?;
    Ok((name.to_owned(), number::positive(extent)?))
}

fn rate(text: &str) -> Result<(String, Rate), String> {
    let (name, rate) = text.rsplit_once('=').ok_or("it must be an input and a rate, as in temb=schedule")?;
    let known = || Rate::ALL.map(Rate::name).join(", ");
    let rate =
        Rate::from_name(rate).ok_or_else(|| format!("there is no rate `{rate}`; these are: {}", known()))?;
    Ok((name.to_owned(), rate))
}
