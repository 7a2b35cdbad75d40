//! Random network structures: repeated blocks with attention, residuals and modulations by the timestep.

use super::{Maker, pick};
use fastrand::Rng;
use reflux_ir::op::{
    Attention, Binary, LayerNorm, Op, Real, Reshape, Select, Slice, TimestepEmbedding, Unary,
};
use reflux_ir::{DType, Declaration, Fact, Rate, ValueId};

impl Maker<'_> {
    /// Ops that repeat: every round is the same ops over its own weights and what the round before has made.
    pub(super) fn block(&mut self) {
        let ops = self.rng.usize(1..6);
        self.rounds(|maker, _| {
            for _ in 0..ops {
                maker.any_op();
            }
        });
    }

    /// Residual blocks as networks have them.
    pub(super) fn network_block(&mut self) {
        let mut stream = self.float(3..4);
        self.rounds(|maker, _| {
            let made = maker.residual(stream);
            stream = made.unwrap_or(stream);
        });
    }

    /// Some rounds of `body`, which makes the same choices in each; now and then, one of them makes others.
    fn rounds(&mut self, mut body: impl FnMut(&mut Self, usize)) {
        if self.block.is_some() {
            return;
        }
        let stem = pick(self.rng, &["blocks", "net.layers", "b"]);
        let stem = format!("{stem}_{}{}", self.stage, self.graph.len());
        let (start, rounds, seed) = (self.rng.usize(0..3), self.rng.usize(2..5), self.rng.u64(..));
        let odd = self.rng.usize(0..6);
        let (outside, names) = (self.values.clone(), self.names);
        let mut own = self.rng.fork();
        for round in start..start + rounds {
            let mut rng = Rng::with_seed(if round == start + odd { own.u64(..) } else { seed });
            std::mem::swap(self.rng, &mut rng);
            (self.block, self.names, self.tensors) = (Some((stem.clone(), round)), 0, 0);
            // What ops read is found by its place: the last values of the round before stand in one.
            let last: Vec<ValueId> = self.values.iter().rev().take(2).copied().collect();
            self.values = [outside.clone(), last].concat();
            body(self, round);
            std::mem::swap(self.rng, &mut rng);
        }
        self.block = None;
        self.names = names + 1;
        let ids: Vec<ValueId> =
            self.graph.order().into_iter().filter(|&id| !self.graph.is_leaf(id)).collect();
        let small = ids.into_iter().filter(|&id| self.graph[id].fact.shape.elements() <= 1 << 14);
        self.values = small.collect();
    }

    /// `x + gate · f(norm(x))`, `f` an attention or an MLP.
    fn residual(&mut self, x: ValueId) -> Option<ValueId> {
        let fact = self.fact(x);
        let [batch, tokens, features] = fact.shape[..] else { return None };
        let normed = self.add(LayerNorm { eps: Real(1e-6) }, &[x])?;
        let factor = self.broadcasting(x);
        let scaled = self.add(Binary::Mul, &[normed, factor])?;
        let update = if self.rng.bool() && features % 2 == 0 {
            let shape = [batch, tokens, 2, features / 2];
            let mut heads = Vec::new();
            for _ in 0..3 {
                let linear = self.linear_to(scaled, features)?;
                heads.push(self.add(Reshape { shape: shape.into() }, &[linear])?);
            }
            let attention =
                self.add(Attention { scale: Real(0.5), causal: false, bounded: false }, &heads)?;
            let flat = self.add(Reshape { shape: fact.shape.clone() }, &[attention])?;
            self.linear_to(flat, features)?
        } else {
            let up = self.linear_to(scaled, 2 * features)?;
            let function = pick(self.rng, &[Unary::Silu, Unary::GeluTanh]);
            let act = self.add(function, &[up])?;
            self.linear_to(act, features)?
        };
        let gate = self.broadcasting(x);
        let gated = if self.rng.bool() { self.add(Binary::Mul, &[gate, update])? } else { update };
        self.add(Binary::Add, &[x, gated])
    }

    /// What depends on the step by its number alone: the time of the step, embedded, and parts of a linear of it.
    pub(super) fn modulation(&mut self) {
        let _ = self.modulated();
    }

    fn modulated(&mut self) -> Option<()> {
        if self.block.is_some() || self.rate < Rate::Latent {
            return None;
        }
        let declared = |maker: &Self, name: &str| -> Option<Declaration> {
            maker.known.inputs.iter().find(|declared| *declared.name == *name).cloned()
        };
        let (times, step) = (declared(self, "times")?, declared(self, "step")?);
        let (times, step) = (self.read(&times), self.read(&step));
        let time = self.add(Select {}, &[times, step])?;
        let wave = self.add(TimestepEmbedding { dim: 8, max_period: Real(1000.0) }, &[time])?;
        let wave = if self.dtype == DType::F32 {
            wave
        } else {
            self.add(reflux_ir::op::Cast { dtype: self.dtype }, &[wave])?
        };
        let act = self.add(Unary::Silu, &[wave])?;
        let features = self.pick(|fact: &Fact| fact.dtype.is_float() && fact.shape.len() == 3);
        let features = features.map_or(4, |id| self.fact(id).shape[2]);
        for _ in 0..self.rng.usize(1..3) {
            let all = self.linear_to(act, 2 * features)?;
            let parts = [(0, features), (features, 2 * features)];
            for (start, end) in parts {
                self.add(Op::from(Slice { axis: -1, start, end }), &[all])?;
            }
        }
        if self.rng.usize(0..4) == 0 {
            self.quantize(act)?;
        }
        Some(())
    }
}
