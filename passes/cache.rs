//! Reuse of results between steps.

mod method;
mod predictor;
mod schedule;
mod sites;
mod split;

pub use method::Method;
pub use schedule::StepMask;

use reflux_ir::pass::{
    Answer, Built, Changed, Exactness, Mismatch, Pass, PassContext, PassError, Place, Property, RuleInfo,
    counted, options_of,
};
use reflux_ir::{Name, Program, Stage, ValueId, si};
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Lets some steps reuse results of earlier ones: *which steps* × *which values* × *how they are predicted*.
///
/// Steps that reuse run their own variant, in which the values at the site are carried over from an earlier step instead of
/// computed; ops that served only to compute them are gone. Every [`Method`] is a choice of the three.
///
/// Two caches compose: the second applies to the steps that still compute after the first, and counts only those, as
/// diffusers' hooks do inside Pruna's FORA.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cache {
    /// Which steps reuse, which values, and how they are predicted.
    pub method: Method,
    /// Compute every `interval`-th step (1–5).
    #[serde(default = "every_second")]
    pub interval: usize,
    /// Compute all steps before this one (0–10); if not given, 2 for `fora` and 0 for `fora-paper`.
    pub start_step: Option<usize>,
    /// Reuse only in steps whose timestep (0…1000) lies strictly between these two; if not given, (100, 950) for `pab` and
    /// (−1, 961) for `fastercache`.
    pub window: Option<[f64; 2]>,
    /// For `fastercache`: the factor of the last difference that is added; 0.5 if not given.
    pub weight: Option<f64>,
    /// The steps that compute, one digit per step as in `11001`, instead of the method's rule by interval, start and window.
    #[schemars(with = "Option<String>")]
    pub steps: Option<StepMask>,
    /// Accept that there is nothing to reuse, or no step that reuses.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[schemars(!skip_serializing_if)]
    pub allow_nothing: bool,
}

/// Over more steps in a row, the values from which `fastercache` extrapolates are too old: on the bundled model, final latents
/// differ by 0.05, 0.13, 0.71 and 1.03 (relative L2) with 1 to 4, while those of `pab` differ by 0.07 with 4.
const MOST_IN_A_ROW: usize = 2;

fn every_second() -> usize {
    2
}

impl Cache {
    /// The pass with these options, refused if the method has no such option or not that value.
    pub(crate) fn build(options: Map<String, Value>) -> Built {
        let unread =
            ["interval", "start_step", "window"].into_iter().find(|name| options.contains_key(*name));
        let cache: Self = serde_json::from_value(Value::Object(options))?;
        let Self { method, interval, start_step, window, weight, steps, .. } = &cache;
        if let Some(name) = unread.filter(|_| steps.is_some()) {
            let message =
                format!("`steps` says which steps compute, so `{name}` has no effect; leave it out");
            return Err(serde_json::Error::custom(message));
        }
        let refuse =
            |option: &str| Err(serde_json::Error::custom(format!("{method} has no option `{option}`")));
        if !(1..=5).contains(interval) {
            return Err(serde_json::Error::custom(format!("interval must be 1 to 5, not {interval}")));
        }
        match method {
            Method::Fora | Method::ForaPaper if window.is_some() => return refuse("window"),
            Method::Pab | Method::Fastercache if start_step.is_some() => return refuse("start_step"),
            Method::Fora | Method::ForaPaper | Method::Pab if weight.is_some() => return refuse("weight"),
            _ => {}
        }
        if let Some(start) = start_step.filter(|start| *start > 10) {
            return Err(serde_json::Error::custom(format!("start_step must be 0 to 10, not {start}")));
        }
        if weight.is_some_and(|weight| !weight.is_finite()) {
            return Err(serde_json::Error::custom("weight must be a number"));
        }
        Ok(Box::new(cache))
    }

    /// The outcome for a cache that has nothing to do, which is rarely intended.
    fn nothing(&self, why: String) -> Result<Changed, PassError> {
        if self.allow_nothing {
            return Ok(Changed::No);
        }
        Err(PassError::Nothing(why))
    }

    /// Why none of `steps` steps reuses.
    fn all_compute(&self, steps: usize) -> String {
        let method = self.method;
        let because = match (&self.steps, method.is_windowed()) {
            (Some(_), _) => "`steps` says so".to_owned(),
            (None, true) => {
                let [low, high] = self.window.unwrap_or(method.window());
                format!("too few of their timesteps lie in the window, between {low} and {high}")
            }
            (None, false) => {
                let start = self.start_step.unwrap_or(method.start_step());
                format!("with interval={} and start_step={start} there are too few", self.interval)
            }
        };
        format!("all {} compute, so nothing is reused: {because}", counted(steps, "step"))
    }

    /// Which of the steps at `steps`, by index, compute.
    fn mask(&self, steps: &[usize], cx: &PassContext) -> Result<StepMask, PassError> {
        if let Some(given) = &self.steps {
            return given.clone().checked(steps.len()).map_err(PassError::Refused);
        }
        if !self.method.is_windowed() {
            let start = self.start_step.unwrap_or(self.method.start_step());
            return Ok(schedule::periodic(steps.len(), self.interval, start));
        }
        let Some(times) = cx.timesteps else {
            let why = format!(
                "{} chooses steps by their timesteps, which are not known here; give the steps that compute, as in steps={}",
                self.method,
                schedule::periodic(steps.len(), self.interval, 2)
            );
            return Err(PassError::Refused(why));
        };
        let times: Option<Vec<f32>> = steps.iter().map(|&step| times.get(step).copied()).collect();
        let Some(times) = times else {
            return Err(PassError::Refused("there are more steps than timesteps".into()));
        };
        let window = self.window.unwrap_or(self.method.window());
        Ok(schedule::windowed(&times, self.interval, window))
    }
}

const RULE: RuleInfo = RuleInfo {
    name: "cache",
    pattern: "a value at the site → in some steps, its value of an earlier step",
};

impl Pass for Cache {
    fn name(&self) -> &'static str {
        "cache"
    }

    fn options(&self) -> Map<String, Value> {
        let mut options = options_of(self);
        if self.steps.is_some() {
            options.remove("interval");
        }
        options
    }

    fn exactness(&self) -> Exactness {
        Exactness::Lossy
    }

    fn requires(&self) -> &'static [Property] {
        self.method.requires()
    }

    fn ends(&self) -> &'static [Property] {
        self.method.ends()
    }

    fn why_not_idempotent(&self) -> Option<&'static str> {
        Some("a second cache applies to the steps that still compute after the first")
    }

    fn rules(&self) -> Vec<RuleInfo> {
        vec![RULE]
    }

    fn why(&self, place: &Place, rule: &str) -> Option<Answer> {
        let answer = || match place.stage {
            Stage::Variant(_) => self.method.why(place.graph, place.value),
            Stage::Prepare(_) => Err(Mismatch::new("it is computed before the steps, not in them")),
        };
        (rule == RULE.name).then(answer)
    }

    fn run(&self, program: &mut Program, cx: &mut PassContext) -> Result<Changed, PassError> {
        let found: Vec<_> = program
            .variants
            .iter()
            .map(|(name, graph)| (name.clone(), self.method.sites(graph)))
            .filter(|(_, sites)| !sites.is_empty())
            .collect();
        let is_reused = |(name, sites): &(Name, Vec<ValueId>)| {
            let mut carried =
                program.variants[name].outputs().iter().filter(|out| program.is_carried(&out.label));
            carried.any(|output| sites.contains(&output.value))
        };
        let site = self.method.site();
        let [(variant, all)] = &found[..] else {
            return self.nothing(match &found[..] {
                [] => format!("no variant has {site}, so there is nothing to reuse"),
                several if several.iter().any(is_reused) => {
                    format!("a cache before it reuses {site} already")
                }
                _ => format!("several variants have {site}, so it is unclear which to reuse"),
            });
        };
        if is_reused(&found[0]) {
            return self.nothing(format!("a cache before it reuses {site} already"));
        }
        let steps: Vec<usize> =
            (0..program.schedule.len()).filter(|&step| program.schedule[step] == *variant).collect();
        let mask = self.mask(&steps, cx)?;
        if mask.all_compute() {
            return self.nothing(self.all_compute(steps.len()));
        }
        let graph = &program.variants[variant];
        let sites: Vec<ValueId> =
            all.iter().copied().filter(|&site| cx.admit(RULE.name, || graph.line(site))).collect();
        if sites.is_empty() {
            return Ok(Changed::No);
        }
        let replay = Self { steps: Some(mask.clone()), start_step: None, window: None, ..self.clone() };
        cx.report.replay_with(replay.options());
        let in_a_row = mask.most_reused_in_a_row();
        if self.method == Method::Fastercache && in_a_row > MOST_IN_A_ROW {
            cx.report.warn(format!(
                "fastercache extrapolates over {in_a_row} steps in a row, which is too many: pictures change or become noise; \
                 use an interval of 2 or 3, or pab"
            ));
        }
        let cost = |program: &Program, name: &Name| program.variants[name].total_cost();
        let full = cost(program, variant);
        let reuse =
            split::split(program, variant, &sites, &self.method.predictor(self.weight), &steps, &mask)?;
        let computed = mask.computed();
        cx.report.note(format!("{computed} of {} steps compute {mask}", steps.len()));
        cx.report.note(format!(
            "{} reused at {}, {}B carried",
            counted(sites.len(), "value"),
            self.method.site(),
            si(program.carries.iter().map(|carry| carry.fact.bytes()).sum()),
        ));
        let left = cost(program, &reuse);
        cx.report.note(format!(
            "a step that computes: {}FLOP; one that reuses: {}FLOP",
            si(full.flops),
            si(left.flops)
        ));
        Ok(Changed::Yes)
    }
}
