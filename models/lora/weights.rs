//! Weights of a network with LoRAs.

use super::applied::{Loras, MERGED, Origin, padded};
use super::change::Delta;
use super::error::LoraError;
use super::merge::merged;
use crate::net::Net;
use reflux_ir::{DType, Fact, HostTensor, WeightData, WeightError, WeightRows, WeightSource};
use std::collections::HashMap;
use std::fmt::Display;
use std::rc::Rc;

/// The weights of a network, those with [`MERGED`] behind their name with LoRAs merged into them, and the weights of the
/// products beside its linears.
pub struct LoraWeights {
    base: Rc<dyn WeightSource>,
    net: &'static Net,
    loras: Loras,
    /// The weights of products beside linears, by name.
    beside: HashMap<String, Beside>,
}

/// Where a weight of such a product comes from.
struct Beside {
    origin: Origin,
    /// The tensor for which it is `B`; `None` for `A`.
    up_of: Option<String>,
}

impl LoraWeights {
    /// Those of `net`, of which `base` are the checkpoint's.
    pub fn new(base: Rc<dyn WeightSource>, net: &'static Net, loras: Loras) -> Self {
        let mut beside = HashMap::new();
        for (low_rank, origin) in loras.origins(net) {
            beside.insert(low_rank.down, Beside { origin, up_of: None });
            beside.insert(low_rank.up, Beside { origin, up_of: Some(low_rank.weight) });
        }
        Self { base, net, loras, beside }
    }

    /// The weight `tensor` with what the files change of it, in f32, rounded once.
    fn merged(&self, tensor: &str, fact: &Fact) -> Result<HostTensor, WeightError> {
        const CODES: &str = "a LoRA cannot be merged into codes; keep it beside the product with --lora-mode branch, or give \
                             weights that are not quantized";
        if fact.dtype.is_block() {
            return Err(unreadable(tensor, &CODES));
        }
        match self.base.weight(tensor, &Fact::new(DType::F32, fact.shape.clone()))? {
            WeightData::Dense(base) => {
                let dtype = fact.unquantized().dtype;
                merged(&self.loras, self.net, tensor, &base, dtype)
                    .map_err(|error| unreadable(tensor, &error))
            }
            WeightData::Quantized(_) => Err(unreadable(tensor, &CODES)),
        }
    }

    /// `A`, or `alpha / rank` times the rows of `B` for one tensor; zeros make their rank [`padded`].
    fn low_rank(&self, beside: &Beside, dtype: DType) -> Result<HostTensor, LoraError> {
        let (lora, fitted, change) = self.loras.at(beside.origin);
        let Delta::LowRank { down, up } = &change.delta else {
            unreachable!("only products of low rank are kept beside")
        };
        let padded = padded(down.shape[0]);
        let Some(tensor) = &beside.up_of else {
            let (mut values, features) = (lora.file.values(down)?, down.shape[1]);
            values.resize(padded * features, 0.0);
            return Ok(HostTensor::from_f32([padded, features], &values).cast(dtype));
        };
        let (values, rank) = (lora.file.values(up)?, up.shape[1]);
        let mut rows: Vec<f32> = Vec::new();
        for segment in fitted.weight.segments.iter().filter(|segment| segment.tensor == *tensor) {
            for row in values[segment.rows.start * rank..segment.rows.end * rank].chunks(rank) {
                rows.extend(row.iter().map(|value| value * change.factor));
                rows.extend(std::iter::repeat_n(0.0, padded - rank));
            }
        }
        Ok(HostTensor::from_f32([rows.len() / padded, padded], &rows).cast(dtype))
    }
}

fn unreadable(name: &str, why: &dyn Display) -> WeightError {
    WeightError::Unreadable { name: name.to_owned(), why: why.to_string() }
}

impl WeightSource for LoraWeights {
    fn weight(&self, name: &str, fact: &Fact) -> Result<WeightData, WeightError> {
        if let Some(tensor) = name.strip_suffix(MERGED) {
            return Ok(self.merged(tensor, fact)?.into());
        }
        let Some(beside) = self.beside.get(name) else { return self.base.weight(name, fact) };
        let tensor =
            self.low_rank(beside, fact.unquantized().dtype).map_err(|error| unreadable(name, &error));
        tensor.map(WeightData::from)
    }

    fn rows(&self, name: &str, fact: &Fact) -> Result<Option<WeightRows<'_>>, WeightError> {
        let is_own = name.ends_with(MERGED) || self.beside.contains_key(name);
        if is_own { Ok(None) } else { self.base.rows(name, fact) }
    }
}
