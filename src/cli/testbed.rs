//! What programs are run on to be compared: pictures that a model draws, or steps with random inputs.

use super::device::DeviceArg;
use super::given_pictures::{PictureArgs, blank};
use super::input::{InputArg, read_onnx};
use super::lowering::{ModelArg, SizeArgs};
use super::seed::SeedArg;
use super::steps::random_inputs;
use crate::Error;
use crate::comparison::Inputs;
use crate::pipeline::{DiffusionPipeline, OpenOptions, Replay, Request, smaller};
use reflux_ir::pass::Pipeline;
use reflux_ir::{Advice, DType, HostTensor, Program, WeightSource};
use reflux_models::weights::{RandomWeights, Weights};
use reflux_models::{Condition, Parts, Sizes};
use reflux_runtime::Device;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What pictures show where no prompt is given.
const PROMPT: &str = "a red apple on a blue background";

#[derive(clap::Args)]
#[command(mut_arg("dtype", |argument| argument.help("[default: f32]")))]
pub struct TestbedArgs {
    /// Weights of the program [default: those of the model, if the input is one]
    #[arg(long, value_name = "FILE|DIR")]
    pub weights: Option<PathBuf>,
    /// Seed of the noise that pictures start from, or of a program's random inputs and weights
    #[arg(long, value_name = "SEED", default_value = "0", allow_negative_numbers = true)]
    seed: SeedArg,
    /// The prompt, for a model with weights [default: a red apple on a blue background]
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    #[command(flatten)]
    given: PictureArgs,
    #[arg(long, default_value = "cpu")]
    device: DeviceArg,
    #[command(flatten)]
    pub sizes: SizeArgs,
}

impl TestbedArgs {
    /// Where programs run.
    pub fn device(&self) -> Device {
        self.device.into()
    }

    /// `request` with the pictures that are given, and blank ones where the model needs others.
    fn pictures(&self, request: Request, condition: Condition, sizes: &Sizes) -> Result<Request, Error> {
        let request = self.given.add_to(request)?;
        if request.reference_image.is_some() && sizes.reference.is_some() {
            let message =
                "--reference is the size of a blank reference: leave it out, or leave out --reference-image";
            return Err(Error::Usage(message.into()));
        }
        let reference = sizes.reference.map(|[height, width]| [width, height]);
        let blank = blank(condition, [sizes.width, sizes.height], reference);
        let reference_size = match reference {
            Some(_) => blank.reference_size,
            None => request.reference_size,
        };
        Ok(Request {
            init_image: request.init_image.or(blank.init_image),
            mask_image: request.mask_image.or(blank.mask_image),
            control_image: request.control_image.or(blank.control_image),
            reference_image: request.reference_image.or(blank.reference_image),
            reference_size,
            ..request
        })
    }
}

/// How programs are run and compared.
pub struct Testbed {
    pub program: Program,
    /// The timestep of each step, if known.
    pub timesteps: Option<Vec<f32>>,
    pub runs: Runs,
}

/// How a program's results are made.
pub enum Runs {
    /// A picture is drawn: each step reads the latents that the steps before it made.
    Picture(Box<Replay>),
    /// Every step reads the same random inputs.
    Steps {
        device: Device,
        weights: Arc<dyn WeightSource>,
        /// Whether weights are drawn.
        is_random: bool,
        inputs: Vec<(String, HostTensor)>,
        /// Ways to use less memory.
        smaller: Vec<Advice>,
    },
}

impl Testbed {
    /// The subject of the arguments. The LoRAs that `pipeline` names are read for a model with weights.
    pub fn open(
        path: &Path,
        input: &InputArg,
        args: &TestbedArgs,
        pipeline: &mut Pipeline,
    ) -> Result<Self, Error> {
        input.refuse_sizes(&args.sizes)?;
        match input {
            // Built-in configurations have no weights to draw with.
            InputArg::Model(model)
                if path.is_dir() || path.to_str().and_then(ModelArg::built_in).is_none() =>
            {
                model.refuse_compiled(model.family().denoiser())?;
                let sizes = model.sizes(&args.sizes)?;
                if sizes.batch != 1 {
                    return Err(Error::Usage(
                        "--batch: for a model, one picture is drawn; leave it out".into(),
                    ));
                }
                let denoiser = model.family().denoiser().name;
                let parts = Parts::default();
                let parts = args.weights.iter().fold(parts, |parts, path| parts.with(denoiser, path));
                let options = OpenOptions {
                    device: Some(args.device.into()),
                    dtype: Some(args.sizes.dtype_or(DType::F32)),
                    parts,
                    ..OpenOptions::default()
                };
                let drawing = DiffusionPipeline::open_with(path, options)?;
                let mut request = Request::new(args.prompt.as_deref().unwrap_or(PROMPT))
                    .steps(sizes.steps)
                    .seed(args.seed.number());
                request = request.size(sizes.width, sizes.height);
                request.max_sequence_length = Some(sizes.text_tokens);
                request = args.pictures(request, model.config().condition(), &sizes)?;
                let replay = Replay::new(drawing, &request, pipeline)?;
                Ok(Self {
                    program: replay.program()?,
                    timesteps: Some(replay.timesteps().to_vec()),
                    runs: Runs::Picture(Box::new(replay)),
                })
            }
            InputArg::Model(model) => {
                let sizes = model.sizes(&args.sizes)?;
                let dtype = args.sizes.dtype_or(DType::F32);
                let program = model.lower_in(model.family().denoiser(), &sizes, dtype)?;
                Self::of_steps(path, program, None, Some(model.timesteps(&args.sizes)?), smaller(dtype), args)
            }
            InputArg::File(_) => {
                let (program, timesteps) = input.program(None, &args.sizes)?;
                Self::of_steps(path, program, None, timesteps, vec![Advice::SmallerProgram], args)
            }
            InputArg::Onnx(path) => {
                let (program, weights) = read_onnx(path, &args.sizes.onnx)?;
                Self::of_steps(
                    path,
                    program,
                    Some(Arc::new(weights)),
                    None,
                    vec![Advice::SmallerProgram],
                    args,
                )
            }
        }
    }

    /// The steps of `program`, whose weights are its `own`, if it has some, or random.
    fn of_steps(
        path: &Path,
        program: Program,
        own: Option<Arc<dyn WeightSource>>,
        timesteps: Option<Vec<f32>>,
        smaller: Vec<Advice>,
        args: &TestbedArgs,
    ) -> Result<Self, Error> {
        if let Some(option) = args.prompt.as_ref().map(|_| "--prompt").or(args.given.given()) {
            let input = path.display();
            let message = format!(
                "{option} is for models that draw pictures; the inputs of {input} are random, leave it out"
            );
            return Err(Error::Usage(message));
        }
        let seed = args.seed.number();
        let is_random = args.weights.is_none() && own.is_none();
        let weights: Arc<dyn WeightSource> = match (&args.weights, own) {
            (Some(_), Some(_)) => {
                let input = path.display();
                return Err(Error::Usage(format!("--weights: {input} has its own weights; leave it out")));
            }
            (Some(path), None) => Arc::new(Weights::open(path)?),
            (None, Some(own)) => own,
            (None, None) => Arc::new(RandomWeights::new(&program, seed)),
        };
        let inputs = random_inputs(&program, &[], seed);
        let runs = Runs::Steps { device: args.device.into(), weights, is_random, inputs, smaller };
        Ok(Self { program, timesteps, runs })
    }
}

impl Testbed {
    /// Reads the LoRAs that `passes` name.
    pub fn settle_loras(&mut self, passes: &mut Pipeline) -> Result<(), Error> {
        match &mut self.runs {
            Runs::Picture(replay) => replay.settle_loras(passes),
            Runs::Steps { .. } => Ok(()),
        }
    }

    /// The weights that `program` reads.
    pub fn weights(&self, program: &Program) -> Arc<dyn WeightSource> {
        match &self.runs {
            Runs::Picture(replay) => replay.weights(program),
            Runs::Steps { weights, .. } => Arc::clone(weights),
        }
    }

    /// Whether weights are drawn, for want of others.
    pub fn has_random_weights(&self) -> bool {
        matches!(self.runs, Runs::Steps { is_random: true, .. })
    }

    /// What a comparison gives its programs.
    pub fn inputs(&self) -> Inputs<'_> {
        match &self.runs {
            Runs::Picture(replay) => Inputs::Picture {
                fixed: replay.fixed_inputs(),
                start: replay.start(),
                schedule: replay.schedule(),
            },
            Runs::Steps { inputs, .. } => Inputs::Fixed(inputs.clone()),
        }
    }
}
