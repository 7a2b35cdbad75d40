//! Passes in order.

use super::{Exactness, Pass, PassReport, Property, Registry, did_you_mean, options};
use crate::Program;
use std::collections::BTreeMap;
use std::fmt;

/// Passes in the order in which they run. Prints as the text that it parses from.
///
/// The text is `name(options),name(options)…`; an option is `key=value`, the first may be a bare value, and lists are
/// `[a,b]`: `canonicalize,hoist,quantize(int8dq,exclude=norm+embedding),cache(fora,interval=3),dce`.
#[derive(Default)]
pub struct Pipeline {
    passes: Vec<Entry>,
}

struct Entry {
    pass: Box<dyn Pass>,
    positional: Option<&'static str>,
}

/// Text that is no pipeline.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PipelineError {
    #[error("pipeline: {message}\n  {text}\n  {:>1$}", "^", at + 1)]
    Syntax { message: String, text: String, at: usize },
    #[error("there is no pass `{name}`{}; there are {known}", did_you_mean(.nearest))]
    Unknown { name: String, nearest: Option<&'static str>, known: String },
    #[error("pass `{pass}`: {message}")]
    Options { pass: &'static str, message: String },
}

/// Passes that cannot run in the order given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{pass}` needs {property}, {because}: {fix}")]
pub struct OrderError {
    pub pass: String,
    pub property: Property,
    pub because: String,
    pub fix: String,
}

impl Pipeline {
    /// No passes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Parses pipeline text; nothing at all is the empty pipeline.
    pub fn parse(text: &str, registry: &Registry) -> Result<Self, PipelineError> {
        let mut pipeline = Self::new();
        if text.trim().is_empty() {
            return Ok(pipeline);
        }
        let syntax = |(message, at): (String, usize)| PipelineError::Syntax {
            message,
            text: text.to_owned(),
            at: text[..at].chars().count(),
        };
        for options::Written { name, options } in options::parse(text).map_err(syntax)? {
            pipeline.push_options(registry, &name, options)?;
        }
        Ok(pipeline)
    }

    /// Appends the pass `name` with the given options, a bare one under the key `""`.
    pub(super) fn push_options(
        &mut self,
        registry: &Registry,
        name: &str,
        mut options: serde_json::Map<String, serde_json::Value>,
    ) -> Result<(), PipelineError> {
        let info = registry.get(name)?;
        let refused = |message: String| PipelineError::Options { pass: info.name, message };
        if let Some(bare) = options.shift_remove(options::BARE) {
            let Some(key) = info.positional else {
                let bare = options::value_text(&bare);
                return Err(refused(format!("`{bare}` is no option; options are given as `key=value`")));
            };
            if options.insert(key.to_owned(), bare).is_some() {
                return Err(refused(format!("the option `{key}` is given twice")));
            }
        }
        let pass = (info.build)(options).map_err(|error| refused(error.to_string()))?;
        self.passes.push(Entry { pass, positional: info.positional });
        Ok(())
    }

    /// Appends a pass that need not be in any registry.
    pub fn push(&mut self, pass: impl Pass + 'static) {
        self.passes.push(Entry { pass: Box::new(pass), positional: None });
    }

    /// Appends the passes of another pipeline.
    pub fn append(&mut self, mut other: Self) {
        self.passes.append(&mut other.passes);
    }

    /// The passes in order.
    pub fn passes(&self) -> impl ExactSizeIterator<Item = &dyn Pass> {
        self.passes.iter().map(|entry| entry.pass.as_ref())
    }

    /// Whether there are no passes.
    pub fn is_empty(&self) -> bool {
        self.passes.is_empty()
    }

    /// The least exact of the passes.
    pub fn exactness(&self) -> Exactness {
        self.passes().map(Pass::exactness).max().unwrap_or(Exactness::Exact)
    }

    /// The text of pass `index`.
    pub fn text_of(&self, index: usize) -> String {
        let Entry { pass, positional } = &self.passes[index];
        format!("{}{}", pass.name(), options::print(&pass.options(), *positional))
    }

    /// The report of pass `index` before it has run.
    pub(super) fn report_of(&self, index: usize) -> PassReport {
        let Entry { pass, positional } = &self.passes[index];
        PassReport::new(self.text_of(index), *positional, pass.exactness())
    }

    /// Checks that each pass finds what it requires, given what the passes before it end.
    pub fn check_order(&self, program: &Program) -> Result<(), OrderError> {
        let order: Vec<usize> = (0..self.passes.len()).collect();
        self.first_conflict(&order, program).map_or(Ok(()), |conflict| Err(self.explain(&conflict, program)))
    }

    /// The first pass of `order` that lacks something.
    fn first_conflict(&self, order: &[usize], program: &Program) -> Option<Conflict> {
        let mut ended: BTreeMap<Property, Option<usize>> = BTreeMap::new();
        ended
            .extend(Property::ALL.into_iter().filter(|property| !property.holds(program)).map(|p| (p, None)));
        for &index in order {
            let pass = &self.passes[index].pass;
            let lacking =
                pass.requires().iter().find_map(|property| Some((*property, *ended.get(property)?)));
            if let Some((property, ended_by)) = lacking {
                return Some(Conflict { pass: index, property, ended_by });
            }
            for &property in pass.ends() {
                ended.entry(property).or_insert(Some(index));
            }
        }
        None
    }

    fn explain(&self, conflict: &Conflict, program: &Program) -> OrderError {
        let &Conflict { pass, property, ended_by } = conflict;
        let pass_text = self.text_of(pass);
        let Some(culprit) = ended_by else {
            let because = "which does not hold of the program given".to_owned();
            let fix = format!("run `{pass_text}` on the program as it was before that");
            return OrderError { pass: pass_text, property, because, fix };
        };
        let culprit_text = self.text_of(culprit);
        let because = format!("which `{culprit_text}`, before it, ends");
        // The fix is to let the pass come first, if it can.
        let mut order: Vec<usize> = (0..self.passes.len()).filter(|&index| index != pass).collect();
        order.insert(culprit, pass);
        let upto = &order[..=pass];
        let fix = match self.first_conflict(upto, program) {
            None => format!("put `{pass_text}` before `{culprit_text}`"),
            Some(_) if pass_text == culprit_text => format!("run `{pass_text}` once"),
            Some(_) => format!("`{pass_text}` and `{culprit_text}` cannot be combined, remove one of them"),
        };
        OrderError { pass: pass_text, property, because, fix }
    }
}

/// Pass `pass` lacks `property`, since pass `ended_by`, or from the start.
struct Conflict {
    pass: usize,
    property: Property,
    ended_by: Option<usize>,
}

impl fmt::Display for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<_> = (0..self.passes.len()).map(|index| self.text_of(index)).collect();
        f.write_str(&texts.join(","))
    }
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pipeline({self})")
    }
}
