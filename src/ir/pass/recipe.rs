//! Recipes: the passes that a user asks for, and the pipeline that follows from them.

use super::options::{Written, is_same};
use super::{Pipeline, PipelineError, Registry, nearest};
use serde_json::{Map, Value};

/// The word for the default passes in pipeline text.
pub(super) const DEFAULT: &str = "default";

/// The passes that a user asks for. They run with the default passes of the device, which are lossless, in an order that the
/// passes' properties determine; or a recipe is exactly the passes that it lists.
///
/// As text it is a pipeline, which may contain the word `default` for the default passes; then all passes run in the order
/// written: `cache(fora)` is FORA with all default passes around it, `default,tap(h.*)` taps the result of the default passes.
#[derive(Clone, Debug, Default)]
pub struct Recipe {
    /// Between them, `default` is written.
    parts: Vec<Pipeline>,
    /// Passes that run where their properties allow it, whatever the order of the others is.
    anywhere: Pipeline,
    is_exact: bool,
}

impl Recipe {
    /// These passes, with the default ones.
    pub fn wanted(passes: Pipeline) -> Self {
        Self { parts: vec![passes], ..Self::default() }
    }

    /// These passes and no others, in this order.
    pub fn exactly(passes: Pipeline) -> Self {
        Self { parts: vec![passes], ..Self::default() }.only()
    }

    /// Parses pipeline text, in which `default` means the default passes.
    pub fn parse(text: &str, registry: &Registry) -> Result<Self, PipelineError> {
        let mut recipe = Self::default();
        recipe.append(text, registry)?;
        Ok(recipe)
    }

    /// Adds what `text` lists.
    pub(super) fn append(&mut self, text: &str, registry: &Registry) -> Result<(), PipelineError> {
        Pipeline::written(text)?
            .into_iter()
            .try_for_each(|Written { name, options }| self.push(registry, &name, options))
    }

    /// Adds the pass `name`, or the default ones.
    pub(super) fn push(
        &mut self,
        registry: &Registry,
        name: &str,
        options: Map<String, Value>,
    ) -> Result<(), PipelineError> {
        if !is_same(name, DEFAULT) || registry.find(DEFAULT).is_some() {
            return self.last().push_options(registry, name, options).map_err(|error| match error {
                PipelineError::Unknown { name, nearest, known } => {
                    let nearest = nearest.or_else(|| nearest::nearest([DEFAULT].into_iter(), &name));
                    PipelineError::Unknown {
                        name,
                        nearest,
                        known: format!("{known}; `{DEFAULT}` stands for the default passes"),
                    }
                }
                other => other,
            });
        }
        if !options.is_empty() {
            let message = "it stands for the default passes and has no options".to_owned();
            return Err(PipelineError::Options { pass: DEFAULT, message });
        }
        self.last();
        self.parts.push(Pipeline::new());
        Ok(())
    }

    /// The part that passes are added to.
    fn last(&mut self) -> &mut Pipeline {
        if self.parts.is_empty() {
            self.parts.push(Pipeline::new());
        }
        self.parts.last_mut().expect("there is one")
    }

    /// With these passes too, wherever what they require holds: they have no place in a list.
    pub fn and(mut self, passes: Pipeline) -> Self {
        self.anywhere.append(passes);
        self
    }

    /// The passes, if the default ones run around them: then that is all there is to the recipe.
    pub fn listed(&self) -> Option<Pipeline> {
        if self.is_exact || self.parts.len() > 1 {
            return None;
        }
        let mut all = self.parts.first().cloned().unwrap_or_default();
        all.append(self.anywhere.clone());
        Some(all)
    }

    /// Whether no pass is asked for.
    pub fn is_empty(&self) -> bool {
        self.anywhere.is_empty() && self.parts.iter().all(Pipeline::is_empty) && self.parts.len() < 2
    }

    /// Whether nothing is asked for, not even that no pass runs.
    pub fn is_default(&self) -> bool {
        self.is_empty() && !self.is_exact
    }

    /// The same passes and no others.
    pub fn only(mut self) -> Self {
        self.is_exact = true;
        self
    }

    /// The pipeline, given the default passes.
    ///
    /// Requested passes run before the first default pass that [ends](super::Pass::ends) a property, so that all properties
    /// hold for them. Requested passes that are default passes too do not run twice; their options, if any, replace those of
    /// the default. A pass that requires a property which another one ends is moved before that one.
    pub fn pipeline(&self, default: &Pipeline) -> Pipeline {
        match &self.parts[..] {
            [] if !self.is_exact => default.with(&self.anywhere),
            [wanted] if !self.is_exact => {
                let mut wanted = wanted.clone();
                wanted.append(self.anywhere.clone());
                default.with(&wanted)
            }
            parts => {
                let mut all = Pipeline::new();
                for (index, part) in parts.iter().enumerate() {
                    if index > 0 {
                        all.append(default.clone());
                    }
                    all.append(part.clone());
                }
                if self.anywhere.is_empty() {
                    return all;
                }
                all.append(self.anywhere.clone());
                all.arranged()
            }
        }
    }
}
