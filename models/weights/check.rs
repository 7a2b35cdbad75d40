//! Checks that weights match a model's configuration.

use super::Weights;
use super::error::WeightsError;
use super::layout::Membership;
use super::mismatch::WeightsMismatch;
use crate::architecture::Untold;
use crate::net::Net;
use crate::settings::Component;
use reflux_ir::{Fact, Program};
use std::collections::{BTreeMap, BTreeSet};

impl Weights {
    /// Checks that every tensor of `expected` (name and shape) exists and is readable, and that the network has no others.
    ///
    /// Returns the names of unknown tensors, for a warning, except those under one of
    /// `ignored_prefixes`. Other networks' in the same file are not among them.
    ///
    /// # Errors
    /// [`WeightsError::Mismatch`], with all differences in one message.
    pub fn check(
        &self,
        expected: &[(String, Vec<usize>)],
        ignored_prefixes: &[&str],
    ) -> Result<Vec<String>, WeightsError> {
        let is_ignored = |name: &str| ignored_prefixes.iter().any(|prefix| name.starts_with(prefix));
        let shapes: BTreeMap<&str, &[usize]> =
            expected.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())).collect();
        let wanted = |name: &str| shapes.get(name).copied();
        // A file's tensor may be several of diffusers', and is listed once.
        let [mut missing, mut misshaped, mut unsupported] = [const { BTreeSet::new() }; 3];
        for (name, shape) in expected {
            let in_file = self.name_in_file(name);
            match self.tensors.get(name) {
                None => {
                    missing.insert(format!("`{in_file}`"));
                }
                Some(stored) if stored.shape != *shape => {
                    let naming = self.naming.as_ref();
                    let whole = naming.and_then(|naming| naming.shape_in_file(name, wanted));
                    let whole = whole.unwrap_or_else(|| shape.clone());
                    misshaped.insert(format!("`{in_file}` is {:?}, not {whole:?}", stored.whole));
                }
                Some(stored) if stored.encoding.read_as().is_none() => {
                    unsupported.insert(format!("`{in_file}` is {}", stored.encoding));
                }
                Some(_) => {}
            }
        }
        let others = self.names().filter(|name| wanted(name).is_none() && !is_ignored(name));
        let (unexpected, mut strays): (Vec<&str>, Vec<&str>) = others
            .filter(|name| self.aside.get(*name) != Some(&Membership::Unused))
            .partition(|name| !self.aside.contains_key(*name));
        let aside = self
            .aside
            .iter()
            .filter(|(name, role)| **role == Membership::Stray && !self.tensors.contains_key(*name));
        strays.extend(aside.map(|(name, _)| name.as_str()).filter(|name| !is_ignored(name)));
        let unexpected: BTreeSet<String> =
            unexpected.into_iter().map(|name| format!("`{}`", self.name_in_file(name))).collect();
        let mismatch = WeightsMismatch {
            path: self.path.clone(),
            differences: self.differences(wanted),
            missing: missing.into_iter().collect(),
            misshaped: misshaped.into_iter().collect(),
            unsupported: unsupported.into_iter().collect(),
            unexpected: unexpected.into_iter().collect(),
        };
        match mismatch.kinds().iter().all(|(_, tensors)| tensors.is_empty()) {
            true => Ok(strays.into_iter().map(str::to_owned).collect()),
            false => Err(Box::new(mismatch).into()),
        }
    }

    /// [`Weights::check`] for the tensors that `program` reads.
    ///
    /// # Errors
    /// As [`Weights::check`].
    pub fn check_for(
        &self,
        program: &Program,
        ignored_prefixes: &[&str],
    ) -> Result<Vec<String>, WeightsError> {
        let tensor = |(name, fact): (&&str, &&Fact)| ((*name).to_owned(), fact.shape.to_vec());
        let expected: Vec<_> = program.weights().iter().map(tensor).collect();
        self.check(&expected, ignored_prefixes)
    }

    /// The name in the files of the tensor that diffusers calls `name`.
    pub(super) fn name_in_file(&self, name: &str) -> String {
        self.naming.as_ref().map_or_else(|| name.to_owned(), |naming| naming.in_file(name))
    }

    /// The configuration of the network to which these weights belong.
    ///
    /// # Errors
    /// If its shapes do not determine it.
    pub fn config<P: Component>(&self, net: &Net) -> Result<P, WeightsError> {
        let why = |untold| match untold {
            Untold::Tensor(name) => {
                format!("`{}` is missing or has another shape", self.name_in_file(&name))
            }
            Untold::Why(why) => why,
        };
        let (path, folder) = (self.path.clone(), net.folder.to_owned());
        P::of_shapes(&|name| self.shape(name).map(<[usize]>::to_vec))
            .map_err(|untold| WeightsError::NoConfig { path, folder, why: why(untold) })
    }

    /// The differences between the configuration derived from the weights, if they determine it, and the expected one.
    fn differences<'a>(&self, wanted: impl Fn(&str) -> Option<&'a [usize]>) -> Vec<String> {
        let naming = self.naming.as_ref();
        let Some(settings) = naming.and_then(|naming| naming.layout.architecture.settings) else {
            return Vec::new();
        };
        let found = settings(&|name| self.shape(name).map(<[usize]>::to_vec));
        let wanted = settings(&|name| wanted(name).map(<[usize]>::to_vec));
        let pairs = found.into_iter().zip(wanted);
        let differ = pairs.filter(|((_, found), (_, wanted))| found != wanted);
        differ.map(|((what, found), (_, wanted))| format!("{what} {found}, not {wanted}")).collect()
    }
}
