//! Narrowing of carried values to the part that is read.

use reflux_ir::op::Slice;
use reflux_ir::pass::{Answer, Mismatch, PassContext, PassError, RuleInfo};
use reflux_ir::{Declaration, Graph, Name, Op, Patch, Program, Rate};

pub const RULE: RuleInfo = RuleInfo {
    name: "narrow-carry",
    pattern: "carry x, if every reader takes the same slice → carry slice(x)",
};

/// If every reader of a carried value takes the same slice of it, only that slice is carried.
pub fn narrow_carries(program: &mut Program, cx: &mut PassContext) -> Result<(), PassError> {
    for index in 0..program.carries.len() {
        let wide = program.carries[index].name.clone();
        let Ok((slice, name)) = only_slice(program, &wide) else {
            cx.reject(RULE.name);
            continue;
        };
        if !cx.admit(RULE.name, || format!("%{wide}")) {
            continue;
        }
        // The step that computes the value may have a slice of the same name: that is the one to carry.
        let is_taken = program.is_shared(&name)
            || program.variants.values().any(|graph| {
                // A reader's slices give up their names; its other values do not.
                graph
                    .find_input(&wide)
                    .zip(graph.find(&name))
                    .is_some_and(|(carry, id)| !graph.users(carry).any(|user| user == id))
            });
        let name = if is_taken { program.free_name(&name) } else { name };
        let mut fact = None;
        for graph in program.variants.values_mut() {
            fact = fact.or(write_slice(graph, &wide, &slice, &name)?);
        }
        let fact = fact.expect("what is read is written").at(Rate::Latent);
        for graph in program.variants.values_mut() {
            read_slice(graph, &wide, &name, &fact)?;
        }
        program.carries[index] = Declaration { name, fact };
    }
    Ok(())
}

/// Whether less than all of the carried value could be carried, and which part, or why not.
pub fn why(program: &Program, carry: &Name) -> Answer {
    let (Slice { axis, start, end }, _) = only_slice(program, carry)?;
    Ok(Some(format!("every reader takes {start}..{end} of axis {axis} alone")))
}

/// The slice that all readers of the carried value take, and what the first of them is called.
fn only_slice(program: &Program, carry: &Name) -> Result<(Slice, Name), Mismatch> {
    // Variants that no step runs may read what none writes.
    let is_written = |graph: &Graph| graph.outputs().iter().any(|output| output.label == *carry);
    if !program.variants.values().any(is_written) {
        return Err(Mismatch::new("no variant writes it"));
    }
    let mut slices = Vec::new();
    for graph in program.variants.values() {
        let Some(id) = graph.find_input(carry) else { continue };
        // Passing it on unchanged reads all of it.
        if let Some(output) = graph.outputs().iter().find(|output| output.value == id) {
            return Err(Mismatch::new(format!("all of it is passed on, as `{}`", output.label)));
        }
        for user in graph.users(id) {
            // A slice of all of it narrows nothing.
            let takes_all = graph[user].fact.shape == graph[id].fact.shape;
            let (Op::Slice(slice), false) = (&graph[user].op, takes_all) else {
                return Err(Mismatch::new(format!("{} reads all of it", graph.operand(user))));
            };
            slices.push((slice.clone(), graph[user].name.clone()));
        }
    }
    let first = slices.first().ok_or_else(|| Mismatch::new("nothing reads it"))?.clone();
    match slices.iter().find(|(slice, _)| *slice != first.0) {
        None => Ok(first),
        Some((_, other)) => {
            Err(Mismatch::new(format!("%{} and %{other} are different parts of it", first.1)))
        }
    }
}

/// Makes the variant carry the slice `name` instead of the value `wide`, if it does.
fn write_slice(
    graph: &mut Graph,
    wide: &Name,
    slice: &Slice,
    name: &Name,
) -> Result<Option<reflux_ir::Fact>, PassError> {
    let Some(output) = graph.outputs().iter().find(|output| output.label == *wide) else { return Ok(None) };
    let value = output.value;
    let path = graph[value].path.clone();
    let mut patch = Patch::new(graph, RULE.name);
    patch.on_behalf_of([wide.clone()]);
    let part = patch.find_or_add(slice.clone(), &[value], name, path)?;
    patch.output(name.clone(), part);
    patch.drop_output(wide.clone());
    patch.apply()?;
    Ok(Some(graph[part].fact.clone()))
}

/// Makes the variant read the slice `name` where it took it of `wide`.
fn read_slice(graph: &mut Graph, wide: &Name, name: &Name, fact: &reflux_ir::Fact) -> Result<(), PassError> {
    let Some(id) = graph.find_input(wide) else { return Ok(()) };
    let slices: Vec<_> = graph.users(id).collect();
    let mut patch = Patch::new(graph, RULE.name);
    let input = patch.input(name, fact.clone())?;
    slices.into_iter().for_each(|slice| patch.shunt(slice, input));
    patch.remove_unread_inputs();
    Ok(patch.apply()?)
}
