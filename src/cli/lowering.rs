//! Lowering of networks from a model's configuration.

use super::console::say;
use super::dtype::DTypeArg;
use super::number;
use super::onnx::OnnxArgs;
use super::parts::PartArgs;
use crate::Error;
use crate::pipeline::{
    Compiled, DiffusionPipeline, FittedLoras, MOST_AT_ONCE, MOST_TOKENS, OpenOptions, open_weights, within,
};
use clap::builder::PossibleValuesParser;
use reflux_ir::pass::Pipeline;
use reflux_ir::{DType, Program, WeightSource};
use reflux_models::scheduler::Levels;
use reflux_models::{Condition, Defaults, Family, ModelConfig, ModelFiles, Net, Role, Sizes};
use std::path::Path;
use std::sync::Arc;

/// The most pixels along a side: no memory holds the attention between those of a larger picture.
const MOST_PIXELS: usize = 1 << 16;

/// The sizes to lower for.
#[derive(Clone, clap::Args)]
pub struct SizeArgs {
    /// Width in pixels [default: the model's]
    #[arg(long, value_parser = number::pixels, allow_negative_numbers = true)]
    width: Option<usize>,
    /// Height in pixels [default: the model's]
    #[arg(long, value_parser = number::pixels, allow_negative_numbers = true)]
    height: Option<usize>,
    /// Pictures that a step computes together [default: 1]
    #[arg(long, value_parser = number::positive, allow_negative_numbers = true)]
    batch: Option<usize>,
    /// Denoising steps [default: the model's]
    #[arg(long, value_parser = number::positive, allow_negative_numbers = true)]
    steps: Option<usize>,
    /// Length of the prompt in tokens [default: the model's]
    #[arg(long, value_parser = number::positive, allow_negative_numbers = true)]
    max_sequence_length: Option<usize>,
    /// The size of a reference, as FLUX.1 Kontext reads one, in pixels [default: none]
    #[arg(long, value_name = "WIDTHxHEIGHT", value_parser = number::size)]
    reference: Option<[usize; 2]>,
    /// Element type to compute in [default: bf16]
    #[arg(long, value_enum, ignore_case = true)]
    dtype: Option<DTypeArg>,
    #[command(flatten)]
    pub onnx: OnnxArgs,
}

impl SizeArgs {
    /// Every flag, whether it is given, and whether it applies to a network of this role; `words` says whether the network
    /// reads a variable number of tokens.
    fn flags(&self, role: Role, words: bool) -> [(&'static str, bool, bool); 7] {
        let is_of_steps = role == Role::Denoiser;
        let is_of_pictures = role != Role::TextEncoder;
        [
            ("--width", self.width.is_some(), is_of_pictures),
            ("--height", self.height.is_some(), is_of_pictures),
            ("--batch", self.batch.is_some(), true),
            ("--steps", self.steps.is_some(), is_of_steps),
            ("--max-sequence-length", self.max_sequence_length.is_some(), is_of_steps || words),
            ("--reference", self.reference.is_some(), is_of_steps),
            ("--dtype", self.dtype.is_some(), true),
        ]
    }

    /// The first of the flags that is given.
    pub fn given(&self) -> Option<&'static str> {
        self.flags(Role::Denoiser, true).into_iter().find_map(|(flag, is_given, _)| is_given.then_some(flag))
    }

    /// Refuses a flag that does not apply to `net`, a network of `model`.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn refuse_unread(&self, net: &Net, model: &ModelConfig) -> Result<(), Error> {
        if let Some(option) = self.onnx.given() {
            return Err(Error::Usage(format!("{option} is for ONNX files; leave it out")));
        }
        let words =
            model.text_encoders().iter().any(|encoder| encoder.net == net && encoder.tokens.is_none());
        match self.flags(net.role, words).into_iter().find(|(_, is_given, is_read)| *is_given && !is_read) {
            Some((flag, ..)) => Err(Error::Usage(format!(
                "{flag} does not apply to {}; leave it out",
                net.architecture.title
            ))),
            None => Ok(()),
        }
    }

    /// The dtype of `--dtype`.
    pub fn dtype(&self) -> Option<DType> {
        self.dtype.map(DType::from)
    }

    /// The dtype of `--dtype`, else `default`.
    pub fn dtype_or(&self, default: DType) -> DType {
        self.dtype().unwrap_or(default)
    }

    /// The same for pictures of this width and height.
    pub fn of_size(&self, [width, height]: [usize; 2]) -> Self {
        Self { width: Some(width), height: Some(height), ..self.clone() }
    }

    fn resolve(&self, defaults: &Defaults, family: &Family) -> Result<Sizes, Error> {
        let sizes = Sizes {
            batch: self.batch.unwrap_or(1),
            steps: self.steps.unwrap_or(defaults.steps),
            text_tokens: self.max_sequence_length.unwrap_or(defaults.max_sequence_length),
            height: self.height.unwrap_or(defaults.height),
            width: self.width.unwrap_or(defaults.width),
            reference: self.reference.map(|[width, height]| [height, width]),
        };
        let [height, width] = sizes.reference.unwrap_or([sizes.height, sizes.width]);
        for (what, pixels) in [
            ("width", sizes.width),
            ("height", sizes.height),
            ("the reference's width", width),
            ("the reference's height", height),
        ] {
            if !family.geometry.divides(pixels) {
                return Err(Error::Size { what, pixels, unit: family.geometry.pixels_per_token() });
            }
            within(what, pixels, family.geometry.pixels_per_token(), MOST_PIXELS)?;
        }
        // With a negative prompt, a step computes two for each picture.
        within("the batch", sizes.batch, 1, 2 * MOST_AT_ONCE)?;
        within("the maximum sequence length", sizes.text_tokens, 1, MOST_TOKENS)?;
        Ok(sizes)
    }
}

/// The networks of all families that options name, those that run at every step first; equal names are one network.
pub fn nets() -> Vec<&'static Net> {
    let mut nets = reflux_models::all_nets();
    nets.sort_by_key(|net| net.role != Role::Denoiser);
    nets
}

/// The values of `--net`.
pub fn net_names() -> PossibleValuesParser {
    PossibleValuesParser::new(nets().into_iter().map(|net| net.name))
}

/// The values of `--config`.
pub fn built_in_names() -> PossibleValuesParser {
    PossibleValuesParser::new(ModelConfig::built_in_names())
}

/// A model of whose weights no more than headers are read.
pub struct ModelArg {
    config: ModelConfig,
    defaults: Defaults,
    /// Where it was found; a built-in configuration has no files.
    files: Option<ModelFiles>,
    /// What of it is compiled.
    compiled: Option<Compiled>,
}

impl ModelArg {
    /// The built-in configuration called `name`.
    pub fn built_in(name: &str) -> Option<Self> {
        let config = ModelConfig::built_in(name)?;
        let defaults = config.defaults();
        Some(Self { config, defaults, files: None, compiled: None })
    }

    /// The model in a folder in diffusers layout, or in a file with all of its networks.
    pub fn read(path: &Path) -> Result<Self, Error> {
        Self::with_parts(path, &PartArgs::default())
    }

    /// The same with the weights of `parts`.
    pub fn with_parts(path: &Path, parts: &PartArgs) -> Result<Self, Error> {
        Self::of(&ModelFiles::find(path, parts.parts())?)
    }

    /// The model of these files.
    pub fn of(files: &ModelFiles) -> Result<Self, Error> {
        let config = ModelConfig::of(files)?;
        let defaults = Defaults::of(files.folder(), &*config)?;
        let compiled = Compiled::open(files)?;
        let defaults = match &compiled {
            Some(compiled) => compiled.defaults(defaults),
            None => defaults,
        };
        Ok(Self { config, defaults, files: Some(files.clone()), compiled })
    }

    /// Its configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Whether its denoiser is compiled.
    pub fn is_compiled(&self) -> bool {
        self.compiled.is_some()
    }

    /// What is compiled, if it is that of `net`.
    pub fn compiled(&self, net: &Net) -> Option<&Compiled> {
        self.compiled.as_ref().filter(|_| net.role == Role::Denoiser)
    }

    /// Refuses to run passes or look at programs before them where `net` has had them.
    ///
    /// # Errors
    /// [`CompiledError::NoPasses`](crate::CompiledError::NoPasses).
    pub fn refuse_compiled(&self, net: &Net) -> Result<(), Error> {
        match self.compiled(net) {
            Some(compiled) => Err(compiled.no_passes().into()),
            None => Ok(()),
        }
    }

    /// Its family.
    pub fn family(&self) -> &'static Family {
        self.config.family()
    }

    /// The network that `--net` means; without it, the one that runs at every step.
    ///
    /// # Errors
    /// [`Error::Usage`] if its family has none of that name.
    pub fn net(&self, name: Option<&str>) -> Result<&'static Net, Error> {
        let family = self.family();
        let Some(name) = name else { return Ok(family.denoiser()) };
        family.net(name).ok_or_else(|| {
            let names: Vec<_> = family.nets.iter().map(|net| net.name).collect();
            let names = names.join(", ");
            Error::Usage(format!("--net: {} has no network `{name}`; it has {names}", family.name))
        })
    }

    /// A pipeline of it with random weights.
    pub fn with_random_weights(&self, options: OpenOptions) -> Result<DiffusionPipeline, Error> {
        DiffusionPipeline::with_random_weights(self.config.clone(), self.defaults.clone(), options)
    }

    /// Reads the LoRAs that `pipeline` names, which is to run on `net`.
    pub fn settle_loras(&self, pipeline: &mut Pipeline, net: &'static Net) -> Result<(), Error> {
        let loras = FittedLoras::settle(pipeline, &*self.config, net)?;
        loras.warnings.iter().for_each(|warning| say(format_args!("warning: {warning}")));
        Ok(())
    }

    /// The program of a network.
    pub fn lower(&self, net: &'static Net, args: &SizeArgs) -> Result<Program, Error> {
        args.refuse_unread(net, &self.config)?;
        self.refuse_compiled(net)?;
        self.lower_in(net, &self.sizes(args)?, args.dtype_or(DType::BF16))
    }

    /// The program of a network for these sizes, computing in `dtype`. It reads weights as the model's files store them, if it
    /// has any: configurations alone are a model here too.
    pub fn lower_in(&self, net: &'static Net, sizes: &Sizes, dtype: DType) -> Result<Program, Error> {
        let mut program = self.config.lower(net, sizes, dtype)?;
        match self.files.as_ref().map(|files| files.weights(net)) {
            Some(Ok(weights)) => weights.read_as_stored(&mut program),
            Some(Err(error)) if !error.is_absence() => {
                say(format_args!("warning: {error}; how weights are stored is left out of account here"))
            }
            Some(Err(_)) | None => {}
        }
        Ok(program)
    }

    /// The weights of `net`; a configuration alone has none.
    ///
    /// # Errors
    /// If they cannot be read, or are not those of the network.
    pub fn weights(&self, net: &'static Net) -> Result<Option<Arc<dyn WeightSource>>, Error> {
        if let Some(compiled) = self.compiled(net) {
            return Ok(Some(compiled.weights()));
        }
        let Some(files) = &self.files else { return Ok(None) };
        let mut warnings = Vec::new();
        let weights = open_weights(files, &self.config, net, &mut warnings)?;
        warnings.iter().for_each(|warning| say(format_args!("warning: {warning}")));
        Ok(Some(Arc::new(weights)))
    }

    /// The requested sizes, with the model's as defaults.
    pub fn sizes(&self, args: &SizeArgs) -> Result<Sizes, Error> {
        let sizes = args.resolve(&self.defaults, self.family())?;
        if sizes.reference.is_some() && self.config.condition() != Condition::None {
            let message = "--reference: this model reads no reference; leave it out, or give FLUX.1 Kontext";
            return Err(Error::Usage(message.into()));
        }
        let most = self.config.scheduler().num_train_timesteps;
        if sizes.steps > most {
            let (range, found) = (format!("1 to {most}"), sizes.steps.to_string());
            return Err(Error::Range { what: "steps", range, found });
        }
        Ok(sizes)
    }

    /// The time of each step that [`ModelArg::lower`] is for.
    pub fn timesteps(&self, args: &SizeArgs) -> Result<Vec<f32>, Error> {
        let sizes = self.sizes(args)?;
        self.timesteps_of(sizes.steps, self.family().geometry.image_tokens(&sizes))
    }

    /// The timestep of each of `steps` steps, for pictures of this many tokens.
    pub fn timesteps_of(&self, steps: usize, image_tokens: usize) -> Result<Vec<f32>, Error> {
        Ok(self.config.schedule(&Levels::even(steps), image_tokens)?.timesteps)
    }
}
