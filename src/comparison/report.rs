//! What a comparison has found, as a table and as JSON.

use super::distance::{Distance, Sums};
use crate::Error;
use indexmap::IndexMap;
use reflux_ir::ModulePath;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;

/// A comparison of two programs, A and B.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// What A and B are, for people.
    a: String,
    b: String,
    /// The whole, and modules of every kind, those together that are the same but for the number of their block.
    kinds: Vec<ModuleRow>,
    /// The whole, and every module, each before those in it.
    modules: Vec<ModuleRow>,
    /// Of the latents after the last step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    latents: Option<Distance>,
    /// Why it is not known what each module makes by itself, if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    why_not_made: Option<String>,
    /// Whether steps of B reuse what earlier steps have computed.
    #[serde(default)]
    reuses: bool,
}

/// A module, or those of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModuleRow {
    /// Empty for the whole.
    module: String,
    /// In A and in B, all steps of a picture together.
    ms_a: f64,
    ms_b: f64,
    /// The error of its results in B; none if B does not compute them.
    error: Option<Distance>,
    /// The part of the error that the module makes: that of its results where it reads what A has computed.
    error_made: Option<Distance>,
    /// Whether no other module is in it.
    is_leaf: bool,
}

/// What was measured of a module.
pub(super) struct MeasuredModule {
    pub path: ModulePath,
    /// In A and in B, all steps of a picture together.
    pub ms: [f64; 2],
    /// The error of its results in B.
    pub all: Sums,
    /// The same where it reads what modules of A have made.
    pub made: Sums,
    pub is_leaf: bool,
}

/// Names of modules that are longer are not aligned.
const WIDEST: usize = 80;

/// Less than this is what f32 sums in another order differ by.
const ROUNDING: f64 = 1e-6;

/// Modules named as those that make most of the error.
const NAMED: usize = 3;

impl Comparison {
    pub(super) fn of(
        measured: &[MeasuredModule],
        latents: Option<Distance>,
        why_not_made: Option<String>,
    ) -> Self {
        let mut kinds: IndexMap<String, MeasuredModule> = IndexMap::new();
        for module in measured {
            let kind = kinds.entry(module.path.of_any_block()).or_insert_with(|| MeasuredModule {
                path: module.path.of_any_block().into(),
                ms: [0.0; 2],
                all: Sums::default(),
                made: Sums::default(),
                is_leaf: module.is_leaf,
            });
            kind.all.merge(&module.all);
            kind.made.merge(&module.made);
            kind.ms = [0, 1].map(|side| kind.ms[side] + module.ms[side]);
        }
        let (kinds, modules) =
            (kinds.values().map(ModuleRow::of).collect(), measured.iter().map(ModuleRow::of).collect());
        let (a, b, reuses) = Default::default();
        Self { a, b, kinds, modules, latents, why_not_made, reuses }
    }

    /// The same with what A and B are.
    pub fn named(self, [a, b]: [String; 2]) -> Self {
        Self { a, b, ..self }
    }

    /// The same of a B whose steps reuse what earlier ones have computed, if it `reuses`.
    pub(super) fn reusing(self, reuses: bool) -> Self {
        Self { reuses, ..self }
    }

    /// Whether A or B is called so.
    pub fn is_of(&self, name: &str) -> bool {
        self.a == name || self.b == name
    }

    /// Reads what `reflux compare --json` has printed.
    ///
    /// # Errors
    /// [`Error::Usage`] if it is something else.
    pub fn read(path: &Path, text: &str) -> Result<Self, Error> {
        serde_json::from_str(text).map_err(|error| {
            let path = path.display();
            Error::Usage(format!(
                "{path} is no comparison: {error}; `reflux compare --json` writes such files"
            ))
        })
    }

    /// The same without every single module, for a page.
    pub fn of_kinds(self) -> Self {
        Self { modules: Vec::new(), ..self }
    }

    /// The modules without others in them that make most of the error, the worst first, with the relative L2 distance that each makes.
    pub fn worst(&self) -> Vec<(&str, f64)> {
        let made =
            |row: &ModuleRow| row.error_made.as_ref().filter(|_| row.is_leaf).map(|made| made.relative_l2);
        let mut all: Vec<_> =
            self.modules.iter().filter_map(|row| Some((row.module.as_str(), made(row)?))).collect();
        all.retain(|(_, error)| error.is_nan() || *error >= ROUNDING);
        // A NaN, of which there are two signs, is worst.
        all.sort_by(|(_, a), (_, b)| b.abs().total_cmp(&a.abs()));
        all
    }

    /// Every module, with the relative L2 distances of the error that it makes, and of all.
    #[cfg(test)]
    pub(super) fn errors(&self) -> impl Iterator<Item = (&str, Option<f64>, Option<f64>)> {
        let distance = |error: &Option<Distance>| error.map(|error| error.relative_l2);
        self.modules.iter().map(move |row| (&*row.module, distance(&row.error_made), distance(&row.error)))
    }

    /// One JSON object.
    pub fn json(&self) -> String {
        format!("{}\n", serde_json::to_string_pretty(self).expect("a report is plain data"))
    }

    /// The table: modules that are the same but for the number of their block together, or `each` by itself.
    pub fn table(&self, each: bool) -> impl fmt::Display + '_ {
        fmt::from_fn(move |f| {
            let rows = if each { &self.modules } else { &self.kinds };
            let width =
                rows.iter().map(|row| row.name().len()).max().unwrap_or(0).clamp("module".len(), WIDEST);
            writeln!(
                f,
                "{:<width$} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
                "module", "ms in A", "ms in B", "made L2", "error L2", "cosine", "max"
            )?;
            rows.iter().try_for_each(|row| row.write(width, f))?;
            self.write_end(f)
        })
    }

    fn write_end(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(latents) = &self.latents {
            writeln!(f, "latents after the last step: relative L2 {:.2e}", latents.relative_l2)?;
        }
        if let Some(why) = &self.why_not_made {
            return writeln!(f, "what each module makes by itself is not measured: {why}");
        }
        if self.reuses {
            writeln!(
                f,
                "made is of the steps that compute a module; what steps of B reuse from earlier ones shows in error alone"
            )?;
        }
        let worst = self.worst();
        if worst.is_empty() {
            let is_measured = self.modules.iter().any(|row| row.error_made.is_some());
            return writeln!(
                f,
                "{}",
                if is_measured {
                    "no module makes an error beyond that of rounding"
                } else {
                    "nothing could be measured"
                }
            );
        }
        let named = worst.iter().take(NAMED).map(|(module, error)| format!("{module} ({error:.1e})"));
        writeln!(f, "the modules that make most of the error: {}", named.collect::<Vec<_>>().join(", "))
    }
}

impl ModuleRow {
    fn of(module: &MeasuredModule) -> Self {
        let [ms_a, ms_b] = module.ms;
        Self {
            module: module.path.to_string(),
            ms_a,
            ms_b,
            error: module.all.distance(),
            error_made: module.made.distance(),
            is_leaf: module.is_leaf,
        }
    }

    fn name(&self) -> &str {
        if self.module.is_empty() { "(all)" } else { &self.module }
    }

    fn write(&self, width: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ms_a, ms_b, error, error_made, .. } = self;
        let number =
            |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.1e}"));
        writeln!(
            f,
            "{:<width$} {ms_a:>9.2} {ms_b:>9.2} {:>9} {:>9} {:>9} {:>9}",
            self.name(),
            number(error_made.map(|made| made.relative_l2)),
            number(error.map(|error| error.relative_l2)),
            error.map_or_else(|| "–".to_owned(), |error| format!("{:.6}", error.cosine)),
            number(error.map(|error| error.max)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(path: &str, ms: [f64; 2], found: &[f32], made: &[f32], is_leaf: bool) -> MeasuredModule {
        let sums = |found: &[f32]| {
            let mut sums = Sums::default();
            if !found.is_empty() {
                sums.add(found, &[3.0, 4.0]);
            }
            sums
        };
        MeasuredModule { path: path.into(), ms, all: sums(found), made: sums(made), is_leaf }
    }

    #[test]
    fn blocks_are_one_row_or_each_has_its_own() {
        let measured = [
            module("", [8.0, 5.0], &[3.0, 4.5], &[3.0, 4.5], false),
            module("blocks.0.ff", [4.0, 2.5], &[3.0, 4.5], &[3.0, 4.5], true),
            module("blocks.1.ff", [3.0, 2.0], &[3.0, 5.0], &[3.0, 4.0], true),
            module("norm", [1.0, 0.5], &[], &[], true),
        ];
        let found = Comparison::of(&measured, None, None).named(["a".into(), "b".into()]);
        insta::assert_snapshot!(found.table(false).to_string(), @r"
        module        ms in A   ms in B   made L2  error L2    cosine       max
        (all)            8.00      5.00    1.0e-1    1.0e-1  0.998460    5.0e-1
        blocks.*.ff      7.00      4.50    7.1e-2    1.6e-1  0.995801     1.0e0
        norm             1.00      0.50         –         –         –         –
        the modules that make most of the error: blocks.0.ff (1.0e-1)
        ");
        assert_eq!(found.table(true).to_string().lines().count(), 6);
        assert_eq!(found.worst(), [("blocks.0.ff", 0.1)]);
    }
}
