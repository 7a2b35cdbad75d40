//! How checkpoints name the tensors of a network, and how these names become diffusers'.
//!
//! A [`Layout`] describes one kind of checkpoint; to read another is to add one to [`LAYOUTS`]. What stands in front of all
//! names of a network, because its saver stored several networks or the name of a variable, is a prefix, which any layout may
//! have.

mod rule;
mod text;
mod transformer;
mod vae;

use super::{Stored, WeightsError};
use crate::Net;
use rule::{Rule, captures, counted_index, filled};
use std::collections::BTreeMap;
use std::path::Path;

/// One kind of checkpoint of one network.
#[derive(Debug)]
pub(super) struct Layout {
    pub net: Net,
    /// What messages call it.
    pub names: &'static str,
    /// A tensor's name, to show what names of this layout look like.
    pub example: &'static str,
    /// Names that begin so are of this layout, and no other network's.
    marks: &'static [&'static str],
    /// What the names of all tensors of the network begin with.
    roots: &'static [&'static str],
    /// Of these, what the network has no use for as Reflux runs it.
    unused: &'static [&'static str],
    /// What diffusers calls otherwise; any other name is the same there.
    rules: &'static [Rule],
}

/// All layouts that are read.
pub(super) const LAYOUTS: &[Layout] = &[
    transformer::DIFFUSERS,
    transformer::BFL,
    text::T5,
    text::CLIP,
    text::CLIP_BARE,
    vae::DIFFUSERS,
    vae::BFL,
];

/// What stands in front of a network's names: by itself, or in a file of several networks.
const fn prefixes(net: Net) -> &'static [&'static str] {
    match net {
        Net::Transformer => &[
            "",
            "model.diffusion_model.",
            "model.",
            "diffusion_model.",
            "transformer.",
            "module.",
            "model.model.",
        ],
        Net::T5 => &[
            "",
            "text_encoders.t5xxl.transformer.",
            "text_encoder_2.",
            "t5xxl.transformer.",
            "t5xxl.",
            "model.",
        ],
        Net::Clip => &[
            "",
            "text_encoders.clip_l.transformer.",
            "text_encoder.",
            "clip_l.transformer.",
            "clip_l.",
            "cond_stage_model.transformer.",
            "model.",
        ],
        Net::Vae => &["", "vae.", "first_stage_model.", "model."],
    }
}

/// What other names begin with in a file of several networks, besides the prefixes of these.
const OTHERS: [&str; 4] = ["text_encoders.", "cond_stage_model.", "conditioner.", "model_ema."];

/// The names of a file, as a layout and a prefix make them.
#[derive(Clone, Debug)]
pub(super) struct Naming {
    pub layout: &'static Layout,
    pub prefix: &'static str,
    /// The highest index where the layout counts from the last.
    last: usize,
}

/// What a tensor of a file is to the network that the file was opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// One of its tensors.
    Own,
    /// Its own, or another network's, and of no use.
    Unused,
    /// Nobody knows.
    Stray,
}

impl Naming {
    /// The naming of `net` in a file with these names: the one that most of them are marked with.
    pub fn of<'a>(net: Net, names: impl Iterator<Item = &'a str> + Clone) -> Option<Self> {
        let candidates = LAYOUTS.iter().filter(|layout| layout.net == net);
        let candidates =
            candidates.flat_map(|layout| prefixes(net).iter().map(move |prefix| (layout, *prefix)));
        let marked =
            |layout: &Layout, prefix| names.clone().filter(|name| layout.is_marked(prefix, name)).count();
        let counted = candidates.map(|(layout, prefix)| (marked(layout, prefix), layout, prefix));
        // Of equals the first.
        let (_, layout, prefix) =
            counted.rev().filter(|(count, ..)| *count > 0).max_by_key(|(count, ..)| *count)?;
        let own = names.filter_map(|name| name.strip_prefix(prefix));
        let indices =
            own.flat_map(|name| layout.rules.iter().filter_map(move |rule| counted_index(rule.from(), name)));
        Some(Self { layout, prefix, last: indices.max().unwrap_or(0) })
    }

    /// What the tensor `name` of the file is to the network.
    pub fn role(&self, name: &str) -> Role {
        let begins = |name: &str, starts: &[&str]| starts.iter().any(|start| name.starts_with(start));
        let net = self.layout.net;
        let is_anothers = || {
            let others = Net::ALL.into_iter().filter(|other| *other != net).flat_map(prefixes);
            others.filter(|prefix| !prefixes(net).contains(prefix)).any(|prefix| name.starts_with(prefix))
        };
        match name.strip_prefix(self.prefix) {
            Some(own) if begins(own, self.layout.unused) => Role::Unused,
            Some(own) if !self.prefix.is_empty() || begins(own, self.layout.roots) => Role::Own,
            _ if begins(name, &OTHERS) || is_anothers() => Role::Unused,
            _ => Role::Stray,
        }
    }

    /// The tensors of diffusers' names that the tensor `name` of the file `path` makes up, one of its own.
    pub fn renamed(
        &self,
        name: &str,
        tensors: &BTreeMap<String, Stored>,
        path: &Path,
    ) -> Result<Vec<(String, Stored)>, WeightsError> {
        let own = name.strip_prefix(self.prefix).unwrap_or(name);
        let stored = &tensors[name];
        let Some((rule, captures)) = self.rule_from(own) else {
            return Ok(vec![(own.to_owned(), stored.clone())]);
        };
        let targets = rule.to().iter().filter_map(|to| filled(to, &captures, self.last));
        if let Rule::Alias(_, to) = rule
            && tensors.contains_key(&format!("{}{to}", self.prefix))
        {
            return Ok(Vec::new());
        }
        let matrix = name.rsplit_once('.').map(|(module, _)| format!("{module}.weight")).unwrap_or_default();
        let weight = tensors.get(&matrix);
        if weight.is_none() && matches!(rule, Rule::Rows(..)) {
            return Err(WeightsError::WithoutMatrix {
                path: path.to_owned(),
                tensor: name.to_owned(),
                matrix,
            });
        }
        let parts = rule.split(stored, weight).ok_or_else(|| WeightsError::Fused {
            path: path.to_owned(),
            tensor: name.to_owned(),
            shape: stored.shape.clone(),
            into: rule.to().iter().filter_map(|to| filled(to, &captures, self.last)).collect(),
        })?;
        Ok(targets.zip(parts).collect())
    }

    /// The name that the file has, or would have, for the tensor that diffusers calls `name`.
    pub fn in_file(&self, name: &str) -> String {
        let source =
            self.rule_to(name).and_then(|(rule, captures)| filled(rule.from(), &captures, self.last));
        format!("{}{}", self.prefix, source.as_deref().unwrap_or(name))
    }

    /// The shape that the file's tensor should have of which the one that diffusers calls `name` is part; `shapes` are those
    /// of diffusers' tensors.
    pub fn shape_in_file<'a>(
        &self,
        name: &str,
        shapes: impl Fn(&str) -> Option<&'a [usize]>,
    ) -> Option<Vec<usize>> {
        let Some((rule, captures)) = self.rule_to(name) else { return shapes(name).map(<[usize]>::to_vec) };
        let parts = rule.to().iter().map(|to| shapes(&filled(to, &captures, self.last)?));
        Some(rule.joined(&parts.collect::<Option<Vec<_>>>()?))
    }

    fn rule_from<'a>(&self, own: &'a str) -> Option<(&'static Rule, rule::Captures<'a>)> {
        let mut rules = self.layout.rules.iter();
        rules.find_map(|rule| Some((rule, captures(rule.from(), own, self.last)?)))
    }

    /// The rule that gives the tensor that diffusers calls `name`.
    fn rule_to<'a>(&self, name: &'a str) -> Option<(&'static Rule, rule::Captures<'a>)> {
        let mut rules = self.layout.rules.iter().filter(|rule| !matches!(rule, Rule::Alias(..)));
        rules.find_map(|rule| rule.to().iter().find_map(|to| Some((rule, captures(to, name, self.last)?))))
    }
}

impl Layout {
    fn is_marked(&self, prefix: &str, name: &str) -> bool {
        let own = name.strip_prefix(prefix);
        own.is_some_and(|own| self.marks.iter().any(|mark| own.starts_with(mark)))
    }
}

/// Names of each network, to tell what a file of it looks like.
pub(super) fn examples(net: Net) -> String {
    let layouts = LAYOUTS.iter().filter(|layout| layout.net == net);
    let examples = layouts.map(|layout| format!("`{}` ({})", layout.example, layout.names));
    examples.collect::<Vec<_>>().join(" or ")
}
