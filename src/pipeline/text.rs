//! Prompts to conditioning.

use super::networks::Networks;
use super::report::Record;
use super::resolved::Resolved;
use crate::Error;
use reflux_ir::HostTensor;
use reflux_ir::pass::counted;
use reflux_models::tokenizer::{Encoding, Tokenizer};
use reflux_models::{ModelConfig, ModelFiles, TextEncoder, names};
use std::ops::Range;

/// The most characters of a prompt that a warning shows.
const SHOWN: usize = 80;

/// The denoiser's conditioning: the value of each input that a text encoder makes. With classifier-free guidance it has
/// a batch of two, of the prompt and of the negative prompt.
pub(super) type Conditioning = Vec<(&'static str, HostTensor)>;

/// How many prompts are encoded before the first of them is drawn: text encoders may have to be loaded for them, and what
/// T5 makes of a prompt takes 8 MB.
const PROMPTS_AT_ONCE: usize = 32;

/// The conditioning of some prompts.
#[derive(Default)]
pub(super) struct Encoded {
    prompts: Range<usize>,
    conditioning: Vec<Conditioning>,
}

impl Encoded {
    /// The conditioning of the prompt of number `index`, if it is one of these.
    pub fn of(&self, index: usize) -> Option<&Conditioning> {
        self.conditioning.get(index.checked_sub(self.prompts.start)?)
    }
}

/// A text encoder and its tokenizer. With random weights there is no tokenizer, since prompts make no difference.
struct PromptReader {
    encoder: TextEncoder,
    tokenizer: Option<Tokenizer>,
}

/// The text encoders that turn prompts into conditioning.
pub(super) struct Prompts(Vec<PromptReader>);

impl Prompts {
    /// The text encoders of `model`, without tokenizers, for random weights.
    pub fn unread(model: &ModelConfig) -> Self {
        let reader = |encoder| PromptReader { encoder, tokenizer: None };
        Self(model.text_encoders().into_iter().map(reader).collect())
    }

    /// The text encoders of `model` with the tokenizers in the folder of its `files`, or the built-in ones if the model is a
    /// file of weights.
    ///
    /// # Errors
    /// If a tokenizer cannot be read, or has tokens that its text encoder does not know.
    pub fn open(files: &ModelFiles, model: &ModelConfig) -> Result<Self, Error> {
        let reader = |encoder: TextEncoder| {
            let folder = files.folder().join(encoder.tokenizer);
            let tokenizer = match files.is_file() && !folder.is_dir() {
                true => (encoder.built_in_tokenizer)()?,
                false => (encoder.open_tokenizer)(&folder)?,
            };
            tokenizer.check_vocabulary(&folder, encoder.vocab_size)?;
            Ok(PromptReader { encoder, tokenizer: Some(tokenizer) })
        };
        Ok(Self(model.text_encoders().into_iter().map(reader).collect::<Result<_, Error>>()?))
    }

    /// Encodes the prompt of number `index` and some after it, and with each the negative prompt if it is used.
    pub fn encode(
        &self,
        index: usize,
        networks: &mut Networks,
        request: &Resolved,
        record: &mut Record,
    ) -> Result<Encoded, Error> {
        let prompts = index..request.prompts.len().min(index + PROMPTS_AT_ONCE);
        let encoded = request.prompts[prompts.clone()]
            .iter()
            .map(|prompt| self.encode_prompt(prompt, networks, request, record));
        Ok(Encoded { conditioning: encoded.collect::<Result<_, _>>()?, prompts })
    }

    fn encode_prompt(
        &self,
        prompt: &str,
        networks: &mut Networks,
        request: &Resolved,
        record: &mut Record,
    ) -> Result<Conditioning, Error> {
        warn_of_tags(prompt, record);
        let mut parts = vec![Vec::new(); self.0.len()];
        for text in std::iter::once(prompt).chain(request.negative()) {
            for (reader, parts) in self.0.iter().zip(&mut parts) {
                parts.push(reader.encode(text, networks, request, record)?);
            }
        }
        let inputs = self.0.iter().map(|reader| reader.encoder.input);
        Ok(inputs.zip(parts.into_iter().map(stack)).collect())
    }
}

impl PromptReader {
    /// The result of the text encoder for `text`.
    fn encode(
        &self,
        text: &str,
        networks: &mut Networks,
        request: &Resolved,
        record: &mut Record,
    ) -> Result<HostTensor, Error> {
        let TextEncoder { net, name, result, .. } = self.encoder;
        let ids = self.tokens(text, self.encoder.tokens.unwrap_or(request.max_sequence_length), record)?;
        let encoder = networks.get(net, request.sizes_of(net), record)?;
        record.enter(format!("encode with {name}"));
        encoder.bind(names::IDS, &ids)?;
        let result = encoder.step(0)?.remove(result).expect("the text encoder's result");
        networks.check_finite(net, &format!("for the prompt {text:?}"), &result)?;
        Ok(result)
    }

    /// The tokens of `text` that the encoder reads: `i32[1, length]`.
    fn tokens(&self, text: &str, length: usize, record: &mut Record) -> Result<HostTensor, Error> {
        let Some(tokenizer) = &self.tokenizer else {
            return Ok(HostTensor::from_i32([1, length], &vec![1; length]));
        };
        let encoding = tokenizer.encode(text, length)?;
        warn_if_cut(self.encoder.name, length, &encoding, record);
        Ok(HostTensor::from_i32([1, length], &encoding.ids))
    }
}

/// The warning about `<lora:NAME:0.8>`, which other programs remove from prompts.
fn warn_of_tags(prompt: &str, record: &mut Record) {
    let Some((_, tag)) = prompt.split_once("<lora:") else { return };
    let tag: String = tag.split('>').next().unwrap_or_default().chars().take(SHOWN).collect();
    record.warn(format!(
        "{:?} in the prompt is read as ordinary words: LoRAs are given with --lora FILE:STRENGTH",
        format!("<lora:{tag}>")
    ));
}

fn warn_if_cut(encoder: &str, length: usize, encoding: &Encoding, record: &mut Record) {
    let Some(cut) = &encoding.cut else { return };
    let shown: String = cut.chars().take(SHOWN).collect();
    let hidden = cut.chars().count() - shown.chars().count();
    let rest = if hidden > 0 { format!(" … and {hidden} more characters") } else { String::new() };
    record.warn(format!(
        "{encoder} reads {}; it does not see the end of the prompt: {shown:?}{rest}",
        counted(length, "token")
    ));
}

/// `count` for a batch: `each`, and the last one for those that are lacking.
pub(super) fn filled<T>(each: &[T], count: usize) -> impl Iterator<Item = &T> {
    let last = each.last().expect("a batch has a picture");
    each.iter().chain(std::iter::repeat(last)).take(count)
}

/// The conditioning of a batch of `count` pictures, from that of each.
pub(super) fn together(each: &[Conditioning], count: usize) -> Conditioning {
    let all: Vec<&Conditioning> = filled(each, count).collect();
    let input = |(index, (input, _)): (usize, &(&'static str, HostTensor))| {
        let parts: Vec<HostTensor> = all.iter().map(|picture| picture[index].1.clone()).collect();
        (*input, stack(parts))
    };
    all[0].iter().enumerate().map(input).collect()
}

/// Tensors of one shape and dtype along the batch axis.
pub(super) fn stack(mut parts: Vec<HostTensor>) -> HostTensor {
    if parts.len() == 1 {
        return parts.remove(0);
    }
    let mut shape = parts[0].shape.clone();
    shape[0] = parts.iter().map(|part| part.shape[0]).sum();
    let bytes: Vec<&[u8]> = parts.iter().map(|part| &part.bytes[..]).collect();
    HostTensor::new(parts[0].dtype, shape, bytes.concat())
}
