//! Reuse of results between steps.

mod equations;
mod forecast;
mod gate;
mod gated;
mod mask;
mod measured;
mod method;
mod options;
mod predictor;
mod schedule;
mod site;
mod sites;
mod split;
mod steer;

pub use mask::StepMask;
pub use measured::{Measured, polynomial_through};
pub use method::{METHODS, Method};
pub use steer::Steer;

use gate::Gate;
use gated::Reused;
use predictor::Prediction;
use reflux_ir::pass::{
    About, Answer, Built, Changed, Exactness, Mismatch, Pass, PassContext, PassError, Place, Property,
    RuleInfo, counted,
};
use reflux_ir::{Cost, Name, Program, Stage, ValueId, si};
use schedule::Decided;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::Error as _;
use serde_json::{Map, Value};
use site::{RESIDUAL_STREAMS, Site};

/// Lets some steps reuse results of earlier steps. The method says which steps reuse, which values they reuse, and how these
/// are predicted.
///
/// Steps that reuse run a variant of their own. It takes the reused values from earlier steps instead of computing them, and
/// does without the ops that served only to compute them.
///
/// Two caches compose: the second applies to the steps that still compute after the first, and counts only those.
/// diffusers' hooks do the same inside Pruna's FORA.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct Cache {
    /// Which steps reuse, which values, and how they are predicted.
    pub method: Method,
    /// The options of the method that are given; [`Cache::method`] has them set.
    #[serde(flatten)]
    #[schemars(skip)]
    given: Map<String, Value>,
    /// The steps that compute, one digit per step as in `11001`, instead of the method's own rule.
    #[schemars(with = "Option<String>")]
    pub steps: Option<StepMask>,
    /// Do not fail if there is nothing to reuse, or if no step reuses.
    #[serde(default)]
    pub allow_nothing: bool,
}

impl Cache {
    /// What the pass and its options are, those of all methods among them.
    pub(crate) fn about() -> About {
        let mut about = About::of::<Self>();
        let behind_method = 1;
        about.options.splice(behind_method..behind_method, method::all_options());
        about
    }

    /// The pass with these options, refused if the method has no such option or not that value.
    pub(crate) fn build(options: Map<String, Value>) -> Built {
        let mut cache: Self = serde_json::from_value(Value::Object(options))?;
        cache.method = cache.method.with(&cache.given)?;
        let unread = cache.given.keys().find(|name| cache.method.is_of_schedule(name));
        if let Some(name) = unread.filter(|_| cache.steps.is_some()) {
            let message =
                format!("`steps` says which steps compute, so `{name}` has no effect; leave it out");
            return Err(serde_json::Error::custom(message));
        }
        Ok(Box::new(cache))
    }

    /// The method called `method` with these options.
    ///
    /// # Errors
    /// If there is no such method, or it has no such option or not that value.
    pub fn of(method: &str, options: &Map<String, Value>) -> Result<Self, serde_json::Error> {
        let method = Method::named(method)
            .ok_or_else(|| serde_json::Error::custom(format!("there is no method `{method}`")))?;
        let method = method.with(options)?;
        Ok(Self { method, given: options.clone(), steps: None, allow_nothing: false })
    }

    /// What each step takes for a value where these steps compute: none for a step that computes, and for others the weights of the
    /// last values that were computed, newest first. `None` if it is no such sum.
    pub fn weights(&self, steps: &StepMask) -> Option<Vec<Option<Vec<f32>>>> {
        let of_step = |prediction| match prediction {
            None => Some(None),
            Some(Prediction::Weighted(weights)) => Some(Some(weights)),
            Some(Prediction::Extrapolated { .. }) => None,
        };
        self.method.predictor.predictions(steps).into_iter().map(of_step).collect()
    }

    /// Whether what is reused is what blocks add to a stream, and not its end.
    pub fn is_relative(&self) -> bool {
        std::ptr::eq(self.method.site, &raw const RESIDUAL_STREAMS)
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
        let because = match &self.steps {
            Some(_) => "`steps` says so".to_owned(),
            None => self.method.schedule.why_all_compute(),
        };
        let all = if steps == 1 { "the only step computes" } else { &format!("all {steps} steps compute") };
        format!("{all}, so nothing is reused: {because}")
    }

    /// Which of the steps at `steps`, by index, compute.
    fn decided(&self, steps: &[usize], cx: &PassContext) -> Result<Decided<'_>, PassError> {
        let decided = match &self.steps {
            Some(given) => given.clone().checked(steps.len()).map(Decided::Before),
            None => self.method.schedule.decided(self.method.name, steps, cx.timesteps),
        };
        decided.map_err(PassError::Refused)
    }

    /// Lets each of `steps`, which run `variant`, decide by `gate` whether it reuses the one of `sites`.
    fn gate(
        &self,
        program: &mut Program,
        variant: &Name,
        sites: &[ValueId],
        steps: &[usize],
        gate: Gate,
        cx: &mut PassContext,
    ) -> Result<Changed, PassError> {
        let graph = &program.variants[variant];
        let Site { name: site, relative_to, .. } = self.method.site;
        let &[end] = sites else {
            let message = format!(
                "the program has {} {site}, and one has to decide for all; name the steps that compute, as in steps=110…",
                sites.len()
            );
            return Err(PassError::Refused(message));
        };
        let Some((start, gauge)) = relative_to(graph, end).zip(gate.gauge(graph, end)) else {
            return self.nothing(format!(
                "no block makes `%{}` of its stream by a product, so there is nothing to decide by",
                graph[end].name
            ));
        };
        if let Some(warning) = gate.warning(program, graph, gauge) {
            cx.report.warn(warning);
        }
        let full = graph.total_cost();
        let gated = gated::split(program, variant, steps, &Reused { end, start, gauge }, gate)?;
        let cost = |name: &Name| program.variants[name].total_cost().flops;
        let chosen = steps.len() - 1 - usize::from(gate.computes_last());
        cx.report.note(format!(
            "{chosen} of {} decide by {gate} whether they compute",
            counted(steps.len(), "step")
        ));
        cx.report.note(format!(
            "1 value reused at {site}, {}B carried",
            si(program.carries.iter().map(|carry| carry.fact.bytes()).sum()),
        ));
        let probe = cost(&gated.gate);
        cx.report.note(format!(
            "a step that computes: {}FLOP; one that reuses: {}FLOP; a whole one: {}FLOP",
            si(probe + cost(&gated.full)),
            si(probe + cost(&gated.reuse)),
            si(full.flops)
        ));
        Ok(Changed::Yes)
    }

    /// Says in the report what a step costs, and what is carried, where `variant` was split into one that computes, which
    /// had cost `full`, and `reuse`.
    fn note_costs(&self, program: &Program, full: Cost, reuse: &Name, sites: usize, cx: &mut PassContext) {
        cx.report.note(format!(
            "{} reused at {}, {}B carried",
            counted(sites, "value"),
            self.method.site.name,
            si(program.carries.iter().map(|carry| carry.fact.bytes()).sum()),
        ));
        let left = program.variants[reuse].total_cost();
        cx.report.note(format!(
            "a step that computes: {}FLOP; one that reuses: {}FLOP",
            si(full.flops),
            si(left.flops)
        ));
    }
}

/// The variant that has values to reuse, and these; or why there is none.
fn place(site: &Site, program: &Program) -> Result<(Name, Vec<ValueId>), String> {
    let found: Vec<_> = program
        .variants
        .iter()
        .map(|(name, graph)| (name, site.values(graph)))
        .filter(|(_, sites)| !sites.is_empty())
        .collect();
    let is_reused = |(name, sites): &(&Name, Vec<ValueId>)| {
        let outputs = program.variants[*name].outputs().iter();
        let mut carried = outputs.filter(|output| program.is_carried(&output.label));
        carried.any(|output| sites.contains(&output.value))
    };
    match &found[..] {
        [] => Err(format!("no variant has {}, so there is nothing to reuse", site.name)),
        several if several.iter().any(is_reused) => {
            Err(format!("an earlier cache already reuses {}", site.name))
        }
        [(variant, sites)] => Ok(((*variant).clone(), sites.clone())),
        _ => Err(format!("several variants have {}, so it is unclear which to reuse", site.name)),
    }
}

/// Why the steps to reuse cannot be chosen.
const HAS_PROBES: &str = "the program has probes, which choose variants at run time, so it is not known in advance which steps compute";

const RULE: RuleInfo = RuleInfo {
    name: "cache",
    pattern: "a value at the site → in some steps, its value of an earlier step",
};

impl Pass for Cache {
    fn name(&self) -> &'static str {
        "cache"
    }

    fn options(&self) -> Map<String, Value> {
        let mut options = Map::from_iter([("method".to_owned(), self.method.name.into())]);
        // What the schedule rule says is not asked for where the steps are said, nor is what a method brings along printed.
        let is_said = |name: &String| self.steps.is_none() || !self.method.is_of_schedule(name);
        let is_printed =
            |name: &String| self.given.contains_key(name) || self.method.is_default_for_all(name);
        let values = self.method.values().into_iter();
        options.extend(values.filter(|(name, _)| is_said(name) && is_printed(name)));
        options.extend(self.steps.iter().map(|steps| ("steps".to_owned(), steps.to_string().into())));
        options.extend(self.allow_nothing.then(|| ("allow_nothing".to_owned(), true.into())));
        options
    }

    fn exactness(&self) -> Exactness {
        Exactness::Lossy
    }

    fn requires(&self) -> &'static [Property] {
        self.method.site.requires
    }

    fn ends(&self) -> &'static [Property] {
        self.method.site.ends
    }

    fn why_not_idempotent(&self) -> Option<&'static str> {
        Some("a second cache applies to the steps that still compute after the first")
    }

    fn rules(&self) -> Vec<RuleInfo> {
        vec![RULE]
    }

    fn why(&self, place: &Place, rule: &str) -> Option<Answer> {
        let answer = || match place.stage {
            _ if !place.program.probes.is_empty() => Err(Mismatch::new(HAS_PROBES)),
            Stage::Variant(_) => self.method.site.why(place.graph, place.value),
            Stage::Prepare(_) => Err(Mismatch::other_kind("it is computed before the steps, not in them")),
        };
        (rule == RULE.name).then(answer)
    }

    fn run(&self, program: &mut Program, cx: &mut PassContext) -> Result<Changed, PassError> {
        if !program.probes.is_empty() {
            return Err(PassError::Refused(format!("{HAS_PROBES}; run `cache` on a program without any")));
        }
        let (variant, all) = match place(self.method.site, program) {
            Ok(place) => place,
            Err(why) => return self.nothing(why),
        };
        let steps: Vec<usize> =
            (0..program.schedule.len()).filter(|&step| program.schedule[step] == variant).collect();
        let decided = self.decided(&steps, cx)?;
        let is_left = match &decided {
            Decided::Before(mask) => !mask.all_compute(),
            Decided::InEachStep(gate) => steps.len() > 1 + usize::from(gate.computes_last()),
        };
        if !is_left {
            return self.nothing(self.all_compute(steps.len()));
        }
        let graph = &program.variants[&variant];
        let sites: Vec<ValueId> =
            all.into_iter().filter(|&site| cx.admit(RULE.name, || graph.line(site))).collect();
        if sites.is_empty() {
            return Ok(Changed::No);
        }
        let mask = match decided {
            Decided::Before(mask) => mask,
            Decided::InEachStep(gate) => return self.gate(program, &variant, &sites, &steps, gate, cx),
        };
        cx.report.replay_with(Self { steps: Some(mask.clone()), ..self.clone() }.options());
        if let Some(warning) = self.method.predictor.warning(self.method.name, mask.most_reused_in_a_row()) {
            cx.report.warn(warning);
        }
        let full = graph.total_cost();
        let relative_to = |site| (site, (self.method.site.relative_to)(graph, site));
        let sites: Vec<_> = sites.into_iter().map(relative_to).collect();
        let predictions = self.method.predictor.predictions(&mask);
        let reuses = split::split(program, &variant, &sites, &steps, &predictions)?;
        cx.report.note(format!("{} of {} compute {mask}", mask.computed(), counted(steps.len(), "step")));
        self.note_costs(program, full, &reuses[0].0, sites.len(), cx);
        for (reuse, prediction) in reuses.iter().filter(|(_, prediction)| prediction.is_forecast()) {
            cx.report.note(format!("{reuse}: {prediction}"));
        }
        Ok(Changed::Yes)
    }
}
