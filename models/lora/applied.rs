//! LoRAs with their strengths, and which of their changes go where.

use super::change::Delta;
use super::fit::{Change, Fitted, Lora};
use crate::net::{Net, Role};
use indexmap::IndexMap;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// What programs call a weight into which LoRAs are merged, behind its name in the checkpoint: `….to_q.weight.lora`. So a
/// program says that it reads such weights, and cannot be run without the LoRAs.
pub const MERGED: &str = ".lora";

/// The checkpoint's tensor of which the weight `name` of a program is made; `None` if it is a LoRA's own, beside a product.
pub fn base_of(name: &str) -> Option<&str> {
    let is_beside = [DOWN, UP].iter().any(|module| name.split('.').any(|segment| segment == *module));
    (!is_beside).then(|| name.strip_suffix(MERGED).unwrap_or(name))
}

/// What the two weights of a product beside a linear are called below its module; a number follows, which counts such
/// products.
const DOWN: &str = "lora_A";
const UP: &str = "lora_B";

/// LoRAs on one model, in the order in which they were given.
#[derive(Clone, Debug, Default)]
pub struct Loras(pub(super) Vec<Applied>);

/// A LoRA, and how it is applied.
#[derive(Clone, Debug)]
pub(super) struct Applied {
    pub lora: Arc<Lora>,
    pub strength: f32,
    pub kept: Kept,
}

/// What becomes of changes of low rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// They are merged into weights, as all others are.
    Merged,
    /// Those of the denoiser's linears stay beside these: as one product with those of the other LoRAs of the same number.
    Beside(usize),
}

/// A product of low rank beside that of a linear, by the names of weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LowRank {
    /// That of the linear.
    pub weight: String,
    /// `A` `[rank, in]` and `B` `[out, rank]`; those of one fused module share `A`.
    pub down: String,
    pub up: String,
    /// The LoRAs that it is of, whose rows of `A` and columns of `B` follow each other.
    pub parts: Vec<Part>,
}

/// The part of a LoRA in a product of low rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Part {
    /// The LoRA whose it is, by its place in the order.
    pub lora: usize,
    /// That of the file, filled up to a multiple of 8 by zeros.
    pub rank: usize,
}

/// The rank of a product of rank `rank` as it is computed: GPUs fetch rows of a multiple of 16 bytes.
pub(super) fn padded(rank: usize) -> usize {
    rank.next_multiple_of(8)
}

/// Where a part of a weight beside another one comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    lora: usize,
    module: usize,
    change: usize,
}

impl Loras {
    /// One more.
    pub fn push(&mut self, lora: Arc<Lora>, strength: f32, kept: Kept) {
        self.0.push(Applied { lora, strength, kept });
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Each with its strength.
    pub fn iter(&self) -> impl Iterator<Item = (&Lora, f32)> {
        self.0.iter().map(|applied| (&*applied.lora, applied.strength))
    }

    /// Sets the strength of the LoRA `index`.
    ///
    /// # Panics
    /// If there is none.
    pub fn set_strength(&mut self, index: usize, strength: f32) {
        self.0[index].strength = strength;
    }

    /// Puts `lora` in the place of the LoRA `index`, with the same strength, if it changes the same tensors of the networks
    /// `nets` in the same places and ranks; returns whether it does.
    ///
    /// # Panics
    /// If there is none.
    pub fn replace(&mut self, index: usize, lora: Arc<Lora>, nets: &[&'static Net]) -> bool {
        let mut replaced = self.clone();
        replaced.0[index].lora = lora;
        let is_same = |net: &&'static Net| {
            self.beside(net) == replaced.beside(net) && self.merged(net) == replaced.merged(net)
        };
        let fits = nets.iter().all(is_same);
        if fits {
            *self = replaced;
        }
        fits
    }

    /// The names of the weights that the LoRA `index` has beside products of `net`.
    ///
    /// # Panics
    /// If there is none.
    pub fn weights_beside(&self, index: usize, net: &'static Net) -> HashSet<String> {
        let is_own = |low_rank: &LowRank| low_rank.parts.iter().any(|part| part.lora == index);
        let own = self.beside(net).into_iter().filter(is_own);
        own.flat_map(|LowRank { down, up, .. }| [down, up]).collect()
    }

    /// The tensors of `net` into which they are merged, by their names in diffusers.
    pub fn merged(&self, net: &'static Net) -> Vec<&str> {
        let mut tensors: Vec<&str> = self.0.iter().flat_map(|applied| applied.merged(net)).collect();
        tensors.sort_unstable();
        tensors.dedup();
        tensors
    }

    /// Whether the LoRA `index` is merged into a weight of `net`.
    pub fn is_merged(&self, index: usize, net: &'static Net) -> bool {
        self.0[index].merged(net).next().is_some()
    }

    /// The products beside those of `net`.
    pub fn beside(&self, net: &'static Net) -> Vec<LowRank> {
        self.origins(net).into_iter().map(|(low_rank, _)| low_rank).collect()
    }

    /// Those products, and where the parts of their weights come from.
    pub(super) fn origins(&self, net: &'static Net) -> Vec<(LowRank, Vec<Origin>)> {
        // Names count the products beside one linear, so that they are the same for other files with the same modules.
        let mut counts: HashMap<&str, usize> = HashMap::new();
        // Of a fused module's linears, which are changed by the same `A`.
        let mut downs: HashMap<Vec<Origin>, String> = HashMap::new();
        let mut found = Vec::new();
        for ((_, weight), parts) in self.stacks(net) {
            let count = counts.entry(weight).or_default();
            let module = weight.strip_suffix(".weight").unwrap_or(weight);
            let (parts, origins): (Vec<Part>, Vec<Origin>) = parts.into_iter().unzip();
            let down = downs.entry(origins.clone());
            let down = down.or_insert_with(|| format!("{module}.{DOWN}.{count}.weight")).clone();
            let up = format!("{module}.{UP}.{count}.weight");
            *count += 1;
            found.push((LowRank { weight: weight.to_owned(), down, up, parts }, origins));
        }
        found
    }

    /// The changes that stay beside weights of `net`, those of one number and weight together.
    fn stacks(&self, net: &'static Net) -> IndexMap<(usize, &str), Vec<(Part, Origin)>> {
        let mut stacks: IndexMap<(usize, &str), Vec<(Part, Origin)>> = IndexMap::new();
        for (lora, applied) in self.0.iter().enumerate() {
            let Kept::Beside(number) = applied.kept else { continue };
            for (module, fitted) in applied.lora.modules.iter().enumerate() {
                let changes = fitted.weight_changes.iter().enumerate();
                let kept = changes.filter(|(_, change)| applied.keeps(fitted, change));
                for (change, Change { delta, .. }) in kept.filter(|_| fitted.weight.net == net) {
                    let Delta::LowRank { down, .. } = delta else { continue };
                    let part = Part { lora, rank: padded(down.shape[0]) };
                    for weight in fitted.tensors() {
                        let parts = stacks.entry((number, weight)).or_default();
                        parts.push((part, Origin { lora, module, change }));
                    }
                }
            }
        }
        stacks
    }

    /// What comes from `origin`.
    pub(super) fn at(&self, origin: Origin) -> (&Lora, &Fitted, &Change) {
        let lora = &*self.0[origin.lora].lora;
        let fitted = &lora.modules[origin.module];
        (lora, fitted, &fitted.weight_changes[origin.change])
    }
}

impl Applied {
    /// The changes of matrices, or of the vectors of norms, of `net`.
    fn changes(&self, net: &'static Net) -> impl Iterator<Item = (&Fitted, &Change)> {
        let of_net = self.lora.modules.iter().filter(move |fitted| fitted.weight.net == net);
        of_net.flat_map(|fitted| fitted.weight_changes.iter().map(move |change| (fitted, change)))
    }

    /// Whether the change stays beside the product: it is of low rank, and not normalized with the weight.
    pub fn keeps(&self, fitted: &Fitted, change: &Change) -> bool {
        let is_low = matches!(change.delta, Delta::LowRank { .. }) && fitted.magnitude.is_none();
        self.kept != Kept::Merged && is_low && fitted.weight.net.role == Role::Denoiser
    }

    fn merged(&self, net: &'static Net) -> impl Iterator<Item = &str> {
        let weights = self.changes(net).filter(|(fitted, change)| !self.keeps(fitted, change));
        let weights = weights.flat_map(|(fitted, _)| fitted.tensors());
        let of_net = self.lora.modules.iter().filter(move |fitted| fitted.weight.net == net);
        let biases = of_net.filter(|fitted| !fitted.bias_changes.is_empty());
        let biases = biases.flat_map(|fitted| fitted.bias.iter().flat_map(|bias| &bias.segments));
        weights.chain(biases.map(|segment| segment.tensor.as_str()))
    }
}
