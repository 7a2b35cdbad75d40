//! Exports: DOT for Graphviz, graph and node-data JSON for Model Explorer.

use reflux_ir::export::{DotOptions, diff_data, dot, model_explorer, node_data};
use reflux_ir::text::parse;
use reflux_ir::{Machine, Op, Program};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Two modules, one in the other; a weight, a number, an attribute, an input that is an output.
const SMALL: &str = "
program small {
  input %x : f32[2,4] latent
  variant main (%x) -> (%y, %x.out) {
    %h = linear %x, @.weight f32[8,4] : f32[2,8] in ff.proj
    %y = mul %h, 0.5 : f32[2,8] in ff
    return %y, %x
  }
  schedule main
}";

/// What could be mistaken for each other: values, weights and labels of one name, numbers of one value, modules of two
/// stages; outputs that are weights and numbers; a weight in a module that is no op's, a value that reads one twice.
const TRICKY: &str = "
program tricky {
  input %x : f32[2] latent
  prepare weights () -> (%w, %one) {
    return @m.w f32[2], 1.0 f32
  }
  variant main (%x, %w, %one) -> (%y) {
    %a = cast 1.0 f32 {dtype=i8} : i8[] in a
    %b = cast 1.0 f16 {dtype=i8} : i8[] in a.b
    %c = add %x, @x f32[2] : f32[2] in b
    %d = add %c, %c : f32[2] in a.b
    %y = add %d, @w f32[2] : f32[2]
    return %y
  }
  variant main.a (%x) -> (%y) {
    %y = silu %x : f32[2] in b
    return %y
  }
  schedule main main.a
}";

/// As many blocks, ops and weights as FLUX has.
fn flux_sized() -> Program {
    let mut body = String::new();
    for (stack, blocks, ops) in [("transformer_blocks", 19, 44), ("single_transformer_blocks", 38, 20)] {
        let first = if stack.starts_with('s') { "%t43.18" } else { "%x" };
        let prefix = &stack[..1];
        let last = ops - 1;
        body += &format!("repeat %i in 0..{blocks} (%{prefix}{last}.prev = {first}) in {stack}.{{i}} {{\n");
        for op in 0..ops {
            let previous =
                if op == 0 { format!("{prefix}{last}.prev") } else { format!("{prefix}{}", op - 1) };
            body += &format!("%{prefix}{op} = linear %{previous}, @.w f32[8,8] : f32[4,8] in .layer.{op}\n");
        }
        body += &format!("yield %{prefix}{last}\n}}\n");
    }
    let text = format!(
        "program flux {{ input %x : f32[4,8] latent variant main (%x) -> (%y) {{\n{body}return %s19.37 }} schedule main }}"
    );
    parse(&text).unwrap_or_else(|error| panic!("{error}"))
}

fn programs() -> [Program; 3] {
    [parse(SMALL).unwrap(), parse(TRICKY).unwrap(), flux_sized()]
}

fn is_leaf(op: &Op) -> bool {
    matches!(op, Op::Weight(_) | Op::Constant(_))
}

#[test]
fn small_program() {
    let program = parse(SMALL).unwrap();
    let h100 = Machine::named("h100");
    snapshot!("export__dot", dot(&program, DotOptions::default()));
    snapshot!("export__dot_times", dot(&program, DotOptions { machine: h100, unrolled: false }));
    // A node per line.
    let json = model_explorer(&program, h100).to_string().replace("{\"id\":\"", "\n{\"id\":\"");
    snapshot!("export__model_explorer", json);
    snapshot!("export__node_data", node_data(&program, |graph, id| graph.cost(id).flops).to_string());
}

/// The quoted strings of a line of DOT.
fn quoted(line: &str) -> Vec<&str> {
    line.split('"').skip(1).step_by(2).collect()
}

/// The nodes of a drawing, each of which must be named once, and its edges, which must join them.
fn parts(text: &str) -> (BTreeSet<&str>, Vec<(&str, &str)>) {
    assert_eq!(text.matches('{').count(), text.matches('}').count());
    let (mut nodes, mut clusters, mut edges) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for line in text.lines().map(str::trim).filter(|line| line.starts_with(['"', 's'])) {
        let names = quoted(line);
        match names.as_slice() {
            [cluster, ..] if line.starts_with("subgraph") => assert!(clusters.insert(*cluster), "{line}"),
            [from, to, ..] if line.contains("\" -> \"") => edges.push((*from, *to)),
            [node, ..] => assert!(nodes.insert(*node), "{line}"),
            [] => panic!("{line}"),
        }
    }
    for (from, to) in &edges {
        assert!(nodes.contains(from) && nodes.contains(to), "{from} -> {to}");
    }
    (nodes, edges)
}

#[test]
fn dot_names_every_node_once_and_joins_what_it_names() {
    for program in programs() {
        let text = dot(&program, DotOptions { machine: Machine::named("cpu"), unrolled: true });
        let (nodes, edges) = parts(&text);
        let graphs: Vec<_> = program.stages().map(|(_, graph)| graph).collect();
        let outputs: usize = graphs.iter().map(|graph| graph.outputs().len()).sum();
        let ops = graphs.iter().flat_map(|graph| graph.order().into_iter().map(|id| (*graph, id)));
        let reads: usize = ops
            .clone()
            .map(|(graph, id)| {
                let read: BTreeSet<_> = graph.operands(id).into_iter().collect();
                read.into_iter().filter(|&id| !is_leaf(&graph[id].op)).count()
            })
            .sum();
        let returned =
            |(graph, id): &(&reflux_ir::Graph, _)| graph.outputs().iter().any(|output| output.value == *id);
        let drawn = ops.filter(|place| !is_leaf(&place.0[place.1].op) || returned(place)).count();
        assert_eq!((nodes.len(), edges.len()), (drawn + outputs, reads + outputs), "{}", program.name);
    }
}

/// What a block hands on, indexed inputs and results, a block that another reads by round, and rounds that differ.
const BLOCKS: &str = "
program blocks {
  input %x : f32[4,6] latent
  input %m.{0..3} : f32[6] schedule
  variant main (%x, %m.{0..3}) -> (%y, %h.{0..3}) {
    repeat %i in 0..3 {
      %gain = add %m.{i}, 1.0 : f32[6] in net.{i}
    }
    repeat %i in 0..3 (%h.prev = %x) in net.{i} {
      %n = linear %h.prev, @.weight f32[6,6] : f32[4,6] in .lin
      %g = mul %n, %gain.{i} : f32[4,6]
      %h = add %h.prev, %g : f32[4,6]
      yield %h
    }
    %y = silu %h.2 : f32[4,6]
    return %y, %h.{0..3}
  }
  schedule main
}";

#[test]
fn dot_draws_blocks_once() {
    let blocks = parse(BLOCKS).unwrap();
    let machine = Machine::named("cpu");
    let text = dot(&blocks, DotOptions { machine, unrolled: false });
    snapshot!("export__dot_blocks", &text);
    // Every read is an edge between what is drawn of both values.
    let graph = &blocks.variants["main"];
    let drawn = |id| {
        let name = graph.operand(id).to_string();
        match name.rsplit_once('.') {
            Some((stem, _)) => format!("main {stem}.{{0..3}}"),
            None => format!("main {name}"),
        }
    };
    let (nodes, edges) = parts(&text);
    let stripped = |name: &str| name.trim_start_matches("variant ").to_owned();
    let edges: BTreeSet<_> = edges.into_iter().map(|(from, to)| (stripped(from), stripped(to))).collect();
    let values = || graph.ids().filter(|&id| !graph.is_leaf(id));
    for id in values() {
        assert!(nodes.contains(&*format!("variant {}", drawn(id))), "{}", drawn(id));
        for operand in graph.operands(id).into_iter().filter(|&id| !graph.is_leaf(id)) {
            assert!(edges.contains(&(drawn(operand), drawn(id))), "{} -> {}", drawn(operand), drawn(id));
        }
    }
    // However many blocks there are, what is drawn is one of each kind.
    let flux = dot(&flux_sized(), DotOptions { machine, unrolled: false });
    let (nodes, edges) = parts(&flux);
    assert_eq!((nodes.len(), edges.len()), (1 + 44 + 20 + 1, 1 + 43 + 1 + 1 + 19 + 1 + 1));
}

#[test]
fn model_explorer_names_every_node_once_and_joins_what_it_names() {
    for program in programs() {
        let json = model_explorer(&program, None);
        let data = node_data(&program, |graph, id| graph.cost(id).bytes);
        let graphs = json.as_array().unwrap();
        assert_eq!(graphs.len(), program.stages().count());
        let ids: BTreeSet<_> = graphs.iter().map(|graph| graph["id"].as_str().unwrap()).collect();
        assert_eq!(ids, data.as_object().unwrap().keys().map(String::as_str).collect());
        for (json, (stage, graph)) in graphs.iter().zip(program.stages()) {
            let nodes = json["nodes"].as_array().unwrap();
            let id = |node: &Value| node["id"].as_str().unwrap().to_owned();
            let by_id: BTreeMap<_, _> = nodes.iter().map(|node| (id(node), node)).collect();
            assert_eq!(
                (by_id.len(), nodes.len()),
                (nodes.len(), graph.len() + graph.outputs().len()),
                "{stage}"
            );
            for node in nodes {
                for (port, edge) in node["incomingEdges"].as_array().unwrap().iter().enumerate() {
                    assert!(by_id.contains_key(edge["sourceNodeId"].as_str().unwrap()), "{edge}");
                    assert_eq!(edge["targetNodeInputId"], port.to_string());
                }
            }
            let reads: usize = graph.order().into_iter().map(|id| graph.operands(id).len()).sum();
            let edges: usize = nodes.iter().map(|node| node["incomingEdges"].as_array().unwrap().len()).sum();
            assert_eq!(edges, reads + graph.outputs().len(), "{stage}");
            let results = &data[json["id"].as_str().unwrap()]["results"];
            let total: u64 =
                results.as_object().unwrap().values().map(|result| result["value"].as_u64().unwrap()).sum();
            assert_eq!(total, graph.total_cost().bytes, "{stage}");
            assert!(results.as_object().unwrap().keys().all(|id| by_id.contains_key(id)), "{stage}");
        }
    }
}

/// A weight that is read as numbers and as codes is two nodes.
#[test]
fn model_explorer_tells_types_of_a_weight_apart() {
    let text = "
program p {
  input %x : f32[2,4] latent
  variant main (%x) -> (%y, %z) {
    %a = matmul_w8 %x, @w i8.row.f32[3,4] : f32[2,3]
    %y = rescale %a, @w i8.row.f32[3,4] {dtype=f32} : f32[2,3]
    %z = linear %x, @w f32[3,4] : f32[2,3]
    return %y, %z
  }
  schedule main
}";
    let json = model_explorer(&parse(text).unwrap(), None);
    let nodes = json[0]["nodes"].as_array().unwrap();
    let read = |id: &str| {
        let node = nodes.iter().find(|node| node["id"] == id).unwrap();
        let edges = node["incomingEdges"].as_array().unwrap().iter();
        edges.map(|edge| edge["sourceNodeId"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(read("%y"), ["%a", "@w i8.row.f32[3,4]"]);
    assert_eq!(read("%z"), ["%x", "@w f32[3,4]"]);
    let ids: BTreeSet<_> = nodes.iter().map(|node| node["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), nodes.len());
}

#[test]
fn differences_are_node_data_of_both_programs() {
    let program = |variant: &str| {
        let text = format!(
            "program p {{
               input %x : f32[2] latent
               input %t : f32[2] schedule
               {variant}
               schedule main
             }}"
        );
        parse(&text).unwrap_or_else(|error| panic!("{error}"))
    };
    let before = program(
        "variant main (%x, %t) -> (%y) {
           %same = silu %x : f32[2]
           %moved = exp %t : f32[2]
           %changed = mul %same, 2.0 : f32[2]
           %gone = add %changed, @w f32[2] : f32[2]
           %y = add %gone, %moved : f32[2]
           return %y
         }",
    );
    let after = program(
        "prepare schedule (%t) -> (%moved) {
           %moved = exp %t : f32[2]
           return %moved
         }
         variant main (%x, %moved) -> (%y) {
           %same = silu %x : f32[2]
           %changed = mul %same, 3.0 : f32[2]
           %new = add %changed, @v f32[2] : f32[2]
           %y = add %new, %moved : f32[2]
           return %y
         }",
    );
    let [of_before, of_after] = diff_data([&before, &after]);
    let shown = |data: &Value, stage: &str| {
        let graphs = data.as_object().unwrap().iter();
        let (_, graph) = graphs.clone().find(|(id, _)| id.starts_with(&format!("p {stage} #"))).unwrap();
        let results = graph["results"].as_object().unwrap();
        let shown = |(key, result): (&String, &Value)| format!("{key} {}", result["value"].as_str().unwrap());
        results.iter().map(shown).collect::<Vec<_>>()
    };
    let expected =
        ["%t removed", "%moved moved", "2.0 f32 removed", "%changed changed", "@w removed", "%gone removed"];
    let without_order = |mut list: Vec<String>| {
        list.sort();
        list
    };
    let listed = |list: &[&str]| without_order(list.iter().map(|&text| text.to_owned()).collect());
    let main = [&expected[..], &["%y changed"]].concat();
    assert_eq!(without_order(shown(&of_before, "variant main")), listed(&main));
    assert_eq!(
        without_order(shown(&of_after, "variant main")),
        listed(&[
            "%moved added",
            "3.0 f32 added",
            "%changed changed",
            "@v added",
            "%new added",
            "%y changed"
        ])
    );
    assert_eq!(shown(&of_after, "prepare schedule"), ["%t added", "%moved moved"]);
    assert_eq!(of_before.as_object().unwrap().len(), 1);
    let results = &of_before.as_object().unwrap().values().next().unwrap()["results"];
    assert_ne!(results["%changed"]["bgColor"], results["%gone"]["bgColor"]);
    // No graph of one program is called like one of the other, and each has data under its own id.
    let ids = |data: &Value| data.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    assert!(ids(&of_before).is_disjoint(&ids(&of_after)));
    for (program, data) in [(&before, &of_before), (&after, &of_after)] {
        let graphs = model_explorer(program, None);
        let of_graphs =
            graphs.as_array().unwrap().iter().map(|graph| graph["id"].as_str().unwrap().to_owned());
        assert_eq!(of_graphs.collect::<BTreeSet<_>>(), ids(data));
    }
    // Of a program and itself there is nothing to say.
    for data in diff_data([&after, &after]) {
        assert!(
            data.as_object()
                .unwrap()
                .values()
                .all(|graph| graph["results"] == Value::Object(Default::default()))
        );
    }
}
