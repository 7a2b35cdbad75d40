//! Building graphs the way networks are written: module by module.

use crate::op::{self, Binary, Constant, Real, Unary};
use crate::{
    DType, Fact, Graph, GraphBuilder, GraphError, ModulePath, Name, Op, Patch, PatchError, Rate, Shape,
    ValueId,
};

/// The target of a [`Scope`]: a graph under construction, or a patch.
pub trait Builder {
    type Error;

    /// The graph with everything added so far.
    fn built(&self) -> &Graph;

    /// Adds `op` over `operands`.
    fn put(
        &mut self,
        op: Op,
        operands: &[ValueId],
        name: Name,
        path: ModulePath,
    ) -> Result<ValueId, Self::Error>;

    /// The weight `tensor`, added on first use.
    fn put_weight(&mut self, tensor: &str, fact: Fact) -> Result<ValueId, Self::Error>;
}

impl Builder for GraphBuilder {
    type Error = GraphError;

    fn built(&self) -> &Graph {
        self
    }

    fn put(
        &mut self,
        op: Op,
        operands: &[ValueId],
        name: Name,
        path: ModulePath,
    ) -> Result<ValueId, GraphError> {
        self.add(op, operands, name, path)
    }

    fn put_weight(&mut self, tensor: &str, fact: Fact) -> Result<ValueId, GraphError> {
        self.weight(tensor, fact)
    }
}

impl Builder for Patch<'_> {
    type Error = PatchError;

    fn built(&self) -> &Graph {
        self.graph()
    }

    fn put(
        &mut self,
        op: Op,
        operands: &[ValueId],
        name: Name,
        path: ModulePath,
    ) -> Result<ValueId, PatchError> {
        self.add(op, operands, &name, path)
    }

    fn put_weight(&mut self, tensor: &str, fact: Fact) -> Result<ValueId, PatchError> {
        self.weight(tensor, fact)
    }
}

/// A module under construction: adds ops to a graph, or to a patch of one, under the module's path.
///
/// Inside block *i* of a repeated stack (see [`Scope::block`]) every value is called `name.i`, so that the blocks
/// print as one.
pub struct Scope<'g, B = GraphBuilder> {
    target: &'g mut B,
    path: ModulePath,
    block: Option<usize>,
    dtype: DType,
}

impl<'g> Scope<'g> {
    /// The root module of a network whose weights are of type `dtype`.
    pub fn new(graph: &'g mut GraphBuilder, dtype: DType) -> Self {
        Self { target: graph, path: ModulePath::root(), block: None, dtype }
    }

    /// Adds an input of the graph.
    pub fn input(
        &mut self,
        name: &str,
        dtype: DType,
        shape: impl Into<Shape>,
        rate: Rate,
    ) -> Result<ValueId, GraphError> {
        self.target.input(name, Fact::new(dtype, shape).at(rate))
    }

    /// Makes `value` an output of the graph.
    pub fn output(&mut self, label: &str, value: ValueId) {
        self.target.output(label, value);
    }
}

impl<'p> Patch<'p> {
    /// The module that contains `value`, to build its replacement: values are named as in its block, weights have its dtype.
    pub fn scope(&mut self, value: ValueId) -> Scope<'_, Self> {
        let node = &self.graph()[value];
        let (path, dtype) = (node.path.clone(), node.fact.dtype);
        let block = node.name.split_index().map(|(_, index)| index);
        Scope { target: self, path, block, dtype }
    }
}

impl<B: Builder> Scope<'_, B> {
    /// The submodule `path`.
    pub fn module(&mut self, path: &str) -> Scope<'_, B> {
        Scope { path: self.path.join(path), block: self.block, dtype: self.dtype, target: self.target }
    }

    /// Block `index` of the stack `stack`: the submodule `stack.index`.
    pub fn block(&mut self, stack: &str, index: usize) -> Scope<'_, B> {
        let path = self.path.join(stack).join(index);
        Scope { path, block: Some(index), dtype: self.dtype, target: self.target }
    }

    /// The fact of a value.
    pub fn fact(&self, id: ValueId) -> &Fact {
        &self.target.built()[id].fact
    }

    /// The element type of the network's weights.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Adds `op` in this module.
    pub fn add(&mut self, name: &str, op: impl Into<Op>, operands: &[ValueId]) -> Result<ValueId, B::Error> {
        let (name, path) = (self.name(name), self.path.clone());
        self.target.put(op.into(), operands, name, path)
    }

    fn name(&self, name: &str) -> Name {
        match self.block {
            Some(index) => Name::from(format!("{name}.{index}")),
            None => Name::from(name),
        }
    }

    /// The weight `name` of this module.
    pub fn weight(&mut self, name: &str, shape: impl Into<Shape>) -> Result<ValueId, B::Error> {
        let tensor = self.path.join(name).to_string();
        self.target.put_weight(&tensor, Fact::new(self.dtype, shape))
    }

    /// The scalar `value` in the dtype of `like`.
    pub fn constant_like(&mut self, like: ValueId, value: f64) -> Result<ValueId, B::Error> {
        let dtype = self.fact(like).dtype;
        let constant = Constant { value: Real::from(value), dtype };
        // Constants are named after their number.
        self.target.put(constant.into(), &[], Name::from("constant"), ModulePath::root())
    }

    /// The submodule `module` as a Linear with `out` features, with its `weight` and, if it has one, its `bias`.
    pub fn linear(
        &mut self,
        name: &str,
        module: &str,
        x: ValueId,
        out: usize,
        bias: bool,
    ) -> Result<ValueId, B::Error> {
        let features = self.fact(x).shape.last().copied().unwrap_or(0);
        let mut scope = self.module(module);
        let mut operands = vec![x, scope.weight("weight", [out, features])?];
        if bias {
            operands.push(scope.weight("bias", [out])?);
        }
        scope.add(name, op::Linear {}, &operands)
    }

    /// The submodule `module` as a square convolution that keeps height and width.
    pub fn conv2d(
        &mut self,
        name: &str,
        module: &str,
        x: ValueId,
        out: usize,
        kernel: usize,
    ) -> Result<ValueId, B::Error> {
        let channels = self.fact(x).shape.get(1).copied().unwrap_or(0);
        let mut scope = self.module(module);
        let weight = scope.weight("weight", [out, channels, kernel, kernel])?;
        let bias = scope.weight("bias", [out])?;
        scope.add(name, op::Conv2d::plain(kernel / 2), &[x, weight, bias])
    }

    /// The submodule `module` as a norm `op` with one parameter per name, each as long as axis `axis` of `x`.
    pub fn norm(
        &mut self,
        name: &str,
        module: &str,
        op: impl Into<Op>,
        x: ValueId,
        axis: usize,
        parameters: &[&str],
    ) -> Result<ValueId, B::Error> {
        let extent = self.fact(x).shape.get(axis).copied().unwrap_or(0);
        let mut scope = self.module(module);
        let mut operands = vec![x];
        for parameter in parameters {
            operands.push(scope.weight(parameter, [extent])?);
        }
        scope.add(name, op, &operands)
    }

    /// `function(x)`.
    pub fn unary(&mut self, name: &str, function: Unary, x: ValueId) -> Result<ValueId, B::Error> {
        self.add(name, function, &[x])
    }

    /// `a op b`.
    pub fn binary(&mut self, name: &str, op: Binary, a: ValueId, b: ValueId) -> Result<ValueId, B::Error> {
        self.add(name, op, &[a, b])
    }

    /// `x op constant`.
    pub fn scalar(&mut self, name: &str, op: Binary, x: ValueId, value: f64) -> Result<ValueId, B::Error> {
        let constant = self.constant_like(x, value)?;
        self.binary(name, op, x, constant)
    }

    /// `x` under another shape.
    pub fn reshape(&mut self, name: &str, x: ValueId, shape: impl Into<Shape>) -> Result<ValueId, B::Error> {
        self.add(name, op::Reshape { shape: shape.into() }, &[x])
    }

    /// `x` with its axes permuted.
    pub fn transpose(&mut self, name: &str, x: ValueId, perm: &[usize]) -> Result<ValueId, B::Error> {
        self.add(name, op::Transpose { perm: perm.to_vec() }, &[x])
    }

    /// Elements `start..end` of `x` along `axis`.
    pub fn slice(
        &mut self,
        name: &str,
        x: ValueId,
        axis: i64,
        range: std::ops::Range<usize>,
    ) -> Result<ValueId, B::Error> {
        self.add(name, op::Slice { axis, start: range.start, end: range.end }, &[x])
    }

    /// `x` in another dtype; `x` itself if it has that dtype.
    pub fn cast(&mut self, name: &str, x: ValueId, dtype: DType) -> Result<ValueId, B::Error> {
        if self.fact(x).dtype == dtype { Ok(x) } else { self.add(name, op::Cast { dtype }, &[x]) }
    }
}
