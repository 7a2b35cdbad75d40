//! Fusion of ops into few kernels, by equality saturation.

mod alternatives;
mod explain;
mod extract;
mod plan;
mod region;
mod rules;
mod term;

pub use explain::Proof;
use extract::Effort;
pub use extract::Extraction;
pub use rules::{Classes, FuseRule, Level, Match, RULES, SpineOp, Tree};

use crate::{UNFUSED, remove_unread};
use egg::{Id, StopReason};
use indexmap::IndexMap;
use indexmap::map::Entry;
use plan::{FusionPlan, FusionPlanner, Saturation};
use reflux_ir::pass::{
    Allowance, Alternatives, Answer, Changed, Exactness, Explanation, Mismatch, Pass, PassContext, PassError,
    Place, Property, RuleInfo, counted, is_near, options_of,
};
use reflux_ir::{Graph, Machine, PatchError, Program, Stage, ValueId};
use region::{Outline, Region, regions};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::sync::Arc;
use term::Terms;

/// Fuses ops block by block: norms with modulation and quantization into `rowwise` ops, products with bias, activation, gate
/// and residual into `gemm`s. The estimated time on `device` decides what a kernel computes twice and what goes through memory.
///
/// The ops of a block are put into an e-graph, rules add equal terms, and the cheapest of all programs in the e-graph is
/// extracted. Blocks with the same computation are fused in the same way.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fuse {
    /// The machine whose estimated times decide. If not given, the one that the program will run on if that is known, else an
    /// H100.
    #[serde(default)]
    #[schemars(with = "Machine")]
    pub device: Option<&'static Machine>,
    /// Which of the equal programs to extract.
    #[serde(default, skip_serializing_if = "Extraction::is_best")]
    #[schemars(!skip_serializing_if)]
    pub extract: Extraction,
    /// The rules: [`RULES`], unless a library user sets others.
    #[serde(skip, default = "default_rules")]
    pub rules: &'static [FuseRule],
}

fn default_rules() -> &'static [FuseRule] {
    RULES
}

impl Default for Fuse {
    fn default() -> Self {
        Self { device: None, extract: Extraction::default(), rules: RULES }
    }
}

impl Pass for Fuse {
    fn name(&self) -> &'static str {
        "fuse"
    }

    /// Includes the machine, so that the printed pipeline does the same on every machine.
    fn options(&self) -> Map<String, Value> {
        options_of(&Self { device: Some(self.machine()), ..self.clone() })
    }

    /// Values that stay inside a fused op are not rounded to the dtype of the program.
    fn exactness(&self) -> Exactness {
        Exactness::Reassociating
    }

    fn ends(&self) -> &'static [Property] {
        &[UNFUSED]
    }

    fn settled(&self, machine: &'static Machine) -> Option<Arc<dyn Pass>> {
        self.device
            .is_none()
            .then(|| Arc::new(Self { device: Some(machine), ..self.clone() }) as Arc<dyn Pass>)
    }

    fn rules(&self) -> Vec<RuleInfo> {
        self.rules.iter().map(FuseRule::info).collect()
    }

    /// Whether the rule fits at the value, or at a term that the other rules say is equal to it.
    fn why(&self, place: &Place, rule: &str) -> Option<Answer> {
        let rule = self.rules.iter().find(|known| known.name == rule)?;
        let regions = regions(place.graph);
        let Some((region, index)) = find(&regions, place.value) else {
            return Some(Err(Mismatch::new(
                "it comes from outside the region, or is a view of such a value",
            )));
        };
        let answer = |(terms, classes): (Terms, Vec<Id>)| rule.answer(&terms, classes[index]).map(|()| None);
        Some(self.saturated(&regions[region]).and_then(answer))
    }

    fn near(&self, places: &[Place]) -> Vec<Vec<(RuleInfo, Answer)>> {
        let Some(regions) = places.first().map(|place| regions(place.graph)) else { return Vec::new() };
        // A region has many values, and one e-graph for all of them.
        let mut known = HashMap::new();
        let at = |place: &Place| {
            let Some((region, index)) = find(&regions, place.value) else { return Vec::new() };
            let saturated = known.entry(region).or_insert_with(|| self.saturated(&regions[region]));
            let Ok((terms, classes)) = saturated else { return Vec::new() };
            let answer = |rule: &FuseRule| (rule.info(), rule.answer(terms, classes[index]).map(|()| None));
            self.rules.iter().map(answer).filter(|(_, answer)| is_near(answer)).collect()
        };
        places.iter().map(at).collect()
    }

    fn alternatives(&self, program: &Program) -> Result<Vec<Alternatives>, PassError> {
        let planner = self.planner(Allowance::default());
        let regions = program.variants.iter().flat_map(|(name, graph)| {
            read_regions(graph).into_iter().map(|region| (Stage::Variant(name.clone()), region))
        });
        alternatives::alternatives(&planner, regions)
    }

    fn explain(&self, program: &Program) -> Result<Vec<Explanation>, PassError> {
        Ok(self.proofs(program)?.iter_mut().map(Proof::explanation).collect())
    }

    fn run(&self, program: &mut Program, cx: &mut PassContext) -> Result<Changed, PassError> {
        let planner = self.planner(cx.allowance.clone());
        let mut plans: IndexMap<Outline, (FusionPlan, usize)> = IndexMap::new();
        let mut changed = false;
        for graph in program.variants.values_mut() {
            // What nothing reads would keep what it is made of from being fused, and be computed after all.
            changed |= remove_unread(graph, plan::RULE)? == Changed::Yes;
            let mut replaced = HashMap::new();
            for region in regions(graph) {
                let (plan, uses) = match plans.entry(region.outline.clone()) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(new) => {
                        let plan = planner.plan(new.key())?;
                        new.insert((plan, 0))
                    }
                };
                *uses += 1;
                match plan.apply(graph, &region, &mut replaced) {
                    // What another region was made of this one, and this one of that.
                    Err(PassError::Patch(error @ PatchError::Cycle { .. })) => {
                        cx.report
                            .note(format!("the region of {} stays unfused: {error}", region.names.ops[0].0));
                    }
                    applied => changed |= applied?,
                }
            }
        }
        for (rule, tally) in plans.values().flat_map(|(plan, _)| &plan.found.tallies) {
            cx.report.count_all(rule, tally.tries, tally.hits);
            cx.report.spend(rule, tally.time);
        }
        for (outline, (plan, uses)) in &plans {
            cx.report.is_cut_short |= plan.found.is_cut_short();
            cx.report.note(describe(outline, plan, *uses));
        }
        Ok(changed.into())
    }
}

impl Fuse {
    /// The e-graph of `region` when no rule adds anything to it, and the class of each of its ops.
    fn saturated(&self, region: &Region) -> Result<(Terms, Vec<Id>), Mismatch> {
        let (terms, ids) = plan::terms_of(&region.outline, plan::leaf_name, false);
        let saturated = plan::saturate(terms, self.rules, &Allowance::default());
        let (runner, _) = saturated.map_err(|error| Mismatch::new(error.to_string()))?;
        Ok((runner.egraph, ids))
    }

    /// Proofs that the pass preserves what `program` computes: one for each value that a rule made, for one block of each
    /// kind.
    ///
    /// # Errors
    /// A bug of a rule.
    pub fn proofs(&self, program: &Program) -> Result<Vec<Proof>, PassError> {
        let planner = self.planner(Allowance::default());
        let mut proven: IndexMap<Outline, Vec<Proof>> = IndexMap::new();
        for region in program.variants.values().flat_map(read_regions) {
            if let Entry::Vacant(new) = proven.entry(region.outline) {
                let plan = planner.plan(new.key())?;
                let proofs = explain::proofs(new.key(), &plan, &region.names, planner.rules)?;
                new.insert(proofs);
            }
        }
        Ok(proven.into_values().flatten().collect())
    }

    fn machine(&self) -> &'static Machine {
        self.device.unwrap_or_else(Machine::usual)
    }

    fn planner(&self, allowance: Allowance) -> FusionPlanner<'_> {
        FusionPlanner {
            rules: self.rules,
            machine: self.machine(),
            extraction: self.extract,
            allowance,
            effort: Effort::default(),
        }
    }
}

/// The region that has the value `id` among its ops, and the number of it there.
fn find(regions: &[Region], id: ValueId) -> Option<(usize, usize)> {
    let index = |region: &Region| region.values.iter().position(|&value| value == id);
    regions.iter().enumerate().find_map(|(at, region)| Some((at, index(region)?)))
}

/// The regions of `graph`, after removing what nothing reads.
fn read_regions(graph: &Graph) -> Vec<Region> {
    let mut graph = graph.clone();
    remove_unread(&mut graph, plan::RULE).expect("nothing is in the way of that");
    regions(&graph)
}

/// The report on the regions of one outline, in one line.
fn describe(outline: &Outline, plan: &FusionPlan, uses: usize) -> String {
    let Saturation { stop, is_narrowed, classes, terms, rounds, extracted, .. } = &plan.found;
    let micro = |price: extract::Price| format!("{:.1}", price.nanoseconds as f64 / 1e3);
    let mut line = format!(
        "{}: {} → {}, {} µs (greedy {}, as a tree {}); {terms} terms in {classes} classes after {}",
        counted(uses, "region"),
        outline.ops.len(),
        counted(plan.ops.len(), "op"),
        micro(extracted.price),
        micro(extracted.greedy),
        micro(extracted.tree),
        counted(*rounds, "round"),
    );
    if *is_narrowed {
        line += "; NOT SATURATED: its formulas can be divided in too many ways; only the shortest and longest were tried";
    } else if !matches!(stop, StopReason::Saturated) {
        line += &format!("; NOT SATURATED: {stop:?}");
    }
    if extracted.is_cut_short {
        line += "; the search for the cheapest terms hit its limit";
    }
    line
}
