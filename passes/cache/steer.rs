//! Steps that whoever runs the program decides about.

use super::place;
use super::site::{RESIDUAL_ENDS, RESIDUAL_STREAMS};
use reflux_ir::op::Binary;
use reflux_ir::pass::{Changed, Exactness, Pass, PassContext, PassError, Property, RuleInfo, counted};
use reflux_ir::{DType, Declaration, Fact, Graph, ModulePath, Name, Patch, Program, Rate, ValueId};
use serde_json::{Map, Value};

/// Lets whoever runs the program decide in each step whether it computes or reuses, and what it takes for the end of the residual
/// stream that it does not compute: `reflux tune` tries schedules so, without preparing a program for each.
///
/// A step computes where the input `%reuses` is 0. Where it is 1, the stream ends at `%reused + %relative · start`, so that with a
/// `%relative` of 1 what is given is what all blocks add. Both ends of the stream are results, `%stream_start` and `%stream_end`.
///
/// Pipelines cannot name it, since only what binds these inputs can run the program.
#[derive(Clone, Copy, Debug)]
pub struct Steer;

impl Steer {
    /// The input that says whether a step reuses: `i32[]`, 0 or 1.
    pub const REUSES: &str = "reuses";
    /// The input that a step which reuses takes: as the stream is.
    pub const REUSED: &str = "reused";
    /// The input by which it multiplies what the stream starts from: a scalar of the stream's dtype.
    pub const RELATIVE: &str = "relative";
    /// The result that the stream starts from.
    pub const START: &str = "stream_start";
    /// The result that it ends at.
    pub const END: &str = "stream_end";
}

const RULE: RuleInfo = RuleInfo {
    name: "steer",
    pattern: "the end of a residual stream → what is given, in the steps that are told so",
};

impl Pass for Steer {
    fn name(&self) -> &'static str {
        "steer"
    }

    fn options(&self) -> Map<String, Value> {
        Map::new()
    }

    fn exactness(&self) -> Exactness {
        Exactness::Lossy
    }

    fn requires(&self) -> &'static [Property] {
        RESIDUAL_ENDS.requires
    }

    fn ends(&self) -> &'static [Property] {
        RESIDUAL_ENDS.ends
    }

    fn why_not_idempotent(&self) -> Option<&'static str> {
        Some("the steps of a program are steered once")
    }

    fn rules(&self) -> Vec<RuleInfo> {
        vec![RULE]
    }

    fn run(&self, program: &mut Program, cx: &mut PassContext) -> Result<Changed, PassError> {
        let (variant, sites) = place(&RESIDUAL_ENDS, program).map_err(PassError::Nothing)?;
        let whole = program.variants[&variant].clone();
        let start = |end: &ValueId| Some((*end, (RESIDUAL_STREAMS.relative_to)(&whole, *end)?));
        let streams: Vec<_> = sites.iter().filter_map(start).collect();
        let &[(end, start)] = &streams[..] else {
            let message = format!("there are {} {}, and one is steered", streams.len(), RESIDUAL_ENDS.name);
            return Err(PassError::Refused(message));
        };
        if !cx.admit(RULE.name, || whole.line(end)) {
            return Ok(Changed::No);
        }
        let stream = Stream { start, end, fact: Fact { rate: Rate::Latent, ..whole[end].fact.clone() } };
        declare(program, &stream)?;
        let free = |name: &str| Name::from(name).first_free(|name| !program.variants.contains_key(name));
        let [probe, reuse] = ["steer", "reuse"].map(free);
        program.variants.insert(probe.clone(), deciding(whole.clone())?);
        program.variants.insert(reuse.clone(), reusing(whole.clone(), &stream)?);
        program.variants.insert(variant.clone(), returning(whole, &stream)?);
        let steered = program.schedule.iter_mut().filter(|step| **step == variant);
        let steps = steered.map(|step| step.clone_from(&probe)).count();
        program.probes.insert(probe.clone(), vec![variant.clone(), reuse.clone()]);
        let order = [&probe, &variant, &reuse];
        let at = |name: &Name| order.iter().position(|known| *known == name);
        program.variants.sort_by_cached_key(|name, _| at(name));
        cx.report.note(format!("{} compute or reuse as they are told", counted(steps, "step")));
        Ok(Changed::Yes)
    }
}

/// The stream that is steered.
struct Stream {
    start: ValueId,
    end: ValueId,
    /// The type of its end, as an input.
    fact: Fact,
}

fn scalar(dtype: DType) -> Fact {
    Fact { rate: Rate::Latent, ..Fact::new(dtype, []) }
}

/// Declares the inputs.
fn declare(program: &mut Program, stream: &Stream) -> Result<(), PassError> {
    let inputs = [
        (Steer::REUSES, scalar(DType::I32)),
        (Steer::REUSED, stream.fact.clone()),
        (Steer::RELATIVE, scalar(stream.fact.dtype)),
    ];
    for (name, fact) in inputs {
        let name = Name::from(name);
        if program.is_shared(&name) {
            return Err(PassError::Refused(format!("the program has a `%{name}` already; rename it")));
        }
        program.inputs.push(Declaration { name, fact });
    }
    Ok(())
}

/// The probe: what it is told.
fn deciding(mut graph: Graph) -> Result<Graph, PassError> {
    let mut patch = Patch::new(&mut graph, RULE.name);
    let told = patch.input(&Steer::REUSES.into(), scalar(DType::I32))?;
    patch.retain_outputs(|_| false);
    patch.output(Program::CHOICE, told);
    patch.remove_unread();
    patch.remove_unread_inputs();
    patch.apply()?;
    Ok(graph)
}

/// The graph, returning both ends of the stream too.
fn returning(mut graph: Graph, stream: &Stream) -> Result<Graph, PassError> {
    let mut patch = Patch::new(&mut graph, RULE.name);
    patch.output(Steer::START, stream.start);
    patch.output(Steer::END, stream.end);
    patch.apply()?;
    Ok(graph)
}

/// The graph where the end of the stream is given.
fn reusing(mut graph: Graph, stream: &Stream) -> Result<Graph, PassError> {
    let &Stream { start, end, ref fact } = stream;
    let (name, path) = (graph[end].name.clone(), graph[end].path.clone());
    let mut patch = Patch::new(&mut graph, RULE.name);
    let given = patch.input(&Steer::REUSED.into(), fact.clone())?;
    let relative = patch.input(&Steer::RELATIVE.into(), scalar(fact.dtype))?;
    let added = patch.add(Binary::Mul, &[start, relative], &name.suffixed("_added"), ModulePath::root())?;
    let sum = patch.add(Binary::Add, &[given, added], &name, path)?;
    patch.shunt(end, sum);
    patch.output(Steer::START, start);
    patch.output(Steer::END, sum);
    patch.remove_unread();
    patch.remove_unread_inputs();
    patch.apply()?;
    Ok(graph)
}
