//! Random programs that verify: every op, every dtype, codes, scalars, blocks that repeat, prepare stages, several variants,
//! probes and carried values. One seed, one program.

mod blocks;
mod formulas;
mod ops;

use fastrand::Rng;
use indexmap::IndexMap;
use reflux_ir::op::{Binary, Cast, Constant, Op, Reshape};
use reflux_ir::{
    DType, Declaration, Fact, Graph, GraphBuilder, ModulePath, Name, Patch, Program, Rate, Shape, ValueId,
};
use std::collections::BTreeMap;

/// A random program. It verifies: whatever does not type is not added.
pub fn program(rng: &mut Rng) -> Program {
    let steps = rng.usize(1..6);
    let dtype = pick(rng, &[DType::F32, DType::F32, DType::F32, DType::BF16, DType::F16]);
    let mut known = declared(rng, dtype, steps);
    let mut prepares = BTreeMap::new();
    for rate in [Rate::Weights, Rate::Prompt, Rate::Schedule] {
        if rng.usize(0..4) == 0 {
            let mut maker = Maker::new(rng, dtype, known.clone(), rate, rate.name());
            maker.fill(4);
            let graph = maker.prepared();
            known.inputs = maker.known.inputs;
            let made = graph.outputs().iter();
            let made =
                made.map(|out| Declaration { name: out.label.clone(), fact: graph[out.value].fact.clone() });
            known.prepared.extend(made);
            prepares.insert(rate, graph);
        }
    }
    let size = rng.usize(1..14);
    let mut maker = Maker::new(rng, dtype, known.clone(), Rate::Latent, "full");
    maker.fill(size);
    let full = maker.with_results();
    known.inputs = maker.known.inputs;
    let mut variants = IndexMap::from([(Name::from("full"), full)]);
    let mut carries = Vec::new();
    for index in 0..pick(rng, &[0, 0, 0, 1, 1, 2_usize]) {
        let carried = carry(rng, &mut variants[0], &known, &mut carries);
        let stage = ["first", "second"][index];
        let mut maker = Maker::new(rng, dtype, Known { carried, ..known.clone() }, Rate::Latent, stage);
        let size = maker.rng.usize(0..6);
        maker.fill(size);
        let graph = maker.like(&variants[0], &carries);
        known.inputs = maker.known.inputs;
        variants.insert(format!("reuse{index}").into(), graph);
    }
    let names: Vec<Name> = variants.keys().cloned().collect();
    let mut probes = IndexMap::new();
    if rng.usize(0..4) == 0 {
        let mut maker = Maker::new(
            rng,
            dtype,
            Known { carried: carries.clone(), ..known.clone() },
            Rate::Latent,
            "probe",
        );
        let size = maker.rng.usize(0..6);
        maker.fill(size);
        let graph = maker.probe(names.len(), &carries);
        known.inputs = maker.known.inputs;
        probes.insert(Name::from("probe"), names.clone());
        variants.insert("probe".into(), graph);
    }
    let names: Vec<Name> = variants.keys().cloned().collect();
    let step =
        |step: usize| if step == 0 { names[0].clone() } else { names[rng.usize(..names.len())].clone() };
    let schedule = (0..steps).map(step).collect();
    Program { name: "random".into(), inputs: known.inputs, carries, prepares, variants, probes, schedule }
}

/// What graphs may read by name.
#[derive(Clone, Default)]
struct Known {
    inputs: Vec<Declaration>,
    prepared: Vec<Declaration>,
    carried: Vec<Declaration>,
}

fn pick<T: Clone>(rng: &mut Rng, items: &[T]) -> T {
    items[rng.usize(..items.len())].clone()
}

/// Inputs that a network has: latents, words, a table of times, the number of the step.
fn declared(rng: &mut Rng, dtype: DType, steps: usize) -> Known {
    let tokens = pick(rng, &[1, 2, 6, 17, 24]);
    let features = pick(rng, &[4, 8, 16, 32]);
    let candidates = [
        ("x", Fact::new(dtype, [1, tokens, features]).at(Rate::Latent)),
        ("words", Fact::new(dtype, [1, tokens, features]).at(Rate::Prompt)),
        ("times", Fact::new(DType::F32, [steps, 1]).at(Rate::Schedule)),
        ("step", Fact::new(DType::I32, []).at(Rate::Latent)),
        ("q", Fact::new(dtype, [1, tokens, 2, features]).at(Rate::Latent)),
        ("guidance", Fact::new(dtype, [1]).at(Rate::Schedule)),
        ("scalar", Fact::new(dtype, []).at(pick(rng, &Rate::ALL))),
        ("ids", Fact::new(DType::I32, [tokens]).at(Rate::Prompt)),
        ("small", Fact::new(DType::I8, [2, features]).at(Rate::Latent)),
        ("fixed", Fact::new(DType::F32, [features, features]).at(Rate::Weights)),
    ];
    let chosen = candidates.into_iter().filter(|(name, _)| *name == "x" || rng.bool());
    let inputs = chosen.map(|(name, fact)| Declaration { name: name.into(), fact }).collect();
    Known { inputs, ..Known::default() }
}

/// Has `graph`, which runs first, carry some of its values on.
fn carry(
    rng: &mut Rng,
    graph: &mut Graph,
    known: &Known,
    carries: &mut Vec<Declaration>,
) -> Vec<Declaration> {
    // Readers take what is carried for a value like any other, which a share is not.
    let is_share = |id: &ValueId| matches!(graph[*id].op, Op::Shard(_) | Op::AllToAll(_));
    let values: Vec<ValueId> = graph.order().into_iter().filter(|id| !is_share(id)).collect();
    let mut patch = Patch::new(graph, "carry");
    for index in 0..rng.usize(0..4) {
        let value = pick(rng, &values);
        let name = match rng.usize(0..3) {
            0 => Name::from(format!("kept.{}", carries.len())),
            1 => Name::from(format!("last{index}")),
            _ => patch.graph()[value].name.clone(),
        };
        let declared = known.inputs.iter().chain(&known.prepared).chain(carries.iter());
        let is_taken = declared.map(|other| &other.name).any(|other| *other == name)
            || patch.graph().outputs().iter().any(|output| output.label == name)
            || !is_name(&name);
        if !is_taken {
            patch.output(name.clone(), value);
            carries.push(Declaration { name, fact: patch.graph()[value].fact.clone().at(Rate::Latent) });
        }
    }
    patch.apply().expect("outputs can be added");
    carries.clone()
}

/// Whether a value may be called so; leaves are called by what they are.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .split('.')
            .all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
}

/// Makes one graph.
struct Maker<'r> {
    rng: &'r mut Rng,
    graph: GraphBuilder,
    /// What ops may read: in a block, what is outside it and what its round has made.
    values: Vec<ValueId>,
    dtype: DType,
    known: Known,
    /// That of the stage, and what it is called among tensors.
    rate: Rate,
    stage: &'static str,
    /// The block and its round, if ops are of one.
    block: Option<(String, usize)>,
    /// How many values, and how many tensors, have been named: in a block, how many of the round.
    names: usize,
    tensors: usize,
}

impl<'r> Maker<'r> {
    fn new(rng: &'r mut Rng, dtype: DType, known: Known, rate: Rate, stage: &'static str) -> Self {
        let (graph, values) = (GraphBuilder::new(), Vec::new());
        let mut maker =
            Self { rng, graph, values, dtype, known, rate, stage, block: None, names: 0, tensors: 0 };
        for declared in maker.known.carried.clone() {
            maker.read(&declared);
        }
        maker
    }

    /// Adds about `size` ops, blocks among them.
    fn fill(&mut self, size: usize) {
        for _ in 0..size {
            match self.rng.usize(0..12) {
                0 => self.block(),
                1 => self.network_block(),
                2 => self.modulation(),
                _ => drop(self.any_op()),
            }
        }
    }

    /// The graph of a prepare stage.
    fn prepared(&mut self) -> Graph {
        for index in 0..self.rng.usize(1..3) {
            if let Some(value) = self.pick(|_| true) {
                let label = format!("prepared_{}_{index}", self.rate);
                self.graph.output(label, value);
            }
        }
        std::mem::take(&mut self.graph).finish()
    }

    /// The graph, with results.
    fn with_results(&mut self) -> Graph {
        for index in 0..self.rng.usize(1..4) {
            let value = self.pick(|fact| !fact.is_quantized()).unwrap_or_else(|| self.float(0..4));
            self.graph.output(format!("y{index}"), value);
        }
        std::mem::take(&mut self.graph).finish()
    }

    /// The graph, with the results of `first`, and some of what is carried.
    fn like(&mut self, first: &Graph, carries: &[Declaration]) -> Graph {
        for output in first.outputs() {
            let fact = first[output.value].fact.clone();
            let is_carried = carries.iter().any(|carry| carry.name == output.label);
            if !is_carried || self.rng.bool() {
                let value = self.of(fact);
                self.graph.output(output.label.clone(), value);
            }
        }
        std::mem::take(&mut self.graph).finish()
    }

    /// The graph of a probe that chooses among `choices` variants, and gives some of what is carried.
    fn probe(&mut self, choices: usize, carries: &[Declaration]) -> Graph {
        for carry in carries {
            if self.rng.usize(0..3) == 0 {
                let value = self.of(carry.fact.clone());
                self.graph.output(carry.name.clone(), value);
            }
        }
        let choice = self.choice(choices);
        self.graph.output(Program::CHOICE, choice);
        std::mem::take(&mut self.graph).finish()
    }

    /// An index below `choices`: a number, or where there is something of the latents to compare, 0 or 1 as that comes out.
    fn choice(&mut self, choices: usize) -> ValueId {
        let is_one =
            |fact: &Fact| fact.dtype.is_float() && !fact.is_quantized() && fact.shape.elements() == 1;
        let compared = if choices > 1 { self.pick(is_one) } else { None };
        let compared = compared.and_then(|value| {
            let half = self
                .graph
                .constant(Constant { value: 0.5.into(), dtype: self.graph[value].fact.dtype })
                .ok()?;
            let less = self.add(Binary::Min, &[value, half])?;
            let is_less = self.add(Binary::Equal, &[less, value])?;
            let index = self.add(Cast { dtype: DType::I32 }, &[is_less])?;
            self.add(Reshape { shape: Shape::from([]) }, &[index])
        });
        compared.unwrap_or_else(|| {
            let value = (self.rng.usize(..choices) as f64).into();
            self.graph.constant(Constant { value, dtype: DType::I32 }).expect("it is a number of that type")
        })
    }

    /// The input that is declared so.
    fn read(&mut self, declared: &Declaration) -> ValueId {
        let known = self.graph.find_input(&declared.name);
        known.unwrap_or_else(|| {
            let id = self.graph.input(declared.name.clone(), declared.fact.clone()).expect("it is free");
            self.values.push(id);
            id
        })
    }

    /// A value whose fact `fits`, rather a late one than an early one; nothing if none does.
    fn pick(&mut self, fits: impl Fn(&Fact) -> bool) -> Option<ValueId> {
        // What differs from device to device is no value like any other.
        let is_share = |id: ValueId| matches!(self.graph[id].op, Op::Shard(_) | Op::AllToAll(_));
        let fitting = self.values.iter().copied().filter(|&id| fits(&self.graph[id].fact) && !is_share(id));
        let fitting: Vec<ValueId> = fitting.collect();
        let at = |rng: &mut Rng| rng.usize(..fitting.len());
        (!fitting.is_empty()).then(|| fitting[at(self.rng).max(at(self.rng))])
    }

    /// A value of the type of `fact`: one that is there, an input, a number, or a weight.
    fn of(&mut self, fact: Fact) -> ValueId {
        if self.rng.bool()
            && let Some(id) = self.pick(|known| known.same_type(&fact))
        {
            return id;
        }
        let is_it =
            |declared: &&Declaration| declared.fact.same_type(&fact) && declared.fact.rate <= self.rate;
        let known: Vec<Declaration> =
            self.known.inputs.iter().chain(&self.known.prepared).filter(is_it).cloned().collect();
        // In a block, rounds read what is outside it alike.
        if self.block.is_none() && !known.is_empty() && self.rng.bool() {
            let declared = pick(self.rng, &known);
            return self.read(&declared);
        }
        if fact.shape.is_empty() && !fact.is_quantized() && self.rng.bool() {
            return self.number(fact.dtype);
        }
        if self.block.is_none() && !fact.is_quantized() && self.rng.usize(0..8) == 0 {
            let slower: Vec<Rate> = Rate::ALL.into_iter().filter(|&rate| rate <= self.rate).collect();
            let fact = fact.at(pick(self.rng, &slower));
            let name = self.free_name(format!("in{}", self.known.inputs.len()));
            let declared = Declaration { name, fact };
            self.known.inputs.push(declared.clone());
            return self.read(&declared);
        }
        self.weight(fact)
    }

    /// A weight of the type of `fact`: sometimes one that is there.
    fn weight(&mut self, fact: Fact) -> ValueId {
        let fact = fact.at(Rate::Weights);
        let tensor = match &self.block {
            Some((stem, round)) => format!("{stem}.{round}.w{}", self.tensors),
            None if self.rng.usize(0..6) == 0 => {
                format!("shared{}", fact.shape).replace(['[', ']', ','], "_")
            }
            None => {
                format!("{}{}.w{}", pick(self.rng, &["", "blocks.0.", "net."]), self.stage, self.graph.len())
            }
        };
        self.tensors += 1;
        self.graph.weight(tensor, fact.clone()).unwrap_or_else(|_| {
            let tensor = format!("{}.other{}.{}", self.stage, self.graph.len(), self.tensors);
            self.graph.weight(tensor, fact).expect("the name is new")
        })
    }

    /// A number of that type.
    fn number(&mut self, dtype: DType) -> ValueId {
        let values: &[f64] = if dtype.is_float() {
            &[0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 0.1, 3.0, 1e-5, 100.0]
        } else {
            &[0.0, 1.0, -1.0, 2.0, 3.0, 100.0]
        };
        let constant = Constant { value: pick(self.rng, values).into(), dtype };
        self.graph.constant(constant).expect("it is a number of each type")
    }

    /// A floating-point value whose rank is in `ranks`.
    fn float(&mut self, ranks: std::ops::Range<usize>) -> ValueId {
        let fits = |fact: &Fact| fact.dtype.is_float() && ranks.contains(&fact.shape.len());
        if self.rng.usize(0..8) > 0
            && let Some(id) = self.pick(fits)
        {
            return id;
        }
        let rank = self.rng.usize(ranks);
        let fact = Fact::new(self.dtype, self.shape(rank));
        self.of(fact)
    }

    /// A shape of that rank, its extents small.
    fn shape(&mut self, rank: usize) -> Shape {
        let extents: Vec<usize> = (0..rank).map(|_| pick(self.rng, &[1, 1, 2, 3, 4, 6, 8, 16, 17])).collect();
        extents.into()
    }

    fn fact(&self, id: ValueId) -> Fact {
        self.graph[id].fact.clone()
    }

    /// Adds `op`, if it accepts the operands and the stage may hold it.
    fn add(&mut self, op: impl Into<Op>, operands: &[ValueId]) -> Option<ValueId> {
        let rate = operands.iter().map(|&id| self.graph[id].fact.rate).max().unwrap_or(Rate::Weights);
        if rate > self.rate {
            return None;
        }
        let (name, path) = (self.name(), self.path());
        let id = self.graph.add(op, operands, name, path).ok()?;
        // A value of more than this takes time and shows nothing more.
        if self.graph[id].fact.shape.elements() <= 1 << 14 {
            self.values.push(id);
        }
        Some(id)
    }

    fn name(&mut self) -> Name {
        self.names += 1;
        match &self.block {
            Some((stem, round)) => Name::from(format!("{}{}.{round}", stem.replace('.', "_"), self.names)),
            None => {
                let stem = pick(self.rng, &["v", "v", "v", "a.prev", "b.0", "x", "kept", "c.1"]);
                self.free_name(format!("{stem}.{}", self.names))
            }
        }
    }

    fn free_name(&self, name: String) -> Name {
        let declared =
            |name: &Name| self.known.inputs.iter().chain(&self.known.prepared).any(|d| d.name == *name);
        Name::from(name).first_free(|name| self.graph.find(name).is_none() && !declared(name))
    }

    fn path(&mut self) -> ModulePath {
        let module = pick(self.rng, &["", "", "norm", "attn.to_q", "ff.net.0", "act"]);
        match &self.block {
            Some((stem, round)) => ModulePath::from(format!("{stem}.{round}")).join_if(module),
            None => ModulePath::from(pick(self.rng, &["", "net", "blocks.1", "norm_out", "x_embedder"]))
                .join_if(module),
        }
    }
}

/// [`ModulePath::join`], but that joining nothing changes nothing.
trait JoinIf {
    fn join_if(self, module: &str) -> Self;
}

impl JoinIf for ModulePath {
    fn join_if(self, module: &str) -> Self {
        if module.is_empty() { self } else { self.join(module) }
    }
}
