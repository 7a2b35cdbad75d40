//! The choice of linears to quantize, and the report on it.

use super::scheme::stored_tensor_of;
use super::{Preset, Quantize, Scheme};
use indexmap::IndexMap;
use reflux_ir::op::Op;
use reflux_ir::pass::{Answer, Globs, Mismatch, PassError, PassReport, counted};
use reflux_ir::{Fact, Graph, ModulePath, ValueId, si};
use std::fmt;

/// torchao does not quantize linears with at most this many input features.
const FEWEST_FEATURES: usize = 16;

/// The options, ready to be asked.
pub struct Selection<'p> {
    pub pass: &'p Quantize,
    pub include: Globs,
    pub skip: Globs,
}

/// What was chosen of all linears, by module and weight. A linear that several stages run is one.
#[derive(Default)]
pub struct ModuleOutcomes {
    modules: IndexMap<(ModulePath, String), ModuleOutcome>,
    /// Whether each pattern of `include` and of `skip` matches a linear.
    used: [Vec<bool>; 2],
}

struct ModuleOutcome {
    before: Fact,
    /// What its weight becomes, or why it stays.
    outcome: Result<Fact, Unquantized>,
}

/// Why a linear stays unquantized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unquantized {
    InPanels,
    Excluded,
    NotIncluded,
    Skipped,
    FewFeatures,
    FewRows,
}

impl fmt::Display for Unquantized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InPanels => "its weight is in panels",
            Self::Excluded => "excluded by the preset",
            Self::NotIncluded => "not included",
            Self::Skipped => "skipped",
            Self::FewFeatures => "16 input features or fewer",
            Self::FewRows => "few rows",
        })
    }
}

impl Selection<'_> {
    /// The linears of `graph` that could be quantized, and whether each is to be.
    pub fn linears(&self, graph: &Graph, summary: &mut ModuleOutcomes) -> Vec<(ValueId, bool)> {
        let mut linears = Vec::new();
        for id in graph.order() {
            let Op::Linear(_) = graph[id].op else { continue };
            let weight = graph.operands(id)[1];
            let Some((stored, tensor)) = stored_tensor_of(graph, weight) else { continue };
            let path = graph[id].path.clone();
            summary.see(self, &path);
            let outcome = match self.refusal(graph, id) {
                Some(reason) => Err(reason),
                None => Ok(self.pass.scheme.weight(self.pass.rule, &graph[weight].fact)),
            };
            if outcome.as_ref().is_ok_and(|becomes| self.pass.scheme.is_made(graph, weight, becomes)) {
                continue;
            }
            linears.push((id, outcome.is_ok()));
            summary.modules.insert(
                (path, tensor.to_owned()),
                ModuleOutcome { before: graph[stored].fact.clone(), outcome },
            );
        }
        linears
    }

    /// Why a linear stays unquantized, if it does.
    fn refusal(&self, graph: &Graph, id: ValueId) -> Option<Unquantized> {
        let (path, pass) = (&graph[id].path, self.pass);
        let (rows, features) = input_of(graph, id);
        match () {
            () if graph[graph.operands(id)[1]].fact.shape.len() != 2 => Some(Unquantized::InPanels),
            () if pass.exclude.excludes(path) => Some(Unquantized::Excluded),
            () if !pass.include.is_empty() && !self.include.is_match(path) => Some(Unquantized::NotIncluded),
            () if self.skip.is_match(path) => Some(Unquantized::Skipped),
            () if features <= FEWEST_FEATURES && pass.scheme == Scheme::Int8dq => {
                Some(Unquantized::FewFeatures)
            }
            () if rows <= pass.keep_rows => Some(Unquantized::FewRows),
            () => None,
        }
    }

    /// What the value `id` of `graph` becomes, or why it stays unquantized.
    pub fn why(&self, graph: &Graph, id: ValueId) -> Answer {
        match graph[id].op {
            Op::Linear(_) => {}
            Op::MatmulCodes(_) | Op::Rescale(_) => {
                return Err(Mismatch::new("it belongs to a linear that is already quantized"));
            }
            Op::Gemm(_) => return Err(Mismatch::new("it is fused already: quantize before `fuse`")),
            ref op => {
                return Err(Mismatch::other_kind(format!(
                    "only linears are quantized, and this is `{}`",
                    op.name()
                )));
            }
        }
        let weight = graph.operands(id)[1];
        let Some((stored, _)) = stored_tensor_of(graph, weight) else {
            return Err(Mismatch::at(weight, "its weight is not a tensor of the checkpoint"));
        };
        let Some(stays) = self.refusal(graph, id) else {
            let becomes = self.pass.scheme.weight(self.pass.rule, &graph[weight].fact);
            if self.pass.scheme.is_made(graph, weight, &becomes) {
                return Err(Mismatch::at(weight, "its weight is of that type already, and dequantized"));
            }
            return Ok(Some(format!("its weight {} becomes {becomes}", graph.line(stored))));
        };
        let (path, pass, (rows, features)) = (&graph[id].path, self.pass, input_of(graph, id));
        let patterns = |patterns: &[String], which: Vec<usize>| {
            which.into_iter().map(|index| format!("`{}`", patterns[index])).collect::<Vec<_>>().join(", ")
        };
        Err(Mismatch::new(match stays {
            Unquantized::Excluded => {
                let segment = pass.exclude.segment_of(path).unwrap_or_default();
                let preset = if Preset::Norm.excludes(path) { "norm" } else { "embedding" };
                format!(
                    "the preset `{preset}` of `exclude` names modules called `{segment}`; this one is in {path}"
                )
            }
            Unquantized::NotIncluded => {
                let all = patterns(&pass.include, (0..pass.include.len()).collect());
                format!("its module {path} matches no pattern of `include`: {all}")
            }
            Unquantized::Skipped => {
                format!(
                    "its module {path} matches {} of `skip`",
                    patterns(&pass.skip, self.skip.matches(path))
                )
            }
            Unquantized::FewFeatures => format!(
                "its input has {features} features; torchao does not quantize linears with {FEWEST_FEATURES} or fewer"
            ),
            Unquantized::InPanels => "its weight is in panels: quantize before `pack`".to_owned(),
            Unquantized::FewRows => {
                format!(
                    "its input has {}, no more than `keep_rows`, which is {}",
                    counted(rows, "row"),
                    pass.keep_rows
                )
            }
        }))
    }
}

/// Rows and features of what the linear `id` reads.
fn input_of(graph: &Graph, id: ValueId) -> (usize, usize) {
    let x = &graph[graph.operands(id)[0]].fact;
    let features = x.shape.last().copied().unwrap_or(0);
    (x.shape.rows(), features)
}

impl ModuleOutcomes {
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
            self.modules.keys().next().map(|(path, _)| format!("; an example of a module is `{path}`"));
        let why = format!("no linear matches {}{}", unused.join(", "), example.unwrap_or_default());
        Err(PassError::Refused(why))
    }

    fn check_any(&self) -> Result<(), PassError> {
        if self.modules.values().any(|module| module.outcome.is_ok()) {
            return Ok(());
        }
        let mut reasons: IndexMap<String, usize> = IndexMap::new();
        for reason in self.modules.values().filter_map(|module| module.outcome.as_ref().err()) {
            *reasons.entry(reason.to_string()).or_default() += 1;
        }
        let stay =
            reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect::<Vec<_>>().join(", ");
        let why = match self.modules.len() {
            0 => "no linear has an unquantized weight of the checkpoint".to_owned(),
            1 => format!("the only linear stays unquantized ({stay})"),
            count => format!("all {count} linears stay unquantized ({stay})"),
        };
        Err(PassError::Nothing(format!("there is nothing to quantize: {why}")))
    }

    /// The counts, and a table of modules by kind: how many, their weights, bytes before and after.
    pub fn report(&self, report: &mut PassReport) {
        let quantized = self.modules.values().filter(|module| module.outcome.is_ok()).count();
        let (before, after) = self.modules.values().fold((0, 0), |(before, after), module| {
            let becomes = module.outcome.as_ref().unwrap_or(&module.before);
            (before + module.before.bytes(), after + becomes.bytes())
        });
        report.note(format!(
            "{quantized} of {} quantized, {} left; weights {}B → {}B",
            counted(self.modules.len(), "linear"),
            self.modules.len() - quantized,
            si(before),
            si(after)
        ));
        let mut kinds: IndexMap<(String, &Fact, String), Vec<&ModulePath>> = IndexMap::new();
        for ((path, _), ModuleOutcome { before, outcome }) in &self.modules {
            let outcome =
                outcome.as_ref().map_or_else(|stays| format!("stays: {stays}"), |fact| format!("→ {fact}"));
            kinds.entry((path.of_any_block(), before, outcome)).or_default().push(path);
        }
        let width = kinds.keys().map(|(kind, ..)| kind.len()).max().unwrap_or(0);
        for ((kind, before, outcome), paths) in kinds {
            // What is the only one of its kind goes by its own name.
            let name = if let [only] = paths[..] { only.to_string() } else { kind };
            report.note(format!("{:>4} × {name:<width$}  {before} {outcome}", paths.len()));
        }
    }
}
