//! Prompts as networks read them.

use reflux_ir::HostTensor;
use reflux_models::tokenizer::{self, Tokenizer, TokenizerError};
use std::path::{Path, PathBuf};

/// Files by which a folder is known to have a tokenizer.
const TOKENIZERS: [&str; 2] = ["tokenizer.json", "vocab.json"];

/// Files that a tokenizer may be read from besides.
const OTHERS: [&str; 3] = ["merges.txt", "tokenizer_config.json", "special_tokens_map.json"];

/// The tokens of prompts, and which of them are padding.
pub struct Prompts {
    tokenizer: Tokenizer,
    /// How many a network reads.
    length: usize,
    folder: PathBuf,
}

impl Prompts {
    /// Those that a network with the file `network` reads, `length` tokens each; none if no tokenizer is in the same folder or,
    /// where that is one for ONNX files alone, in the one around it.
    pub fn beside(network: &Path, length: usize) -> Result<Option<Self>, TokenizerError> {
        let own = network.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let around = own.join("..");
        let has = |folder: &&Path| TOKENIZERS.iter().any(|file| folder.join(file).is_file());
        let folder = [own, &around].into_iter().find(has);
        let Some(folder) = folder else { return Ok(None) };
        Ok(Some(Self { tokenizer: tokenizer::clip(folder)?, length, folder: folder.to_owned() }))
    }

    /// The files that say which tokens a prompt has.
    pub fn files(&self) -> Vec<PathBuf> {
        let files = TOKENIZERS.iter().chain(&OTHERS).map(|file| self.folder.join(file));
        files.filter(|file| file.is_file()).collect()
    }

    /// The tokens of `prompt`, and 1 where they are not padding, both `i32[1, tokens]`.
    pub fn tensors(&self, prompt: &str) -> Result<[HostTensor; 2], TokenizerError> {
        let encoding = self.tokenizer.encode(prompt, self.length)?;
        let mask: Vec<i32> = (0..self.length).map(|at| i32::from(at < encoding.tokens)).collect();
        Ok([encoding.ids, mask].map(|numbers| HostTensor::from_i32([1, self.length], &numbers)))
    }
}
