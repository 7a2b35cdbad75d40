//! Rules by which a step decides from its own numbers whether it computes: what is measured in it, and what that is compared with.

use super::options::{Options, numbers};
use super::sites;
use reflux_ir::op::{Binary, Cast, Constant, Mean};
use reflux_ir::pass::PassError;
use reflux_ir::{DType, Graph, ModulePath, Name, Patch, Program, ValueId};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use std::borrow::Cow;
use std::fmt;

/// A step reuses while what its first block adds to the stream differs little from what it added in the last step that computed:
/// `mean|a − a'| / mean|a'| ≤ threshold`, over all elements (diffusers, `hooks/first_block_cache.py`).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FirstBlock {
    /// Reuse while what the first block adds has changed by at most this part of it (0 to 10).
    pub threshold: f64,
}

/// The relative change of the first block's modulated input from step to step says, by a polynomial, how much the result changes.
/// A step reuses while the sum of that since the last step that computed is below the threshold; the last step computes in any
/// case (TeaCache, arXiv 2411.19108; its `TeaCache4FLUX/teacache_flux.py`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Accumulated {
    /// Reuse while the summed change of the result is expected to be below this (0 to 10).
    pub threshold: f64,
    /// The polynomial that gives the expected change of the result, highest power first. What holds if it is not given was fitted
    /// on FLUX.1-dev; `reflux calibrate` fits it on any checkpoint.
    #[serde(deserialize_with = "coefficients")]
    #[schemars(with = "Vec<f64>")]
    pub coefficients: Cow<'static, [f64]>,
}

fn coefficients<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Cow<'static, [f64]>, D::Error> {
    numbers("coefficients", deserializer).map(Cow::Owned)
}

impl Options for FirstBlock {
    fn check(&self) -> Result<(), String> {
        check_threshold(self.threshold)
    }
}

impl Options for Accumulated {
    fn check(&self) -> Result<(), String> {
        check_threshold(self.threshold)?;
        let is_sensible = |number: &f64| number.abs() <= 1e9;
        match &self.coefficients[..] {
            [] => Err("coefficients must have at least one number".to_owned()),
            many if many.len() > 10 => {
                Err(format!("coefficients must be at most 10 numbers, not {}", many.len()))
            }
            some => match some.iter().find(|number| !is_sensible(number)) {
                Some(number) => Err(format!("coefficients must be between -1e9 and 1e9, not {number:?}")),
                None => Ok(()),
            },
        }
    }
}

fn check_threshold(threshold: f64) -> Result<(), String> {
    (0.0..=10.0)
        .contains(&threshold)
        .then_some(())
        .ok_or_else(|| format!("threshold must be between 0 and 10, not {threshold:?}"))
}

impl Accumulated {
    /// The polynomial published for FLUX.1-dev.
    pub const fn of_flux_dev() -> Self {
        let coefficients = &[498.651651, -283.781631, 55.8554382, -3.82021401, 0.264230861];
        Self { threshold: 0.4, coefficients: Cow::Borrowed(coefficients) }
    }
}

/// What families call the input that FLUX.1-dev reads and FLUX.1-schnell does not.
const GUIDANCE: &str = "guidance";

/// The channels of FLUX.1-dev's stream.
const FLUX_DEV_CHANNELS: usize = 3072;

/// One of these rules.
#[derive(Clone, Copy, Debug)]
pub enum Gate<'m> {
    FirstBlock(&'m FirstBlock),
    Accumulated(&'m Accumulated),
}

/// For people: what is compared with what.
impl fmt::Display for Gate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstBlock(rule) => {
                write!(f, "the change of what the first block adds, at most {:?} to reuse,", rule.threshold)
            }
            Self::Accumulated(rule) => write!(
                f,
                "the summed change of the first block's input under the polynomial {:?}, below {:?} to reuse,",
                rule.coefficients, rule.threshold
            ),
        }
    }
}

/// What is measured in each step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gauge {
    pub value: ValueId,
    /// The value from which the difference is measured, if it is a difference.
    pub relative_to: Option<ValueId>,
}

/// What a gate has decided.
pub struct Decision {
    /// `i32[]`: the index in [`Gate::choices`].
    pub choice: ValueId,
    /// The sum of changes to carry on, if the rule has one: `f32[]`.
    pub sum: Option<ValueId>,
}

impl Gate<'_> {
    /// What is measured in `graph`, whose stream ends at `end`.
    pub fn gauge(self, graph: &Graph, end: ValueId) -> Option<Gauge> {
        Some(match self {
            Self::FirstBlock(_) => Gauge {
                value: sites::first_block_end(graph, end)?,
                relative_to: Some(sites::stream_start(graph, end)?),
            },
            Self::Accumulated(_) => Gauge { value: sites::first_input(graph, end)?, relative_to: None },
        })
    }

    /// A warning, if it has the numbers of another checkpoint than the one whose `program` has this gauge in `graph`. How many
    /// channels there are, and whether the guidance is read, tells FLUX.1-dev from all but what was trained from it.
    pub fn warning(self, program: &Program, graph: &Graph, gauge: Gauge) -> Option<String> {
        let Self::Accumulated(rule) = self else { return None };
        let is_guided = program.inputs.iter().any(|input| *input.name == *GUIDANCE);
        let is_wide = graph[gauge.value].fact.shape.last() == Some(&FLUX_DEV_CHANNELS);
        let is_of_flux_dev = rule.coefficients == Accumulated::of_flux_dev().coefficients;
        (is_of_flux_dev && !(is_guided && is_wide)).then(|| {
            "teacache's coefficients are those of FLUX.1-dev, and this is another model: how much steps change is misjudged; \
             `reflux calibrate teacache` fits them to it"
                .to_owned()
        })
    }

    /// Whether changes are measured since the step before, and not since the last one that computed.
    pub fn follows_every_step(self) -> bool {
        matches!(self, Self::Accumulated(_))
    }

    /// Whether the last step computes in any case.
    pub fn computes_last(self) -> bool {
        matches!(self, Self::Accumulated(_))
    }

    /// The two variants in the order of their indices: 1 where what is compared is at most the other.
    pub fn choices(self, full: &Name, reuse: &Name) -> Vec<Name> {
        match self {
            Self::FirstBlock(_) => vec![full.clone(), reuse.clone()],
            Self::Accumulated(_) => vec![reuse.clone(), full.clone()],
        }
    }

    /// Adds the decision: `now` is what is measured, `last` what was, and `sum` gives the sum of changes so far where the rule has
    /// one.
    pub fn decide(
        self,
        patch: &mut Patch,
        [now, last]: [ValueId; 2],
        sum: impl FnOnce(&mut Patch) -> Result<ValueId, PassError>,
    ) -> Result<Decision, PassError> {
        let distance = relative_distance(patch, now, last)?;
        match self {
            Self::FirstBlock(rule) => {
                let threshold = number(patch, rule.threshold)?;
                let is_near = at_most(patch, distance, threshold)?;
                Ok(Decision { choice: index(patch, is_near)?, sum: None })
            }
            Self::Accumulated(rule) => {
                let change = polynomial(patch, &rule.coefficients, distance)?;
                let before = sum(patch)?;
                let sum = add(patch, Binary::Add, [before, change], "change_sum")?;
                let threshold = number(patch, rule.threshold)?;
                let is_reached = at_most(patch, threshold, sum)?;
                // What computes begins anew.
                let one = number(patch, 1.0)?;
                let goes_on = add(patch, Binary::Sub, [one, is_reached], "goes_on")?;
                let kept = add(patch, Binary::Mul, [sum, goes_on], "change_kept")?;
                Ok(Decision { choice: index(patch, is_reached)?, sum: Some(kept) })
            }
        }
    }
}

/// `mean|now − last| / mean|last|` over all elements, `f32[]`.
fn relative_distance(patch: &mut Patch, now: ValueId, last: ValueId) -> Result<ValueId, PassError> {
    let moved = add(patch, Binary::Sub, [now, last], "moved")?;
    let moved = mean_magnitude(patch, moved, "moved")?;
    let scale = mean_magnitude(patch, last, "last")?;
    add(patch, Binary::Div, [moved, scale], "distance")
}

/// The mean over all axes of `|x|`, `f32[]`: axis by axis, so that no sum has very many terms.
fn mean_magnitude(patch: &mut Patch, x: ValueId, name: &str) -> Result<ValueId, PassError> {
    let dtype = patch.graph()[x].fact.dtype;
    let minus_one = patch.add(Constant::of(-1.0, dtype), &[], &"minus_one".into(), ModulePath::root())?;
    let negated = add(patch, Binary::Mul, [x, minus_one], &format!("{name}_negated"))?;
    let mut mean = add(patch, Binary::Max, [x, negated], &format!("{name}_magnitude"))?;
    while !patch.graph()[mean].fact.shape.is_empty() {
        mean = patch.add(Mean {}, &[mean], &format!("{name}_mean").into(), ModulePath::root())?;
    }
    Ok(mean)
}

/// `Σ cᵢ xⁿ⁻ⁱ`, by Horner's rule.
fn polynomial(patch: &mut Patch, coefficients: &[f64], x: ValueId) -> Result<ValueId, PassError> {
    let (first, others) = coefficients.split_first().expect("checked");
    let mut value = number(patch, *first)?;
    for &coefficient in others {
        let product = add(patch, Binary::Mul, [x, value], "change_term")?;
        let coefficient = number(patch, coefficient)?;
        value = add(patch, Binary::Add, [product, coefficient], "change")?;
    }
    Ok(value)
}

/// 1 if `a ≤ b`, else 0, in f32.
fn at_most(patch: &mut Patch, a: ValueId, b: ValueId) -> Result<ValueId, PassError> {
    let lesser = add(patch, Binary::Min, [a, b], "lesser")?;
    add(patch, Binary::Equal, [lesser, a], "is_at_most")
}

fn index(patch: &mut Patch, number: ValueId) -> Result<ValueId, PassError> {
    Ok(patch.add(Cast { dtype: DType::I32 }, &[number], &"choice".into(), ModulePath::root())?)
}

fn number(patch: &mut Patch, number: f64) -> Result<ValueId, PassError> {
    Ok(patch.add(Constant::of(number as f32, DType::F32), &[], &"number".into(), ModulePath::root())?)
}

fn add(patch: &mut Patch, op: Binary, operands: [ValueId; 2], name: &str) -> Result<ValueId, PassError> {
    Ok(patch.add(op, &operands, &name.into(), ModulePath::root())?)
}
