//! Formulas: what a fused op computes, in terms of other ops.

use super::{Binary, Constant, InferError, Op, ensure};
use crate::Fact;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::HashMap;
use std::fmt::{self, Write as _};

/// What a term of a [`Body`] reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Arg {
    /// An operand of the fused op.
    Operand(usize),
    /// The columns of the product of a [`Gemm`](super::Gemm) that the body applies to.
    Acc,
    /// An earlier term of the body.
    Term(usize),
}

/// One op of a body.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Term {
    pub op: Op,
    pub args: Vec<Arg>,
}

/// A formula over the operands of a fused op, for example `layer_norm(%0, eps=1e-6) * (%1 + 1.0) + %2`.
///
/// Floating-point operands are widened to f32, every term is f32, and only the final result is rounded, to the fused op's
/// dtype; a `cast` among the terms rounds its own result. A `quantize` can only be the last term, and works in the dtype of
/// its scales, as it does outside of formulas.
///
/// Bodies are in a canonical form: terms are in the order in which the text names them, none is repeated, none unread.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Body {
    terms: Vec<Term>,
    result: Arg,
}

/// A body whose text would have more terms than this is refused; see [`BodyBuilder::finish`].
const MOST_TERMS: usize = 64;

impl Body {
    /// The body that is `arg` itself.
    pub fn of(arg: Arg) -> Self {
        Self { terms: Vec::new(), result: arg }
    }

    /// The terms in an order in which they can be computed.
    pub fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// The result of the body.
    pub fn result(&self) -> Arg {
        self.result
    }

    /// The last term, unless the body is one of its operands.
    pub fn last(&self) -> Option<&Term> {
        match self.result {
            Arg::Term(index) => self.terms.get(index),
            Arg::Operand(_) | Arg::Acc => None,
        }
    }

    /// The operands that the body reads, in the order in which the text names them.
    pub fn operands(&self) -> Vec<usize> {
        let mut seen = Vec::new();
        self.visit(self.result, &mut |arg| match arg {
            Arg::Operand(index) if !seen.contains(&index) => seen.push(index),
            _ => {}
        });
        seen
    }

    /// Calls `see` with `arg` and everything below it, in the order of the text.
    fn visit(&self, arg: Arg, see: &mut impl FnMut(Arg)) {
        see(arg);
        if let Arg::Term(index) = arg {
            self.terms[index].args.iter().for_each(|&arg| self.visit(arg, see));
        }
    }

    /// Whether each element of the result depends on only one element of each operand.
    pub fn works_by_elements(&self) -> bool {
        self.terms.iter().all(|term| term.op.works_by_elements())
    }

    /// Of `acc + linear(x, W) + …`, or a formula over that sum: the operands `[x, W]` of each product that is added, and the
    /// formula over an `acc` that is the whole sum. Products that nothing adds to `acc` stay in the formula.
    pub fn split_sum(&self) -> (Vec<[usize; 2]>, Self) {
        let (mut sum, mut products) = (Arg::Acc, Vec::new());
        while let Some((next, product)) = self.addition(sum) {
            products.push(product);
            sum = next;
        }
        let mut builder = BodyBuilder::default();
        let mut places: Vec<Arg> = Vec::with_capacity(self.terms.len());
        let place = |places: &[Arg], arg: Arg| match arg {
            Arg::Term(index) => places[index],
            arg => arg,
        };
        for (index, Term { op, args }) in self.terms.iter().enumerate() {
            let args = args.iter().map(|&arg| place(&places, arg)).collect();
            places.push(if sum == Arg::Term(index) { Arg::Acc } else { builder.term(op.clone(), args) });
        }
        let result = place(&places, self.result);
        (products, builder.finish(result).expect("its text is no longer than it was"))
    }

    /// The term that adds a product to `sum`, and the operands of the product, if that is all that becomes of both.
    fn addition(&self, sum: Arg) -> Option<(Arg, [usize; 2])> {
        let only_reader = |arg: Arg| {
            let is_reader = |(_, term): &(usize, &Term)| term.args.contains(&arg);
            let mut readers = self.terms.iter().enumerate().filter(is_reader);
            readers.next().filter(|_| readers.next().is_none() && self.result != arg)
        };
        let (index, term) = only_reader(sum)?;
        let other = match (&term.op, &term.args[..]) {
            (Op::Binary(Binary::Add), &[a, b]) if a != b => {
                if a == sum {
                    b
                } else {
                    a
                }
            }
            _ => return None,
        };
        let Arg::Term(at) = other else { return None };
        match (&self.terms[at].op, &self.terms[at].args[..]) {
            (Op::Linear(_), &[Arg::Operand(x), Arg::Operand(weight)]) => {
                only_reader(other).map(|_| (Arg::Term(index), [x, weight]))
            }
            _ => None,
        }
    }

    /// How many ops and operands the text names; a term counts as often as it is read.
    fn size(&self) -> usize {
        let mut sizes = Vec::with_capacity(self.terms.len());
        let size = |sizes: &[usize], arg: Arg| if let Arg::Term(index) = arg { sizes[index] } else { 1 };
        for term in &self.terms {
            let below = term.args.iter().map(|&arg| size(&sizes, arg)).fold(0, usize::saturating_add);
            sizes.push(below.saturating_add(1));
        }
        size(&sizes, self.result)
    }

    /// The fact of each term, given those of the operands and of the product.
    pub fn infer(&self, operands: &[&Fact], acc: Option<&Fact>) -> Result<Vec<Fact>, InferError> {
        let mut facts: Vec<Fact> = Vec::with_capacity(self.terms.len());
        for (index, Term { op, args }) in self.terms.iter().enumerate() {
            let inputs = args
                .iter()
                .map(|&arg| fact_of(arg, operands, acc, &facts).map(Fact::widened))
                .collect::<Result<Vec<_>, _>>()?;
            let fact = op.infer(&inputs.iter().collect::<Vec<_>>());
            let fact = fact.map_err(|error| InferError(format!("`{}`: {error}", op.name())))?;
            ensure!(
                !fact.is_quantized() || self.result == Arg::Term(index),
                "nothing can follow a `quantize` in a formula"
            );
            facts.push(fact);
        }
        Ok(facts)
    }

    /// The fact of the result: see [`Body::infer`].
    pub fn infer_result(&self, operands: &[&Fact], acc: Option<&Fact>) -> Result<Fact, InferError> {
        let facts = self.infer(operands, acc)?;
        match self.result {
            Arg::Term(index) => Ok(facts[index].clone()),
            arg => fact_of(arg, operands, acc, &facts).map(Fact::widened),
        }
    }

    /// Floating-point operations of all terms.
    pub fn flops(&self, operands: &[&Fact], acc: Option<&Fact>) -> u64 {
        let Ok(facts) = self.infer(operands, acc) else { return 0 };
        let flops = self.terms.iter().zip(&facts).map(|(Term { op, args }, fact)| {
            let inputs: Vec<_> = args
                .iter()
                .filter_map(|&arg| fact_of(arg, operands, acc, &facts).ok().map(Fact::widened))
                .collect();
            op.cost(&inputs.iter().collect::<Vec<_>>(), fact).flops
        });
        flops.fold(0, u64::saturating_add)
    }

    /// The formula with operands as `operand` writes them.
    pub fn written(&self, operand: &dyn Fn(usize) -> String) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut text, self.result, Precedence::Sum, operand);
        text
    }

    fn write(
        &self,
        out: &mut String,
        arg: Arg,
        place: Precedence,
        operand: &dyn Fn(usize) -> String,
    ) -> fmt::Result {
        let term = match arg {
            Arg::Operand(index) => return out.write_str(&operand(index)),
            Arg::Acc => return out.write_str("acc"),
            Arg::Term(index) => &self.terms[index],
        };
        if let Op::Constant(Constant { value, .. }) = &term.op {
            return write!(out, "{:?}", value.0);
        }
        if let Some((symbol, precedence)) = infix(&term.op) {
            if precedence < place {
                out.push('(');
            }
            self.write(out, term.args[0], precedence, operand)?;
            write!(out, " {symbol} ")?;
            self.write(out, term.args[1], precedence.above(), operand)?;
            if precedence < place {
                out.push(')');
            }
            return Ok(());
        }
        write!(out, "{}(", term.op.name())?;
        for (at, &arg) in term.args.iter().enumerate() {
            out.push_str(if at == 0 { "" } else { ", " });
            self.write(out, arg, Precedence::Sum, operand)?;
        }
        for attribute in term.op.written_attributes() {
            write!(out, ", {attribute}")?;
        }
        out.write_str(")")
    }
}

/// The fact of what a term reads.
fn fact_of<'f>(
    arg: Arg,
    operands: &[&'f Fact],
    acc: Option<&'f Fact>,
    terms: &'f [Fact],
) -> Result<&'f Fact, InferError> {
    let fact = match arg {
        Arg::Operand(index) => operands.get(index).copied(),
        Arg::Acc => acc,
        Arg::Term(index) => terms.get(index),
    };
    fact.ok_or_else(|| InferError(format!("the formula reads {arg:?}, which does not exist")))
}

/// How tightly an infix op binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Precedence {
    Sum,
    Product,
    Atom,
}

impl Precedence {
    /// What the right operand must exceed.
    fn above(self) -> Self {
        if self == Self::Sum { Self::Product } else { Self::Atom }
    }
}

fn infix(op: &Op) -> Option<(char, Precedence)> {
    match op {
        Op::Binary(Binary::Add) => Some(('+', Precedence::Sum)),
        Op::Binary(Binary::Sub) => Some(('-', Precedence::Sum)),
        Op::Binary(Binary::Mul) => Some(('*', Precedence::Product)),
        Op::Binary(Binary::Div) => Some(('/', Precedence::Product)),
        _ => None,
    }
}

impl fmt::Display for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written(&|index| format!("%{index}")))
    }
}

impl Serialize for Body {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A formula is not an attribute: [`text::parse`](crate::text::parse) reads it after the name of its op.
impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom(
            "a formula is written after the name of the op, as in `rowwise silu(%x)`, not as an attribute",
        ))
    }
}

/// Builds a body term by term. Equal terms are shared.
#[derive(Default)]
pub struct BodyBuilder {
    terms: Vec<Term>,
    known: HashMap<Term, usize>,
}

impl BodyBuilder {
    /// `op` over `args`.
    pub fn term(&mut self, op: impl Into<Op>, args: Vec<Arg>) -> Arg {
        let term = Term { op: op.into(), args };
        let index = *self.known.entry(term.clone()).or_insert_with(|| {
            self.terms.push(term);
            self.terms.len() - 1
        });
        Arg::Term(index)
    }

    /// Whether a body of these terms would be too long; see [`BodyBuilder::finish`].
    pub fn is_full(&self) -> bool {
        self.terms.len() > MOST_TERMS
    }

    /// Adds all terms of `body`, replacing its operands and its product by `map`.
    pub fn append(&mut self, body: &Body, map: impl Fn(Arg) -> Arg) -> Arg {
        let mut added: Vec<Arg> = Vec::with_capacity(body.terms.len());
        let place =
            |added: &[Arg], arg: Arg| if let Arg::Term(index) = arg { added[index] } else { map(arg) };
        for Term { op, args } in &body.terms {
            let args = args.iter().map(|&arg| place(&added, arg)).collect();
            added.push(self.term(op.clone(), args));
        }
        place(&added, body.result)
    }

    /// The body with the result `result`, in canonical form; `None` if its text would be too long.
    pub fn finish(self, result: Arg) -> Option<Body> {
        let whole = Body { terms: self.terms, result };
        if whole.size() > MOST_TERMS {
            return None;
        }
        let mut ordered = BodyBuilder::default();
        let result = ordered.in_order(&whole, result);
        Some(Body { terms: ordered.terms, result })
    }

    /// Adds `arg` of `body` and what it reads, in the order of the text.
    fn in_order(&mut self, body: &Body, arg: Arg) -> Arg {
        let Arg::Term(index) = arg else { return arg };
        let Term { op, args } = &body.terms[index];
        let args = args.iter().map(|&arg| self.in_order(body, arg)).collect();
        self.term(op.clone(), args)
    }
}

impl Body {
    /// The body with operand `index` called `map(index)`.
    pub fn renumbered(&self, map: impl Fn(usize) -> usize) -> Self {
        let place = |arg: Arg| if let Arg::Operand(index) = arg { Arg::Operand(map(index)) } else { arg };
        let term = |Term { op, args }: &Term| Term {
            op: op.clone(),
            args: args.iter().map(|&arg| place(arg)).collect(),
        };
        Self { terms: self.terms.iter().map(term).collect(), result: place(self.result) }
    }
}
