//! Local rewrites, applied wherever they fit.

use super::{Changed, PassContext, PassError};
use crate::text::line_of;
use crate::{Graph, Patch, PatchError, Program, Stage, ValueId};
use std::borrow::Cow;

/// A local rewrite of the values whose op is one of `roots`.
///
/// `rewrite` builds the replacement of `root` in the patch and shunts it; it must be directional, so that no rule undoes
/// it. Where the pattern does not fit, it returns the reason. An error of the patch is a bug of the rule.
#[derive(Clone, Copy)]
pub struct Rule {
    /// The name: `slice-of-slice`.
    pub name: &'static str,
    /// The rewrite in one line: `left side → right side`.
    pub pattern: &'static str,
    /// Names of the ops that it starts from; all ops, if there are none.
    pub roots: &'static [&'static str],
    pub rewrite: fn(&mut Patch, ValueId) -> Result<(), RuleError>,
}

/// The name and pattern of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleInfo {
    pub name: &'static str,
    /// The rewrite in one line: `left side → right side`.
    pub pattern: &'static str,
}

impl Rule {
    fn starts_from(&self, op: &str) -> bool {
        self.roots.is_empty() || self.roots.contains(&op)
    }

    /// Its name and pattern.
    pub const fn info(&self) -> RuleInfo {
        RuleInfo { name: self.name, pattern: self.pattern }
    }
}

/// Why a rule does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Mismatch {
    pub reason: Cow<'static, str>,
    /// The value that does not fit, if it is not the root.
    pub node: Option<ValueId>,
    /// Whether the rule is for values of another kind, so that nobody would have expected it here.
    pub is_other_kind: bool,
}

impl Mismatch {
    /// The root does not fit.
    pub fn new(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { reason: reason.into(), node: None, is_other_kind: false }
    }

    /// `node` does not fit.
    pub fn at(node: ValueId, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { node: Some(node), ..Self::new(reason) }
    }

    /// The rule is for values of another kind.
    pub fn other_kind(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { is_other_kind: true, ..Self::new(reason) }
    }
}

/// Why a rule is not applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// It does not fit.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// It fits, but its replacement cannot replace the original: a bug of the rule.
    #[error("this is a bug of the rule: {0}")]
    Broken(#[from] PatchError),
}

impl RuleError {
    /// The answer to [why](super::Pass::why) a rule is not applied.
    pub fn into_mismatch(self) -> Mismatch {
        match self {
            Self::Mismatch(mismatch) => mismatch,
            broken @ Self::Broken(_) => Mismatch::new(broken.to_string()),
        }
    }
}

/// A value of a program, to ask a pass about.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub program: &'a Program,
    pub stage: &'a Stage,
    /// The graph of the stage.
    pub graph: &'a Graph,
    pub value: ValueId,
}

/// That a rule applies, with details if there are any, or why it does not.
pub type Answer = Result<Option<String>, Mismatch>;

/// Whether the rule applies, or could be thought to.
pub fn is_near(answer: &Answer) -> bool {
    answer.as_ref().err().is_none_or(|why| !why.is_other_kind)
}

/// Applies `rules` to every value of `graph` until none fits, in program order.
///
/// # Errors
/// For bugs of the rules: a replacement of another type, or rules that undo each other.
pub fn apply_rules(graph: &mut Graph, rules: &[Rule], cx: &mut PassContext) -> Result<Changed, PassError> {
    // Every rule shrinks the graph or fixes an order, so a value is rewritten at most a few times.
    let mut fuel = 16 * (graph.len() + 16);
    let mut changed = Changed::No;
    loop {
        let mut settled = true;
        for id in graph.order() {
            for rule in rules {
                let Some(node) = graph.get(id) else { break };
                if !rule.starts_from(node.op.name()) {
                    continue;
                }
                if apply_at(rule, graph, id, cx)? == Changed::Yes {
                    (settled, changed) = (false, Changed::Yes);
                    fuel = fuel.checked_sub(1).ok_or_else(|| PassError::Diverging(names(rules)))?;
                }
            }
        }
        if settled {
            return Ok(changed);
        }
    }
}

/// Applies `rule` to the value `id`, if it fits and may be applied.
fn apply_at(rule: &Rule, graph: &mut Graph, id: ValueId, cx: &mut PassContext) -> Result<Changed, PassError> {
    cx.timed(rule.name, |cx| {
        let mut patch = Patch::new(graph, rule.name);
        match (rule.rewrite)(&mut patch, id) {
            Ok(()) if cx.admit(rule.name, || line_of(patch.graph(), id)) => {
                patch.apply()?;
                Ok(Changed::Yes)
            }
            Ok(()) => Ok(Changed::No),
            Err(RuleError::Broken(error)) => Err(error.into()),
            Err(RuleError::Mismatch(_)) => {
                cx.reject(rule.name);
                Ok(Changed::No)
            }
        }
    })
}

/// Whether the one of `rules` called `name` applies at `place`, and if not, why; `None` if there is no such rule.
pub fn try_rule(rules: &[Rule], name: &str, place: &Place) -> Option<Answer> {
    let Place { graph, value, .. } = *place;
    let rule = rules.iter().find(|rule| rule.name == name)?;
    let op = graph[value].op.name();
    if !rule.starts_from(op) {
        let roots: Vec<_> = rule.roots.iter().map(|root| format!("`{root}`")).collect();
        let reason = format!("the rule starts from {}, but this is `{op}`", roots.join(" or "));
        return Some(Err(Mismatch::other_kind(reason)));
    }
    let mut graph = graph.clone();
    let mut patch = Patch::new(&mut graph, rule.name);
    let applied = (rule.rewrite)(&mut patch, value).and_then(|()| Ok(patch.apply()?));
    Some(applied.map(|()| None).map_err(RuleError::into_mismatch))
}

fn names(rules: &[Rule]) -> String {
    rules.iter().map(|rule| rule.name).collect::<Vec<_>>().join(", ")
}
