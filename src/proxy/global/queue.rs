//! Who waits, and who is next: interactive requests before batch ones, and in each of the two the apps by weight.
//! Neither time nor tokens are known here.

use super::fair::{Fair, step};
use crate::proxy::settings::Priority;
use crate::xinyao::{Endpoint, Target};

/// So many interactive ones are let in for a batch one, where both wait: a fifth is left for those that would
/// never be next otherwise.
const PER_BATCH: usize = 4;

/// What tells waiting requests apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// A small number that stands for the app.
    pub app: usize,
    /// Its share, beside those of others.
    pub weight: u32,
    /// Who goes first.
    pub priority: Priority,
}

impl Priority {
    /// What `target` has, unless its app says otherwise: on a conversation somebody waits, and so does whoever looks
    /// at a page; a batch of numbers can.
    pub fn of(target: Target) -> Self {
        match target {
            Target::Endpoint(Endpoint::AddTask | Endpoint::Outnum) => Self::Batch,
            Target::Endpoint(_) | Target::Recordings | Target::Extra => Self::Interactive,
        }
    }
}

/// All that wait.
#[derive(Debug, Clone)]
pub struct Queue<T> {
    interactive: Fair<T>,
    batch: Fair<T>,
    /// Interactive ones let in since the last batch one, whether one waited or not: one that comes later, or was
    /// turned away, has not lost what is left for it.
    passed: usize,
    last_id: u64,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { interactive: Fair::default(), batch: Fair::default(), passed: 0, last_id: 0 }
    }
}

impl<T> Queue<T> {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.interactive.len() + self.batch.len()
    }

    /// How many of an app wait with this priority.
    pub fn len_of(&self, app: usize, priority: Priority) -> usize {
        match priority {
            Priority::Interactive => self.interactive.len_of(app),
            Priority::Batch => self.batch.len_of(app),
        }
    }

    /// One more; its id.
    pub fn push(&mut self, flow: Flow, item: T) -> u64 {
        self.last_id += 1;
        let id = self.last_id;
        self.class(flow.priority).push(flow.app, flow.weight, id, item);
        id
    }

    /// Whoever is next.
    pub fn pop(&mut self) -> Option<T> {
        if self.batch.len() > 0 && (self.passed >= PER_BATCH || self.interactive.len() == 0) {
            self.passed = 0;
            return self.batch.pop();
        }
        self.passed = (self.passed + 1).min(PER_BATCH);
        self.interactive.pop()
    }

    /// Takes one out, if it waits still.
    pub fn remove(&mut self, flow: Flow, id: u64) -> Option<T> {
        self.class(flow.priority).remove(flow.app, id)
    }

    /// Makes room for one of `flow` by taking out the last of whoever has most waiting for its weight; `None`: that
    /// is `flow` itself. Who has none waiting always gets room, unless nobody has two.
    pub fn crowd_out(&mut self, flow: Flow) -> Option<T> {
        let longest = [Priority::Batch, Priority::Interactive].map(|priority| {
            let (app, length) = self.class(priority).longest()?;
            Some((length, priority, app))
        });
        let (length, priority, app) = longest.into_iter().flatten().max_by_key(|(length, ..)| *length)?;
        let waiting = self.len_of(flow.app, flow.priority);
        if waiting > 0 && step(flow.weight) * (waiting as u128 + 1) >= length {
            return None;
        }
        self.class(priority).pop_last(app)
    }

    /// How many are let in before one of `flow` that came now, if no other comes.
    pub fn ahead(&self, flow: Flow) -> usize {
        let until_batch = PER_BATCH - self.passed;
        match flow.priority {
            Priority::Interactive => {
                let before = self.interactive.ahead(flow.app, flow.weight);
                let batches = (before + 1).saturating_sub(until_batch).div_ceil(PER_BATCH);
                before + batches.min(self.batch.len())
            }
            Priority::Batch => {
                let before = self.batch.ahead(flow.app, flow.weight);
                before + (until_batch + PER_BATCH * before).min(self.interactive.len())
            }
        }
    }

    fn class(&mut self, priority: Priority) -> &mut Fair<T> {
        match priority {
            Priority::Interactive => &mut self.interactive,
            Priority::Batch => &mut self.batch,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn flow(app: usize, priority: Priority) -> Flow {
        Flow { app, weight: 1, priority }
    }

    const CHAT: Priority = Priority::Interactive;
    const BATCH: Priority = Priority::Batch;

    #[test]
    fn interactive_ones_go_first_and_a_fifth_is_left_for_batches() {
        let mut queue = Queue::default();
        for _ in 0..20 {
            queue.push(flow(0, BATCH), BATCH);
            queue.push(flow(1, CHAT), CHAT);
        }
        let order: Vec<Priority> = std::iter::from_fn(|| queue.pop()).collect();
        for five in order[..25].chunks(5) {
            assert_eq!(five, [CHAT, CHAT, CHAT, CHAT, BATCH]);
        }
        assert!(order[25..].iter().all(|priority| *priority == BATCH));
    }

    #[test]
    fn a_batch_that_was_turned_away_has_not_lost_its_turn() {
        let mut queue = Queue::default();
        for _ in 0..9 {
            queue.push(flow(0, CHAT), CHAT);
            queue.pop();
        }
        queue.push(flow(0, CHAT), CHAT);
        assert_eq!(queue.ahead(flow(1, BATCH)), 0);
        queue.push(flow(1, BATCH), BATCH);
        assert_eq!(queue.pop(), Some(BATCH));
    }

    #[test]
    fn who_has_most_for_its_weight_makes_room() {
        let mut queue = Queue::default();
        let heavy = Flow { app: 0, weight: 10, priority: BATCH };
        (0..10).for_each(|at| _ = queue.push(heavy, ("heavy", at)));
        (0..3).for_each(|at| _ = queue.push(flow(1, CHAT), ("light", at)));
        assert_eq!(queue.crowd_out(flow(1, CHAT)), None);
        assert_eq!(queue.crowd_out(heavy), Some(("light", 2)));
        assert_eq!(queue.crowd_out(flow(2, BATCH)), Some(("light", 1)));
        assert_eq!(queue.crowd_out(flow(2, BATCH)), Some(("heavy", 9)));
        let mut queue = Queue::default();
        queue.push(flow(0, CHAT), ());
        assert_eq!(queue.crowd_out(flow(1, CHAT)), None);
    }

    proptest! {
        #[test]
        fn how_many_are_ahead_is_known(steps in prop::collection::vec((0..4_usize, any::<bool>(), 0..4_u8), 1..150)) {
            let mut queue = Queue::default();
            let mut ids = Vec::new();
            for (app, batch, step) in steps {
                let priority = if batch { BATCH } else { CHAT };
                let flow = Flow { app, weight: [1, 4, 7, 10][app], priority };
                match step {
                    0 => drop(queue.pop()),
                    1 => if let Some((flow, id)) = ids.pop() {
                        queue.remove(flow, id);
                    },
                    _ => ids.push((flow, queue.push(flow, None))),
                }
                let mut then = queue.clone();
                then.push(flow, Some(()));
                let before = std::iter::from_fn(|| then.pop()).take_while(Option::is_none).count();
                prop_assert_eq!(queue.ahead(flow), before);
            }
        }

        #[test]
        fn nobody_starves(weights in prop::collection::vec(1..20_u32, 1..5), greedy in 0..4_usize) {
            // Everybody wants everything, in both classes, and one app ten times as much.
            let mut queue = Queue::default();
            let sum: u32 = weights.iter().sum();
            let flows: Vec<Flow> = weights.iter().enumerate()
                .flat_map(|(app, weight)| [CHAT, BATCH].map(|priority| Flow { app, weight: *weight, priority }))
                .collect();
            for flow in &flows {
                let many = if flow.app == greedy { 20 } else { 2 };
                (0..many).for_each(|_| _ = queue.push(*flow, *flow));
            }
            let rounds = 50 * sum as usize;
            let mut had = vec![0_usize; flows.len()];
            for _ in 0..rounds {
                let flow = queue.pop().unwrap();
                had[flows.iter().position(|known| *known == flow).unwrap()] += 1;
                queue.push(flow, flow);
            }
            for (flow, had) in flows.iter().zip(had) {
                let class = if flow.priority == CHAT { 0.8 } else { 0.2 };
                let share = rounds as f64 * class * f64::from(flow.weight) / f64::from(sum);
                prop_assert!((had as f64 - share).abs() <= 3.0, "{flow:?} had {had} of {share}");
            }
        }
    }
}
