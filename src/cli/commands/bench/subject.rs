//! What is measured: a model, or a configuration without weights.

use crate::Error;
use crate::cli::lowering::{ModelArg, SizeArgs, built_in_names};
use crate::cli::parts::PartArgs;
use crate::cli::passes::PassArgs;
use crate::pipeline::{
    Compiled, DiffusionPipeline, FittedLoras, OpenOptions, bundled_model, lossless, open_weights, settle,
};
use reflux_ir::pass::{Driver, Pipeline};
use reflux_ir::{DType, Program, WeightSource};
use reflux_models::weights::Distribution;
use reflux_models::{ModelFiles, Net};
use reflux_runtime::{Device, RunError};
use std::path::PathBuf;
use std::sync::Arc;

/// The seed of random weights.
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
    /// Use random weights instead of reading the model's: normal ones, or such as trained transformers have, as in
    /// --random-weights=heavy-tailed
    #[arg(long, value_name = "LIKE", num_args = 0..=1, require_equals = true, default_missing_value = "normal")]
    random_weights: Option<RandomWeightsArg>,
}

/// How random weights are distributed.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum RandomWeightsArg {
    /// Normally
    Normal,
    /// With heavy tails and a few large channels, for which a GPU needs less power
    HeavyTailed,
}

impl SubjectArgs {
    /// Weights in place of the model's.
    pub fn parts(&self) -> &PartArgs {
        &self.parts
    }

    /// How weights are distributed, if they are drawn.
    pub fn distribution(&self) -> Option<Distribution> {
        self.random_weights.map(|like| match like {
            RandomWeightsArg::Normal => Distribution::Normal,
            RandomWeightsArg::HeavyTailed => Distribution::HeavyTailed,
        })
    }
}

/// A program that is to be measured.
pub struct Optimized {
    pub program: Program,
    /// The passes that it has had.
    pub passes: Pipeline,
    pub loras: FittedLoras,
    pub warnings: Vec<String>,
}

pub struct Subject {
    /// Its name as given by the user.
    pub name: String,
    pub model: ModelArg,
    source: Source,
}

/// Where the weights of a subject come from.
enum Source {
    Files(ModelFiles),
    Random(Distribution),
}

impl Subject {
    /// The subject that the arguments ask for.
    ///
    /// # Errors
    /// If it has no weights and random ones are not allowed.
    pub fn of(args: &SubjectArgs) -> Result<Self, Error> {
        let random = args.distribution();
        if let Some(option) = args.parts.given().filter(|_| args.config.is_some() || random.is_some()) {
            let other =
                if random.is_some() { "--random-weights draws them all" } else { "--config has no weights" };
            return Err(Error::Usage(format!(
                "{option} names weights, and {other}; leave out one of the two"
            )));
        }
        if let Some(name) = &args.config {
            let Some(random) = random else {
                let message = format!(
                    "{name} is a configuration and has no weights; add --random-weights, or name a model folder \
                     with --model"
                );
                return Err(Error::Usage(message));
            };
            let model = ModelArg::built_in(name).expect("clap knows the names");
            return Ok(Self { name: name.clone(), model, source: Source::Random(random) });
        }
        let folder = args.model.clone().map_or_else(bundled_model, Ok)?;
        let files = ModelFiles::find(&folder, args.parts.parts())?;
        let model = ModelArg::of(&files)?;
        let name = folder.display().to_string();
        if model.is_compiled() && random.is_some() {
            let message = format!(
                "{name} is compiled, and its programs read the weights it has; leave out --random-weights"
            );
            return Err(Error::Usage(message));
        }
        let source = random.map_or_else(|| Source::Files(files), Source::Random);
        Ok(Self { name, model, source })
    }

    /// The dtype to compute in on `device`: what the arguments say, or that in which it is compiled.
    pub fn dtype(&self, sizes: &SizeArgs, device: Device) -> DType {
        let compiled = self.model.compiled(self.model.family().denoiser());
        sizes.dtype_or(compiled.map_or(device.dtype(), Compiled::dtype))
    }

    /// The program of `net` on `device`, and how it came about: it is compiled, or made by passes.
    ///
    /// # Errors
    /// If passes fail, or do not apply.
    pub fn optimized(
        &self,
        net: &'static Net,
        passes: &PassArgs,
        sizes: &SizeArgs,
        device: Device,
    ) -> Result<Optimized, Error> {
        let dtype = self.dtype(sizes, device);
        let info = device.probe().map_err(RunError::from)?;
        let timesteps = self.model.timesteps(sizes)?;
        let mut driver = Driver { timesteps: Some(&timesteps), ..Driver::default() };
        let (recipe, sizes) = (passes.recipe()?.unwrap_or_default(), self.model.sizes(sizes)?);
        if let Some(compiled) = self.model.compiled(net) {
            let options = OpenOptions { dtype: Some(dtype), passes: recipe, ..OpenOptions::default() };
            compiled.check(&options, device)?;
            let mut warnings: Vec<_> =
                compiled.other_machine(device.machine(&info).machine).into_iter().collect();
            let program = match compiled.program(&sizes, Some(&timesteps))? {
                Some(program) => program,
                None => {
                    let mut lowered = self.model.config().lower(net, &sizes, dtype)?;
                    compiled.read_as_stored(&mut lowered);
                    warnings.push(compiled.other_sizes(&sizes));
                    compiled.optimize(lowered, driver)?.0
                }
            };
            return Ok(Optimized {
                program,
                passes: compiled.passes()?,
                loras: FittedLoras::default(),
                warnings,
            });
        }
        let lowered = self.model.lower_in(net, &sizes, dtype)?;
        let mut passes = recipe.pipeline(&lossless(net.role, Some(device)));
        let mut warnings: Vec<_> = settle(&mut passes, device, &info).into_iter().collect();
        let loras = FittedLoras::settle(&mut passes, &**self.model.config(), net)?;
        warnings.extend(loras.warnings.iter().cloned());
        let (program, report) = driver.run(lowered, &passes)?;
        warnings.extend(report.warnings().cloned());
        Ok(Optimized { program, passes, loras, warnings })
    }

    /// The pipeline that makes its pictures.
    pub fn pipeline(&self, options: OpenOptions) -> Result<DiffusionPipeline, Error> {
        match &self.source {
            Source::Files(files) => DiffusionPipeline::open_files(files.clone(), options),
            Source::Random(random) => {
                self.model.with_random_weights(OpenOptions { random: *random, ..options })
            }
        }
    }

    /// The weights of `net`, which is to run as `program`.
    pub fn weights(
        &self,
        net: &'static Net,
        program: &Program,
        loras: &FittedLoras,
    ) -> Result<Arc<dyn WeightSource>, Error> {
        if let Some(compiled) = self.model.compiled(net) {
            return Ok(compiled.weights());
        }
        let files = match &self.source {
            Source::Files(files) => files,
            Source::Random(random) => return Ok(loras.random_weights(net, program, *random, SEED)),
        };
        let weights = open_weights(files, self.model.config(), net, &mut Vec::new())?;
        Ok(loras.weights(net, Arc::new(weights)))
    }
}
