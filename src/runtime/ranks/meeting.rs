//! Where the ranks of a program meet to exchange what each of them has.

use crate::RunError;
use reflux_ir::HostTensor;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// A place where all ranks wait for each other.
pub struct Meeting {
    ranks: usize,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// What each rank has brought to the round that is going on.
    brought: Vec<Option<HostTensor>>,
    /// What all have brought to a round that is over, for each rank until it has come for it. It is one copy, which is freed when all
    /// are done with it.
    shared: Vec<Option<Arc<[HostTensor]>>>,
    /// Whether a rank has failed, so that nobody must wait for it.
    is_over: bool,
    /// What ends with it.
    at_end: Vec<Box<dyn FnOnce() + Send>>,
}

impl Meeting {
    pub fn of(ranks: usize) -> Self {
        let state = State {
            brought: vec![None; ranks],
            shared: vec![None; ranks],
            is_over: false,
            at_end: Vec::new(),
        };
        Self { ranks, state: Mutex::new(state), changed: Condvar::new() }
    }

    pub fn ranks(&self) -> usize {
        self.ranks
    }

    /// Gives `own` to all others, and returns what each rank gave in this round, by rank.
    ///
    /// # Errors
    /// If a rank has failed meanwhile.
    pub fn exchange(&self, rank: usize, own: HostTensor) -> Result<Arc<[HostTensor]>, RunError> {
        let mut state = self.lock();
        // What was brought before a rank failed is not exchanged any more.
        if state.is_over {
            return Err(RunError::Abandoned);
        }
        state.brought[rank] = Some(own);
        if state.brought.iter().all(Option::is_some) {
            // The others of this round come for it before they bring anything to the next.
            let all: Arc<[_]> = state.brought.iter_mut().filter_map(Option::take).collect();
            state.shared.fill(Some(all));
            self.changed.notify_all();
        }
        while state.shared[rank].is_none() && !state.is_over {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.shared[rank].take().ok_or(RunError::Abandoned)
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

    fn tensor(values: &[f32]) -> HostTensor {
        HostTensor::from_f32([values.len()], values)
    }

    #[test]
    fn every_round_gives_all_what_all_brought() {
        let meeting = Meeting::of(3);
        std::thread::scope(|scope| {
            for rank in 0..3_u8 {
                let meeting = &meeting;
                scope.spawn(move || {
                    for round in 0..100_u8 {
                        let own = |rank: u8| tensor(&[rank.into(), round.into()]);
                        let all = meeting.exchange(rank.into(), own(rank)).unwrap();
                        assert_eq!(*all, [0, 1, 2].map(own));
                    }
                });
            }
        });
    }

    /// What a rank brings is not copied for the others, and gone once they are done with it.
    #[test]
    fn what_is_exchanged_is_in_memory_once() {
        let meeting = Meeting::of(3);
        let rank = |rank: usize| {
            let own = tensor(&[0.0; 64]);
            let place = own.bytes.as_ptr() as usize;
            let all = meeting.exchange(rank, own).unwrap();
            let places: Vec<_> = all.iter().map(|x| x.bytes.as_ptr() as usize).collect();
            (place, places, Arc::downgrade(&all))
        };
        let seen: Vec<_> = std::thread::scope(|scope| {
            let ranks: Vec<_> = (0..3).map(|index| scope.spawn(move || rank(index))).collect();
            ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
        });
        let brought: Vec<_> = seen.iter().map(|(place, ..)| *place).collect();
        for (_, places, shared) in seen {
            assert_eq!(places, brought);
            assert!(shared.upgrade().is_none());
        }
    }

    #[test]
    fn nobody_waits_for_a_rank_that_failed() {
        let meeting = Meeting::of(2);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| meeting.exchange(0, tensor(&[])).unwrap_err());
            meeting.end();
            assert!(matches!(waits.join().unwrap(), RunError::Abandoned));
        });
        assert!(meeting.exchange(1, tensor(&[])).is_err());
    }
}
