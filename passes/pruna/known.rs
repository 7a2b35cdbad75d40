//! What Pruna 0.3 knows: its algorithms, and the other keys of its configurations.

use super::error::PrunaError;
use reflux_ir::pass::did_you_mean;
use serde_json::Value;

/// An algorithm of Pruna's.
pub struct Algorithm {
    pub name: &'static str,
    /// Its hyper-parameters. Those of algorithms that have no counterpart are not looked at.
    pub options: &'static [&'static str],
    pub counterpart: Counterpart,
}

/// What to do for an algorithm.
#[derive(Clone, Copy)]
pub enum Counterpart {
    /// The `cache` pass, by a method of the same name.
    Cache,
    /// The `quantize` pass.
    Quantize,
    /// The pass of this name, which has no options.
    Pass(&'static str),
    /// Nothing, and why.
    Nothing(&'static str),
    /// Reflux has no counterpart; what to use instead.
    Lacking(&'static str),
}

impl Algorithm {
    /// The algorithm called `name`.
    pub fn find(name: &str) -> Option<&'static Self> {
        ALGORITHMS.iter().find(|algorithm| algorithm.name.eq_ignore_ascii_case(name))
    }

    /// The algorithm and the option that a key `torchao_quant_type` means.
    pub fn of_key(key: &str) -> Option<(&'static Self, &str)> {
        let option = |algorithm: &Self| key.strip_prefix(algorithm.name)?.strip_prefix('_');
        let all = ALGORITHMS.iter().filter_map(|algorithm| Some((algorithm, option(algorithm)?)));
        // `hqq_diffusers_backend` is an option of `hqq_diffusers`, not of `hqq`.
        all.max_by_key(|(algorithm, _)| algorithm.name.len())
            .filter(|(algorithm, option)| algorithm.has(option))
    }

    /// Whether `option` is one of its options.
    pub fn has(&self, option: &str) -> bool {
        matches!(self.counterpart, Counterpart::Lacking(_)) || self.options.contains(&option)
    }

    /// The key of an option: `torchao_quant_type`.
    pub fn key(&self, option: &str) -> String {
        format!("{}_{option}", self.name)
    }
}

/// What the options of what needs nothing can be: what is none of that was meant for something else.
const VALUES: [(&str, &[&str]); 6] = [
    ("torch_compile_mode", &["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"]),
    ("torch_compile_backend", &["inductor", "cudagraphs", "onnxrt", "tvm", "openvino", "openxla"]),
    ("torch_compile_target", &["model", "module_list"]),
    ("torch_compile_fullgraph", &["true", "false"]),
    ("torch_compile_dynamic", &["true", "false"]),
    ("torch_compile_make_portable", &["true", "false"]),
];

/// Refuses a value that the option `key` cannot have in Pruna.
pub fn check_value(key: &str, value: &Value) -> Result<(), PrunaError> {
    let Some((_, known)) = VALUES.iter().find(|(name, _)| *name == key) else { return Ok(()) };
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    if known.iter().any(|name| name.eq_ignore_ascii_case(&text)) {
        return Ok(());
    }
    let meant = did_you_mean(&nearest(&text.to_lowercase(), known.iter().map(|&name| name.to_owned())));
    Err(PrunaError::value(key, format!("it cannot be `{text}`{meant}; it is one of {}", known.join(", "))))
}

/// The known key nearest to one that is unknown, if any is near.
pub fn nearest_key(key: &str) -> Option<String> {
    let options =
        |algorithm: &'static Algorithm| algorithm.options.iter().map(|option| algorithm.key(option));
    let names = GROUPS.iter().copied().chain(ARGUMENTS.iter().map(|(name, _)| *name)).map(str::to_owned);
    let algorithms = ALGORITHMS.iter().map(|algorithm| algorithm.name.to_owned());
    nearest(key, names.chain(algorithms).chain(ALGORITHMS.iter().flat_map(options)))
}

/// The one of `known` nearest to `word`, if any is near.
pub fn nearest(word: &str, known: impl Iterator<Item = String>) -> Option<String> {
    let (distance, nearest) = known.map(|name| (strsim::levenshtein(&name, word), name)).min()?;
    (distance <= 1 + nearest.len() / 3).then_some(nearest)
}

/// Keys of the old form, whose values are names of algorithms.
pub const GROUPS: [&str; 12] = [
    "batcher",
    "cacher",
    "compiler",
    "decoder",
    "distiller",
    "distributer",
    "enhancer",
    "factorizer",
    "kernel",
    "pruner",
    "quantizer",
    "recoverer",
];

const UNSAVED: &str = "nothing to do, Reflux stores no smashed models";

/// Keys that name no algorithm, and what to do instead.
pub const ARGUMENTS: [(&str, &str); 12] = [
    ("batch_size", "nothing to do, each request says how many pictures to make"),
    ("max_batch_size", "nothing to do, each request says how many pictures to make"),
    ("device", "not a pass, the device is selected where the program runs"),
    ("device_map", "nothing to do, Reflux runs on one device"),
    ("cache_dir", UNSAVED),
    ("cache_dir_prefix", UNSAVED),
    ("save_fns", UNSAVED),
    ("save_artifacts_fns", UNSAVED),
    ("load_fn", UNSAVED),
    ("load_fns", UNSAVED),
    ("load_artifacts_fns", UNSAVED),
    ("reapply_after_load", UNSAVED),
];

const COMPILED: Counterpart = Counterpart::Nothing("nothing to do, Reflux always runs its own compiled plan");
const KERNEL: Counterpart = Counterpart::Nothing("nothing to do, the runtime has its own kernels");
const NOT_FLUX: Counterpart = Counterpart::Lacking("it is not for FLUX; remove it");
const TRAINED: Counterpart = Counterpart::Lacking("Reflux does not train; remove it");
const PRUNED: Counterpart = Counterpart::Lacking("Reflux removes no weights; remove it");
const FINISHED: Counterpart = Counterpart::Lacking("Reflux does not process finished pictures; remove it");

const fn algorithm(
    name: &'static str,
    options: &'static [&'static str],
    counterpart: Counterpart,
) -> Algorithm {
    Algorithm { name, options, counterpart }
}

static ALGORITHMS: &[Algorithm] = &[
    algorithm("fora", &["interval", "start_step", "backbone_calls_per_step"], Counterpart::Cache),
    algorithm("pab", &["interval"], Counterpart::Cache),
    algorithm("fastercache", &["interval"], Counterpart::Cache),
    algorithm("torchao", &["quant_type", "excluded_modules", "target_modules"], Counterpart::Quantize),
    algorithm(
        "torch_compile",
        &[
            "mode",
            "backend",
            "fullgraph",
            "dynamic",
            "target",
            "make_portable",
            "max_kv_cache_size",
            "seqlen_manual_cuda_graph",
        ],
        COMPILED,
    ),
    algorithm("stable_fast", &[], COMPILED),
    algorithm("x_fast", &["fn_to_compile", "xformers"], COMPILED),
    algorithm("flash_attn3", &["fp8", "target_modules"], KERNEL),
    algorithm("sage_attn", &["target_modules"], KERNEL),
    algorithm(
        "ring_attn",
        &["convert_to_f32", "rotate_method"],
        Counterpart::Nothing("nothing to do, Reflux runs on one device"),
    ),
    algorithm("qkv_diffusers", &[], Counterpart::Pass("merge-linear")),
    algorithm("half", &[], Counterpart::Nothing("not a pass, the dtype f16 computes in half precision")),
    algorithm(
        "padding_pruning",
        &["min_sequence_length"],
        Counterpart::Nothing(
            "not a pass, the maximum sequence length of a request sets the number of T5 tokens",
        ),
    ),
    algorithm(
        "deepcache",
        &["interval"],
        Counterpart::Lacking(
            "it caches blocks of a UNet, which FLUX does not have; use fora, pab or fastercache",
        ),
    ),
    algorithm("hqq_diffusers", &[], Counterpart::Lacking("the nearest is torchao with quant_type = int4wo")),
    algorithm("diffusers_int8", &[], Counterpart::Lacking("the nearest is torchao with quant_type = int8dq")),
    algorithm("torch_dynamic", &[], Counterpart::Lacking("the nearest is torchao with quant_type = int8dq")),
    algorithm("quanto", &[], Counterpart::Lacking("the nearest is torchao with quant_type = int8wo")),
    algorithm(
        "hyper",
        &[],
        Counterpart::Lacking("it distils a model to fewer steps; FLUX.1-schnell is such a model"),
    ),
    algorithm("awq", &[], NOT_FLUX),
    algorithm("c_generate", &[], NOT_FLUX),
    algorithm("c_translate", &[], NOT_FLUX),
    algorithm("c_whisper", &[], NOT_FLUX),
    algorithm("gptq", &[], NOT_FLUX),
    algorithm("hqq", &[], NOT_FLUX),
    algorithm("ifw", &[], NOT_FLUX),
    algorithm("kvpress", &[], NOT_FLUX),
    algorithm("llama_cpp", &[], NOT_FLUX),
    algorithm("llm_int8", &[], NOT_FLUX),
    algorithm("moe_kernel_tuner", &[], NOT_FLUX),
    algorithm("reduce_noe", &[], NOT_FLUX),
    algorithm("token_merging", &[], NOT_FLUX),
    algorithm("zipar", &[], NOT_FLUX),
    algorithm("torch_structured", &[], PRUNED),
    algorithm("torch_unstructured", &[], PRUNED),
    algorithm("text_to_image_distillation_inplace_perp", &[], TRAINED),
    algorithm("text_to_image_distillation_lora", &[], TRAINED),
    algorithm("text_to_image_distillation_perp", &[], TRAINED),
    algorithm("text_to_image_inplace_perp", &[], TRAINED),
    algorithm("text_to_image_lora", &[], TRAINED),
    algorithm("text_to_image_perp", &[], TRAINED),
    algorithm("text_to_text_inplace_perp", &[], TRAINED),
    algorithm("text_to_text_lora", &[], TRAINED),
    algorithm("text_to_text_perp", &[], TRAINED),
    algorithm("img2img_denoise", &[], FINISHED),
    algorithm("realesrgan_upscale", &[], FINISHED),
];

/// The names of all algorithms.
pub fn algorithm_names() -> impl Iterator<Item = String> {
    ALGORITHMS.iter().map(|algorithm| algorithm.name.to_owned())
}
