//! What the pages of Reflux have in common: each is one HTML file that asks nothing of a network.

pub mod escape;
pub mod ink;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256};

/// `template` with each `{{name}}` replaced by what `value` gives for it. What is filled in is not looked at again.
pub fn fill(template: &str, value: impl Fn(&str) -> String) -> String {
    let mut parts = template.split("{{");
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once("}}").expect("a template closes what it opens");
        filled += &value(name);
        filled += rest;
    }
    filled
}

/// What a page may do: show pictures that it has, and run its own script. Should anything in it be obeyed in spite of all
/// escaping, it could neither run nor load anything.
pub fn policy(style: &str, script: &str) -> String {
    let hash = |text: &str| BASE64.encode(Sha256::digest(text.as_bytes()));
    let (style, script) = (hash(style), hash(script));
    format!(
        "default-src 'none'; img-src data:; style-src 'sha256-{style}'; script-src 'sha256-{script}'; base-uri 'none'; form-action 'none'"
    )
}
