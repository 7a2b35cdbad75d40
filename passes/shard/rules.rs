//! The rules by which what devices have spreads from attention through a graph.

use super::along::{Divided, Share, share, shares_of};
use reflux_ir::op::{AllGather, AllToAll, Op, Shard};
use reflux_ir::pass::{Mismatch, Rule};
use reflux_ir::{Graph, Patch, PatchError, ValueId};

pub const RULES: &[Rule] = &[KEEP_SHARE, EXCHANGE, DIVIDE_OPS];

const KEEP_SHARE: Rule = Rule {
    name: "keep-share",
    pattern: "shard(all_gather(x)) → x, if both divide the same axis alike",
    roots: &["shard"],
    rewrite: |patch, root| {
        let (shard, (share, gather)) = shard_of_gathered(patch.graph(), root)?;
        if gather != shard {
            return Err(Mismatch::new("it is divided in another way than what it was gathered from").into());
        }
        patch.shunt(root, share);
        Ok(())
    },
};

const EXCHANGE: Rule = Rule {
    name: "exchange",
    pattern: "shard(all_gather(x)) → all_to_all(x), if they divide different axes",
    roots: &["shard"],
    rewrite: |patch, root| {
        let (shard, (share, gather)) = shard_of_gathered(patch.graph(), root)?;
        if gather.0 == shard.0 {
            return Err(Mismatch::new("both divide the same axis").into());
        }
        let node = &patch.graph()[share];
        let (name, path) = (node.name.suffixed("_exchanged"), node.path.clone());
        let exchanged = patch.add(AllToAll::of(&gather, &shard), &[share], &name, path)?;
        patch.shunt(root, exchanged);
        Ok(())
    },
};

/// The name of [`DIVIDE_OPS`].
pub const DIVIDE: &str = "divide";

const DIVIDE_OPS: Rule = Rule {
    name: DIVIDE,
    pattern: "op(x, …) → all_gather(op(shard(x), …)), if an operand is gathered, or a reader takes its share",
    roots: &[],
    rewrite: |patch, root| {
        let (divided, share) = how(patch.graph(), root)?;
        let (node, operands) = (patch.graph()[root].clone(), patch.graph().operands(root));
        let mut own = Vec::with_capacity(operands.len());
        for (operand, divided) in operands.into_iter().zip(&share.operands) {
            own.push(match divided {
                Some(divided) => share_of(patch, operand, divided)?,
                None => operand,
            });
        }
        let own = patch.add(share.op, &own, &node.name, node.path.clone())?;
        let gather = AllGather::of(divided.0, &divided.1);
        let whole = patch.add(gather, &[own], &node.name.suffixed("_whole"), node.path)?;
        patch.shunt(root, whole);
        Ok(())
    },
};

/// How `id` can be divided because of what is around it, and what a device then computes.
fn how(graph: &Graph, id: ValueId) -> Result<(Divided, Share), Mismatch> {
    let (op, operands, result) = (&graph[id].op, graph.operand_facts(id), &graph[id].fact);
    if !op.kind().is_computed() {
        return Err(Mismatch::other_kind("it is given as a whole"));
    }
    let mut why = None;
    for (index, operand) in graph.operands(id).into_iter().enumerate() {
        let Some((_, divided)) = gathered(graph, operand) else { continue };
        match shares_of(op, &operands, result, index, &divided) {
            Ok(found) => return Ok(found),
            Err(error) => why = Some(Mismatch { node: Some(operand), ..error }),
        }
    }
    for divided in graph.users(id).filter_map(|user| divides(graph, user)) {
        match share(op, &operands, result, &divided) {
            Ok(share) => return Ok((divided, share)),
            Err(error) => why = Some(error),
        }
    }
    Err(why.unwrap_or_else(|| {
        Mismatch::other_kind("nothing it reads is gathered, and no reader takes its share")
    }))
}

/// A device's share of `value`.
pub fn share_of(patch: &mut Patch, value: ValueId, (axis, parts): &Divided) -> Result<ValueId, PatchError> {
    match gathered(patch.graph(), value) {
        Some((share, divided)) if divided == (*axis, parts.clone()) => Ok(share),
        _ => {
            let node = &patch.graph()[value];
            let (name, path) = (node.name.suffixed("_part"), node.path.clone());
            patch.find_or_add(Shard::of(*axis, parts), &[value], &name, path)
        }
    }
}

/// How the value `shard`, a `shard`, divides what it reads, and what that was gathered from, how.
fn shard_of_gathered(graph: &Graph, shard: ValueId) -> Result<(Divided, (ValueId, Divided)), Mismatch> {
    let divides = divides(graph, shard).expect("the rule starts from one");
    let gathered = gathered(graph, graph.operands(shard)[0]);
    gathered.map(|gathered| (divides, gathered)).ok_or_else(|| Mismatch::other_kind("nothing was gathered"))
}

/// How `id` divides its operand, if it is a `shard`.
pub fn divides(graph: &Graph, id: ValueId) -> Option<Divided> {
    let Op::Shard(shard) = &graph[id].op else { return None };
    shard.divides(graph.operand_facts(id)[0]).ok()
}

/// What `id` is gathered from, and how that is divided, if it is an `all_gather`.
pub fn gathered(graph: &Graph, id: ValueId) -> Option<(ValueId, Divided)> {
    let Op::AllGather(gather) = &graph[id].op else { return None };
    let share = graph.operands(id)[0];
    Some((share, gather.gathers(&graph[share].fact).ok()?))
}
