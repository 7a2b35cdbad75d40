//! A model's graph: the graphs of a program one after the other, value by value.

use super::body::{Body, Form, Operand, OperandKind, Value, element_of};
use super::error::{ExportError, Refusal, RefusedValue};
use super::functions::Functions;
use super::leaves::{LeafId, Leaves};
use super::message::{Bytes, ElementType, Function, GraphParts, Node, Tensor, Typed};
use super::names::Names;
use super::stages::{Chosen, operands};
use super::write::{labels, write};
use reflux_ir::op::{Constant, Op};
use reflux_ir::{Fact, Graph, ModulePath, Name, Program, ValueId};
use std::collections::HashMap;

/// What a value of a program is in the model.
#[derive(Clone, Debug)]
enum Made {
    /// Its tensors: the numbers, or codes and scales.
    Tensors(Vec<String>),
    Leaf(LeafId),
    Number(Constant),
}

/// A graph that is being put together.
pub struct Assembly<'p> {
    program: &'p Program,
    /// Whether what is several of ONNX's ops becomes a function, rather than these ops in the graph.
    has_functions: bool,
    names: Names,
    node_names: Names,
    functions: Functions,
    leaves: Leaves,
    /// Tensors of the nodes: shapes, numbers. A list for each of their names, since those of one name can differ in type.
    constants: HashMap<String, Vec<(String, Tensor)>>,
    /// What earlier graphs hand on, by its label, and inputs of the program.
    shared: HashMap<Name, Made>,
    parts: GraphParts,
}

/// A model without its weights, and these.
pub struct Assembled {
    pub parts: GraphParts,
    pub leaves: Leaves,
}

/// Puts the graphs `chosen` of `program` together.
///
/// # Errors
/// With the first value that ONNX has no ops for.
pub fn assemble(program: &Program, chosen: &[Chosen], has_functions: bool) -> Result<Assembled, ExportError> {
    let mut assembly = Assembly {
        program,
        has_functions,
        names: Names::default(),
        node_names: Names::default(),
        functions: Functions::default(),
        leaves: Leaves::default(),
        constants: HashMap::new(),
        shared: HashMap::new(),
        parts: GraphParts { name: program.name.to_string(), ..GraphParts::default() },
    };
    assembly.inputs(chosen)?;
    let results = assembly.result_names(chosen);
    for (index, stage) in chosen.iter().enumerate() {
        let is_last = index + 1 == chosen.len();
        assembly.stage(stage, if is_last { &results } else { &[] })?;
    }
    assembly.parts.functions = assembly.functions.into_all();
    Ok(Assembled { parts: assembly.parts, leaves: assembly.leaves })
}

/// What an operand's tensors are called after.
const SCALE: &str = ".scale";

impl Assembly<'_> {
    /// The inputs that `chosen` read and do not hand on to one another: first those that the program declares, in its order.
    fn inputs(&mut self, chosen: &[Chosen]) -> Result<(), ExportError> {
        let made: Vec<&Name> = match chosen.split_last() {
            Some((_, before)) => {
                before.iter().flat_map(|stage| stage.outputs.iter().map(|output| &output.label)).collect()
            }
            None => Vec::new(),
        };
        let mut read: Vec<(Name, Fact)> = Vec::new();
        for stage in chosen {
            for &id in stage.values.iter().filter(|&&id| matches!(stage.graph[id].op, Op::Input(_))) {
                let node = &stage.graph[id];
                if !made.contains(&&node.name) && !read.iter().any(|(name, _)| *name == node.name) {
                    read.push((node.name.clone(), node.fact.clone()));
                }
            }
        }
        let declared = self.program.inputs.iter().chain(&self.program.carries);
        let place: HashMap<&Name, usize> =
            declared.enumerate().map(|(index, declared)| (&declared.name, index)).collect();
        read.sort_by_key(|(name, _)| place.get(name).copied().unwrap_or(usize::MAX));
        for (name, fact) in read {
            let refused = |Refusal(why)| refused(&name, "input", &ModulePath::root(), why);
            let pieces = pieces(&fact).map_err(refused)?;
            let own = |piece: &Piece| self.names.free(&format!("{name}{}", piece.suffix));
            let tensors: Vec<String> = pieces.iter().map(own).collect();
            self.parts.inputs.extend(pieces.into_iter().zip(&tensors).map(|(piece, name)| piece.named(name)));
            self.shared.insert(name, Made::Tensors(tensors));
        }
        Ok(())
    }

    /// The names of the results of the last graph. What is carried to the next step is an input too, of the same name; as a result it
    /// is called `NAME.next`.
    fn result_names(&mut self, chosen: &[Chosen]) -> Vec<(ValueId, Name, String)> {
        let Some(last) = chosen.last() else { return Vec::new() };
        let named = |output: &&reflux_ir::Output| {
            let is_given = self.shared.contains_key(&output.label);
            let name = match is_given || self.program.is_carried(&output.label) {
                true => format!("{}.next", output.label),
                false => output.label.to_string(),
            };
            (output.value, output.label.clone(), self.names.free(&name))
        };
        last.outputs.iter().map(named).collect()
    }

    /// Adds the values of a graph. Those of `results` are results of the model, under these names.
    fn stage(&mut self, stage: &Chosen, results: &[(ValueId, Name, String)]) -> Result<(), ExportError> {
        let graph = stage.graph;
        let mut made: HashMap<ValueId, Made> = HashMap::with_capacity(stage.values.len());
        // Results that a node makes under their own name.
        let mut named: Vec<usize> = Vec::new();
        for &id in &stage.values {
            let node = &graph[id];
            let value = match &node.op {
                Op::Input(_) => match self.shared.get(&node.name) {
                    Some(shared) => shared.clone(),
                    None => {
                        let why = "it is neither an input of the program nor handed on".to_owned();
                        return Err(refused(&node.name, "input", &node.path, why));
                    }
                },
                Op::Weight(weight) => Made::Leaf(self.leaves.weight(&weight.tensor, &node.fact)),
                Op::Constant(constant) => Made::Number(constant.clone()),
                op => {
                    let read = operands(graph, id);
                    let leaf = |id: &ValueId| match made.get(id) {
                        Some(Made::Leaf(leaf)) => Some(*leaf),
                        _ => None,
                    };
                    let leaves: Vec<Option<LeafId>> = read.iter().map(leaf).collect();
                    match self.leaves.of_value(graph, id, &leaves) {
                        Some(leaf) => Made::Leaf(leaf),
                        None => {
                            let index = results.iter().position(|(value, ..)| *value == id);
                            named.extend(index);
                            let name = match index {
                                Some(index) => results[index].2.clone(),
                                None => self.names.free(&node.name),
                            };
                            let add = self.op(op, &read, graph, &made, &node.fact, (&name, &node.path));
                            let refused = |Refusal(why)| refused(&node.name, op.name(), &node.path, why);
                            Made::Tensors(add.map_err(refused)?)
                        }
                    }
                }
            };
            made.insert(id, value);
        }
        for (index, (id, label, name)) in results.iter().enumerate() {
            let fact = &graph[*id].fact;
            let refused = |Refusal(why)| refused(label, graph[*id].op.name(), &graph[*id].path, why);
            let tensors = match (&made[id], named.contains(&index)) {
                (Made::Tensors(tensors), true) => tensors.clone(),
                // Another name for an input, a weight, or another result.
                _ => self.copy(*id, graph, &made, name).map_err(refused)?,
            };
            let pieces = pieces(fact).map_err(refused)?.into_iter();
            self.parts.outputs.extend(pieces.zip(tensors).map(|(piece, name)| piece.named(&name)));
        }
        let results: Vec<&str> = self.parts.outputs.iter().map(|output| output.name.as_str()).collect();
        self.parts.values.retain(|value| !results.contains(&value.name.as_str()));
        if results.is_empty() {
            for output in &stage.outputs {
                self.shared.insert(output.label.clone(), made[&output.value].clone());
            }
        }
        Ok(())
    }

    /// A copy of a value under another name.
    fn copy(
        &mut self,
        id: ValueId,
        graph: &Graph,
        made: &HashMap<ValueId, Made>,
        name: &str,
    ) -> Result<Vec<String>, Refusal> {
        let fact = &graph[id].fact;
        let mut body = Body::new(vec![operand(graph, made, id)], &["x"]);
        let value = body.arguments().remove(0);
        let results = body.results(&value)?;
        self.place(body, results, &[id], made, Placed { name, fact, path: &ModulePath::root(), op: None })
    }

    /// Adds `op` over the values `read`; returns what its tensors are called.
    fn op(
        &mut self,
        op: &Op,
        read: &[ValueId],
        graph: &Graph,
        made: &HashMap<ValueId, Made>,
        fact: &Fact,
        (name, path): (&str, &ModulePath),
    ) -> Result<Vec<String>, Refusal> {
        let given = read.iter().map(|&id| operand(graph, made, id)).collect();
        let mut body = Body::new(given, labels(op));
        let arguments: Vec<Value> = body.arguments();
        let value = write(&mut body, op, &arguments, fact)?;
        let results = body.results(&value)?;
        self.place(body, results, read, made, Placed { name, fact, path, op: Some(op) })
    }

    /// Adds a body as one node, if that is what it is or if functions are allowed, else as its nodes.
    fn place(
        &mut self,
        body: Body,
        results: Vec<String>,
        read: &[ValueId],
        made: &HashMap<ValueId, Made>,
        placed: Placed,
    ) -> Result<Vec<String>, Refusal> {
        let Placed { name, fact, path, op } = placed;
        let mut given = Vec::with_capacity(body.params.len());
        for &(index, form) in body.params.keys() {
            given.push(self.tensor(&made[&read[index]], form));
        }
        let pieces = pieces(fact)?;
        let own = |piece: &Piece| match piece.suffix {
            "" => name.to_owned(),
            suffix => self.names.free(&format!("{name}{suffix}")),
        };
        let outputs: Vec<String> = pieces.iter().map(own).collect();
        self.parts.values.extend(pieces.into_iter().zip(&outputs).map(|(piece, name)| piece.named(name)));
        let node_name = self.node_names.free(name);
        if let Some(op) = op.filter(|_| self.has_functions && body.nodes.len() > 1) {
            let params = body.params.into_values().collect();
            let (constants, nodes) = (body.constants, body.nodes);
            let function = self.functions.named(op.name(), op.to_string(), params, results, constants, nodes);
            self.parts.nodes.push(Node {
                op: function.into(),
                is_call: true,
                inputs: given,
                outputs: outputs.clone(),
                attributes: Vec::new(),
                place: Some((node_name, path.clone())),
            });
            return Ok(outputs);
        }
        // What the names of the body are in the graph.
        let mut names: HashMap<String, String> = body.params.into_values().zip(given).collect();
        names.extend(results.into_iter().zip(outputs.iter().cloned()));
        for (local, tensor) in body.constants {
            let constant = self.constant(&local, tensor);
            names.insert(local, constant);
        }
        let is_alone = body.nodes.len() == 1;
        for mut node in body.nodes {
            for output in &mut node.outputs {
                if !names.contains_key(output) {
                    names.insert(output.clone(), self.names.free(&format!("{name}/{output}")));
                }
                output.clone_from(&names[output]);
            }
            for input in node.inputs.iter_mut().filter(|input| !input.is_empty()) {
                if let Some(outer) = names.get(input) {
                    input.clone_from(outer);
                }
            }
            let own = match is_alone {
                true => node_name.clone(),
                false => self.node_names.free(&node.outputs[0]),
            };
            node.place = Some((own, path.clone()));
            self.parts.nodes.push(node);
        }
        Ok(outputs)
    }

    /// What the tensor is called that is this form of a value.
    fn tensor(&mut self, made: &Made, form: Form) -> String {
        match made {
            Made::Leaf(leaf) => self.leaves.read(*leaf, form, &mut self.names),
            Made::Tensors(tensors) => {
                let index = usize::from(form == Form::Scales);
                tensors.get(index).or(tensors.first()).cloned().unwrap_or_default()
            }
            Made::Number(_) => unreachable!("a body has numbers as constants of its own"),
        }
    }

    /// The initializer that is `tensor`.
    fn constant(&mut self, name: &str, tensor: Tensor) -> String {
        let known = self.constants.entry(name.to_owned()).or_default();
        if let Some((own, _)) = known.iter().find(|(_, known)| *known == tensor) {
            return own.clone();
        }
        let own = self.names.free(name);
        let typed = Typed { name: own.clone(), element: tensor.element, shape: tensor.shape.clone() };
        self.parts.initializers.push((typed, Bytes::Here(tensor.bytes.clone())));
        known.push((own.clone(), tensor));
        own
    }
}

/// What a body is in the graph.
struct Placed<'a> {
    name: &'a str,
    fact: &'a Fact,
    path: &'a ModulePath,
    /// The op that it computes; none of a copy.
    op: Option<&'a Op>,
}

/// A value as a body reads it.
fn operand(graph: &Graph, made: &HashMap<ValueId, Made>, id: ValueId) -> Operand {
    let kind = match &made[&id] {
        Made::Number(constant) => OperandKind::Number(constant.clone()),
        Made::Leaf(_) => OperandKind::Weight,
        Made::Tensors(_) => OperandKind::Value,
    };
    Operand { fact: graph[id].fact.clone(), kind }
}

/// A tensor of a value: what is added to its name, and its type.
struct Piece {
    suffix: &'static str,
    element: ElementType,
    shape: Vec<usize>,
}

impl Piece {
    /// It, called `name`.
    fn named(self, name: &str) -> Typed {
        Typed { name: name.to_owned(), element: self.element, shape: self.shape }
    }
}

/// The tensors of a value of type `fact`.
fn pieces(fact: &Fact) -> Result<Vec<Piece>, Refusal> {
    element_of(fact)?;
    let forms: &[(&str, Form)] = match fact.is_quantized() {
        true => &[("", Form::Codes), (SCALE, Form::Scales)],
        false => &[("", Form::Plain)],
    };
    let piece = |&(suffix, form): &(&'static str, Form)| {
        let (element, shape) = form.of(fact)?;
        Some(Piece { suffix, element, shape })
    };
    Ok(forms.iter().filter_map(piece).collect())
}

fn refused(value: &Name, op: &str, module: &ModulePath, why: String) -> ExportError {
    let (value, op, module) = (value.to_string(), op.to_owned(), module.to_string());
    ExportError::Op(Box::new(RefusedValue { value, op, module, why }))
}

/// How many functions a model has, and how many nodes are calls of them.
pub fn calls(parts: &GraphParts) -> (usize, usize) {
    let functions: &[Function] = &parts.functions;
    (functions.len(), parts.nodes.iter().filter(|node| node.is_call).count())
}
