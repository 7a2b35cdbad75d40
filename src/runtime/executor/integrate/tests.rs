//! Steps on a stand-in for an engine.

use super::*;
use crate::Execute;
use crate::backend::{GraphResult, Loading, Observer};
use crate::executor::{Place, interpret};
use crate::liveness::Liveness;
use burn_flex::{Flex, FlexDevice};
use reflux_ir::{Graph, NoWeights, ValueId, text};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Stands for an engine: runs a graph as a whole, on the processor. How often it was waited for is counted.
struct Whole {
    graph: Graph,
    results: RefCell<Vec<GraphResult<Flex>>>,
    waits: Rc<Cell<usize>>,
}

impl Whole {
    fn of(graph: &Graph, waits: &Rc<Cell<usize>>) -> Box<dyn GraphRunner<Flex>> {
        Box::new(Self { graph: graph.clone(), results: RefCell::default(), waits: waits.clone() })
    }
}

impl GraphRunner<Flex> for Whole {
    fn run(
        &self,
        inputs: &HashMap<Name, Kept<Flex>>,
        _: Option<Observer>,
    ) -> Result<Vec<GraphResult<Flex>>, RunError> {
        let (liveness, device) = (Liveness::new(&self.graph), FlexDevice);
        let mut slots = vec![None; liveness.slots];
        for (name, slot) in &liveness.inputs {
            let kept = inputs.get(name).ok_or_else(|| RunError::MissingInput(name.clone()))?;
            slots[*slot] = Some(kept.value(&device).clone());
        }
        let place = Place { device: &device, rank: None };
        let made = interpret(&liveness, slots, place, None, &mut |_, _| Ok(()))?;
        self.results.replace(made.clone());
        Ok(made)
    }

    fn weight(&self, _: ValueId) -> Option<&Value<Flex>> {
        None
    }

    fn replace(&mut self, _: HashMap<ValueId, Value<Flex>>) -> Result<(), RunError> {
        Ok(())
    }

    fn wait(&self) -> Result<(), RunError> {
        self.waits.set(self.waits.get() + 1);
        Ok(())
    }

    fn mark(&self) -> Result<Mark, RunError> {
        Ok(Box::new(|| Ok(())))
    }

    fn beside(&self, graph: &Graph) -> Result<Option<Box<dyn GraphRunner<Flex>>>, RunError> {
        Ok(Some(Self::of(graph, &self.waits)))
    }

    fn fallback(&self) -> Option<String> {
        None
    }

    fn fetch(&self, index: usize) -> Result<HostTensor, RunError> {
        let results = self.results.borrow();
        let (_, fact, value) = &results[index];
        value.clone().download(fact, "a result")
    }
}

/// A step that computes, and one that reuses what the last such step has carried; both read the number of the step.
const SOURCE: &str = "program p {
    input %latents : bf16[1,2,3] latent
    input %step : i32[] latent
    input %times : f32[4] schedule
    carry %kept : bf16[1,2,3] latent
    variant full (%latents, %step, %times) -> (%velocity, %kept) {
      %t = select %times, %step : f32[]
      %wide = cast %latents {dtype=f32} : f32[1,2,3]
      %scaled = mul %wide, %t : f32[1,2,3]
      %kept = cast %scaled {dtype=bf16} : bf16[1,2,3]
      %velocity = sin %kept : bf16[1,2,3]
      return %velocity, %kept
    }
    variant reuse (%latents, %kept) -> (%velocity) {
      %velocity = add %latents, %kept : bf16[1,2,3]
      return %velocity
    }
    schedule full reuse full reuse
  }";

const CHANGES: [f32; 4] = [-0.3, -0.25, -0.2, -0.1];

fn executor(source: &str, waits: &Rc<Cell<usize>>) -> Executor<Flex> {
    let program = text::parse(source).unwrap_or_else(|error| panic!("{error}"));
    let loading = Loading { program, weights: &NoWeights, streamed: None, ordinal: 0, rank: None };
    let mut executor = Executor::<Flex>::new(loading).unwrap();
    for LoadedStage { stage, runner, .. } in &mut executor.stages {
        if let Stage::Variant(name) = stage {
            *runner = Some(Whole::of(&executor.program.variants[&*name], waits));
        }
    }
    if executor.program.inputs.iter().any(|input| *input.name == *"times") {
        executor.bind("times", &HostTensor::from_f32([4], &[1.0, 0.8, 0.6, 0.3])).unwrap();
    }
    executor
}

fn start(salt: f32) -> HostTensor {
    HostTensor::from_f32([1, 2, 3], &[0.5, -1.0, 2.0, 0.1, 1.5, -0.7].map(|x: f32| x * salt))
}

fn integral<'i>(start: &'i HostTensor, changes: &'i [f32]) -> Integral<'i> {
    Integral { input: "latents", slope: "velocity", start, changes }
}

/// As the host does it.
fn stepped(executor: &mut Executor<Flex>, start: &HostTensor) -> HostTensor {
    let mut sample = start.to_f32();
    executor.reset();
    for (step, change) in CHANGES.iter().enumerate() {
        executor.bind("latents", &HostTensor::from_f32([1, 2, 3], &sample)).unwrap();
        let velocity = executor.step(step).unwrap()["velocity"].to_f32();
        sample.iter_mut().zip(velocity).for_each(|(sample, slope)| *sample += change * slope);
    }
    HostTensor::from_f32([1, 2, 3], &sample)
}

#[test]
fn one_picture_after_the_other_is_as_the_host_steps() {
    let waits = Rc::default();
    let (mut on_device, mut by_host) = (executor(SOURCE, &waits), executor(SOURCE, &waits));
    for salt in [1.0, 0.4, 1.0] {
        let start = start(salt);
        let mut seen = Vec::new();
        on_device.reset();
        let made = on_device.integrate(&integral(&start, &CHANGES), &mut |step| seen.push(step)).unwrap();
        assert_eq!(made.unwrap(), stepped(&mut by_host, &start), "{salt}");
        assert_eq!(seen, [0, 1, 2, 3]);
        assert_eq!(**on_device.ran().unwrap(), *"reuse");
    }
    // The host may go on with what the device had.
    assert_eq!(stepped(&mut on_device, &start(0.7)), stepped(&mut by_host, &start(0.7)));
}

#[test]
fn whatever_ends_it_waits_for_what_is_under_way() {
    let waits: Rc<Cell<usize>> = Rc::default();
    let mut executor = executor(SOURCE, &waits);
    let (start, mut nobody) = (start(1.0), |_| ());
    let too_many = [-0.1; 5];
    let error = executor.integrate(&integral(&start, &too_many), &mut nobody).unwrap_err();
    assert!(matches!(error, RunError::NoSuchStep { step: 4, steps: 4 }), "{error}");
    assert_eq!(executor.integrate(&integral(&start, &[]), &mut nobody).unwrap().unwrap(), start);
    assert_eq!(waits.get(), 0);
    // The number of the second step is missing from what was given.
    executor.values.remove("times");
    assert!(executor.integrate(&integral(&start, &CHANGES), &mut nobody).is_err());
    assert_eq!(waits.get(), 1);
    executor.bind("times", &HostTensor::from_f32([4], &[1.0, 0.8, 0.6, 0.3])).unwrap();
    executor.reset();
    let made = executor.integrate(&integral(&start, &CHANGES), &mut nobody).unwrap().unwrap();
    assert_eq!(made, stepped(&mut self::executor(SOURCE, &waits), &start));
    assert_eq!(waits.get(), 2);
}

#[test]
fn the_host_takes_part_where_it_must() {
    let waits = Rc::default();
    let refused = |source: &str| {
        let start = start(1.0);
        executor(source, &waits).integrate(&integral(&start, &CHANGES[..1]), &mut |_| ()).unwrap().is_none()
    };
    assert!(!refused(SOURCE));
    // What is prepared may depend on the latents; another result has to be read.
    assert!(refused(&SOURCE.replace("%latents : bf16[1,2,3] latent", "%latents : bf16[1,2,3] schedule")));
    let one = "program p {
        input %latents : bf16[1,2,3] latent
        variant main (%latents) -> (%velocity, %other) {
          %velocity = sin %latents : bf16[1,2,3]
          %other = cos %latents : bf16[1,2,3]
          return %velocity, %other
        }
        schedule main
      }";
    assert!(refused(one));
    let mut profiled = executor(SOURCE, &waits);
    profiled.set_profiling(true);
    assert!(profiled.integrate(&integral(&start(1.0), &CHANGES), &mut |_| ()).unwrap().is_none());
}
