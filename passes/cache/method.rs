//! The methods, each a constant: which steps, which values, and how these are predicted.

use super::forecast::{Chebyshev, Hermite, Taylor};
use super::gate::{Accumulated, FirstBlock};
use super::predictor::{Extrapolate, Predictor};
use super::schedule::{CacheSchedule, Magnitudes, Periodic, Refreshed, Widening, Windowed};
use super::site::{
    ATTENTION, LATER_BLOCKS, RESIDUAL_BLOCKS, RESIDUAL_ENDS, RESIDUAL_STREAMS, RESIDUAL_UPDATES, Site,
};
use reflux_ir::pass::{OptionInfo, options_of};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt;

/// A way to reuse results: *which steps* × *which values* × *how they are predicted*.
///
/// To add one, add it to [`METHODS`]: no other file knows the methods there are. Its options, with their help and bounds, are
/// those of its schedule rule and its predictor; the values that these have in the constant hold where an option is not given. A
/// new rule, predictor or site is one file more: `schedule.rs`, `predictor.rs` or `site.rs`. `docs/adding-a-cacher.md` is about
/// this.
#[derive(Clone, Debug)]
pub struct Method {
    /// As pipelines name it.
    pub name: &'static str,
    /// What it is, for people, and whose.
    pub help: &'static str,
    pub(super) schedule: CacheSchedule,
    pub(super) site: &'static Site,
    pub(super) predictor: Predictor,
}

/// Every method that there is.
pub static METHODS: &[Method] = &[
    Method {
        name: "fora",
        help: "FORA as in Pruna (`algorithms/fora.py`): reuses whole blocks, residual included, so that a step computes only \
               what follows the last block.",
        schedule: CacheSchedule::Periodic(Periodic::from_step(2)),
        site: &RESIDUAL_BLOCKS,
        predictor: Predictor::Hold,
    },
    Method {
        name: "fora-paper",
        help: "FORA as in its paper (arXiv 2407.01425): reuses attention and MLP before the gate, which each step computes \
               itself.",
        schedule: CacheSchedule::Periodic(Periodic::from_step(0)),
        site: &RESIDUAL_UPDATES,
        predictor: Predictor::Hold,
    },
    Method {
        name: "pab",
        help: "Pyramid Attention Broadcast (diffusers, `hooks/pyramid_attention_broadcast.py`), by default in Pruna's window \
               for FLUX.",
        schedule: CacheSchedule::Windowed(Windowed::within([100.0, 950.0])),
        site: &ATTENTION,
        predictor: Predictor::Hold,
    },
    Method {
        name: "fastercache",
        help: "FasterCache's attention part (diffusers, `hooks/faster_cache.py`), by default in Pruna's window for FLUX.",
        schedule: CacheSchedule::Windowed(Windowed::within([-1.0, 961.0])),
        site: &ATTENTION,
        predictor: Predictor::Extrapolate(Extrapolate { weight: 0.5 }),
    },
    Method {
        name: "taylorseer",
        help: "TaylorSeer (arXiv 2503.06923; diffusers, `hooks/taylorseer_cache.py`): forecasts attention by a Taylor series of \
               its computed values.",
        schedule: CacheSchedule::Refreshed(Refreshed::after(3)),
        site: &ATTENTION,
        predictor: Predictor::Taylor(Taylor { order: 1 }),
    },
    Method {
        name: "hicache",
        help: "HiCache (arXiv 2508.16984): TaylorSeer with scaled Hermite polynomials in place of powers.",
        schedule: CacheSchedule::Refreshed(Refreshed::after(3)),
        site: &ATTENTION,
        predictor: Predictor::Hermite(Hermite { order: 2, scale: 0.5 }),
    },
    Method {
        name: "spectrum",
        help: "Spectrum (arXiv 2603.01623): forecasts what the last block makes of the picture by a curve through all that was \
               computed, in ever rarer steps.",
        schedule: CacheSchedule::Widening(Widening { initial_steps: 5, spacing: 2.0, growth: 0.75 }),
        site: &RESIDUAL_ENDS,
        predictor: Predictor::Chebyshev(Chebyshev { degree: 4, ridge: 0.1, blend: 0.5, history: 100 }),
    },
    Method {
        name: "forecast",
        help: "What TaylorSeer does of attention, of what the last block makes of the picture: a step that reuses computes only what \
               follows that.",
        schedule: CacheSchedule::Refreshed(Refreshed::after(3)),
        site: &RESIDUAL_ENDS,
        predictor: Predictor::Taylor(Taylor { order: 1 }),
    },
    Method {
        name: "magcache",
        help: "MagCache (arXiv 2506.09045; diffusers, `hooks/mag_cache.py`): reuses what all blocks together add, in steps that \
               magnitudes measured beforehand choose.",
        schedule: CacheSchedule::Magnitudes(Magnitudes::unmeasured()),
        site: &RESIDUAL_STREAMS,
        predictor: Predictor::Hold,
    },
    Method {
        name: "fbcache",
        help: "First-Block-Cache (ParaAttention; diffusers, `hooks/first_block_cache.py`): reuses what all blocks but the first add, \
               in steps in which the first adds almost what it added before.",
        schedule: CacheSchedule::FirstBlock(FirstBlock { threshold: 0.05 }),
        site: &LATER_BLOCKS,
        predictor: Predictor::Hold,
    },
    Method {
        name: "teacache",
        help: "TeaCache (arXiv 2411.19108; `TeaCache4FLUX`): reuses what all blocks together add, until what the first one reads \
               has changed too much.",
        schedule: CacheSchedule::Accumulated(Accumulated::of_flux_dev()),
        site: &RESIDUAL_STREAMS,
        predictor: Predictor::Hold,
    },
];

impl Method {
    /// The method called `name`.
    pub fn named(name: &str) -> Option<Self> {
        METHODS.iter().find(|method| method.name == name).cloned()
    }

    /// The method with the options `given`.
    pub(super) fn with(self, given: &Map<String, Value>) -> Result<Self, serde_json::Error> {
        let known = self.values();
        if let Some(name) = given.keys().find(|name| !known.contains_key(*name)) {
            return Err(serde_json::Error::custom(format!("{self} has no option `{name}`")));
        }
        Ok(Self { schedule: self.schedule.with(given)?, predictor: self.predictor.with(given)?, ..self })
    }

    /// Its options, with their values.
    pub(super) fn values(&self) -> Map<String, Value> {
        options_of(&self.schedule).into_iter().chain(options_of(&self.predictor)).collect()
    }

    /// Whether the option `name` is one of the schedule rule.
    pub(super) fn is_of_schedule(&self, name: &str) -> bool {
        options_of(&self.schedule).contains_key(name)
    }

    /// Whether what the option `name` has where it is not given is the same for all methods that take it.
    pub(super) fn is_default_for_all(&self, name: &str) -> bool {
        self.options().iter().any(|option| option.name == name && option.default.is_some())
    }

    /// Its options, for people.
    pub(super) fn options(&self) -> Vec<OptionInfo> {
        self.schedule.options().into_iter().chain(self.predictor.options()).collect()
    }
}

/// The options of all methods, each once, for people: what holds where one is not given is said method by method, unless it is
/// the same for all.
pub(super) fn all_options() -> Vec<OptionInfo> {
    let mut all: Vec<OptionInfo> = Vec::new();
    for method in METHODS {
        for option in method.options() {
            match all.iter_mut().find(|known| known.name == option.name) {
                None => all.push(option),
                Some(known) if known.doc.contains(&option.doc) => {}
                Some(known) => known.doc += &format!("\nFor `{method}`: {}", option.doc),
            }
        }
    }
    for option in all.iter_mut().filter(|option| option.default.is_none()) {
        // An empty list stands for what has no default.
        let default = |method: &Method| {
            let values = method.values();
            let value =
                values.get(&option.name).filter(|value| value.as_array().is_none_or(|list| !list.is_empty()));
            Some(format!("{} for `{method}`", value?))
        };
        let defaults: Vec<_> = METHODS.iter().filter_map(default).collect();
        if !defaults.is_empty() {
            option.doc += &format!("\nIf not given: {}.", defaults.join(", "));
        }
    }
    all
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Serialize for Method {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name)
    }
}

impl<'de> Deserialize<'de> for Method {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::named(&name).ok_or_else(|| D::Error::custom(format!("there is no method `{name}`")))
    }
}

/// The names that there are, with what they stand for.
impl JsonSchema for Method {
    fn schema_name() -> Cow<'static, str> {
        "Method".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let known =
            METHODS.iter().map(|method| json_schema!({ "const": method.name, "description": method.help }));
        json_schema!({ "oneOf": known.collect::<Vec<_>>() })
    }
}
