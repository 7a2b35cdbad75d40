//! The page: one HTML file with the data in it.

use super::Exploration;
use crate::page::escape::html as escaped;
use crate::page::{fill, ink, policy};

const PAGE: &str = include_str!("assets/page.html");
const STYLE: &str = include_str!("assets/page.css");

/// The files, in an order in which each finds what it uses, as one script. They stand on lines of their own, since dagre's last line is
/// a comment.
macro_rules! script {
    ($($file:literal),*) => { concat!($(include_str!(concat!("assets/", $file, ".js")), "\n"),*) };
}

/// What lays out graphs: `@dagrejs/dagre` 3.1.3 as it is released, behind its licence, which is a comment.
const DAGRE: &str = concat!(
    include_str!("assets/dagre-3.1.3/dagre.min.js.LEGAL.txt"),
    "\n",
    include_str!("assets/dagre-3.1.3/dagre.min.js"),
    "\n"
);

const OWN: &str = script!(
    "element",
    "words",
    "data",
    "address",
    "text",
    "search",
    "program",
    "difference",
    "rules",
    "camera",
    "drawing",
    "egraph",
    "graph",
    "treemap",
    "quantization",
    "comparison",
    "lineage",
    "value",
    "timeline",
    "keyboard",
    "main"
);

/// The page of `exploration`.
pub fn of(exploration: &Exploration) -> String {
    // In a script element nothing but its end tag, or a comment, means anything to HTML, and both begin with `<`.
    let data = exploration.json().replace('<', "\\u003c");
    let style = format!("{}{STYLE}", ink::style());
    let script = format!("{DAGRE}{OWN}");
    fill(PAGE, |name| match name {
        "title" => escaped(&exploration.title),
        "policy" => policy(&style, &script),
        "style" => style.clone(),
        "script" => script.clone(),
        "data" => data.clone(),
        _ => unreachable!("the template has {name}"),
    })
}
