//! A row's numbers, from what the journal has of it.

use super::emoji::Shown;
use super::journal::{Drawn, Journal, Timing};
use super::networks::NetworkMetric;
use super::summary::{Adherence, PictureResult, Quality, Row, RowKind, Spread};
use crate::pipeline::StageTime;
use crate::statistics::{median, p95};
use std::collections::BTreeMap;

/// The stage in which steps run.
const DENOISE: &str = "denoise";

/// The row `name` over all `pictures`, which are done.
pub fn row(journal: &Journal, name: &str, kind: RowKind, steps: usize, pictures: usize) -> Row {
    let facts = journal.row(name).expect("the row is done");
    let drawn: Vec<&Drawn> =
        (0..pictures).map(|index| journal.picture(name, index).expect("the row is done")).collect();
    let timings = || drawn.iter().map(|drawn| &drawn.timing);
    // The first of all pictures was drawn with nothing loaded.
    let cold = timings().find(|timing| timing.is_cold).or(timings().next()).expect("there are pictures");
    let warm = warm_timings(journal, name, pictures);
    let seconds = || warm.iter().map(|timing| timing.seconds);
    let computed = drawn.iter().map(|drawn| drawn.result.computed_steps).sum::<usize>();
    let judged = |index| {
        let score = |metric| Some((metric, journal.score(name, index, metric)?));
        NetworkMetric::ALL.into_iter().filter_map(score).collect()
    };
    let result =
        |(index, drawn): (usize, &&Drawn)| PictureResult { scores: judged(index), ..drawn.result.clone() };
    let results: Vec<PictureResult> = drawn.iter().enumerate().map(result).collect();
    let mut warnings: Vec<String> = Vec::new();
    for warning in drawn.iter().flat_map(|drawn| &drawn.warnings) {
        if !warnings.contains(warning) {
            warnings.push(warning.clone());
        }
    }
    Row {
        name: name.to_owned(),
        kind,
        passes: facts.passes.clone(),
        steps,
        computed_steps: computed as f64 / pictures as f64,
        cold_seconds: cold.seconds,
        cold_stages: cold.stages.clone(),
        median_seconds: median(seconds()),
        p95_seconds: p95(seconds()),
        stages: StageTime::medians(warm.iter().map(|timing| &timing.stages[..])),
        peak_bytes: drawn.iter().filter_map(|drawn| drawn.peak_bytes).max(),
        weight_bytes: facts.weight_bytes,
        graph: facts.graph.clone(),
        quality: quality(&results),
        adherence: adherence(drawn.iter().map(|drawn| drawn.shown)),
        scores: scores(&results),
        pictures: results,
        warnings,
    }
}

/// The times of pictures for which everything was loaded.
pub fn warm_timings<'j>(journal: &'j Journal, row: &str, pictures: usize) -> Vec<&'j Timing> {
    let drawn = (0..pictures).filter_map(|index| journal.picture(row, index)).map(|drawn| &drawn.timing);
    drawn.chain(journal.again(row)).filter(|timing| !timing.is_cold).collect()
}

/// With how many steps the base takes as long as `config` does: of its time, the steps' part shrinks with their number. None if that
/// is as many as it has, or more.
pub fn steps_in_the_time_of(config: &Row, base: &Row) -> Option<usize> {
    let denoise: f64 = base.stages.iter().filter(|time| time.stage == DENOISE).map(|time| time.seconds).sum();
    let (step, rest) = (denoise / base.steps as f64, base.median_seconds - denoise);
    let steps = ((config.median_seconds - rest) / step).round().max(1.0) as usize;
    (steps < base.steps).then_some(steps)
}

fn quality(pictures: &[PictureResult]) -> Option<Quality> {
    let spread = |of: fn(&PictureResult) -> Option<f64>, worst: fn(f64, f64) -> f64| {
        let values: Option<Vec<f64>> = pictures.iter().map(of).collect();
        let values = values?;
        let worst = values.iter().copied().reduce(worst)?;
        Some(Spread { median: median(values), worst })
    };
    Some(Quality {
        psnr: spread(|picture| picture.psnr, f64::min)?,
        ssim: spread(|picture| picture.ssim, f64::min)?,
        latent_l2: spread(|picture| picture.latent_l2, f64::max)?,
        trajectory_cosine: spread(|picture| picture.trajectory_cosine, f64::min),
    })
}

/// What each network says that has judged all of the pictures.
fn scores(pictures: &[PictureResult]) -> BTreeMap<NetworkMetric, Spread> {
    let of = |metric: NetworkMetric| {
        let values: Option<Vec<f64>> =
            pictures.iter().map(|picture| picture.scores.get(&metric).copied()).collect();
        let values = values?;
        let worst = values.iter().copied().reduce(metric.worse())?;
        Some((metric, Spread { median: median(values), worst }))
    };
    NetworkMetric::ALL.into_iter().filter_map(of).collect()
}

/// The shares of pictures that show what is asked for; none if that is not known of one.
fn adherence(shown: impl Iterator<Item = Option<Shown>>) -> Option<Adherence> {
    let shown: Vec<Shown> = shown.collect::<Option<_>>()?;
    let share = |holds: fn(&Shown) -> bool| {
        shown.iter().filter(|shown| holds(shown)).count() as f64 / shown.len() as f64
    };
    Some(Adherence {
        background: share(|shown| shown.background),
        subject: share(|shown| shown.subject),
        size: share(|shown| shown.size),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timed(seconds: f64, denoise: f64) -> Row {
        let stage = |stage: &str, seconds| StageTime { stage: stage.to_owned(), seconds };
        Row {
            name: "x".into(),
            kind: RowKind::Config,
            passes: String::new(),
            steps: 20,
            computed_steps: 20.0,
            cold_seconds: 9.0,
            cold_stages: Vec::new(),
            median_seconds: seconds,
            p95_seconds: seconds,
            stages: vec![stage("encode", seconds - denoise), stage(DENOISE, denoise)],
            peak_bytes: None,
            weight_bytes: 1,
            graph: Vec::new(),
            quality: None,
            adherence: None,
            scores: BTreeMap::new(),
            pictures: Vec::new(),
            warnings: Vec::new(),
        }
    }

    #[test]
    fn steps_fill_the_time_that_the_rest_leaves() {
        // Of 3 s, 20 steps take 2: 0.1 s each, and 1 s is for the rest.
        let base = timed(3.0, 2.0);
        let steps = |seconds| steps_in_the_time_of(&timed(seconds, 1.0), &base);
        assert_eq!([steps(2.0), steps(1.74), steps(1.76)], [Some(10), Some(7), Some(8)]);
        assert_eq!([steps(0.2), steps(2.96), steps(4.0)], [Some(1), None, None]);
    }

    fn picture(psnr: f64, latent_l2: f64, trajectory_cosine: Option<f64>) -> PictureResult {
        PictureResult {
            file: "a.png".into(),
            sha256: String::new(),
            seconds: 1.0,
            computed_steps: 3,
            psnr: Some(psnr),
            ssim: Some(0.5),
            latent_l2: Some(latent_l2),
            trajectory_cosine,
            scores: BTreeMap::from([(NetworkMetric::Lpips, latent_l2), (NetworkMetric::Arniqa, psnr)]),
        }
    }

    #[test]
    fn the_worst_is_the_least_alike() {
        let found = quality(&[picture(30.0, 0.1, Some(0.9)), picture(20.0, 0.3, Some(0.8))]).unwrap();
        assert_eq!(found.psnr, Spread { median: 25.0, worst: 20.0 });
        assert_eq!(found.latent_l2, Spread { median: 0.2, worst: 0.3 });
        assert_eq!(found.trajectory_cosine.unwrap().worst, 0.8);
        let judged = [picture(30.0, 0.1, None), picture(20.0, 0.3, None)];
        let worst = scores(&judged).into_values().map(|spread| spread.worst).collect::<Vec<_>>();
        assert_eq!(worst, [0.3, 20.0]);
        // One that was not judged leaves nothing to say of the row.
        let unjudged = PictureResult { scores: BTreeMap::new(), ..picture(30.0, 0.1, None) };
        assert!(scores(&[picture(30.0, 0.1, None), unjudged]).is_empty());
        assert!(quality(&[picture(30.0, 0.1, None)]).unwrap().trajectory_cosine.is_none());
        let shown = |subject| Some(Shown { background: true, subject, size: false });
        let of = adherence([shown(true), shown(false)].into_iter()).unwrap();
        assert_eq!((of.background, of.subject, of.size), (1.0, 0.5, 0.0));
        assert_eq!(adherence([shown(true), None].into_iter()), None);
    }
}
