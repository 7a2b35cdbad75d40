//! LoRAs of every form that trainers write.

use super::tensors::{self, Tensor};
use super::{Outcome, Target, fixture, folder};
use fastrand::Rng;
use reflux_ir::{DType, Fact, WeightSource};
use reflux_models::lora::{Kept, Lora, LoraFile, LoraWeights, Loras, MERGED};
use reflux_models::weights::Weights;
use reflux_models::{ModelConfig, Net};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One file of each form.
const FORMS: [&str; 9] =
    ["b_kohya", "b_peft", "bfl_all", "comfy", "dora", "kohya_clip", "onetrainer", "peft_metadata", "xlabs"];

/// How many of the tensors that a LoRA changes are made: all are made in one way.
const MADE: usize = 2;

/// LoRAs on the bundled model.
pub struct Files {
    forms: Vec<(Vec<Tensor>, Value)>,
    config: ModelConfig,
    bases: Vec<(&'static Net, Arc<Weights>)>,
}

impl Files {
    pub fn new() -> Self {
        let config = ModelConfig::read(&folder()).expect("the bundled model can be read");
        let forms = FORMS.map(|form| tensors::read(&fixture(&format!("lora/{form}.safetensors"))));
        let open = |net: &&'static Net| {
            let weights = Weights::open_for(net, folder().join(net.folder));
            (*net, Arc::new(weights.expect("the bundled model can be read")))
        };
        let bases = config.family().nets.iter().map(open).collect();
        Self { forms: forms.to_vec(), config, bases }
    }
}

impl Target for Files {
    fn write(&self, rng: &mut Rng, folder: &Path) -> std::io::Result<PathBuf> {
        let (mut tensors, metadata) = self.forms[rng.usize(..self.forms.len())].clone();
        // Files of some modules have all that is of interest, and take less time.
        if rng.bool() {
            let module = tensors[rng.usize(..tensors.len())].name.clone();
            let stem = &module[..module.len().min(24)];
            tensors.retain(|tensor| tensor.name.starts_with(stem));
        }
        let path = folder.join("lora.safetensors");
        std::fs::write(&path, tensors::damaged(rng, tensors, metadata))?;
        Ok(path)
    }

    fn read(&self, _folder: &Path, path: &Path) -> Outcome {
        let said = |error: &dyn std::error::Error| error.to_string();
        let open = || LoraFile::open(path).map_err(|error| said(&error));
        let _ = open()?.info().map_err(|error| said(&error));
        let whole = Lora::fit(open()?, &*self.config, false).map_err(|error| said(&error));
        let lora = match whole {
            Ok(lora) => lora,
            Err(error) => Lora::fit(open()?, &*self.config, true).map_err(|_| error)?,
        };
        let lora = Arc::new(lora);
        for kept in [Kept::Merged, Kept::Beside(0)] {
            let mut loras = Loras::default();
            loras.push(lora.clone(), 0.7, kept);
            loras.push(lora.clone(), 0.2, kept);
            for (net, base) in &self.bases {
                let weights = LoraWeights::new(base.clone(), net, loras.clone());
                for name in loras.merged(net).into_iter().take(MADE) {
                    let shape = base.shape(name).expect("a LoRA fits tensors that there are");
                    let fact = Fact::new(DType::F32, shape.to_vec());
                    weights.weight(&format!("{name}{MERGED}"), &fact).map_err(|error| said(&error))?;
                }
                for low_rank in loras.beside(net).into_iter().take(MADE) {
                    let shape = base.shape(&low_rank.weight).expect("a LoRA fits tensors that there are");
                    let rank = low_rank.parts.iter().map(|part| part.rank).sum();
                    for (name, shape) in [(low_rank.down, [rank, shape[1]]), (low_rank.up, [shape[0], rank])]
                    {
                        let fact = Fact::new(DType::BF16, shape);
                        weights.weight(&name, &fact).map_err(|error| said(&error))?;
                    }
                }
            }
        }
        Ok(())
    }
}
