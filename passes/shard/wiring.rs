//! What stages hand on as shares instead of wholes.

use super::rules::{divides, gathered, share_of};
use reflux_ir::op::{AllGather, Divided, Op};
use reflux_ir::pass::{Changed, PassContext, PassError, RuleInfo};
use reflux_ir::{Declaration, Fact, Graph, Name, Patch, PatchError, Program, Rate, Stage, ValueId};

pub const CARRY: RuleInfo =
    RuleInfo { name: "carry-share", pattern: "carry all_gather(x) → carry x, which readers gather" };

pub const PREPARE: RuleInfo =
    RuleInfo { name: "prepare-share", pattern: "shard(x), where x is prepared → prepare shard(x)" };

/// Carries shares of what a variant gathers only to carry it.
pub fn carry_shares(program: &mut Program, cx: &mut PassContext) -> Result<Changed, PassError> {
    let mut changed = Changed::No;
    for index in 0..program.carries.len() {
        let carry = program.carries[index].name.clone();
        let graphs = || program.variants.values();
        let Some((share, divided)) = graphs().find_map(|graph| gathered_output(graph, &carry)) else {
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

/// What the output `label` of `graph` is gathered from, and how that is divided.
fn gathered_output(graph: &Graph, label: &Name) -> Option<(Declaration, Divided)> {
    let output = graph.outputs().iter().find(|output| output.label == *label)?;
    let (share, divided) = gathered(graph, output.value)?;
    Some((Declaration { name: graph[share].name.clone(), fact: graph[share].fact.clone() }, divided))
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
    let rate_of = |name: &Name| {
        let mut stages = program.prepares.iter();
        stages
            .find(|(_, graph)| graph.outputs().iter().any(|output| output.label == *name))
            .map(|(&rate, _)| rate)
    };
    for (name, graph) in &program.variants {
        for id in graph.order().into_iter().filter(|&id| divides(graph, id).is_some()) {
            let whole = &graph[graph.operands(id)[0]];
            let rate = rate_of(&whole.name).filter(|_| matches!(whole.op, Op::Input(_)));
            if let Some(rate) = rate
                && cx.admit(PREPARE.name, || graph.line(id))
            {
                return Some((Stage::Variant(name.clone()), id, rate));
            }
        }
    }
    None
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
