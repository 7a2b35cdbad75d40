//! Why a rule applies somewhere, or does not.

use super::registry::{did_you_mean, nearest};
use super::{Mismatch, Pass, Pipeline, Registry, RuleInfo};
use crate::{Graph, Op, Program, Stage, ValueId};
use std::fmt;

/// What to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question<'a> {
    /// The name of a rule.
    pub rule: &'a str,
    /// The name of a value, with or without its `%`.
    pub value: &'a str,
    /// The stage that the value is of, as it is written or by its last word; the only one that computes it, if not given.
    pub stage: Option<&'a str>,
}

/// Whether a rule applies at a value, with what a reader needs to see of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    pub rule: RuleInfo,
    pub stage: Stage,
    /// The value as it prints.
    pub line: String,
    /// What is in the way, if something is.
    pub obstacle: Option<Obstacle>,
}

/// What keeps a rule from applying.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    pub reason: String,
    /// The value that does not fit as it prints, if it is another one.
    pub line: Option<String>,
}

/// A question that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WhyError {
    #[error("there is no rule `{rule}`{}; there are {known}", did_you_mean(.nearest))]
    UnknownRule { rule: String, nearest: Option<String>, known: String },
    #[error("`{pass}` does not say of `{rule}` where it applies")]
    Silent { pass: &'static str, rule: &'static str },
    #[error("the program has no stage `{stage}`; it has {known}")]
    UnknownStage { stage: String, known: String },
    #[error("no stage has a value `%{value}`{}", did_you_mean(.nearest))]
    UnknownValue { value: String, nearest: Option<String> },
    #[error("`%{value}` is of a repeated block; say of which round, as in `%{value}.{first}`")]
    Repeated { value: String, first: usize },
    #[error("`%{value}` is in several stages: {stages}; say in which with --stage")]
    SeveralStages { value: String, stages: String },
}

/// Whether a rule applies at a value of `program`.
///
/// It is the pass of `pipeline` that is asked where one has such a rule, else one of `registry`, as its example has it.
pub fn why(
    registry: &Registry,
    pipeline: &Pipeline,
    program: &Program,
    question: Question,
) -> Result<Why, WhyError> {
    let value = question.value.strip_prefix('%').unwrap_or(question.value);
    let examples: Vec<Pipeline> = registry.iter().filter_map(|pass| registry.example(pass)).collect();
    let passes: Vec<&dyn Pass> =
        pipeline.passes().chain(examples.iter().flat_map(Pipeline::passes)).collect();
    let (pass, rule) = find_rule(&passes, question.rule)?;
    let (stage, graph, id) = find_value(program, value, question.stage)?;
    let Some(answer) = pass.why(graph, rule.name, id) else {
        return Err(WhyError::Silent { pass: pass.name(), rule: rule.name });
    };
    let obstacle = answer.err().map(|Mismatch { reason, node }| {
        // Nodes that the rule added before it gave up are not there.
        let node = node.filter(|&node| node != id && graph.get(node).is_some());
        Obstacle { reason: reason.into_owned(), line: node.map(|node| graph.line(node)) }
    });
    Ok(Why { rule, stage, line: graph.line(id), obstacle })
}

fn find_rule<'p>(passes: &[&'p dyn Pass], name: &str) -> Result<(&'p dyn Pass, RuleInfo), WhyError> {
    let rules: Vec<(&dyn Pass, RuleInfo)> =
        passes.iter().flat_map(|pass| pass.rules().into_iter().map(|rule| (*pass, rule))).collect();
    rules.iter().find(|(_, rule)| rule.name == name).copied().ok_or_else(|| {
        let mut known: Vec<&str> = rules.iter().map(|(_, rule)| rule.name).collect();
        known.sort_unstable();
        known.dedup();
        WhyError::UnknownRule {
            rule: name.to_owned(),
            nearest: nearest(known.iter().copied(), name).map(str::to_owned),
            known: known.join(", "),
        }
    })
}

fn find_value<'p>(
    program: &'p Program,
    value: &str,
    stage: Option<&str>,
) -> Result<(Stage, &'p Graph, ValueId), WhyError> {
    let listed = |stages: &[(Stage, &Graph)]| {
        stages.iter().map(|(stage, _)| format!("`{stage}`")).collect::<Vec<_>>().join(", ")
    };
    let mut stages: Vec<(Stage, &Graph)> = program.stages().collect();
    if let Some(name) = stage {
        let known = listed(&stages);
        let is_it = |stage: &Stage| {
            let text = stage.to_string();
            text == name || text.split(' ').next_back() == Some(name)
        };
        stages.retain(|(stage, _)| is_it(stage));
        if stages.is_empty() {
            return Err(WhyError::UnknownStage { stage: name.to_owned(), known });
        }
    }
    let mut found: Vec<_> = stages
        .iter()
        .filter_map(|(stage, graph)| Some((stage.clone(), *graph, graph.find(value)?)))
        .collect();
    // Stages hand values on: meant is the one that computes it.
    let is_computed = |(_, graph, id): &(Stage, &Graph, ValueId)| !matches!(graph[*id].op, Op::Input(_));
    if found.len() > 1 && found.iter().any(is_computed) {
        found.retain(is_computed);
    }
    match found.len() {
        1 => Ok(found.into_iter().next().expect("there is one")),
        0 => Err(unknown_value(&stages, value)),
        _ => {
            let stages: Vec<_> = found.into_iter().map(|(stage, graph, _)| (stage, graph)).collect();
            Err(WhyError::SeveralStages { value: value.to_owned(), stages: listed(&stages) })
        }
    }
}

fn unknown_value(stages: &[(Stage, &Graph)], value: &str) -> WhyError {
    let names = || {
        let ids = stages.iter().flat_map(|(_, graph)| graph.ids().map(move |id| (*graph, id)));
        ids.filter(|(graph, id)| !graph.is_leaf(*id)).map(|(graph, id)| &graph[id].name)
    };
    let rounds = names().filter_map(|name| name.split_index()).filter(|(stem, _)| *stem == value);
    match rounds.map(|(_, index)| index).min() {
        Some(first) => WhyError::Repeated { value: value.to_owned(), first },
        None => {
            let nearest = nearest(names().map(|name| &**name), value).map(|name| format!("%{name}"));
            WhyError::UnknownValue { value: value.to_owned(), nearest }
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, stage, line, obstacle } = self;
        let does = if obstacle.is_some() { "does not apply" } else { "applies" };
        writeln!(f, "{}: {}\n\nIt {does} in {stage} at\n    {line}", rule.name, rule.pattern)?;
        match obstacle {
            None => Ok(()),
            Some(Obstacle { reason, line: None }) => writeln!(f, "because {reason}"),
            Some(Obstacle { reason, line: Some(line) }) => writeln!(f, "because {reason}:\n    {line}"),
        }
    }
}
