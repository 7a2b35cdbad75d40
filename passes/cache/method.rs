//! The methods: choices of steps, site and predictor.

use super::predictor::Predictor;
use super::sites;
use crate::{SEPARATE_LINEARS, UNFUSED};
use reflux_ir::pass::{Answer, Mismatch, ONE_VARIANT, Property};
use reflux_ir::{Graph, Rate, ValueId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// No cache reuses attention yet. Of a program, the pass itself sees that, by the very values that it would reuse: a carried
/// value alone does not tell what it was made of, once it has been rewritten.
const FRESH_ATTENTION: Property =
    Property { name: "fresh-attention", says: "that no cache before it reuses attention", holds: |_| true };

/// | method | steps | site | predictor |
/// |---|---|---|---|
/// | `fora` | periodic | where the last blocks close their residual | hold |
/// | `fora-paper` | periodic | what each block adds to its residual, before the gate | hold |
/// | `pab` | periodic in a window of time | results of attention modules | hold |
/// | `fastercache` | periodic in a window of time | results of attention modules | extrapolate |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// FORA as Pruna has it (`algorithms/fora.py`): whole blocks reused, residual included, so that of a step only what
    /// follows the last block is left.
    Fora,
    /// FORA as its paper has it (arXiv 2407.01425): attention and MLP reused before the gate, which is of the step's own
    /// time.
    ForaPaper,
    /// Pyramid Attention Broadcast (diffusers, `hooks/pyramid_attention_broadcast.py`), by default in Pruna's window for
    /// FLUX.
    Pab,
    /// FasterCache's attention part (diffusers, `hooks/faster_cache.py`), by default in Pruna's window for FLUX.
    Fastercache,
}

impl Method {
    /// Whether steps are chosen by their time too.
    pub fn is_windowed(self) -> bool {
        matches!(self, Self::Pab | Self::Fastercache)
    }

    /// The steps before this one compute, if nothing else is said.
    pub(super) fn start_step(self) -> usize {
        if self == Self::Fora { 2 } else { 0 }
    }

    /// The window of time, exclusive, in which steps may reuse, if nothing else is said: Pruna's for FLUX.
    pub(super) fn window(self) -> [f64; 2] {
        if self == Self::Fastercache { [-1.0, 961.0] } else { [100.0, 950.0] }
    }

    /// The values to reuse, in program order; none if the graph has nothing of the kind.
    pub(super) fn sites(self, graph: &Graph) -> Vec<ValueId> {
        let mut sites = match self {
            Self::Fora => sites::residual_sums(graph),
            Self::ForaPaper => sites::residual_updates(graph),
            Self::Pab | Self::Fastercache => sites::attention_results(graph),
        };
        // What is the same in every step is for hoist.
        sites.retain(|&site| graph[site].fact.rate == Rate::Latent);
        sites::last(graph, &sites)
    }

    /// Whether `id` is a site, and why not.
    pub(super) fn why(self, graph: &Graph, id: ValueId) -> Answer {
        let sites = self.sites(graph);
        let Some(&first) = sites.first() else {
            return Err(Mismatch::new(format!(
                "nothing here is {}, so there is nothing to reuse",
                self.site()
            )));
        };
        if sites.contains(&id) {
            return Ok(Some("steps that reuse take it from an earlier step".to_owned()));
        }
        if graph[id].fact.rate < Rate::Latent {
            return Err(Mismatch::new("it is the same in every step, and so one for `hoist`"));
        }
        // What is computed only for a site is not computed where that is reused.
        let serves = |site: &&ValueId| graph.depends_on(**site, id);
        if !sites::needed_besides(graph, &sites).contains(&id)
            && let Some(&site) = sites.iter().find(serves)
        {
            return Err(Mismatch::at(
                site,
                "it is not carried, and steps that reuse do without it: it only serves",
            ));
        }
        let is_a = match self {
            Self::Fora => "where the last block of a stream closes its residual, a sum `x + f(x)`",
            Self::ForaPaper => "what a block adds to its residual, `f(x)` of a sum `x + f(x)`",
            Self::Pab | Self::Fastercache => {
                "what an attention module results in, made of one attention and weights"
            }
        };
        Err(Mismatch::at(first, format!("steps that reuse compute it: it is not {is_a}, as this is")))
    }

    /// What the sites are called.
    pub(super) fn site(self) -> &'static str {
        match self {
            Self::Fora => "residual blocks",
            Self::ForaPaper => "updates of residuals",
            Self::Pab | Self::Fastercache => "attention",
        }
    }

    pub(super) fn predictor(self, weight: Option<f64>) -> Predictor {
        match self {
            Self::Fastercache => Predictor::Extrapolate { weight: weight.unwrap_or(0.5) },
            _ => Predictor::Hold,
        }
    }

    pub(super) fn requires(self) -> &'static [Property] {
        match self {
            // Whole blocks go outside: were parts of them reused already, the steps would be counted wrongly.
            Self::Fora => &[ONE_VARIANT, UNFUSED, SEPARATE_LINEARS],
            Self::ForaPaper => &[ONE_VARIANT, FRESH_ATTENTION, UNFUSED, SEPARATE_LINEARS],
            Self::Pab | Self::Fastercache => &[FRESH_ATTENTION, UNFUSED, SEPARATE_LINEARS],
        }
    }

    pub(super) fn ends(self) -> &'static [Property] {
        match self {
            Self::Fora => &[ONE_VARIANT],
            _ => &[ONE_VARIANT, FRESH_ATTENTION],
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fora => "fora",
            Self::ForaPaper => "fora-paper",
            Self::Pab => "pab",
            Self::Fastercache => "fastercache",
        })
    }
}
