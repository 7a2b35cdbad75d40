//! Changes of a module, made of the tensors that a file has for it, with every check of their shapes.

use super::change::{Delta, Factor, extents};
use super::error::LoraError;
use super::file::{ModuleTensors, Tensor};
use super::parameter::Parameter;
use super::places::Module;
use std::path::Path;

/// What a file does to one module.
#[derive(Clone, Debug)]
pub(super) struct Changes {
    pub weight: Vec<Scaled>,
    pub bias: Vec<Scaled>,
    /// The norms of a DoRA.
    pub magnitude: Option<Magnitude>,
}

/// A change, which is multiplied by `alpha / rank` if it has a rank.
#[derive(Clone, Debug)]
pub(super) struct Scaled {
    pub delta: Delta,
    pub rank: Option<usize>,
    /// The tensor that is alpha, if the file has one.
    pub alpha: Option<Tensor>,
}

/// The norms that a DoRA gives to what it has changed.
#[derive(Clone, Debug)]
pub(super) struct Magnitude {
    pub norms: Tensor,
    /// One for each column, and not for each row.
    pub of_columns: bool,
}

/// The tensors for one module, to be taken in turn.
pub(super) struct Given<'f> {
    pub path: &'f Path,
    /// What the file calls the module.
    pub name: &'f str,
    pub module: &'f Module<'f>,
    pub tensors: &'f ModuleTensors,
}

impl Given<'_> {
    /// What they do.
    ///
    /// # Errors
    /// If one is missing, or has a shape that is not the module's.
    pub fn changes(&self) -> Result<Changes, LoraError> {
        let deltas = [self.low_rank()?, self.kronecker()?, self.hadamard()?];
        let mut weight: Vec<Scaled> = deltas.into_iter().flatten().collect();
        if let Some(diff) = self.tensors.get(&Parameter::Diff) {
            self.expect(diff, &self.module.weight.shape)?;
            weight.push(Scaled { delta: Delta::Whole(diff.clone()), rank: None, alpha: None });
        }
        let bias = self.bias()?;
        if weight.is_empty() && bias.is_empty() {
            let first = self.tensors.values().next().expect("a module has tensors");
            return Err(self.incomplete(first, "a change to go with it"));
        }
        Ok(Changes { magnitude: self.magnitude(&weight)?, weight, bias })
    }

    fn low_rank(&self) -> Result<Option<Scaled>, LoraError> {
        let Some((up, down)) = self.pair(Parameter::Up, Parameter::Down, "`lora_A`", "`lora_B`")? else {
            return Ok(None);
        };
        let [rows, columns] = self.matrix(down)?;
        let rank = self.rank(up, down)?;
        self.expect(down, &[rank, columns])?;
        self.expect(up, &[rows, rank])?;
        Ok(Some(self.scaled(Delta::LowRank { down: down.clone(), up: up.clone() }, Some(rank))))
    }

    fn kronecker(&self) -> Result<Option<Scaled>, LoraError> {
        use Parameter::{LokrW1, LokrW1A, LokrW1B, LokrW2, LokrW2A, LokrW2B};
        let left = self.factor(LokrW1, LokrW1A, LokrW1B)?;
        let right = self.factor(LokrW2, LokrW2A, LokrW2B)?;
        let (left, right) = match (left, right) {
            (None, None) => return Ok(None),
            (Some(left), Some(right)) => (left, right),
            (one, other) => {
                let missing = if one.is_none() { "`lokr_w1`" } else { "`lokr_w2`" };
                let there = one.or(other).expect("one is there");
                return Err(self.incomplete(there.first(), missing));
            }
        };
        let first = left.first().clone();
        let [rows, columns] = self.matrix(&first)?;
        let ([a, b], [c, d]) = (left.shape(), right.shape());
        if (a.checked_mul(c), b.checked_mul(d)) != (Some(rows), Some(columns)) {
            let expected = format!("must be [{rows} / {c}, {columns} / {d}]");
            return Err(self.shape(&first, expected));
        }
        // Of two factors that are products the rank of the second counts, and of none there is no rank.
        let rank = right.rank().or(left.rank());
        Ok(Some(self.scaled(Delta::Kronecker(left, right), rank)))
    }

    fn factor(&self, whole: Parameter, up: Parameter, down: Parameter) -> Result<Option<Factor>, LoraError> {
        if let Some(whole) = self.tensors.get(&whole) {
            return match whole.shape.len() {
                2 => Ok(Some(Factor::Whole(whole.clone()))),
                _ => Err(self.shape(whole, "must be a matrix".to_owned())),
            };
        }
        let Some((up, down)) = self.pair(up, down, "its `_b`", "its `_a`")? else { return Ok(None) };
        self.rank(up, down)?;
        Ok(Some(Factor::Product(up.clone(), down.clone())))
    }

    fn hadamard(&self) -> Result<Option<Scaled>, LoraError> {
        use Parameter::{HadaW1A, HadaW1B, HadaW2A, HadaW2B};
        let first = self.pair(HadaW1A, HadaW1B, "`hada_w1_b`", "`hada_w1_a`")?;
        let second = self.pair(HadaW2A, HadaW2B, "`hada_w2_b`", "`hada_w2_a`")?;
        let (first, second) = match (first, second) {
            (None, None) => return Ok(None),
            (Some(first), Some(second)) => (first, second),
            (Some((up, _)), None) => return Err(self.incomplete(up, "`hada_w2_a`")),
            (None, Some((up, _))) => return Err(self.incomplete(up, "`hada_w1_a`")),
        };
        let mut ranks = Vec::new();
        for (up, down) in [first, second] {
            let [rows, columns] = self.matrix(down)?;
            let rank = self.rank(up, down)?;
            self.expect(up, &[rows, rank])?;
            self.expect(down, &[rank, columns])?;
            ranks.push(rank);
        }
        let own = |(up, down): (&Tensor, &Tensor)| [up.clone(), down.clone()];
        Ok(Some(self.scaled(Delta::Hadamard(own(first), own(second)), ranks.first().copied())))
    }

    fn bias(&self) -> Result<Vec<Scaled>, LoraError> {
        let mut changes = Vec::new();
        for parameter in [Parameter::UpBias, Parameter::DiffBias] {
            let Some(tensor) = self.tensors.get(&parameter) else { continue };
            let Some(bias) = self.module.bias else {
                let (path, key) = (self.path.to_owned(), tensor.key.clone());
                return Err(LoraError::Without { path, key, what: "bias", module: self.name.to_owned() });
            };
            self.expect_of(tensor, &bias.shape, &bias.shape)?;
            let delta = Delta::Whole(tensor.clone());
            // That of a LoRA is part of its second product, and scaled with it.
            let down = self.tensors.get(&Parameter::Down).filter(|_| parameter == Parameter::UpBias);
            changes.push(self.scaled(delta, down.map(|down| extents(down)[0])));
        }
        Ok(changes)
    }

    fn magnitude(&self, weight: &[Scaled]) -> Result<Option<Magnitude>, LoraError> {
        let Some(norms) = self.tensors.get(&Parameter::Magnitude) else { return Ok(None) };
        if weight.is_empty() {
            return Err(self.incomplete(norms, "a change of the weight"));
        }
        let [rows, columns] = self.matrix(norms)?;
        let of_columns = match norms.shape[..] {
            [one] if one == rows => false,
            [many, 1] if many == rows => false,
            [1, many] if many == columns => true,
            _ => return Err(self.shape(norms, format!("must be [{rows}], [{rows}, 1] or [1, {columns}]"))),
        };
        if of_columns && self.module.weight.segments.len() > 1 {
            return Err(self.shape(norms, format!("must be [{rows}, 1], for a fused module")));
        }
        Ok(Some(Magnitude { norms: norms.clone(), of_columns }))
    }

    fn scaled(&self, delta: Delta, rank: Option<usize>) -> Scaled {
        Scaled { delta, rank, alpha: self.tensors.get(&Parameter::Alpha).cloned() }
    }

    /// Two tensors of which there are both or none.
    fn pair(
        &self,
        up: Parameter,
        down: Parameter,
        without_down: &'static str,
        without_up: &'static str,
    ) -> Result<Option<(&Tensor, &Tensor)>, LoraError> {
        match (self.tensors.get(&up), self.tensors.get(&down)) {
            (None, None) => Ok(None),
            (Some(up), Some(down)) => Ok(Some((up, down))),
            (Some(up), None) => Err(self.incomplete(up, without_down)),
            (None, Some(down)) => Err(self.incomplete(down, without_up)),
        }
    }

    /// The extent that `up` `[_, rank]` and `down` `[rank, _]` have in common.
    fn rank(&self, up: &Tensor, down: &Tensor) -> Result<usize, LoraError> {
        match (&up.shape[..], &down.shape[..]) {
            (&[_, a], &[b, _]) if a == b && a > 0 => Ok(a),
            _ => Err(LoraError::Ranks {
                path: self.path.to_owned(),
                first: down.key.clone(),
                first_shape: down.shape.clone(),
                second: up.key.clone(),
                second_shape: up.shape.clone(),
            }),
        }
    }

    /// Rows and columns of the module's weight, which `tensor` changes as a matrix.
    fn matrix(&self, tensor: &Tensor) -> Result<[usize; 2], LoraError> {
        match self.module.weight.shape[..] {
            [rows, columns] => Ok([rows, columns]),
            _ => Err(self.shape(tensor, "changes a matrix".to_owned())),
        }
    }

    fn expect(&self, tensor: &Tensor, shape: &[usize]) -> Result<(), LoraError> {
        self.expect_of(tensor, shape, &self.module.weight.shape)
    }

    fn expect_of(&self, tensor: &Tensor, shape: &[usize], of: &[usize]) -> Result<(), LoraError> {
        if tensor.shape == shape {
            return Ok(());
        }
        Err(self.shape_of(tensor, format!("must be {shape:?}"), of))
    }

    fn shape(&self, tensor: &Tensor, expected: String) -> LoraError {
        self.shape_of(tensor, expected, &self.module.weight.shape)
    }

    fn shape_of(&self, tensor: &Tensor, expected: String, of: &[usize]) -> LoraError {
        LoraError::Shape {
            path: self.path.to_owned(),
            key: tensor.key.as_str().into(),
            found: tensor.shape.as_slice().into(),
            expected: expected.into(),
            module: self.name.into(),
            shape: of.into(),
        }
    }

    fn incomplete(&self, tensor: &Tensor, missing: &'static str) -> LoraError {
        LoraError::Incomplete { path: self.path.to_owned(), key: tensor.key.clone(), missing }
    }
}

impl Factor {
    /// The tensor that messages are about.
    fn first(&self) -> &Tensor {
        match self {
            Self::Whole(tensor) | Self::Product(tensor, _) => tensor,
        }
    }

    fn rank(&self) -> Option<usize> {
        match self {
            Self::Whole(_) => None,
            Self::Product(up, _) => Some(extents(up)[1]),
        }
    }
}
