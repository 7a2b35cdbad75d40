//! Pipelines: passes in order.

use super::about::value_text;
use super::pipeline_error::{OrderError, PipelineError};
use super::{Exactness, ONE_VARIANT, Pass, PassReport, Property, Registry, options};
use crate::{Advice, Machine, Name, Program};
use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

/// Passes in the order in which they run. Prints as the text that it parses from.
///
/// The text is `name(options),name(options)…`; an option is `key=value`, the first may be a bare value, and lists are
/// `[a,b]`: `canonicalize,hoist,quantize(int8dq,exclude=norm+embedding),cache(fora,interval=3),dce`.
#[derive(Clone, Default)]
pub struct Pipeline {
    passes: Vec<Entry>,
}

#[derive(Clone)]
struct Entry {
    pass: Arc<dyn Pass>,
    positional: Option<&'static str>,
    /// Whether no option was given.
    is_plain: bool,
}

impl Pipeline {
    /// No passes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Parses pipeline text; nothing at all is the empty pipeline.
    pub fn parse(text: &str, registry: &Registry) -> Result<Self, PipelineError> {
        let mut pipeline = Self::new();
        for options::Written { name, options } in Self::written(text)? {
            pipeline.push_options(registry, &name, options)?;
        }
        Ok(pipeline)
    }

    /// What pipeline text lists.
    pub(super) fn written(text: &str) -> Result<Vec<options::Written>, PipelineError> {
        if text.trim().is_empty() {
            return Ok(Vec::new());
        }
        let syntax = |(message, at): (String, usize)| PipelineError::Syntax {
            message,
            text: text.to_owned(),
            at: text[..at].chars().count(),
        };
        options::parse(text).map_err(syntax)
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
                let bare = value_text(&bare);
                return Err(refused(format!("`{bare}` is not an option; options are given as `key=value`")));
            };
            if options.insert(key.to_owned(), bare).is_some() {
                return Err(refused(format!("the option `{key}` is given twice")));
            }
        }
        let is_plain = options.is_empty();
        let pass = info.with_options(options).map_err(refused)?;
        self.passes.push(Entry { pass: pass.into(), positional: info.positional, is_plain });
        Ok(())
    }

    /// Appends a pass that need not be in any registry.
    pub fn push(&mut self, pass: impl Pass + 'static) {
        self.passes.push(Entry { pass: Arc::new(pass), positional: None, is_plain: false });
    }

    /// Appends the passes of another pipeline.
    pub fn append(&mut self, mut other: Self) {
        self.passes.append(&mut other.passes);
    }

    /// Sets `machine` for passes that depend on the machine and were given none. Returns whether there are any.
    pub fn settle(&mut self, machine: &'static Machine) -> bool {
        let Ok(any) = self.replace(|pass| Ok::<_, Infallible>(pass.settled(machine)));
        any
    }

    /// Puts others in the place of passes, where `other` has one. Returns whether there are any.
    ///
    /// # Errors
    /// The first of `other`.
    pub fn replace<E>(
        &mut self,
        mut other: impl FnMut(&dyn Pass) -> Result<Option<Arc<dyn Pass>>, E>,
    ) -> Result<bool, E> {
        let mut any = false;
        for entry in &mut self.passes {
            if let Some(pass) = other(entry.pass.as_ref())? {
                entry.pass = pass;
                any = true;
            }
        }
        Ok(any)
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
        let Entry { pass, positional, .. } = &self.passes[index];
        format!("{}{}", pass.name(), options::print(&pass.options(), *positional))
    }

    /// The report of pass `index` before it has run.
    pub(super) fn report_of(&self, index: usize) -> PassReport {
        let Entry { pass, positional, .. } = &self.passes[index];
        PassReport::new(pass.name(), self.text_of(index), *positional, pass.exactness())
    }

    /// These passes with `wanted` inserted, as described at [`Recipe::pipeline`](super::Recipe::pipeline).
    pub(super) fn with(&self, wanted: &Self) -> Self {
        let mut all = self.clone();
        let mut more = Vec::new();
        let mut replaced: HashSet<&str> = HashSet::new();
        for entry in &wanted.passes {
            let name = entry.pass.name();
            let is_same = |own: &Entry| own.pass.name() == name;
            let Some(last) = all.passes.iter().rposition(is_same) else {
                more.push(entry.clone());
                continue;
            };
            if entry.is_plain {
                continue;
            }
            // A pass that is requested twice with options runs twice.
            if replaced.insert(name) {
                all.passes.iter_mut().filter(|own| is_same(own)).for_each(|own| *own = entry.clone());
            } else {
                all.passes.insert(last + 1, entry.clone());
            }
        }
        let ending = all.passes.iter().position(|entry| !entry.pass.ends().is_empty());
        let place = ending.unwrap_or(all.passes.len());
        all.passes.splice(place..place, more);
        all.arranged()
    }

    /// The same passes, with each pass that requires what another one ends moved before that one, where possible.
    pub(super) fn arranged(self) -> Self {
        let mut order: Vec<usize> = (0..self.passes.len()).collect();
        // Passes that end what each other require would be moved forever.
        for _ in 0..order.len().pow(2) {
            let Some(conflict) = self.first_conflict(&order, |_| true) else {
                return Self { passes: order.into_iter().map(|index| self.passes[index].clone()).collect() };
            };
            let Some(culprit) = conflict.ended_by else { break };
            order = moved_before(&order, conflict.pass, culprit);
        }
        self
    }

    /// Every property that one of the passes needs, ends or brings about, and that every step runs the same graph.
    pub(super) fn properties(&self) -> Vec<Property> {
        let mut all = vec![ONE_VARIANT];
        for pass in self.passes() {
            let named = [pass.requires(), pass.ends(), pass.brings()].into_iter().flatten();
            let new: Vec<_> = named.filter(|property| !all.contains(property)).copied().collect();
            all.extend(new);
        }
        all
    }

    /// Checks that each pass finds what it requires, given what the passes before it end and bring about.
    pub fn check_order(&self, program: &Program) -> Result<(), Box<OrderError>> {
        let order: Vec<usize> = (0..self.passes.len()).collect();
        let conflict = self.first_conflict(&order, |property| (property.holds)(program));
        conflict.map_or(Ok(()), |conflict| Err(self.explain(&conflict, program)))
    }

    /// The first pass of `order` that lacks something.
    fn first_conflict(&self, order: &[usize], holds: impl Fn(Property) -> bool) -> Option<Conflict> {
        // The properties that do not hold, and which pass ended each.
        let mut ended: HashMap<Property, Option<usize>> = HashMap::new();
        let untrue = self.properties().into_iter().filter(|property| !holds(*property));
        ended.extend(untrue.map(|property| (property, None)));
        for &index in order {
            let pass = &self.passes[index].pass;
            let lacking =
                pass.requires().iter().find_map(|property| Some((*property, *ended.get(property)?)));
            if let Some((property, ended_by)) = lacking {
                return Some(Conflict { pass: index, property, ended_by });
            }
            for property in pass.ends() {
                ended.entry(*property).or_insert(Some(index));
            }
            for property in pass.brings() {
                ended.remove(property);
            }
        }
        None
    }

    fn explain(&self, conflict: &Conflict, program: &Program) -> Box<OrderError> {
        let &Conflict { pass, property, ended_by } = conflict;
        let pass_text = self.text_of(pass);
        let Some(culprit) = ended_by else {
            let because = if property == ONE_VARIANT {
                format!("the input program has {}", variants_of(program))
            } else {
                "this is not so in the input program".to_owned()
            };
            let bringing =
                (0..self.passes.len()).find(|&other| self.passes[other].pass.brings().contains(&property));
            let (fix, possible) = match bringing {
                Some(other) => (format!("put `{}` before `{pass_text}`", self.text_of(other)), None),
                None => {
                    (format!("run `{pass_text}` on an earlier form of the program"), self.possible(program))
                }
            };
            let advice = possible.map(|passes| Advice::Passes(passes.to_string())).into_iter().collect();
            return Box::new(OrderError { pass: pass_text, property, because, fix, advice });
        };
        let culprit_text = self.text_of(culprit);
        let because = format!("this no longer holds after `{culprit_text}`");
        // The fix is to move the pass before the one that ends the property, or further, if possible.
        let all: Vec<usize> = (0..self.passes.len()).collect();
        let works = |other: &usize| {
            let order = moved_before(&all, pass, *other);
            self.first_conflict(&order[..=pass], |property| (property.holds)(program)).is_none()
        };
        let fix = match (0..=culprit).rev().find(works) {
            Some(other) => format!("put `{pass_text}` before `{}`", self.text_of(other)),
            None if pass_text == culprit_text => format!("run `{pass_text}` once"),
            None => format!("`{pass_text}` and `{culprit_text}` cannot be combined, remove one of them"),
        };
        Box::new(OrderError { pass: pass_text, property, because, fix, advice: Vec::new() })
    }

    /// Those of the passes that can run on `program`, one after the other, if there are any.
    fn possible(&self, program: &Program) -> Option<Self> {
        let mut order: Vec<usize> = (0..self.passes.len()).collect();
        while let Some(conflict) = self.first_conflict(&order, |property| (property.holds)(program)) {
            order.retain(|&index| index != conflict.pass);
        }
        let passes = order.into_iter().map(|index| self.passes[index].clone()).collect();
        Some(Self { passes }).filter(|possible| !possible.is_empty())
    }
}

/// The variants and probes of `program`, in a phrase.
fn variants_of(program: &Program) -> String {
    let (probes, variants): (Vec<&Name>, Vec<&Name>) =
        program.variants.keys().partition(|name| program.is_probe(name));
    let listed =
        |names: &[&Name]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let variants = format!("the variants {}", listed(&variants));
    if probes.is_empty() { variants } else { format!("{variants}, and the probes {}", listed(&probes)) }
}

/// `order` with `pass` just before `other`.
fn moved_before(order: &[usize], pass: usize, other: usize) -> Vec<usize> {
    let mut moved: Vec<usize> = order.iter().copied().filter(|&index| index != pass).collect();
    let place = moved.iter().position(|&index| index == other).expect("it is in the order");
    moved.insert(place, pass);
    moved
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
