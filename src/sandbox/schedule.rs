//! The order of a campaign's calls, in simulated milliseconds from its start.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// Calls of one campaign at once.
const LINES: usize = 50;

/// A call under way. Ordered by its end, then by its place in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct OnLine {
    pub(super) end_ms: u64,
    /// Its place in the file.
    pub(super) number: usize,
    /// Whether it is a second try.
    pub(super) again: bool,
}

/// Who is called when: a free line takes a recall that is due, or else the next number.
#[derive(Debug)]
pub(super) struct Schedule {
    next: usize,
    count: usize,
    /// Due times ascend, since each is the same interval after the end of a call, and these ascend.
    recalls: VecDeque<(u64, usize)>,
    on_line: BinaryHeap<Reverse<OnLine>>,
}

impl Schedule {
    /// Nobody of `count` numbers has been called yet.
    pub(super) fn new(count: usize) -> Self {
        Self { next: 0, count, recalls: VecDeque::new(), on_line: BinaryHeap::new() }
    }

    /// Fills the lines that are free at `now_ms` with calls as long as `length_ms` says.
    pub(super) fn fill(&mut self, now_ms: u64, length_ms: impl Fn(usize, bool) -> u64) {
        while self.on_line.len() < LINES {
            let due = self.recalls.front().is_some_and(|(due_ms, _)| *due_ms <= now_ms);
            // With nothing else left to do, a recall is waited for.
            let waited = self.next == self.count && self.on_line.is_empty();
            let (start_ms, number, again) = match self.recalls.front() {
                Some(&(due_ms, number)) if due || waited => {
                    self.recalls.pop_front();
                    (due_ms.max(now_ms), number, true)
                }
                _ if self.next < self.count => {
                    self.next += 1;
                    (now_ms, self.next - 1, false)
                }
                _ => return,
            };
            let end_ms = start_ms + length_ms(number, again);
            self.on_line.push(Reverse(OnLine { end_ms, number, again }));
        }
    }

    /// Calls `number` once more, not before `due_ms`, which is no earlier than that of the last one.
    pub(super) fn recall(&mut self, due_ms: u64, number: usize) {
        self.recalls.push_back((due_ms, number));
    }

    /// The call that ends next.
    pub(super) fn pop(&mut self) -> Option<OnLine> {
        self.on_line.pop().map(|Reverse(call)| call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(count: usize, recalled: &[usize], due_after_ms: u64) -> Vec<(u64, usize, bool)> {
        let length = |number: usize, _| 100 + number as u64;
        let mut schedule = Schedule::new(count);
        let mut calls = Vec::new();
        schedule.fill(0, length);
        while let Some(over) = schedule.pop() {
            assert!(schedule.on_line.len() < LINES);
            calls.push((over.end_ms, over.number, over.again));
            if !over.again && recalled.contains(&over.number) {
                schedule.recall(over.end_ms + due_after_ms, over.number);
            }
            schedule.fill(over.end_ms, length);
        }
        calls
    }

    #[test]
    fn every_number_is_called_once_and_ends_in_order() {
        let calls = calls(120, &[], 0);
        assert_eq!(calls.len(), 120);
        assert!(calls.is_sorted());
        // The first line that is free takes the first number that waits.
        assert!(calls.contains(&(100 + 150, LINES, false)));
    }

    #[test]
    fn a_recall_goes_before_new_numbers_once_it_is_due() {
        let calls = calls(60, &[0], 5);
        let again = calls.iter().find(|(.., again)| *again);
        // Due at 105, so the line that is free at 105 takes it.
        assert_eq!(again, Some(&(205, 0, true)));
        assert_eq!(calls.len(), 61);
    }

    #[test]
    fn a_recall_is_waited_for_when_nothing_else_is_left() {
        assert_eq!(calls(1, &[0], 1000), [(100, 0, false), (1200, 0, true)]);
    }
}
