//! One network that is to be measured: a model's, or that of an ONNX file.

use super::Args;
use super::subject::{Optimized, SEED, Subject};
use crate::Error;
use crate::cli::input::{InputArg, read_onnx};
use crate::pipeline::settle;
use reflux_ir::pass::{Driver, Pipeline};
use reflux_ir::{DType, Program, WeightSource};
use reflux_models::Sizes;
use reflux_models::weights::RandomWeights;
use reflux_runtime::{Device, RunError};
use std::path::Path;
use std::sync::Arc;

/// A network after the passes.
pub struct Network {
    /// As the user names it.
    pub name: String,
    pub program: Program,
    pub passes: Pipeline,
    pub weights: Arc<dyn WeightSource>,
    pub dtype: DType,
    /// What it is lowered for, if it is a model's.
    pub sizes: Option<Sizes>,
    pub warnings: Vec<String>,
}

impl Network {
    /// The network that `args` ask for, for `device`.
    ///
    /// # Errors
    /// If there is none, or passes fail.
    pub fn of(args: &Args, device: Device) -> Result<Self, Error> {
        match &args.onnx {
            Some(path) => Self::of_onnx(args, path, device),
            None => Self::of_model(args, device),
        }
    }

    fn of_model(args: &Args, device: Device) -> Result<Self, Error> {
        let subject = Subject::of(&args.subject)?;
        let sizes = subject.model.sizes(&args.sizes)?;
        let dtype = subject.dtype(&args.sizes, device);
        let net = subject.model.net(Some(&args.net))?;
        args.sizes.refuse_unread(net, subject.model.config())?;
        let Optimized { program, passes, loras, warnings } =
            subject.optimized(net, &args.passes, &args.sizes, device)?;
        let weights = subject.weights(net, &program, &loras)?;
        Ok(Self { name: subject.name, program, passes, weights, dtype, sizes: Some(sizes), warnings })
    }

    fn of_onnx(args: &Args, path: &Path, device: Device) -> Result<Self, Error> {
        let input = InputArg::with_parts(path, args.subject.parts())?;
        let InputArg::Onnx(path) = input else {
            return Err(Error::Usage(format!(
                "{} is no ONNX file; name a model by --model, and run a program by `reflux run --profile`",
                path.display()
            )));
        };
        input.refuse_sizes(&args.sizes)?;
        if args.passes.has_loras() {
            let message =
                format!("LoRAs are for models, and {} is an ONNX file; leave them out", path.display());
            return Err(Error::Usage(message));
        }
        let (lowered, weights) = read_onnx(path, &args.sizes.onnx)?;
        let info = device.probe().map_err(RunError::from)?;
        let recipe = args.passes.recipe()?.unwrap_or_default();
        let mut passes = recipe.pipeline(&input.default(None, Some(device))?);
        let mut warnings: Vec<String> = settle(&mut passes, device, &info).into_iter().collect();
        let (program, report) = Driver::default().run(lowered, &passes)?;
        warnings.extend(report.warnings().cloned());
        if program.variants.values().all(|graph| graph.op_count() == 0) {
            let message = "nothing is left in a step, as --rate says that no input changes there; leave it out to measure everything";
            warnings.push(message.to_owned());
        }
        let weights: Arc<dyn WeightSource> = match args.subject.distribution() {
            Some(distribution) => Arc::new(RandomWeights::of(program.weights(), distribution, SEED)),
            None => Arc::new(weights),
        };
        let results = program
            .variants
            .values()
            .flat_map(|graph| graph.outputs().iter().map(|output| graph[output.value].fact.dtype));
        let dtype = results.into_iter().find(|dtype| dtype.is_float()).unwrap_or(DType::F32);
        Ok(Self { name: path.display().to_string(), program, passes, weights, dtype, sizes: None, warnings })
    }
}
