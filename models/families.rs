//! The supported model families.

use crate::family::Family;
use crate::flux1;
use crate::net::Net;
use reflux_ir::words;

/// All families. A model that does not name its family is taken for one of the first.
pub static FAMILIES: &[&Family] = &[&flux1::FAMILY];

/// The networks of all families that options of the command line name; equal names are one network.
pub fn nets() -> Vec<&'static Net> {
    distinct_by(FAMILIES.iter().flat_map(|family| family.nets).copied(), |net| net.name)
}

/// The networks of all families that can be lowered by name, which includes those that share another's weights.
pub fn all_nets() -> Vec<&'static Net> {
    distinct_by(FAMILIES.iter().flat_map(|family| family.all_nets()), |net| net.name)
}

/// The id of a model on the Hugging Face Hub, as an example.
pub(crate) fn example_id() -> &'static str {
    FAMILIES[0].example_id
}

/// The options of the command line that replace networks, in a sentence: `--clip, --t5, --transformer or --vae`.
pub(crate) fn part_options() -> String {
    words::either(&nets().into_iter().map(Net::option).collect::<Vec<_>>())
}

/// The folders of a model in diffusers layout, in a sentence.
pub(crate) fn folders() -> String {
    let folders = FAMILIES.iter().flat_map(|family| {
        family.nets.iter().map(|net| net.folder).chain(family.tokenizers.iter().copied()).chain(["scheduler"])
    });
    let folders = distinct_by(folders, |folder| *folder);
    folders.iter().map(|folder| format!("{folder}/")).collect::<Vec<_>>().join(", ")
}

/// The first of those of `items` whose `key` is the same.
fn distinct_by<T, K: PartialEq>(items: impl Iterator<Item = T>, key: impl Fn(&T) -> K) -> Vec<T> {
    let mut seen: Vec<T> = Vec::new();
    for item in items {
        if seen.iter().all(|known| key(known) != key(&item)) {
            seen.push(item);
        }
    }
    seen
}
