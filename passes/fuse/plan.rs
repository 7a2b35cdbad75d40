//! The plan for regions of one outline, and its application to a graph.

use super::extract::{Effort, Extracted, Extraction, extract};
use super::region::{Leaf, Names, Outline, OutlineOperand, OutlinedOp, Region};
use super::rules::{Breadth, FuseRule, Run, Tally};
use super::term::{ENode, Facts, Terms, What};
use egg::{Id, Runner, SimpleScheduler, StopReason};
use indexmap::IndexMap;
use reflux_ir::op::{Gemm, Op};
use reflux_ir::pass::{Allowance, PassError};
use reflux_ir::{Graph, Machine, ModulePath, Name, Patch, ValueId};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// The rule that patches name.
pub const RULE: &str = "fuse";

/// A limit that no run of egg reaches: rules are directional and regions small. Runs with too much to do are ended by their
/// [`Run`], which is checked before every term and not once per round.
const MOST_ROUNDS: usize = 32;
const MOST_TERMS: usize = 1 << 20;

/// The fused form of an outline.
pub struct FusionPlan {
    /// In an order in which they can be computed.
    pub ops: Vec<PlannedOp>,
    /// What the outputs of the outline are now.
    pub outputs: Vec<OutlineOperand>,
    pub found: Saturation,
}

/// The outcome of saturation and extraction.
pub struct Saturation {
    pub stop: StopReason,
    /// Whether there were too many terms to consider all of them.
    pub is_narrowed: bool,
    /// What was tried, by rule.
    pub tallies: IndexMap<&'static str, Tally>,
    pub classes: usize,
    pub terms: usize,
    pub rounds: usize,
    pub extracted: Extracted,
}

impl Saturation {
    /// Whether limits ended it before saturation.
    pub fn is_cut_short(&self) -> bool {
        self.is_narrowed || !matches!(self.stop, StopReason::Saturated) || self.extracted.is_cut_short
    }
}

pub struct PlannedOp {
    pub op: Op,
    pub operands: Vec<OutlineOperand>,
    pub called: Called,
    /// The ops of the outline that it replaces.
    pub from: BTreeSet<usize>,
}

/// The name of a planned op.
pub enum Called {
    /// That of the op of the outline whose value it is.
    Original(usize),
    /// That of one of its operands, with a suffix.
    After(OutlineOperand, &'static str),
}

/// An e-graph of `outline`, and the class of each of its ops.
pub fn terms_of(outline: &Outline, name: impl Fn(usize) -> Name, explain: bool) -> (Terms, Vec<Id>) {
    let facts = outline.leaves.iter().enumerate().map(|(at, Leaf { fact, .. })| (name(at), fact.clone()));
    let mut terms = Terms::new(Facts::new(facts));
    if explain {
        terms = terms.with_explanations_enabled();
    }
    let mut ids: Vec<Id> = Vec::with_capacity(outline.ops.len());
    for OutlinedOp { op, operands, .. } in &outline.ops {
        let operand = |source: &OutlineOperand| match source {
            OutlineOperand::Leaf(leaf) => terms.add(ENode::leaf(name(*leaf))),
            OutlineOperand::Constant(constant) => terms.add(ENode::op(constant.clone(), Vec::new())),
            OutlineOperand::Op(index) => ids[*index],
        };
        let operands = operands.iter().map(operand).collect();
        let id = terms.add(ENode::op(op.clone(), operands));
        ids.push(id);
    }
    terms.rebuild();
    (terms, ids)
}

/// Applies `rules` to `terms` until saturation. If that exceeds the limits, starts again with few terms of each class; the
/// breadth of the returned run says which.
///
/// # Errors
/// A bug of a rule.
pub fn saturate(
    terms: Terms,
    rules: &[FuseRule],
    allowance: &Allowance,
) -> Result<(Runner<ENode, Facts>, Run), PassError> {
    let mut run = Run::new(Breadth::All, allowance.trial());
    let mut runner = apply(terms.clone(), rules, &run)?;
    if run.is_exhausted() {
        run = Run::new(Breadth::Ends, allowance.trial());
        runner = apply(terms, rules, &run)?;
    }
    // The abandoned attempt does not count.
    allowance.accept(run.allowance());
    Ok((runner, run))
}

/// Applies `rules` to `terms`, as far as `run` goes.
///
/// # Errors
/// A bug of a rule.
pub fn apply(terms: Terms, rules: &[FuseRule], run: &Run) -> Result<Runner<ENode, Facts>, PassError> {
    // No time limit: the result must not depend on how fast the machine is.
    let runner = Runner::new(Facts::default())
        .with_egraph(terms)
        .with_scheduler(SimpleScheduler)
        .with_iter_limit(MOST_ROUNDS)
        .with_node_limit(MOST_TERMS)
        .with_time_limit(Duration::MAX)
        .run(&run.rewrites(rules));
    run.bug().map_or(Ok(runner), |bug| Err(PassError::Broken(bug.clone())))
}

/// How outlines are planned.
pub struct FusionPlanner<'a> {
    pub rules: &'a [FuseRule],
    pub machine: &'a Machine,
    pub extraction: Extraction,
    pub allowance: Allowance,
    pub effort: Effort,
}

impl FusionPlanner<'_> {
    /// The fused form of `outline`.
    ///
    /// # Errors
    /// A bug of a rule.
    pub fn plan(&self, outline: &Outline) -> Result<FusionPlan, PassError> {
        Ok(self.explored(outline, leaf_name)?.plan)
    }

    /// The fused form of `outline`, and all that it was chosen among; `name` is what leaves are called there, no two alike.
    ///
    /// # Errors
    /// A bug of a rule.
    pub fn explored(&self, outline: &Outline, name: impl Fn(usize) -> Name) -> Result<Explored, PassError> {
        let (terms, ids) = terms_of(outline, &name, false);
        let (runner, run) = saturate(terms, self.rules, &self.allowance)?;
        let terms = &runner.egraph;
        let class = |index: usize| terms.find(ids[index]);
        let roots: Vec<Id> = outline.outputs.iter().map(|&index| class(index)).collect();
        let made_of = |leaf: &Leaf| leaf.made_of.iter().map(|&index| class(index)).collect();
        let leaves = outline.leaves.iter().enumerate().map(|(at, leaf)| (name(at), made_of(leaf)));
        let extracted =
            extract(terms, &roots, &leaves.collect(), self.machine, self.extraction, &self.effort);
        let mut build = Build::new(outline, terms, &ids, &extracted.terms, &name);
        let outputs = roots.iter().map(|&root| build.source(root)).collect();
        let ops = build.ops;
        let found = Saturation {
            stop: runner.stop_reason.clone().expect("it has stopped"),
            is_narrowed: run.breadth == Breadth::Ends,
            tallies: run.tallies(),
            classes: terms.number_of_classes(),
            terms: terms.total_size(),
            rounds: runner.iterations.len(),
            extracted,
        };
        let plan = FusionPlan { ops, outputs, found };
        Ok(Explored { classes: ids.iter().map(|&id| terms.find(id)).collect(), terms: runner.egraph, plan })
    }
}

/// A plan, and the e-graph that it was made from.
pub struct Explored {
    pub plan: FusionPlan,
    pub terms: Terms,
    /// The class of each op of the outline.
    pub classes: Vec<Id>,
}

/// What leaf `index` of an outline is called in its e-graph.
pub fn leaf_name(index: usize) -> Name {
    Name::from(format!("leaf_{index}"))
}

/// A plan under construction.
struct Build<'a> {
    outline: &'a Outline,
    chosen: &'a BTreeMap<Id, ENode>,
    /// The first op of the outline that is of the class.
    originals: HashMap<Id, usize>,
    leaves: HashMap<Name, usize>,
    /// The class of each op of the outline.
    classes: Vec<Id>,
    ops: Vec<PlannedOp>,
    done: HashMap<Id, OutlineOperand>,
    terms: &'a Terms,
}

impl<'a> Build<'a> {
    fn new(
        outline: &'a Outline,
        terms: &'a Terms,
        ids: &[Id],
        chosen: &'a BTreeMap<Id, ENode>,
        name: impl Fn(usize) -> Name,
    ) -> Self {
        let classes: Vec<Id> = ids.iter().map(|&id| terms.find(id)).collect();
        let mut originals = HashMap::new();
        for (index, &class) in classes.iter().enumerate() {
            originals.entry(class).or_insert(index);
        }
        let leaves = (0..outline.leaves.len()).map(|leaf| (name(leaf), leaf)).collect();
        Self { outline, chosen, originals, leaves, classes, ops: Vec::new(), done: HashMap::new(), terms }
    }

    /// What the class is in the plan; adds what it is made of.
    fn source(&mut self, id: Id) -> OutlineOperand {
        let class = self.terms.find(id);
        if let Some(source) = self.done.get(&class) {
            return source.clone();
        }
        let term = &self.chosen[&class];
        let source = match &term.what {
            What::Leaf(name) => OutlineOperand::Leaf(self.leaves[name]),
            What::Op(Op::Constant(constant)) => OutlineOperand::Constant(constant.clone()),
            What::Op(op) => {
                let operands = term.operands.iter().map(|&id| self.source(id)).collect();
                let called = self.called(class, op, &term.operands);
                let from = self.stands_for(&called, &term.operands);
                self.ops.push(PlannedOp { op: op.clone(), operands, called, from });
                OutlineOperand::Op(self.ops.len() - 1)
            }
        };
        self.done.insert(class, source.clone());
        source
    }

    /// What the term `op` of `class` is called: of what no op of the outline computes, a gemm after the product that it holds,
    /// anything else after the first operand of the op that was split.
    fn called(&self, class: Id, op: &Op, operands: &[Id]) -> Called {
        if let Some(&original) = self.originals.get(&class) {
            return Called::Original(original);
        }
        if let Some(product) = self.product_of(op, operands) {
            return Called::After(OutlineOperand::Op(product), "gemm");
        }
        let single = self.terms[class].nodes.iter().find_map(|term| match &term.what {
            What::Op(op) if !op.is_fused() => Some((op.name(), term.operands[0])),
            _ => None,
        });
        let (suffix, operand) = single.unwrap_or((op.name(), operands[0]));
        let mut operand = self.terms.find(operand);
        // That may have been split itself.
        while !self.originals.contains_key(&operand)
            && let Some(below) = self.split_of(operand)
        {
            operand = below;
        }
        let leaf = || match &self.terms[operand].nodes[0].what {
            What::Leaf(name) => OutlineOperand::Leaf(self.leaves[name]),
            What::Op(_) => OutlineOperand::Op(0),
        };
        Called::After(
            self.originals.get(&operand).map_or_else(leaf, |&index| OutlineOperand::Op(index)),
            suffix,
        )
    }

    /// The first operand of the op that `class` was split of, if it is no leaf.
    fn split_of(&self, class: Id) -> Option<Id> {
        let operands = self.terms[class].nodes.iter().find_map(|term| match &term.what {
            What::Op(op) if !op.is_fused() => term.operands.first(),
            _ => None,
        });
        operands.map(|&operand| self.terms.find(operand))
    }

    /// The op of the outline that is the product of the gemm `op`: a linear or a rescale that reads the same weight.
    fn product_of(&self, op: &Op, operands: &[Id]) -> Option<usize> {
        let Op::Gemm(Gemm { product, .. }) = op else { return None };
        let operands: BTreeSet<Id> =
            product.operands().into_iter().map(|index| self.terms.find(operands[index])).collect();
        let reads_same = |OutlinedOp { op, operands: sources, .. }: &OutlinedOp| {
            let is_product = matches!(op, Op::Linear(_) | Op::Rescale(_));
            let weights = sources.iter().filter_map(|source| match source {
                OutlineOperand::Leaf(leaf) => self.leaf(*leaf),
                _ => None,
            });
            let weights: Vec<Id> = weights.collect();
            is_product && !weights.is_empty() && weights.iter().all(|id| operands.contains(id))
        };
        self.outline.ops.iter().position(reads_same)
    }

    /// The class of leaf `index` of the outline.
    fn leaf(&self, index: usize) -> Option<Id> {
        let (name, _) = self.leaves.iter().find(|(_, leaf)| **leaf == index)?;
        self.terms.lookup(ENode::leaf(name.clone())).map(|id| self.terms.find(id))
    }

    /// The ops between that one and the operands, which are there still.
    fn stands_for(&self, called: &Called, operands: &[Id]) -> BTreeSet<usize> {
        let kept: BTreeSet<Id> = operands.iter().map(|&id| self.terms.find(id)).collect();
        let from = match called {
            Called::Original(index) | Called::After(OutlineOperand::Op(index), _) => Some(*index),
            Called::After(..) => None,
        };
        let (mut found, mut open) = (BTreeSet::new(), Vec::from_iter(from));
        while let Some(index) = open.pop() {
            if found.insert(index) {
                let sources = self.outline.ops[index].operands.iter();
                open.extend(sources.filter_map(|source| match source {
                    OutlineOperand::Op(index) if !kept.contains(&self.classes[*index]) => Some(*index),
                    _ => None,
                }));
            }
        }
        found
    }
}

impl Called {
    /// The name and the module path among the values of a region.
    fn name(&self, names: &Names) -> (Name, ModulePath) {
        match self {
            Self::Original(index) => names.ops[*index].clone(),
            Self::After(OutlineOperand::Op(index), suffix) => {
                let (name, path) = &names.ops[*index];
                (name.suffixed(format_args!("_{suffix}")), path.clone())
            }
            Self::After(source, suffix) => {
                let leaf = if let OutlineOperand::Leaf(leaf) = source {
                    &names.leaves[*leaf]
                } else {
                    &names.ops[0].0
                };
                let stem = leaf.stem();
                // In a block of a stack, what is made there has the block's index.
                let index =
                    names.ops[0].0.split_index().map(|(_, index)| format!(".{index}")).unwrap_or_default();
                (Name::from(format!("{stem}_{suffix}{index}")), names.block.clone())
            }
        }
    }
}

impl FusionPlan {
    /// Whether the plan equals the outline.
    fn is_as_it_was(&self, outline: &Outline) -> bool {
        let same = |op: &PlannedOp| {
            let Called::Original(index) = op.called else { return false };
            let original = &outline.ops[index];
            original.op == op.op && self.originals(&op.operands).as_ref() == Some(&original.operands)
        };
        self.ops.iter().all(same)
    }

    /// The sources as the outline numbers them, if it has them all.
    fn originals(&self, sources: &[OutlineOperand]) -> Option<Vec<OutlineOperand>> {
        let original = |source: &OutlineOperand| match source {
            OutlineOperand::Op(index) => match self.ops[*index].called {
                Called::Original(index) => Some(OutlineOperand::Op(index)),
                Called::After(..) => None,
            },
            other => Some(other.clone()),
        };
        sources.iter().map(original).collect()
    }

    /// Replaces `region`, whose outline the plan is for. `replaced` maps the values of earlier regions to their replacements,
    /// and is extended by those of this one. Returns whether anything changed.
    pub fn apply(
        &self,
        graph: &mut Graph,
        region: &Region,
        replaced: &mut HashMap<ValueId, ValueId>,
    ) -> Result<bool, PassError> {
        if self.is_as_it_was(&region.outline) {
            return Ok(false);
        }
        let leaf = |leaf: usize| *replaced.get(&region.leaves[leaf]).unwrap_or(&region.leaves[leaf]);
        let mut patch = Patch::new(graph, RULE);
        let mut new: Vec<ValueId> = Vec::with_capacity(self.ops.len());
        for PlannedOp { op, operands, called, from } in &self.ops {
            let mut ids = Vec::with_capacity(operands.len());
            for source in operands {
                ids.push(match source {
                    OutlineOperand::Leaf(index) => leaf(*index),
                    OutlineOperand::Op(index) => new[*index],
                    OutlineOperand::Constant(constant) => {
                        patch.add(constant.clone(), &[], &Name::from("constant"), ModulePath::root())?
                    }
                });
            }
            let (name, path) = called.name(&region.names);
            let from = from.iter().map(|&index| patch.graph()[region.values[index]].name.clone()).collect();
            new.push(patch.add_from(op.clone(), &ids, &name, path, from)?);
        }
        let mut shunts = Vec::with_capacity(self.outputs.len());
        for (output, &index) in self.outputs.iter().zip(&region.outline.outputs) {
            let value = match output {
                OutlineOperand::Op(op) => new[*op],
                OutlineOperand::Leaf(index) => leaf(*index),
                OutlineOperand::Constant(_) => continue,
            };
            shunts.push((region.values[index], value));
        }
        shunts.iter().for_each(|&(old, value)| patch.shunt(old, value));
        patch.apply()?;
        replaced.extend(shunts);
        Ok(true)
    }
}
