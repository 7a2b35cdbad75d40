//! Why a fused value is what it replaces: egg's proof, rule by rule.

use super::plan::{Called, Plan, saturate};
use super::region::{Names, Outline, Source};
use super::rules::{Breadth, Effort, FuseRule, Tallies, rewrites};
use super::term::{Facts, Term, Terms, What};
use egg::{Explanation, FlatTerm, Id, RecExpr};
use reflux_ir::op::Op;
use reflux_ir::pass::Allowance;
use reflux_ir::{Fact, Name};
use std::collections::HashMap;

/// A proof that one value of a plan is the value of the same name before.
pub struct Proof {
    pub value: Name,
    explanation: Explanation<Term>,
    leaves: Vec<(Name, Fact)>,
    rules: Vec<FuseRule>,
}

impl Proof {
    /// The value before, as a term, and then each rule that was applied, with what it made.
    pub fn explanation(&mut self) -> reflux_ir::pass::Explanation {
        let flat = self.explanation.make_flat_explanation();
        let before = shown(&flat[0]);
        let steps = flat[1..].iter().filter_map(rewritten).collect();
        reflux_ir::pass::Explanation { value: self.value.clone(), before, steps }
    }

    /// Checks the proof: that each step applies one rule, by egg, and that the rule does make of the term before the step
    /// the term after it.
    ///
    /// # Panics
    /// If the proof is wrong.
    pub fn check(&mut self) {
        let (tallies, allowance) = (Tallies::default(), Allowance::default());
        let effort = Effort::new(Breadth::All);
        self.explanation.check_proof(&rewrites(&self.rules, &tallies, &allowance, &effort));
        let terms: Vec<RecExpr<Term>> =
            self.explanation.make_flat_explanation().iter().map(written).collect();
        for pair in terms.windows(2) {
            let mut terms = Terms::new(Facts::new(self.leaves.clone()));
            let (before, after) = (terms.add_expr(&pair[0]), terms.add_expr(&pair[1]));
            terms.rebuild();
            let stepped = saturate(terms, &self.rules, &tallies, &allowance).0.egraph;
            assert_eq!(stepped.find(before), stepped.find(after), "{} is not {}", pair[0], pair[1]);
        }
    }
}

/// The part of a term that a rule made, and the rule. Proofs go backwards too, where two terms become the same.
fn rewritten(term: &FlatTerm<Term>) -> Option<(String, String)> {
    if let Some(rule) = term.forward_rule {
        return Some((rule.to_string(), shown(term)));
    }
    if let Some(rule) = term.backward_rule {
        return Some((format!("{rule}, backwards"), shown(term)));
    }
    term.children.iter().find_map(rewritten)
}

fn shown(term: &FlatTerm<Term>) -> String {
    match &term.node.what {
        What::Op(op) if !matches!(op, Op::Constant(_)) => {
            op.term(&term.children.iter().map(shown).collect::<Vec<_>>())
        }
        _ => term.node.to_string(),
    }
}

/// The term of a step.
fn written(term: &FlatTerm<Term>) -> RecExpr<Term> {
    fn add(term: &FlatTerm<Term>, expr: &mut RecExpr<Term>) -> Id {
        let operands = term.children.iter().map(|child| add(child, expr)).collect();
        expr.add(Term { what: term.node.what.clone(), operands })
    }
    let mut expr = RecExpr::default();
    add(term, &mut expr);
    expr
}

/// A proof for each value of `plan` that a rule made.
pub fn proofs(outline: &Outline, plan: &Plan, names: &Names, rules: &[FuseRule]) -> Vec<Proof> {
    let prover = Prover { outline, plan, names, rules };
    let made = plan.ops.iter().enumerate().filter(|(_, op)| match op.called {
        Called::Original(index) => {
            let is_helper =
                |source: &Source| matches!(source, Source::Op(at) if matches!(plan.ops[*at].called, Called::After(..)));
            matches!(op.op, Op::Gemm(_) | Op::Rowwise(_)) && outline.ops[index].op != op.op
                || op.operands.iter().any(is_helper)
        }
        Called::After(..) => false,
    });
    made.filter_map(|(at, _)| prover.prove(at)).collect()
}

struct Prover<'a> {
    outline: &'a Outline,
    plan: &'a Plan,
    names: &'a Names,
    rules: &'a [FuseRule],
}

impl Prover<'_> {
    /// That op `at` of the plan is the value of that name of the outline, given the values that it reads.
    fn prove(&self, at: usize) -> Option<Proof> {
        let Called::Original(original) = self.plan.ops[at].called else { return None };
        let mut given = HashMap::new();
        let mut after = RecExpr::default();
        self.planned(at, true, &mut after, &mut given);
        let mut before = RecExpr::default();
        self.outlined(original, true, &mut before, &mut given);
        let leaves: Vec<(Name, Fact)> = given.into_iter().collect();
        let mut terms = Terms::new(Facts::new(leaves.clone())).with_explanations_enabled();
        terms.add_expr(&before);
        terms.rebuild();
        let mut terms = saturate(terms, self.rules, &Tallies::default(), &Allowance::default()).0.egraph;
        let (from, to) = (terms.add_expr(&before), terms.add_expr(&after));
        terms.rebuild();
        (terms.find(from) == terms.find(to)).then(|| Proof {
            value: self.names.ops[original].0.clone(),
            explanation: terms.explain_equivalence(&before, &after),
            leaves,
            rules: self.rules.to_vec(),
        })
    }

    /// Op `at` of the plan as a term, down to the values that the outline has too, which are `given`.
    fn planned(
        &self,
        at: usize,
        is_root: bool,
        expr: &mut RecExpr<Term>,
        given: &mut HashMap<Name, Fact>,
    ) -> Id {
        let op = &self.plan.ops[at];
        if let Called::Original(index) = op.called
            && !is_root
        {
            let (name, fact) = (self.written(index), self.outline.ops[index].fact.clone());
            given.insert(name.clone(), fact);
            return expr.add(Term::leaf(name));
        }
        self.term(&op.op, &op.operands, expr, given, |at, expr, given| self.planned(at, false, expr, given))
    }

    /// Op `index` of the outline as a term, down to the values that are `given`.
    fn outlined(
        &self,
        index: usize,
        is_root: bool,
        expr: &mut RecExpr<Term>,
        given: &mut HashMap<Name, Fact>,
    ) -> Id {
        let name = self.written(index);
        if !is_root && given.contains_key(&name) {
            return expr.add(Term::leaf(name));
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
        operands: &[Source],
        expr: &mut RecExpr<Term>,
        given: &mut HashMap<Name, Fact>,
        inner: impl Fn(usize, &mut RecExpr<Term>, &mut HashMap<Name, Fact>) -> Id,
    ) -> Id {
        let mut ids = Vec::with_capacity(operands.len());
        for source in operands {
            ids.push(match source {
                Source::Op(at) => inner(*at, expr, given),
                Source::Leaf(leaf) => {
                    let name = self.names.written[*leaf].clone();
                    given.insert(name.clone(), self.outline.leaves[*leaf].fact.clone());
                    expr.add(Term::leaf(name))
                }
                Source::Constant(constant) => expr.add(Term::op(constant.clone(), Vec::new())),
            });
        }
        expr.add(Term::op(op.clone(), ids))
    }
}
