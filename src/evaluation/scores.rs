//! What networks say of pictures, once all are drawn: so that a network can be asked later too, and never takes memory beside the
//! denoiser.

use super::journal::{Entry, Journal};
use super::networks::{MetricNetwork, NetworkMetric, Subject};
use super::plan::BASE;
use super::prepare::Way;
use super::progress::Progressed;
use super::summary::{Prompt, RowKind};
use crate::Error;
use crate::pipeline::Image;

/// Has each of `networks` judge the pictures of `ways` that it has not judged yet; what it says goes to `journal`.
///
/// # Errors
/// If a picture cannot be read, or a network cannot be run.
pub fn judge(
    networks: &mut [MetricNetwork],
    journal: &mut Journal,
    ways: &[Way],
    prompts: &[Prompt],
    observe: &mut dyn FnMut(Progressed),
) -> Result<(), Error> {
    let due = |journal: &Journal, metric: NetworkMetric| -> Vec<(String, usize)> {
        let rows = ways.iter().filter(|way| way.kind != RowKind::Base || !metric.compares());
        let pictures = rows.flat_map(|way| (0..prompts.len()).map(|index| (way.name.clone(), index)));
        pictures.filter(|(row, index)| journal.score(row, *index, metric).is_none()).collect()
    };
    observe(Progressed::Left(networks.iter().map(|network| due(journal, network.metric()).len()).sum()));
    for network in networks {
        let metric = network.metric();
        for (row, index) in due(journal, metric) {
            observe(Progressed::Score { metric, row: &row, picture: index, pictures: prompts.len() });
            let picture = open(journal, &row, index)?;
            let base = if metric.compares() { Some(open(journal, BASE, index)?) } else { None };
            let base = base.as_ref().unwrap_or(&picture);
            let subject = Subject { picture: &picture, base, prompt: &prompts[index].prompt };
            let value = network.judge(subject)?;
            if !journal.networks().contains_key(&metric) {
                journal.add(Entry::Network { metric, sha256: network.sha256().to_owned() })?;
            }
            let of = journal.judged(&row, index, metric).expect("all pictures are drawn");
            journal.add(Entry::Score { row, index, metric, value, of })?;
            observe(Progressed::Step);
        }
        network.unload();
    }
    Ok(())
}

fn open(journal: &Journal, row: &str, index: usize) -> Result<Image, Error> {
    let drawn = journal.picture(row, index).expect("all pictures are drawn");
    Image::open(journal.path(&drawn.result.file))
}

/// Refuses networks beside which `journal` has the scores of others.
///
/// # Errors
/// [`Error::Usage`].
pub fn refuse_others(networks: &[MetricNetwork], journal: &Journal) -> Result<(), Error> {
    let is_other = |network: &&MetricNetwork| {
        journal.networks().get(&network.metric()).is_some_and(|known| known != network.sha256())
    };
    match networks.iter().find(is_other) {
        None => Ok(()),
        Some(network) => Err(Error::Usage(format!(
            "{}: another network, or one with another tokenizer, has judged pictures of this evaluation by {} before; give that one, or \
             name another folder",
            journal.path("").display(),
            network.metric().title()
        ))),
    }
}
