//! Both programs, step by step.

use super::distance::Sums;
use super::isolated::{self, Isolated, isolated};
use super::lineage::Lineage;
use super::modules::{Module, modules_of};
use super::padded::Padded;
use super::recompute::{label, tapped};
use super::report::{Comparison, MeasuredModule};
use super::side::Side;
use crate::Error;
use reflux_ir::pass::{PassError, counted, did_you_mean, nearest};
use reflux_ir::{HostTensor, Machine, ModulePath, Name, Program, WeightSource};
use reflux_models::names;
use reflux_models::scheduler::Schedule;
use reflux_runtime::{Device, Execute, Profile, load};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What is compared.
pub struct Compared<'a> {
    /// The program that is taken as right, and the one that is judged.
    pub sides: [Side<'a>; 2],
    pub weights: [&'a dyn WeightSource; 2],
    pub device: Device,
    /// What tells the work of an op that was made of several apart.
    pub machine: &'a Machine,
    pub inputs: Inputs<'a>,
    /// The modules that are compared, with what is in them; all, if none are named.
    pub within: Vec<ModulePath>,
    /// Refuses programs that do not fit into memory together.
    pub check_memory: &'a dyn Fn(&[&Program]) -> Result<(), Error>,
}

/// What the programs are given.
pub enum Inputs<'a> {
    /// A picture is drawn: each step reads the latents that the steps of the same program have made.
    Picture { fixed: Vec<(String, HostTensor)>, start: HostTensor, schedule: &'a Schedule },
    /// The same at every step.
    Fixed(Vec<(String, HostTensor)>),
}

/// Compares both programs over all steps; `began` is told of what is done next.
///
/// # Errors
/// If they do not run, or are not of one network with as many steps.
pub fn compare(compared: &Compared, began: &mut dyn FnMut(&str)) -> Result<Comparison, Error> {
    let [a, b] = &compared.sides;
    let mut modules = modules_of(a.trace.before(0).giving_results().map(|(_, graph)| graph));
    compared.choose(&mut modules)?;
    let mut wanted: BTreeSet<Name> = modules.iter().flat_map(|module| &module.results).cloned().collect();
    compared.check(&wanted)?;
    let bug = |error| Error::Usage(format!("the programs cannot be compared: {}", PassError::Patch(error)));
    let parts = match why_not_isolated(b) {
        // Of A too: what rounding alone does in the ops as the network has them is no error of B.
        None => Ok([isolated(a, a, &modules).map_err(bug)?, isolated(b, a, &modules).map_err(bug)?]),
        Some(why) => Err(why),
    };
    let of_b = tapped(b, &wanted).and_then(Padded::of).map_err(bug)?;
    wanted.extend(parts.iter().flatten().flat_map(|parts| parts.given.values()).cloned());
    let of_a = tapped(a, &wanted).and_then(Padded::of).map_err(bug)?;
    let isolated = parts.iter().flatten().map(|parts| &parts.padded.program);
    let programs: Vec<&Program> = [&of_a.program, &of_b.program].into_iter().chain(isolated).collect();
    (compared.check_memory)(&programs)?;
    let mut times = Vec::new();
    for (side, name) in [(0, "A"), (1, "B")] {
        began(&format!("measures {name}"));
        times.push(compared.times(side)?);
    }
    began("compares values");
    let mut errors = Errors::of(&modules);
    compared.run([of_a, of_b], parts.as_ref().ok(), &modules, &mut errors)?;
    let measured = measured(&modules, &times, &errors);
    let found = Comparison::of(&measured, errors.latents.distance(), parts.err().map(str::to_owned));
    Ok(found.reusing(!b.run().carries.is_empty()))
}

/// Why `side`, A or B, is not compared: a device has shares of values, not what modules give.
pub fn several_devices(side: &str) -> Error {
    Error::Usage(format!(
        "{side} is for several devices, and programs are compared on one: leave out the pass `shard`, and name one device by --device"
    ))
}

/// Why the modules of `side` cannot be run by themselves.
fn why_not_isolated(side: &Side) -> Option<&'static str> {
    match () {
        () if !side.is_defined() => Some("B is compiled, and of which ops its own were fused is not known"),
        () if !side.defined().probes.is_empty() => {
            Some("which variant a step of B runs is decided while it runs")
        }
        () => None,
    }
}

/// The time in ms of a picture's steps, by the module that it belongs to directly.
type Times = BTreeMap<ModulePath, f64>;

fn measured(modules: &[Module], times: &[Times], errors: &Errors) -> Vec<MeasuredModule> {
    let time = |times: &Times, module: &ModulePath| -> f64 {
        let within = times.iter().filter(|(path, _)| path.is_within(module));
        within.map(|(_, ms)| ms).sum()
    };
    let row = |(number, module): (usize, &Module)| MeasuredModule {
        path: module.path.clone(),
        ms: [0, 1].map(|side| time(&times[side], &module.path)),
        all: errors.all[number],
        made: errors.made[number],
        is_leaf: !modules.iter().any(|other| other.path != module.path && other.path.is_within(&module.path)),
    };
    modules.iter().enumerate().map(row).collect()
}

/// Errors of modules, by number.
struct Errors {
    all: Vec<Sums>,
    made: Vec<Sums>,
    /// Of the latents after the last step.
    latents: Sums,
}

impl Errors {
    fn of(modules: &[Module]) -> Self {
        let none = vec![Sums::default(); modules.len()];
        Self { all: none.clone(), made: none, latents: Sums::default() }
    }
}

impl Compared<'_> {
    /// Keeps of `modules` those that are asked for.
    fn choose(&self, modules: &mut Vec<Module>) -> Result<(), Error> {
        let unknown = self.within.iter().find(|path| !modules.iter().any(|module| module.path == **path));
        if let Some(path) = unknown {
            let names: Vec<String> = modules.iter().map(|module| module.path.to_string()).collect();
            let meant = did_you_mean(&nearest(names.iter().map(String::as_str), path));
            return Err(Error::Usage(format!("--within {path}: A has no such module{meant}")));
        }
        let is_asked = |module: &Module| self.within.iter().any(|path| module.path.is_within(path));
        if !self.within.is_empty() {
            modules.retain(is_asked);
        }
        Ok(())
    }

    /// Refuses programs that cannot be compared; `wanted` are the results of modules.
    fn check(&self, wanted: &BTreeSet<Name>) -> Result<(), Error> {
        let [a, b] = [0, 1].map(|side| self.sides[side].run());
        if let Some((name, _)) = [("A", a), ("B", b)].into_iter().find(|(_, side)| side.devices().is_some()) {
            return Err(several_devices(name));
        }
        if a.schedule.len() != b.schedule.len() {
            let steps = [a, b].map(|program| counted(program.schedule.len(), "step"));
            let message =
                format!("A has {} and B {}; compare programs with as many steps", steps[0], steps[1]);
            return Err(Error::Usage(message));
        }
        if let Inputs::Picture { .. } = &self.inputs {
            let velocity = |program: &Program| {
                program
                    .giving_results()
                    .all(|(_, graph)| graph.outputs().iter().any(|output| *output.label == *names::VELOCITY))
            };
            if let Some(name) =
                [("A", a), ("B", b)].into_iter().find(|(_, program)| !velocity(program)).map(|(name, _)| name)
            {
                let message = format!("{name} gives no `%{}`, by which a picture is drawn", names::VELOCITY);
                return Err(Error::Usage(message));
            }
        }
        if !wanted.iter().any(|name| self.sides[1].find(name).is_some()) {
            let message =
                "B has none of the values that modules of A give; both must be made from one network";
            return Err(Error::Usage(message.into()));
        }
        Ok(())
    }

    fn loaded(&self, side: usize, program: &Program) -> Result<Box<dyn Execute>, Error> {
        let mut executor = load(self.device, program.clone(), self.weights[side])?;
        let (Inputs::Picture { fixed, .. } | Inputs::Fixed(fixed)) = &self.inputs;
        for (name, value) in fixed {
            // A pass may have made an input needless.
            if executor.program().inputs.iter().any(|input| *input.name == **name) {
                executor.bind(name, value)?;
            }
        }
        executor.reset();
        Ok(executor)
    }

    fn loaded_padded(&self, side: usize, padded: &Padded) -> Result<Box<dyn Execute>, Error> {
        let mut executor = self.loaded(side, &padded.program)?;
        padded.fillers.iter().try_for_each(|(name, value)| executor.bind(name, value))?;
        Ok(executor)
    }

    /// The latents that the first step reads, if a picture is drawn.
    fn start(&self) -> Option<Vec<f32>> {
        match &self.inputs {
            Inputs::Picture { start, .. } => Some(start.to_f32()),
            Inputs::Fixed(_) => None,
        }
    }

    /// Runs `step` from `latents`, which become those after it, by the result `velocity`.
    fn step(
        &self,
        executor: &mut dyn Execute,
        step: usize,
        latents: &mut Option<Vec<f32>>,
        velocity: &str,
    ) -> Result<HashMap<Name, HostTensor>, Error> {
        let (Inputs::Picture { start, schedule, .. }, Some(latents)) = (&self.inputs, latents) else {
            return Ok(executor.step(step)?);
        };
        executor.bind(names::LATENTS, &HostTensor::from_f32(start.shape.clone(), latents))?;
        let results = executor.step(step)?;
        schedule.step(step, latents, &results[velocity].to_f32());
        Ok(results)
    }

    /// How long the modules of a side take, in the steps of one picture.
    fn times(&self, side: usize) -> Result<Times, Error> {
        let mut executor = self.loaded(side, self.sides[side].run())?;
        // What is done once, at the first step, is no part of a step.
        self.step(executor.as_mut(), 0, &mut self.start(), names::VELOCITY)?;
        executor.reset();
        executor.set_profiling(true);
        let mut latents = self.start();
        for step in 0..executor.program().schedule.len() {
            self.step(executor.as_mut(), step, &mut latents, names::VELOCITY)?;
        }
        let profile = executor.profile().expect("profiling is on");
        Ok(by_module(profile, &Lineage::of(self.sides[side].trace, self.machine)))
    }

    fn run(
        &self,
        programs: [Padded; 2],
        parts: Option<&[Isolated; 2]>,
        modules: &[Module],
        errors: &mut Errors,
    ) -> Result<(), Error> {
        let steps = programs.iter().map(|padded| padded.program.schedule.len()).min().unwrap_or(0);
        let mut executors = [self.loaded_padded(0, &programs[0])?, self.loaded_padded(1, &programs[1])?];
        let mut isolated = match parts {
            Some([a, b]) => Some([self.loaded_padded(0, &a.padded)?, self.loaded_padded(1, &b.padded)?]),
            None => None,
        };
        let mut latents = [self.start(), self.start()];
        for step in 0..steps {
            let [right, judged] = [0, 1].map(|side| {
                let executor = executors[side].as_mut();
                let values =
                    self.step(executor, step, &mut latents[side], &Padded::result(names::VELOCITY))?;
                Ok::<_, Error>(programs[side].computed(executor.ran().expect("a step has just run"), values))
            });
            let (right, judged) = (right?, judged?);
            for (sums, module) in errors.all.iter_mut().zip(modules) {
                for name in &module.results {
                    add(sums, judged.get(&label(name)), right.get(&label(name)));
                }
            }
            let (Some(parts), Some(isolated)) = (parts, &mut isolated) else { continue };
            let [due, made] =
                [0, 1].map(|side| by_themselves(isolated[side].as_mut(), &parts[side], step, &right));
            let (due, made) = (due?, made?);
            for (number, (sums, module)) in errors.made.iter_mut().zip(modules).enumerate() {
                for name in module.results.iter().map(|name| isolated::label(number, name)) {
                    add(sums, made.get(&name), due.get(&name));
                }
            }
        }
        if let [Some(expected), Some(found)] = latents {
            errors.latents.add(&found, &expected);
        }
        Ok(())
    }
}

/// What the modules of `parts` make at `step` of `values`; without those that read a value which there is none of at this step.
fn by_themselves(
    executor: &mut dyn Execute,
    parts: &Isolated,
    step: usize,
    values: &HashMap<Name, HostTensor>,
) -> Result<HashMap<Name, HostTensor>, Error> {
    let mut missing: BTreeSet<&Name> = BTreeSet::new();
    for (input, name) in &parts.given {
        match values.get(&label(name)) {
            Some(value) => executor.bind(input, value)?,
            None => drop(missing.insert(input)),
        }
    }
    let made = executor.step(step)?;
    let mut made = parts.padded.computed(executor.ran().expect("a step has just run"), made);
    made.retain(|result, _| {
        isolated::module_of(result)
            .is_some_and(|module| parts.reads[module].iter().all(|input| !missing.contains(input)))
    });
    Ok(made)
}

/// Adds what is there on both sides, and has the same shape.
fn add(sums: &mut Sums, found: Option<&HostTensor>, expected: Option<&HostTensor>) {
    if let (Some(found), Some(expected)) = (found, expected)
        && found.shape == expected.shape
    {
        sums.add(&found.to_f32(), &expected.to_f32());
    }
}

fn by_module(profile: &Profile, lineage: &Lineage) -> Times {
    let mut times = Times::new();
    for entry in profile.only(|stage| matches!(stage, reflux_ir::Stage::Variant(_))).entries() {
        let ms = entry.time.as_secs_f64() * 1e3;
        for (path, share) in lineage.shares(&entry.stage, &entry.name) {
            *times.entry(path).or_default() += ms * share;
        }
    }
    times
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::registry;
    use reflux_ir::pass::{Driver, Pipeline, Trace};
    use reflux_ir::text::parse;
    use reflux_models::weights::RandomWeights;
    use std::path::Path;

    /// Two modules, of which the first multiplies by `factor`, and the second adds to that.
    fn source(factor: &str) -> Program {
        parse(&format!(
            "program p {{
               input %x : f32[1,4] latent
               variant full (%x) -> (%velocity) {{
                 %a = mul %x, {factor} : f32[1,4] in first
                 %velocity = add %a, 1.0 : f32[1,4] in second
                 return %velocity
               }}
               schedule full*2
             }}"
        ))
        .unwrap()
    }

    /// Those programs after `passes`, compared; `merges` is the first pass that fuses.
    fn compared(factors: [&str; 2], passes: &str, merges: usize) -> Comparison {
        let pipeline = Pipeline::parse(passes, &registry()).unwrap();
        let traces = factors.map(|factor| {
            let mut trace = Trace::of(source(factor));
            Driver { trace: Some(&mut trace), ..Driver::default() }.run(source(factor), &pipeline).unwrap();
            trace
        });
        let sides = traces.each_ref().map(|trace| Side::new(trace, Some(merges)));
        let weights = RandomWeights::new(sides[0].run(), 0);
        let x = HostTensor::from_f32([1, 4], &[1.0, 2.0, 3.0, 4.0]);
        let compared = Compared {
            sides,
            weights: [&weights, &weights],
            device: Device::host(),
            machine: Machine::named("cpu").unwrap(),
            inputs: Inputs::Fixed(vec![("x".to_owned(), x)]),
            within: Vec::new(),
            check_memory: &|_| Ok(()),
        };
        compare(&compared, &mut |_| {}).unwrap()
    }

    /// ‖a‖ / ‖b‖
    fn ratio(a: &[f64], b: &[f64]) -> f64 {
        let squared = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>();
        (squared(a) / squared(b)).sqrt()
    }

    #[test]
    fn an_error_belongs_to_the_module_that_makes_it() {
        // Of the second, fused, the first is only inside.
        for (passes, merges) in [("", usize::MAX), ("fuse", 0)] {
            let found = compared(["2.0", "3.0"], passes, merges);
            let rows: Vec<_> = found.errors().collect();
            let (x, a, velocity) = ([1.0, 2.0, 3.0, 4.0], [2.0, 4.0, 6.0, 8.0], [3.0, 5.0, 7.0, 9.0]);
            let expected = [
                ("", Some(ratio(&x, &velocity)), Some(ratio(&x, &velocity))),
                ("first", Some(ratio(&x, &a)), Some(ratio(&x, &a))),
                ("second", Some(0.0), Some(ratio(&x, &velocity))),
            ];
            assert_eq!(rows.len(), expected.len(), "{passes}: {rows:?}");
            for ((module, made, all), (name, due_made, due_all)) in rows.into_iter().zip(expected) {
                let is_near = |found: Option<f64>, due: Option<f64>| match (found, due) {
                    (Some(found), Some(due)) => (found - due).abs() < 1e-6,
                    (found, due) => found == due,
                };
                assert_eq!(module, name);
                assert!(is_near(made, due_made), "{passes}, {name}: {made:?} is not {due_made:?}");
                assert!(is_near(all, due_all), "{passes}, {name}: {all:?} is not {due_all:?}");
            }
            let worst = found.worst();
            assert!(matches!(worst[..], [("first", error)] if (error - 0.5).abs() < 1e-6), "{worst:?}");
        }
    }

    #[test]
    fn equal_programs_have_no_errors() {
        let found = compared(["2.0", "2.0"], "", usize::MAX);
        assert!(found.errors().all(|(_, made, all)| made == Some(0.0) && all == Some(0.0)));
        assert_eq!(found.worst(), []);
        assert_eq!(Comparison::read(Path::new("x"), &found.json()).unwrap(), found);
    }
}
