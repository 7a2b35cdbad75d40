//! Translation of [Pruna](https://github.com/PrunaAI/pruna)'s configurations into recipes of Reflux.

mod error;
mod known;
mod smash;
mod targets;

use crate::{PASSES, registry};
pub use error::PrunaError;

use known::{Algorithm, Counterpart, check_value};
use reflux_ir::pass::{PassConfig, PassInfo, Pipeline, Recipe};
use serde_json::{Map, Value, json};
use smash::Smash;
use targets::Targets;

/// The translation of a Pruna configuration.
#[derive(Debug)]
pub struct Translation {
    /// The passes to run with the default ones.
    pub recipe: Recipe,
    /// What each of its keys became, or why it needs nothing.
    pub notes: Vec<String>,
}

/// The order in which Pruna's caches can follow each other: whole blocks before what is in them.
const CACHES: [&str; 3] = ["fora", "pab", "fastercache"];

/// The passes that do what the `SmashConfig` in `table` asks for.
///
/// Both forms are understood, also mixed: `{"cacher": "fora", "fora_interval": 3}`, as Pruna had it up to 0.2 and as it
/// still saves, and `{"fora": {"interval": 3}}`. Defaults are Pruna's. Settings that only make a model faster
/// (compilers, kernels) need nothing and give a note; settings without a counterpart are errors.
///
/// Patterns of `target_modules` mean what they do in Pruna, with one difference: there they match only the path of a linear
/// itself, here also that of a module that contains it. `outside_blocks` are the modules of the model outside its blocks that
/// hold linears.
pub fn translate(table: &Map<String, Value>, outside_blocks: &[&str]) -> Result<Translation, PrunaError> {
    let Smash { algorithms, mut notes } = Smash::read(table)?;
    let mut quantize = None;
    let mut caches = Vec::new();
    let mut plain = Vec::new();
    for (algorithm, options) in &algorithms {
        match algorithm.counterpart {
            Counterpart::Cache => caches.push(cache(algorithm, options, &mut notes)?),
            Counterpart::Quantize => quantize = torchao(algorithm, options, &mut notes)?,
            Counterpart::Pass(name) => {
                notes.push(format!("{}: {name}", algorithm.name));
                plain.push(json!(name));
            }
            Counterpart::Nothing(why) => {
                options.iter().try_for_each(|(option, value)| check_value(&algorithm.key(option), value))?;
                let keys = options.keys().map(|option| algorithm.key(option));
                let keys: Vec<_> = [algorithm.name.to_owned()].into_iter().chain(keys).collect();
                notes.push(format!("{}: {why}", keys.join(", ")));
            }
            Counterpart::Lacking(why) => return Err(PrunaError::Lacking { algorithm: algorithm.name, why }),
        }
    }
    caches.sort_by_key(|draft| CACHES.iter().position(|name| *name == draft.algorithm));
    if let (Some(draft), true) = (&mut quantize, compiles_blocks_alone(&algorithms)) {
        draft.set("torch_compile_target", "skip", with(draft.options.get("skip"), outside_blocks))?;
        notes.push(
            "torch_compile_target = module_list: modules outside the blocks are not quantized, as in Pruna"
                .into(),
        );
    }
    let drafts: Vec<Draft> = quantize.into_iter().chain(caches).collect();
    let passes: Vec<Value> = drafts.iter().map(Draft::entry).chain(plain).collect();
    let own = Map::from_iter([("version".into(), json!(1)), ("passes".into(), passes.into())]);
    let recipe = PassConfig::read(&own, &registry()).expect("each pass has been built").recipe;
    let wanted = recipe.pipeline(&Pipeline::new());
    let became = drafts.iter().enumerate();
    let became = became.map(|(index, draft)| format!("{}: {}", draft.algorithm, wanted.text_of(index)));
    let notes = became.chain(notes).collect();
    Ok(Translation { recipe, notes })
}

/// A pass in the making.
struct Draft {
    algorithm: &'static str,
    info: &'static PassInfo,
    options: Map<String, Value>,
}

impl Draft {
    fn new(algorithm: &Algorithm, pass: &str) -> Self {
        let info = PASSES.iter().find(|info| info.name == pass).expect("it is a pass");
        Self { algorithm: algorithm.name, info, options: Map::new() }
    }

    /// Sets an option that Pruna calls `key`; errors of the pass name that key.
    fn set(&mut self, key: &str, option: &str, value: impl Into<Value>) -> Result<(), PrunaError> {
        self.options.insert(option.to_owned(), value.into());
        let built = self.info.with_options(self.options.clone());
        built.map(drop).map_err(|error| PrunaError::value(key, error))
    }

    /// The pass as configurations of Reflux have it.
    fn entry(&self) -> Value {
        let mut entry = self.options.clone();
        entry.insert("pass".into(), self.info.name.into());
        entry.into()
    }
}

fn cache(
    algorithm: &Algorithm,
    options: &Map<String, Value>,
    notes: &mut Vec<String>,
) -> Result<Draft, PrunaError> {
    let mut draft = Draft::new(algorithm, "cache");
    draft.set(algorithm.name, "method", algorithm.name)?;
    for (option, value) in options {
        let key = algorithm.key(option);
        if option == "backbone_calls_per_step" {
            notes.push(format!(
                "{key}: not needed, true CFG runs both calls as one batch with separate states"
            ));
        } else {
            draft.set(&key, option, value.clone())?;
        }
    }
    Ok(draft)
}

/// The pass, unless none of its targets is in the transformer.
fn torchao(
    algorithm: &Algorithm,
    options: &Map<String, Value>,
    notes: &mut Vec<String>,
) -> Result<Option<Draft>, PrunaError> {
    let mut draft = Draft::new(algorithm, "quantize");
    let key = |option| algorithm.key(option);
    if options.get("quant_type").is_some_and(|scheme| is_word(scheme, "int4dq")) {
        let why = "Reflux has no scheme int4dq; int4wo has the same bits for weights, int8dq for activations";
        return Err(PrunaError::value(key("quant_type"), why));
    }
    let scheme = options.get("quant_type").cloned().unwrap_or("int8dq".into());
    draft.set(&key("quant_type"), "scheme", scheme)?;
    let excluded = options.get("excluded_modules");
    let Some(targets) = options.get("target_modules") else {
        if let Some(preset) = excluded {
            draft.set(&key("excluded_modules"), "exclude", preset.clone())?;
        }
        return Ok(Some(draft));
    };
    if excluded.is_some() {
        notes.push(format!("{}: overridden by target_modules, as in Pruna", key("excluded_modules")));
    }
    let key = key("target_modules");
    let targets = Targets::read(&key, targets)?;
    for pattern in &targets.elsewhere {
        notes.push(format!(
            "{key}: `{pattern}` matches nothing in the transformer, and only that is quantized"
        ));
    }
    let Some(include) = targets.include else {
        notes.push(format!("{key}: no module is left to include, so nothing is quantized"));
        return Ok(None);
    };
    draft.set(&key, "include", include)?;
    draft.set(&key, "skip", targets.exclude)?;
    Ok(Some(draft))
}

/// Whether torchao works block by block: it does where torch.compile does, and then leaves out all else
/// (`algorithms/torchao.py`).
fn compiles_blocks_alone(algorithms: &[(&Algorithm, Map<String, Value>)]) -> bool {
    let compile = algorithms.iter().find(|(algorithm, _)| algorithm.name == "torch_compile");
    compile.is_some_and(|(_, options)| {
        options.get("target").is_some_and(|target| is_word(target, "module_list"))
    })
}

fn is_word(value: &Value, word: &str) -> bool {
    value.as_str().is_some_and(|text| text.eq_ignore_ascii_case(word))
}

fn with(patterns: Option<&Value>, more: &[&str]) -> Value {
    let mut all = patterns.and_then(Value::as_array).cloned().unwrap_or_default();
    all.extend(more.iter().map(|&pattern| pattern.into()));
    all.into()
}
