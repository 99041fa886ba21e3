//! Operators are told how things stand.

use super::{Arc, EventId, Fate, House, Kind, NewEvent, SHARD, Seq, Store, after, attempt, delivered};
use super::{died, event, failed, fill, id, keep, settled, subscribe};
use crate::store::{DeliveryState, EventFilter, EventSummary};

async fn listed(store: &Arc<dyn Store>, filter: EventFilter) -> Vec<u64> {
    let page = store.events(filter, 99, None).await.unwrap();
    page.rows.iter().map(|row| row.place.seq.0).collect()
}

pub(crate) async fn pages_neither_skip_nor_repeat(house: &mut impl House) {
    let store = house.open().await;
    fill(&store, 7).await;
    let mut seen = Vec::new();
    let mut cursor = None;
    let mut arriving = 8;
    loop {
        let page = store.events(EventFilter::default(), 3, cursor).await.unwrap();
        assert!(page.rows.len() <= 3);
        seen.extend(page.rows.iter().map(|row| row.place.seq.0));
        keep(&store, event(arriving)).await;
        arriving += 1;
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, [7, 6, 5, 4, 3, 2, 1]);
    let exact = store.events(EventFilter::default(), 99, None).await.unwrap();
    assert_eq!((exact.rows.len() as u64, exact.next_cursor), (arriving - 1, None));
    assert!(store.events(EventFilter::default(), 3, Some("?".into())).await.unwrap().rows.is_empty());
}

pub(crate) async fn filters_narrow(house: &mut impl House) {
    let store = house.open().await;
    keep(&store, event(1)).await;
    keep(&store, NewEvent { app: "erp".into(), ..event(2) }).await;
    keep(&store, NewEvent { kind: Kind::IntentResult, call_sn: Some("s".into()), ..event(3) }).await;
    keep(
        &store,
        NewEvent { task_id: None, call_sn: Some("s".into()), label: Some("vip".into()), ..event(4) },
    )
    .await;
    keep(&store, NewEvent { kind: Kind::Unknown, task_id: Some("8".into()), ..event(5) }).await;
    let any = EventFilter::default;
    let text = |text: &str| Some(text.to_owned());
    for (filter, expected) in [
        (any(), vec![5, 4, 3, 2, 1]),
        (EventFilter { app: text("erp"), ..any() }, vec![2]),
        (EventFilter { app: text("none"), ..any() }, vec![]),
        (EventFilter { kinds: vec![Kind::Unknown, Kind::IntentResult], ..any() }, vec![5, 3]),
        (EventFilter { kinds: vec![Kind::InboundQuery], ..any() }, vec![]),
        (EventFilter { task_id: text("7"), ..any() }, vec![3, 2, 1]),
        (EventFilter { task_id: text("7"), app: text("crm"), ..any() }, vec![3, 1]),
        (EventFilter { call_sn: text("s"), ..any() }, vec![4, 3]),
        (EventFilter { call_sn: text("s"), task_id: text("7"), ..any() }, vec![3]),
        (EventFilter { since: Some(after(2)), until: Some(after(4)), ..any() }, vec![3, 2]),
        (EventFilter { since: Some(after(9)), ..any() }, vec![]),
    ] {
        assert_eq!(listed(&store, filter.clone()).await, expected, "{filter:?}");
    }
    let row: EventSummary = store.events(any(), 2, None).await.unwrap().rows.remove(1);
    assert_eq!((row.label.as_deref(), row.call_sn.as_deref(), row.task_id), (Some("vip"), Some("s"), None));
    assert_eq!((row.size_bytes, row.received_at, &*row.app), (6, after(4), "crm"));
}

pub(crate) async fn deliveries_have_their_states(house: &mut impl House) {
    use DeliveryState::{Dead, Delivered, Retrying, Skipped};
    let store = house.open().await;
    fill(&store, 1).await;
    super::open(&store, "hook", super::Start::Now).await;
    for number in 2..=7 {
        keep(&store, event(number)).await;
    }
    store.settle(vec![failed("hook", 2, 1, after(50)), delivered("hook", 3, 1)]).await.unwrap();
    store.settle(vec![died("hook", 4, 1), delivered("hook", 6, 1)]).await.unwrap();
    store.advance("hook", SHARD, Seq(6));
    let page = store.events(EventFilter::default(), 9, None).await.unwrap();
    let states: Vec<Option<DeliveryState>> =
        page.rows.iter().rev().map(|row| row.deliveries.first().map(|delivery| delivery.state)).collect();
    assert_eq!(
        states,
        [None, Some(Retrying), Some(Delivered), Some(Dead), Some(Skipped), Some(Delivered), None]
    );
    let retrying = &page.rows[5].deliveries[0];
    assert_eq!((&*retrying.subscriber, retrying.attempts), ("hook", 1));
    assert_eq!(retrying.next_attempt_at, Some(after(50)));
    assert_eq!(retrying.last_error.as_deref(), Some("no"));

    store.settle(vec![delivered("hook", 2, 2)]).await.unwrap();
    let detail = store.event(id(2)).await.unwrap().unwrap();
    assert_eq!(detail.summary.deliveries[0].state, Delivered);
    assert_eq!((detail.summary.deliveries[0].attempts, &detail.summary.deliveries[0].last_error), (2, &None));
    let expected = [attempt("hook", 1, 101, Some("no")), attempt("hook", 2, 102, None)];
    assert_eq!(detail.attempts, expected);
}

pub(crate) async fn dead_letters_are_paged(house: &mut impl House) {
    let store = house.open().await;
    subscribe(&store, "hook").await;
    subscribe(&store, "other").await;
    fill(&store, 5).await;
    for seq in 1..=5 {
        store.settle(vec![died("hook", seq, 2)]).await.unwrap();
    }
    store.settle(vec![settled("other", 1, None, Fate::Dead)]).await.unwrap();
    let page = store.dead_letters(Some("hook".into()), 3, None).await.unwrap();
    let ids = |page: &crate::store::Page<crate::store::DeadLetter>| -> Vec<EventId> {
        page.rows.iter().map(|letter| letter.event_id).collect()
    };
    assert_eq!(ids(&page), [5, 4, 3].map(id));
    let letter = &page.rows[0];
    assert_eq!((&*letter.subscriber, &*letter.app, letter.kind), ("hook", "crm", Kind::CallRecord));
    assert_eq!((letter.task_id.as_deref(), &letter.call_sn, letter.attempts), (Some("7"), &None, 2));
    assert_eq!(letter.last_error.as_deref(), Some("no more"));
    assert_eq!(letter.dead_at, after(102) + jiff::SignedDuration::from_millis(12));
    let page = store.dead_letters(Some("hook".into()), 3, page.next_cursor).await.unwrap();
    assert_eq!((ids(&page), &page.next_cursor), (vec![id(2), id(1)], &None));
    assert_eq!(store.dead_letters(None, 99, None).await.unwrap().rows.len(), 6);
}

pub(crate) async fn figures_add_up(house: &mut impl House) {
    let store = house.open().await;
    subscribe(&store, "hook").await;
    fill(&store, 4).await;
    keep(&store, NewEvent { kind: Kind::IntentResult, ..event(5) }).await;
    keep(&store, NewEvent { app: "erp".into(), ..event(6) }).await;
    store.settle(vec![delivered("hook", 1, 1), failed("hook", 2, 1, after(9))]).await.unwrap();
    store.settle(vec![died("hook", 3, 1)]).await.unwrap();
    store.advance("hook", SHARD, Seq(4));
    let one = store.figures().await.unwrap().remove(0);
    let mut ahead = one.ahead;
    ahead.sort();
    let expected =
        [("crm", Kind::CallRecord, 1), ("crm", Kind::IntentResult, 1), ("erp", Kind::CallRecord, 1)];
    assert_eq!(ahead, expected.map(|(app, kind, count)| (app.to_owned(), kind, count)));
    assert_eq!((&*one.name, one.paused, one.frontiers), ("hook", false, vec![(SHARD, Seq(4))]));
    assert_eq!(one.oldest, Some(after(2)));
    assert_eq!((one.retrying, one.replaying, one.delivered), (1, 0, 1));
    assert_eq!((one.failed, one.dead, one.expired), (2, 1, 0));
    store.advance("hook", SHARD, Seq(7));
    store.settle(vec![delivered("hook", 2, 2)]).await.unwrap();
    let one = store.figures().await.unwrap().remove(0);
    assert_eq!((one.ahead.len(), one.oldest), (0, None));
    let (bytes, most) = store.size().await.unwrap();
    assert!(bytes > 0 && bytes <= most);
}

pub(crate) async fn an_unknown_event_is_none(house: &mut impl House) {
    let store = house.open().await;
    fill(&store, 1).await;
    let unknown = id(99);
    assert!(store.event(unknown).await.unwrap().is_none());
    assert!(store.body(unknown).await.unwrap().is_none());
}
