//! Memory for the values inside a graph: values with disjoint lifetimes share it.

use super::planner::Planner;
use super::{Buffer, LaunchPlan, Owner};
use std::collections::HashMap;
use std::ops::Range;

impl Planner<'_> {
    /// Assigns offsets to the buffers of the arena: the lowest that do not overlap buffers needed at the same time.
    pub(super) fn finish(mut self) -> LaunchPlan {
        let mut lives: HashMap<usize, (usize, usize)> = HashMap::new();
        for (at, launch) in self.launches.iter().enumerate() {
            for buffer in launch.buffers() {
                lives.entry(buffer).and_modify(|life| life.1 = at).or_insert((at, at));
            }
        }
        let mut order: Vec<usize> =
            (0..self.buffers.len()).filter(|index| lives.contains_key(index)).collect();
        order.retain(|&index| matches!(self.buffers[index].place, Owner::Arena(_)));
        // Large ones first: small ones fit between them.
        order.sort_by_key(|&index| (std::cmp::Reverse(self.buffers[index].bytes), index));
        let (mut placed, mut arena): (Vec<(usize, usize, usize)>, usize) = (Vec::new(), 0);
        for index in order {
            let (bytes, (first, last)) = (self.buffers[index].bytes.next_multiple_of(256), lives[&index]);
            let mut beside: Vec<(usize, usize)> = placed
                .iter()
                .filter(|(other, ..)| lives[other].0 <= last && first <= lives[other].1)
                .map(|&(_, start, end)| (start, end))
                .collect();
            beside.sort_unstable();
            let mut start = 0;
            for (from, to) in beside {
                if start + bytes <= from {
                    break;
                }
                start = start.max(to);
            }
            placed.push((index, start, start + bytes));
            arena = arena.max(start + bytes);
            self.buffers[index].place = Owner::Arena(start);
        }
        LaunchPlan { buffers: self.buffers, launches: self.launches, arena }
    }
}

impl LaunchPlan {
    /// For each buffer of the arena, the first and the last launch that uses it, and its bytes in the arena.
    pub fn lives(&self) -> Vec<(usize, usize, Range<usize>)> {
        let life = |(index, buffer): (usize, &Buffer)| {
            let Owner::Arena(start) = buffer.place else { return None };
            let uses =
                self.launches.iter().enumerate().filter(|(_, launch)| launch.buffers().contains(&index));
            let at: Vec<usize> = uses.map(|(at, _)| at).collect();
            Some((*at.first()?, *at.last()?, start..start + buffer.bytes))
        };
        self.buffers.iter().enumerate().filter_map(life).collect()
    }
}
