//! What a file of adapters is, and what of a model it changes, for people.

use super::error::{LoraError, Unused};
use super::file::{LoraFile, ModuleTensors};
use super::fit::Lora;
use super::parameter::Parameter;
use super::places::form_of;
use crate::net::Role;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// What a file of adapters is by its header and its alphas, whatever model it is for.
#[derive(Debug, Serialize)]
pub struct LoraInfo {
    pub path: PathBuf,
    /// By whom such names are written.
    pub forms: BTreeSet<&'static str>,
    /// How many modules there are of each kind: LoRA, DoRA, LoKr, LoHa, or whole changes.
    pub kinds: BTreeMap<&'static str, usize>,
    /// How many modules have each rank.
    pub ranks: BTreeMap<usize, usize>,
    /// All alphas among the tensors.
    pub alphas: Vec<f32>,
    /// How many modules are of the denoiser.
    pub denoiser_modules: usize,
    /// How many are of text encoders.
    pub text_encoder_modules: usize,
    /// The number of parameters.
    pub parameters: usize,
    /// What its maker calls it, the words that call it up, and what it was trained on, as the header says.
    pub title: Option<String>,
    pub trigger: Option<String>,
    pub base: Option<String>,
}

/// What of a model a LoRA changes.
#[derive(Debug, Serialize)]
pub struct LoraUse {
    /// How many of the file's modules are of each network, by its folder.
    pub modules: BTreeMap<&'static str, usize>,
    /// How many of the model's tensors change, by network.
    pub tensors: BTreeMap<&'static str, usize>,
    pub unused: Vec<Unused>,
}

impl LoraFile {
    /// What the file is.
    ///
    /// # Errors
    /// If an alpha cannot be read.
    pub fn info(&self) -> Result<LoraInfo, LoraError> {
        let (mut kinds, mut ranks) = (BTreeMap::new(), BTreeMap::new());
        let (mut alphas, mut parameters, mut text_encoder_modules) = (Vec::new(), 0, 0);
        for (name, tensors) in &self.modules {
            *kinds.entry(kind_of(tensors)).or_default() += 1;
            if let Some(rank) = rank_of(tensors) {
                *ranks.entry(rank).or_default() += 1;
            }
            if let Some(alpha) = tensors.get(&Parameter::Alpha) {
                alphas.push(self.scalar(alpha)?);
            }
            parameters +=
                tensors.values().map(|tensor| tensor.shape.iter().product::<usize>()).sum::<usize>();
            text_encoder_modules += usize::from(form_of(name).role == Role::TextEncoder);
        }
        alphas.sort_by(f32::total_cmp);
        alphas.dedup();
        let own = |text: Option<&str>| text.map(str::to_owned);
        Ok(LoraInfo {
            path: self.path().to_owned(),
            forms: self.modules.keys().map(|name| form_of(name).name_for(name)).collect(),
            kinds,
            ranks,
            alphas,
            denoiser_modules: self.modules.len() - text_encoder_modules,
            text_encoder_modules,
            parameters,
            title: own(self.metadata.title()),
            trigger: own(self.metadata.trigger()),
            base: own(self.metadata.base()),
        })
    }
}

impl Lora {
    /// What of the model it changes.
    pub fn uses(&self) -> LoraUse {
        let (mut modules, mut tensors) = (BTreeMap::new(), BTreeMap::<_, BTreeSet<&str>>::new());
        for fitted in &self.modules {
            let folder = fitted.weight.net.folder;
            *modules.entry(folder).or_default() += 1;
            tensors.entry(folder).or_default().extend(fitted.changed());
        }
        let tensors = tensors.into_iter().map(|(folder, names)| (folder, names.len())).collect();
        LoraUse { modules, tensors, unused: self.unused.clone() }
    }
}

fn kind_of(tensors: &ModuleTensors) -> &'static str {
    let has = |parameter: Parameter| tensors.contains_key(&parameter);
    match () {
        () if has(Parameter::Magnitude) => "DoRA",
        () if has(Parameter::LokrW1) || has(Parameter::LokrW1A) => "LoKr",
        () if has(Parameter::HadaW1A) => "LoHa",
        () if has(Parameter::Down) => "LoRA",
        () => "whole changes",
    }
}

fn rank_of(tensors: &ModuleTensors) -> Option<usize> {
    let downs = [Parameter::Down, Parameter::LokrW2B, Parameter::LokrW1B, Parameter::HadaW1B];
    downs.iter().find_map(|down| tensors.get(down)?.shape.first().copied())
}
