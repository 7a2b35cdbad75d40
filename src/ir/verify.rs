//! The verifier: invariants of every program, checked after every pass, in release builds too.
//!
//! Of each graph:
//! 1. It has no cycle.
//! 2. An op has as many operands as its arity allows, and they fill ports 0, 1, ….
//! 3. The fact of an op is what the op infers from its operands' facts.
//! 4. A name is made of letters, digits, `_` and `.`, and no two values share one. Module paths and tensor names may
//!    hold `-` too, and module paths have at most 64 segments.
//! 5. Output labels are distinct.
//! 6. A prepare stage holds no value faster than its rate, which is not `latent`.
//! 7. Codes (`f8e4m3`, `u4`) have scales, and only they and `i8` do; inputs and outputs of the program have none.
//! 8. Every value has elements, and not more than can be addressed.
//! 9. The operands of a fused op are distinct and not constants: its formula names each operand once and contains the constants.
//!
//! Of the program:
//! 10. Inputs, carried values and prepared values have distinct names, and carried values the rate `latent`.
//! 11. An input of a graph is declared, under the same type, before the graph can run.
//! 12. All variants but probes have the same results, and an output with the name of a carried value has its type.
//! 13. The schedule is not empty and names variants only.
//! 14. Along the schedule, a carried value is written before it is read, whatever probes choose.
//! 15. A tensor of the checkpoint has one shape, whatever it is read as.
//! 16. A probe is a variant that chooses among distinct variants, at least one, which are not probes; it returns `%choice : i32[]`, and
//!     besides that only carried values.
//! 17. All ops that are for several devices are for the same number of them.
//! 18. Results, and what a probe chooses, are the same on all devices, and so is what `shard` divides.

mod ranks;
mod wiring;

use crate::name::{MOST_SEGMENTS, is_path, is_well_formed};
use crate::text::line_of;
use crate::{Graph, ModulePath, Name, Op, Output, Program, Rate, Stage, ValueId};
use std::collections::HashSet;
use std::fmt;
use wiring::Wiring;

/// One broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The graph it is in, or `None` if it is the program's.
    pub stage: Option<Stage>,
    /// The op as printed, and the module it belongs to.
    pub op: Option<(String, ModulePath)>,
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(stage) = &self.stage {
            write!(f, "{stage}: ")?;
        }
        f.write_str(&self.message)?;
        if let Some((line, _)) = &self.op {
            write!(f, "\n    {line}")?;
        }
        Ok(())
    }
}

/// All broken invariants of a program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the program `{program}` is not well-formed:{}", list(.violations))]
pub struct VerifyError {
    pub program: Name,
    pub violations: Vec<Violation>,
}

fn list(violations: &[Violation]) -> String {
    violations.iter().map(|violation| format!("\n  {violation}")).collect()
}

/// Checks every invariant and reports all that are broken.
pub fn verify(program: &Program) -> Result<(), VerifyError> {
    let mut violations = Vec::new();
    for (stage, graph) in program.stages() {
        Checker { stage, graph, violations: &mut violations }.check();
    }
    Wiring::new(program, &mut violations).check();
    // Where an op has too few operands, there is nothing to follow.
    if violations.is_empty() {
        ranks::check(program, &mut violations);
    }
    if violations.is_empty() {
        Ok(())
    } else {
        Err(VerifyError { program: program.name.clone(), violations })
    }
}

/// Invariants 1 to 9.
struct Checker<'a> {
    stage: Stage,
    graph: &'a Graph,
    violations: &'a mut Vec<Violation>,
}

impl Checker<'_> {
    fn check(&mut self) {
        let graph = self.graph;
        let order = graph.order();
        let sorted: HashSet<ValueId> = order.iter().copied().collect();
        for index in graph.dag.node_indices().map(ValueId).filter(|id| !sorted.contains(id)) {
            self.report(index, "depends on itself".into());
        }
        let mut names = HashSet::new();
        for &id in &order {
            self.check_value(id);
            let node = &graph[id];
            if !graph.is_leaf(id) && !names.insert(&node.name) {
                self.report(id, format!("the name `%{}` is used twice", node.name));
            }
        }
        let mut labels = HashSet::new();
        for Output { label, .. } in graph.outputs() {
            if !is_well_formed(label) {
                self.report_stage(format!("the output label `{label}` is not a name"));
            }
            if !labels.insert(label) {
                self.report_stage(format!("two outputs are called `%{label}`"));
            }
        }
        if self.stage == Stage::Prepare(Rate::Latent) {
            self.report_stage("what changes per latent cannot be prepared".into());
        }
    }

    fn check_value(&mut self, id: ValueId) {
        let node = &self.graph[id];
        let mut ports: Vec<usize> =
            self.graph.dag.edges_directed(id.0, petgraph::Incoming).map(|edge| *edge.weight()).collect();
        ports.sort_unstable();
        if !ports.iter().copied().eq(0..ports.len()) {
            self.report(id, format!("its operands fill the ports {ports:?}, not 0, 1, …"));
        }
        // Declared, not inferred.
        let is_declared = matches!(node.op, Op::Input(_) | Op::Weight(_));
        match &node.op {
            _ if is_declared && ports.is_empty() => {}
            op => match op.infer(&self.graph.operand_facts(id)) {
                Ok(fact) if fact == node.fact => {}
                Ok(fact) => {
                    let (says, is) = (node.fact.described(), fact.described());
                    self.report(id, format!("the value is declared {says}, but its operands make it {is}"));
                }
                Err(error) => self.report(id, error.to_string()),
            },
        }
        match &node.op {
            Op::Weight(_) if node.fact.rate != Rate::Weights => {
                self.report(id, format!("a weight cannot change per {}", node.fact.rate));
            }
            Op::Weight(weight) if !is_path(&weight.tensor) => {
                self.report(id, format!("`{}` is not a tensor name", weight.tensor));
            }
            _ if self.graph.is_leaf(id) => {}
            _ if !is_well_formed(&node.name) => self.report(id, format!("`{}` is not a name", node.name)),
            _ if !node.path.is_empty() && !is_path(&node.path) => {
                self.report(id, format!("`{}` is not a module path", node.path));
            }
            _ if node.path.segments().count() > MOST_SEGMENTS => {
                self.report(id, format!("its module path has more than {MOST_SEGMENTS} segments"));
            }
            _ => {}
        }
        // What an op infers has none.
        if let Some(fault) = node.fact.fault().filter(|_| is_declared) {
            self.report(id, fault);
        }
        if node.op.is_fused() && !self.graph.is_normal(&self.graph.operands(id)) {
            self.report(id, "it has the same operand twice, or a constant as operand".into());
        }
        if let Stage::Prepare(rate) = self.stage
            && node.fact.rate > rate
        {
            self.report(
                id,
                format!("a value that changes per {} cannot be prepared per {rate}", node.fact.rate),
            );
        }
    }

    fn report(&mut self, id: ValueId, message: String) {
        let op = Some((line_of(self.graph, id), self.graph[id].path.clone()));
        self.violations.push(Violation { stage: Some(self.stage.clone()), op, message });
    }

    fn report_stage(&mut self, message: String) {
        self.violations.push(Violation { stage: Some(self.stage.clone()), op: None, message });
    }
}

#[cfg(test)]
mod tests {
    //! What only the crate itself can break. The rest is in `tests/verify.rs`.

    use super::*;
    use petgraph::Incoming;
    use petgraph::graph::{EdgeIndex, NodeIndex};
    use petgraph::visit::EdgeRef;
    use std::fmt::Write;

    const FINE: &str = "
program fine {
  input %x : f32[2] latent
  input %z : f32[2] latent
  variant main (%x, %z) -> (%c) {
    %a = add %x, %z : f32[2] in net.0
    %b = gelu %a : f32[2] in net.0
    %c = silu %b : f32[2] in net.1
    return %c
  }
  schedule main
}";

    type Break = fn(&mut Graph);

    fn index(graph: &Graph, name: &str) -> NodeIndex {
        graph.find(name).unwrap().0
    }

    /// Makes `to` read `from` at `port`.
    fn connect(graph: &mut Graph, from: &str, to: &str, port: usize) {
        let (from, to) = (index(graph, from), index(graph, to));
        graph.dag.add_edge(from, to, port);
    }

    /// The operands of `name`, as edges.
    fn reads(graph: &Graph, name: &str) -> Vec<EdgeIndex> {
        graph.dag.edges_directed(index(graph, name), Incoming).map(|edge| edge.id()).collect()
    }

    #[test]
    fn each_invariant_is_checked() {
        let cases: [(&str, Break); 11] = [
            ("1. a cycle", |g| connect(g, "c", "b", 1)),
            ("1. a value that reads itself", |g| connect(g, "c", "c", 1)),
            ("2. too few operands", |g| {
                let edge = reads(g, "b")[0];
                g.dag.remove_edge(edge);
            }),
            ("2. too many operands", |g| connect(g, "x", "b", 1)),
            ("2. an input with an operand", |g| connect(g, "z", "x", 0)),
            ("2. a port that is not the first", |g| {
                let edge = reads(g, "b")[0];
                g.dag[edge] = 1;
            }),
            ("2. a port that is filled twice", |g| {
                reads(g, "a").into_iter().for_each(|edge| g.dag[edge] = 0)
            }),
            ("3. another shape than is inferred", |g| {
                let b = index(g, "b");
                g.dag[b].fact.shape = [3].into();
            }),
            ("3. another rate than is inferred", |g| {
                let c = index(g, "c");
                g.dag[c].fact.rate = Rate::Prompt;
            }),
            ("3. operands that do not fit", |g| {
                let z = index(g, "z");
                g.dag[z].fact.shape = [3].into();
            }),
            ("4. two values of one name", |g| {
                let c = index(g, "c");
                g.dag[c].name = Name::from("a");
            }),
        ];
        let mut report = String::new();
        for (case, edit) in cases {
            let mut program = crate::text::parse(FINE).unwrap();
            edit(&mut program.variants["main"]);
            writeln!(report, "# {case}\n{}\n", verify(&program).expect_err(case)).unwrap();
        }
        insta::with_settings!({
            snapshot_path => "../../snapshots",
            prepend_module_to_snapshot => false,
            omit_expression => true,
        }, { insta::assert_snapshot!("verify__internal", report) });
    }
}
