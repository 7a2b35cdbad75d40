//! The registry of passes.

use super::nearest::nearest;
use super::{About, Pass, PipelineError, RuleInfo, options};
use crate::words;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// A pass that pipelines can name.
#[derive(Clone, Copy)]
pub struct PassInfo {
    pub name: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// The option that may be given first, without its key.
    pub positional: Option<&'static str>,
    /// The pass as pipeline text, with options that show what it is for.
    pub example: &'static str,
    /// Its documentation and that of its options: [`About::of`] the struct.
    pub about: fn() -> About,
    /// Builds the pass from its options; unknown ones are errors.
    pub build: fn(Map<String, Value>) -> Built,
}

/// A pass, or what is wrong with its options.
pub type Built = Result<Box<dyn Pass>, serde_json::Error>;

impl PassInfo {
    /// The pass with `options` as written by people, or an error in those.
    pub fn with_options(&self, options: Map<String, Value>) -> Result<Box<dyn Pass>, String> {
        let options = options::settled(options, &(self.about)())?;
        (self.build)(options).map_err(|error| words::of_serde(&error.to_string()))
    }

    /// A [`PassInfo::build`] for passes whose options are their fields.
    pub fn from_options<P: Pass + DeserializeOwned + 'static>(options: Map<String, Value>) -> Built {
        serde_json::from_value::<P>(Value::Object(options)).map(|pass| Box::new(pass) as Box<dyn Pass>)
    }
}

/// The passes that pipelines can name.
#[derive(Clone)]
pub struct Registry {
    passes: Vec<PassInfo>,
}

impl Registry {
    /// A registry of these passes.
    pub fn new(passes: &[PassInfo]) -> Self {
        Self { passes: passes.to_vec() }
    }

    /// The same registry with another pass, in the place of the one of that name if there is one.
    pub fn with(mut self, pass: PassInfo) -> Self {
        match self.passes.iter_mut().find(|known| known.name == pass.name) {
            Some(known) => *known = pass,
            None => self.passes.push(pass),
        }
        self
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &PassInfo> {
        self.passes.iter()
    }

    /// The pass called `name`, in upper or lower case.
    pub fn find(&self, name: &str) -> Option<&PassInfo> {
        self.passes.iter().find(|pass| options::is_same(pass.name, name))
    }

    /// The first pass that has the rule `name`, with the options of its example, and the rule.
    pub fn pass_with_rule(&self, name: &str) -> Option<(&PassInfo, RuleInfo)> {
        self.iter().find_map(|info| {
            let rules = self.example(info)?.passes().flat_map(Pass::rules).collect::<Vec<_>>();
            Some((info, rules.into_iter().find(|rule| rule.name == name)?))
        })
    }

    /// The pass called `name`, or the error that there is none.
    pub fn get(&self, name: &str) -> Result<&PassInfo, PipelineError> {
        self.find(name).ok_or_else(|| {
            let known: Vec<_> = self.iter().map(|pass| pass.name).collect();
            let nearest = nearest(known.iter().copied(), name);
            PipelineError::Unknown { name: name.to_owned(), nearest, known: known.join(", ") }
        })
    }
}
