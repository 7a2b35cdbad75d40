//! Local rewrites, applied wherever they fit.

use super::{Answer, Changed, PassContext, PassError, Place};
use crate::text::line_of;
use crate::{Graph, GraphError, Patch, PatchError, ValueId};
use std::borrow::Cow;
use std::time::Instant;

/// A local rewrite of the values whose op is one of `roots`.
///
/// `rewrite` builds the replacement of `root` in the patch and shunts it; it must be directional, so that no rule undoes
/// it. Where the pattern does not fit, it says why.
#[derive(Clone, Copy)]
pub struct Rule {
    /// A fact: `slice-of-slice`.
    pub name: &'static str,
    /// What becomes what.
    pub pattern: &'static str,
    /// Names of the ops that it starts from.
    pub roots: &'static [&'static str],
    pub rewrite: fn(&mut Patch, ValueId) -> Result<(), Mismatch>,
}

/// A rule, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleInfo {
    pub name: &'static str,
    /// What becomes what.
    pub pattern: &'static str,
}

impl Rule {
    /// The rule, for people.
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
}

impl Mismatch {
    /// The root does not fit.
    pub fn new(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { reason: reason.into(), node: None }
    }

    /// `node` does not fit.
    pub fn at(node: ValueId, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { reason: reason.into(), node: Some(node) }
    }
}

impl From<PatchError> for Mismatch {
    fn from(error: PatchError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<GraphError> for Mismatch {
    fn from(error: GraphError) -> Self {
        Self::new(error.to_string())
    }
}

/// Applies `rules` to every value of `graph` until none fits, in program order.
///
/// # Errors
/// A replacement of another type, or rules that undo each other.
pub fn apply_rules(graph: &mut Graph, rules: &[Rule], cx: &mut PassContext) -> Result<Changed, PassError> {
    // Every rule shrinks the graph or settles an order, so a value is rewritten a few times at most.
    let mut fuel = 16 * (graph.len() + 16);
    let mut changed = Changed::No;
    loop {
        let mut settled = true;
        for id in graph.order() {
            for rule in rules {
                let Some(node) = graph.get(id) else { break };
                if !rule.roots.contains(&node.op.name()) {
                    continue;
                }
                let start = Instant::now();
                let mut patch = Patch::new(graph, rule.name);
                let fits = (rule.rewrite)(&mut patch, id).is_ok()
                    && cx.allowance.take(rule.name, || line_of(patch.graph(), id));
                cx.report.count(rule.name, fits.into());
                let applied = if fits { patch.apply() } else { Ok(()) };
                cx.report.spend(rule.name, start.elapsed());
                applied?;
                if fits {
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

/// Whether the one of `rules` called `name` applies at `place`, and why not if it does not; nothing if none is called so.
pub fn try_rule(rules: &[Rule], name: &str, place: &Place) -> Option<Answer> {
    let Place { graph, value, .. } = *place;
    let rule = rules.iter().find(|rule| rule.name == name)?;
    let op = graph[value].op.name();
    if !rule.roots.contains(&op) {
        let roots: Vec<_> = rule.roots.iter().map(|root| format!("`{root}`")).collect();
        let reason = format!("the rule starts from {}, this is `{op}`", roots.join(" or "));
        return Some(Err(Mismatch::new(reason)));
    }
    let mut graph = graph.clone();
    let mut patch = Patch::new(&mut graph, rule.name);
    let applied = (rule.rewrite)(&mut patch, value).and_then(|()| Ok(patch.apply()?));
    Some(applied.map(|()| None))
}

fn names(rules: &[Rule]) -> String {
    rules.iter().map(|rule| rule.name).collect::<Vec<_>>().join(", ")
}
