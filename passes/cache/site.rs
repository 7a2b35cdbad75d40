//! Where methods reuse: kinds of values, with what they ask of a program.

use super::sites;
use crate::{SEPARATE_LINEARS, UNFUSED, UNSHARDED};
use reflux_ir::pass::{Answer, Mismatch, ONE_VARIANT, Property};
use reflux_ir::{Graph, Rate, ValueId};

/// A kind of values that steps can reuse.
#[derive(Debug)]
pub struct Site {
    /// What the values are called, in the plural.
    pub name: &'static str,
    /// What one of them is.
    is_a: &'static str,
    /// All of the kind in a graph.
    find: fn(&Graph) -> Vec<ValueId>,
    /// What a value of the kind is reused relative to, if it is: what is carried is the difference from it, and a step that
    /// reuses adds that to what this is then.
    pub relative_to: fn(&Graph, ValueId) -> Option<ValueId>,
    pub requires: &'static [Property],
    pub ends: &'static [Property],
}

/// No cache reuses attention yet. Of a program, the pass itself sees that, by the very values that it would reuse: a carried
/// value alone does not tell what it was made of, once it has been rewritten.
const FRESH_ATTENTION: Property =
    Property { name: "fresh-attention", says: "that no cache before it reuses attention", holds: |_| true };

/// Where the last blocks close their residual. They go outside other sites: were parts of blocks reused already, the steps
/// would be counted wrongly.
pub static RESIDUAL_BLOCKS: Site = Site {
    name: "residual blocks",
    is_a: "where the last block of a stream closes its residual, a sum `x + f(x)`",
    find: sites::residual_sums,
    relative_to: |_, _| None,
    requires: &[ONE_VARIANT, UNFUSED, SEPARATE_LINEARS, UNSHARDED],
    ends: &[ONE_VARIANT],
};

/// What each block adds to its residual, before the gate.
pub static RESIDUAL_UPDATES: Site = Site {
    name: "updates of residuals",
    is_a: "what a block adds to its residual, `f(x)` of a sum `x + f(x)`",
    find: sites::residual_updates,
    relative_to: |_, _| None,
    requires: &[ONE_VARIANT, FRESH_ATTENTION, UNFUSED, SEPARATE_LINEARS, UNSHARDED],
    ends: &[ONE_VARIANT, FRESH_ATTENTION],
};

/// What all blocks together have made of a stream.
pub static RESIDUAL_STREAMS: Site = Site {
    name: "residual streams",
    is_a: "where the blocks of a stream, which is a chain of sums `x + f(x)`, end",
    find: sites::stream_ends,
    relative_to: sites::stream_start,
    requires: &[ONE_VARIANT, UNFUSED, SEPARATE_LINEARS, UNSHARDED],
    ends: &[ONE_VARIANT],
};

/// What all blocks but the first together have made of a stream.
pub static LATER_BLOCKS: Site = Site {
    name: "residual streams after their first block",
    is_a: "where the blocks of a stream, which is a chain of sums `x + f(x)`, end",
    find: sites::streams_of_several_blocks,
    relative_to: sites::first_block_end,
    requires: &[ONE_VARIANT, UNFUSED, SEPARATE_LINEARS, UNSHARDED],
    ends: &[ONE_VARIANT],
};

/// What all blocks together have made of a stream, whatever it was before.
pub static RESIDUAL_ENDS: Site = Site {
    name: "ends of residual streams",
    is_a: "where the blocks of a stream, which is a chain of sums `x + f(x)`, end",
    find: sites::stream_ends,
    relative_to: |_, _| None,
    requires: &[ONE_VARIANT, UNFUSED, SEPARATE_LINEARS, UNSHARDED],
    ends: &[ONE_VARIANT],
};

/// The results of attention modules.
pub static ATTENTION: Site = Site {
    name: "attention",
    is_a: "what an attention module results in, made of one attention and weights",
    find: sites::attention_results,
    relative_to: |_, _| None,
    requires: &[FRESH_ATTENTION, UNFUSED, SEPARATE_LINEARS, UNSHARDED],
    ends: &[ONE_VARIANT, FRESH_ATTENTION],
};

impl Site {
    /// The values to reuse, in program order; none if the graph has nothing of the kind.
    pub fn values(&self, graph: &Graph) -> Vec<ValueId> {
        let mut values = (self.find)(graph);
        // What is the same in every step is for hoist.
        values.retain(|&value| graph[value].fact.rate == Rate::Latent);
        sites::last(graph, &values)
    }

    /// Whether `id` is reused, and why not.
    pub fn why(&self, graph: &Graph, id: ValueId) -> Answer {
        let values = self.values(graph);
        let Some(&first) = values.first() else {
            return Err(Mismatch::new(format!(
                "nothing here is {}, so there is nothing to reuse",
                self.name
            )));
        };
        if values.contains(&id) {
            return Ok(Some("steps that reuse take it from an earlier step".to_owned()));
        }
        if graph[id].fact.rate < Rate::Latent {
            return Err(Mismatch::new("it is the same in every step, so `hoist` moves it out of the step"));
        }
        // What is computed only for a site is not computed where that is reused.
        let serves = |site: &&ValueId| graph.depends_on(**site, id);
        if !sites::needed_besides(graph, &values).contains(&id)
            && let Some(&site) = values.iter().find(serves)
        {
            return Err(Mismatch::at(
                site,
                "it is not carried; steps that reuse do without it, because it only serves to compute",
            ));
        }
        Err(Mismatch::at(first, format!("steps that reuse compute it: it is not {}, as this is", self.is_a)))
    }
}
