//! Which linears are quantized, and what that saves.

use super::{Quantize, Scheme};
use indexmap::IndexMap;
use reflux_ir::op::{Op, Weight};
use reflux_ir::pass::{Globs, PassError, PassReport};
use reflux_ir::{Fact, Graph, ModulePath, ValueId, si};

/// torchao leaves alone what has no more input features than this.
const FEWEST_FEATURES: usize = 16;

/// The options, ready to be asked.
pub struct Selection<'p> {
    pub pass: &'p Quantize,
    pub include: Globs,
    pub skip: Globs,
}

/// What was chosen of all linears, by module and weight. A linear that several stages run is one.
#[derive(Default)]
pub struct Summary {
    modules: IndexMap<(ModulePath, String), Module>,
    /// Whether each pattern of `include` and of `skip` matches a linear.
    used: [Vec<bool>; 2],
}

struct Module {
    before: Fact,
    /// What its weight becomes, or why it stays.
    outcome: Result<Fact, &'static str>,
}

impl Selection<'_> {
    /// The linears of `graph` to quantize.
    pub fn choose(&self, graph: &Graph, summary: &mut Summary) -> Vec<ValueId> {
        let mut chosen = Vec::new();
        for id in graph.order() {
            let Op::Linear(_) = graph[id].op else { continue };
            let weight = graph.operands(id)[1];
            let Op::Weight(Weight { tensor }) = &graph[weight].op else { continue };
            let path = graph[id].path.clone();
            summary.see(self, &path);
            let outcome = match self.refusal(graph, id) {
                Some(reason) => Err(reason),
                None => Ok(self.pass.scheme.weight(self.pass.rule, &graph[weight].fact)),
            };
            if outcome.is_ok() {
                chosen.push(id);
            }
            summary
                .modules
                .insert((path, tensor.clone()), Module { before: graph[weight].fact.clone(), outcome });
        }
        chosen
    }

    /// Why a linear stays as it is, if it does.
    fn refusal(&self, graph: &Graph, id: ValueId) -> Option<&'static str> {
        let (path, pass) = (&graph[id].path, self.pass);
        let x = &graph[graph.operands(id)[0]].fact;
        let features = x.shape.last().copied().unwrap_or(0);
        let rows = x.shape.elements() / features.max(1);
        match () {
            () if pass.exclude.excludes(path) => Some("excluded by the preset"),
            () if !pass.include.is_empty() && !self.include.is_match(path) => Some("not included"),
            () if self.skip.is_match(path) => Some("skipped"),
            () if features <= FEWEST_FEATURES && pass.scheme == Scheme::Int8dq => {
                Some("16 input features or fewer")
            }
            () if rows <= pass.keep_rows => Some("few rows"),
            () => None,
        }
    }
}

impl Summary {
    fn see(&mut self, selection: &Selection, path: &ModulePath) {
        let lists = [
            (&selection.include, selection.pass.include.len()),
            (&selection.skip, selection.pass.skip.len()),
        ];
        for (used, (globs, count)) in self.used.iter_mut().zip(lists) {
            used.resize(count, false);
            globs.matches(path).into_iter().for_each(|pattern| used[pattern] = true);
        }
    }

    /// Refuses patterns that match nothing, which are typing errors, most likely, and choices that leave nothing to quantize.
    pub fn check(&self, pass: &Quantize) -> Result<(), PassError> {
        let unused = |used: &[bool], patterns: &[String]| -> Vec<String> {
            let unused = |(index, _): &(usize, &String)| !used.get(*index).copied().unwrap_or(false);
            patterns.iter().enumerate().filter(unused).map(|(_, pattern)| format!("`{pattern}`")).collect()
        };
        let unused = [unused(&self.used[0], &pass.include), unused(&self.used[1], &pass.skip)].concat();
        if unused.is_empty() {
            return self.check_any();
        }
        let example =
            self.modules.keys().next().map(|(path, _)| format!("; a module is called like `{path}`"));
        let why = format!("no linear matches {}{}", unused.join(", "), example.unwrap_or_default());
        Err(PassError::Refused(why))
    }

    fn check_any(&self) -> Result<(), PassError> {
        if self.modules.values().any(|module| module.outcome.is_ok()) {
            return Ok(());
        }
        let mut reasons: IndexMap<&str, usize> = IndexMap::new();
        for reason in self.modules.values().filter_map(|module| module.outcome.as_ref().err()) {
            *reasons.entry(reason).or_default() += 1;
        }
        let stay =
            reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect::<Vec<_>>().join(", ");
        let why = match self.modules.len() {
            0 => "no linear is left whose weight is a tensor of the checkpoint and not quantized yet"
                .to_owned(),
            1 => format!("the only linear stays as it is ({stay})"),
            count => format!("all {count} linears stay as they are ({stay})"),
        };
        Err(PassError::Refused(format!(
            "there is nothing to quantize: {why}; remove the pass, or add allow_nothing=true"
        )))
    }

    /// The counts, and a table of modules by kind: how many, their weights, bytes before and after.
    pub fn report(&self, report: &mut PassReport) {
        let quantized = self.modules.values().filter(|module| module.outcome.is_ok()).count();
        let (before, after) = self.modules.values().fold((0, 0), |(before, after), module| {
            let becomes = module.outcome.as_ref().unwrap_or(&module.before);
            (before + module.before.bytes(), after + becomes.bytes())
        });
        report.note(format!(
            "{quantized} of {} linears quantized, {} left; weights {}B → {}B",
            self.modules.len(),
            self.modules.len() - quantized,
            si(before),
            si(after)
        ));
        let mut kinds: IndexMap<(String, &Fact, String), Vec<&ModulePath>> = IndexMap::new();
        for ((path, _), Module { before, outcome }) in &self.modules {
            let outcome =
                outcome.as_ref().map_or_else(|reason| format!("stays: {reason}"), |fact| format!("→ {fact}"));
            kinds.entry((kind(path), before, outcome)).or_default().push(path);
        }
        let width = kinds.keys().map(|(kind, ..)| kind.len()).max().unwrap_or(0);
        for ((kind, before, outcome), paths) in kinds {
            // What is the only one of its kind goes by its own name.
            let name = if let [only] = paths[..] { only.to_string() } else { kind };
            report.note(format!("{:>4} × {name:<width$}  {before} {outcome}", paths.len()));
        }
    }
}

/// The path with the index of its block left open: `blocks.*.attn.to_q`.
fn kind(path: &ModulePath) -> String {
    let mut segments: Vec<&str> = path.segments().collect();
    // Only the first number is a block's; in `ff.net.0`, it is a layer's.
    if let Some(index) = segments.iter_mut().find(|segment| segment.parse::<usize>().is_ok()) {
        *index = "*";
    }
    segments.join(".")
}
