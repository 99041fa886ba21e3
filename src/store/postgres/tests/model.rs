//! One subscriber in PostgreSQL and in memory: whatever happens to it, both stores say the same.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::Cluster;
use crate::store::suite::{event, id, keep, place};
use crate::store::{
    Attempt, DeadLetter, Delivery, EventFilter, Fate, MemoryStore, Seq, Settled, ShardId, Start, Store,
    SubscriberFigures, SubscriberState,
};

#[derive(Debug, Clone)]
enum Step {
    Append,
    Settle { seq: u64, fate: u8, tried: bool },
    Advance(u64),
    Pause(bool),
    Purge,
    Replay { since: i64 },
    ReplayIds(Vec<u64>),
    Revive(Vec<u64>),
    Discard(Vec<u64>),
    Forget,
}

fn step() -> impl Strategy<Value = Step> {
    let seq = || 1..8_u64;
    // Each once: whether one that is named twice counts twice, the traits do not say.
    let seqs = || {
        let once = proptest::collection::btree_set(1..8_u64, 0..3);
        once.prop_map(|seqs| seqs.into_iter().collect::<Vec<_>>()).prop_shuffle()
    };
    prop_oneof![
        3 => Just(Step::Append),
        8 => (seq(), 0..3_u8, any::<bool>()).prop_map(|(seq, fate, tried)| Step::Settle { seq, fate, tried }),
        2 => seq().prop_map(Step::Advance),
        1 => any::<bool>().prop_map(Step::Pause),
        1 => Just(Step::Purge),
        1 => (0..9_i64).prop_map(|since| Step::Replay { since }),
        1 => seqs().prop_map(Step::ReplayIds),
        2 => seqs().prop_map(Step::Revive),
        1 => seqs().prop_map(Step::Discard),
        1 => Just(Step::Forget),
    ]
}

/// A store, and how many events and attempts there were.
struct Side {
    store: Arc<dyn Store>,
    events: u64,
    attempts: u32,
}

impl Side {
    /// Does it to the subscriber; what the store answers.
    async fn take(&mut self, name: &str, step: &Step) -> u64 {
        let store = &self.store;
        let ids = |seqs: &[u64]| seqs.iter().map(|seq| id(*seq)).collect::<Vec<_>>();
        match step {
            Step::Append => {
                self.events += 1;
                keep(store, event(self.events)).await.seq.0
            }
            Step::Settle { seq, fate, tried } if *seq <= self.events => {
                self.attempts += 1;
                store.settle(vec![self.settled(name, *seq, *fate, *tried)]).await.map(|()| 0).unwrap()
            }
            Step::Settle { .. } => 0,
            Step::Advance(seq) => {
                store.advance(name, ShardId(0), Seq(*seq));
                0
            }
            Step::Pause(paused) => store.set_paused(name, *paused).await.unwrap().into(),
            Step::Purge => store.purge(name).await.unwrap(),
            Step::Replay { since } => {
                let since = Some(event(0).received_at + SignedDuration::from_secs(*since));
                store.replay(name, EventFilter { since, ..EventFilter::default() }).await.unwrap()
            }
            Step::ReplayIds(seqs) => store.replay_ids(name, ids(seqs)).await.unwrap(),
            Step::Revive(seqs) => store.revive(name, ids(seqs)).await.unwrap(),
            Step::Discard(seqs) => store.discard(name, ids(seqs)).await.unwrap(),
            Step::Forget => store.forget(name).await.unwrap().into(),
        }
    }

    fn settled(&self, name: &str, seq: u64, fate: u8, tried: bool) -> Settled {
        let fate = match fate {
            0 => Fate::Retry { due: event(self.attempts.into()).received_at, spent: self.attempts },
            1 => Fate::Delivered,
            _ => Fate::Dead,
        };
        // Without an attempt, a letter is of the time at which it was written.
        let attempt = (tried || fate == Fate::Dead).then(|| Attempt {
            subscriber: name.into(),
            number: self.attempts,
            at: event(self.attempts.into()).received_at,
            status: None,
            latency_ms: 5,
            error: (fate != Fate::Delivered).then(|| format!("no {}", self.attempts)),
            answer: "answer".into(),
        });
        Settled { subscriber: name.into(), place: place(seq), attempt, fate }
    }

    /// All that the store tells of the subscriber.
    async fn told(&self, name: &str) -> Told {
        let store = &self.store;
        let mut figures = store.figures().await.unwrap();
        figures.retain(|one| one.name == name);
        for one in &mut figures {
            one.ahead.sort();
        }
        let due = store.due(name, Timestamp::now(), 99).await.unwrap();
        let mut due: Vec<_> =
            due.iter().map(|row| (row.event.id, row.attempts, row.spent, row.event.body.clone())).collect();
        due.sort();
        let page = store.events(EventFilter::default(), 99, None).await.unwrap();
        let deliveries = page.rows.into_iter().map(|row| {
            let mut own = row.deliveries;
            own.retain(|delivery| delivery.subscriber == name);
            // What an operator asked for is due when he did.
            for delivery in &mut own {
                delivery.next_attempt_at = None;
            }
            (row.place.seq, own)
        });
        let replays = store.replays(name).await.unwrap();
        Told {
            state: if figures.is_empty() { None } else { Some(store.open(name, Start::Now).await.unwrap()) },
            deliveries: deliveries.collect(),
            due,
            replays: replays.into_iter().map(|replay| (replay.next, replay.end, replay.filter)).collect(),
            letters: store.dead_letters(Some(name.to_owned()), 99, None).await.unwrap().rows,
            figures,
        }
    }
}

#[derive(Debug)]
#[expect(dead_code, reason = "compared as they are printed")]
struct Told {
    state: Option<SubscriberState>,
    figures: Vec<SubscriberFigures>,
    due: Vec<(crate::store::EventId, u32, u32, bytes::Bytes)>,
    deliveries: Vec<(Seq, Vec<Delivery>)>,
    replays: Vec<(Seq, Seq, EventFilter)>,
    letters: Vec<DeadLetter>,
}

#[test]
fn both_stores_say_the_same() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let cluster = Cluster::new();
    let ours: Arc<dyn Store> = Arc::new(runtime.block_on(cluster.replica("one")));
    let memory: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let side = |store| Side { store, events: 0, attempts: 0 };
    let sides = std::sync::Mutex::new((side(ours), side(memory), 0));
    let config = Config { cases: 40, failure_persistence: None, ..Config::default() };
    let steps = proptest::collection::vec(step(), 1..25);
    let checked = TestRunner::new(config).run(&steps, |steps| {
        let mut sides = sides.lock().unwrap();
        let (ours, memory, cases) = &mut *sides;
        *cases += 1;
        let name = format!("hook-{cases}");
        runtime.block_on(async {
            for side in [&ours.store, &memory.store] {
                side.open(&name, Start::Since(event(3).received_at)).await.unwrap();
            }
            for step in &steps {
                let answers = (ours.take(&name, step).await, memory.take(&name, step).await);
                prop_assert_eq!(answers.0, answers.1, "{:?}", step);
            }
            let (told, expected) = (ours.told(&name).await, memory.told(&name).await);
            prop_assert_eq!(format!("{told:#?}"), format!("{expected:#?}"));
            Ok(())
        })
    });
    checked.unwrap();
}
