//! The modules of a network, and what each of them gives.

use reflux_ir::{Graph, ModulePath, Name, ValueId};
use std::collections::BTreeSet;

/// A module, with all that is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    pub path: ModulePath,
    /// The values that it computes and that something outside of it reads.
    pub results: Vec<Name>,
}

/// The modules of all `graphs`, each with what any of them has it give.
pub fn modules_of<'g>(graphs: impl IntoIterator<Item = &'g Graph>) -> Vec<Module> {
    let mut all: Vec<Module> = Vec::new();
    for module in graphs.into_iter().flat_map(modules) {
        match all.iter_mut().find(|known| known.path == module.path) {
            None => all.push(module),
            Some(known) => {
                let new = module.results.into_iter().filter(|name| !known.results.contains(name));
                let new: Vec<Name> = new.collect();
                known.results.extend(new);
            }
        }
    }
    all
}

/// The modules of `graph`: first the whole, and each before those that are in it, in the order in which they are computed.
fn modules(graph: &Graph) -> Vec<Module> {
    let order: Vec<ValueId> = graph.order().into_iter().filter(|&id| graph.is_op(id)).collect();
    let mut seen = BTreeSet::new();
    let mut modules = Vec::new();
    for &id in &order {
        let mut path = ModulePath::root();
        let segments: Vec<&str> = graph[id].path.segments().collect();
        for depth in 0..=segments.len() {
            path = if depth == 0 { path } else { path.join(segments[depth - 1]) };
            if seen.insert(path.clone()) {
                let results = results(graph, &order, &path);
                modules.push(Module { path: path.clone(), results });
            }
        }
    }
    modules
}

fn results(graph: &Graph, order: &[ValueId], module: &ModulePath) -> Vec<Name> {
    let is_in = |id: ValueId| graph.is_op(id) && graph[id].path.is_within(module);
    let is_read = |id: ValueId| match module.is_empty() {
        true => graph.is_result(id),
        false => graph.is_result(id) || graph.users(id).any(|user| !is_in(user)),
    };
    let results = order.iter().filter(|&&id| is_in(id) && is_read(id));
    results.map(|&id| graph[id].name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use reflux_ir::text::parse;

    #[test]
    fn a_module_gives_what_is_read_outside_of_it() {
        let program = parse(
            "program p {
               input %x : f32[1,2] latent
               variant full (%x) -> (%y) {
                 %n = mul %x, 2.0 : f32[1,2] in blocks.0.norm
                 %a = silu %n : f32[1,2] in blocks.0.ff
                 %b = add %a, %n : f32[1,2] in blocks.0.ff.net
                 %h = add %b, %x : f32[1,2] in blocks.0
                 %y = add %h, %n : f32[1,2]
                 return %y
               }
               schedule full
             }",
        )
        .unwrap();
        let found = modules(&program.variants["full"]);
        let found: Vec<String> = found
            .iter()
            .map(|module| {
                format!(
                    "{}: {}",
                    module.path,
                    module.results.iter().map(|name| &**name).collect::<Vec<_>>().join(" ")
                )
            })
            .collect();
        assert_eq!(
            found,
            [
                ": y",
                "blocks: n h",
                "blocks.0: n h",
                "blocks.0.norm: n",
                "blocks.0.ff: b",
                "blocks.0.ff.net: b"
            ]
        );
        assert!(!ModulePath::from("blocks.10").is_within(&"blocks.1".into()));
    }
}
