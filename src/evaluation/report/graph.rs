//! What passes did to the graph, row by row, to be opened.

use crate::evaluation::{PassSummary, Row};
use crate::page::escape;
use std::fmt::Write;

/// A part of the page for each of `rows` that ran passes.
pub fn html(rows: &[Row]) -> String {
    rows.iter().filter(|row| !row.graph.is_empty()).map(details).collect()
}

fn details(row: &Row) -> String {
    let (name, passes) = (escape::html(&row.name), escape::html(&row.passes));
    let before = row.graph.first().map_or(0, |pass| pass.ops[0]);
    let after = row.graph.last().map_or(0, |pass| pass.ops[1]);
    let mut html = format!(
        "<details class=\"graph\"><summary><bdi>{name}</bdi> <small>{}, {before} → {after} ops</small></summary>\n\
         <p class=\"pipeline\"><code>{passes}</code></p>\n\
         <div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"What passes did: {name}\">\
         <table><thead><tr><th scope=\"col\">Pass</th><th scope=\"col\" class=\"number\">Ops before</th>\
         <th scope=\"col\" class=\"number\">after</th><th scope=\"col\">Notes</th></tr></thead><tbody>\n",
        match row.graph.len() {
            1 => "1 pass".to_owned(),
            count => format!("{count} passes"),
        }
    );
    for PassSummary { pass, ops: [before, after], notes } in &row.graph {
        let pass = escape::html(pass);
        let notes: Vec<String> = notes.iter().map(|note| escape::html(note)).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(
            html,
            "<tr><th scope=\"row\"><code>{pass}</code></th><td class=\"number\">{before}</td><td class=\"number\">{after}</td>\
             <td>{}</td></tr>",
            notes.join("<br>")
        );
    }
    html + "</tbody></table></div></details>\n"
}
