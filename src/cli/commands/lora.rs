//! `reflux lora`

use crate::cli::console::print;
use crate::cli::lowering::{ModelArg, built_in_names};
use crate::{Error, VERSION};
use reflux_ir::pass::counted;
use reflux_models::ModelError;
use reflux_models::lora::{Lora, LoraFile, LoraInfo, LoraUse};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    /// A LoRA: a safetensors file, or a folder with one
    file: PathBuf,
    /// Also say what of this model it changes: a folder in diffusers layout, or an id in the Hugging Face Hub's local cache
    #[arg(long, value_name = "DIR|ID", conflicts_with = "config")]
    model: Option<PathBuf>,
    /// The same of a built-in configuration
    #[arg(long, value_name = "NAME", value_parser = built_in_names())]
    config: Option<String>,
    /// Print everything as one JSON object
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Summary {
    version: &'static str,
    #[serde(flatten)]
    info: LoraInfo,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    /// What of the model it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    fit: Option<LoraUse>,
}

pub fn lora(args: &Args) -> Result<(), Error> {
    let file = LoraFile::open(&args.file).map_err(ModelError::from)?;
    let info = file.info().map_err(ModelError::from)?;
    let model = match (&args.model, &args.config) {
        (Some(model), _) => Some((model.display().to_string(), ModelArg::read(model)?)),
        (None, Some(name)) => Some((name.clone(), ModelArg::built_in(name).expect("clap knows the names"))),
        (None, None) => None,
    };
    let (model, fit) = match model {
        Some((name, model)) => (Some(name), Some(Lora::fit(file, &**model.config(), true)?.uses())),
        None => (None, None),
    };
    let summary = Summary { version: VERSION, info, model, fit };
    if args.json {
        let json = serde_json::to_string_pretty(&summary).expect("a summary is plain data");
        return print(&format!("{json}\n"));
    }
    print(&text(&summary))
}

fn text(Summary { info, model, fit, .. }: &Summary) -> String {
    let mut text = format!("{}\n", info.path.display());
    let mut line = |what: &str, value: &dyn Display| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {what:<9} {value}");
    };
    let texts = [("title", &info.title), ("trigger", &info.trigger), ("base", &info.base)];
    for (what, value) in texts.into_iter().filter_map(|(what, value)| Some((what, value.as_ref()?))) {
        line(what, value);
    }
    line("form", &joined(info.forms.iter()));
    line(
        "kind",
        &joined(info.kinds.iter().map(|(kind, count)| format!("{kind} of {}", counted(*count, "module")))),
    );
    if !info.ranks.is_empty() {
        line(
            "rank",
            &joined(info.ranks.iter().map(|(rank, count)| format!("{rank} ({})", counted(*count, "module")))),
        );
    }
    line("alpha", &if info.alphas.is_empty() { "none".to_owned() } else { joined(info.alphas.iter()) });
    line("size", &counted(info.parameters, "parameter"));
    let (denoiser, text_encoders) = (info.denoiser_modules, info.text_encoder_modules);
    line("modules", &format!("{denoiser} of the transformer, {text_encoders} of text encoders"));
    let (Some(model), Some(LoraUse { modules, tensors, unused })) = (model, fit) else { return text };
    let _ = writeln!(text, "changes {model}");
    for (folder, count) in modules {
        let tensors = counted(tensors.get(folder).copied().unwrap_or(0), "tensor");
        let _ = writeln!(text, "  {folder:<14} {}, {tensors} of the model", counted(*count, "module"));
    }
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    unused.iter().for_each(|unused| reasons.entry(&unused.why).or_default().push(&unused.key));
    for (why, keys) in reasons {
        let _ = writeln!(text, "  not used: {} ({why})", counted(keys.len(), "tensor"));
        keys.iter().for_each(|key| text += &format!("    {key}\n"));
    }
    if !unused.is_empty() {
        text += "  it is refused without --lora-partial\n";
    }
    text
}

fn joined<T: Display>(parts: impl Iterator<Item = T>) -> String {
    parts.map(|part| part.to_string()).collect::<Vec<_>>().join(", ")
}
