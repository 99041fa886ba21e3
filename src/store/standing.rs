//! How one subscriber stands, in memory: what `due`, `retries` and a delivery's state are told from.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{Attempt, DeliveryState, Fate, MAX_RETRIES, Replay, ReplayId, Seq};

/// A row of a retry set, without its event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RetryRow {
    pub due: Timestamp,
    pub attempts: u32,
    pub spent: u32,
}

/// What is to be tried again, by event and by due time.
#[derive(Debug, Clone, Default)]
pub(super) struct RetrySet {
    rows: BTreeMap<Seq, RetryRow>,
    due: BTreeSet<(Timestamp, Seq)>,
}

impl RetrySet {
    pub fn get(&self, seq: Seq) -> Option<RetryRow> {
        self.rows.get(&seq).copied()
    }

    pub fn put(&mut self, seq: Seq, row: RetryRow) {
        self.take(seq);
        self.rows.insert(seq, row);
        self.due.insert((row.due, seq));
    }

    pub fn take(&mut self, seq: Seq) -> Option<RetryRow> {
        let row = self.rows.remove(&seq)?;
        self.due.remove(&(row.due, seq));
        Some(row)
    }

    /// Takes out what stands before `seq`.
    pub fn take_before(&mut self, seq: Seq) -> Vec<Seq> {
        let gone: Vec<Seq> = self.rows.range(..seq).map(|(seq, _)| *seq).collect();
        for seq in &gone {
            self.take(*seq);
        }
        gone
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// How many more it takes.
    pub fn room(&self) -> usize {
        MAX_RETRIES.saturating_sub(self.len())
    }

    pub fn oldest(&self) -> Option<Seq> {
        self.rows.keys().next().copied()
    }

    pub fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(due, _)| *due)
    }

    pub fn due(&self, now: Timestamp, max: usize) -> Vec<(Seq, RetryRow)> {
        let due = self.due.iter().take_while(|(due, _)| *due <= now).take(max);
        due.filter_map(|(_, seq)| self.rows.get(seq).map(|row| (*seq, *row))).collect()
    }
}

/// How a subscriber stands.
#[derive(Debug, Clone, Default)]
pub(super) struct Standing {
    /// Where it began: what came before concerns it only if it was replayed.
    pub began: Seq,
    pub frontier: Seq,
    pub paused: bool,
    pub retries: RetrySet,
    pub replays: Vec<Replay>,
    pub delivered: u64,
    pub failed: u64,
    pub expired: u64,
}

impl Standing {
    pub fn new(at: Seq) -> Self {
        Self { began: at, frontier: at, ..Self::default() }
    }

    /// Comes to `next` in a replay, and forgets it at its end.
    pub fn advance_replay(&mut self, id: ReplayId, next: Seq) {
        for replay in self.replays.iter_mut().filter(|replay| replay.id == id) {
            replay.next = replay.next.max(next);
        }
        self.replays.retain(|replay| replay.next < replay.end);
    }

    /// Drops what is ahead and in the retry set, and the replays. Returns how many deliveries that is, those
    /// left to the replays not counted.
    pub fn purge(&mut self, tail: Seq) -> u64 {
        let ahead = tail.0.saturating_sub(self.frontier.0);
        let retrying = self.retries.len() as u64;
        self.frontier = self.frontier.max(tail);
        self.retries = RetrySet::default();
        self.replays.clear();
        ahead + retrying
    }

    /// What an attempt adds to the counts.
    pub fn count(&mut self, attempt: Option<&Attempt>, fate: Fate) {
        match (attempt, fate) {
            (Some(_), Fate::Delivered) => self.delivered += 1,
            (Some(_), Fate::Retry { .. } | Fate::Dead) => self.failed += 1,
            (None, _) => {}
        }
    }

    /// The row that `fate` leads to.
    pub fn retry_row(&self, seq: Seq, attempt: Option<&Attempt>, due: Timestamp, spent: u32) -> RetryRow {
        let before = self.retries.get(seq).map_or(0, |row| row.attempts);
        RetryRow { due, spent, attempts: attempt.map_or(before, |attempt| attempt.number) }
    }

    /// How the delivery of the event at `seq` stands, if it concerns the subscriber at all.
    pub fn state(&self, seq: Seq, dead: bool, last: Option<Outcome>) -> Option<DeliveryState> {
        let passed = seq < self.frontier;
        match (dead, self.retries.get(seq).is_some(), last) {
            (true, _, _) => Some(DeliveryState::Dead),
            (false, true, _) => Some(DeliveryState::Retrying),
            (false, false, Some(Outcome::Delivered)) => Some(DeliveryState::Delivered),
            (false, false, Some(Outcome::Dead)) => Some(DeliveryState::Dead),
            (false, false, Some(Outcome::Failed)) if !passed => Some(DeliveryState::Pending),
            // Tried in vain, and then purged or given up without a word.
            (false, false, Some(Outcome::Failed)) => Some(DeliveryState::Skipped),
            (false, false, None) if passed && seq >= self.began => Some(DeliveryState::Skipped),
            (false, false, None) => None,
        }
    }
}

/// What an attempt led to, as written down with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Delivered,
    Failed,
    Dead,
}

impl From<Fate> for Outcome {
    fn from(fate: Fate) -> Self {
        match fate {
            Fate::Delivered => Self::Delivered,
            Fate::Retry { .. } => Self::Failed,
            Fate::Dead => Self::Dead,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_row_that_is_put_again_is_due_once() {
        let mut set = RetrySet::default();
        set.put(Seq(1), RetryRow { due: at(5), attempts: 1, spent: 1 });
        set.put(Seq(2), RetryRow { due: at(3), attempts: 1, spent: 1 });
        set.put(Seq(1), RetryRow { due: at(2), attempts: 2, spent: 2 });
        let due: Vec<Seq> = set.due(at(9), 9).into_iter().map(|(seq, _)| seq).collect();
        assert_eq!(due, [Seq(1), Seq(2)]);
        assert_eq!(set.next_due(), Some(at(2)));
        assert_eq!(set.take_before(Seq(2)), [Seq(1)]);
        assert_eq!((set.len(), set.next_due()), (1, Some(at(3))));
    }

    #[test]
    fn every_combination_has_its_state() {
        use DeliveryState::{Dead, Delivered, Pending, Retrying, Skipped};
        let row = RetryRow { due: at(1), attempts: 1, spent: 1 };
        let (failed, delivered, given_up) =
            (Some(Outcome::Failed), Some(Outcome::Delivered), Some(Outcome::Dead));
        // began at 5, frontier at 10
        for (seq, dead, retrying, last, expected) in [
            (7, true, true, delivered, Some(Dead)),
            (7, false, true, delivered, Some(Retrying)),
            (12, false, true, None, Some(Retrying)),
            (7, false, false, delivered, Some(Delivered)),
            (3, false, false, delivered, Some(Delivered)),
            (12, false, false, delivered, Some(Delivered)),
            (7, false, false, given_up, Some(Dead)),
            (7, false, false, failed, Some(Skipped)),
            (12, false, false, failed, Some(Pending)),
            (7, false, false, None, Some(Skipped)),
            (3, false, false, None, None),
            (10, false, false, None, None),
        ] {
            let mut standing = Standing { frontier: Seq(10), ..Standing::new(Seq(5)) };
            if retrying {
                standing.retries.put(Seq(seq), row);
            }
            assert_eq!(standing.state(Seq(seq), dead, last), expected, "{seq} {dead} {retrying} {last:?}");
        }
    }
}
