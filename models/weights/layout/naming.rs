//! The tensor names of a file, and their diffusers names.

use super::super::error::WeightsError;
use super::super::stored::Stored;
use super::description::Layout;
use super::list::LAYOUTS;
use super::rule::{self, TensorRule, captures, counted_index, filled};
use crate::architecture::Architecture;
use std::collections::BTreeMap;
use std::path::Path;

/// What other names begin with in a file of several networks, besides the prefixes of these.
const OTHERS: [&str; 4] = ["text_encoders.", "cond_stage_model.", "conditioner.", "model_ema."];

/// The names of a file, as a layout and a prefix make them.
#[derive(Clone, Debug)]
pub(crate) struct Naming {
    pub layout: &'static Layout,
    pub prefix: &'static str,
    /// The highest index where the layout counts from the last.
    last: usize,
}

/// What a tensor of a file is to the network that the file was opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::weights) enum Membership {
    /// One of its tensors.
    Own,
    /// Its own, or another network's, and of no use.
    Unused,
    /// Nobody knows.
    Stray,
}

impl Naming {
    /// The naming of a network of this kind in a file with these names: the one that most of them are marked with.
    pub fn of<'a>(
        architecture: &'static Architecture,
        names: impl Iterator<Item = &'a str> + Clone,
    ) -> Option<Self> {
        let candidates = LAYOUTS.iter().filter(|layout| layout.architecture == architecture);
        let candidates =
            candidates.flat_map(|layout| architecture.prefixes.iter().map(move |prefix| (layout, *prefix)));
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

    /// The naming by a layout that counts no index from the last, without a prefix.
    pub fn by(layout: &'static Layout) -> Self {
        Self { layout, prefix: "", last: 0 }
    }

    /// What the tensor `name` of the file is to the network.
    pub(in crate::weights) fn role(&self, name: &str) -> Membership {
        let begins = |name: &str, starts: &[&str]| starts.iter().any(|start| name.starts_with(start));
        let own = self.layout.architecture.prefixes;
        let is_anothers = || {
            let others = LAYOUTS.iter().flat_map(|layout| layout.architecture.prefixes);
            others.filter(|prefix| !own.contains(prefix)).any(|prefix| name.starts_with(prefix))
        };
        match name.strip_prefix(self.prefix) {
            Some(own) if begins(own, self.layout.unused) => Membership::Unused,
            Some(own) if !self.prefix.is_empty() || begins(own, self.layout.roots) => Membership::Own,
            _ if begins(name, &OTHERS) || is_anothers() => Membership::Unused,
            _ => Membership::Stray,
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
        if let TensorRule::Alias(_, to) = rule
            && tensors.contains_key(&format!("{}{to}", self.prefix))
        {
            return Ok(Vec::new());
        }
        let matrix = name.rsplit_once('.').map(|(module, _)| format!("{module}.weight")).unwrap_or_default();
        let weight = tensors.get(&matrix);
        if weight.is_none() && matches!(rule, TensorRule::Rows(..)) {
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
            architecture: self.layout.architecture,
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

    fn rule_from<'a>(&self, own: &'a str) -> Option<(&'static TensorRule, rule::Captures<'a>)> {
        let mut rules = self.layout.rules.iter();
        rules.find_map(|rule| Some((rule, captures(rule.from(), own, self.last)?)))
    }

    /// The rule that gives the tensor that diffusers calls `name`.
    fn rule_to<'a>(&self, name: &'a str) -> Option<(&'static TensorRule, rule::Captures<'a>)> {
        let mut rules = self.layout.rules.iter().filter(|rule| !matches!(rule, TensorRule::Alias(..)));
        rules.find_map(|rule| rule.to().iter().find_map(|to| Some((rule, captures(to, name, self.last)?))))
    }
}
