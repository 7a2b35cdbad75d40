//! An adapter on the modules of a model.

use super::change::Delta;
use super::error::{self, LoraError, Unused};
use super::file::{LoraFile, ModuleTensors};
use super::foreign;
use super::kind::{Changes, Given, Magnitude, Scaled};
use super::parameter::other_kind;
use super::places::{Module, Place, Places, Segment};
use crate::ModelError;
use crate::family::Model;
use rayon::prelude::*;
use std::collections::HashMap;
use std::path::Path;

/// A LoRA, checked to fit a model.
#[derive(Debug)]
pub struct Lora {
    pub(super) file: LoraFile,
    pub(super) modules: Vec<Fitted>,
    /// Tensors that are not used.
    pub unused: Vec<Unused>,
}

/// A module, and what becomes of it.
#[derive(Debug)]
pub(super) struct Fitted {
    pub weight: Place,
    pub bias: Option<Place>,
    pub weight_changes: Vec<Change>,
    pub bias_changes: Vec<Change>,
    pub magnitude: Option<Magnitude>,
}

/// A change, and how much of it there is at strength 1.
#[derive(Debug)]
pub(super) struct Change {
    pub delta: Delta,
    /// `alpha / rank`.
    pub factor: f32,
}

impl Lora {
    /// Fits `file` to `model`. Tensors that it has no use for are refused, unless `is_partial`.
    ///
    /// # Errors
    /// If the LoRA is of another model, has other shapes, is incomplete, or has numbers that are not finite.
    pub fn fit(file: LoraFile, model: &dyn Model, is_partial: bool) -> Result<Self, ModelError> {
        Ok(Self::fit_in(file, &Places::of(model)?, is_partial)?)
    }

    /// [`fit`](Self::fit), to the model that has these places.
    ///
    /// # Errors
    /// As there.
    pub fn fit_in(file: LoraFile, places: &Places, is_partial: bool) -> Result<Self, LoraError> {
        let mut unused = strays(&file);
        let mut found = Vec::new();
        for (name, tensors) in &file.modules {
            match places.find(name) {
                Some(module) => found.push((name, module, tensors)),
                None => unused.extend(tensors.values().map(|tensor| Unused {
                    key: tensor.key.clone(),
                    why: "the model has no module of this name".to_owned(),
                })),
            }
        }
        // Before any shape, so that another model's LoRA is called that.
        check(&file, found.is_empty(), &unused, places.model(), is_partial)?;
        let mut named: HashMap<(&str, &[Segment]), &str> = HashMap::new();
        for (name, module, _) in &found {
            let Place { net, segments, .. } = module.weight;
            if let Some(first) = named.insert((net.name, segments), name) {
                let (path, first, second) = (file.path().to_owned(), first.to_owned(), name.to_string());
                return Err(LoraError::SameModule { path, first, second });
            }
        }
        let modules =
            found.into_iter().map(|(name, module, tensors)| Fitted::of(&file, name, &module, tensors));
        let lora = Self { modules: modules.collect::<Result<_, _>>()?, file, unused };
        lora.modules.par_iter().try_for_each(|fitted| fitted.check_numbers(&lora.file))?;
        Ok(lora)
    }

    /// What is not used of it, if anything is not.
    pub fn warning(&self) -> Option<String> {
        let (path, unused) = (self.path().display(), &self.unused);
        (!unused.is_empty())
            .then(|| format!("{path}: {} not used: {}", error::are(unused.len()), error::listed(unused)))
    }

    /// Where it was found.
    pub fn path(&self) -> &Path {
        self.file.path()
    }
}

/// Refuses what is another model's, or of no use.
fn check(
    file: &LoraFile,
    is_nothing_found: bool,
    unused: &[Unused],
    model: &'static str,
    is_partial: bool,
) -> Result<(), LoraError> {
    let path = file.path().to_owned();
    let others = unused.iter().find_map(|Unused { key, .. }| Some((foreign::model_of(key)?, key)));
    if let Some((what, key)) = others {
        return Err(LoraError::OtherModel { path, what, key: key.clone(), model });
    }
    if is_nothing_found {
        let keys = unused.iter().map(|unused| unused.key.clone()).collect();
        return Err(LoraError::NothingFits { path, keys, model });
    }
    if unused.is_empty() || is_partial {
        return Ok(());
    }
    Err(LoraError::Unused { path, unused: unused.to_vec() })
}

/// Tensors of no kind that is supported.
fn strays(file: &LoraFile) -> Vec<Unused> {
    let why = |key: &String| match other_kind(key) {
        Some(kind) => format!("{kind} is not supported"),
        None => "no ending of a LoRA's tensor".to_owned(),
    };
    file.strays.iter().map(|key| Unused { key: key.clone(), why: why(key) }).collect()
}

impl Fitted {
    fn of(
        file: &LoraFile,
        name: &str,
        module: &Module<'_>,
        tensors: &ModuleTensors,
    ) -> Result<Self, LoraError> {
        let Changes { weight, bias, magnitude } =
            Given { path: file.path(), name, module, tensors }.changes()?;
        let change = |scaled: Scaled| Change::of(file, module, scaled);
        Ok(Self {
            weight: module.weight.clone(),
            bias: module.bias.cloned(),
            weight_changes: weight.into_iter().map(change).collect::<Result<_, _>>()?,
            bias_changes: bias.into_iter().map(change).collect::<Result<_, _>>()?,
            magnitude,
        })
    }

    /// The tensors that its weight is made of, each once.
    pub fn tensors(&self) -> Vec<&str> {
        let mut names: Vec<&str> =
            self.weight.segments.iter().map(|segment| segment.tensor.as_str()).collect();
        names.dedup();
        names
    }

    /// The tensors that it changes.
    pub fn changed(&self) -> impl Iterator<Item = &str> {
        let weight = self.weight.segments.iter().filter(|_| !self.weight_changes.is_empty());
        let bias = self.bias.iter().flat_map(|bias| &bias.segments);
        let bias = bias.filter(|_| !self.bias_changes.is_empty());
        weight.chain(bias).map(|segment| segment.tensor.as_str())
    }

    /// Reads everything once, so that damage shows before anything runs.
    fn check_numbers(&self, file: &LoraFile) -> Result<(), LoraError> {
        let changes = self.weight_changes.iter().chain(&self.bias_changes);
        let norms = self.magnitude.iter().map(|magnitude| &magnitude.norms);
        let mut tensors = changes.flat_map(|change| change.delta.tensors()).chain(norms);
        tensors.try_for_each(|tensor| file.check(tensor))
    }
}

impl Change {
    fn of(
        file: &LoraFile,
        module: &Module<'_>,
        Scaled { delta, rank, alpha }: Scaled,
    ) -> Result<Self, LoraError> {
        let alpha = alpha.map(|alpha| file.scalar(&alpha)).transpose()?;
        let factor = match (rank, alpha) {
            (None, _) => 1.0,
            (Some(rank), Some(alpha)) => f64::from(alpha) / rank as f64,
            (Some(rank), None) => {
                let first = module.weight.segments.first();
                let tensor = first.map_or("", |segment| segment.tensor.as_str());
                let name = tensor.strip_suffix(".weight").unwrap_or(tensor);
                file.metadata.factor(module.weight.net.folder, name, rank).unwrap_or(1.0)
            }
        };
        Ok(Self { delta, factor: factor as f32 })
    }
}
