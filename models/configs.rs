//! The configuration of a whole model, from its files.

use crate::config_file::ConfigFile;
use crate::error::ModelError;
use crate::net::Net;
use crate::scheduler::SchedulerConfig;
use crate::settings::Component;
use crate::weights::Weights;
use std::path::PathBuf;

/// The opened config files of a model, from which a [`Family`](crate::Family) makes a model.
#[derive(Debug)]
pub struct Configs {
    pub(crate) folder: PathBuf,
    pub(crate) networks: Vec<(&'static Net, Described)>,
    /// `None` for a file of weights that has none beside it.
    pub(crate) scheduler: Option<ConfigFile>,
    /// Unknown settings in the files, which are ignored.
    pub warnings: Vec<String>,
}

/// What describes a network.
#[derive(Debug)]
pub(crate) enum Described {
    /// A file, and the weights that are given in place of those that it belongs to, if it does not lie beside the network's own.
    ByFile(ConfigFile, Option<Box<Weights>>),
    /// Nothing but its weights.
    ByWeights(Box<Weights>),
}

impl Configs {
    /// The settings of the network `net`.
    ///
    /// # Errors
    /// As [`ConfigFile::component`], or if weights without a config file do not determine them.
    pub fn network<P: Component>(&mut self, net: &'static Net) -> Result<P, ModelError> {
        self.network_with(net, |_| Ok(()))
    }

    /// The same, with a check of the family in addition to [`Component::check`].
    pub fn network_with<P: Component>(
        &mut self,
        net: &'static Net,
        check: impl FnOnce(&P) -> Result<(), String>,
    ) -> Result<P, ModelError> {
        let found = self.networks.iter().find(|(other, _)| *other == net);
        let (_, described) = found.expect("a family asks for its own networks");
        match described {
            Described::ByFile(file, weights) => {
                let part: P = file.component(Some(net), &mut self.warnings)?;
                let part = match weights {
                    Some(weights) => part.of_variant(&|name| weights.shape(name).map(<[usize]>::to_vec)),
                    None => part,
                };
                check(&part).map_err(|why| file.refused(why))?;
                Ok(part)
            }
            Described::ByWeights(weights) => {
                let part: P = weights.config(net)?;
                let checked = part.check().and_then(|()| check(&part));
                checked.map_err(|why| ModelError::Setting { path: weights.path().to_owned(), why })?;
                Ok(part)
            }
        }
    }

    /// The scheduler's settings: those of `built_in` for a file of weights without others.
    ///
    /// # Errors
    /// As [`ConfigFile::component`].
    pub fn scheduler(
        &mut self,
        built_in: impl FnOnce() -> SchedulerConfig,
    ) -> Result<SchedulerConfig, ModelError> {
        match &self.scheduler {
            Some(file) => file.component(None, &mut self.warnings),
            None => Ok(built_in()),
        }
    }

    /// The error for parts of different models.
    pub fn mixed(&self, why: String) -> ModelError {
        ModelError::Mixed { folder: self.folder.clone(), why }
    }
}
