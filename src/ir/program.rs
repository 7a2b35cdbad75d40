//! The unit of execution: pure variants of one step, what they carry over, and when each runs.

use crate::{Cost, DType, Fact, Graph, Name, Op, Patch, PatchError, Rate, ValueId};
use indexmap::IndexMap;
use std::collections::{BTreeMap, HashMap};
use std::fmt;

/// A named value with its fact: an input of a program, or a value that its variants carry from step to step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declaration {
    pub name: Name,
    pub fact: Fact,
}

/// One of the graphs of a program.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// Runs once, when the values of its rate are known.
    Prepare(Rate),
    /// Runs at the steps that the schedule gives it.
    Variant(Name),
}

impl Stage {
    /// If the stage is a probe of `program`, what it is called and what it chooses among.
    pub fn probe_of<'p>(&self, program: &'p Program) -> Option<(&'p Name, &'p [Name])> {
        match self {
            Self::Prepare(_) => None,
            Self::Variant(name) => {
                program.probes.get_key_value(name).map(|(name, choices)| (name, choices.as_slice()))
            }
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prepare(rate) => write!(f, "prepare {rate}"),
            Self::Variant(name) => write!(f, "variant {name}"),
        }
    }
}

/// A network specialised to its sizes: prepare stages, variants of a step, carried values, and a schedule.
///
/// Graphs are wired by name. An input of a graph is a program input, a carried value, or an output of an earlier
/// prepare stage; an output of a variant is a carried value if one is called so, otherwise a result of the program.
///
/// Where the schedule names a probe, the step runs that first. The probe gives no results, only carried values and
/// [`Program::CHOICE`], the index of the variant, of those it chooses among, that runs the rest of the step. So nothing in a
/// graph branches, and what the probe has computed reaches the rest of its step as carried values do.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    pub name: Name,
    pub inputs: Vec<Declaration>,
    pub carries: Vec<Declaration>,
    /// Run in the order of their rates.
    pub prepares: BTreeMap<Rate, Graph>,
    /// Those that are probes among them.
    pub variants: IndexMap<Name, Graph>,
    /// The variants that are probes, each with the variants that it chooses among, by index.
    pub probes: IndexMap<Name, Vec<Name>>,
    /// The variant of each step; if it is a probe, the step runs what that chooses after it.
    pub schedule: Vec<Name>,
}

impl Program {
    /// The output by which a probe says what it chooses, of type `i32[]`.
    pub const CHOICE: &'static str = "choice";

    /// What the input is called that says which step runs.
    const STEP: &str = "step";

    /// The input that says which step of the schedule runs, counted from 0: the `i32[]` called `step`, if the program has one. Who
    /// runs a step knows its number, so nobody else gives it a value.
    pub fn step_input(&self) -> Option<&Declaration> {
        let is_number = |fact: &Fact| fact.dtype == DType::I32 && fact.shape.is_empty();
        self.inputs.iter().find(|input| *input.name == *Self::STEP && is_number(&input.fact))
    }

    /// A program of one variant `name`, run `steps` times, whose inputs are those of `graph`.
    pub fn of_graph(program: impl Into<Name>, variant: impl Into<Name>, steps: usize, graph: Graph) -> Self {
        let variant = variant.into();
        let inputs = graph
            .inputs()
            .iter()
            .map(|&id| Declaration { name: graph[id].name.clone(), fact: graph[id].fact.clone() })
            .collect();
        Self {
            name: program.into(),
            inputs,
            carries: Vec::new(),
            prepares: BTreeMap::new(),
            probes: IndexMap::new(),
            schedule: vec![variant.clone(); steps],
            variants: IndexMap::from([(variant, graph)]),
        }
    }

    /// All graphs, in the order in which they can first run.
    pub fn stages(&self) -> impl Iterator<Item = (Stage, &Graph)> {
        let prepares = self.prepares.iter().map(|(&rate, graph)| (Stage::Prepare(rate), graph));
        prepares.chain(self.variants.iter().map(|(name, graph)| (Stage::Variant(name.clone()), graph)))
    }

    /// The graph of `stage`, to be edited, if the program has one.
    pub fn graph_mut(&mut self, stage: &Stage) -> Option<&mut Graph> {
        match stage {
            Stage::Prepare(rate) => self.prepares.get_mut(rate),
            Stage::Variant(name) => self.variants.get_mut(name),
        }
    }

    /// The graph of `stage`, if the program has one.
    pub fn graph(&self, stage: &Stage) -> Option<&Graph> {
        match stage {
            Stage::Prepare(rate) => self.prepares.get(rate),
            Stage::Variant(name) => self.variants.get(name),
        }
    }

    /// All graphs, to be edited.
    pub fn stages_mut(&mut self) -> impl Iterator<Item = (Stage, &mut Graph)> {
        let prepares = self.prepares.iter_mut().map(|(&rate, graph)| (Stage::Prepare(rate), graph));
        prepares.chain(self.variants.iter_mut().map(|(name, graph)| (Stage::Variant(name.clone()), graph)))
    }

    /// Number of ops of all graphs.
    pub fn op_count(&self) -> usize {
        self.stages().map(|(_, graph)| graph.op_count()).sum()
    }

    /// On how many devices the program runs, each with parts of its values; `None` if it is for one.
    pub fn devices(&self) -> Option<usize> {
        let mut ops = self.stages().flat_map(|(_, graph)| graph.ids().map(|id| &graph[id].op));
        ops.find_map(Op::devices)
    }

    /// Whether the variant `name` is a probe.
    pub fn is_probe(&self, name: &Name) -> bool {
        self.probes.contains_key(name)
    }

    /// The variants that the probe `name` chooses from, by index; none if it is not a probe.
    pub fn choices(&self, name: &Name) -> &[Name] {
        self.probes.get(name).map_or(&[], Vec::as_slice)
    }

    /// The variants that give the results of the program: all but the probes.
    pub fn giving_results(&self) -> impl Iterator<Item = (&Name, &Graph)> {
        self.variants.iter().filter(|(name, _)| !self.is_probe(name))
    }

    /// Keeps those variants for which `is_kept` holds, whether they are probes or not.
    pub fn retain_variants(&mut self, mut is_kept: impl FnMut(&Name) -> bool) {
        self.variants.retain(|name, _| is_kept(name));
        self.probes.retain(|name, _| self.variants.contains_key(name));
    }

    /// Whether how long the schedule takes depends on what probes choose.
    pub fn has_choices(&self) -> bool {
        self.schedule.iter().any(|name| self.is_probe(name))
    }

    /// The most that a step costs for which the schedule has `name`: of a probe, with the dearest of its choices.
    pub fn step_cost(&self, name: &Name) -> Cost {
        let cost = |name: &Name| self.variants.get(name).map(Graph::total_cost).unwrap_or_default();
        let dearest = self
            .choices(name)
            .iter()
            .map(cost)
            .fold(Cost::default(), |a, b| Cost { flops: a.flops.max(b.flops), bytes: a.bytes.max(b.bytes) });
        cost(name) + dearest
    }

    /// How often the schedule names the variant `name`. What probes choose is not known before they run.
    pub fn steps_of(&self, name: &Name) -> usize {
        self.schedule.iter().filter(|variant| *variant == name).count()
    }

    /// A name like `name` that is not [shared](Self::is_shared), and that no value of a graph has.
    pub fn free_name(&self, name: &Name) -> Name {
        name.first_free(|name| {
            !self.is_shared(name) && self.stages().all(|(_, graph)| graph.find(name).is_none())
        })
    }

    /// Whether stages share something called `name`: an input, a carried or prepared value, or a result.
    pub fn is_shared(&self, name: &Name) -> bool {
        let is_declared = self.inputs.iter().chain(&self.carries).any(|declared| declared.name == *name);
        let mut outputs = self.stages().flat_map(|(_, graph)| graph.outputs());
        is_declared || outputs.any(|output| output.label == *name)
    }

    /// A value of `prepare weights` that `make` adds, as a declaration for the stages that read it, called like `name`. It is
    /// made once: where `make` finds all its values there already (see [`Patch::find_or_add`]), it is the one that is there.
    /// `make` is told what the value is called.
    ///
    /// # Errors
    /// Those of `make`, and of applying its patch.
    pub fn prepare_once(
        &mut self,
        rule: &'static str,
        name: &Name,
        from: impl IntoIterator<Item = Name>,
        make: impl FnOnce(&mut Patch, &Name) -> Result<ValueId, PatchError>,
    ) -> Result<Declaration, PatchError> {
        let name = self.free_name(name);
        let stage = self.prepares.entry(Rate::Weights).or_default();
        let mut patch = Patch::new(stage, rule);
        patch.on_behalf_of(from);
        let value = make(&mut patch, &name)?;
        let known = patch.graph().outputs().iter().find(|output| output.value == value);
        let label = known.map(|output| output.label.clone());
        if label.is_none() {
            patch.output(name.clone(), value);
        }
        patch.apply()?;
        Ok(Declaration { name: label.unwrap_or(name), fact: stage[value].fact.clone() })
    }

    /// Tells the readers of prepared values how often these change, where an edit has made that less often.
    pub fn update_rates(&mut self) {
        let mut prepared: HashMap<Name, Rate> = HashMap::new();
        for graph in self.prepares.values_mut() {
            graph.set_input_rates(&prepared);
            let outputs = graph.outputs().iter();
            prepared.extend(outputs.map(|output| (output.label.clone(), graph[output.value].fact.rate)));
        }
        self.variants.values_mut().for_each(|graph| graph.set_input_rates(&prepared));
    }

    /// Whether `name` is carried from step to step.
    pub fn is_carried(&self, name: &Name) -> bool {
        self.carries.iter().any(|carry| carry.name == *name)
    }

    /// Names and facts of all weights, each once, in order of first use.
    pub fn weights(&self) -> IndexMap<&str, &Fact> {
        self.stages().flat_map(|(_, graph)| graph.weights()).collect()
    }
}
