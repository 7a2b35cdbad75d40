//! Prompts to conditioning.

use super::request::Resolved;
use super::{Clock, FluxPipeline};
use crate::Error;
use reflux_ir::HostTensor;
use reflux_ir::pass::counted;
use reflux_models::tokenizer::{ClipTokenizer, Encoding, T5Tokenizer};
use reflux_models::{ModelConfig, Net};
use std::path::Path;

/// So many characters of a prompt are shown in a warning.
const SHOWN: usize = 80;

pub(super) struct Tokenizers {
    clip: ClipTokenizer,
    t5: T5Tokenizer,
}

impl Tokenizers {
    /// The tokenizers of a model folder whose text encoders are as `config` says.
    pub fn open(folder: &Path, config: &ModelConfig) -> Result<Self, Error> {
        let [clip_folder, t5_folder] = ["tokenizer", "tokenizer_2"].map(|name| folder.join(name));
        let clip = ClipTokenizer::open(&clip_folder)?;
        clip.check_vocabulary(&clip_folder, config.clip.vocab_size)?;
        let t5 = T5Tokenizer::open(&t5_folder)?;
        t5.check_vocabulary(&t5_folder, config.t5.vocab_size)?;
        Ok(Self { clip, t5 })
    }
}

/// What the transformer is conditioned on; two of each with classifier-free guidance.
pub(super) struct Conditioning {
    /// T5's last hidden state, `[batch, tokens, d_model]`.
    pub prompt: HostTensor,
    /// CLIP's pooled output, `[batch, hidden]`.
    pub pooled: HostTensor,
}

impl FluxPipeline {
    /// Encodes each prompt, and with each the negative prompt if it is used.
    pub(super) fn encode(
        &mut self,
        request: &Resolved,
        clock: &mut Clock,
    ) -> Result<Vec<Conditioning>, Error> {
        let encoded = request.prompts.iter().map(|prompt| self.encode_prompt(prompt, request, clock));
        encoded.collect()
    }

    fn encode_prompt(
        &mut self,
        prompt: &str,
        request: &Resolved,
        clock: &mut Clock,
    ) -> Result<Conditioning, Error> {
        self.warn_of_tags(prompt);
        let mut pooled = Vec::new();
        let mut hidden = Vec::new();
        let of = |text: &str| format!("for the prompt {text:?}");
        for text in std::iter::once(prompt).chain(request.negative()) {
            let length = self.config.clip.max_position_embeddings;
            let ids = self.tokens(Net::Clip, text, length)?;
            let clip = self.network(Net::Clip, request.sizes_of(Net::Clip), clock)?;
            clock.enter("encode with CLIP");
            clip.bind("ids", &ids)?;
            let result = clip.step(0)?.remove("pooled").expect("CLIP's result");
            self.check_finite(Net::Clip, &of(text), &result)?;
            pooled.push(result);

            let length = request.max_sequence_length;
            let ids = self.tokens(Net::T5, text, length)?;
            let t5 = self.network(Net::T5, request.sizes_of(Net::T5), clock)?;
            clock.enter("encode with T5");
            t5.bind("ids", &ids)?;
            let result = t5.step(0)?.remove("prompt").expect("T5's result");
            self.check_finite(Net::T5, &of(text), &result)?;
            hidden.push(result);
        }
        Ok(Conditioning { prompt: stack(&hidden), pooled: stack(&pooled) })
    }

    /// What `encoder` reads of `text`: `i32[1, length]`.
    fn tokens(&mut self, encoder: Net, text: &str, length: usize) -> Result<HostTensor, Error> {
        let Some(tokenizers) = &self.tokenizers else {
            return Ok(HostTensor::from_i32([1, length], &vec![1; length]));
        };
        let (name, encoding) = match encoder {
            Net::Clip => ("CLIP", tokenizers.clip.encode(text, length)?),
            _ => ("T5", tokenizers.t5.encode(text, length)?),
        };
        self.warn_if_cut(name, length, &encoding);
        Ok(HostTensor::from_i32([1, length], &encoding.ids))
    }

    /// Other programs take `<lora:NAME:0.8>` out of prompts.
    fn warn_of_tags(&mut self, prompt: &str) {
        let Some((_, tag)) = prompt.split_once("<lora:") else { return };
        let tag: String = tag.split('>').next().unwrap_or_default().chars().take(SHOWN).collect();
        self.warn(format!(
            "{:?} in the prompt is read as words: Reflux cannot apply LoRAs yet",
            format!("<lora:{tag}>")
        ));
    }

    fn warn_if_cut(&mut self, encoder: &str, length: usize, encoding: &Encoding) {
        let Some(cut) = &encoding.cut else { return };
        let shown: String = cut.chars().take(SHOWN).collect();
        let hidden = cut.chars().count() - shown.chars().count();
        let rest = if hidden > 0 { format!(" … and {hidden} more characters") } else { String::new() };
        let warning = format!(
            "{encoder} takes {}; it does not see the end of the prompt: {shown:?}{rest}",
            counted(length, "token")
        );
        self.warn(warning);
    }

    /// Warns once.
    fn warn(&mut self, warning: String) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }
}

/// Tensors of one shape and dtype along the batch axis.
fn stack(parts: &[HostTensor]) -> HostTensor {
    let mut shape = parts[0].shape.clone();
    shape[0] = parts.iter().map(|part| part.shape[0]).sum();
    HostTensor::new(parts[0].dtype, shape, parts.iter().flat_map(|part| part.bytes.iter().copied()).collect())
}
