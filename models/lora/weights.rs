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

    /// `A`, or `alpha / rank` times the rows of `B` for one tensor, in `dtype`; zeros make their rank [`padded`].
    fn low_rank(&self, beside: &Beside, dtype: DType) -> Result<WeightRows<'_>, LoraError> {
        let (lora, fitted, change) = self.loras.at(beside.origin);
        let Delta::LowRank { down, up } = &change.delta else {
            unreachable!("only products of low rank are kept beside")
        };
        let (rank, features) = (down.shape[0], down.shape[1]);
        let padded = padded(rank);
        let Some(tensor) = &beside.up_of else {
            let elements = lora.file.elements(down)?;
            return Ok(WeightRows::new(Fact::new(dtype, [padded, features]), move |first, to| {
                let rows = to.len() / (features * dtype.bytes());
                let stored = first.min(rank)..(first + rows).min(rank);
                let mut values = elements.part(stored.start * features..stored.end * features);
                values.resize(rows * features, 0.0);
                to.copy_from_slice(&dtype.encode(&values));
            }));
        };
        let elements = lora.file.elements(up)?;
        let own = fitted.weight.segments.iter().filter(|segment| segment.tensor == *tensor);
        let places: Vec<usize> = own.flat_map(|segment| segment.rows.clone()).collect();
        let factor = change.factor;
        Ok(WeightRows::new(Fact::new(dtype, [places.len(), padded]), move |first, to| {
            let rows = to.len() / (padded * dtype.bytes());
            let mut values = Vec::with_capacity(rows * padded);
            for place in &places[first..first + rows] {
                values.extend(
                    elements.part(place * rank..(place + 1) * rank).iter().map(|value| value * factor),
                );
                values.extend(std::iter::repeat_n(0.0, padded - rank));
            }
            to.copy_from_slice(&dtype.encode(&values));
        }))
    }

    /// The rows of a weight beside a product; `None` for any other.
    fn own_rows(&self, name: &str, fact: &Fact) -> Result<Option<WeightRows<'_>>, WeightError> {
        let Some(beside) = self.beside.get(name) else { return Ok(None) };
        let rows = self.low_rank(beside, fact.unquantized().dtype);
        rows.map(Some).map_err(|error| unreadable(name, &error))
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
        match self.own_rows(name, fact)? {
            Some(rows) => Ok(rows.into()),
            None => self.base.weight(name, fact),
        }
    }

    fn rows(&self, name: &str, fact: &Fact) -> Result<Option<WeightRows<'_>>, WeightError> {
        if name.ends_with(MERGED) {
            return Ok(None);
        }
        match self.own_rows(name, fact)? {
            Some(rows) => Ok(Some(rows)),
            None => self.base.rows(name, fact),
        }
    }
}
