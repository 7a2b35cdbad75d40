//! Programs whose variants do not give the same results, as programs that verify.

use reflux_ir::{Declaration, Fact, HostTensor, Name, Patch, PatchError, Program, Rate, ValueId};
use std::collections::{BTreeMap, HashMap, HashSet};

/// A program in which each variant gives what any of them gives: what it does not compute, it takes from inputs, one for each type.
pub struct Padded {
    pub program: Program,
    /// These inputs, which have to be given.
    pub fillers: Vec<(String, HostTensor)>,
    /// What each variant computes, by the names that results had.
    computed: HashMap<Name, HashSet<Name>>,
}

/// What stands before the names of results that every variant has now, so that they are all in one order.
const PREFIX: &str = "all.";

impl Padded {
    /// # Errors
    /// If a name is taken: a bug.
    pub fn of(mut program: Program) -> Result<Self, PatchError> {
        let mut all: BTreeMap<Name, Fact> = BTreeMap::new();
        let mut computed: HashMap<Name, HashSet<Name>> = HashMap::new();
        for (variant, graph) in program.giving_results() {
            let own = computed.entry(variant.clone()).or_default();
            for output in graph.outputs().iter().filter(|output| !program.is_carried(&output.label)) {
                let fact = &graph[output.value].fact;
                // What has the name of another variant's result, but another type, cannot be compared.
                if all.entry(output.label.clone()).or_insert_with(|| fact.clone()).same_type(fact) {
                    own.insert(output.label.clone());
                }
            }
        }
        let mut fillers: BTreeMap<Name, Fact> = BTreeMap::new();
        for (variant, graph) in &mut program.variants {
            let Some(own) = computed.get(variant) else { continue };
            let values: HashMap<Name, ValueId> =
                graph.outputs().iter().map(|output| (output.label.clone(), output.value)).collect();
            let mut patch = Patch::new(graph, "pad");
            for (label, fact) in &all {
                let value = match values.get(label).filter(|_| own.contains(label)) {
                    Some(value) => *value,
                    None => {
                        let (name, fact) = (filler(fact), fact.clone().at(Rate::Latent));
                        fillers.insert(name.clone(), fact.clone());
                        patch.input(&name, fact)?
                    }
                };
                patch.output(format!("{PREFIX}{label}"), value);
            }
            patch.retain_outputs(|label| !all.contains_key(label));
            patch.apply()?;
        }
        let declared =
            fillers.iter().map(|(name, fact)| Declaration { name: name.clone(), fact: fact.clone() });
        program.inputs.extend(declared);
        let fillers = fillers.iter().map(|(name, fact)| (name.to_string(), zeros(fact))).collect();
        Ok(Self { program, fillers, computed })
    }

    /// Of `results`, which `variant` has given, those that it computes, under the names that they had.
    pub fn computed(&self, variant: &Name, results: HashMap<Name, HostTensor>) -> HashMap<Name, HostTensor> {
        let Some(own) = self.computed.get(variant) else { return HashMap::new() };
        let named = results
            .into_iter()
            .filter_map(|(label, value)| Some((Name::from(label.strip_prefix(PREFIX)?), value)));
        named.filter(|(label, _)| own.contains(label)).collect()
    }

    /// What the result `name` is called now.
    pub fn result(name: &str) -> Name {
        Name::from(format!("{PREFIX}{name}"))
    }
}

/// The input that stands for values of this type: `filler.f32_1_16_256`.
fn filler(fact: &Fact) -> Name {
    let extents: Vec<String> = fact.shape.iter().map(ToString::to_string).collect();
    Name::from(format!("filler.{}_{}", fact.dtype, extents.join("_")))
}

/// Zeros of this type.
pub fn zeros(fact: &Fact) -> HostTensor {
    let bytes = vec![0; fact.dtype.host_bytes(fact.shape.elements())];
    HostTensor::new(fact.dtype, fact.shape.to_vec(), bytes)
}
