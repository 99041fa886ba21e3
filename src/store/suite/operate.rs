//! Operators are obeyed, and what they did survives.

use super::{Arc, EventId, House, Kind, NewEvent, SHARD, Seq, Start, Store, Timestamp, after, delivered};
use super::{died, due, event, failed, fill, id, keep, open, read, seqs, subscribe};
use crate::store::EventFilter;

async fn letters(store: &Arc<dyn Store>) -> Vec<EventId> {
    store.dead_letters(None, 99, None).await.unwrap().rows.iter().map(|letter| letter.event_id).collect()
}

pub(crate) async fn a_pause_is_remembered(house: &mut impl House) {
    let store = house.open().await;
    subscribe(&store, "hook").await;
    let mut changes = store.changes();
    changes.mark_unchanged();
    assert!(!store.set_paused("nobody", true).await.unwrap());
    assert!(store.set_paused("hook", true).await.unwrap());
    changes.changed().await.unwrap();
    assert!(store.open("hook", Start::Now).await.unwrap().paused);
    let Some(store) = house.reopen().await else { return };
    assert!(store.open("hook", Start::Now).await.unwrap().paused);
    assert!(store.set_paused("hook", false).await.unwrap());
    assert!(!store.open("hook", Start::Now).await.unwrap().paused);
}

pub(crate) async fn a_purge_drops_what_waits(house: &mut impl House) {
    let store = house.open().await;
    subscribe(&store, "hook").await;
    fill(&store, 6).await;
    store.settle(vec![failed("hook", 1, 1, after(10)), died("hook", 2, 1)]).await.unwrap();
    store.advance("hook", SHARD, Seq(3));
    assert_eq!(store.replay("hook", EventFilter::default()).await.unwrap(), 6);
    assert_eq!(store.purge("hook").await.unwrap(), 4 + 1 + 6);
    assert_eq!(store.purge("nobody").await.unwrap(), 0);
    store.advance("hook", SHARD, Seq(4));
    assert_eq!(open(&store, "hook", Start::Now).await, Seq(7));
    assert_eq!(store.retries("hook").await.unwrap(), 0);
    assert!(store.replays("hook").await.unwrap().is_empty());
    assert_eq!(letters(&store).await, [id(2)]);
    let Some(store) = house.reopen().await else { return };
    assert_eq!(open(&store, "hook", Start::Now).await, Seq(7));
    assert_eq!(store.retries("hook").await.unwrap(), 0);
    assert!(store.replays("hook").await.unwrap().is_empty());
}

pub(crate) async fn forgetting_leaves_nothing(house: &mut impl House) {
    let mut store = house.open().await;
    subscribe(&store, "hook").await;
    subscribe(&store, "other").await;
    fill(&store, 3).await;
    store.settle(vec![failed("hook", 1, 1, after(10)), died("hook", 2, 1)]).await.unwrap();
    store.settle(vec![died("other", 3, 1)]).await.unwrap();
    assert!(store.forget("hook").await.unwrap());
    assert!(!store.forget("hook").await.unwrap());
    store.advance("hook", SHARD, Seq(3));
    for _ in 0..2 {
        let names: Vec<String> = store.figures().await.unwrap().into_iter().map(|one| one.name).collect();
        assert_eq!(names, ["other"]);
        assert_eq!(letters(&store).await, [id(3)]);
        assert_eq!(store.retries("hook").await.unwrap(), 0);
        let Some(reopened) = house.reopen().await else { break };
        store = reopened;
    }
    assert_eq!(open(&store, "hook", Start::Now).await, Seq(4), "it is a new one");
}

pub(crate) async fn a_replay_leaves_the_frontier_alone(house: &mut impl House) {
    let store = house.open().await;
    subscribe(&store, "hook").await;
    fill(&store, 6).await;
    keep(&store, NewEvent { kind: Kind::IntentResult, ..event(7) }).await;
    store.advance("hook", SHARD, Seq(8));
    let filter = EventFilter {
        since: Some(after(3)),
        until: Some(after(8)),
        kinds: vec![Kind::CallRecord],
        ..EventFilter::default()
    };
    let nothing = EventFilter { app: Some("none".into()), ..EventFilter::default() };
    assert_eq!(store.replay("hook", nothing).await.unwrap(), 0);
    assert_eq!(store.replay("nobody", filter.clone()).await.unwrap(), 0);
    assert!(store.replays("hook").await.unwrap().is_empty());
    assert_eq!(store.replay("hook", filter).await.unwrap(), 4);
    keep(&store, event(8)).await;

    let replay = store.replays("hook").await.unwrap().remove(0);
    let mut events = read(&store, replay.next.0).await;
    events.retain(|event| event.place.seq < replay.end && replay.filter.matches(event));
    assert_eq!(seqs(&events), [3, 4, 5, 6]);
    assert_eq!(store.figures().await.unwrap()[0].replaying, 4);
    store.advance_replay(replay.id, Seq(5));
    assert_eq!(store.figures().await.unwrap()[0].replaying, 2);
    assert_eq!(store.replays("hook").await.unwrap()[0].next, Seq(5));
    store.advance_replay(replay.id, replay.end);
    assert!(store.replays("hook").await.unwrap().is_empty());
    assert_eq!(open(&store, "hook", Start::Now).await, Seq(8));
}

pub(crate) async fn a_replay_outlives_a_restart(house: &mut impl House) {
    let store = house.open().await;
    subscribe(&store, "hook").await;
    fill(&store, 6).await;
    let filter = EventFilter {
        app: Some("crm".into()),
        kinds: vec![Kind::CallRecord, Kind::Unknown],
        task_id: Some("7".into()),
        since: Some(after(2)),
        ..EventFilter::default()
    };
    assert_eq!(store.replay("hook", filter.clone()).await.unwrap(), 5);
    assert_eq!(store.replay("hook", EventFilter::default()).await.unwrap(), 6);
    let replays = store.replays("hook").await.unwrap();
    store.advance_replay(replays[0].id, Seq(4));
    let Some(store) = house.reopen().await else { return };
    let again = store.replays("hook").await.unwrap();
    assert_eq!(again.len(), 2);
    assert_eq!((again[0].id, again[0].next, again[0].end), (replays[0].id, Seq(4), replays[0].end));
    assert_eq!(again[0].filter, filter);
}

pub(crate) async fn events_are_replayed_by_id(house: &mut impl House) {
    let store = house.open().await;
    subscribe(&store, "hook").await;
    fill(&store, 3).await;
    store.settle(vec![delivered("hook", 2, 1)]).await.unwrap();
    store.advance("hook", SHARD, Seq(4));
    assert_eq!(store.replay_ids("hook", vec![id(2), id(99), id(3)]).await.unwrap(), 2);
    assert_eq!(store.replay_ids("nobody", vec![id(2)]).await.unwrap(), 0);
    let rows = store.due("hook", Timestamp::now(), 9).await.unwrap();
    let told: Vec<(u64, u32, u32)> =
        rows.iter().map(|row| (row.event.place.seq.0, row.attempts, row.spent)).collect();
    assert_eq!(told, [(2, 1, 0), (3, 0, 0)]);
    assert_eq!(open(&store, "hook", Start::Now).await, Seq(4));
}

pub(crate) async fn dead_letters_are_revived_and_discarded(house: &mut impl House) {
    let store = house.open().await;
    subscribe(&store, "hook").await;
    subscribe(&store, "other").await;
    fill(&store, 4).await;
    store.settle((1..=4).map(|seq| died("hook", seq, 3)).collect()).await.unwrap();
    store.settle(vec![died("other", 1, 1)]).await.unwrap();
    assert_eq!(store.revive("hook", vec![id(2), id(99)]).await.unwrap(), 1);
    assert_eq!(due(&store, "hook", Timestamp::now()).await, [2]);
    let row = store.due("hook", Timestamp::now(), 9).await.unwrap().remove(0);
    assert_eq!((row.attempts, row.spent), (3, 0));
    assert_eq!(store.discard("hook", vec![id(2), id(3)]).await.unwrap(), 1);
    assert_eq!(letters(&store).await, [id(1), id(4), id(1)]);
    assert_eq!(store.revive("hook", vec![]).await.unwrap(), 2);
    assert_eq!(due(&store, "hook", Timestamp::now()).await.len(), 3);
    assert_eq!(store.discard("other", vec![]).await.unwrap(), 1);
    assert!(letters(&store).await.is_empty());
    store.settle(vec![died("hook", 1, 4)]).await.unwrap();
    assert_eq!(letters(&store).await, [id(1)]);
    let Some(store) = house.reopen().await else { return };
    assert_eq!(letters(&store).await, [id(1)]);
    assert_eq!(due(&store, "hook", Timestamp::now()).await, [2, 4]);
}

pub(crate) async fn a_dead_letter_outlives_its_segment(house: &mut impl House) {
    let store = house.open().await;
    subscribe(&store, "hook").await;
    fill(&store, 4).await;
    store.settle(vec![died("hook", 2, 3)]).await.unwrap();
    house.remove_before(Seq(4)).await;
    assert_eq!(letters(&store).await, [id(2)]);
    let Some(store) = house.reopen().await else { return };
    assert_eq!(letters(&store).await, [id(2)]);
    assert_eq!(store.body(id(2)).await.unwrap().unwrap().body, "body 2");
    assert!(store.event(id(2)).await.unwrap().is_some());
    assert_eq!(store.revive("hook", vec![]).await.unwrap(), 1);
    let row = store.due("hook", Timestamp::now(), 9).await.unwrap().remove(0);
    assert_eq!((row.event.id, &*row.event.body), (id(2), &b"body 2"[..]));
    store.settle(vec![delivered("hook", 2, 4)]).await.unwrap();
    assert_eq!(store.retries("hook").await.unwrap(), 0);
}
