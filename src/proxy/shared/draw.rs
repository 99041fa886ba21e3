//! What is asked of Redis for one app's rate limits in one call, and what becomes of the answer.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use redis::Cmd;
use tokio::sync::oneshot;

use super::Shared;
use super::cells::{Cells, Counted, Told};
use super::usage::Usage;

/// Cells that are looked after.
pub struct Watched {
    cells: Weak<Cells>,
    usage: Usage,
    /// How many were at hand when it was last looked.
    held: u32,
}

/// Some cells' part of a call.
struct Draw {
    /// Where they are in the list of those that are looked after.
    at: usize,
    cells: Arc<Cells>,
    waiting: Vec<oneshot::Sender<Told>>,
    /// How many should be at hand.
    ahead: u32,
    /// How many are asked for; below zero: given back.
    count: i64,
}

/// One app's part of a call.
#[derive(Default)]
pub struct Draws {
    limits: Vec<Arc<Counted>>,
    draws: Vec<Draw>,
}

/// An answer that is not what the script gives.
#[derive(Debug, thiserror::Error)]
#[error("Redis answers something else than the script does")]
pub struct Strange;

impl Watched {
    /// None used yet.
    pub fn new(cells: Weak<Cells>, now: Instant) -> Self {
        Self { cells, usage: Usage::new(now), held: 0 }
    }

    /// Whether nobody knows them any more.
    pub fn is_gone(&self) -> bool {
        self.cells.strong_count() == 0
    }

    /// Whether some are at hand.
    pub fn has_some(&self) -> bool {
        self.cells.upgrade().is_some_and(|cells| cells.held() > 0)
    }

    /// What should be asked for. `all`: also where nobody wanted anything, as what is not used is given back.
    fn draw(&mut self, at: usize, shared: &Shared, now: Instant, all: bool) -> Option<Draw> {
        let cells = self.cells.upgrade()?;
        if !cells.was_wanted() && !(all && (cells.held() > 0 || self.held > 0)) {
            return None;
        }
        let held = cells.held();
        self.usage.saw(u64::from(self.held.saturating_sub(held)), now);
        let waiting = cells.take_waiting();
        let ahead = self.usage.ahead(cells.most());
        let unused = if self.usage.is_idle(now) && waiting.is_empty() {
            cells.take_all_but(0)
        } else {
            cells.take_all_but(ahead.saturating_mul(2))
        };
        let wanted = if unused > 0 || cells.is_empty(shared.since(now)) && waiting.is_empty() {
            -i64::from(unused)
        } else if waiting.is_empty() && !cells.is_low() {
            0
        } else {
            i64::try_from(waiting.len()).unwrap_or(i64::MAX) + i64::from(ahead.saturating_sub(held))
        };
        self.held = held.saturating_sub(unused);
        (wanted != 0 || !waiting.is_empty()).then_some(Draw { at, cells, waiting, ahead, count: wanted })
    }

    /// What would be lost if nobody gave it back.
    fn rest(&mut self, at: usize) -> Option<Draw> {
        let cells = self.cells.upgrade()?;
        let count = -i64::from(cells.take_all_but(0));
        (count != 0).then_some(Draw { at, cells, waiting: Vec::new(), ahead: 0, count })
    }
}

/// What is to be asked for, by app.
pub fn gather(
    watched: &mut [Watched],
    shared: &Shared,
    now: Instant,
    all: bool,
) -> BTreeMap<Arc<str>, Draws> {
    by_app(watched.iter_mut().enumerate().filter_map(|(at, one)| one.draw(at, shared, now, all)))
}

/// All that is at hand, to be given back.
pub fn rest(watched: &mut [Watched]) -> BTreeMap<Arc<str>, Draws> {
    by_app(watched.iter_mut().enumerate().filter_map(|(at, one)| one.rest(at)))
}

fn by_app(draws: impl Iterator<Item = Draw>) -> BTreeMap<Arc<str>, Draws> {
    let mut by_app = BTreeMap::<Arc<str>, Draws>::new();
    for draw in draws {
        by_app.entry(Arc::clone(&draw.cells.app)).or_default().push(draw);
    }
    by_app
}

impl Draws {
    fn push(&mut self, draw: Draw) {
        for limit in &draw.cells.limits {
            if !self.limits.iter().any(|known| known.key == limit.key) {
                self.limits.push(Arc::clone(limit));
            }
        }
        self.draws.push(draw);
    }

    /// The call of the script with this digest.
    pub fn command(&self, digest: &str) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(digest).arg(self.limits.len());
        for limit in &self.limits {
            command.arg(&limit.key);
        }
        for limit in &self.limits {
            command.arg(limit.period.as_nanos() as f64 / 1000.0).arg(limit.burst);
        }
        for draw in &self.draws {
            command.arg(draw.count).arg(draw.cells.limits.len());
            for limit in &draw.cells.limits {
                let at = self.limits.iter().position(|known| known.key == limit.key).unwrap_or(0);
                command.arg(at + 1);
            }
        }
        command
    }

    /// Redis answered, by `now` (nanoseconds).
    ///
    /// # Errors
    /// It is not the answer of the script.
    pub fn settle(self, answer: &[i64], watched: &mut [Watched], now: u64) -> Result<(), Strange> {
        let (drawn, missing) = answer.split_at_checked(self.draws.len()).ok_or(Strange)?;
        if missing.len() != self.limits.len() {
            return Err(Strange);
        }
        for (limit, missing) in self.limits.iter().zip(missing) {
            limit.note(now, Duration::from_micros(u64::try_from(*missing).unwrap_or(0)));
        }
        for (draw, drawn) in self.draws.into_iter().zip(drawn) {
            draw.settle(*drawn, now, watched);
        }
        Ok(())
    }
}

impl Draw {
    fn settle(self, drawn: i64, now: u64, watched: &mut [Watched]) {
        let mut left = u32::try_from(drawn).unwrap_or(0);
        let empty = (drawn < self.count).then(|| self.cells.note_empty(now));
        let mut used = 0;
        for waiting in self.waiting {
            let told = match empty {
                Some(empty) if left == 0 => Told::Empty(empty),
                _ => Told::Cell,
            };
            // Who did not wait leaves its cell to the next.
            if waiting.send(told).is_ok() && told == Told::Cell {
                left = left.saturating_sub(1);
                used += 1;
            }
        }
        self.cells.add(left, self.ahead / 2);
        if let Some(watched) = watched.get_mut(self.at) {
            // Those that were used at once were at hand for a moment.
            watched.held = watched.held.saturating_add(left).saturating_add(used);
        }
    }
}
