//! The supported model families.

use crate::family::Family;
use crate::flux1;
use crate::net::Net;
use reflux_ir::words;

/// All families. A model that does not name its family is taken for one of the first.
pub static FAMILIES: &[&Family] = &[&flux1::FAMILY];

/// The id of a model on the Hugging Face Hub, as an example.
pub(crate) fn example_id() -> &'static str {
    FAMILIES[0].example_id
}

/// The options of the command line that replace networks, in a sentence: `--clip, --t5, --transformer or --vae`.
pub(crate) fn part_options() -> String {
    words::either(&distinct(FAMILIES.iter().flat_map(|family| family.nets).map(|net| Net::option(net))))
}

/// The folders of a model in diffusers layout, in a sentence.
pub(crate) fn folders() -> String {
    let folders = FAMILIES.iter().flat_map(|family| {
        family.nets.iter().map(|net| net.folder).chain(family.tokenizers.iter().copied()).chain(["scheduler"])
    });
    distinct(folders.map(|folder| format!("{folder}/"))).join(", ")
}

fn distinct(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = Vec::new();
    names.for_each(|name| {
        if !seen.contains(&name) {
            seen.push(name);
        }
    });
    seen
}
