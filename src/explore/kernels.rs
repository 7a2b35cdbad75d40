//! The source texts of the kernels that compute values.

use super::state::State;
use reflux_ir::{Machine, Program};

/// Adds to the values of `state`, which is of `program`, the kernels that Reflux's CUDA engine has for them on `machine`; returns their
/// texts. None without a GPU, or where Reflux was built without the engine.
#[cfg(feature = "cuda")]
pub fn add(state: &mut State, program: &Program, machine: Option<&Machine>) -> Vec<String> {
    use indexmap::IndexSet;
    use reflux_runtime::backend::cuda::{Gpu, Launch, plan};
    use std::collections::HashMap;

    /// Those of an H100. Texts of kernels do not depend on it.
    const PROCESSORS: u32 = 132;
    let Some(capability) = machine.and_then(|machine| machine.compute_capability) else { return Vec::new() };
    let gpu = Gpu { capability, processors: PROCESSORS, rank: 0 };
    let mut texts: IndexSet<String> = IndexSet::new();
    for (stage, (_, graph)) in program.stages().enumerate() {
        let planned = plan(graph, gpu);
        let mut kernels: HashMap<String, usize> = HashMap::new();
        for launch in &planned.launches {
            if let Launch::Kernel { kernels: of_launch, .. } = launch
                && let Some(kernel) = of_launch.last()
            {
                let (text, _) = texts.insert_full(kernel.own_text());
                kernels.insert(launch.value().to_string(), text);
            }
        }
        for value in state.values.iter_mut().filter(|value| value.listed.stage == stage) {
            value.kernel = kernels.get(&*graph[value.listed.ids[0]].name).copied();
        }
    }
    texts.into_iter().collect()
}

#[cfg(not(feature = "cuda"))]
pub fn add(_: &mut State, _: &Program, _: Option<&Machine>) -> Vec<String> {
    Vec::new()
}
