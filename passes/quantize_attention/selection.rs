//! Which attention is quantized.

use super::QuantizeAttention;
use reflux_ir::op::Op;
use reflux_ir::pass::{Globs, Mismatch, PassError, RuleInfo};
use reflux_ir::{Graph, ModulePath, Program, ValueId};

pub const RULE: RuleInfo = RuleInfo {
    name: "quantize-attention",
    pattern: "attention(q, k, v) → attention(quantize(q), quantize(k), v), in the chosen modules",
};

/// The options, ready to be asked.
pub struct Selection<'p> {
    pass: &'p QuantizeAttention,
    include: Globs,
    skip: Globs,
}

impl<'p> Selection<'p> {
    pub fn of(pass: &'p QuantizeAttention) -> Result<Self, PassError> {
        Ok(Self { pass, include: Globs::new(&pass.include)?, skip: Globs::new(&pass.skip)? })
    }

    /// Whether `id` is attention to quantize; if not, why not.
    pub fn fits(&self, graph: &Graph, id: ValueId) -> Result<(), Mismatch> {
        let Op::Attention(_) = &graph[id].op else {
            return Err(Mismatch::other_kind(format!(
                "only queries and keys of attention are quantized, and this is `{}`",
                graph[id].op.name()
            )));
        };
        if graph[graph.operands(id)[0]].fact.is_quantized() {
            return Err(Mismatch::new("its queries and keys are codes already"));
        }
        let path = &graph[id].path;
        if !self.pass.include.is_empty() && !self.include.is_match(path) {
            let all = self.pass.include.join("`, `");
            return Err(Mismatch::new(format!("its module {path} matches no pattern of `include`: `{all}`")));
        }
        match self.skip.matches(path).first() {
            Some(&pattern) => {
                let pattern = &self.pass.skip[pattern];
                Err(Mismatch::new(format!("its module {path} matches `{pattern}` of `skip`")))
            }
            None => Ok(()),
        }
    }

    /// Refuses programs without attention to quantize, or quantized, and patterns that match none, which are typing errors, most likely.
    pub fn check(&self, program: &Program) -> Result<(), PassError> {
        let attentions = || {
            program.stages().flat_map(|(_, graph)| {
                let is_one = |id: &ValueId| matches!(graph[*id].op, Op::Attention(_));
                graph.ids().filter(is_one).map(move |id| (graph, id))
            })
        };
        let paths: Vec<&ModulePath> = attentions().map(|(graph, id)| &graph[id].path).collect();
        let lists = [(&self.include, &self.pass.include), (&self.skip, &self.pass.skip)];
        for (globs, patterns) in lists {
            let is_used = |index: usize| paths.iter().any(|path| globs.matches(path).contains(&index));
            if let Some(unused) = (0..patterns.len()).find(|&index| !is_used(index)) {
                let example = paths.first().map(|path| format!("; an example of a module is `{path}`"));
                return Err(PassError::Refused(format!(
                    "no attention is in a module that matches `{}`{}",
                    patterns[unused],
                    example.unwrap_or_default()
                )));
            }
        }
        let is_coded = |(graph, id): (&Graph, ValueId)| graph[graph.operands(id)[0]].fact.is_quantized();
        if attentions().any(|(graph, id)| is_coded((graph, id)) || self.fits(graph, id).is_ok()) {
            return Ok(());
        }
        Err(PassError::Nothing("there is no attention to quantize".to_owned()))
    }
}
