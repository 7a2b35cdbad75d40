//! How the graphs of a program fit together: invariants 7, 8 and 10 to 16.

use super::Violation;
use crate::name::{is_path, is_well_formed};
use crate::{DType, Declaration, Fact, Graph, Name, Program, Rate, Stage};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Whether the value means something outside a program.
fn is_plain(fact: &Fact) -> bool {
    !fact.is_quantized() && !fact.dtype.is_code()
}

/// The labels of results, and their types as printed.
type Results<'a> = Vec<(&'a Name, String)>;

/// Invariants 7, 8 and 10 to 16.
pub(super) struct Wiring<'a> {
    program: &'a Program,
    violations: &'a mut Vec<Violation>,
    /// The types of what is carried; there may be very many.
    carried: HashMap<&'a Name, &'a Fact>,
}

impl<'a> Wiring<'a> {
    pub fn new(program: &'a Program, violations: &'a mut Vec<Violation>) -> Self {
        let carried = program.carries.iter().map(|carry| (&carry.name, &carry.fact)).collect();
        Self { program, violations, carried }
    }

    pub fn check(&mut self) {
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
        self.check_probes();
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
        let program = self.program;
        let mut first: Option<(&Name, Results)> = None;
        for (name, graph) in &program.variants {
            let stage = Stage::Variant(name.clone());
            let results = self.results(&stage, graph);
            if program.is_probe(name) {
                self.check_choice(&stage, &results);
                continue;
            }
            match &first {
                None => first = Some((name, results)),
                Some((_, expected)) if *expected == results => {}
                Some((other, expected)) => {
                    let list = |results: &Results| -> String {
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

    /// The outputs of a variant that are not carried, with their types; what is carried, or a result, must have a type for it.
    fn results<'p>(&mut self, stage: &Stage, graph: &'p Graph) -> Results<'p> {
        let mut results = Vec::new();
        for output in graph.outputs() {
            let fact = &graph[output.value].fact;
            match self.carried.get(&output.label) {
                None if !is_plain(fact) => {
                    let message =
                        format!("the result `%{}` is {fact}, which nothing outside can read", output.label);
                    self.report(Some(stage), message);
                }
                None => results.push((&output.label, fact.to_string())),
                Some(carried) if carried.same_type(fact) => {}
                Some(carried) => {
                    let message = format!("`%{}` is carried as {carried}, not as {fact}", output.label);
                    self.report(Some(stage), message);
                }
            }
        }
        results
    }

    /// Checks what a probe gives besides carried values.
    fn check_choice(&mut self, stage: &Stage, results: &Results) {
        let index = Fact::new(DType::I32, []).to_string();
        let choice = Program::CHOICE;
        let (choices, others): (Vec<_>, Vec<_>) = results.iter().partition(|(label, _)| ***label == *choice);
        match choices.first() {
            None => {
                let message = format!(
                    "a probe must return what it chooses as `%{choice} : {index}`, not carried; this one does not"
                );
                self.report(Some(stage), message);
            }
            Some((_, fact)) if *fact == index => {}
            Some((_, fact)) => {
                self.report(
                    Some(stage),
                    format!("`%{choice}` is {fact}, but what a probe chooses must be {index}"),
                );
            }
        }
        for (label, _) in others {
            let message =
                format!("a probe may return only `%{choice}` and carried values; `%{label}` is neither");
            self.report(Some(stage), message);
        }
    }

    fn check_probes(&mut self) {
        let program = self.program;
        for (probe, choices) in &program.probes {
            let stage = Stage::Variant(probe.clone());
            if !program.variants.contains_key(probe) {
                self.report(None, format!("the probe `{probe}` is not a variant"));
            }
            if choices.is_empty() {
                self.report(Some(&stage), "it is a probe, but lists nothing to choose from".into());
            }
            let distinct = choices.iter().collect::<BTreeSet<_>>();
            if distinct.len() < choices.len() {
                let listed: Vec<_> = choices.iter().map(|choice| format!("`{choice}`")).collect();
                self.report(Some(&stage), format!("its choices, {}, contain one twice", listed.join(", ")));
            }
            for choice in distinct {
                let fault = match program.variants.get(choice) {
                    None => "not a variant",
                    Some(_) if program.is_probe(choice) => "a probe itself",
                    Some(_) => continue,
                };
                self.report(Some(&stage), format!("it may choose `{choice}`, which is {fault}"));
            }
        }
    }

    fn check_schedule(&mut self) {
        let program = self.program;
        if program.schedule.is_empty() {
            self.report(None, "the schedule is empty".into());
        }
        let mut written = BTreeSet::new();
        let mut unwritten = BTreeSet::new();
        let mut seen = BTreeSet::new();
        // What is written stays written, so the first step of a variant is the one to look at.
        for (step, name) in program.schedule.iter().enumerate().filter(|(_, name)| seen.insert(*name)) {
            let Some(graph) = program.variants.get(name) else {
                self.report(None, format!("the schedule runs `{name}`, which is not a variant"));
                continue;
            };
            self.check_reads(step, name, graph, &written, &mut unwritten);
            written.extend(self.written_by(graph));
            // Any one of the choices may run, so that only what all of them write is sure to be written.
            let choices: BTreeSet<_> = program.choices(name).iter().collect();
            let chosen = choices.into_iter().filter_map(|choice| program.variants.get_key_value(choice));
            let chosen: Vec<_> = chosen.collect();
            for (choice, graph) in &chosen {
                self.check_reads(step, choice, graph, &written, &mut unwritten);
            }
            let by_each = chosen.iter().map(|(_, graph)| self.written_by(graph));
            written.extend(by_each.reduce(|a, b| &a & &b).unwrap_or_default());
        }
    }

    /// Reports what `graph` reads in `step` that is not among `written`; each value once, they are collected in `unwritten`.
    fn check_reads<'p>(
        &mut self,
        step: usize,
        name: &Name,
        graph: &'p Graph,
        written: &BTreeSet<&Name>,
        unwritten: &mut BTreeSet<&'p Name>,
    ) {
        let has_written = if self.program.probes.is_empty() { "has written" } else { "has surely written" };
        for &id in graph.inputs() {
            let input = &graph[id].name;
            if self.carried.contains_key(input) && !written.contains(input) && unwritten.insert(input) {
                let message = format!("step {step} reads `%{input}` before any step {has_written} it");
                self.report(Some(&Stage::Variant(name.clone())), message);
            }
        }
    }

    /// The carried values that a variant gives.
    fn written_by<'p>(&self, graph: &'p Graph) -> BTreeSet<&'p Name> {
        graph
            .outputs()
            .iter()
            .map(|output| &output.label)
            .filter(|label| self.carried.contains_key(label))
            .collect()
    }

    fn report(&mut self, stage: Option<&Stage>, message: String) {
        self.violations.push(Violation { stage: stage.cloned(), op: None, message });
    }
}
