//! The rules of `fuse`, and how they are matched and applied. `fuse/README.md` says what a rule must be.

mod build;
mod concat;
mod gemm;
mod matches;
mod rowwise;
mod rule;
mod run;
mod segment;
mod spine;
mod sum;

pub use matches::Breadth;
pub use rule::{Classes, FuseRule, Level, Match, SpineOp, Tree};
pub use run::{Run, Tally};

use super::term::Terms;
use egg::Id;
use matches::levels;
use reflux_ir::pass::{Mismatch, RuleInfo};

/// All rules. The first three turn single ops into fused ones; the others let fused ops absorb their neighbours.
pub static RULES: &[FuseRule] = &[
    rowwise::OP_TO_ROWWISE,
    gemm::LINEAR_TO_GEMM,
    gemm::RESCALE_TO_GEMM,
    rowwise::ROWWISE_ABSORBS_ROWWISE,
    gemm::GEMM_ABSORBS_ROWWISE,
    gemm::GEMM_ABSORBS_PRODUCT,
    segment::SEGMENT_ABSORBS_ROWWISE,
    segment::SEGMENT_ABSORBS_PRODUCT,
    segment::SEGMENTS_BESIDE,
    concat::ROPE_OF_CONCAT,
    concat::QUANTIZE_OF_CONCAT,
];

impl FuseRule {
    /// Its name and pattern.
    pub const fn info(&self) -> RuleInfo {
        RuleInfo { name: self.name, pattern: self.pattern }
    }

    /// The replacements of `found` in class `id`, or why there are none; one of another type is a bug of the rule, and the reason
    /// says so.
    fn replacements(&self, classes: &Classes, id: Id, found: &Match) -> Result<Vec<Tree>, Mismatch> {
        let replacements = (self.rewrite)(classes, found)?;
        let is_right = |tree: &Tree| classes.check(id, tree).map_err(|why| self.bug(&why));
        replacements.iter().try_for_each(is_right).map_err(Mismatch::new)?;
        Ok(replacements)
    }

    /// The error message for a replacement that cannot replace the original, because `why`.
    fn bug(&self, why: &str) -> String {
        format!("the rule `{}` is wrong: {why}", self.name)
    }

    /// Whether the rule applies somewhere in class `id`; if not, why not at the closest match.
    pub(super) fn answer(&self, terms: &Terms, id: Id) -> Result<(), Mismatch> {
        let classes = Classes::new(terms);
        let mut nearest = None;
        for found in self.matches(terms, terms.find(id), Breadth::All) {
            match self.replacements(&classes, id, &found) {
                Ok(_) => return Ok(()),
                Err(mismatch) => drop(nearest.get_or_insert(mismatch)),
            }
        }
        Err(nearest.unwrap_or_else(|| {
            let fits = |&depth: &usize| {
                !levels(terms, terms.find(id), &self.spine[..depth], Breadth::All).is_empty()
            };
            let depth = (1..self.spine.len()).rev().find(fits).unwrap_or(0);
            let due = self.spine[depth].name;
            let article = if due.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
            match depth {
                0 => Mismatch::other_kind(format!("the value is not {article} {due}")),
                _ => Mismatch::new(format!(
                    "no operand of the {} is {article} {due}",
                    self.spine[depth - 1].name
                )),
            }
        }))
    }

    /// The places in class `id` where the ops are those of the rule.
    pub(super) fn matches(&self, terms: &Terms, id: Id, breadth: Breadth) -> Vec<Match> {
        levels(terms, id, self.spine, breadth).into_iter().map(|levels| Match { levels }).collect()
    }
}
