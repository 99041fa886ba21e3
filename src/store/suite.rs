//! What every store must satisfy. A backend's tests give a [`House`] to [`suite!`], which makes a test of
//! each promise.

pub(crate) mod ledger;
pub(crate) mod log;
pub(crate) mod once;
pub(crate) mod operate;
pub(crate) mod progress;
pub(crate) mod query;
pub(crate) mod team_url;

use std::sync::Arc;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::{
    Appended, Attempt, Event, EventId, Fate, NewEvent, Place, Seq, Settled, ShardId, Start, Store, StoreError,
};
use crate::xinyao::callback::Kind;

/// Where a store lives.
pub(crate) trait House {
    /// Opens an empty store.
    async fn open(&mut self) -> Arc<dyn Store>;

    /// Closes the store and opens it again; `None`, if it keeps nothing.
    async fn reopen(&mut self) -> Option<Arc<dyn Store>>;

    /// Lets retention remove what stands before `seq`.
    async fn remove_before(&mut self, seq: Seq);

    /// Lets retention remove what is too old at `now`.
    async fn sweep(&mut self, now: Timestamp);

    /// From now on there is no room on the disk, or there is again.
    fn refuse(&mut self, refuse: bool);
}

macro_rules! suite {
    ($house:expr) => {
        $crate::store::suite::suite! { $house;
            log::events_stand_in_the_order_of_their_acceptance,
            log::a_read_keeps_to_its_bounds,
            log::a_duplicate_is_refused_for_a_window_from_the_first,
            log::everything_about_an_event_comes_back,
            log::what_retention_removes_is_a_gap,
            log::a_full_store_refuses_and_recovers,
            log::many_writers_leave_no_gap,
            log::events_outlive_a_restart,
            progress::a_new_subscriber_begins_where_it_is_told,
            progress::what_comes_while_a_subscriber_enters_is_for_it,
            progress::a_known_subscriber_goes_on_where_it_stopped,
            progress::a_frontier_never_goes_back,
            progress::retries_are_due_in_order,
            progress::what_is_delivered_leaves_the_retry_set,
            progress::probes_use_up_no_attempts,
            progress::what_retention_passes_is_expired,
            progress::a_full_store_still_delivers,
            progress::retries_and_frontiers_outlive_a_restart,
            progress::what_is_forgotten_or_gone_is_no_error,
            operate::a_pause_is_remembered,
            operate::a_purge_drops_what_waits,
            operate::forgetting_leaves_nothing,
            operate::a_replay_leaves_the_frontier_alone,
            operate::a_replay_outlives_a_restart,
            operate::events_are_replayed_by_id,
            operate::dead_letters_are_revived_and_discarded,
            operate::a_dead_letter_outlives_its_segment,
            query::pages_neither_skip_nor_repeat,
            query::filters_narrow,
            query::deliveries_have_their_states,
            query::dead_letters_are_paged,
            query::figures_add_up,
            query::an_unknown_event_is_none,
            once::a_key_is_taken_once,
            once::an_answer_is_given_again_for_a_day,
            once::what_was_not_sent_is_forgotten,
            once::what_is_over_is_not_sealed,
            once::an_unknown_outcome_with_a_key_is_not_forgotten,
            once::a_forced_key_stands_for_the_same_request,
            once::an_unknown_outcome_stands_until_it_is_decided,
            once::operators_settle_unknown_outcomes,
            once::the_same_content_is_held_back_for_a_window,
            once::of_many_at_once_one_is_taken,
            once::what_was_under_way_is_unknown_after_a_restart,
            once::without_room_nothing_is_taken,
            once::requests_are_paged,
            ledger::batches_add_up,
            ledger::batches_are_paged,
            ledger::numbers_are_kept_with_their_batch,
            team_url::an_address_is_kept_once,
            team_url::there_is_room_for_so_many_addresses,
        }
    };
    ($house:expr; $($theme:ident::$promise:ident,)*) => {
        $(#[tokio::test]
        async fn $promise() {
            $crate::store::suite::$theme::$promise(&mut $house).await;
        })*
    };
}
pub(crate) use suite;

const SHARD: ShardId = ShardId(0);

/// When the first event of a test comes.
fn start() -> Timestamp {
    "2026-11-24T08:00:00Z".parse().unwrap()
}

fn after(seconds: i64) -> Timestamp {
    start() + SignedDuration::from_secs(seconds)
}

pub(crate) fn place(seq: u64) -> Place {
    Place { shard: SHARD, seq: Seq(seq) }
}

/// The id of the `number`th event of a test, made when it comes (RFC 9562, 5.7).
pub(crate) fn id(number: u64) -> EventId {
    let made_ms = after(number.try_into().unwrap()).as_millisecond().unsigned_abs();
    EventId(Uuid::from_u128(u128::from(made_ms) << 80 | 7 << 76 | 2 << 62 | u128::from(number)))
}

/// The `number`th event of a test: it comes `number` seconds after the start.
pub(crate) fn event(number: u64) -> NewEvent {
    NewEvent {
        id: id(number),
        received_at: after(number.try_into().unwrap()),
        app: "crm".into(),
        label: None,
        kind: Kind::CallRecord,
        task_id: Some("7".into()),
        call_sn: None,
        content_type: None,
        unless_since: None,
        body: Bytes::from(format!("body {number}")),
    }
}

pub(crate) async fn keep(store: &Arc<dyn Store>, new: NewEvent) -> Place {
    match store.append(new).await.unwrap() {
        Appended::Kept(place) => place,
        Appended::Duplicate(id) => panic!("taken for a duplicate of {id}"),
    }
}

pub(crate) async fn fill(store: &Arc<dyn Store>, count: u64) {
    for number in 1..=count {
        keep(store, event(number)).await;
    }
}

pub(crate) async fn subscribe(store: &Arc<dyn Store>, name: &str) -> Seq {
    open(store, name, Start::Since(start())).await
}

async fn open(store: &Arc<dyn Store>, name: &str, start: Start) -> Seq {
    let state = store.open(name, start).await.unwrap();
    assert_eq!(state.frontiers.len(), 1);
    assert_eq!(state.frontiers[0].0, SHARD);
    state.frontiers[0].1
}

pub(crate) async fn read(store: &Arc<dyn Store>, from: u64) -> Vec<Arc<Event>> {
    store.read(SHARD, Seq(from), 1000, 1 << 20).await.unwrap().events
}

pub(crate) fn seqs(events: &[Arc<Event>]) -> Vec<u64> {
    events.iter().map(|event| event.place.seq.0).collect()
}

/// The attempt that a test makes `second` seconds after the start.
fn attempt(subscriber: &str, number: u32, second: i64, error: Option<&str>) -> Attempt {
    Attempt {
        subscriber: subscriber.into(),
        number,
        at: after(second),
        status: Some(if error.is_some() { 500 } else { 200 }),
        latency_ms: 12,
        error: error.map(str::to_owned),
        answer: Bytes::from_static(b"answer"),
    }
}

fn settled(subscriber: &str, seq: u64, attempt: Option<Attempt>, fate: Fate) -> Settled {
    Settled { subscriber: subscriber.into(), place: place(seq), attempt, fate }
}

fn delivered(subscriber: &str, seq: u64, number: u32) -> Settled {
    settled(
        subscriber,
        seq,
        Some(attempt(subscriber, number, 100 + i64::from(number), None)),
        Fate::Delivered,
    )
}

fn failed(subscriber: &str, seq: u64, number: u32, due: Timestamp) -> Settled {
    let attempt = attempt(subscriber, number, 100 + i64::from(number), Some("no"));
    settled(subscriber, seq, Some(attempt), Fate::Retry { due, spent: number })
}

fn died(subscriber: &str, seq: u64, number: u32) -> Settled {
    let attempt = attempt(subscriber, number, 100 + i64::from(number), Some("no more"));
    settled(subscriber, seq, Some(attempt), Fate::Dead)
}

async fn due(store: &Arc<dyn Store>, name: &str, now: Timestamp) -> Vec<u64> {
    let due = store.due(name, now, 1000).await.unwrap();
    due.iter().map(|retry| retry.event.place.seq.0).collect()
}

fn full<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    assert!(matches!(result, Err(StoreError::Full(_))), "{result:?}");
}
