//! What an e-graph had to choose among, for people.

use super::extract::Pricing;
use super::plan::{Explored, FusionPlanner};
use super::region::{Outline, Region};
use super::term::{ENode, Terms, What};
use egg::{Id, StopReason};
use indexmap::IndexMap;
use indexmap::map::Entry;
use reflux_ir::op::Op;
use reflux_ir::pass::{Alternatives, EqualTerm, EqualTerms, PassError};
use reflux_ir::{Name, Stage};

/// The alternatives for each outline among `regions`, with the names of its first use.
///
/// # Errors
/// A bug of a rule.
pub fn alternatives(
    planner: &FusionPlanner,
    regions: impl Iterator<Item = (Stage, Region)>,
) -> Result<Vec<Alternatives>, PassError> {
    let mut found: IndexMap<Outline, Alternatives> = IndexMap::new();
    for (stage, region) in regions {
        match found.entry(region.outline.clone()) {
            Entry::Occupied(mut known) => known.get_mut().uses += 1,
            Entry::Vacant(new) => drop(new.insert(of_region(planner, stage, &region)?)),
        }
    }
    Ok(found.into_values().collect())
}

fn of_region(planner: &FusionPlanner, stage: Stage, region: &Region) -> Result<Alternatives, PassError> {
    let explored = planner.explored(&region.outline, |leaf| region.names.written[leaf].clone())?;
    let Explored { plan, terms, classes } = &explored;
    let value = |id: Id| {
        let index = classes.iter().position(|&class| class == id)?;
        Some(region.names.ops[index].0.clone())
    };
    let pricing = Pricing::new(terms, planner.machine);
    let extracted = &plan.found.extracted;
    let written = Written { terms, value: &value };
    let class = |class: &egg::EClass<ENode, super::term::Known>| {
        let id = terms.find(class.id);
        let chosen = extracted.terms.get(&id);
        let term = |term: &ENode| EqualTerm {
            text: written.term(term),
            nanoseconds: pricing.price(term).nanoseconds,
            is_chosen: chosen == Some(term),
        };
        let mut equal: Vec<EqualTerm> = class.nodes.iter().map(term).collect();
        equal.sort_by(|a, b| (a.nanoseconds, &a.text).cmp(&(b.nanoseconds, &b.text)));
        EqualTerms { id: id.into(), value: value(id), fact: class.data.fact.clone(), terms: equal }
    };
    let is_leaf = |class: &&egg::EClass<ENode, super::term::Known>| {
        class.nodes.iter().any(|term| match &term.what {
            What::Leaf(_) => true,
            What::Op(op) => matches!(op, Op::Constant(_)),
        })
    };
    let mut shown: Vec<EqualTerms> = terms.classes().filter(|found| !is_leaf(found)).map(class).collect();
    shown.sort_by_key(|class| class.id);
    Ok(Alternatives {
        stage,
        uses: 1,
        ops: [region.outline.ops.len(), plan.ops.len()],
        nanoseconds: extracted.price.nanoseconds,
        greedy: extracted.greedy.nanoseconds,
        tree: extracted.tree.nanoseconds,
        rounds: plan.found.rounds,
        is_saturated: !plan.found.is_narrowed && matches!(plan.found.stop, StopReason::Saturated),
        size: [plan.found.classes, plan.found.terms],
        classes: shown,
    })
}

/// How terms are written: what they read by the name of the value or of the leaf, else by the number of its class.
struct Written<'a> {
    terms: &'a Terms,
    value: &'a dyn Fn(Id) -> Option<Name>,
}

impl Written<'_> {
    fn term(&self, term: &ENode) -> String {
        let operands: Vec<String> = term.operands.iter().map(|&id| self.operand(id)).collect();
        match &term.what {
            What::Op(op) if !matches!(op, Op::Constant(_)) => op.term(&operands),
            _ => term.to_string(),
        }
    }

    fn operand(&self, id: Id) -> String {
        let id = self.terms.find(id);
        let leaf = self.terms[id].nodes.iter().find(|term| term.operands.is_empty());
        match (leaf, (self.value)(id)) {
            (Some(leaf), _) => leaf.to_string(),
            (None, Some(value)) => format!("%{value}"),
            (None, None) => format!("#{id}"),
        }
    }
}
