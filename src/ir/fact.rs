//! Facts: what is known of a value before anything runs.

use crate::{DType, Scales, Shape};
use serde::{Deserialize, Serialize};
use std::fmt;

/// How often a value can change. Joins over an op's inputs by maximum, and drives hoisting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rate {
    /// Fixed by the weights and the sizes the program is specialised to.
    Weights,
    /// Fixed by the prompt.
    Prompt,
    /// Known for all steps before the loop starts (timesteps, guidance).
    Schedule,
    /// Depends on the step or on the evolving latents.
    Latent,
}

impl Rate {
    /// Every rate, slowest first.
    pub const ALL: [Rate; 4] = [Self::Weights, Self::Prompt, Self::Schedule, Self::Latent];

    /// The name used in IR text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Weights => "weights",
            Self::Prompt => "prompt",
            Self::Schedule => "schedule",
            Self::Latent => "latent",
        }
    }

    /// The rate called `name` in IR text.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rate| rate.name() == name)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The static type of a value and how often it changes. Prints as its type: `bf16[1,4096,3072]`, or, of codes with a
/// scale per row, `i8.row.bf16[1,4096,3072]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fact {
    pub dtype: DType,
    pub shape: Shape,
    pub rate: Rate,
    /// The scales, if the elements are codes.
    pub scales: Option<Scales>,
}

impl Fact {
    /// A fact at the slowest rate.
    pub fn new(dtype: DType, shape: impl Into<Shape>) -> Self {
        Self { dtype, shape: shape.into(), rate: Rate::Weights, scales: None }
    }

    /// The same type at another rate.
    pub fn at(mut self, rate: Rate) -> Self {
        self.rate = rate;
        self
    }

    /// The same codes with scales.
    pub fn scaled(mut self, scales: Scales) -> Self {
        self.scales = Some(scales);
        self
    }

    /// Dtype and scales, as the type is written without its shape: `bf16`, `i8.row.f32`.
    pub fn scheme(&self) -> String {
        self.scales.map_or_else(|| self.dtype.to_string(), |scales| format!("{}.{scales}", self.dtype))
    }

    /// Whether the value is quantized: codes with scales.
    pub fn is_quantized(&self) -> bool {
        self.scales.is_some()
    }

    /// Whether it has scales exactly as its dtype requires: codes mean nothing without scales, and numbers have none.
    pub fn is_well_formed(&self) -> bool {
        match self.scales {
            None => !self.dtype.needs_scales(),
            Some(scales) => scales.dtype.is_float() && self.dtype.takes_scales(),
        }
    }

    /// Whether dtype, scales and shape agree; rates may differ.
    pub fn same_type(&self, other: &Self) -> bool {
        self.dtype == other.dtype && self.scales == other.scales && self.shape == other.shape
    }

    /// Whether the elements are no numbers, but codes with scales or blocks of these, which only some ops take.
    pub fn is_coded(&self) -> bool {
        self.is_quantized() || self.dtype.is_block()
    }

    /// The type of the tensor that a quantized value is computed from, which has the scales' dtype; for others, the type itself.
    pub fn unquantized(&self) -> Self {
        let dtype = self.scales.map_or(self.dtype, |scales| scales.dtype);
        Self { dtype, scales: None, ..self.clone() }
    }

    /// The type as a formula reads the value: numbers are f32, and so are the scales of codes.
    pub fn widened(&self) -> Self {
        let dtype = if self.dtype.is_float() { DType::F32 } else { self.dtype };
        let scales = self.scales.map(|scales| Scales { dtype: DType::F32, ..scales });
        Self { dtype, scales, ..self.clone() }
    }

    /// Type and rate, `f32[2] per latent`, for errors that may be about the rate.
    pub(crate) fn described(&self) -> String {
        format!("{self} per {}", self.rate)
    }

    /// Whether a machine can address a value of this type, and the f32 numbers computed from it.
    pub fn is_addressable(&self) -> bool {
        let mut extents = self.shape.iter().copied();
        let bytes = extents.try_fold(DType::F32.bytes(), usize::checked_mul);
        bytes.is_some_and(|bytes| isize::try_from(bytes).is_ok())
    }

    /// Why no value can have this fact: it is empty, too large, or has codes without scales. If empty values were allowed, each
    /// op and each kernel would have to handle them.
    pub fn fault(&self) -> Option<String> {
        if self.shape.contains(&0) {
            return Some(format!("a value of type {self} has no elements: every extent is at least 1"));
        }
        if !self.is_addressable() {
            return Some(format!("a value of type {self} is too large to address"));
        }
        if let DType::Block(format) = self.dtype
            && !self.shape.columns().is_multiple_of(format.elements())
        {
            let of = format.elements();
            return Some(format!(
                "a value of type {self} has rows that are not whole blocks of {of} elements"
            ));
        }
        (!self.is_well_formed())
            .then(|| format!("{self} has scales that its dtype does not allow, or lacks those that it needs"))
    }

    /// The size in host memory of a row along the first axis, without scales; of all of it, where there are fewer than two axes.
    pub fn row_bytes(&self) -> usize {
        let shape = &self.shape;
        let elements = if shape.len() < 2 { shape.elements() } else { shape[1..].iter().product() };
        self.dtype.host_bytes(elements)
    }

    /// Size in bytes, scales and zero points included, saturating.
    pub fn bytes(&self) -> u64 {
        let stored = self.dtype.stored_bytes(self.shape.elements());
        let scales = self.scales.map_or(0, |scales| scales.bytes(self.dtype, &self.shape));
        u64::try_from(stored).unwrap_or(u64::MAX).saturating_add(scales)
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.scheme(), self.shape)
    }
}
