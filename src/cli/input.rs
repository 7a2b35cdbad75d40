//! The input of commands: an IR file, an ONNX file, the folder of a model, or the name of a built-in configuration.

use super::lowering::{ModelArg, SizeArgs};
use super::onnx::OnnxArgs;
use super::parts::PartArgs;
use super::text_file::read_text;
use crate::Error;
use crate::pipeline::{Compiled, lossless, of_onnx};
use reflux_ir::pass::{Driver, Pipeline, Recipe};
use reflux_ir::{Machine, Program, WeightSource, text};
use reflux_models::onnx::{self, OnnxWeights, is_onnx};
use reflux_models::weights::is_weights;
use reflux_models::{ModelConfig, ModelError, Role};
use reflux_runtime::Device;
use std::path::Path;
use std::sync::Arc;

/// The meaning of an argument.
pub enum InputArg<'a> {
    Model(Box<ModelArg>),
    /// A file of IR text.
    File(&'a Path),
    /// An ONNX file.
    Onnx(&'a Path),
}

impl<'a> InputArg<'a> {
    /// A folder or a file of weights is a model; a name is a built-in configuration, unless there is a file with that name.
    pub fn of(argument: &'a Path) -> Result<Self, Error> {
        Self::with_parts(argument, &PartArgs::default())
    }

    /// The same, but that networks of the model have the weights of `parts`.
    pub fn with_parts(argument: &'a Path, parts: &PartArgs) -> Result<Self, Error> {
        if argument.is_dir() || is_weights(argument) {
            return Ok(Self::Model(Box::new(ModelArg::with_parts(argument, parts)?)));
        }
        let name = argument.display();
        if is_onnx(argument) {
            parts.refuse(format_args!("{name} is one network"))?;
            return Ok(Self::Onnx(argument));
        }
        if argument.exists() {
            parts.refuse(format_args!("{name} is a program"))?;
            return Ok(Self::File(argument));
        }
        if let Some(model) = argument.to_str().and_then(ModelArg::built_in) {
            parts.refuse(format_args!("{name} is a configuration alone"))?;
            return Ok(Self::Model(Box::new(model)));
        }
        match ModelArg::with_parts(argument, parts) {
            // The id of a model in the Hub's local cache.
            Ok(model) => Ok(Self::Model(Box::new(model))),
            Err(Error::Model(ModelError::NoFolder { .. })) => {
                let (path, names) = (argument.display(), built_in());
                Err(Error::Usage(format!(
                    "there is no {path}; give an IR file, an ONNX file, the folder of a model, or one of {names}"
                )))
            }
            Err(error) => Err(error),
        }
    }

    /// `recipe` for this input. For a model, the passes run with the default ones; an IR file may be the result of those, or
    /// written by hand, so only the requested passes run on it.
    pub fn meant(&self, recipe: Recipe) -> Recipe {
        match self {
            Self::File(_) => recipe.only(),
            Self::Model(_) | Self::Onnx(_) => recipe,
        }
    }

    /// The role of the program: that of a file is taken to run at every step.
    pub fn role(&self, net: Option<&str>) -> Result<Role, Error> {
        match self {
            Self::Model(model) => Ok(model.net(net)?.role),
            Self::File(_) | Self::Onnx(_) => Ok(Role::Denoiser),
        }
    }

    /// What is compiled, if it is a model whose denoiser is.
    pub fn compiled(&self) -> Option<&Compiled> {
        match self {
            Self::Model(model) => model.compiled(model.family().denoiser()),
            Self::File(_) | Self::Onnx(_) => None,
        }
    }

    /// The default passes where nothing runs: those for the device of `machine`, or those that suit most devices.
    pub fn default_for(&self, net: Option<&str>, machine: Option<&Machine>) -> Result<Pipeline, Error> {
        self.default(net, machine.and_then(Device::of_machine))
    }

    /// The default passes on `device`; without one, those that suit most devices.
    pub fn default(&self, net: Option<&str>, device: Option<Device>) -> Result<Pipeline, Error> {
        let default = lossless(self.role(net)?, device);
        Ok(match self {
            Self::Onnx(_) => of_onnx(default),
            Self::Model(_) | Self::File(_) => default,
        })
    }

    /// Reads the LoRAs that `pipeline` names, which is to run on the network `net` of a model.
    pub fn settle_loras(&self, pipeline: &mut Pipeline, net: Option<&str>) -> Result<(), Error> {
        match self {
            Self::Model(model) => model.settle_loras(pipeline, model.net(net)?),
            Self::File(_) | Self::Onnx(_) => Ok(()),
        }
    }

    /// The program: that of the file, or of the model's network `net` (the transformer if none is given), and its timesteps, if it has any.
    pub fn program(&self, net: Option<&str>, sizes: &SizeArgs) -> Result<(Program, Option<Vec<f32>>), Error> {
        match self {
            Self::Model(model) => {
                let net = model.net(net)?;
                let program = model.lower(net, sizes)?;
                let timesteps = (net.role == Role::Denoiser).then(|| model.timesteps(sizes)).transpose()?;
                Ok((program, timesteps))
            }
            Self::File(path) => Ok((read_program(path)?, None)),
            Self::Onnx(path) => Ok((read_onnx(path, &sizes.onnx)?.0, None)),
        }
    }

    /// The weights of that program, if the input has some.
    ///
    /// # Errors
    /// If they cannot be read, or are not those of the network.
    pub fn weights(
        &self,
        net: Option<&str>,
        sizes: &SizeArgs,
    ) -> Result<Option<Arc<dyn WeightSource>>, Error> {
        match self {
            Self::Model(model) => model.weights(model.net(net)?),
            Self::File(_) => Ok(None),
            Self::Onnx(path) => Ok(Some(Arc::new(read_onnx(path, &sizes.onnx)?.1))),
        }
    }

    /// That program after the passes of `pipeline`.
    pub fn program_after(
        &self,
        pipeline: &Pipeline,
        net: Option<&str>,
        sizes: &SizeArgs,
    ) -> Result<Program, Error> {
        self.program_before(pipeline, None, net, sizes)
    }

    /// That program as pass `index` of `pipeline` finds it, counted from 0; after all passes, if none is given.
    pub fn program_before(
        &self,
        pipeline: &Pipeline,
        index: Option<usize>,
        net: Option<&str>,
        sizes: &SizeArgs,
    ) -> Result<Program, Error> {
        let (program, timesteps) = self.program(net, sizes)?;
        let mut pipeline = pipeline.clone();
        self.settle_loras(&mut pipeline, net)?;
        let mut driver = Driver { timesteps: timesteps.as_deref(), stop_after: index, ..Driver::default() };
        Ok(driver.run(program, &pipeline)?.0)
    }

    /// Refuses flags for the sizes of a model if the input is not one, and a network's name.
    pub fn refuse_sizes(&self, sizes: &SizeArgs) -> Result<(), Error> {
        let (path, flag, sizes_of) = match self {
            Self::Model(_) => return Ok(()),
            Self::File(path) => {
                (path, sizes.given().or(sizes.onnx.given()), "the sizes of this program are fixed")
            }
            Self::Onnx(path) => (
                path,
                sizes.given(),
                "an ONNX file has its own types, and its open extents by --dim NAME=EXTENT",
            ),
        };
        match flag {
            Some(flag) => Err(Error::Usage(format!("{flag} is not for {}; {sizes_of}", path.display()))),
            None => Ok(()),
        }
    }
}

/// The program of an ONNX file, and its weights.
pub fn read_onnx(path: &Path, args: &OnnxArgs) -> Result<(Program, OnnxWeights), Error> {
    onnx::open(path, &args.dims()?).map_err(|error| Error::Onnx(Box::new(error)))
}

/// The names of the built-in configurations, in a sentence.
fn built_in() -> String {
    ModelConfig::built_in_names().collect::<Vec<_>>().join(", ")
}

/// The program of a file of IR text.
pub fn read_program(path: &Path) -> Result<Program, Error> {
    parse(path, &read_text(path)?)
}

/// The program of the IR text `source`, which was read from `path`.
pub fn parse(path: &Path, source: &str) -> Result<Program, Error> {
    text::parse(source).map_err(|error| Error::Parse { path: path.to_owned(), error })
}
