//! The configuration files of a model.

use super::{Outcome, Target, original};
use crate::damage;
use fastrand::Rng;
use reflux_ir::{DType, verify};
use reflux_models::scheduler::Levels;
use reflux_models::{ModelConfig, Sizes};
use serde_json::Value;
use std::path::{Path, PathBuf};

const FILES: [&str; 6] = [
    "model_index.json",
    "transformer/config.json",
    "text_encoder/config.json",
    "text_encoder_2/config.json",
    "vae/config.json",
    "scheduler/scheduler_config.json",
];

/// Those of the bundled model, of which one is damaged.
pub struct Files(Vec<Value>);

impl Files {
    pub fn new() -> Self {
        Self(FILES.map(|file| serde_json::from_slice(&original(file)).expect("it is JSON")).to_vec())
    }
}

impl Target for Files {
    fn write(&self, rng: &mut Rng, folder: &Path) -> std::io::Result<PathBuf> {
        let damaged = rng.usize(..FILES.len());
        for (at, (file, value)) in FILES.iter().zip(&self.0).enumerate() {
            let path = folder.join(file);
            std::fs::create_dir_all(path.parent().expect("it is in the folder"))?;
            let mut value = value.clone();
            if at == damaged {
                damage::json(rng, &mut value);
            }
            let mut bytes = value.to_string().into_bytes();
            if at == damaged && rng.usize(0..5) == 0 {
                damage::bytes(rng, &mut bytes);
            }
            std::fs::write(path, bytes)?;
        }
        Ok(folder.join(FILES[damaged]))
    }

    fn read(&self, folder: &Path, _path: &Path) -> Outcome {
        let config = ModelConfig::read(folder).map_err(|error| error.to_string())?;
        let sizes = Sizes { batch: 1, steps: 2, text_tokens: 8, height: 32, width: 32, reference: None };
        let tokens = config.family().geometry.image_tokens(&sizes);
        config.schedule(&Levels::even(sizes.steps), tokens).map_err(|error| error.to_string())?;
        for net in config.family().nets {
            let program = config.lower(net, &sizes, DType::F32).map_err(|error| error.to_string())?;
            verify(&program).map_err(|error| format!("{} does not verify: {error}", net.folder))?;
        }
        Ok(())
    }
}
