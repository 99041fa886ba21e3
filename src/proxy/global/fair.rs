//! Weighted fair queueing: whose turn it is among apps that all want more than there is.
//!
//! Each app's requests stand in a line, and each is one step in virtual time from the one before it; the more
//! weight, the shorter the step. The line whose first is earliest is next (start-time fair queueing, Goyal et al.
//! 1996). An app that asks for less than its share finds its line ahead of the others', and one that was refused
//! for a while has not moved meanwhile: its turn comes.

use std::collections::VecDeque;

/// The step of weight 1.
const STEP: u128 = 1 << 64;

/// What waits, by app.
#[derive(Debug, Clone)]
pub struct Fair<T> {
    lines: Vec<Line<T>>,
    /// Where the last one stood that was let in.
    now: u128,
    len: usize,
}

#[derive(Debug, Clone)]
struct Line<T> {
    step: u128,
    /// Where its first stands, or the next one to come unless the others have passed by.
    start: u128,
    /// With ids, which grow.
    waiting: VecDeque<(u64, T)>,
}

impl<T> Line<T> {
    /// Where one stands that comes after `count` others, at `now`.
    fn after(&self, count: usize, now: u128) -> u128 {
        let start = if self.waiting.is_empty() { self.start.max(now) } else { self.start };
        start + self.step * count as u128
    }
}

impl<T> Default for Fair<T> {
    fn default() -> Self {
        Self { lines: Vec::new(), now: 0, len: 0 }
    }
}

impl<T> Fair<T> {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// How many of `app`'s wait.
    pub fn len_of(&self, app: usize) -> usize {
        self.lines.get(app).map_or(0, |line| line.waiting.len())
    }

    /// One more of `app`'s, which has this weight by now; `id` is larger than those before.
    pub fn push(&mut self, app: usize, weight: u32, id: u64, item: T) {
        let now = self.now;
        let line = self.line(app, weight);
        line.start = line.after(0, now);
        line.waiting.push_back((id, item));
        self.len += 1;
    }

    /// Whoever is next.
    pub fn pop(&mut self) -> Option<T> {
        let waiting = self.lines.iter_mut().filter(|line| !line.waiting.is_empty());
        let line = waiting.min_by_key(|line| line.start)?;
        let (_, item) = line.waiting.pop_front()?;
        self.now = line.start;
        line.start += line.step;
        self.len -= 1;
        Some(item)
    }

    /// Takes out `id` of `app`'s, if it waits still.
    pub fn remove(&mut self, app: usize, id: u64) -> Option<T> {
        let waiting = &mut self.lines.get_mut(app)?.waiting;
        let at = waiting.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        let (_, item) = waiting.remove(at)?;
        self.len -= 1;
        Some(item)
    }

    /// Takes out the last of `app`'s.
    pub fn pop_last(&mut self, app: usize) -> Option<T> {
        let (_, item) = self.lines.get_mut(app)?.waiting.pop_back()?;
        self.len -= 1;
        Some(item)
    }

    /// How many are let in before one that `app` would push now, if no other comes.
    pub fn ahead(&self, app: usize, weight: u32) -> usize {
        let own = self.lines.get(app).map_or(0, |line| line.waiting.len());
        let place = match self.lines.get(app) {
            Some(line) => line.after(own, self.now),
            None => self.now + step(weight) * own as u128,
        };
        let others = self.lines.iter().enumerate().filter(|(at, _)| *at != app);
        let before = others.map(|(at, line)| {
            // Of two that stand at one place, the lower number is let in first.
            let end = place + u128::from(at < app);
            let count = end.saturating_sub(line.start).div_ceil(line.step);
            usize::try_from(count).unwrap_or(usize::MAX).min(line.waiting.len())
        });
        own + before.sum::<usize>()
    }

    /// The app that has the most waiting for its weight, and how much that is. One that has only one is none.
    pub fn longest(&self) -> Option<(usize, u128)> {
        let lines = self.lines.iter().enumerate().filter(|(_, line)| line.waiting.len() > 1);
        lines.map(|(at, line)| (at, line.step * line.waiting.len() as u128)).max_by_key(|(_, length)| *length)
    }

    fn line(&mut self, app: usize, weight: u32) -> &mut Line<T> {
        if self.lines.len() <= app {
            self.lines.resize_with(app + 1, || Line { step: STEP, start: 0, waiting: VecDeque::new() });
        }
        let line = &mut self.lines[app];
        line.step = step(weight);
        line
    }
}

/// From one request to the next, at this weight.
pub fn step(weight: u32) -> u128 {
    STEP / u128::from(weight.max(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn who_wants_less_than_its_share_never_waits_for_who_wants_more() {
        let mut fair = Fair::default();
        for id in 0..100 {
            fair.push(0, 1, id, 0);
        }
        for id in 100..200 {
            assert_eq!((fair.pop(), fair.pop()), (Some(0), Some(0)));
            assert_eq!(fair.ahead(1, 1), 0);
            fair.push(1, 1, id, 1);
            assert_eq!(fair.pop(), Some(1));
            fair.push(0, 1, id, 0);
            fair.push(0, 1, id, 0);
        }
    }

    #[test]
    fn who_was_refused_for_a_while_is_next_when_its_turn_has_come() {
        let mut fair = Fair::default();
        fair.push(0, 1, 0, 0);
        fair.pop();
        // The other may have 64 for its one, and wants all there is.
        fair.push(1, 64, 1, 1);
        for id in 2..=66 {
            assert_eq!(fair.ahead(0, 1), usize::from(id < 66), "{id}");
            fair.push(1, 64, id, 1);
            assert_eq!(fair.pop(), Some(1));
        }
    }

    proptest! {
        #[test]
        fn shares_are_as_the_weights(weights in prop::collection::vec(1..40_u32, 2..7), rounds in 1..400_usize) {
            let mut fair = Fair::default();
            let mut had = vec![0_u32; weights.len()];
            let mut id = 0;
            let mut push = |fair: &mut Fair<usize>, app: usize| {
                id += 1;
                fair.push(app, weights[app], id, app);
            };
            for app in 0..weights.len() {
                (0..3).for_each(|_| push(&mut fair, app));
            }
            for _ in 0..rounds {
                let app = fair.pop().unwrap();
                had[app] += 1;
                push(&mut fair, app);
            }
            // At any time nobody is ahead of anybody by more than the one that was let in last.
            for (one, other) in (0..weights.len()).flat_map(|one| (0..weights.len()).map(move |other| (one, other))) {
                let [one, other] = [one, other].map(|app| (f64::from(had[app]), f64::from(weights[app])));
                prop_assert!(one.0 / one.1 - other.0 / other.1 <= 1.0 / one.1 + 1.0 / other.1 + 1e-9);
            }
        }

        #[test]
        fn how_many_are_ahead_is_known(steps in prop::collection::vec((0..5_u8, 0..4_u8), 1..120)) {
            let mut fair = Fair::default();
            for (id, (app, step)) in (0..).zip(steps) {
                let weight = u32::from(app) * 2 + 1;
                let app = usize::from(app);
                match step {
                    0 => drop(fair.pop()),
                    1 => drop(fair.pop_last(app)),
                    _ => fair.push(app, weight, id, None),
                }
                prop_assert_eq!(fair.len(), (0..5).map(|app| fair.len_of(app)).sum::<usize>());
                let mut then = fair.clone();
                then.push(app, weight, 1000, Some(()));
                let before = std::iter::from_fn(|| then.pop()).take_while(Option::is_none).count();
                prop_assert_eq!(fair.ahead(app, weight), before);
            }
        }
    }
}
