//! Plans: graphs as launches over buffers.

mod arena;
mod blocks;
mod exchange;
mod foreign;
mod gemm;
mod launches;
mod lookup;
mod pictures;
mod planner;
mod quantize;
mod reserve;
mod routes;
mod scatter;
mod single;
mod single_head;
mod value;

pub use foreign::{Crossing, ForeignOp};
pub use launches::{Buffer, Launch, LaunchPlan, Owner, Piece, SIGNALS};
pub use routes::{Exchange, Transfer};

use super::Gpu;
use super::unsupported::Unsupported;
use planner::Planner;
use reflux_ir::op::Op;
use reflux_ir::{Graph, Name, ValueId};
use std::collections::{BTreeMap, HashMap};

/// Plans `graph` for the engine's kernels on `gpu`; an op that none of them computes is a [`Launch::Foreign`].
pub fn plan(graph: &Graph, gpu: Gpu) -> LaunchPlan {
    plan_without(graph, gpu, &BTreeMap::new())
}

/// [`plan`], with the names of values that are known to have no kernel, and why.
pub fn plan_without(graph: &Graph, gpu: Gpu, refused: &BTreeMap<Name, String>) -> LaunchPlan {
    // By id, since a weight may have the name of a value.
    let known = refused.iter().filter_map(|(name, why)| Some((graph.find(name)?, why.clone())));
    let mut refused: HashMap<ValueId, String> = known.collect();
    loop {
        let mut planner = Planner::new(graph, gpu);
        planner.reserve_outputs();
        let known = refused.len();
        for id in order(graph) {
            let made = match refused.get(&id) {
                None => planner.value(id),
                Some(why) => Err(Unsupported(why.clone())),
            };
            if let Err(Unsupported(why)) = made {
                refused.insert(id, why.clone());
                planner.foreign(id, why);
            }
        }
        // Launches were planned for ops that turned out to have no kernel; plan again without them.
        if refused.len() == known {
            planner.copy_outputs();
            return planner.finish();
        }
    }
}

/// Program order, except that codes are dequantized only when the numbers are read, so that these share memory, and may
/// still be in the cache.
fn order(graph: &Graph) -> Vec<ValueId> {
    let mut order = Vec::with_capacity(graph.len());
    let waits = |id: &ValueId| matches!(graph[*id].op, Op::Dequantize(_)) && graph.users(*id).count() > 0;
    let mut waiting: Vec<ValueId> = Vec::new();
    for id in graph.order() {
        if waits(&id) {
            waiting.push(id);
            continue;
        }
        let operands = graph.operands(id);
        let (due, rest) = waiting.into_iter().partition(|id| operands.contains(id));
        waiting = rest;
        order.extend::<Vec<_>>(due);
        order.push(id);
    }
    // Those that only results read.
    order.extend(waiting);
    order
}
