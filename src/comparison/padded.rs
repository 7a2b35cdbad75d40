//! Programs whose variants do not give the same results, as programs that verify.

use reflux_ir::{Declaration, Fact, HostTensor, Name, Patch, PatchError, Program, Rate};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// A program in which each variant gives what any of them gives: what it does not compute, it takes from inputs, one for each type.
pub struct Padded {
    pub program: Program,
    /// These inputs, which have to be given.
    pub fillers: Vec<(String, HostTensor)>,
    /// What each variant computes.
    computed: HashMap<Name, HashSet<Name>>,
}

impl Padded {
    /// # Errors
    /// If a name is taken: a bug.
    pub fn of(mut program: Program) -> Result<Self, PatchError> {
        let mut all: BTreeMap<Name, Fact> = BTreeMap::new();
        let mut computed: HashMap<Name, HashSet<Name>> = HashMap::new();
        for (variant, graph) in program.giving_results() {
            for output in graph.outputs().iter().filter(|output| !program.is_carried(&output.label)) {
                let fact = &graph[output.value].fact;
                let known = all.entry(output.label.clone()).or_insert_with(|| fact.clone());
                if known.same_type(fact) {
                    computed.entry(variant.clone()).or_default().insert(output.label.clone());
                }
            }
        }
        let mut fillers: BTreeSet<String> = BTreeSet::new();
        let mut declared: Vec<Declaration> = Vec::new();
        for (variant, graph) in &mut program.variants {
            let Some(own) = computed.get(variant) else { continue };
            let mut patch = Patch::new(graph, "pad");
            for (label, fact) in all.iter().filter(|(label, _)| !own.contains(*label)) {
                let name = Name::from(format!("filler.{}", name_of(fact)));
                let fact = fact.clone().at(Rate::Latent);
                patch.drop_output(label.clone());
                let filler = patch.input(&name, fact.clone())?;
                patch.output(label.clone(), filler);
                if fillers.insert(name.to_string()) {
                    declared.push(Declaration { name, fact });
                }
            }
            patch.apply()?;
        }
        let zeros = |Declaration { name, fact }: &Declaration| {
            let bytes = vec![0; fact.dtype.host_bytes(fact.shape.elements())];
            (name.to_string(), HostTensor::new(fact.dtype, fact.shape.to_vec(), bytes))
        };
        let fillers = declared.iter().map(zeros).collect();
        program.inputs.extend(declared);
        Ok(Self { program, fillers, computed })
    }

    /// Of `results`, which `variant` has given, those that it computes.
    pub fn computed(&self, variant: &Name, results: &mut HashMap<Name, HostTensor>) {
        let own = self.computed.get(variant);
        results.retain(|label, _| own.is_some_and(|own| own.contains(label)));
    }
}

/// A type as a part of a name: `f32_1_16_256`.
fn name_of(fact: &Fact) -> String {
    let extents: Vec<String> = fact.shape.iter().map(ToString::to_string).collect();
    format!("{}_{}", fact.dtype, extents.join("_"))
}
