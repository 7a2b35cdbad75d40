//! The pass.

use reflux::ir::op::Binary;
use reflux::ir::pass::{Changed, Exactness, Globs, Pass, PassContext, PassError, options_of};
use reflux::ir::{Graph, Op, Patch, Program, ValueId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Replaces `x + f(x)` by `x` in the modules that `blocks` matches.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SkipBlocks {
    /// A pattern of module paths, like `single_transformer_blocks.[23]`.
    pub blocks: String,
}

impl Pass for SkipBlocks {
    fn name(&self) -> &'static str {
        "skip-blocks"
    }

    fn options(&self) -> Map<String, Value> {
        options_of(self)
    }

    fn exactness(&self) -> Exactness {
        Exactness::Lossy
    }

    fn run(&self, program: &mut Program, cx: &mut PassContext) -> Result<Changed, PassError> {
        let blocks = Globs::new(std::slice::from_ref(&self.blocks));
        let blocks = blocks.map_err(|error| PassError::Refused(error.to_string()))?;
        let mut skipped = 0;
        for (_, graph) in program.stages_mut() {
            for sum in graph.order() {
                // What is behind a skipped block may be gone already.
                let Some(node) = graph.get(sum).filter(|node| blocks.is_match(&node.path)) else { continue };
                if node.op != Op::from(Binary::Add) {
                    continue;
                }
                let Some(stream) = stream(graph, sum) else { continue };
                let mut patch = Patch::new(graph, "skip-block");
                patch.shunt(sum, stream);
                patch.apply()?;
                skipped += 1;
            }
        }
        if skipped == 0 {
            let why = format!("no residual sum is in a module like `{}`", self.blocks);
            return Err(PassError::Refused(why));
        }
        cx.report.note(format!("{skipped} residual sums replaced by their stream"));
        Ok(Changed::Yes)
    }
}

/// The operand of `sum` that the other one is made of.
fn stream(graph: &Graph, sum: ValueId) -> Option<ValueId> {
    let operands = graph.operands(sum);
    let [a, b] = [operands[0], operands[1]];
    let is_stream = |x: ValueId, update: ValueId| {
        x != update && graph[x].fact.same_type(&graph[sum].fact) && graph.depends_on(update, x)
    };
    if is_stream(a, b) { Some(a) } else { is_stream(b, a).then_some(b) }
}
