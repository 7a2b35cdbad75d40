//! The pass.

use reflux::ir::op::Binary;
use reflux::ir::pass::{
    Answer, Changed, Exactness, Globs, Mismatch, Pass, PassContext, PassError, Place, RuleInfo, options_of,
};
use reflux::ir::{Graph, Op, Patch, Program, ValueId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The pass's one rule: `reflux passes why` asks for it, and reports count it.
const RULE: RuleInfo =
    RuleInfo { name: "skip-block", pattern: "x + f(x) → x, in the modules that are skipped" };

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

    fn rules(&self) -> Vec<RuleInfo> {
        vec![RULE]
    }

    fn why(&self, place: &Place, rule: &str) -> Option<Answer> {
        let blocks = self.globs().ok()?;
        (rule == RULE.name).then(|| self.stream(&blocks, place.graph, place.value).map(|_| None))
    }

    fn run(&self, program: &mut Program, cx: &mut PassContext) -> Result<Changed, PassError> {
        let blocks = self.globs()?;
        let mut skipped = 0;
        for (_, graph) in program.stages_mut() {
            for sum in graph.order() {
                // What is behind a skipped block may be gone already.
                if graph.get(sum).is_none_or(|node| node.op != Op::from(Binary::Add)) {
                    continue;
                }
                let Ok(stream) = self.stream(&blocks, graph, sum) else {
                    cx.reject(RULE.name);
                    continue;
                };
                let skip = |graph: &mut Graph| {
                    let mut patch = Patch::new(graph, RULE.name);
                    patch.shunt(sum, stream);
                    patch.apply()
                };
                let line = |graph: &Graph| graph.line(sum);
                skipped += usize::from(cx.apply_site(RULE.name, graph, line, skip)? == Changed::Yes);
            }
        }
        if skipped == 0 {
            let why = format!("no residual sum is in a module like `{}`", self.blocks);
            return Err(PassError::Nothing(why));
        }
        cx.report.note(format!("{skipped} residual sums replaced by their stream"));
        Ok(Changed::Yes)
    }
}

impl SkipBlocks {
    fn globs(&self) -> Result<Globs, PassError> {
        Globs::new(std::slice::from_ref(&self.blocks)).map_err(|error| PassError::Refused(error.to_string()))
    }

    /// What takes the place of `sum`: the operand that the other one is made of. Otherwise, why the rule does not apply.
    fn stream(&self, blocks: &Globs, graph: &Graph, sum: ValueId) -> Result<ValueId, Mismatch> {
        let node = &graph[sum];
        if node.op != Op::from(Binary::Add) {
            return Err(Mismatch::new(format!("the rule starts from `add`, this is `{}`", node.op.name())));
        }
        if !blocks.is_match(&node.path) {
            return Err(Mismatch::new(format!("its module {} does not match `{}`", node.path, self.blocks)));
        }
        let operands = graph.operands(sum);
        let [a, b] = [operands[0], operands[1]];
        let is_stream = |x: ValueId, update: ValueId| {
            x != update && graph[x].fact.same_type(&node.fact) && graph.depends_on(update, x)
        };
        let streams = [(a, b), (b, a)].into_iter().find(|&(x, update)| is_stream(x, update));
        streams.map(|(x, _)| x).ok_or_else(|| Mismatch::new("neither of its operands is made of the other"))
    }
}
