//! Runs a program on one backend, op by op, or graph by graph where the backend can.

mod integrate;
mod reload;

use crate::backend::{BurnBackend, GraphRunner, Kept, Loader, Loading, Others, Unplanned};
use crate::coded::Coded;
use crate::execute::{Execute, bindable};
use crate::liveness::{Instruction, Liveness, Slot};
use crate::ops::execute;
use crate::ranks::Rank;
use crate::value::{Value, burn_dtype, burn_shape};
use crate::weight::load_weight;
use crate::{Integral, Profile, RunError};
use burn::tensor::ops::IntTensor;
use burn::tensor::{Shape, TensorData};
use integrate::{Update, integrate};
use reflux_ir::op::Op;
use reflux_ir::{
    DType, Declaration, Fact, Graph, HostTensor, Name, Program, Rate, Stage, WeightSource, words,
};
use reload::reload;
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A program on a backend.
pub struct Executor<B: BurnBackend> {
    program: Program,
    device: B::Device,
    stages: Vec<LoadedStage<B>>,
    /// Inputs, prepared values and carried values.
    values: HashMap<Name, Kept<B>>,
    /// That of the last value that was kept.
    version: u64,
    /// Prepare stages that have to run again.
    stale: BTreeSet<Rate>,
    /// What ran while the weights were read.
    at_load: Profile,
    profile: Option<Profile>,
    fallbacks: Vec<String>,
    /// The variant that the last step ran.
    ran: Option<Name>,
    /// The source from which prepare stages read their weights while they run, if those are not resident.
    streamed: Option<Arc<dyn WeightSource>>,
    /// Which of the program's devices this is, if it is for several.
    rank: Option<Rank>,
    /// What made the input of each step when steps were last integrated.
    update: Option<Update<B>>,
}

struct LoadedStage<B: BurnBackend> {
    stage: Stage,
    liveness: Liveness,
    leaves: Vec<(Slot, Value<B>)>,
    /// Runs the stage as a whole, if the backend can.
    runner: Option<Box<dyn GraphRunner<B>>>,
}

impl<B: BurnBackend> LoadedStage<B> {
    /// The rate of a prepare stage.
    fn rate(&self) -> Option<Rate> {
        match self.stage {
            Stage::Prepare(rate) => Some(rate),
            Stage::Variant(_) => None,
        }
    }
}

impl<B: BurnBackend> Executor<B> {
    /// Loads a verified program.
    pub fn new(loading: Loading) -> Result<Self, RunError> {
        let Loading { program, weights: source, streamed, ordinal, rank } = loading;
        let device = B::device(ordinal);
        let mut loader = B::loader(&device, rank.as_ref())?;
        // By type too: one stage may read a tensor quantized, another as it is.
        let mut weights: HashMap<(String, Fact), Value<B>> = HashMap::new();
        let mut stages = Vec::new();
        let mut prepared_weights = Vec::new();
        let mut at_load = Profile::default();
        let mut fallbacks = Vec::new();
        for (stage, graph) in program.stages() {
            if stage == Stage::Prepare(Rate::Weights) && graph.inputs().is_empty() {
                let prepared = prepare_weights(
                    graph,
                    source,
                    loader.as_mut(),
                    Place { device: &device, rank: rank.as_ref() },
                    &mut at_load,
                )?;
                prepared_weights.extend(prepared.into_iter().map(|(name, _, value)| (name, value)));
                continue;
            }
            let streams = streamed.is_some() && matches!(stage, Stage::Prepare(_));
            let liveness = if streams { Liveness::consuming_weights(graph) } else { Liveness::new(graph) };
            let mut leaves = Vec::new();
            for (tensor, fact, slot) in liveness.weights.iter().filter(|_| !streams) {
                let key = (tensor.clone(), fact.clone());
                let value = match weights.get(&key) {
                    Some(value) => value.clone(),
                    None => B::kept(load_weight(source, tensor, fact, loader.as_mut(), &device)?),
                };
                weights.insert(key, value.clone());
                leaves.push((*slot, value));
            }
            for (constant, slot) in &liveness.constants {
                leaves.push((*slot, Value::Scalar(constant.value.0, constant.dtype)));
            }
            let runner = match &stage {
                // Weights that are read while a stage runs are not there yet; ranks run together what they exchange; and engines have one
                // place for each result, where codes need another for their scales.
                Stage::Prepare(_) if streams || rank.is_some() || makes_codes(graph) => None,
                // What would be slow in every step may be so once.
                Stage::Prepare(_) => {
                    runner(&stage, graph, &leaves, loader.as_mut(), Others::OpByOp, &mut Vec::new())?
                }
                Stage::Variant(_) => {
                    runner(&stage, graph, &leaves, loader.as_mut(), Others::OnBurn, &mut fallbacks)?
                }
            };
            // What runs the stage as a whole has its weights.
            let leaves = if runner.is_none() { leaves } else { Vec::new() };
            stages.push(LoadedStage { stage, liveness, leaves, runner });
        }
        let stale = stages.iter().filter_map(LoadedStage::rate).collect();
        let mut executor = Self {
            program,
            device,
            stages,
            values: HashMap::new(),
            version: 0,
            stale,
            at_load,
            profile: None,
            fallbacks,
            ran: None,
            streamed,
            rank,
            update: None,
        };
        prepared_weights.into_iter().for_each(|(name, value)| executor.keep(name, value, false));
        Ok(executor)
    }

    /// The number of the next value that is kept.
    fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    /// Stores a value for the stages that read it.
    fn keep(&mut self, name: Name, value: Value<B>, is_made: bool) {
        let version = self.next_version();
        self.values.insert(name, Kept::on_device(value, version, is_made));
    }

    /// Stores a value that the loader has placed where it stays.
    fn keep_placed(&mut self, name: Name, value: Value<B>) {
        let version = self.next_version();
        self.values.insert(name, Kept::placed(value, version));
    }

    /// Stores `value` for `input`, cast to its dtype; prepare stages that may depend on it have to run again, unless it is what the
    /// input has: a second picture of a prompt, or with the same steps, needs only what is new.
    fn give(&mut self, Declaration { name, fact }: &Declaration, value: &HostTensor) {
        let value = match value.dtype == fact.dtype {
            true => Cow::Borrowed(value),
            false => Cow::Owned(value.cast(fact.dtype)),
        };
        let known = self.values.get_mut(name);
        if known.as_ref().is_some_and(|kept| kept.host.as_ref() == Some(&*value)) {
            return;
        }
        self.version += 1;
        if !known.is_some_and(|kept| kept.give(&value, self.version)) {
            self.values.insert(name.clone(), Kept::given(value.into_owned(), self.version));
        }
        self.outdate(fact.rate);
    }

    /// Has prepare stages run again that may read what changes at `rate`.
    fn outdate(&mut self, rate: Rate) {
        let rates = self.stages.iter().filter_map(LoadedStage::rate);
        self.stale.extend(rates.filter(|&own| own >= rate));
    }

    fn prepare(&mut self) -> Result<(), RunError> {
        while let Some(rate) = self.stale.first().copied() {
            let stage = Stage::Prepare(rate);
            let prepared = self.run(&stage)?;
            let runner = &find(&self.stages, &stage).runner;
            let is_made = runner.is_some();
            // Op by op, a stage after it may read what it has made.
            runner.as_ref().map_or(Ok(()), |runner| runner.wait())?;
            prepared.into_iter().for_each(|(name, _, value)| self.keep(name, value, is_made));
            B::memory_cleanup(&self.device);
            self.stale.remove(&rate);
        }
        Ok(())
    }

    /// Readies everything for `step`, and returns what the schedule has for it.
    fn begin(&mut self, step: usize) -> Result<Name, RunError> {
        let Some(variant) = self.program.schedule.get(step).cloned() else {
            return Err(RunError::NoSuchStep { step, steps: self.program.schedule.len() });
        };
        if let Some(input) = self.program.step_input().cloned() {
            // Schedules are written out, so that their lengths are far from the end of i32.
            self.give(&input, &HostTensor::from_i32([], &[step as i32]));
        }
        let start = Instant::now();
        self.prepare()?;
        tracing::trace!("step {step}: prepared after {:?}", start.elapsed());
        Ok(variant)
    }

    /// Runs `variant`, a part of `step`: has what it carries on, and gives what else it makes, on the host.
    fn run_variant(&mut self, step: usize, variant: &Name) -> Result<HashMap<Name, HostTensor>, RunError> {
        let stage = Stage::Variant(variant.clone());
        let start = Instant::now();
        let made = self.run(&stage)?;
        tracing::trace!("step {step}: {stage} under way after {:?}", start.elapsed());
        let runner = &find(&self.stages, &stage).runner;
        let (mut results, mut carried) = (HashMap::new(), Vec::new());
        for (index, (name, fact, value)) in made.into_iter().enumerate() {
            if self.program.is_carried(&name) {
                carried.push((name, value));
                continue;
            }
            let host = match runner {
                Some(runner) => runner.fetch(index)?,
                None => value.download(&fact, &format!("return %{name}"))?,
            };
            results.insert(name, host);
        }
        if let (Some(runner), true) = (runner, results.is_empty()) {
            runner.wait()?;
        }
        let is_made = runner.is_some();
        carried.into_iter().for_each(|(name, value)| self.keep(name, value, is_made));
        tracing::trace!("step {step}: results of {stage} on the host after {:?}", start.elapsed());
        Ok(results)
    }

    /// The variant that `probe`, which gave `results`, chooses for `step`.
    fn chosen(
        &self,
        step: usize,
        probe: &Name,
        results: &HashMap<Name, HostTensor>,
    ) -> Result<Name, RunError> {
        let choice = results.get(Program::CHOICE).and_then(|choice| choice.bytes[..].try_into().ok());
        let index = i32::from_le_bytes(choice.expect("verified probe"));
        let choices = self.program.choices(probe);
        let chosen = usize::try_from(index).ok().and_then(|index| choices.get(index));
        let chosen = chosen.ok_or_else(|| RunError::NoSuchChoice {
            step,
            probe: probe.clone(),
            index,
            choices: choices.to_vec(),
        })?;
        tracing::trace!("step {step}: {probe} chooses {chosen}");
        Ok(chosen.clone())
    }

    fn run(&mut self, stage: &Stage) -> Result<Vec<(Name, Fact, Value<B>)>, RunError> {
        let loaded = find(&self.stages, stage);
        let liveness = &loaded.liveness;
        if let Some(runner) = &loaded.runner {
            let Some(profile) = &mut self.profile else { return runner.run(&self.values, None) };
            let mut times: HashMap<String, Duration> = HashMap::new();
            let made = runner.run(
                &self.values,
                Some(&mut |value, time| *times.entry(value.to_owned()).or_default() += time),
            )?;
            for instruction in &liveness.instructions {
                // Views take no time.
                let time = times.get(&*instruction.name).copied().unwrap_or_default();
                profile.record(stage, instruction, time);
            }
            return Ok(made);
        }
        let mut slots: Vec<Option<Value<B>>> = vec![None; liveness.slots];
        for (name, slot) in &liveness.inputs {
            let kept = self.values.get(name).ok_or_else(|| RunError::MissingInput(name.clone()))?;
            slots[*slot] = Some(kept.value(&self.device).clone());
        }
        for (slot, value) in &loaded.leaves {
            slots[*slot] = Some(value.clone());
        }
        let (profile, device) = (&mut self.profile, &self.device);
        let mut streamed = match (&self.streamed, stage) {
            (Some(source), Stage::Prepare(_)) => Some((&**source, B::loader(device, None)?)),
            _ => None,
        };
        let unread = streamed.as_mut().map(|(source, loader)| Unread::of(liveness, *source, loader.as_mut()));
        let place = Place { device, rank: self.rank.as_ref() };
        interpret(liveness, slots, place, unread, &mut |instruction, time| {
            if let Some(profile) = profile {
                profile.record(stage, instruction, time()?);
            }
            Ok(())
        })
    }
}

fn find<'s, B: BurnBackend>(stages: &'s [LoadedStage<B>], stage: &Stage) -> &'s LoadedStage<B> {
    stages.iter().find(|loaded| loaded.stage == *stage).expect("verified schedule")
}

/// The time of an instruction, measured by waiting for it.
type Timer<'t> = &'t dyn Fn() -> Result<Duration, RunError>;

/// Where a program runs: a device, and which of the program's it is, if it is for several.
pub(crate) struct Place<'p, B: BurnBackend> {
    pub device: &'p B::Device,
    pub rank: Option<&'p Rank>,
}

/// Weights that are loaded when they are first read.
struct Unread<'r, B: BurnBackend> {
    weights: HashMap<Slot, (&'r str, &'r Fact)>,
    source: &'r dyn WeightSource,
    loader: &'r mut dyn Loader<B>,
}

impl<'r, B: BurnBackend> Unread<'r, B> {
    /// All weights of `liveness`.
    fn of(liveness: &'r Liveness, source: &'r dyn WeightSource, loader: &'r mut dyn Loader<B>) -> Self {
        let weights = liveness.weights.iter().map(|(tensor, fact, slot)| (*slot, (tensor.as_str(), fact)));
        Self { weights: weights.collect(), source, loader }
    }

    /// Loads those of `read` that are not in `slots`, each while the one before it is on its way.
    fn load(
        &mut self,
        slots: &mut [Option<Value<B>>],
        read: impl Iterator<Item = Slot>,
        device: &B::Device,
    ) -> Result<(), RunError> {
        let mut is_any = false;
        for slot in read {
            if slots[slot].is_none() {
                let (tensor, fact) = self.weights[&slot];
                slots[slot] = Some(load_weight(self.source, tensor, fact, self.loader, device)?);
                is_any = true;
            }
        }
        if is_any { self.loader.finish() } else { Ok(()) }
    }
}

/// Runs `liveness` over the values in `slots`, all but what is `unread`.
fn interpret<B: BurnBackend>(
    liveness: &Liveness,
    mut slots: Vec<Option<Value<B>>>,
    Place { device, rank }: Place<B>,
    mut unread: Option<Unread<B>>,
    observe: &mut dyn FnMut(&Instruction, Timer) -> Result<(), RunError>,
) -> Result<Vec<(Name, Fact, Value<B>)>, RunError> {
    for instruction in &liveness.instructions {
        if let Some(unread) = &mut unread {
            unread.load(&mut slots, instruction.operands.iter().map(|(slot, _)| *slot), device)?;
        }
        let mut operands = Vec::with_capacity(instruction.operands.len());
        for &(slot, last) in &instruction.operands {
            let value = slots[slot].take().expect("it was made, given or loaded");
            if !last {
                slots[slot] = Some(value.clone());
            }
            operands.push(value);
        }
        let start = Instant::now();
        let result = guarded(instruction, || match rank.filter(|_| instruction.op.devices().is_some()) {
            Some(rank) => together(rank, instruction, operands, device),
            None => execute(instruction, operands, device),
        })?;
        observe(instruction, &|| {
            let failed = |error: burn::tensor::backend::ExecutionError| RunError::Backend {
                line: describe(instruction),
                message: error.to_string(),
            };
            B::sync(device).map_err(failed)?;
            Ok(start.elapsed())
        })?;
        slots[instruction.result] = Some(result);
    }
    if let Some(unread) = &mut unread {
        unread.load(&mut slots, liveness.outputs.iter().map(|(.., slot)| *slot), device)?;
    }
    let output = |(name, fact, slot): &(Name, Fact, Slot)| {
        (name.clone(), fact.clone(), slots[*slot].clone().expect("results stay"))
    };
    Ok(liveness.outputs.iter().map(output).collect())
}

/// Runs an op that ranks run together, through the host.
pub(crate) fn together<B: BurnBackend>(
    rank: &Rank,
    instruction: &Instruction,
    mut operands: Vec<Value<B>>,
    device: &B::Device,
) -> Result<Value<B>, RunError> {
    let Instruction { op, inputs, fact, name, .. } = instruction;
    let run = |value: Value<B>, fact: &Fact| {
        let made = rank.run(op, value.download(fact, name)?)?;
        Ok::<_, RunError>(B::upload(made, device))
    };
    match operands.pop().expect("arity is verified").into_tensor(device) {
        // Rows have a scale each, and stay whole.
        Value::Quantized(Coded { codes, scales, .. }) => {
            let rows = |fact: &Fact| [&fact.shape[..fact.shape.len() - 1], &[1]].concat();
            let codes = exchanged_codes::<B>(rank, op, codes, &inputs[0], name, device)?;
            let scales = run(Value::Float(scales), &Fact::new(DType::F32, rows(&inputs[0])))?;
            let grid = Shape::from([fact.shape.rows(), 1]);
            let scales = B::float_reshape(scales.float(device), grid);
            Ok(Value::Quantized(Coded { codes, scales, zeros: None }))
        }
        value => run(value, &inputs[0]),
    }
}

/// Runs `op` on codes of type `fact`, of which each is a byte.
fn exchanged_codes<B: BurnBackend>(
    rank: &Rank,
    op: &Op,
    codes: IntTensor<B>,
    fact: &Fact,
    name: &Name,
    device: &B::Device,
) -> Result<IntTensor<B>, RunError> {
    let failed = |message: String| RunError::Backend { line: format!("%{name}"), message };
    let data = burn::tensor::try_read_sync(B::int_into_data(codes));
    let data = data.ok_or_else(|| failed("codes cannot be read".into()))?;
    let data = data.map_err(|error| failed(error.to_string()))?;
    // As bytes, whatever they stand for.
    let own = HostTensor::new(DType::I8, fact.shape.to_vec(), data.as_bytes().to_vec());
    let made = rank.run(op, own)?;
    let data = TensorData::from_bytes_vec(made.bytes, burn_shape(&made.shape), burn_dtype(fact.dtype));
    Ok(Value::<B>::of(data, device).int(device))
}

/// Runs `prepare weights`, which needs nothing but the checkpoint, while that is read: a weight is loaded when it is first
/// read and freed after its last read, so that concatenated weights are not in memory twice.
fn prepare_weights<B: BurnBackend>(
    graph: &Graph,
    source: &dyn WeightSource,
    loader: &mut dyn Loader<B>,
    Place { device, rank }: Place<B>,
    profile: &mut Profile,
) -> Result<Vec<(Name, Fact, Value<B>)>, RunError> {
    let liveness = Liveness::consuming_weights(graph);
    let mut slots: Vec<Option<Value<B>>> = vec![None; liveness.slots];
    for (constant, slot) in &liveness.constants {
        slots[*slot] = Some(Value::Scalar(constant.value.0, constant.dtype));
    }
    let unread = Unread::of(&liveness, source, loader);
    interpret(&liveness, slots, Place { device, rank }, Some(unread), &mut |instruction, time| {
        profile.record(&Stage::Prepare(Rate::Weights), instruction, time()?);
        Ok(())
    })
}

impl<B: BurnBackend> Execute for Executor<B> {
    fn program(&self) -> &Program {
        &self.program
    }

    fn bind(&mut self, name: &str, value: &HostTensor) -> Result<(), RunError> {
        let input = bindable(&self.program, name, value)?.clone();
        self.give(&input, value);
        Ok(())
    }

    fn reset(&mut self) {
        for carry in &self.program.carries {
            self.values.remove(&carry.name);
        }
    }

    fn integrate(
        &mut self,
        integral: &Integral,
        observe: &mut dyn FnMut(usize),
    ) -> Result<Option<HostTensor>, RunError> {
        integrate(self, integral, observe)
    }

    fn step(&mut self, step: usize) -> Result<HashMap<Name, HostTensor>, RunError> {
        let variant = self.begin(step)?;
        let results = self.run_variant(step, &variant)?;
        if !self.program.is_probe(&variant) {
            self.ran = Some(variant);
            return Ok(results);
        }
        let chosen = self.chosen(step, &variant, &results)?;
        let results = self.run_variant(step, &chosen)?;
        self.ran = Some(chosen);
        Ok(results)
    }

    fn ran(&self) -> Option<&Name> {
        self.ran.as_ref()
    }

    fn reload(
        &mut self,
        weights: Arc<dyn WeightSource>,
        is_changed: &dyn Fn(&str) -> bool,
    ) -> Result<(), RunError> {
        reload(self, weights, is_changed)
    }

    fn set_profiling(&mut self, on: bool) {
        self.profile = on.then(|| self.at_load.clone());
    }

    fn profile(&self) -> Option<&Profile> {
        self.profile.as_ref()
    }

    fn fallbacks(&self) -> &[String] {
        &self.fallbacks
    }
}

/// Whether a result of `graph` is codes.
pub(crate) fn makes_codes(graph: &Graph) -> bool {
    graph.outputs().iter().any(|output| graph[output.value].fact.is_coded())
}

/// The backend's own way to run `graph`, if it has one; the reasons against it are added to `fallbacks`.
fn runner<B: BurnBackend>(
    stage: &Stage,
    graph: &Graph,
    leaves: &[(Slot, Value<B>)],
    loader: &mut dyn Loader<B>,
    others: Others,
    fallbacks: &mut Vec<String>,
) -> Result<Option<Box<dyn GraphRunner<B>>>, RunError> {
    // Slots are numbered in program order.
    let order = graph.order();
    let weights = leaves.iter().map(|(slot, value)| (order[*slot], value.clone())).collect();
    match loader.runner(graph, weights, others) {
        Ok(runner) => {
            fallbacks.extend(runner.fallback().map(|what| format!("{stage}: {what}")));
            Ok(Some(runner))
        }
        Err(Unplanned::OpByOp) => Ok(None),
        Err(Unplanned::Unsupported(why)) => {
            fallbacks.push(format!("{stage}: {why}"));
            Ok(None)
        }
        Err(Unplanned::Failed(error)) => Err(error),
    }
}

/// Backends panic on failures, mostly out of memory; turns the panic into an error.
pub(crate) fn guarded<T>(
    instruction: &Instruction,
    run: impl FnOnce() -> Result<T, RunError>,
) -> Result<T, RunError> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let message = words::of_panic(&*panic).to_owned();
        Err(RunError::Backend { line: describe(instruction), message })
    })
}

fn describe(instruction: &Instruction) -> String {
    let op: &Op = &instruction.op;
    format!("%{} = {} : {} in {}", instruction.name, op.name(), instruction.fact, instruction.path)
}
