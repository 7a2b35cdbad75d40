//! Why a rule applies somewhere, or does not.

use super::nearest::{did_you_mean, nearest};
use super::rule::{Answer, Place};
use super::{Mismatch, Pass, Pipeline, Registry, RuleInfo, counted};
use crate::{Graph, Op, Program, Stage, ValueId};
use std::fmt;

/// What to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question<'a> {
    /// The name of a rule, or of a pass for all of its rules.
    pub rule: &'a str,
    /// The name of a value, with or without its `%`, or the path of a module that computes one.
    pub value: &'a str,
    /// The stage that computes the value, in full or by its last word; if not given, the only one that does.
    pub stage: Option<&'a str>,
}

/// Whether rules apply at a value, with the printed value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// The pass whose rules they are, as in pipeline text.
    pub pass: String,
    pub stage: Stage,
    /// The value as it prints.
    pub line: String,
    /// One verdict per rule that was asked.
    pub verdicts: Vec<(RuleInfo, Verdict)>,
}

/// Whether a rule applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It does, with details if there are any.
    Applies(Option<String>),
    Not(Obstacle),
}

/// What keeps a rule from applying.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    pub reason: String,
    /// The value that does not fit, as it prints, if it is another one.
    pub line: Option<String>,
}

/// A question without an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WhyError {
    #[error(
        "there is no rule or pass `{rule}`{}; the rules are {rules}, and the passes {passes}",
        did_you_mean(.nearest)
    )]
    UnknownRule { rule: String, nearest: Option<String>, rules: String, passes: String },
    #[error("the pass `{pass}` works on the program as a whole and cannot be asked about one value")]
    WithoutRules { pass: &'static str },
    #[error("`{pass}` cannot say where `{rule}` applies")]
    Silent { pass: &'static str, rule: String },
    #[error("the program has no stage `{stage}`; it has {known}")]
    UnknownStage { stage: String, known: String },
    #[error("no stage has a value `%{value}`, and no module with that path computes one{}", did_you_mean(.nearest))]
    UnknownValue { value: String, nearest: Option<String> },
    #[error("`%{value}` belongs to a repeated block; give the iteration, as in `%{value}.{first}`")]
    Repeated { value: String, first: usize },
    #[error("the module {module} computes {}: {}; name one of them", counted(values.len(), "value"), listed(.values))]
    SeveralValues { module: String, values: Vec<String> },
    #[error("the module {module} only contains other modules: {}; name one of them, or a value", listed(.modules))]
    OnlyModules { module: String, modules: Vec<String> },
    #[error("`{value}` is in several stages: {stages}; say in which stage")]
    SeveralStages { value: String, stages: String },
}

/// The first few of `names`.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 12;
    let more = if names.len() > SHOWN { ", …" } else { "" };
    format!("{}{more}", names[..names.len().min(SHOWN)].join(", "))
}

/// Whether a rule applies at a value of `program`.
///
/// Asks the last pass of `pipeline` that has this rule or name, else one of `registry`, with the options of its example.
pub fn why(
    registry: &Registry,
    pipeline: &Pipeline,
    program: &Program,
    question: Question,
) -> Result<Why, WhyError> {
    let examples: Vec<Pipeline> = registry.iter().filter_map(|pass| registry.example(pass)).collect();
    let examples =
        examples.iter().flat_map(|example| example.passes().map(|pass| (pass, example.text_of(0))));
    let own = pipeline.passes().enumerate().map(|(index, pass)| (pass, pipeline.text_of(index)));
    let mut passes: Vec<(&dyn Pass, String)> = own.collect();
    passes.reverse();
    passes.extend(examples);
    let (pass, text, rules) = find_rules(&passes, question.rule)?;
    let (stage, graph, value) = find_value(program, question.value, question.stage)?;
    let place = Place { program, stage: &stage, graph, value };
    let verdicts = rules.into_iter().filter_map(|rule| {
        let answer = pass.why(&place, rule.name)?;
        Some((rule, Verdict::of(answer, &place)))
    });
    let verdicts: Vec<_> = verdicts.collect();
    if verdicts.is_empty() {
        return Err(WhyError::Silent { pass: pass.name(), rule: question.rule.to_owned() });
    }
    Ok(Why { pass: text, line: graph.line(value), stage, verdicts })
}

impl Verdict {
    fn of(answer: Answer, place: &Place) -> Self {
        match answer {
            Ok(note) => Self::Applies(note),
            Err(Mismatch { reason, node, .. }) => {
                // Nodes that the rule added before it gave up are not there.
                let node = node.filter(|&node| node != place.value && place.graph.get(node).is_some());
                let line = node.map(|node| place.graph.line(node));
                Self::Not(Obstacle { reason: reason.into_owned(), line })
            }
        }
    }
}

/// The pass with the rule `name` or with that name itself, its text, and the rules to ask it about.
fn find_rules<'p>(
    passes: &[(&'p dyn Pass, String)],
    name: &str,
) -> Result<(&'p dyn Pass, String, Vec<RuleInfo>), WhyError> {
    if let Some((pass, text)) = passes.iter().find(|(pass, _)| pass.name() == name) {
        let rules = pass.rules();
        return match rules.is_empty() {
            true => Err(WhyError::WithoutRules { pass: pass.name() }),
            false => Ok((*pass, text.clone(), rules)),
        };
    }
    for (pass, text) in passes {
        if let Some(rule) = pass.rules().into_iter().find(|rule| rule.name == name) {
            return Ok((*pass, text.clone(), vec![rule]));
        }
    }
    let sorted = |mut names: Vec<&'static str>| {
        names.sort_unstable();
        names.dedup();
        names
    };
    let rules = passes.iter().flat_map(|(pass, _)| pass.rules().into_iter().map(|rule| rule.name));
    let names = passes.iter().filter(|(pass, _)| !pass.rules().is_empty()).map(|(pass, _)| pass.name());
    let [rules, names] = [rules.collect(), names.collect()].map(sorted);
    let nearest = nearest(rules.iter().chain(&names).copied(), name).map(str::to_owned);
    let (rules, passes) = (rules.join(", "), names.join(", "));
    Err(WhyError::UnknownRule { rule: name.to_owned(), nearest, rules, passes })
}

type Found<'p> = (Stage, &'p Graph, ValueId);

fn find_value<'p>(program: &'p Program, name: &str, stage: Option<&str>) -> Result<Found<'p>, WhyError> {
    let mut stages: Vec<(Stage, &Graph)> = program.stages().collect();
    let known = |stages: &mut dyn Iterator<Item = &Stage>| {
        stages.map(|stage| format!("`{stage}`")).collect::<Vec<_>>().join(", ")
    };
    if let Some(name) = stage {
        let all = known(&mut stages.iter().map(|(stage, _)| stage));
        let is_it = |stage: &Stage| {
            let text = stage.to_string();
            text == name || text.split(' ').next_back() == Some(name)
        };
        stages.retain(|(stage, _)| is_it(stage));
        if stages.is_empty() {
            return Err(WhyError::UnknownStage { stage: name.to_owned(), known: all });
        }
    }
    let value = name.strip_prefix('%').unwrap_or(name);
    let mut found: Vec<Found> = stages
        .iter()
        .filter_map(|(stage, graph)| Some((stage.clone(), *graph, graph.find(value)?)))
        .collect();
    // Stages hand values on: meant is the one that computes it.
    let is_computed = |(_, graph, id): &Found| !matches!(graph[*id].op, Op::Input(_));
    if found.len() > 1 && found.iter().any(is_computed) {
        found.retain(is_computed);
    }
    if found.is_empty() && !name.starts_with('%') {
        found = of_module(&stages, value)?;
    }
    match found.len() {
        1 => Ok(found.swap_remove(0)),
        0 => Err(unknown_value(&stages, value)),
        _ => {
            let stages = known(&mut found.iter().map(|(stage, ..)| stage));
            Err(WhyError::SeveralStages { value: name.to_owned(), stages })
        }
    }
}

/// The values that the module at `path` computes: at most one per stage.
fn of_module<'p>(stages: &[(Stage, &'p Graph)], path: &str) -> Result<Vec<Found<'p>>, WhyError> {
    let mut found = Vec::new();
    for (stage, graph) in stages {
        let ids = graph.order().into_iter().filter(|&id| !graph.is_leaf(id));
        let here: Vec<ValueId> = ids.filter(|&id| !path.is_empty() && *graph[id].path == *path).collect();
        if here.len() > 1 {
            let values = here.iter().map(|&id| graph.operand(id).to_string()).collect();
            return Err(WhyError::SeveralValues { module: path.to_owned(), values });
        }
        found.extend(here.into_iter().map(|id| (stage.clone(), *graph, id)));
    }
    Ok(found)
}

fn unknown_value(stages: &[(Stage, &Graph)], value: &str) -> WhyError {
    let nodes = || {
        let ids = stages.iter().flat_map(|(_, graph)| graph.ids().map(move |id| (*graph, id)));
        ids.filter(|(graph, id)| !graph.is_leaf(*id)).map(|(graph, id)| &graph[id])
    };
    let rounds = nodes().filter_map(|node| node.name.split_index()).filter(|(stem, _)| *stem == value);
    if let Some(first) = rounds.map(|(_, index)| index).min() {
        return WhyError::Repeated { value: value.to_owned(), first };
    }
    // A module that only holds others.
    let inside = |path: &str| path.strip_prefix(value).is_some_and(|rest| rest.starts_with('.'));
    let mut within: Vec<String> =
        nodes().filter(|node| inside(&node.path)).map(|node| node.path.to_string()).collect();
    within.dedup();
    if !within.is_empty() {
        return WhyError::OnlyModules { module: value.to_owned(), modules: within };
    }
    let names = nodes().map(|node| &*node.name).chain(nodes().map(|node| &*node.path));
    let nearest = nearest(names.filter(|name| !name.is_empty()), value);
    let written = |name: &str| match nodes().any(|node| *node.name == *name) {
        true => format!("%{name}"),
        false => name.to_owned(),
    };
    WhyError::UnknownValue { value: value.to_owned(), nearest: nearest.map(written) }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pass, stage, line, verdicts } = self;
        if let [(rule, verdict)] = &verdicts[..] {
            let does = if let Verdict::Not(_) = verdict { "does not apply" } else { "applies" };
            writeln!(f, "{}: {}\n\nIt {does} in {stage} at\n    {line}", rule.name, rule.pattern)?;
            return match verdict {
                Verdict::Applies(None) => Ok(()),
                Verdict::Applies(Some(note)) => writeln!(f, "{note}"),
                Verdict::Not(Obstacle { reason, line: None }) => writeln!(f, "because {reason}"),
                Verdict::Not(Obstacle { reason, line: Some(line) }) => {
                    writeln!(f, "because {reason}:\n    {line}")
                }
            };
        }
        writeln!(f, "The rules of {pass} in {stage} at\n    {line}\n")?;
        let width = verdicts.iter().map(|(rule, _)| rule.name.len()).max().unwrap_or(0);
        for (rule, verdict) in verdicts {
            let answer = match verdict {
                Verdict::Applies(None) => "applies".to_owned(),
                Verdict::Applies(Some(note)) => format!("applies: {note}"),
                Verdict::Not(Obstacle { reason, line: None }) => format!("does not: {reason}"),
                Verdict::Not(Obstacle { reason, line: Some(line) }) => format!("does not: {reason}: {line}"),
            };
            writeln!(f, "  {:<width$}  {answer}", rule.name)?;
        }
        Ok(())
    }
}

impl Why {
    /// What is in the way of the only rule that was asked, if something is.
    pub fn obstacle(&self) -> Option<&Obstacle> {
        match &self.verdicts[..] {
            [(_, Verdict::Not(obstacle))] => Some(obstacle),
            _ => None,
        }
    }
}
