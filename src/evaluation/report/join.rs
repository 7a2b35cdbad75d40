//! Several runs as one, where they can be compared: rows of the same prompts, seeds and sizes on the same device, with a base
//! that draws the same pictures.

use super::run::Run;
use crate::evaluation::{Evaluation, Row};
use reflux_ir::pass::counted;
use std::collections::HashSet;

/// `runs` with those joined that can be.
pub fn joined(runs: Vec<Run>) -> Vec<Run> {
    let mut joined: Vec<Run> = Vec::new();
    for run in runs {
        match joined.iter_mut().find(|first| is_comparable(&first.evaluation, &run.evaluation)) {
            Some(first) => add(first, run),
            None => joined.push(run),
        }
    }
    joined
}

fn is_comparable(a: &Evaluation, b: &Evaluation) -> bool {
    let (base_a, base_b) = (&a.rows[0], &b.rows[0]);
    (&a.version, &a.model, &a.device, a.dtype, a.width, a.height, a.steps, a.guidance)
        == (&b.version, &b.model, &b.device, b.dtype, b.width, b.height, b.steps, b.guidance)
        && a.prompts == b.prompts
        && base_a.passes == base_b.passes
        && shown(base_a) == shown(base_b)
}

/// The digests of the pictures of `row`.
fn shown(row: &Row) -> Vec<&str> {
    row.pictures.iter().map(|picture| &*picture.sha256).collect()
}

/// Adds the rows of `run` but its base to `first`; a row that is there already is left out, and that is said.
fn add(first: &mut Run, run: Run) {
    let folder = run.folders[0].display().to_string();
    let mut names: HashSet<String> = first.evaluation.rows.iter().map(|row| row.name.clone()).collect();
    let mut again = 0;
    first.warnings.extend(run.warnings);
    // What other networks say is no number of the same column.
    let known = &first.evaluation.networks;
    let (foreign, own): (Vec<_>, Vec<_>) = run
        .evaluation
        .networks
        .into_iter()
        .partition(|(metric, sha256)| known.get(metric).is_some_and(|known| known != sha256));
    for (metric, _) in &foreign {
        let (metric, first_folder) = (metric.title(), first.folders[0].display());
        first.warnings.push(format!(
            "{folder}: its {metric} is by another network than that of {first_folder}, so it is left out"
        ));
    }
    first.evaluation.networks.extend(own);
    for (mut row, pictures_folder) in run.evaluation.rows.into_iter().zip(run.folders).skip(1) {
        let is_same =
            |other: &Row| (&other.passes, other.steps, other.kind) == (&row.passes, row.steps, row.kind);
        for (metric, _) in &foreign {
            row.scores.remove(metric);
        }
        if let Some(same) = first.evaluation.rows.iter_mut().find(|other| is_same(other)) {
            again += 1;
            // The pictures may be the same, but for networks that only one of both runs has asked.
            if shown(same) == shown(&row) {
                for (metric, score) in row.scores {
                    same.scores.entry(metric).or_insert(score);
                }
            }
            continue;
        }
        if names.contains(&row.name) {
            row.name = format!("{} ({folder})", row.name);
        }
        let name = row.name.clone();
        let mut count = 1;
        while !names.insert(row.name.clone()) {
            count += 1;
            row.name = format!("{name} {count}");
        }
        first.evaluation.rows.push(row);
        first.folders.push(pictures_folder);
    }
    if again > 0 {
        let (rows, others) = (counted(again, "row"), first.folders[0].display());
        first
            .warnings
            .push(format!("{folder}: {rows} with the passes and steps of rows of {others} left out"));
    }
}
