//! The pass `lora` as it is written: with files, which passes do not read.

use super::spec::LoraSpec;
use reflux_ir::Program;
use reflux_ir::pass::{
    About, Built, Changed, Exactness, Pass, PassContext, PassError, PassInfo, Property, options_of,
};
use reflux_passes::LoraMode;
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Applies LoRAs of any of the usual forms to the model: `docs/checkpoints.md` lists them.
///
/// Merged LoRAs cost nothing: weights are changed in f32 when they are read, before they are quantized. In programs such a
/// weight has `.lora` behind its name. Beside a product, `linear(x, W, b)` becomes
///
/// ```text
/// %y_lora_a = linear %x, @lora_A bf16[rank,in] : bf16[…,rank]
/// %y_lora_h = mul %y_lora_a, %lora_strength.0 : bf16[…,rank]
/// %y_lora = linear %y_lora_h, @lora_B bf16[out,rank] : bf16[…,out]
/// %y = add %y_base, %y_lora : bf16[…,out]
/// ```
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoraFiles {
    /// Files, each with its strength behind a colon if that is not 1: `[style.safetensors:0.8]`.
    #[serde(deserialize_with = "reflux_ir::pass::one_or_several")]
    pub files: Vec<String>,
    /// Where they are applied.
    #[serde(default)]
    pub mode: LoraMode,
    /// Leave out tensors that the model has no use for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[schemars(!skip_serializing_if)]
    pub partial: bool,
}

/// The pass in the registry.
pub const LORA: PassInfo = PassInfo {
    name: NAME,
    summary: "apply LoRAs, merged into weights or beside products",
    positional: None,
    example: "lora(files=[style.safetensors:0.8],mode=branch)",
    about: About::of::<LoraFiles>,
    build: LoraFiles::build,
};

/// What the pass is called.
pub const NAME: &str = "lora";

impl LoraFiles {
    /// What the pass is called.
    pub const NAME: &str = NAME;

    fn build(options: Map<String, Value>) -> Built {
        let files: Self = serde_json::from_value(Value::Object(options))?;
        files.specs().map_err(serde_json::Error::custom)?;
        Ok(Box::new(files))
    }

    /// The files and their strengths.
    ///
    /// # Errors
    /// If there are none, or a strength is none.
    pub fn specs(&self) -> Result<Vec<LoraSpec>, String> {
        if self.files.is_empty() {
            return Err("`files` must list at least one file".to_owned());
        }
        self.files.iter().map(|file| file.parse()).collect()
    }
}

impl Pass for LoraFiles {
    fn name(&self) -> &'static str {
        NAME
    }

    fn options(&self) -> Map<String, Value> {
        options_of(self)
    }

    fn exactness(&self) -> Exactness {
        Exactness::Lossy
    }

    fn requires(&self) -> &'static [Property] {
        self.mode.requires()
    }

    fn ends(&self) -> &'static [Property] {
        self.mode.ends()
    }

    /// Files are read where it is known which model they are for.
    fn run(&self, _: &mut Program, _: &mut PassContext) -> Result<Changed, PassError> {
        Err(PassError::Refused(
            "LoRAs are fitted to a model, and here is only a program: give a model's folder, or remove the pass".to_owned(),
        ))
    }
}
