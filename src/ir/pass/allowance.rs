//! A limit on the applications of a rule, to find the application that breaks something.

use std::sync::{Arc, Mutex};

/// Counts the applications of one rule and stops them at a limit. Other rules are not limited.
///
/// Cloned allowances share their count.
#[derive(Clone, Debug, Default)]
pub struct Allowance {
    limit: Option<Arc<Mutex<Limit>>>,
}

#[derive(Clone, Debug)]
struct Limit {
    rule: String,
    left: usize,
    /// Where the rule was applied last.
    last: Option<String>,
}

impl Allowance {
    /// The first `count` applications of `rule`.
    pub fn of(rule: impl Into<String>, count: usize) -> Self {
        let limit = Limit { rule: rule.into(), left: count, last: None };
        Self { limit: Some(Arc::new(Mutex::new(limit))) }
    }

    /// Whether `rule` may be applied once more; if so, it is counted. `place` says where.
    pub fn take(&self, rule: &str, place: impl FnOnce() -> String) -> bool {
        let Some(limit) = &self.limit else { return true };
        let mut limit = limit.lock().expect("nothing panics while it counts");
        if limit.rule != rule {
            return true;
        }
        let Some(left) = limit.left.checked_sub(1) else { return false };
        limit.left = left;
        limit.last = Some(place());
        true
    }

    /// The same allowance with a separate count, for attempts that may be discarded.
    pub fn trial(&self) -> Self {
        let copy = |limit: &Arc<Mutex<Limit>>| {
            Arc::new(Mutex::new(limit.lock().expect("nothing panics while it counts").clone()))
        };
        Self { limit: self.limit.as_ref().map(copy) }
    }

    /// Takes over the count of `trial`, which was made from this allowance.
    pub fn accept(&self, trial: &Self) {
        if let (Some(limit), Some(trial)) = (&self.limit, &trial.limit) {
            let counted = trial.lock().expect("nothing panics while it counts").clone();
            *limit.lock().expect("nothing panics while it counts") = counted;
        }
    }

    /// Where the rule was applied last.
    pub fn last(&self) -> Option<String> {
        self.limit.as_ref()?.lock().expect("nothing panics while it counts").last.clone()
    }
}
