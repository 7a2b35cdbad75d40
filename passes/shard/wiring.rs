//! What stages hand on as shares instead of wholes.

use super::rules::{divides, gathered, share_of};
use reflux_ir::op::{AllGather, Divided, Op};
use reflux_ir::pass::{Answer, Changed, Mismatch, PassContext, PassError, Place, RuleInfo};
use reflux_ir::{Declaration, Fact, Graph, Name, Node, Patch, PatchError, Program, Rate, Stage, ValueId};

pub const CARRY: RuleInfo =
    RuleInfo { name: "carry-share", pattern: "carry all_gather(x) → carry x, which readers gather" };

pub const PREPARE: RuleInfo =
    RuleInfo { name: "prepare-share", pattern: "shard(x), where x is prepared → prepare shard(x)" };

/// Carries shares of what a variant gathers only to carry it.
pub fn carry_shares(program: &mut Program, cx: &mut PassContext) -> Result<Changed, PassError> {
    let mut changed = Changed::No;
    for index in 0..program.carries.len() {
        let carry = program.carries[index].name.clone();
        let Ok((share, divided)) = share_of_carry(program, &carry) else {
            cx.reject(CARRY.name);
            continue;
        };
        if !cx.admit(CARRY.name, || format!("%{carry}")) {
            continue;
        }
        let name = program.free_name(&share.name);
        let fact = share.fact.at(Rate::Latent);
        for graph in program.variants.values_mut() {
            write_share(graph, &carry, &name, &divided)?;
            read_share(graph, &carry, &name, &fact, &divided)?;
        }
        program.carries[index] = Declaration { name, fact };
        changed = Changed::Yes;
    }
    Ok(changed)
}

/// What the carried value `carry` is gathered from, and how that is divided, or why it is carried as it is.
fn share_of_carry(program: &Program, carry: &Name) -> Result<(Declaration, Divided), Mismatch> {
    let outputs =
        program.variants.values().flat_map(|graph| graph.outputs().iter().map(move |it| (graph, it)));
    let mut why = "no variant writes it".to_owned();
    for (graph, output) in outputs.filter(|(_, output)| output.label == *carry) {
        if let Some((share, divided)) = gathered(graph, output.value) {
            let Node { name, fact, .. } = &graph[share];
            return Ok((Declaration { name: name.clone(), fact: fact.clone() }, divided));
        }
        why =
            format!("what is carried is {}, which is not gathered from shares", graph.operand(output.value));
    }
    Err(Mismatch::new(why))
}

/// Whether what is carried at `place` could be carried as a share, or why not.
pub fn why_carry(place: &Place) -> Answer {
    let Place { program, graph, value, .. } = *place;
    let written = graph.outputs().iter().filter(|output| output.value == value).map(|output| &output.label);
    let read = matches!(graph[value].op, Op::Input(_)).then_some(&graph[value].name);
    let carry = read.into_iter().chain(written).find(|name| program.is_carried(name));
    let carry = carry.ok_or_else(|| Mismatch::other_kind("it is not carried from step to step"))?;
    share_of_carry(program, carry).map(|_| None)
}

/// Makes the output `carry` of `graph`, if it has it, a share, called `name`.
fn write_share(graph: &mut Graph, carry: &Name, name: &Name, divided: &Divided) -> Result<(), PatchError> {
    let output = graph.outputs().iter().find(|output| output.label == *carry);
    let Some(value) = output.map(|output| output.value) else { return Ok(()) };
    let mut patch = Patch::new(graph, CARRY.name);
    patch.on_behalf_of([carry.clone()]);
    let share = share_of(&mut patch, value, divided)?;
    patch.drop_output(carry.clone());
    patch.output(name.clone(), share);
    patch.apply()
}

/// Makes `graph` read the share `name` where it reads all of `carry`.
fn read_share(
    graph: &mut Graph,
    carry: &Name,
    name: &Name,
    fact: &Fact,
    (axis, parts): &Divided,
) -> Result<(), PatchError> {
    let Some(input) = graph.find_input(carry) else { return Ok(()) };
    let path = graph[input].path.clone();
    let mut patch = Patch::new(graph, CARRY.name);
    let share = patch.input(name, fact.clone())?;
    let whole = patch.add(AllGather::of(*axis, parts), &[share], &name.suffixed("_whole"), path)?;
    patch.shunt(input, whole);
    patch.remove_unread_inputs();
    patch.apply()
}

/// Lets prepare stages take the shares that variants take of what these prepare.
pub fn prepare_shares(program: &mut Program, cx: &mut PassContext) -> Result<Changed, PassError> {
    let mut changed = Changed::No;
    while let Some((stage, shard, rate)) = shard_of_prepared(program, cx) {
        let graph = program.graph(&stage).expect("just found");
        let whole = &graph[graph.operands(shard)[0]];
        let (op, whole) = (graph[shard].op.clone(), whole.name.clone());
        let shared = prepared(program, rate, &op, &whole)?;
        for graph in program.variants.values_mut() {
            read_prepared(graph, &op, &whole, &shared)?;
        }
        changed = Changed::Yes;
    }
    if changed == Changed::Yes {
        program.update_rates();
    }
    Ok(changed)
}

/// A `shard` of a prepared value in a variant, and the rate at which that is prepared.
fn shard_of_prepared(program: &Program, cx: &mut PassContext) -> Option<(Stage, ValueId, Rate)> {
    for (name, graph) in &program.variants {
        for id in graph.order() {
            if let Ok(rate) = rate_of_divided(program, graph, id)
                && cx.admit(PREPARE.name, || graph.line(id))
            {
                return Some((Stage::Variant(name.clone()), id, rate));
            }
        }
    }
    None
}

/// The rate at which the value is prepared of which `shard`, in the variant `graph`, takes a share, or why there is none.
fn rate_of_divided(program: &Program, graph: &Graph, shard: ValueId) -> Result<Rate, Mismatch> {
    if divides(graph, shard).is_none() {
        let op = graph[shard].op.name();
        return Err(Mismatch::other_kind(format!("the rule starts from `shard`, but this is `{op}`")));
    }
    let whole = graph.operands(shard)[0];
    let name = &graph[whole].name;
    if !matches!(graph[whole].op, Op::Input(_)) {
        return Err(Mismatch::at(whole, "the step itself computes what it takes a share of"));
    }
    let mut stages = program.prepares.iter();
    let prepares = |graph: &Graph| graph.outputs().iter().any(|output| output.label == *name);
    let rate = stages.find(|(_, graph)| prepares(graph)).map(|(&rate, _)| rate);
    rate.ok_or_else(|| Mismatch::new(format!("no stage prepares %{name}, of which it takes a share")))
}

/// Whether the share at `place` could be prepared, or why not.
pub fn why_prepare(place: &Place) -> Answer {
    match place.stage {
        Stage::Variant(_) => rate_of_divided(place.program, place.graph, place.value).map(|_| None),
        Stage::Prepare(_) => {
            Err(Mismatch::other_kind("it is prepared already, and the rule starts in steps"))
        }
    }
}

/// `op`, a share of the prepared value `whole`, as a prepared value.
fn prepared(program: &mut Program, rate: Rate, op: &Op, whole: &Name) -> Result<Declaration, PassError> {
    let name = program.free_name(&whole.suffixed("_share"));
    let stage = program.prepares.get_mut(&rate).expect("it prepares the whole");
    let output = stage.outputs().iter().find(|output| output.label == *whole).expect("it prepares the whole");
    let value = output.value;
    let path = stage[value].path.clone();
    let mut patch = Patch::new(stage, PREPARE.name);
    patch.on_behalf_of([whole.clone()]);
    let share = patch.find_or_add(op.clone(), &[value], &name, path)?;
    patch.output(name.clone(), share);
    patch.apply()?;
    Ok(Declaration { name, fact: stage[share].fact.clone() })
}

/// Makes `graph` read `shared` where it takes that share of `whole`, by `op`.
fn read_prepared(graph: &mut Graph, op: &Op, whole: &Name, shared: &Declaration) -> Result<(), PatchError> {
    let Some(input) = graph.find_input(whole) else { return Ok(()) };
    let own: Vec<_> = graph.users(input).filter(|&user| graph[user].op == *op).collect();
    for shard in own {
        let mut patch = Patch::new(graph, PREPARE.name);
        let share = patch.input(&shared.name, shared.fact.clone())?;
        patch.shunt(shard, share);
        patch.remove_unread_inputs();
        patch.apply()?;
    }
    Ok(())
}
