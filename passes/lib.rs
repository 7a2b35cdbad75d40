//! The passes of Reflux, in the order in which a pipeline usually runs them:
//!
//! 1. [`canonicalize`](Canonicalize) brings the graph into one form, so that later patterns are few.
//! 2. [`hoist`](Hoist) takes out of the step what does not depend on the latents. Before caches, which split the step
//!    into variants, and after canonicalizing, which shares what blocks compute alike.
//! 3. [`quantize`](Quantize) makes linears integer or f8 products. Before fusing, which works on the ops it inserts.
//! 4. [`cache`](Cache) lets steps reuse results of earlier ones: variants of the step, carried values, a schedule.
//! 5. [`merge-linear`](MergeLinear) makes linears of one input one product. After quantizing, which picks modules by
//!    their paths, and after caches, which look for what a module results in.
//! 6. [`fuse`](Fuse) makes few kernels of many ops, whatever the passes before it have left.
//! 7. [`pack`](Pack) lays out weights as the processor's products read them. Last of those that look for weights.
//! 8. [`dce`](Dce) drops what nothing reads any more.
//!
//! [`tap`](Tap) is for looking inside. To add a pass: write its file with an implementation of
//! [`Pass`](reflux_ir::pass::Pass), add it to [`PASSES`], and write its test; `docs/adding-a-pass.md` walks through one.

mod cache;
mod canonicalize;
mod dce;
pub mod fuse;
mod hoist;
mod merge_linear;
mod pack;
mod properties;
pub mod pruna;
mod quantize;
mod tap;

pub use cache::{Cache, METHODS, Method, StepMask};
pub use canonicalize::Canonicalize;
pub use dce::Dce;
pub use fuse::{Extraction, Fuse};
pub use hoist::Hoist;
pub use merge_linear::MergeLinear;
pub use pack::Pack;
pub use properties::{SEPARATE_LINEARS, UNFUSED, UNPACKED};
pub use quantize::{Preset, Quantize, Rule as QuantizationRule, Scheme};
pub use tap::Tap;

use reflux_ir::pass::{About, Changed, PassInfo, Registry};
use reflux_ir::{Graph, Patch, PatchError};

/// Every pass that pipelines can name.
pub static PASSES: &[PassInfo] = &[
    PassInfo {
        name: "canonicalize",
        summary: "one form for views, casts and constants; equal values computed once",
        positional: None,
        example: "canonicalize",
        about: About::of::<Canonicalize>,
        build: PassInfo::from_options::<Canonicalize>,
    },
    PassInfo {
        name: "hoist",
        summary: "out of the step what does not depend on the latents, all steps at once",
        positional: None,
        example: "hoist",
        about: About::of::<Hoist>,
        build: PassInfo::from_options::<Hoist>,
    },
    PassInfo {
        name: "quantize",
        summary: "linears in int8, f8 or int4, by scheme, with modules excluded",
        positional: Some("scheme"),
        example: "quantize(int8dq,exclude=norm+embedding)",
        about: About::of::<Quantize>,
        build: Quantize::build,
    },
    PassInfo {
        name: "cache",
        summary: "results reused from step to step, by one of several methods",
        positional: Some("method"),
        example: "cache(fora,interval=3)",
        about: Cache::about,
        build: Cache::build,
    },
    PassInfo {
        name: "merge-linear",
        summary: "linears of a block that read the same value made one product",
        positional: None,
        example: "merge-linear",
        about: About::of::<MergeLinear>,
        build: PassInfo::from_options::<MergeLinear>,
    },
    PassInfo {
        name: "fuse",
        summary: "norms, products and what follows them as few kernels, by equality saturation",
        positional: None,
        example: "fuse(device=h100)",
        about: About::of::<Fuse>,
        build: PassInfo::from_options::<Fuse>,
    },
    PassInfo {
        name: "pack",
        summary: "weights of f32 products laid out in panels, for the processor",
        positional: None,
        example: "pack",
        about: About::of::<Pack>,
        build: PassInfo::from_options::<Pack>,
    },
    PassInfo {
        name: "dce",
        summary: "what nothing reads dropped, carried values narrowed to what is read",
        positional: None,
        example: "dce",
        about: About::of::<Dce>,
        build: PassInfo::from_options::<Dce>,
    },
    PassInfo {
        name: "tap",
        summary: "values inside the network made results, for looking at them",
        positional: Some("values"),
        example: "tap(h.*)",
        about: About::of::<Tap>,
        build: PassInfo::from_options::<Tap>,
    },
];

/// The default passes, which change no result: what runs where nothing is asked for, and around what is, see
/// [`Recipe`](reflux_ir::pass::Recipe).
pub const LOSSLESS: &str = "canonicalize,hoist,canonicalize,merge-linear,fuse,dce";

/// [`LOSSLESS`] where products read weights in panels.
pub const LOSSLESS_PACKED: &str = "canonicalize,hoist,canonicalize,merge-linear,fuse,pack,dce";

/// [`LOSSLESS`] for networks that run once a picture: nothing is worth preparing.
pub const LOSSLESS_ONCE: &str = "canonicalize,merge-linear,fuse,dce";

/// Removes from `graph` the ops that no output is made of, on behalf of `rule`: what is done around them would be done for
/// nothing.
fn remove_unread(graph: &mut Graph, rule: &'static str) -> Result<Changed, PatchError> {
    let is_changed = !graph.unread().is_empty();
    let mut patch = Patch::new(graph, rule);
    patch.remove_unread();
    patch.apply()?;
    Ok(is_changed.into())
}

/// A registry of [`PASSES`].
pub fn registry() -> Registry {
    Registry::new(PASSES)
}
