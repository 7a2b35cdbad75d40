//! Modules by themselves: what the modules of one program make of the values of another.

use super::modules::Module;
use super::padded::{Padded, zeros};
use super::recompute::is_plain;
use super::side::Side;
use reflux_ir::op::Op;
use reflux_ir::{Declaration, Fact, Graph, ModulePath, Name, Patch, PatchError, Program, Rate, ValueId};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A program that computes every module by itself.
pub struct Isolated {
    pub padded: Padded,
    /// The inputs that are values of the other program, and what they are called there.
    pub given: BTreeMap<Name, Name>,
    /// By module, those of these inputs that it reads.
    pub reads: Vec<BTreeSet<Name>>,
}

/// What result `result` of the module with this number is called.
pub fn label(module: usize, result: &Name) -> Name {
    Name::from(format!("made.{module}.{result}"))
}

/// The number of the module whose result is called so.
pub fn module_of(label: &Name) -> Option<usize> {
    label.strip_prefix("made.")?.split('.').next()?.parse().ok()
}

/// Every one of `modules` as `side` computes it, before its ops were fused, of values of `other`. What `other` has no value for is
/// computed as `side` does, and what needs a value that is carried from step to step is left out.
///
/// # Errors
/// If ops do not fit together: a bug.
pub fn isolated(side: &Side, other: &Side, modules: &[Module]) -> Result<Isolated, PatchError> {
    let defined = side.defined();
    let mut program = defined.clone();
    let mut given: BTreeMap<Name, (Name, Fact)> = BTreeMap::new();
    let mut reads = vec![BTreeSet::new(); modules.len()];
    for (variant, own) in &defined.variants {
        let mut graph = Graph::default();
        let mut patch = Patch::new(&mut graph, "isolate");
        for (number, module) in modules.iter().enumerate() {
            let mut left: Vec<&Name> = module.results.iter().collect();
            // What is the same in all steps is computed before them.
            for definitions in std::iter::once(own).chain(defined.prepares.values()) {
                let (module, known) = (&module.path, HashMap::new());
                let mut isolation = Isolation {
                    defined,
                    definitions,
                    other,
                    module,
                    given: &mut given,
                    reads: &mut reads[number],
                    known,
                };
                let is_here = |name: &Name| definitions.find(name).is_some_and(|id| definitions.is_op(id));
                let (here, elsewhere) = left.into_iter().partition(|name| is_here(name));
                left = elsewhere;
                isolation.add(&mut patch, number, here)?;
            }
        }
        patch.apply()?;
        program.variants.insert(variant.clone(), graph);
    }
    program.carries.clear();
    let declared =
        given.iter().map(|(name, (_, fact))| Declaration { name: name.clone(), fact: fact.clone() });
    program.inputs.extend(declared);
    let mut padded = Padded::of(program)?;
    // Until there is a value.
    padded.fillers.extend(given.iter().map(|(name, (_, fact))| (name.to_string(), zeros(fact))));
    Ok(Isolated { padded, reads, given: given.into_iter().map(|(name, (value, _))| (name, value)).collect() })
}

/// One module on its way into a graph of its own.
struct Isolation<'a> {
    defined: &'a Program,
    definitions: &'a Graph,
    other: &'a Side<'a>,
    module: &'a ModulePath,
    given: &'a mut BTreeMap<Name, (Name, Fact)>,
    reads: &'a mut BTreeSet<Name>,
    known: HashMap<ValueId, Option<ValueId>>,
}

impl Isolation<'_> {
    /// Adds those of `results` that are numbers, of the module with this number, to what the graph gives.
    fn add(&mut self, patch: &mut Patch, number: usize, results: Vec<&Name>) -> Result<(), PatchError> {
        for result in results {
            let id = self.definitions.find(result).expect("it is here");
            if is_plain(&self.definitions[id].fact)
                && let Some(value) = self.compute(patch, id)?
            {
                patch.output(label(number, result), value);
            }
        }
        Ok(())
    }

    /// The value `id`, computed as it is defined.
    fn compute(&mut self, patch: &mut Patch, id: ValueId) -> Result<Option<ValueId>, PatchError> {
        let node = &self.definitions[id];
        let operands = self.definitions.operands(id);
        let mut made = Vec::with_capacity(operands.len());
        for &operand in &operands {
            made.extend(self.operand(patch, operand)?);
        }
        match made.len() == operands.len() {
            true => patch.add(node.op.clone(), &made, &node.name, node.path.clone()).map(Some),
            false => Ok(None),
        }
    }

    /// The value `id` as an operand: that of the other program if it comes from outside of the module.
    fn operand(&mut self, patch: &mut Patch, id: ValueId) -> Result<Option<ValueId>, PatchError> {
        if let Some(known) = self.known.get(&id) {
            return Ok(*known);
        }
        let node = &self.definitions[id];
        let is_own = self.definitions.is_op(id) && node.path.is_within(self.module);
        let value = match &node.op {
            Op::Weight(weight) => Some(patch.weight(&weight.tensor, node.fact.clone())?),
            Op::Constant(constant) => {
                Some(patch.add(constant.clone(), &[], &node.name, node.path.clone())?)
            }
            _ if is_own => self.compute(patch, id)?,
            Op::Input(_) if self.defined.is_carried(&node.name) => None,
            _ if self.is_given(id) => {
                let name = Name::from(format!("given.{}", node.name));
                let fact = node.fact.clone().at(Rate::Latent);
                self.reads.insert(name.clone());
                self.given.insert(name.clone(), (node.name.clone(), fact.clone()));
                Some(patch.input(&name, fact)?)
            }
            Op::Input(_) => Some(patch.input(&node.name, node.fact.clone())?),
            _ => self.compute(patch, id)?,
        };
        self.known.insert(id, value);
        Ok(value)
    }

    /// Whether the other program has a value of this name and shape.
    fn is_given(&self, id: ValueId) -> bool {
        let node = &self.definitions[id];
        is_plain(&node.fact)
            && self.other.find(&node.name).is_some_and(|(graph, there)| {
                let fact = &graph[there].fact;
                is_plain(fact) && fact.shape == node.fact.shape
            })
    }
}
