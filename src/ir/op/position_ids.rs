use super::{InferError, OpKind, Operator, ensure};
use crate::{DType, Fact, HostTensor};
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// Positions of text and image tokens: `text` rows of zeros, then `(time, row, column)` for each image token in row-major order. The picture
/// that is drawn is at time 0.
///
/// No inputs; the result is `f32[text + rows * columns, 3]` (`txt_ids` and `img_ids` of diffusers' FLUX pipeline,
/// concatenated).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PositionIds {
    pub text: usize,
    pub rows: usize,
    pub columns: usize,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub time: usize,
}

fn is_zero(time: &usize) -> bool {
    *time == 0
}

impl PositionIds {
    /// The positions, `f32[text + rows * columns, 3]`.
    pub fn ids(&self) -> HostTensor {
        let text = std::iter::repeat_n([0.0; 3], self.text);
        let image = (0..self.rows).flat_map(|row| {
            (0..self.columns).map(move |column| [self.time, row, column].map(|id| id as f32))
        });
        let ids: Vec<f32> = text.chain(image).flatten().collect();
        HostTensor::from_f32([ids.len() / 3, 3], &ids)
    }
}

impl Operator for PositionIds {
    const NAMES: &'static [&'static str] = &["position_ids"];
    const KIND: OpKind = OpKind::Position;

    fn arity(&self) -> RangeInclusive<usize> {
        0..=0
    }

    fn infer(&self, _inputs: &[&Fact]) -> Result<Fact, InferError> {
        let tokens = self.rows.checked_mul(self.columns).and_then(|image| image.checked_add(self.text));
        let Some(tokens) = tokens else {
            return Err(InferError("there are more positions than can be addressed".into()));
        };
        ensure!(tokens > 0, "there must be at least one position");
        Ok(Fact::new(DType::F32, [tokens, 3]))
    }

    fn flops(&self, _inputs: &[&Fact], _output: &Fact) -> u64 {
        0
    }
}
