//! How far subscribers have come is known, and survives.

use super::{Arc, Fate, House, SHARD, Seq, Start, Store, after, delivered, died, due, event, failed, fill};
use super::{full, keep, open, place, settled, start, subscribe};

pub(crate) async fn a_new_subscriber_begins_where_it_is_told(house: &mut impl House) {
    let store = house.open().await;
    assert_eq!(open(&store, "early", Start::Since(start())).await, Seq(1));
    fill(&store, 5).await;
    assert_eq!(open(&store, "now", Start::Now).await, Seq(6));
    assert_eq!(open(&store, "then", Start::Since(after(3))).await, Seq(3));
    assert_eq!(
        open(&store, "between", Start::Since(after(3) + jiff::SignedDuration::from_nanos(1))).await,
        Seq(4)
    );
    assert_eq!(open(&store, "later", Start::Since(after(99))).await, Seq(6));
}

pub(crate) async fn what_comes_while_a_subscriber_enters_is_for_it(house: &mut impl House) {
    let store = house.open().await;
    for number in 1..=400 {
        let name = format!("hook-{number}");
        let since = Start::Since(after(number.try_into().unwrap()));
        let keeping = tokio::spawn({
            let store = Arc::clone(&store);
            async move { keep(&store, event(number)).await }
        });
        // Where in its way the event is then differs from round to round.
        tokio::task::yield_now().await;
        std::thread::sleep(std::time::Duration::from_micros(number * 5));
        let begin = open(&store, &name, since).await;
        let kept = keeping.await.unwrap();
        assert!(begin <= kept.seq, "{begin:?} is past {kept:?}");
    }
}

pub(crate) async fn a_known_subscriber_goes_on_where_it_stopped(house: &mut impl House) {
    let store = house.open().await;
    assert_eq!(open(&store, "hook", Start::Now).await, Seq(1));
    fill(&store, 5).await;
    store.advance("hook", SHARD, Seq(4));
    assert_eq!(open(&store, "hook", Start::Now).await, Seq(4));
}

pub(crate) async fn a_frontier_never_goes_back(house: &mut impl House) {
    let store = house.open().await;
    subscribe(&store, "hook").await;
    fill(&store, 5).await;
    store.advance("hook", SHARD, Seq(4));
    store.advance("hook", SHARD, Seq(2));
    store.advance("nobody", SHARD, Seq(2));
    assert_eq!(open(&store, "hook", Start::Now).await, Seq(4));
    assert_eq!(store.figures().await.unwrap().len(), 1);
}

pub(crate) async fn retries_are_due_in_order(house: &mut impl House) {
    let store = house.open().await;
    subscribe(&store, "hook").await;
    subscribe(&store, "other").await;
    fill(&store, 4).await;
    assert_eq!(store.next_due("hook").await.unwrap(), None);
    let rows = [(1, 30), (2, 10), (3, 20)].map(|(seq, second)| failed("hook", seq, 1, after(second)));
    store.settle(rows.into()).await.unwrap();
    store.settle(vec![failed("other", 4, 1, after(5))]).await.unwrap();
    assert_eq!(store.next_due("hook").await.unwrap(), Some(after(10)));
    assert_eq!(due(&store, "hook", after(9)).await, [0; 0]);
    assert_eq!(due(&store, "hook", after(20)).await, [2, 3]);
    assert_eq!(due(&store, "hook", after(99)).await, [2, 3, 1]);
    assert_eq!(store.due("hook", after(99), 1).await.unwrap().len(), 1);
    assert_eq!(store.retries("hook").await.unwrap(), 3);
    store.settle(vec![failed("hook", 2, 2, after(40))]).await.unwrap();
    assert_eq!(due(&store, "hook", after(99)).await, [3, 1, 2]);
    assert_eq!(store.retries("hook").await.unwrap(), 3);
    let first = store.due("hook", after(99), 9).await.unwrap().remove(2);
    assert_eq!((first.attempts, first.spent, first.due), (2, 2, after(40)));
    assert_eq!(first.event.body, "body 2");
}

pub(crate) async fn what_is_delivered_leaves_the_retry_set(house: &mut impl House) {
    let store = house.open().await;
    subscribe(&store, "hook").await;
    fill(&store, 3).await;
    let rows = [1, 2, 3].map(|seq| failed("hook", seq, 1, after(10)));
    store.settle(rows.into()).await.unwrap();
    let fates = vec![delivered("hook", 1, 2), died("hook", 2, 2), settled("hook", 3, None, Fate::Delivered)];
    store.settle(fates).await.unwrap();
    assert_eq!(store.retries("hook").await.unwrap(), 0);
    assert_eq!(store.next_due("hook").await.unwrap(), None);
    assert_eq!(store.dead_letters(None, 9, None).await.unwrap().rows.len(), 1);
}

pub(crate) async fn probes_use_up_no_attempts(house: &mut impl House) {
    let store = house.open().await;
    subscribe(&store, "hook").await;
    fill(&store, 1).await;
    store.settle(vec![failed("hook", 1, 1, after(10))]).await.unwrap();
    let probe = super::attempt("hook", 2, 50, Some("still not"));
    let fate = Fate::Retry { due: after(60), spent: 1 };
    store.settle(vec![settled("hook", 1, Some(probe), fate)]).await.unwrap();
    let put_off = settled("hook", 1, None, Fate::Retry { due: after(70), spent: 1 });
    store.settle(vec![put_off]).await.unwrap();
    let row = store.due("hook", after(99), 9).await.unwrap().remove(0);
    assert_eq!((row.attempts, row.spent, row.due), (2, 1, after(70)));
}

pub(crate) async fn what_retention_passes_is_expired(house: &mut impl House) {
    let store = house.open().await;
    subscribe(&store, "dead").await;
    subscribe(&store, "live").await;
    fill(&store, 6).await;
    store.advance("dead", SHARD, Seq(2));
    store.advance("live", SHARD, Seq(7));
    store.settle(vec![failed("live", 1, 1, after(10)), failed("live", 6, 1, after(10))]).await.unwrap();
    house.remove_before(Seq(5)).await;
    let figures = store.figures().await.unwrap();
    assert_eq!(figures.iter().map(|one| one.expired).collect::<Vec<_>>(), [3, 1]);
    assert_eq!(open(&store, "dead", Start::Now).await, Seq(5));
    assert_eq!(open(&store, "live", Start::Now).await, Seq(7));
    assert_eq!(due(&store, "live", after(99)).await, [6]);
}

pub(crate) async fn a_full_store_still_delivers(house: &mut impl House) {
    let store = house.open().await;
    subscribe(&store, "hook").await;
    fill(&store, 4).await;
    store.settle(vec![failed("hook", 1, 1, after(10)), failed("hook", 2, 1, after(10))]).await.unwrap();
    house.refuse(true);
    full(store.settle(vec![failed("hook", 3, 1, after(20)), delivered("hook", 1, 2)]).await);
    assert_eq!(due(&store, "hook", after(99)).await, [2]);
    store.advance("hook", SHARD, Seq(3));
    assert_eq!(open(&store, "hook", Start::Now).await, Seq(3));
    assert_eq!(store.read(SHARD, Seq(3), 9, 999).await.unwrap().events.len(), 2);
    house.refuse(false);
    store.settle(vec![failed("hook", 3, 1, after(20))]).await.unwrap();
    assert_eq!(due(&store, "hook", after(99)).await, [2, 3]);
    let Some(store) = house.reopen().await else { return };
    assert_eq!(due(&store, "hook", after(99)).await, [2, 3]);
    assert_eq!(open(&store, "hook", Start::Now).await, Seq(3));
}

pub(crate) async fn retries_and_frontiers_outlive_a_restart(house: &mut impl House) {
    let store = house.open().await;
    subscribe(&store, "hook").await;
    fill(&store, 5).await;
    store.settle(vec![failed("hook", 2, 1, after(10)), died("hook", 3, 1)]).await.unwrap();
    store.settle(vec![delivered("hook", 1, 1), delivered("hook", 4, 1)]).await.unwrap();
    store.advance("hook", SHARD, Seq(5));
    let Some(store) = house.reopen().await else { return };
    assert_eq!(open(&store, "hook", Start::Now).await, Seq(5));
    let row = store.due("hook", after(99), 9).await.unwrap().remove(0);
    assert_eq!((row.event.place, row.attempts, row.spent, row.due), (place(2), 1, 1, after(10)));
    assert_eq!(store.dead_letters(None, 9, None).await.unwrap().rows.len(), 1);
    let figures = store.figures().await.unwrap().remove(0);
    assert_eq!((figures.delivered, figures.failed, figures.dead, figures.retrying), (2, 2, 1, 1));
}

pub(crate) async fn what_is_forgotten_or_gone_is_no_error(house: &mut impl House) {
    let store: Arc<dyn Store> = house.open().await;
    subscribe(&store, "hook").await;
    fill(&store, 3).await;
    store.settle(vec![failed("nobody", 1, 1, after(10)), died("nobody", 1, 1)]).await.unwrap();
    assert_eq!(store.retries("nobody").await.unwrap(), 0);
    house.remove_before(Seq(3)).await;
    store.settle(vec![failed("hook", 1, 1, after(10)), failed("hook", 3, 1, after(10))]).await.unwrap();
    assert_eq!(due(&store, "hook", after(99)).await, [3]);
    keep(&store, event(4)).await;
}
