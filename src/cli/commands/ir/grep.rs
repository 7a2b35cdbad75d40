//! Values by name, each with what it reads and what reads it.

use crate::Error;
use reflux_ir::op::Op;
use reflux_ir::pass::{counted, did_you_mean, nearest};
use reflux_ir::{Graph, Program, ValueId};
use std::fmt::Write;

/// The values of `program` that `pattern` means, stage by stage: a name as it prints with `%` or `@`, or without, in which `*`
/// matches anything.
///
/// # Errors
/// If no value is called so; the message names the nearest.
pub fn grep(program: &Program, pattern: &str) -> Result<String, Error> {
    let (mut text, mut found) = (String::new(), 0);
    for (stage, graph) in program.stages() {
        let meant: Vec<_> = graph.ids().filter(|&id| is_meant(graph, id, pattern)).collect();
        if meant.is_empty() {
            continue;
        }
        found += meant.len();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{stage}");
        meant.into_iter().for_each(|id| text += &with_neighbours(graph, id));
    }
    if found > 0 {
        let _ = writeln!(text, "{}", counted(found, "value"));
        return Ok(text);
    }
    let graphs = program.stages().map(|(_, graph)| graph);
    let names: Vec<String> = graphs.flat_map(|graph| graph.ids().filter_map(|id| name(graph, id))).collect();
    let meant = did_you_mean(&nearest(names.iter().map(String::as_str), pattern.trim_end_matches('*')));
    let message = "no value is called so; names are those that --unrolled prints";
    Err(Error::Usage(format!("--grep '{pattern}': {message}{meant}")))
}

/// The name of a value as it prints; constants have none.
fn name(graph: &Graph, id: ValueId) -> Option<String> {
    (!matches!(graph[id].op, Op::Constant(_))).then(|| graph.operand(id).to_string())
}

fn is_meant(graph: &Graph, id: ValueId, pattern: &str) -> bool {
    let Some(name) = name(graph, id) else { return false };
    let name = if pattern.starts_with(['%', '@']) { &name[..] } else { &name[1..] };
    let Some((start, rest)) = pattern.split_once('*') else { return name == pattern };
    let Some(mut left) = name.strip_prefix(start) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().expect("there is one at least");
    for part in parts {
        let Some(at) = left.find(part) else { return false };
        left = &left[at + part.len()..];
    }
    left.ends_with(end)
}

/// The line of a value, and under it those of its neighbours.
fn with_neighbours(graph: &Graph, id: ValueId) -> String {
    let mut text = format!("  {}\n", graph.line(id));
    let mut operands = graph.operands(id);
    let mut users: Vec<_> = graph.users(id).collect();
    for ids in [&mut operands, &mut users] {
        ids.sort_unstable();
        ids.dedup();
    }
    for operand in operands.into_iter().filter(|&operand| name(graph, operand).is_some()) {
        text += &format!("    reads    {}\n", graph.line(operand));
    }
    for user in users {
        text += &format!("    read by  {}\n", graph.line(user));
    }
    if graph.outputs().iter().any(|output| output.value == id) {
        text += "    is a result\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use reflux_ir::text::parse;

    #[test]
    fn stars_match_anything() {
        let text = "program p {\n  input %aba.c : f32[2] latent\n  variant v (%aba.c) -> (%y) {\n    %y = mul %aba.c, @m.w f32[2] : f32[2]\n    return %y\n  }\n  schedule v\n}";
        let program = parse(text).unwrap();
        let graph = &program.variants["v"];
        let names = |pattern: &str| -> Vec<String> {
            graph.ids().filter(|&id| is_meant(graph, id, pattern)).filter_map(|id| name(graph, id)).collect()
        };
        for pattern in ["aba.c", "%aba.c", "a*", "*ba*c", "%*.c", "a*a*"] {
            assert_eq!(names(pattern), ["%aba.c"], "{pattern}");
        }
        for pattern in ["", "b*", "aba.c*c", "%m*", "*d"] {
            assert_eq!(names(pattern), [""; 0], "{pattern}");
        }
        assert_eq!(names("*").len(), 3);
        assert!(names("@m.w*")[0].starts_with("@m.w"));
    }
}
