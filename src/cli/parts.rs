//! Options that replace the weights of single networks.

use crate::Error;
use clap::{Arg, ArgMatches, Command, value_parser};
use reflux_models::{Net, Parts, nets};
use std::fmt::Display;
use std::path::{Path, PathBuf};

/// Weights in place of those in the model's folder: an option for each network that a family has.
#[derive(Default)]
pub struct PartArgs(Parts);

impl clap::Args for PartArgs {
    fn augment_args(command: Command) -> Command {
        nets().into_iter().fold(command, |command, net| {
            let option = Arg::new(net.name).long(net.name).value_name("FILE|DIR");
            let help = format!("Weights to use instead of the model's for {}", net.help);
            command.arg(option.value_parser(value_parser!(PathBuf)).help(help))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for PartArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = nets().into_iter().filter_map(|net| Some((net, matches.get_one::<PathBuf>(net.name)?)));
        Ok(Self(given.fold(Parts::default(), |parts, (net, path)| parts.with(net.name, path))))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl PartArgs {
    /// The networks that are given.
    pub fn parts(&self) -> Parts {
        self.0.clone()
    }

    /// Where they are.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().map(|(_, path)| path)
    }

    /// Refuses the options where there are no weights to replace, since `what` is given.
    ///
    /// # Errors
    /// [`Error::Usage`], if one is given.
    pub fn refuse(&self, what: impl Display) -> Result<(), Error> {
        match self.given() {
            Some(option) => {
                Err(Error::Usage(format!("{option} gives weights of a model, and {what}; leave it out")))
            }
            None => Ok(()),
        }
    }

    /// The first of the options that is given.
    pub fn given(&self) -> Option<String> {
        nets().into_iter().find(|net| self.0.get(net).is_some()).map(Net::option)
    }
}
