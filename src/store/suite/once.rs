//! What must not be sent twice is taken up once.

use bytes::Bytes;

use super::{Arc, House, SignedDuration, Store, after, full};
use crate::store::{
    Claim, Claimed, Conclusion, Earlier, Finding, KeptAnswer, Marks, RequestId, RequestState, RequestSummary,
};

fn keyed(key: &str, second: i64) -> Claim {
    Claim {
        app: "crm".into(),
        endpoint: "outnum",
        request_id: format!("request of {second}"),
        key: Some(key.into()),
        marks: None,
        at: after(second),
        unless_since: None,
        force: false,
    }
}

/// Of this content, within a minute.
fn same(content: u8, second: i64) -> Claim {
    let marks = Some(marks(content));
    Claim { key: None, marks, unless_since: Some(after(second - 60)), ..keyed("", second) }
}

fn marks(content: u8) -> Marks {
    Marks { fingerprint: [content; 32], content: Some([content; 32]), task_id: Some("7".into()) }
}

fn answer() -> KeptAnswer {
    KeptAnswer {
        status: 200,
        head: Bytes::from_static(b"content-type: application/json"),
        body: Bytes::from_static(b"{}"),
    }
}

async fn taken(store: &Arc<dyn Store>, claim: Claim) -> RequestId {
    match store.claim(claim).await.unwrap() {
        Claimed::Taken(id) => id,
        Claimed::Blocked(earlier) => panic!("{earlier:?} stands in its way"),
    }
}

async fn blocked(store: &Arc<dyn Store>, claim: Claim) -> Earlier {
    match store.claim(claim).await.unwrap() {
        Claimed::Blocked(earlier) => *earlier,
        Claimed::Taken(id) => panic!("{id:?} is taken"),
    }
}

async fn unknown(store: &Arc<dyn Store>) -> Vec<RequestSummary> {
    store.requests(Some(RequestState::Unknown), 99, None).await.unwrap().rows
}

pub(crate) async fn a_key_is_taken_once(house: &mut impl House) {
    let store = house.open().await;
    let id = taken(&store, keyed("a", 1)).await;
    let earlier = blocked(&store, keyed("a", 2)).await;
    assert_eq!(earlier.state, RequestState::UnderWay);
    assert_eq!((&*earlier.request_id, earlier.begun_at), ("request of 1", after(1)));
    assert_eq!(earlier.fingerprint, None);
    store.seal(id, marks(3)).await.unwrap();
    assert_eq!(blocked(&store, keyed("a", 2)).await.fingerprint, Some([3; 32]));
    // Nobody's word moves what is under way.
    let forced = Claim { force: true, ..keyed("a", 3) };
    assert_eq!(blocked(&store, forced).await.state, RequestState::UnderWay);
    // A key is the app's own.
    taken(&store, Claim { app: "erp".into(), ..keyed("a", 3) }).await;
    taken(&store, keyed("b", 3)).await;
}

pub(crate) async fn an_answer_is_given_again_for_a_day(house: &mut impl House) {
    let mut store = house.open().await;
    let id = taken(&store, Claim { marks: Some(marks(1)), ..keyed("a", 1) }).await;
    store.conclude(id, Conclusion::Done(Some(answer())), after(5)).await.unwrap();
    // Only what came of it first counts.
    store.conclude(id, Conclusion::NotSent, after(6)).await.unwrap();
    if let Some(opened) = house.reopen().await {
        store = opened;
    }
    let day = 24 * 60 * 60;
    // A clock that was set forward lifts nothing: what is too old goes with a sweep, or not at all.
    for second in [7, day + 4, 30 * day] {
        if second < day + 5 {
            house.sweep(after(second)).await;
        }
        let earlier = blocked(&store, Claim { force: true, ..keyed("a", second) }).await;
        assert_eq!((earlier.state, earlier.answer), (RequestState::Done, Some(answer())));
        assert_eq!(earlier.fingerprint, Some([1; 32]));
    }
    house.sweep(after(day + 6)).await;
    taken(&store, keyed("a", day + 6)).await;
}

pub(crate) async fn what_is_over_is_not_sealed(house: &mut impl House) {
    let store = house.open().await;
    let id = taken(&store, keyed("a", 1)).await;
    store.conclude(id, Conclusion::Unknown, after(2)).await.unwrap();
    store.seal(id, marks(1)).await.unwrap_err();
    assert_eq!(blocked(&store, keyed("a", 3)).await.fingerprint, None);
    let id = taken(&store, keyed("b", 1)).await;
    store.conclude(id, Conclusion::NotSent, after(2)).await.unwrap();
    store.seal(id, marks(1)).await.unwrap_err();
}

pub(crate) async fn an_unknown_outcome_with_a_key_is_not_forgotten(house: &mut impl House) {
    let store = house.open().await;
    let ids = [taken(&store, keyed("a", 1)).await, taken(&store, same(1, 2)).await];
    for id in ids {
        store.conclude(id, Conclusion::Unknown, after(3)).await.unwrap();
    }
    let days = |days: i64| after(days * 24 * 60 * 60);
    house.sweep(days(30)).await;
    let left = unknown(&store).await;
    assert_eq!(left.iter().map(|row| row.id).collect::<Vec<_>>(), [ids[0]]);
    // The day begins when somebody has found out.
    assert!(store.settle_request(ids[0], Finding::Done, days(30)).await.unwrap());
    let key = || Claim { at: days(31), ..keyed("a", 0) };
    house.sweep(days(31)).await;
    assert_eq!(blocked(&store, key()).await.state, RequestState::Done);
    house.sweep(days(32)).await;
    taken(&store, key()).await;
}

pub(crate) async fn a_forced_key_stands_for_the_same_request(house: &mut impl House) {
    let store = house.open().await;
    let of = |content: u8, second| Claim { marks: Some(marks(content)), ..keyed("a", second) };
    let id = taken(&store, of(1, 1)).await;
    store.conclude(id, Conclusion::Unknown, after(2)).await.unwrap();
    let other = Claim { force: true, ..of(2, 3) };
    assert_eq!(blocked(&store, other).await.fingerprint, Some([1; 32]));
    let to_come = Claim { force: true, ..keyed("a", 3) };
    assert_eq!(blocked(&store, to_come).await.fingerprint, Some([1; 32]));
    // It stands in the way of the same numbers still.
    assert_eq!(blocked(&store, same(1, 4)).await.state, RequestState::Unknown);
    taken(&store, Claim { force: true, ..of(1, 5) }).await;
    assert_eq!(blocked(&store, same(1, 6)).await.state, RequestState::UnderWay);
}

pub(crate) async fn what_was_not_sent_is_forgotten(house: &mut impl House) {
    let store = house.open().await;
    let id = taken(&store, Claim { marks: Some(marks(1)), ..keyed("a", 1) }).await;
    store.conclude(id, Conclusion::NotSent, after(2)).await.unwrap();
    assert_eq!(store.request(id).await.unwrap(), None);
    let again = taken(&store, keyed("a", 3)).await;
    assert!(again > id);
    store.conclude(again, Conclusion::NotSent, after(4)).await.unwrap();
    taken(&store, same(1, 5)).await;
}

pub(crate) async fn an_unknown_outcome_stands_until_it_is_decided(house: &mut impl House) {
    let store = house.open().await;
    let id = taken(&store, keyed("a", 1)).await;
    store.conclude(id, Conclusion::Unknown, after(2)).await.unwrap();
    assert_eq!(blocked(&store, keyed("a", 3)).await.state, RequestState::Unknown);
    let forced = taken(&store, Claim { force: true, ..keyed("a", 4) }).await;
    assert_eq!(blocked(&store, keyed("a", 5)).await.state, RequestState::UnderWay);
    assert!(unknown(&store).await.is_empty());
    // The one before has nothing more to say.
    store.conclude(id, Conclusion::NotSent, after(6)).await.unwrap();
    store.conclude(forced, Conclusion::Done(None), after(6)).await.unwrap();
    assert_eq!(blocked(&store, keyed("a", 7)).await.state, RequestState::Done);
}

pub(crate) async fn operators_settle_unknown_outcomes(house: &mut impl House) {
    let mut store = house.open().await;
    let (one, two) = (taken(&store, same(1, 1)).await, taken(&store, keyed("b", 2)).await);
    assert!(!store.settle_request(one, Finding::Done, after(3)).await.unwrap());
    store.conclude(one, Conclusion::Unknown, after(3)).await.unwrap();
    store.conclude_soon(two, Conclusion::Unknown, after(3));
    assert!(store.settle_request(one, Finding::Done, after(4)).await.unwrap());
    assert!(store.settle_request(two, Finding::NotSent, after(4)).await.unwrap());
    assert!(!store.settle_request(two, Finding::NotSent, after(4)).await.unwrap());
    assert!(!store.settle_request(RequestId(99), Finding::Done, after(4)).await.unwrap());
    if let Some(opened) = house.reopen().await {
        store = opened;
    }
    assert_eq!(blocked(&store, same(1, 5)).await.state, RequestState::Done);
    taken(&store, keyed("b", 5)).await;
}

pub(crate) async fn the_same_content_is_held_back_for_a_window(house: &mut impl House) {
    let store = house.open().await;
    let id = taken(&store, same(1, 1)).await;
    // For as long as it is under way, whatever the window.
    assert_eq!(blocked(&store, same(1, 500)).await.state, RequestState::UnderWay);
    store.conclude(id, Conclusion::Done(None), after(501)).await.unwrap();
    assert_eq!(blocked(&store, same(1, 561)).await.state, RequestState::Done);
    taken(&store, same(2, 561)).await;
    taken(&store, Claim { app: "erp".into(), ..same(1, 561) }).await;
    taken(&store, Claim { force: true, ..same(1, 561) }).await;
    // One with a key knows what it does; but it is remembered for those without.
    let id = taken(&store, Claim { marks: Some(marks(3)), ..keyed("a", 562) }).await;
    assert_eq!(blocked(&store, same(3, 563)).await.begun_at, after(562));
    store.conclude(id, Conclusion::Unknown, after(563)).await.unwrap();
    assert_eq!(blocked(&store, same(3, 564)).await.state, RequestState::Unknown);
    taken(&store, Claim { force: true, ..same(3, 565) }).await;
    assert_eq!(blocked(&store, keyed("a", 566)).await.state, RequestState::Unknown);
}

pub(crate) async fn of_many_at_once_one_is_taken(house: &mut impl House) {
    let store = house.open().await;
    for claim in [keyed("a", 1), same(1, 1)] {
        let claims = (0..32).map(|_| store.claim(claim.clone()));
        let claimed = futures_util::future::join_all(claims).await;
        let taken = claimed.iter().filter(|claimed| matches!(claimed, Ok(Claimed::Taken(_)))).count();
        assert_eq!(taken, 1, "{claimed:?}");
    }
}

pub(crate) async fn what_was_under_way_is_unknown_after_a_restart(house: &mut impl House) {
    let store = house.open().await;
    let ids = [taken(&store, keyed("a", 1)).await, taken(&store, same(1, 2)).await];
    let done = taken(&store, same(2, 3)).await;
    store.conclude(done, Conclusion::Done(None), after(4)).await.unwrap();
    drop(store);
    let Some(store) = house.reopen().await else { return };
    let found = unknown(&store).await;
    assert_eq!(found.iter().map(|row| row.id).collect::<Vec<_>>(), [ids[1], ids[0]]);
    assert_eq!(blocked(&store, keyed("a", 5)).await.state, RequestState::Unknown);
    assert_eq!(blocked(&store, same(1, 5)).await.state, RequestState::Unknown);
    // Until the restart it may have been sent: the window begins there.
    let restarted = found[0].ended_at.unwrap();
    assert_ne!(restarted, found[0].begun_at);
    let claim = Claim { at: restarted, unless_since: Some(restarted), ..same(1, 0) };
    assert_eq!(blocked(&store, claim).await.state, RequestState::Unknown);
    assert_eq!(blocked(&store, same(2, 5)).await.state, RequestState::Done);
}

pub(crate) async fn without_room_nothing_is_taken(house: &mut impl House) {
    let store = house.open().await;
    let id = taken(&store, keyed("a", 1)).await;
    house.refuse(true);
    full(store.claim(keyed("b", 2)).await);
    full(store.conclude(id, Conclusion::Unknown, after(2)).await);
    house.refuse(false);
    taken(&store, keyed("b", 3)).await;
    // What came of the first is written when it can be.
    assert_eq!(blocked(&store, keyed("a", 4)).await.state, RequestState::Unknown);
}

pub(crate) async fn requests_are_paged(house: &mut impl House) {
    let store = house.open().await;
    for number in 1..=5 {
        let claim = Claim { marks: Some(marks(1)), ..keyed(&format!("key {number}"), number) };
        let id = taken(&store, claim).await;
        let done = Conclusion::Done(Some(answer()));
        store.conclude(id, if number == 3 { Conclusion::Unknown } else { done }, after(9)).await.unwrap();
    }
    let first = store.requests(None, 2, None).await.unwrap();
    let second = store.requests(None, 2, first.next_cursor.clone()).await.unwrap();
    let last = store.requests(None, 2, second.next_cursor.clone()).await.unwrap();
    assert_eq!(last.next_cursor, None);
    let rows: Vec<_> = [first, second, last].into_iter().flat_map(|page| page.rows).collect();
    let keys: Vec<_> = rows.iter().filter_map(|row| row.key.as_deref()).collect();
    assert_eq!(keys, ["key 5", "key 4", "key 3", "key 2", "key 1"]);
    let found = unknown(&store).await;
    assert_eq!(found, [rows[2].clone()]);
    assert_eq!(store.request(found[0].id).await.unwrap().as_ref(), Some(&found[0]));
    assert_eq!(
        (&*found[0].app, &*found[0].endpoint, &*found[0].request_id),
        ("crm", "outnum", "request of 3")
    );
    assert_eq!((found[0].begun_at, found[0].ended_at), (after(3), Some(after(9))));
    assert_eq!(found[0].task_id.as_deref(), Some("7"));
    assert_eq!(found[0].ended_at.unwrap().duration_since(found[0].begun_at), SignedDuration::from_secs(6));
}
