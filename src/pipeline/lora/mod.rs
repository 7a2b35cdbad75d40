//! LoRAs of a pipeline: from the pass that names files to programs and weights with LoRAs.

mod pass;
mod spec;

pub use pass::{LoraFiles, registry};
pub use spec::LoraSpec;

use crate::Error;
use reflux_ir::pass::{Pass, Pipeline};
use reflux_ir::{Name, WeightSource};
use reflux_models::lora::{Lora, LoraFile, LoraWeights, Loras, LowRank, MERGED};
use reflux_models::{Model, ModelError, Net};
use reflux_passes::{Adapters, Branch, LoraMode};
use serde_json::Value;
use std::collections::HashSet;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

/// What the inputs of programs are called that are the strengths of LoRAs beside products; their number is behind it.
const STRENGTH: &str = "lora_strength";

/// The LoRAs that the passes of a pipeline name, fitted to a model.
#[derive(Clone, Debug, Default)]
pub struct FittedLoras {
    loras: Loras,
    /// Tensors that are not used, for a warning.
    pub warnings: Vec<String>,
}

impl FittedLoras {
    /// Reads the files of all `lora` passes of `pipeline`, which run on the network `net` of `model`, and puts passes that
    /// know what is in them in their place.
    ///
    /// # Errors
    /// If a file cannot be read, or does not fit the model.
    pub fn settle(pipeline: &mut Pipeline, model: &dyn Model, net: &'static Net) -> Result<Self, Error> {
        let mut fitted = Self::default();
        pipeline.replace(|pass| match pass.name() {
            pass::NAME => fitted.read(pass, model, net).map(Some),
            _ => Ok(None),
        })?;
        Ok(fitted)
    }

    /// Reads the files of one pass, and makes the pass that applies them.
    fn read(
        &mut self,
        pass: &dyn Pass,
        model: &dyn Model,
        net: &'static Net,
    ) -> Result<Arc<dyn Pass>, Error> {
        let options = pass.options();
        let written: LoraFiles =
            serde_json::from_value(Value::Object(options.clone())).expect("the pass was built of them");
        let first = self.loras.len();
        for LoraSpec { path, strength } in written.specs().expect("the pass was built of them") {
            let file = LoraFile::open(&path).map_err(ModelError::from)?;
            let lora = Lora::fit(file, model, written.partial)?;
            self.warnings.extend(lora.warning());
            self.loras.push(Rc::new(lora), strength, written.mode == LoraMode::Branch);
        }
        let own = first..self.loras.len();
        let mut adapters = self.merged(net);
        let branches = self.branches(net).into_iter().filter(|(lora, _)| own.contains(lora));
        adapters.branches = branches.map(|(_, branch)| branch).collect();
        Ok(Arc::new(reflux_passes::Lora::new(options, written.mode, adapters)))
    }

    /// What is merged into the weights of `net`.
    fn merged(&self, net: &'static Net) -> Adapters {
        let tensors = self.loras.merged(net).into_iter();
        let merged = tensors.map(|tensor| (tensor.to_owned(), format!("{tensor}{MERGED}"))).collect();
        Adapters { merged, branches: Vec::new() }
    }

    /// What stays beside the products of `net`, and of which LoRA it is.
    fn branches(&self, net: &'static Net) -> Vec<(usize, Branch)> {
        let branch = |LowRank { weight, down, up, rank, lora }| {
            (lora, Branch { weight, down, up, rank, strength: strength_of(lora) })
        };
        self.loras.beside(net).into_iter().map(branch).collect()
    }

    /// The passes of `once`, which run on `net`, a network that is no denoiser, after one that merges LoRAs into its
    /// weights.
    pub fn with_merging(&self, net: &'static Net, once: &Pipeline) -> Pipeline {
        let adapters = self.merged(net);
        let mut pipeline = Pipeline::new();
        if !adapters.merged.is_empty() {
            pipeline.push(reflux_passes::Lora::new(Default::default(), LoraMode::Merge, adapters));
        }
        pipeline.append(once.clone());
        pipeline
    }

    /// `base`, the weights of `net`, with the LoRAs.
    pub fn weights(&self, net: &'static Net, base: Rc<dyn WeightSource>) -> Rc<dyn WeightSource> {
        if self.loras.is_empty() {
            return base;
        }
        Rc::new(LoraWeights::new(base, net, self.loras.clone()))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.loras.len()
    }

    /// Sets the strength of the LoRA `index`. Returns the networks of `model` in whose weights it is merged.
    ///
    /// # Panics
    /// If there is none of this index.
    pub fn set_strength(&mut self, index: usize, strength: f32, model: &dyn Model) -> Vec<&'static Net> {
        self.loras.set_strength(index, strength);
        let nets = model.family().nets.iter().copied();
        nets.filter(|net| self.loras.is_merged(index, net)).collect()
    }

    /// Reads `file` in the place of the LoRA `index`; returns the networks in whose weights that is merged, and the names of the
    /// denoiser's weights that are beside products.
    ///
    /// # Errors
    /// If the file cannot be read, does not fit the model, or changes other tensors than the one before or in other ranks.
    ///
    /// # Panics
    /// If there is none of this index.
    pub fn replace(
        &mut self,
        index: usize,
        file: &Path,
        model: &dyn Model,
    ) -> Result<(Vec<&'static Net>, HashSet<String>), Error> {
        let file = LoraFile::open(file).map_err(ModelError::from)?;
        let path = file.path().to_owned();
        let lora = Rc::new(Lora::fit(file, model, false)?);
        let nets = &model.family().nets;
        if !self.loras.replace(index, lora, nets) {
            return Err(Error::Range {
                what: "a LoRA that replaces another",
                range: "one of the same modules and ranks; open a pipeline for it instead".into(),
                found: path.display().to_string(),
            });
        }
        let merged = nets.iter().copied().filter(|net| self.loras.is_merged(index, net)).collect();
        Ok((merged, self.loras.weights_beside(index, model.family().denoiser())))
    }

    /// The inputs that are strengths, and their values.
    pub fn strengths(&self) -> Vec<(Name, f32)> {
        self.loras.iter().enumerate().map(|(index, (_, strength))| (strength_of(index), strength)).collect()
    }
}

fn strength_of(lora: usize) -> Name {
    Name::from(format!("{STRENGTH}.{lora}"))
}
