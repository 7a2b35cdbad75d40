//! The modules of a model, under every name that a file of adapters may have for them.
//!
//! Names are looked up among the model's own and never taken apart: with underscores for dots, `attn_to_out_0` says
//! nothing of where a module begins.

use crate::family::Model;
use crate::flux1::layouts as flux1;
use crate::geometry::Sizes;
use crate::net::{Net, Role};
use crate::weights::encoding::TensorEncoding;
use crate::weights::layout::{LAYOUTS, Layout, Naming};
use crate::weights::stored::Stored;
use crate::{ModelError, weights::WeightsError};
use reflux_ir::DType;
use safetensors::Dtype;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::Path;

/// Layouts that adapters have, and no checkpoints.
const OF_ADAPTERS: &[Layout] = &[flux1::XLABS, flux1::FUSED];

/// What stands before the names of modules, by whom, and what these are of.
#[derive(Debug)]
pub(super) struct Form {
    prefix: &'static str,
    /// Whether dots are underscores behind it.
    is_flat: bool,
    pub role: Role,
    what: &'static str,
}

const fn form(prefix: &'static str, is_flat: bool, role: Role, what: &'static str) -> Form {
    Form { prefix, is_flat, role, what }
}

/// All of them; of those that a name begins with, the first in whose network it is found counts. Which text encoder is meant
/// the names of modules say: T5's are no other's, and trainers do not agree on its number.
const FORMS: &[Form] = &[
    form("base_model.model.transformer.", false, Role::Denoiser, "PEFT"),
    form("base_model.model.", false, Role::Denoiser, "PEFT"),
    form("transformer.", false, Role::Denoiser, "diffusers (PEFT)"),
    form("model.diffusion_model.", false, Role::Denoiser, "ComfyUI"),
    form("diffusion_model.", false, Role::Denoiser, "ComfyUI, ai-toolkit"),
    form("unet.", false, Role::Denoiser, "diffusers"),
    form("lora_unet_", true, Role::Denoiser, "kohya"),
    form("lora_transformer_", true, Role::Denoiser, "OneTrainer"),
    form("lycoris_", true, Role::Denoiser, "LyCORIS"),
    form("text_encoder.", false, Role::TextEncoder, "diffusers (PEFT)"),
    form("text_encoder_2.", false, Role::TextEncoder, "diffusers (PEFT)"),
    form("lora_te_", true, Role::TextEncoder, "kohya"),
    form("lora_te1_", true, Role::TextEncoder, "kohya"),
    form("lora_te2_", true, Role::TextEncoder, "kohya"),
    form("lora_te3_", true, Role::TextEncoder, "kohya"),
    form("", false, Role::Denoiser, "bare names"),
];

/// A tensor, or several that a file has as one.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub net: &'static Net,
    pub shape: Vec<usize>,
    pub segments: Vec<Segment>,
}

/// Rows of a place, and the tensor in which they are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Segment {
    /// Its name in diffusers.
    pub tensor: String,
    /// Those of the place.
    pub rows: Range<usize>,
    /// The first of the tensor's rows that they are.
    pub start: usize,
}

impl Segment {
    /// The row of the place that the row `row` of the tensor is, if it is one of these.
    pub fn place_of(&self, row: usize) -> Option<usize> {
        let offset = row.checked_sub(self.start).filter(|offset| *offset < self.rows.len())?;
        Some(self.rows.start + offset)
    }
}

/// The places of a module: of its matrix, or the vector of a norm, and of its bias.
#[derive(Clone, Debug)]
pub(super) struct Module<'p> {
    pub weight: &'p Place,
    pub bias: Option<&'p Place>,
}

impl Form {
    /// Who writes the name `name`, which is of this form.
    pub fn name_for(&self, name: &str) -> &'static str {
        if name.contains(".processor.") { "XLabs" } else { self.what }
    }
}

/// All places of a model that adapters can change.
#[derive(Debug)]
pub struct Places {
    model: &'static str,
    nets: Vec<OfNet>,
}

/// The places of a network, by the names of tensors; and the names of its modules by those with underscores.
#[derive(Debug)]
struct OfNet {
    net: &'static Net,
    tensors: HashMap<String, Place>,
    flat: HashMap<String, String>,
}

impl Places {
    /// Those of all networks of `model` that adapters are made for.
    ///
    /// # Errors
    /// If a network cannot be lowered.
    pub fn of(model: &dyn Model) -> Result<Self, ModelError> {
        let nets = model.family().nets.iter().filter(|net| net.role != Role::Decoder);
        let nets = nets.map(|net| OfNet::of(model, net)).collect::<Result<_, _>>()?;
        Ok(Self { model: model.family().name, nets })
    }

    /// What the family of the model is called.
    pub(super) fn model(&self) -> &'static str {
        self.model
    }

    /// The module that a file calls `name`.
    pub(super) fn find(&self, name: &str) -> Option<Module<'_>> {
        let forms = FORMS.iter().filter_map(|form| Some((form, name.strip_prefix(form.prefix)?)));
        let mut found = forms.flat_map(|(form, name)| {
            let nets = self.nets.iter().filter(|of| of.net.role == form.role);
            nets.filter_map(move |of| of.find(form, name))
        });
        found.next()
    }
}

/// The form of the name `name`, whether its module is found or not.
pub(super) fn form_of(name: &str) -> &'static Form {
    FORMS.iter().find(|form| name.starts_with(form.prefix)).expect("the last has no prefix")
}

impl OfNet {
    fn of(model: &dyn Model, net: &'static Net) -> Result<Self, ModelError> {
        // Names and shapes of weights do not depend on sizes.
        let sizes: Sizes = model.family().geometry.smallest();
        let program = model.lower(net, &sizes, DType::F32)?;
        let shapes: BTreeMap<String, Vec<usize>> = program
            .weights()
            .into_iter()
            .map(|(name, fact)| (name.to_owned(), fact.shape.to_vec()))
            .collect();
        let layouts =
            LAYOUTS.iter().chain(OF_ADAPTERS).filter(|layout| layout.architecture == net.architecture);
        let mut of = Self { net, tensors: HashMap::new(), flat: HashMap::new() };
        for layout in layouts {
            of.add(layout, &shapes)?;
        }
        Ok(of)
    }

    /// Adds the tensors of these shapes as files with this layout have them: such a file is made up and taken apart.
    fn add(
        &mut self,
        layout: &'static Layout,
        shapes: &BTreeMap<String, Vec<usize>>,
    ) -> Result<(), WeightsError> {
        let naming = Naming::by(layout);
        let of_file = shapes.keys().filter_map(|name| {
            let shape = naming.shape_in_file(name, |name| shapes.get(name).map(Vec::as_slice))?;
            // A byte for each element, so that bytes count these.
            let part = 0..shape.iter().product();
            let whole = Stored {
                encoding: TensorEncoding::Elements(Dtype::U8),
                shape: shape.clone(),
                file: 0,
                parts: vec![part],
                whole: shape,
            };
            Some((naming.in_file(name), whole))
        });
        let of_file: BTreeMap<String, Stored> = of_file.collect();
        for (name, stored) in &of_file {
            let row = stored.width();
            let mut segments = Vec::new();
            for (tensor, part) in naming.renamed(name, &of_file, Path::new(""))? {
                let mut start = 0;
                for elements in part.parts {
                    let rows = elements.start / row..elements.end / row;
                    let length = rows.len();
                    segments.push(Segment { tensor: tensor.clone(), rows, start });
                    start += length;
                }
            }
            let place = Place { net: self.net, shape: stored.shape.clone(), segments };
            let module = name.rsplit_once('.').map_or(name.as_str(), |(module, _)| module);
            self.flat.entry(module.replace('.', "_")).or_insert_with(|| module.to_owned());
            self.tensors.entry(name.clone()).or_insert(place);
        }
        Ok(())
    }

    fn find(&self, form: &'static Form, name: &str) -> Option<Module<'_>> {
        let module = if form.is_flat { self.flat.get(name)?.as_str() } else { name };
        let tensor = |parameter: &str| self.tensors.get(&format!("{module}.{parameter}"));
        Some(Module { weight: tensor("weight").or_else(|| tensor("scale"))?, bias: tensor("bias") })
    }
}
