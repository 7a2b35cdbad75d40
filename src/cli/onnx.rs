//! What is told of the inputs of an ONNX file.

use super::number;
use crate::Error;
use reflux_ir::Rate;
use reflux_models::onnx::Dims;
use std::collections::BTreeMap;

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
    ///
    /// # Errors
    /// [`Error::Usage`] if they say two things of one.
    pub fn dims(&self) -> Result<Dims, Error> {
        Ok(Dims { extents: each_once("--dim", &self.dim)?, rates: each_once("--rate", &self.rate)? })
    }
}

/// What is said by name.
fn each_once<T: Clone + PartialEq>(option: &str, said: &[(String, T)]) -> Result<BTreeMap<String, T>, Error> {
    let mut by_name = BTreeMap::new();
    for (name, value) in said {
        if by_name.insert(name.clone(), value.clone()).is_some_and(|other| other != *value) {
            return Err(Error::Usage(format!("{option} {name} is given twice; leave one of both out")));
        }
    }
    Ok(by_name)
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
