//! Random programs before and after random pipelines, run on the processor with the same weights and inputs.
//!
//! Exact pipelines keep every bit. Reassociating ones may change results by what rounding changes them: so much as small
//! changes of the inputs and weights do, eight times, and 1e-4 of the largest number of a result besides (a hundredth where
//! numbers of 16 bits are). Of lossy ones, results keep their types. All are numbers where nothing overflowed before.
//!
//! `FUZZ_COUNT=100000 FUZZ_SEED=3 cargo test --release --test reflux differential:: -- --ignored --nocapture` goes on.

use reflux_fuzz::check::{Failure, silence_panics};
use reflux_fuzz::pipelines::Passes;
use reflux_fuzz::run::{Run, Tally};
use reflux_ir::op::Op;
use reflux_ir::pass::Exactness;
use reflux_ir::{DType, Fact, HostTensor, Name, Program, WeightData, WeightError, WeightSource};
use reflux_runtime::{Device, RunError, load_shared};
use std::cell::Cell;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

type Results = Vec<HashMap<Name, HostTensor>>;

/// Tensors that are drawn by their names, each number changed by up to `change` times itself.
#[derive(Clone)]
struct Drawn {
    shapes: HashMap<String, Vec<usize>>,
    change: f32,
    /// Other ones change by other amounts.
    seed: u64,
}

impl Drawn {
    fn of(program: &Program, change: f32, seed: u64) -> Self {
        let shapes = program.weights().into_iter().map(|(name, fact)| (name.to_owned(), fact.shape.to_vec()));
        Self { shapes: shapes.collect(), change, seed }
    }

    /// Numbers between −1 and 1, or 0 and 1 where they are integers.
    fn tensor(&self, name: &str, shape: &[usize], dtype: DType) -> HostTensor {
        let seed = |of: &dyn Fn(&mut DefaultHasher)| {
            let mut hasher = DefaultHasher::new();
            name.hash(&mut hasher);
            of(&mut hasher);
            hasher.finish()
        };
        let (mut rng, mut noise) =
            (fastrand::Rng::with_seed(seed(&|_| {})), fastrand::Rng::with_seed(seed(&|h| self.seed.hash(h))));
        let mut number = || {
            if !dtype.is_float() {
                return f32::from(rng.u8(0..2));
            }
            let change = 1.0 + self.change * (2.0 * noise.f32() - 1.0);
            (2.0 * rng.f32() - 1.0) * change
        };
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| number()).collect();
        HostTensor::from_f32(shape, &values).cast(dtype)
    }
}

impl WeightSource for Drawn {
    fn weight(&self, name: &str, fact: &Fact) -> Result<WeightData, WeightError> {
        let shape = self.shapes.get(name).ok_or_else(|| WeightError::Missing(name.to_owned()))?;
        Ok(self.tensor(name, shape, fact.unquantized().dtype).into())
    }
}

/// The results of every step.
fn results(program: &Program, drawn: &Drawn) -> Result<Results, RunError> {
    let mut executor = load_shared(Device::host(), program.clone(), Arc::new(drawn.clone()))?;
    for input in program.inputs.iter().filter(|&input| program.step_input() != Some(input)) {
        executor.bind(&input.name, &drawn.tensor(&input.name, &input.fact.shape, input.fact.dtype))?;
    }
    let mut all = Vec::new();
    for step in 0..program.schedule.len() {
        all.push(executor.step(step)?);
    }
    Ok(all)
}

/// How far results are apart: the largest difference by the largest number of the result; nothing if there is no telling,
/// as some are no numbers.
fn distance(a: &Results, b: &Results) -> Option<f64> {
    let mut largest: f64 = 0.0;
    for (name, a, b) in pairs(a, b) {
        let (a, b) = (a.to_f32(), b.get(name)?.to_f32());
        let scale = b.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        let apart =
            a.iter().zip(&b).fold(0.0f32, |most, (a, b)| if a == b { most } else { most.max((a - b).abs()) });
        if !scale.is_finite() || a.iter().chain(&b).any(|x| x.is_nan()) {
            return None;
        }
        largest = largest.max(f64::from(apart) / f64::from(scale).max(1e-30));
    }
    Some(largest)
}

fn pairs<'r>(
    a: &'r Results,
    b: &'r Results,
) -> impl Iterator<Item = (&'r Name, &'r HostTensor, &'r HashMap<Name, HostTensor>)> {
    a.iter().zip(b).flat_map(|(a, b)| a.iter().map(move |(name, value)| (name, value, b)))
}

/// Whether a small change of what the program reads can change what it computes by a leap.
fn leaps(program: &Program) -> bool {
    let is_step = |op: &Op| {
        matches!(op, Op::Quantize(_) | Op::Argmax(_) | Op::Embedding(_) | Op::Select(_))
            || matches!(op, Op::Cast(cast) if !cast.dtype.is_float())
            || op.name() == "equal"
    };
    let any = |op: &Op| match op {
        Op::Rowwise(op) => op.body.terms().iter().any(|term| is_step(&term.op)),
        Op::Gemm(op) => {
            op.segments.iter().flat_map(|segment| segment.body.terms()).any(|term| is_step(&term.op))
        }
        op => is_step(op),
    };
    let is_coded = |fact: &reflux_ir::Fact| fact.is_quantized();
    let mut stages = program.stages();
    stages.any(|(_, graph)| graph.ids().any(|id| any(&graph[id].op) || is_coded(&graph[id].fact)))
}

fn has_halves(program: &Program) -> bool {
    let is_half = |dtype: DType| matches!(dtype, DType::F16 | DType::BF16);
    let mut stages = program.stages();
    stages.any(|(_, graph)| {
        graph.ids().any(|id| {
            let fact = &graph[id].fact;
            is_half(fact.dtype) || fact.scales.is_some_and(|scales| is_half(scales.dtype))
        })
    })
}

/// Compares programs, and counts what could be compared.
#[derive(Default)]
struct Comparer {
    compared: Cell<u64>,
    /// Those that do not run as they are: an index is beyond its table.
    skipped: Cell<u64>,
}

impl Comparer {
    fn compare(&self, before: &Program, after: &Program, exactness: Exactness) -> Result<(), Failure> {
        let drawn = Drawn::of(before, 0.0, 0);
        let expected = match results(before, &drawn) {
            Ok(expected) => expected,
            Err(error) if is_of_the_data(&error) => {
                self.skipped.set(self.skipped.get() + 1);
                return Ok(());
            }
            Err(error) => return Err(Failure::new(format!("a program that verifies does not run: {error}"))),
        };
        let found = results(after, &drawn)
            .map_err(|error| Failure::new(format!("{exactness}: what ran does not run any more: {error}")))?;
        self.compared.set(self.compared.get() + 1);
        for (name, value, others) in pairs(&expected, &found) {
            let same_type = |other: &HostTensor| (other.dtype, &other.shape) == (value.dtype, &value.shape);
            if !others.get(name).is_some_and(same_type) {
                return Err(Failure::new(format!(
                    "{exactness}: a result is not there or of another type: {name}"
                )));
            }
        }
        // A pass may make more results, as `tap` does; those that were there stay what they are.
        if pairs(&expected, &found).all(|(name, value, others)| others.get(name) == Some(value)) {
            return Ok(());
        }
        let is_finite = |results: &Results| {
            let values = results.iter().flat_map(HashMap::values);
            values.flat_map(HostTensor::to_f32).all(f32::is_finite)
        };
        if exactness != Exactness::Exact && is_finite(&expected) && !is_finite(&found) {
            return Err(Failure::new(format!("{exactness}: a result is no number where all were")));
        }
        match exactness {
            // Which NaN it is, nobody promises.
            Exactness::Exact => {
                let differs = |(a, b): (f32, f32)| a.to_bits() != b.to_bits() && !(a.is_nan() && b.is_nan());
                let pairs = pairs(&expected, &found);
                let mut numbers = pairs.flat_map(|(name, a, b)| a.to_f32().into_iter().zip(b[name].to_f32()));
                if numbers.any(differs) { Err(Failure::new("exact: other bits")) } else { Ok(()) }
            }
            Exactness::Reassociating => self.is_near(before, &expected, &found),
            Exactness::Lossy => Ok(()),
        }
    }

    fn is_near(&self, before: &Program, expected: &Results, found: &Results) -> Result<(), Failure> {
        let Some(apart) = distance(found, expected) else { return Ok(()) };
        let (change, least) = match (leaps(before), has_halves(before)) {
            (true, _) => (0.02, 0.02),
            (false, true) => (0.008, 0.01),
            (false, false) => (1e-5, 1e-4),
        };
        let mut usual: f64 = 0.0;
        for seed in 1..=3 {
            let Some(apart) = results(before, &Drawn::of(before, change, seed))
                .ok()
                .and_then(|other| distance(&other, expected))
            else {
                return Ok(());
            };
            usual = usual.max(apart);
        }
        // A program whose results are all noise shows nothing.
        if apart <= least + 8.0 * usual || usual > 0.1 {
            return Ok(());
        }
        let message = format!(
            "reassociating: results are further apart than rounding has them: {apart:.2e}, by small changes {usual:.2e}"
        );
        Err(Failure::new(message))
    }
}

/// Whether the program cannot go on with these numbers: an index is beyond its table.
fn is_of_the_data(error: &RunError) -> bool {
    let text = error.to_string();
    ["= select", "= embedding", "is to take number"].iter().any(|sign| text.contains(sign))
}

fn run(seed: u64, inputs: std::ops::Range<u64>, longest: Option<std::time::Duration>) -> Tally {
    silence_panics();
    let comparer = Comparer::default();
    let compare = |before: &Program, after: &Program, exactness| comparer.compare(before, after, exactness);
    let passes = Passes::of(reflux_passes::registry());
    let run = Run { passes, seed, longest, compare: Some(&compare) };
    let mut tally = Tally::default();
    for index in inputs {
        let known = tally.failures.len();
        run.try_input(index, &mut tally);
        for found in tally.failures[known..].iter().filter(|found| found.is_new) {
            println!(
                "input {index}: {}\n{}",
                found.failure.message.lines().take(3).collect::<String>(),
                run.reproducer(found)
            );
        }
    }
    println!(
        "{} inputs of seed {seed}: {} pipelines ran, {} refused; {} compared, {} could not run; slowest {:?}; {} failures",
        tally.inputs,
        tally.ran,
        tally.refused,
        comparer.compared.get(),
        comparer.skipped.get(),
        tally.slowest,
        tally.failures.len()
    );
    assert!(comparer.compared.get() > tally.ran / 2, "too few programs run");
    tally
}

#[test]
fn passes_keep_what_programs_compute() {
    let tally = run(11, 0..1_500, None);
    assert!(tally.failures.is_empty(), "{} failures", tally.failures.len());
}

#[test]
#[ignore = "it goes on for as long as FUZZ_COUNT says"]
fn passes_keep_what_programs_compute_unbounded() {
    let number = |name: &str, otherwise: u64| {
        std::env::var(name).ok().map_or(otherwise, |text| text.parse().expect("a number"))
    };
    let (count, from) = (number("FUZZ_COUNT", 10_000), number("FUZZ_FROM", 0));
    let tally = run(number("FUZZ_SEED", 1), from..from + count, None);
    assert!(tally.failures.is_empty(), "{} failures", tally.failures.len());
}
