//! What a diffusers folder says that it is: `model_index.json`.

use crate::Net;
use serde_json::{Map, Value};

/// Pipelines whose model draws from prompts. Those that edit pictures do so with the same weights, or with weights of the
/// same shapes.
const PIPELINES: &[&str] =
    &["FluxPipeline", "FluxImg2ImgPipeline", "FluxInpaintPipeline", "FluxKontextPipeline"];

/// The class of each network.
const CLASSES: [(Net, &str); 4] = [
    (Net::Transformer, "FluxTransformer2DModel"),
    (Net::Clip, "CLIPTextModel"),
    (Net::T5, "T5EncoderModel"),
    (Net::Vae, "AutoencoderKL"),
];

/// Whether a `model_index.json` is that of a model which Reflux draws with; networks that are `replaced` may be anything.
///
/// # Errors
/// What the model is instead.
pub(crate) fn check(index: &Map<String, Value>, replaced: impl Fn(Net) -> bool) -> Result<(), String> {
    if let Some(class) = index.get("_class_name").and_then(Value::as_str)
        && !PIPELINES.contains(&class)
    {
        let what = match kind_of(class) {
            Some(kind) => format!("{kind} (`{class}`)"),
            None => format!("a model for `{class}`"),
        };
        return Err(format!(
            "this is {what}, and Reflux draws from prompts with FLUX.1 alone; give FLUX.1-dev or FLUX.1-schnell, or a \
             model trained from them"
        ));
    }
    for (net, expected) in CLASSES {
        // A part is given as [library, class]; one that was left out as [null, null].
        let class = index.get(net.folder()).and_then(|part| part.get(1)?.as_str());
        if let Some(class) = class.filter(|class| *class != expected && !replaced(net)) {
            return Err(format!("`{}` is a `{class}`, not FLUX.1's `{expected}`", net.folder()));
        }
    }
    Ok(())
}

/// What models of a pipeline are called.
fn kind_of(class: &str) -> Option<&'static str> {
    let kinds = [
        ("FluxFill", "FLUX.1 Fill, which completes a picture"),
        ("FluxControlNet", "a ControlNet for FLUX.1"),
        ("FluxControl", "FLUX.1 Canny or FLUX.1 Depth, which follow the edges or the depth of a picture"),
        ("FluxPriorRedux", "FLUX.1 Redux, which varies a picture"),
        ("Flux2", "FLUX.2"),
        ("Chroma", "Chroma"),
        ("StableDiffusion", "Stable Diffusion"),
    ];
    kinds.into_iter().find_map(|(prefix, kind)| class.starts_with(prefix).then_some(kind))
}
