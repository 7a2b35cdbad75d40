//! The passes of Reflux, in the order in which a pipeline usually runs them:
//!
//! 0. [`raise`](Raise) puts together what exporters have taken apart, in graphs that come from ONNX files.
//! 1. [`canonicalize`](Canonicalize) brings the graph into one form, so that later patterns are few.
//!    [`bound-attention`](BoundAttention) then says how large scores can be, while it sees what they are made of.
//! 2. [`hoist`](Hoist) moves what does not depend on the latents out of the step. It runs before caches, which split the
//!    step into variants, and after `canonicalize`, which shares what several blocks compute alike.
//! 3. [`quantize`](Quantize) turns linears into int8, f8 or int4 products. It runs before `fuse`, which fuses the ops it inserts.
//!    [`quantize-attention`](QuantizeAttention) does so for the queries and keys of attention.
//! 4. [`cache`](Cache) lets steps reuse results of earlier ones: variants of the step, carried values, a schedule.
//! 5. [`shard`](Shard) divides the step among several devices. It runs after caches, which look for what blocks give, and after
//!    `quantize`, as it divides what that inserts.
//! 6. [`merge-linear`](MergeLinear) merges linears that read the same value into one product. It runs after `quantize`, which
//!    picks modules by their paths, and after caches, which look for the results of modules.
//! 7. [`fuse`](Fuse) turns many ops into few kernels.
//! 8. [`pack`](Pack) lays out weights in the order in which the processor's products read them. It is the last pass that looks
//!    for weights.
//! 9. [`dce`](Dce) removes what nothing reads any more.
//!
//! [`tap`](Tap) shows values inside the network. [`Steer`] is for programs that run programs: with it these say in each step whether it
//! reuses, so pipelines cannot name it. To add a pass: write its file with an implementation of
//! [`Pass`](reflux_ir::pass::Pass), add it to [`PASSES`], and write its test; `docs/adding-a-pass.md` walks through one.

mod bound_attention;
mod cache;
mod canonicalize;
mod dce;
pub mod fuse;
mod hoist;
mod lora;
mod merge_linear;
mod norms;
mod pack;
mod properties;
pub mod pruna;
mod quantize;
mod quantize_attention;
mod raise;
mod shard;
mod tap;

pub use bound_attention::BoundAttention;
pub use cache::{Cache, METHODS, Measured, Method, Steer, StepMask, polynomial_through};
pub use canonicalize::Canonicalize;
pub use dce::Dce;
pub use fuse::{Extraction, Fuse};
pub use hoist::Hoist;
pub use lora::{Adapters, Branch, Lora, LoraMode};
pub use merge_linear::MergeLinear;
pub use pack::Pack;
pub use properties::{BASE_LINEARS, SEPARATE_LINEARS, UNFUSED, UNPACKED, UNSHARDED};
pub use quantize::{Preset, QUANTIZE, QuantizationRule, Quantize, Scheme};
pub use quantize_attention::{AttentionScheme, QuantizeAttention};
pub use raise::Raise;
pub use shard::{Method as ShardMethod, Shard};
pub use tap::Tap;

use reflux_ir::op::{Op, Weight};
use reflux_ir::pass::{About, Changed, PassInfo, Registry};
use reflux_ir::{Graph, Patch, PatchError, ValueId};

/// Every pass that pipelines can name.
pub static PASSES: &[PassInfo] = &[
    PassInfo {
        name: "raise",
        summary: "put together norms, activations, linears and attention that exporters have taken apart",
        positional: None,
        example: "raise",
        about: About::of::<Raise>,
        build: PassInfo::from_options::<Raise>,
    },
    PassInfo {
        name: "canonicalize",
        summary: "bring views, casts and constants into one form; compute equal values once",
        positional: None,
        example: "canonicalize",
        about: About::of::<Canonicalize>,
        build: PassInfo::from_options::<Canonicalize>,
    },
    PassInfo {
        name: "bound-attention",
        summary: "bound the scores of attention over normalised queries and keys, whose softmax then needs no maximum",
        positional: None,
        example: "bound-attention",
        about: About::of::<BoundAttention>,
        build: PassInfo::from_options::<BoundAttention>,
    },
    PassInfo {
        name: "hoist",
        summary: "move what does not depend on the latents out of the step, for all steps at once",
        positional: None,
        example: "hoist",
        about: About::of::<Hoist>,
        build: PassInfo::from_options::<Hoist>,
    },
    PassInfo {
        name: "quantize",
        summary: "run linears in int8, f8 or int4, except in excluded modules",
        positional: Some("scheme"),
        example: "quantize(int8dq,exclude=norm+embedding)",
        about: About::of::<Quantize>,
        build: Quantize::build,
    },
    PassInfo {
        name: "quantize-attention",
        summary: "compute scores of attention from queries and keys of 8 bits",
        positional: Some("scheme"),
        example: "quantize-attention(int8)",
        about: About::of::<QuantizeAttention>,
        build: QuantizeAttention::build,
    },
    PassInfo {
        name: "cache",
        summary: "reuse results of earlier steps, by one of several methods",
        positional: Some("method"),
        example: "cache(fora,interval=3)",
        about: Cache::about,
        build: Cache::build,
    },
    PassInfo {
        name: "shard",
        summary: "divide the step among several devices: tokens, and around attention heads",
        positional: Some("devices"),
        example: "shard(devices=4)",
        about: About::of::<Shard>,
        build: PassInfo::from_options::<Shard>,
    },
    PassInfo {
        name: "merge-linear",
        summary: "merge linears of a block that read the same value into one product",
        positional: None,
        example: "merge-linear",
        about: About::of::<MergeLinear>,
        build: PassInfo::from_options::<MergeLinear>,
    },
    PassInfo {
        name: "fuse",
        summary: "fuse norms, products and the ops around them into few kernels, by equality saturation",
        positional: None,
        example: "fuse(device=h100)",
        about: About::of::<Fuse>,
        build: PassInfo::from_options::<Fuse>,
    },
    PassInfo {
        name: "pack",
        summary: "lay out weights of f32 products in panels, for the processor",
        positional: None,
        example: "pack",
        about: About::of::<Pack>,
        build: PassInfo::from_options::<Pack>,
    },
    PassInfo {
        name: "dce",
        summary: "remove what nothing reads; narrow carried values to the part that is read",
        positional: None,
        example: "dce",
        about: About::of::<Dce>,
        build: PassInfo::from_options::<Dce>,
    },
    PassInfo {
        name: "tap",
        summary: "return values inside the network as results, for inspection",
        positional: Some("values"),
        example: "tap(h.*)",
        about: About::of::<Tap>,
        build: PassInfo::from_options::<Tap>,
    },
];

/// The default passes, which are lossless. They run by default, and around the passes that a user asks for; see
/// [`Recipe`](reflux_ir::pass::Recipe).
pub const LOSSLESS: &str = "canonicalize,bound-attention,hoist,canonicalize,merge-linear,fuse,dce";

/// What runs before the default passes on graphs that come from elsewhere.
pub const RAISING: &str = "raise";

/// [`LOSSLESS`] for devices whose products read weights in panels.
pub const LOSSLESS_PACKED: &str = "canonicalize,hoist,canonicalize,merge-linear,fuse,pack,dce";

/// [`LOSSLESS`] for networks that run once per picture, where preparing values gains nothing.
pub const LOSSLESS_ONCE: &str = "canonicalize,merge-linear,fuse,dce";

/// Removes from `graph` the ops that no output depends on, on behalf of `rule`, so that no work is spent on them.
fn remove_unread(graph: &mut Graph, rule: &'static str) -> Result<Changed, PatchError> {
    let is_changed = !graph.unread().is_empty();
    let mut patch = Patch::new(graph, rule);
    patch.remove_unread();
    patch.apply()?;
    Ok(is_changed.into())
}

/// The number that `id` is, if it is a constant.
fn constant(graph: &Graph, id: ValueId) -> Option<f64> {
    match &graph[id].op {
        Op::Constant(constant) => Some(constant.value.0),
        _ => None,
    }
}

/// The leaf and the name of the tensor of the checkpoint that `weight` is, or that it is dequantized from.
fn tensor_of(graph: &Graph, weight: ValueId) -> Option<(ValueId, &str)> {
    let leaf = match graph[weight].op {
        Op::Dequantize(_) => graph.operands(weight)[0],
        _ => weight,
    };
    match &graph[leaf].op {
        Op::Weight(Weight { tensor }) => Some((leaf, tensor)),
        _ => None,
    }
}

/// Products of at most this many rows are bound by reading their weights. Nothing is gained by making two of them one, and much by
/// computing those of all steps at once, which reads the weights once.
const FEW_ROWS: usize = 16;

/// A registry of [`PASSES`].
pub fn registry() -> Registry {
    Registry::new(PASSES)
}
