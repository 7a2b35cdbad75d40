//! Values inside the network as results.

use crate::UNSHARDED;
use reflux_ir::pass::{
    Changed, Exactness, Pass, PassContext, PassError, Property, counted, did_you_mean, nearest, options_of,
};
use reflux_ir::{Graph, Name, Patch, Program, ValueId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::HashSet;

/// Makes the values named by `values` results of every variant, under their own names, so that a run returns them.
///
/// `*` at the end matches any suffix: `tap(h.*)` returns the stream after every block of that stack.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tap {
    /// The name of a value, or a prefix followed by `*`.
    pub values: String,
    /// Accept that no value has such a name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[schemars(!skip_serializing_if)]
    pub allow_nothing: bool,
}

impl Pass for Tap {
    fn name(&self) -> &'static str {
        "tap"
    }

    fn options(&self) -> Map<String, Value> {
        options_of(self)
    }

    fn exactness(&self) -> Exactness {
        Exactness::Exact
    }

    /// A share of a value is no result.
    fn requires(&self) -> &'static [Property] {
        &[UNSHARDED]
    }

    fn run(&self, program: &mut Program, cx: &mut PassContext) -> Result<Changed, PassError> {
        let graphs = || program.giving_results().map(|(_, graph)| graph);
        let Some(first) = graphs().next() else { return Ok(Changed::No) };
        // Variants agree on their results, so a value must be in all of them, under one type.
        let fact = |graph: &Graph, name: &Name| graph.find(name).map(|id| graph[id].fact.clone());
        let everywhere = |name: &Name| {
            let Some(first) = fact(first, name) else { return false };
            graphs().all(|graph| fact(graph, name).is_some_and(|fact| fact.same_type(&first)))
        };
        let outputs = graphs().flat_map(|graph| graph.outputs().iter().map(move |output| (graph, output)));
        let are_others = outputs.filter(|(graph, output)| Some(output.value) != graph.find(&output.label));
        let carried = program.carries.iter().map(|carry| &carry.name);
        let taken: HashSet<&Name> = are_others.map(|(_, output)| &output.label).chain(carried).collect();
        let can_be_result = |name: &Name| everywhere(name) && !taken.contains(name);
        let names: Vec<Name> = self.matching(first).into_iter().filter(can_be_result).collect();
        if names.is_empty() && !self.allow_nothing {
            let all = || graphs().flat_map(|graph| graph.ids().map(move |id| &*graph[id].name));
            if !all().any(|name| self.is_meant(name)) {
                let meant = did_you_mean(&nearest(all(), self.values.trim_end_matches('*')));
                return Err(PassError::Nothing(format!("no value is called `{}`{meant}", self.values)));
            }
            return Err(PassError::Nothing(format!(
                "`{}` names no value that can be returned: every variant must have the value, with the same type and \
                 unquantized, and no other result or carried value may have its name; run `tap` before a cache, whose \
                 variants lack values",
                self.values
            )));
        }
        let mut added = 0;
        for graph in graphs_mut(program) {
            let known: HashSet<Name> = graph.outputs().iter().map(|output| output.label.clone()).collect();
            let found = names.iter().filter(|name| !known.contains(*name));
            let found: Vec<_> =
                found.map(|name| (name.clone(), graph.find(name).expect("it is everywhere"))).collect();
            added += found.len();
            let mut patch = Patch::new(graph, "tap");
            found.into_iter().for_each(|(name, id)| patch.output(name, id));
            patch.apply()?;
        }
        if added > 0 {
            cx.report.note(format!(
                "{} added to the results",
                counted(added / graphs_mut(program).count(), "value")
            ));
        }
        Ok((added > 0).into())
    }
}

/// The graphs that give results, to be edited.
fn graphs_mut(program: &mut Program) -> impl Iterator<Item = &mut Graph> {
    let Program { variants, probes, .. } = program;
    variants.iter_mut().filter(|(name, _)| !probes.contains_key(*name)).map(|(_, graph)| graph)
}

impl Tap {
    /// Whether `values` matches this name.
    fn is_meant(&self, name: &str) -> bool {
        match self.values.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => *name == *self.values,
        }
    }

    /// The names that `values` matches, in program order.
    fn matching(&self, graph: &Graph) -> Vec<Name> {
        let is_plain = |id: &ValueId| !graph.is_leaf(*id) && !graph[*id].fact.is_quantized();
        let values = graph.order().into_iter().filter(is_plain);
        values.map(|id| graph[id].name.clone()).filter(|name| self.is_meant(name)).collect()
    }
}
