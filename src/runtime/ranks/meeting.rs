//! Where the ranks of a program meet to exchange what each of them has.

use crate::RunError;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// A place where all ranks wait for each other.
pub struct Meeting {
    ranks: usize,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// What each rank has brought to the round that is going on.
    brought: Vec<Option<Vec<u8>>>,
    /// What all have brought to the last round.
    shared: Arc<Vec<Vec<u8>>>,
    /// How many rounds are over.
    rounds: u64,
    /// Whether a rank has failed, so that nobody must wait for it.
    is_over: bool,
    /// What ends with it.
    at_end: Vec<Box<dyn FnOnce() + Send>>,
}

impl Meeting {
    pub fn of(ranks: usize) -> Self {
        let state = State {
            brought: vec![None; ranks],
            shared: Arc::default(),
            rounds: 0,
            is_over: false,
            at_end: Vec::new(),
        };
        Self { ranks, state: Mutex::new(state), changed: Condvar::new() }
    }

    pub fn ranks(&self) -> usize {
        self.ranks
    }

    /// Gives `bytes` to all others, and returns what each rank gave in this round, by rank.
    ///
    /// # Errors
    /// If a rank has failed meanwhile.
    pub fn exchange(&self, rank: usize, bytes: Vec<u8>) -> Result<Arc<Vec<Vec<u8>>>, RunError> {
        let mut state = self.lock();
        // What was brought before a rank failed is not exchanged any more.
        if state.is_over {
            return Err(RunError::Abandoned);
        }
        let round = state.rounds;
        state.brought[rank] = Some(bytes);
        if state.brought.iter().all(Option::is_some) {
            // The others of this round read it before they bring anything to the next.
            state.shared = Arc::new(state.brought.iter_mut().filter_map(Option::take).collect());
            state.rounds += 1;
            self.changed.notify_all();
        }
        while state.rounds == round && !state.is_over {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.rounds == round { Err(RunError::Abandoned) } else { Ok(state.shared.clone()) }
    }

    /// Sends everyone home who waits, now or later: a rank has failed.
    pub fn end(&self) {
        let mut state = self.lock();
        state.is_over = true;
        let at_end = std::mem::take(&mut state.at_end);
        drop(state);
        self.changed.notify_all();
        at_end.into_iter().for_each(|end| end());
    }

    /// Calls `end` when a rank has failed, to end what others may be waiting in.
    #[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "ranks of the processor wait here alone"))]
    pub fn at_end(&self, end: impl FnOnce() + Send + 'static) {
        let mut state = self.lock();
        if state.is_over {
            drop(state);
            return end();
        }
        state.at_end.push(Box::new(end));
    }

    /// Whether a rank has failed.
    pub fn is_over(&self) -> bool {
        self.lock().is_over
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What it guards is whole between any two statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_gives_all_what_all_brought() {
        let meeting = Meeting::of(3);
        std::thread::scope(|scope| {
            for rank in 0..3_u8 {
                let meeting = &meeting;
                scope.spawn(move || {
                    for round in 0..100 {
                        let all = meeting.exchange(rank.into(), vec![rank, round]).unwrap();
                        assert_eq!(*all, [[0, round], [1, round], [2, round]]);
                    }
                });
            }
        });
    }

    #[test]
    fn nobody_waits_for_a_rank_that_failed() {
        let meeting = Meeting::of(2);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| meeting.exchange(0, Vec::new()).unwrap_err());
            meeting.end();
            assert!(matches!(waits.join().unwrap(), RunError::Abandoned));
        });
        assert!(meeting.exchange(1, Vec::new()).is_err());
    }
}
