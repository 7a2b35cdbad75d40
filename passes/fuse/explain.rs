//! Why a fused value equals the value it replaces: egg's proof, rule by rule.

use super::plan::{Called, FusionPlan, apply};
use super::region::{Names, Outline, OutlineOperand};
use super::rules::{Breadth, FuseRule, Run};
use super::term::{ENode, Facts, Terms, What};
use egg::{Explanation, FlatTerm, Id, RecExpr, Symbol};
use reflux_ir::op::Op;
use reflux_ir::pass::{Allowance, PassError};
use reflux_ir::{Fact, Name};
use std::collections::HashMap;

/// A proof that one value of a plan is the value of the same name before.
pub struct Proof {
    pub value: Name,
    /// From the term before to that after. Of the term before alone, if none is found: columns of a product that stand beside
    /// others follow from those too, and what is too much to look at may not be found again.
    explanation: Explanation<ENode>,
    leaves: Vec<(Name, Fact)>,
}

impl Proof {
    /// Whether one is found.
    pub fn is_found(&mut self) -> bool {
        self.explanation.make_flat_explanation().len() > 1
    }

    /// The value before, as a term, and then each rule that was applied, with what it made.
    pub fn explanation(&mut self) -> reflux_ir::pass::Explanation {
        let flat = self.explanation.make_flat_explanation();
        let before = shown(&flat[0]);
        let steps = flat[1..].iter().filter_map(rewritten).collect();
        reflux_ir::pass::Explanation { value: self.value.clone(), before, steps }
    }

    /// Checks the proof: that each step applies one of `rules`, by egg, and that this one rule does make of the term before
    /// the step the term after it.
    ///
    /// # Panics
    /// If there is no proof, or a wrong one.
    pub fn check(&mut self, rules: &[FuseRule]) {
        let run = || Run::new(Breadth::All, Allowance::default());
        self.explanation.check_proof(&run().rewrites(rules));
        assert!(self.is_found(), "%{} is not proven", self.value);
        let flat = self.explanation.make_flat_explanation();
        for pair in flat.windows(2) {
            let name = step(&pair[1]).expect("every step applies a rule").0;
            let rule = rules.iter().find(|rule| *rule.name == *name.as_str()).expect("egg has looked it up");
            let mut terms = Terms::new(Facts::new(self.leaves.clone()));
            let [from, to] = [&pair[0], &pair[1]].map(written);
            let (before, after) = (terms.add_expr(&from), terms.add_expr(&to));
            terms.rebuild();
            let stepped = apply(terms, std::slice::from_ref(rule), &run()).expect("rules are right").egraph;
            assert_eq!(stepped.find(before), stepped.find(after), "by {name}, {from} is not {to}");
        }
    }
}

/// The part of a term that a step is about, the rule of the step, and whether it was applied backwards: to what there is
/// after it. Proofs go backwards too, where two terms become the same.
fn step(term: &FlatTerm<ENode>) -> Option<(Symbol, bool, &FlatTerm<ENode>)> {
    let forward = term.forward_rule.map(|rule| (rule, false, term));
    let here = forward.or_else(|| term.backward_rule.map(|rule| (rule, true, term)));
    here.or_else(|| term.children.iter().find_map(step))
}

/// The part of a term that a rule made, and the rule.
fn rewritten(term: &FlatTerm<ENode>) -> Option<(String, String)> {
    let (rule, is_backwards, part) = step(term)?;
    Some((format!("{rule}{}", if is_backwards { ", backwards" } else { "" }), shown(part)))
}

fn shown(term: &FlatTerm<ENode>) -> String {
    match &term.node.what {
        What::Op(op) if !matches!(op, Op::Constant(_)) => {
            op.term(&term.children.iter().map(shown).collect::<Vec<_>>())
        }
        _ => term.node.to_string(),
    }
}

/// The term of a step.
fn written(term: &FlatTerm<ENode>) -> RecExpr<ENode> {
    fn add(term: &FlatTerm<ENode>, expr: &mut RecExpr<ENode>) -> Id {
        let operands = term.children.iter().map(|child| add(child, expr)).collect();
        expr.add(ENode { what: term.node.what.clone(), operands })
    }
    let mut expr = RecExpr::default();
    add(term, &mut expr);
    expr
}

/// A proof for each value of `plan` that a rule made.
///
/// # Errors
/// A bug of a rule.
pub fn proofs(
    outline: &Outline,
    plan: &FusionPlan,
    names: &Names,
    rules: &[FuseRule],
) -> Result<Vec<Proof>, PassError> {
    let prover = Prover { outline, plan, names, rules };
    let made = plan.ops.iter().enumerate().filter(|(_, op)| match op.called {
        Called::Original(index) => {
            let is_helper =
                |source: &OutlineOperand| matches!(source, OutlineOperand::Op(at) if matches!(plan.ops[*at].called, Called::After(..)));
            op.op.is_fused() && outline.ops[index].op != op.op
                || op.operands.iter().any(is_helper)
        }
        Called::After(..) => false,
    });
    made.filter_map(|(at, _)| prover.prove(at).transpose()).collect()
}

struct Prover<'a> {
    outline: &'a Outline,
    plan: &'a FusionPlan,
    names: &'a Names,
    rules: &'a [FuseRule],
}

impl Prover<'_> {
    /// That op `at` of the plan is the value of that name of the outline, given the values that it reads.
    fn prove(&self, at: usize) -> Result<Option<Proof>, PassError> {
        let Called::Original(original) = self.plan.ops[at].called else { return Ok(None) };
        let mut given = HashMap::new();
        let mut after = RecExpr::default();
        self.planned(at, true, &mut after, &mut given);
        let mut before = RecExpr::default();
        self.outlined(original, true, &mut before, &mut given);
        let value = self.names.ops[original].0.clone();
        let leaves: Vec<(Name, Fact)> = given.into_iter().collect();
        let mut terms = Terms::new(Facts::new(leaves.clone())).with_explanations_enabled();
        terms.add_expr(&before);
        terms.rebuild();
        // What was planned by few terms of each class follows from those.
        let breadth = if self.plan.found.is_narrowed { Breadth::Ends } else { Breadth::All };
        let mut terms = apply(terms, self.rules, &Run::new(breadth, Allowance::default()))?.egraph;
        let (from, to) = (terms.add_expr(&before), terms.add_expr(&after));
        terms.rebuild();
        let is_found = terms.find(from) == terms.find(to);
        let explanation = terms.explain_equivalence(&before, if is_found { &after } else { &before });
        Ok(Some(Proof { value, explanation, leaves }))
    }

    /// Op `at` of the plan as a term, down to the values that the outline has too, which are `given`.
    fn planned(
        &self,
        at: usize,
        is_root: bool,
        expr: &mut RecExpr<ENode>,
        given: &mut HashMap<Name, Fact>,
    ) -> Id {
        let op = &self.plan.ops[at];
        if let Called::Original(index) = op.called
            && !is_root
        {
            let (name, fact) = (self.written(index), self.outline.ops[index].fact.clone());
            given.insert(name.clone(), fact);
            return expr.add(ENode::leaf(name));
        }
        self.term(&op.op, &op.operands, expr, given, |at, expr, given| self.planned(at, false, expr, given))
    }

    /// Op `index` of the outline as a term, down to the values that are `given`.
    fn outlined(
        &self,
        index: usize,
        is_root: bool,
        expr: &mut RecExpr<ENode>,
        given: &mut HashMap<Name, Fact>,
    ) -> Id {
        let name = self.written(index);
        if !is_root && given.contains_key(&name) {
            return expr.add(ENode::leaf(name));
        }
        let op = &self.outline.ops[index];
        self.term(&op.op, &op.operands, expr, given, |at, expr, given| self.outlined(at, false, expr, given))
    }

    /// Op `index` of the outline as it is written where it is read. A weight may have the name of a value, so names alone
    /// would not tell them apart.
    fn written(&self, index: usize) -> Name {
        Name::from(format!("%{}", self.names.ops[index].0))
    }

    /// `op` over values from outside, which are `given` then, numbers, and what `inner` makes of ops.
    fn term(
        &self,
        op: &Op,
        operands: &[OutlineOperand],
        expr: &mut RecExpr<ENode>,
        given: &mut HashMap<Name, Fact>,
        inner: impl Fn(usize, &mut RecExpr<ENode>, &mut HashMap<Name, Fact>) -> Id,
    ) -> Id {
        let mut ids = Vec::with_capacity(operands.len());
        for source in operands {
            ids.push(match source {
                OutlineOperand::Op(at) => inner(*at, expr, given),
                OutlineOperand::Leaf(leaf) => {
                    let name = self.names.written[*leaf].clone();
                    given.insert(name.clone(), self.outline.leaves[*leaf].fact.clone());
                    expr.add(ENode::leaf(name))
                }
                OutlineOperand::Constant(constant) => expr.add(ENode::op(constant.clone(), Vec::new())),
            });
        }
        expr.add(ENode::op(op.clone(), ids))
    }
}
