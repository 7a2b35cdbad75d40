//! What is told of an evaluation while it runs.

use super::networks::NetworkMetric;

/// What happens during an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progressed<'a> {
    /// As far as it is known now, so many steps are left in all.
    Left(usize),
    /// A picture of a row is begun, counted from 0.
    Picture { row: &'a str, picture: usize, pictures: usize },
    /// A network is asked about a picture.
    Score { metric: NetworkMetric, row: &'a str, picture: usize, pictures: usize },
    /// A step is done, or a network has answered.
    Step,
}
