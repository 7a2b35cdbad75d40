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
//! 12. Variants agree on their results, and an output called like a carried value has its type.
//! 13. The schedule is not empty and names variants only.
//! 14. Along the schedule, a carried value is written before it is read.
//! 15. A tensor of the checkpoint has one shape, whatever it is read as.

use crate::text::line_of;
use crate::{Declaration, Fact, Graph, ModulePath, Name, Op, Output, Program, Rate, Stage, ValueId};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

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
    Wiring { program, violations: &mut violations }.check();
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
            if !matches!(node.op, Op::Weight(_) | Op::Constant(_)) && !names.insert(&node.name) {
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
        match &node.op {
            Op::Input(_) | Op::Weight(_) if ports.is_empty() => {}
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
            Op::Weight(_) | Op::Constant(_) => {}
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
        if let (Op::Input(_) | Op::Weight(_), Some(fault)) = (&node.op, node.fact.fault()) {
            self.report(id, fault);
        }
        if matches!(node.op, Op::Rowwise(_) | Op::Gemm(_)) && !self.graph.is_normal(&self.graph.operands(id))
        {
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

/// The most segments of a module path: tools that show programs by module nest this deep.
pub(crate) const MOST_SEGMENTS: usize = 64;

/// Whether the text format can write the name.
pub(crate) fn is_well_formed(name: &str) -> bool {
    let segment =
        |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    name.split('.').all(segment)
}

/// Whether the text format can write the module path, tensor, stage or program name.
pub(crate) fn is_path(name: &str) -> bool {
    is_well_formed(&name.replace('-', "_"))
}

/// Whether the value can be an input or a result of a program, which cannot be quantized.
fn is_plain(fact: &Fact) -> bool {
    !fact.is_quantized() && !fact.dtype.is_code()
}

/// Invariants 7, 8 and 10 to 15.
struct Wiring<'a> {
    program: &'a Program,
    violations: &'a mut Vec<Violation>,
}

impl Wiring<'_> {
    fn check(&mut self) {
        let mut known: BTreeMap<&Name, Fact> = BTreeMap::new();
        for Declaration { name, fact } in self.program.inputs.iter().chain(&self.program.carries) {
            if !is_well_formed(name) {
                self.report(None, format!("`{name}` is declared, but is not a name"));
            }
            if let Some(fault) = fact.fault() {
                self.report(None, format!("the declared `%{name}`: {fault}"));
            }
            if known.insert(name, fact.clone()).is_some() {
                self.report(None, format!("`%{name}` is declared twice"));
            }
        }
        for Declaration { name, fact } in self.program.inputs.iter().filter(|input| !is_plain(&input.fact)) {
            self.report(None, format!("`%{name}` is {fact}, but inputs cannot be quantized"));
        }
        for Declaration { name, fact } in self.program.carries.iter().filter(|c| c.fact.rate != Rate::Latent)
        {
            self.report(
                None,
                format!("`%{name}` is carried, so it changes per latent, not per {}", fact.rate),
            );
        }
        for (&rate, graph) in &self.program.prepares {
            self.check_inputs(Stage::Prepare(rate), graph, &known);
            for output in graph.outputs() {
                if known.insert(&output.label, graph[output.value].fact.clone()).is_some() {
                    self.report(
                        None,
                        format!("`%{}`, prepared per {rate}, is already declared", output.label),
                    );
                }
            }
        }
        for (name, graph) in &self.program.variants {
            self.check_inputs(Stage::Variant(name.clone()), graph, &known);
        }
        for name in self.program.variants.keys().chain([&self.program.name]).filter(|name| !is_path(name)) {
            self.report(None, format!("`{name}` is not a name for a program or variant"));
        }
        self.check_outputs();
        self.check_schedule();
        self.check_tensors();
    }

    fn check_tensors(&mut self) {
        let mut shapes: HashMap<&str, &Fact> = HashMap::new();
        let mut faults = Vec::new();
        for (stage, graph) in self.program.stages() {
            for (tensor, fact) in graph.weights() {
                let first = shapes.entry(tensor).or_insert(fact);
                if first.shape != fact.shape {
                    let message = format!(
                        "`@{tensor}` is read as {fact}, and elsewhere as {first}: a tensor has one shape"
                    );
                    faults.push((stage.clone(), message));
                }
            }
        }
        faults.into_iter().for_each(|(stage, message)| self.report(Some(&stage), message));
    }

    fn check_inputs(&mut self, stage: Stage, graph: &Graph, known: &BTreeMap<&Name, Fact>) {
        for &id in graph.inputs() {
            let node = &graph[id];
            match known.get(&node.name) {
                Some(fact) if *fact == node.fact => {}
                Some(fact) => {
                    let (reads, is) = (node.fact.described(), fact.described());
                    self.report(
                        Some(&stage),
                        format!("the input `%{}` is read as {reads}, but is {is}", node.name),
                    );
                }
                None => self.report(Some(&stage), format!("nothing provides the input `%{}`", node.name)),
            }
        }
    }

    fn check_outputs(&mut self) {
        let mut first: Option<(&Name, Vec<(&Name, String)>)> = None;
        for (name, graph) in &self.program.variants {
            let stage = Stage::Variant(name.clone());
            let mut results = Vec::new();
            for output in graph.outputs() {
                let fact = &graph[output.value].fact;
                match self.program.carries.iter().find(|carry| carry.name == output.label) {
                    None if !is_plain(fact) => {
                        let message = format!(
                            "the result `%{}` is {fact}, which nothing outside can read",
                            output.label
                        );
                        self.report(Some(&stage), message);
                    }
                    None => results.push((&output.label, fact.to_string())),
                    Some(carry) if carry.fact.same_type(fact) => {}
                    Some(carry) => {
                        let message =
                            format!("`%{}` is carried as {}, not as {fact}", carry.name, carry.fact);
                        self.report(Some(&stage), message);
                    }
                }
            }
            match &first {
                None => first = Some((name, results)),
                Some((_, expected)) if *expected == results => {}
                Some((other, expected)) => {
                    let list = |results: &[(&Name, String)]| -> String {
                        let results: Vec<_> =
                            results.iter().map(|(name, fact)| format!("%{name}: {fact}")).collect();
                        results.join(", ")
                    };
                    let message = format!(
                        "its results ({}) differ from those of `{other}` ({})",
                        list(&results),
                        list(expected)
                    );
                    self.report(Some(&stage), message);
                }
            }
        }
    }

    fn check_schedule(&mut self) {
        if self.program.schedule.is_empty() {
            self.report(None, "the schedule is empty".into());
        }
        let mut written = BTreeSet::new();
        let (mut unknown, mut unwritten) = (BTreeSet::new(), BTreeSet::new());
        for (step, name) in self.program.schedule.iter().enumerate() {
            let Some(graph) = self.program.variants.get(name) else {
                if unknown.insert(name) {
                    self.report(None, format!("the schedule runs `{name}`, which is not a variant"));
                }
                continue;
            };
            for &id in graph.inputs() {
                let input = &graph[id].name;
                if self.program.is_carried(input) && !written.contains(input) && unwritten.insert(input) {
                    let message = format!("step {step} reads `%{input}` before any step has written it");
                    self.report(Some(&Stage::Variant(name.clone())), message);
                }
            }
            let outputs = graph.outputs().iter().map(|output| output.label.clone());
            written.extend(outputs.filter(|label| self.program.is_carried(label)));
        }
    }

    fn report(&mut self, stage: Option<&Stage>, message: String) {
        self.violations.push(Violation { stage: stage.cloned(), op: None, message });
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
