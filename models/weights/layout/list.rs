//! The list of supported layouts.

use super::description::Layout;
use super::text;
use super::vae;
use crate::architecture::Architecture;
use crate::flux1::layouts as flux1;

/// All layouts. Which one a file has is told by its names: it is the layout, and the prefix, that most of them are marked with;
/// of equals the first. Where it is not said which network is meant, networks are looked for in this order.
///
/// # To add a layout
///
/// Write a [`Layout`] and list it here. Its fields say how it is recognised (`marks`), what its names begin with (`roots`), what
/// of the file is of no use (`unused`), and with [rules](super::Rule) what becomes of each tensor: another name (`Name`), a
/// second name of a tensor that is there already (`Alias`), several tensors that are fused by rows (`Rows`), two halves that
/// are swapped (`Halves`), a convolution that is a matrix (`Pixel`). What stands in front of all names is none of its
/// concerns: a new prefix is one more in the `prefixes` of the [`Architecture`], and holds for all its layouts.
///
/// Whatever the container is, safetensors or GGUF, its reader gives names, types, shapes and where the bytes lie
/// (`weights/file.rs`); layouts see nothing else of it, and are the same for another container.
///
/// Then, if files of this kind were refused by name so far, take that kind out of `foreign/kinds.rs` (or, where they store
/// codes, out of `foreign/scheme.rs`), and test it in `models/tests/layouts.rs`, where the bundled weights are written in each
/// layout and must come out as they were.
pub(in crate::weights) const LAYOUTS: &[Layout] = &[
    flux1::DIFFUSERS,
    flux1::BFL,
    vae::DIFFUSERS,
    vae::BFL,
    text::T5,
    text::T5_GGUF,
    text::CLIP,
    text::CLIP_BARE,
];

/// Names of a kind of network, to tell what a file of it looks like.
pub(in crate::weights) fn examples(architecture: &Architecture) -> String {
    let layouts = LAYOUTS.iter().filter(|layout| layout.architecture == architecture);
    let examples = layouts.map(|layout| format!("`{}` ({})", layout.example, layout.names));
    examples.collect::<Vec<_>>().join(" or ")
}
