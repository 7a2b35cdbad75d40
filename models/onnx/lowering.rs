//! The graph of an ONNX file as a graph of Reflux's ops, node by node.

use super::dims::Dims;
use super::element::Element;
use super::error::{OnnxError, Refusal, RefusedNode, refuse};
use super::file::Graph;
use super::names::{Names, module, sanitized};
use super::node::{Attribute, Node};
use super::ops::lowering_of;
use super::source::OnnxWeights;
use super::tensor::{Known, Tensor};
use reflux_ir::op::{Cast, Constant, OpKind, Reshape};
use reflux_ir::{DType, Fact, GraphBuilder, ModulePath, Name, Op, Program, Shape, ValueId};

use std::cell::Cell;
use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

/// A value of the graph.
#[derive(Clone, Debug)]
pub enum Value<'g> {
    /// Known while the graph is read.
    Known(Rc<Known>),
    /// A tensor of the file, with its name there.
    Tensor(&'g str, &'g Tensor),
    /// Computed when the program runs.
    Computed(ValueId, Element),
}

/// Numbers, floats among them, that are taken to be shapes and the like up to this many; larger tensors of floats are weights.
const MOST_KNOWN: usize = 1 << 14;

/// The most numbers of one value that are computed while a graph is read: of a mask over 2048 tokens.
const MOST_COMPUTED: usize = 1 << 22;

/// The most numbers that are computed for all values of a graph: they stay in memory until it is run.
const MOST_COMPUTED_IN_ALL: usize = 1 << 26;

/// A graph that is lowered.
pub struct Lowering<'g> {
    file: &'g Graph,
    graph: GraphBuilder,
    values: HashMap<&'g str, Value<'g>>,
    weights: OnnxWeights,
    names: Names,
    /// How many numbers have been computed.
    computed: Cell<usize>,
}

/// Lowers `file`, which was read from `path`, for inputs of these `dims`.
///
/// # Errors
/// With all nodes that cannot be lowered.
pub fn lower(path: &Path, file: &Graph, dims: &Dims) -> Result<(Program, OnnxWeights), OnnxError> {
    let invalid = |why: String| OnnxError::Invalid { path: path.to_owned(), why };
    let mut lowering = Lowering {
        file,
        graph: GraphBuilder::new(),
        values: file
            .initializers
            .iter()
            .map(|(name, tensor)| (&**name, Value::Tensor(name, tensor)))
            .collect(),
        weights: OnnxWeights::default(),
        names: Names::default(),
        computed: Cell::new(0),
    };
    for (input, shape) in file.inputs.iter().zip(dims.shapes(path, &file.inputs)?) {
        let fact = Fact::new(input.element.dtype(), shape).at(dims.rate(&input.name));
        let name = lowering.names.free(&sanitized(&input.name), None);
        let id = lowering.graph.input(name, fact).map_err(|error| invalid(error.to_string()))?;
        let value = Value::Computed(id, input.element);
        if lowering.values.insert(&input.name, value).is_some() {
            return Err(invalid(format!("it has two inputs called `{}`", input.name)));
        }
    }
    let refused = lowering.nodes().map_err(invalid)?;
    if !refused.is_empty() {
        return Err(OnnxError::Nodes { path: path.to_owned(), nodes: refused });
    }
    lowering.outputs().map_err(invalid)?;
    let name = sanitized(&file.name).replace('.', "_");
    Ok((Program::of_graph(name, "run", 1, lowering.graph.finish()), lowering.weights))
}

/// What messages call `node`: some have no name.
fn name_of(node: &Node) -> &str {
    match node.name.is_empty() {
        true => node.outputs.first().map_or("", String::as_str),
        false => &node.name,
    }
}

impl<'g> Lowering<'g> {
    /// Lowers all nodes, each after those that make its inputs; returns those that cannot be.
    fn nodes(&mut self) -> Result<Vec<RefusedNode>, String> {
        let mut refused = Vec::new();
        for node in &self.file.nodes {
            // Values that no node has made belong to a node that was refused, or come from later ones.
            let inputs = node.inputs.iter().map(|name| match name.is_empty() {
                true => Some(None),
                false => self.values.get(name.as_str()).cloned().map(Some),
            });
            let Some(inputs) = inputs.collect::<Option<Vec<_>>>() else {
                let lacking = node.inputs.iter().find(|name| !self.values.contains_key(name.as_str()));
                let lacking = lacking.expect("one was not found");
                if refused.is_empty() {
                    return Err(format!(
                        "the input `{lacking}` of its node `{}` is made by no node before it: nodes have to be sorted, and without a \
                         cycle",
                        name_of(node)
                    ));
                }
                continue;
            };
            let mut at = At { node, inputs, path: module(node), lowering: self };
            match at.lower() {
                Ok(outputs) => self.made(node, outputs)?,
                Err(Refusal(why)) => refused.push(RefusedNode {
                    op: node.op.clone(),
                    name: name_of(node).to_owned(),
                    module: module(node).to_string(),
                    why,
                }),
            }
        }
        Ok(refused)
    }

    /// The outputs of `node` are `values`.
    fn made(&mut self, node: &'g Node, values: Vec<Value<'g>>) -> Result<(), String> {
        for (name, value) in node.outputs.iter().zip(values) {
            if !name.is_empty() && self.values.insert(name, value).is_some() {
                return Err(format!("two values are called `{name}`"));
            }
        }
        Ok(())
    }

    /// Makes the results outputs of the program.
    fn outputs(&mut self) -> Result<(), String> {
        for name in &self.file.outputs {
            let Some(Value::Computed(id, _)) = self.values.get(name.as_str()) else {
                return Err(match self.values.contains_key(name.as_str()) {
                    true => format!("its result `{name}` is the same whatever the inputs are"),
                    false => format!("no node makes its result `{name}`"),
                });
            };
            // Twice the same is one result.
            let label = Name::from(sanitized(name));
            match self.graph.outputs().iter().find(|output| output.label == label) {
                None => self.graph.output(label, *id),
                Some(output) if output.value == *id => {}
                Some(_) => return Err(format!("two of its results are called `{label}`")),
            }
        }
        match self.file.outputs.is_empty() {
            true => Err("it has no results".into()),
            false => Ok(()),
        }
    }
}

/// A node that is being lowered, with its inputs.
pub struct At<'l, 'g> {
    pub node: &'g Node,
    inputs: Vec<Option<Value<'g>>>,
    path: ModulePath,
    lowering: &'l mut Lowering<'g>,
}

impl<'g> At<'_, 'g> {
    fn lower(&mut self) -> Result<Vec<Value<'g>>, Refusal> {
        let Some(lower) = lowering_of(&self.node.op) else {
            refuse!("Reflux does not know this op; it needs a function in models/onnx/ops")
        };
        let outputs = lower(self)?;
        // Some ops give more than what is mostly read of them.
        let unmade = self.node.outputs.get(outputs.len()..).unwrap_or_default();
        match unmade.iter().find(|name| !name.is_empty()) {
            Some(name) => refuse!("its result `{name}` is not computed"),
            None => Ok(outputs),
        }
    }

    /// The version of ONNX's operators.
    pub fn opset(&self) -> i64 {
        self.lowering.file.opset
    }

    /// How many inputs are given, those that are left out at the end aside.
    pub fn count(&self) -> usize {
        self.inputs.iter().rposition(Option::is_some).map_or(0, |last| last + 1)
    }

    /// Input `index`.
    pub fn input(&self, index: usize) -> Result<Value<'g>, Refusal> {
        match self.optional(index) {
            Some(value) => Ok(value),
            None => refuse!("it lacks its input {index}"),
        }
    }

    /// Input `index`, if it is given.
    pub fn optional(&self, index: usize) -> Option<Value<'g>> {
        self.inputs.get(index).cloned().flatten()
    }

    /// The numbers of input `index`, which have to be known.
    pub fn known(&self, index: usize) -> Result<Rc<Known>, Refusal> {
        match self.number(&self.input(index)?) {
            Some(known) => Ok(known),
            None => refuse!("its input {index} depends on what is computed, but has to be known before"),
        }
    }

    /// The integers of input `index`, which have to be known, if it is given.
    pub fn ints(&self, index: usize) -> Result<Option<Vec<i64>>, Refusal> {
        match self.optional(index) {
            Some(_) => Ok(Some(self.known(index)?.to_ints())),
            None => Ok(None),
        }
    }

    /// The numbers of all inputs, if all are known and few enough to compute with.
    pub fn all_known(&self) -> Option<Vec<Rc<Known>>> {
        let given = self.inputs.iter().map(|input| self.number(input.as_ref()?));
        given.collect()
    }

    /// The numbers of `value`, if they are known or few enough to be looked at.
    pub fn number(&self, value: &Value<'g>) -> Option<Rc<Known>> {
        match value {
            Value::Known(known) => Some(known.clone()),
            Value::Tensor(_, tensor) => {
                let is_known = !tensor.element.is_float() || tensor.elements() <= MOST_KNOWN;
                is_known.then(|| Rc::new(tensor.known()))
            }
            Value::Computed(..) => None,
        }
    }

    /// One result that is known.
    pub fn result(&self, known: Known) -> Result<Vec<Value<'g>>, Refusal> {
        Ok(vec![Value::Known(Rc::new(known))])
    }

    /// Refuses to compute `shape` while the graph is read, if it is too large.
    pub fn check_size(&self, shape: &[usize]) -> Result<(), Refusal> {
        let elements = shape.iter().try_fold(1usize, |elements, &extent| elements.checked_mul(extent));
        let Some(elements @ ..=MOST_COMPUTED) = elements else {
            refuse!("its result {shape:?}, which is computed when the graph is read, is too large")
        };
        let computed = &self.lowering.computed;
        computed.set(computed.get().saturating_add(elements));
        if computed.get() > MOST_COMPUTED_IN_ALL {
            refuse!(
                "with its result, {} numbers are computed when the graph is read, which is too many",
                computed.get()
            );
        }
        Ok(())
    }

    /// The shape of `value`.
    pub fn shape(&self, value: &Value<'g>) -> Vec<usize> {
        match value {
            Value::Known(known) => known.shape.clone(),
            Value::Tensor(_, tensor) => tensor.shape.clone(),
            Value::Computed(id, _) => self.fact(*id).shape.to_vec(),
        }
    }

    /// The element type of `value`.
    pub fn element(&self, value: &Value<'g>) -> Element {
        match value {
            Value::Known(known) => known.element,
            Value::Tensor(_, tensor) => tensor.element,
            Value::Computed(_, element) => *element,
        }
    }

    /// The fact of a value of the program.
    pub fn fact(&self, id: ValueId) -> &Fact {
        &self.lowering.graph[id].fact
    }

    /// Input `index` as a value of the program, of its shape.
    pub fn computed(&mut self, index: usize) -> Result<ValueId, Refusal> {
        let value = self.input(index)?;
        self.computed_of(&value)
    }

    /// `value` as a value of the program, of its shape.
    pub fn computed_of(&mut self, value: &Value<'g>) -> Result<ValueId, Refusal> {
        match value {
            Value::Computed(id, _) => Ok(*id),
            Value::Tensor(name, tensor) => self.weight(name, tensor, false),
            Value::Known(known) => self.known_weight(known),
        }
    }

    /// `value` as an operand of arithmetic, which broadcasts: one number alone is a constant.
    pub fn operand(&mut self, value: &Value<'g>) -> Result<ValueId, Refusal> {
        // Of all others the numbers need not be looked at.
        let is_one = self.shape(value).iter().all(|&extent| extent == 1);
        let number = is_one.then(|| self.number(value)?.scalar()).flatten();
        match number.filter(|number| number.is_finite()) {
            Some(number) => self.constant(number, self.element(value)),
            None => self.computed_of(value),
        }
    }

    /// `number` as a constant of this type.
    pub fn constant(&mut self, number: f64, element: Element) -> Result<ValueId, Refusal> {
        let dtype = element.dtype();
        let constant = match dtype.is_float() {
            true => Constant::of(number as f32, dtype),
            false => Constant { value: number.into(), dtype },
        };
        Ok(self.lowering.graph.constant(constant)?)
    }

    /// `number` as a constant of the type of `x`.
    pub fn constant_like(&mut self, number: f64, x: ValueId) -> Result<ValueId, Refusal> {
        self.constant(number, self.element_of(x))
    }

    /// An element type that programs have as the type of `x`.
    pub fn element_of(&self, x: ValueId) -> Element {
        match self.fact(x).dtype {
            DType::F16 => Element::F16,
            DType::BF16 => Element::BF16,
            DType::I32 => Element::I32,
            _ => Element::F32,
        }
    }

    /// A tensor of the file as a weight; a matrix `transposed`, as `linear` reads it.
    pub fn weight(&mut self, name: &'g str, tensor: &Tensor, transposed: bool) -> Result<ValueId, Refusal> {
        let (name, fact) = self.lowering.weights.tensor(name, tensor, transposed);
        Ok(self.lowering.graph.weight(name, fact)?)
    }

    /// Numbers as a weight that is called after the node.
    pub fn known_weight(&mut self, known: &Known) -> Result<ValueId, Refusal> {
        let stem = self.node.outputs.first().map_or("known", |name| name);
        let (name, fact) = self.lowering.weights.known(&format!("{}.known", sanitized(stem)), known);
        Ok(self.lowering.graph.weight(name, fact)?)
    }

    /// Adds an op in the node's module.
    pub fn add(&mut self, op: impl Into<Op>, operands: &[ValueId]) -> Result<ValueId, Refusal> {
        let op = op.into();
        let is_main = matches!(op.kind(), OpKind::Contraction | OpKind::RowReduction);
        let name = self.lowering.names.of(op.name(), is_main, &self.path);
        Ok(self.lowering.graph.add(op, operands, name, self.path.clone())?)
    }

    /// `x` under another shape; itself, if it has that.
    pub fn reshaped(&mut self, x: ValueId, shape: &[usize]) -> Result<ValueId, Refusal> {
        if *self.fact(x).shape == *shape {
            return Ok(x);
        }
        self.add(Reshape { shape: shape.into() }, &[x])
    }

    /// `x` as values of the program for `element` are; itself, if it is.
    pub fn cast(&mut self, x: ValueId, element: Element) -> Result<ValueId, Refusal> {
        let dtype = element.dtype();
        if self.fact(x).dtype == dtype { Ok(x) } else { self.add(Cast { dtype }, &[x]) }
    }

    /// One computed result.
    pub fn one(&self, id: ValueId, element: Element) -> Result<Vec<Value<'g>>, Refusal> {
        Ok(vec![Value::Computed(id, element)])
    }

    /// The integer attribute `name`.
    pub fn int(&self, name: &str, default: i64) -> i64 {
        match self.node.attributes.get(name) {
            Some(Attribute::Int(number)) => *number,
            _ => default,
        }
    }

    /// The attribute `name`, a list of integers.
    pub fn int_list(&self, name: &str) -> Option<&'g [i64]> {
        match self.node.attributes.get(name) {
            Some(Attribute::Ints(numbers)) => Some(numbers),
            _ => None,
        }
    }

    /// The number attribute `name`.
    pub fn float(&self, name: &str, default: f32) -> f32 {
        match self.node.attributes.get(name) {
            Some(Attribute::Float(number)) => *number,
            _ => default,
        }
    }

    /// The text attribute `name`.
    pub fn text(&self, name: &str, default: &'static str) -> &'g str {
        match self.node.attributes.get(name) {
            Some(Attribute::Text(text)) => text,
            _ => default,
        }
    }
}

/// Axis `axis` of `rank`, counted from the back if it is negative.
pub fn axis(axis: i64, rank: usize) -> Result<usize, Refusal> {
    let from_front = if axis < 0 { axis + rank as i64 } else { axis };
    match usize::try_from(from_front) {
        Ok(found) if found < rank => Ok(found),
        _ => refuse!("there is no axis {axis} among {rank}"),
    }
}

/// The shape that values of shapes `a` and `b` broadcast to.
pub fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, Refusal> {
    match Shape::from(a).broadcast(&Shape::from(b)) {
        Some(shape) => Ok(shape.to_vec()),
        None => refuse!("{a:?} and {b:?} do not broadcast"),
    }
}
