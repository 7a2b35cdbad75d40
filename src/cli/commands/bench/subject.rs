//! What is measured: a model, or a configuration without weights.

use crate::Error;
use crate::cli::lowering::{ModelArg, built_in_names};
use crate::cli::parts::PartArgs;
use crate::pipeline::{DiffusionPipeline, FittedLoras, OpenOptions, bundled_model, open_weights};
use reflux_ir::{Program, WeightSource};
use reflux_models::lora::base_of;
use reflux_models::weights::RandomWeights;
use reflux_models::{ModelFiles, Net};
use std::path::PathBuf;
use std::rc::Rc;

/// The seed of random weights. Times do not depend on it.
pub const SEED: u64 = 0;

#[derive(clap::Args)]
pub struct SubjectArgs {
    /// A model folder in diffusers layout, or the id of a model in the Hugging Face Hub's local cache, for example
    /// black-forest-labs/FLUX.1-dev [default: the bundled model]
    #[arg(long, value_name = "DIR|ID", conflicts_with = "config")]
    model: Option<PathBuf>,
    #[command(flatten)]
    parts: PartArgs,
    /// A built-in configuration, which has no weights
    #[arg(long, value_name = "NAME", value_parser = built_in_names())]
    config: Option<String>,
    /// Use random weights instead of reading the model's; times are the same
    #[arg(long)]
    random_weights: bool,
}

pub struct Subject {
    /// Its name as given by the user.
    pub name: String,
    pub model: ModelArg,
    /// Where the model's weights are; random if `None`.
    files: Option<ModelFiles>,
}

impl Subject {
    /// The subject that the arguments ask for.
    ///
    /// # Errors
    /// If it has no weights and random ones are not allowed.
    pub fn of(args: &SubjectArgs) -> Result<Self, Error> {
        if let Some(option) = args.parts.given().filter(|_| args.config.is_some() || args.random_weights) {
            let other = if args.random_weights {
                "--random-weights draws them all"
            } else {
                "--config has no weights"
            };
            return Err(Error::Usage(format!(
                "{option} names weights, and {other}; leave out one of the two"
            )));
        }
        if let Some(name) = &args.config {
            if !args.random_weights {
                let message = format!(
                    "{name} is a configuration and has no weights; add --random-weights, or name a model folder \
                     with --model"
                );
                return Err(Error::Usage(message));
            }
            let model = ModelArg::built_in(name).expect("clap knows the names");
            return Ok(Self { name: name.clone(), model, files: None });
        }
        let folder = args.model.clone().map_or_else(bundled_model, Ok)?;
        let files = ModelFiles::find(&folder, args.parts.parts())?;
        let model = ModelArg::of(&files)?;
        let name = folder.display().to_string();
        Ok(Self { name, model, files: (!args.random_weights).then_some(files) })
    }

    /// The pipeline that makes its pictures.
    pub fn pipeline(&self, options: OpenOptions) -> Result<DiffusionPipeline, Error> {
        match &self.files {
            Some(files) => DiffusionPipeline::open_files(files.clone(), options),
            None => self.model.with_random_weights(options),
        }
    }

    /// The weights of `net`, which is to run as `program`.
    pub fn weights(
        &self,
        net: &'static Net,
        program: &Program,
        loras: &FittedLoras,
    ) -> Result<Rc<dyn WeightSource>, Error> {
        let base: Rc<dyn WeightSource> = match &self.files {
            Some(files) => Rc::new(open_weights(files, self.model.config(), net, &mut Vec::new())?),
            None => {
                let named = |(name, fact)| (base_of(name).unwrap_or(name), fact);
                Rc::new(RandomWeights::of(program.weights().into_iter().map(named), SEED))
            }
        };
        Ok(loras.weights(net, base))
    }
}
