//! LoRAs of a pipeline: from the pass that names files to programs and weights with LoRAs.

mod pass;
mod spec;

pub use pass::{LORA, LoraFiles};
pub use spec::LoraSpec;

use crate::Error;
use reflux_ir::pass::{Pass, Pipeline, options_of};
use reflux_ir::{DType, Declaration, Fact, HostTensor, Name, Program, Rate, WeightSource};
use reflux_models::lora::{Kept, Lora, LoraFile, LoraWeights, Loras, LowRank, MERGED, Part, Places, base_of};
use reflux_models::weights::{Distribution, RandomWeights};
use reflux_models::{Model, ModelError, Net};
use reflux_passes::{Adapters, Branch, LoraMode};
use serde_json::Value;
use std::collections::HashSet;
use std::convert::Infallible;
use std::iter;
use std::path::Path;
use std::sync::Arc;

/// What the inputs of programs are called that are the strengths of LoRAs beside products; which LoRAs these are is behind it.
const STRENGTH: &str = "lora_strength";

/// The LoRAs that the passes of a pipeline name, fitted to a model.
#[derive(Clone, Debug, Default)]
pub struct FittedLoras {
    loras: Loras,
    /// Where files can change the model, once there is one.
    places: Option<Arc<Places>>,
    /// The passes that apply them, with the files that each names.
    passes: Vec<(LoraFiles, reflux_passes::Lora)>,
    /// The inputs that are strengths, and the LoRAs whose they are.
    strengths: Vec<(Declaration, Vec<Part>)>,
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
        let kept = match written.mode {
            LoraMode::Merge => Kept::Merged,
            // As the number of those before it, which no other pass has.
            LoraMode::Branch => Kept::Beside(self.loras.len()),
        };
        let own = self.loras.len()..;
        for LoraSpec { path, strength } in written.specs().expect("the pass was built of them") {
            let lora = self.fit(&path, model, written.partial)?;
            self.warnings.extend(lora.warning());
            self.loras.push(Arc::new(lora), strength, kept);
        }
        let mut adapters = self.merged(net);
        // Those of one pass are of its files, whichever.
        let low_ranks = self.loras.beside(net).into_iter();
        let low_ranks = low_ranks.filter(|low_rank| own.contains(&low_rank.parts[0].lora));
        adapters.branches = low_ranks.map(|low_rank| self.branch(low_rank)).collect();
        let pass = reflux_passes::Lora::new(options, written.mode, adapters);
        self.passes.push((written, pass.clone()));
        Ok(Arc::new(pass))
    }

    /// Reads the file at `path`, and fits it to `model`.
    fn fit(&mut self, path: &Path, model: &dyn Model, is_partial: bool) -> Result<Lora, ModelError> {
        let places = match &self.places {
            Some(places) => places.clone(),
            None => self.places.insert(Arc::new(Places::of(model)?)).clone(),
        };
        Ok(Lora::fit_in(LoraFile::open(path)?, &places, is_partial)?)
    }

    /// What is merged into the weights of `net`.
    fn merged(&self, net: &'static Net) -> Adapters {
        let tensors = self.loras.merged(net).into_iter();
        let merged = tensors.map(|tensor| (tensor.to_owned(), format!("{tensor}{MERGED}"))).collect();
        Adapters { merged, branches: Vec::new() }
    }

    /// What `low_rank` is to a pass; its strength is one of the inputs from now on.
    fn branch(&mut self, LowRank { weight, down, up, parts }: LowRank) -> Branch {
        let (name, shape) = match parts[..] {
            [Part { lora, .. }] => (format!("{STRENGTH}.{lora}"), Vec::new()),
            _ => (format!("{STRENGTH}s.{}", layout(&parts)), vec![rank_of(&parts)]),
        };
        let fact = Fact::new(DType::F32, shape).at(Rate::Prompt);
        let strength = Declaration { name: name.into(), fact };
        let rank = rank_of(&parts);
        if self.strengths.iter().all(|(known, _)| known.name != strength.name) {
            self.strengths.push((strength.clone(), parts));
        }
        Branch { weight, down, up, rank, strength }
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
    pub fn weights(&self, net: &'static Net, base: Arc<dyn WeightSource>) -> Arc<dyn WeightSource> {
        if self.loras.is_empty() {
            return base;
        }
        Arc::new(LoraWeights::new(base, net, self.loras.clone()))
    }

    /// Random weights of `net`, which is to run as `program`, with the LoRAs.
    pub fn random_weights(
        &self,
        net: &'static Net,
        program: &Program,
        distribution: Distribution,
        seed: u64,
    ) -> Arc<dyn WeightSource> {
        let named = |(name, fact)| (base_of(name).unwrap_or(name), fact);
        let base = RandomWeights::of(program.weights().into_iter().map(named), distribution, seed);
        self.weights(net, Arc::new(base))
    }

    /// Has the passes of `pipeline`, which are those of [`settle`](Self::settle), name the files and strengths that there are now.
    pub fn rename_in(&self, pipeline: &mut Pipeline) {
        let mut own = self.passes.iter();
        let renamed = |pass: &dyn Pass| -> Result<Option<Arc<dyn Pass>>, Infallible> {
            let own = if pass.name() == pass::NAME { own.next() } else { None };
            Ok(own.map(|(_, pass)| Arc::new(pass.clone()) as Arc<dyn Pass>))
        };
        let Ok(_) = pipeline.replace(renamed);
    }

    /// Has the pass that names the LoRA `index` name it as it is now.
    fn rewrite(&mut self, index: usize) {
        let now = self.loras.iter().nth(index).map(|(lora, strength)| (lora.path().to_owned(), strength));
        let mut before = 0;
        for (written, pass) in &mut self.passes {
            if let (Some(file), Some((path, strength))) = (written.files.get_mut(index - before), now.clone())
            {
                *file = LoraSpec { path, strength }.to_string();
                *pass = pass.written(options_of(written));
                return;
            }
            before += written.files.len();
        }
    }

    /// Whether anything is merged into weights of `net`.
    pub fn is_merged_into(&self, net: &'static Net) -> bool {
        !self.loras.merged(net).is_empty()
    }

    /// Whether anything stays beside products.
    pub fn is_beside(&self) -> bool {
        !self.strengths.is_empty()
    }

    /// The files.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.loras.iter().map(|(lora, _)| lora.path())
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
        self.rewrite(index);
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
        let lora = Arc::new(self.fit(file, model, false)?);
        let path = lora.path().to_owned();
        let nets = &model.family().nets;
        if !self.loras.replace(index, lora, nets) {
            return Err(Error::Range {
                what: "a LoRA that replaces another",
                range: "one of the same modules and ranks; open a pipeline for it instead".into(),
                found: path.display().to_string(),
            });
        }
        self.rewrite(index);
        let merged = nets.iter().copied().filter(|net| self.loras.is_merged(index, net)).collect();
        Ok((merged, self.loras.weights_beside(index, model.family().denoiser())))
    }

    /// Whether the input `name` is a strength.
    pub fn is_strength(&self, name: &Name) -> bool {
        self.strengths.iter().any(|(known, _)| known.name == *name)
    }

    /// The inputs that are strengths, and their values.
    pub fn strengths(&self) -> Vec<(Name, HostTensor)> {
        let own: Vec<f32> = self.loras.iter().map(|(_, strength)| strength).collect();
        let value = |(Declaration { name, fact }, parts): &(Declaration, Vec<Part>)| {
            // One number for all rows, or one for each.
            let rows = |part: &Part| if fact.shape.is_empty() { 1 } else { part.rank };
            let values = parts.iter().flat_map(|part| iter::repeat_n(own[part.lora], rows(part)));
            (name.clone(), HostTensor::from_f32(fact.shape.to_vec(), &values.collect::<Vec<_>>()))
        };
        self.strengths.iter().map(value).collect()
    }
}

fn rank_of(parts: &[Part]) -> usize {
    parts.iter().map(|part| part.rank).sum()
}

/// Which LoRAs follow each other, and with how many rows: `0x32_1x16`.
fn layout(parts: &[Part]) -> String {
    parts.iter().map(|Part { lora, rank }| format!("{lora}x{rank}")).collect::<Vec<_>>().join("_")
}
