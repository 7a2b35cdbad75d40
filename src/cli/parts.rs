//! Networks that are given by themselves.

use reflux_models::Parts;
use std::path::{Path, PathBuf};

/// Weights in place of those in the model's folder.
#[derive(clap::Args)]
pub struct PartArgs {
    /// Other weights for the transformer: a file, such as flux1-dev.safetensors, a folder, or a model that has some
    #[arg(long, value_name = "FILE|DIR")]
    transformer: Option<PathBuf>,
    /// Other weights for the autoencoder, such as ae.safetensors
    #[arg(long, value_name = "FILE|DIR")]
    vae: Option<PathBuf>,
    /// Other weights for the text encoder CLIP, such as clip_l.safetensors
    #[arg(long, value_name = "FILE|DIR")]
    clip: Option<PathBuf>,
    /// Other weights for the text encoder T5, such as t5xxl_fp16.safetensors
    #[arg(long, value_name = "FILE|DIR")]
    t5: Option<PathBuf>,
}

impl PartArgs {
    /// The networks that are given.
    pub fn parts(&self) -> Parts {
        Parts {
            transformer: self.transformer.clone(),
            clip: self.clip.clone(),
            t5: self.t5.clone(),
            vae: self.vae.clone(),
        }
    }

    /// Where they are.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        [&self.transformer, &self.vae, &self.clip, &self.t5].into_iter().flatten().map(PathBuf::as_path)
    }

    /// The first of the options that is given.
    pub fn given(&self) -> Option<&'static str> {
        let options = [
            ("--transformer", &self.transformer),
            ("--vae", &self.vae),
            ("--clip", &self.clip),
            ("--t5", &self.t5),
        ];
        options.into_iter().find_map(|(option, given)| given.is_some().then_some(option))
    }
}
