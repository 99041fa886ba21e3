use bytes::Bytes;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::store::{BatchRecord, EventId, Ledger, MemoryStore, NewEvent, Start, Submission};
use crate::store::{Intake, Progress};

async fn append(store: &MemoryStore, app: &str, kind: Kind, body: Value) {
    let event = NewEvent {
        id: EventId(Uuid::now_v7()),
        received_at: Timestamp::now(),
        app: app.into(),
        label: None,
        kind,
        task_id: None,
        call_sn: body["call_sn"].as_str().map(str::to_owned),
        content_type: None,
        unless_since: None,
        body: Bytes::from(body.to_string()),
    };
    store.append(event).await.unwrap();
}

fn record(calls: Value) -> Value {
    json!({ "task_id": "7", "task_name": "任务", "call_sn": "b", "call_sn_name": "批次", "bot_id": "1", "calls": calls })
}

/// What the ledger says of batch `b` once it has taken in what there is.
async fn booked(store: &Arc<MemoryStore>, desk: &mut Desk) -> BatchRecord {
    while step(&**store, desk, ShardId(0)).await.unwrap() {}
    store.batch("b").await.unwrap().unwrap()
}

#[tokio::test]
async fn a_batch_adds_up_however_often_it_is_told() {
    let store = Arc::new(MemoryStore::new());
    store.open("other", Start::Now).await.unwrap();
    let submission = Submission {
        app: "crm".into(),
        call_sn: "b".into(),
        task_id: Some("7".into()),
        call_sn_name: None,
        sent: Some(4),
        accepted: Some(3),
        at: Timestamp::now(),
    };
    store.submit_batch(submission).await.unwrap();
    let first = record(json!([
        { "call_id": "c1", "num": "13800138000", "state": 775 },
        { "call_id": 2, "num": "13900139000", "state": "786", "answered_time": "2026-11-24 10:00:00" },
    ]));
    let recall = record(json!([
        { "call_id": "c3", "num": 13_800_138_000_u64, "state": 785, "answered_time": "2026-11-24 11:00:00" },
        { "call_id": "c4", "num": "13700137000", "state": null, "answered_time": "" },
        { "call_id": "c5" }, 7,
    ]));
    let odd = record(
        json!([{ "call_id": "c3", "num": "13800138000", "state": 785, "answered_time": "x" }, { "call_id": "c4", "num": "13700137000", "state": [], "answered_time": {} }]),
    );
    let intents = json!({ "call_sn": "b", "degrees": [
        { "num": "13800138000", "degree_name": "A类", "recall_flag": 1 },
        { "num": "13900139000", "degree_name": "B类" }, { "num": "13900139000", "degree_name": "A类" },
        { "degree_name": "C类" },
    ] });
    let mut desk = Desk::new();
    for _ in 0..3 {
        append(&store, "crm", Kind::CallRecord, first.clone()).await;
        booked(&store, &mut desk).await;
        append(&store, "crm", Kind::CallRecord, recall.clone()).await;
        append(&store, "crm", Kind::CallRecord, odd.clone()).await;
        append(&store, "crm", Kind::IntentResult, intents.clone()).await;
        // Whose batch it is, is for the URL to say.
        append(&store, "erp", Kind::CallRecord, record(json!([{ "call_id": "x", "num": "1", "state": 1 }])))
            .await;
        append(&store, "crm", Kind::Unknown, record(json!([{ "call_id": "y", "num": "2", "state": 1 }])))
            .await;
        let found = booked(&store, &mut desk).await;
        let told = &found.told;
        assert_eq!((found.sent, found.accepted, told.returned, told.connected), (Some(4), Some(3), 3, 2));
        assert_eq!(told.by_state, [(775, 1), (785, 1), (786, 1)].into());
        assert_eq!(told.by_degree, [("A类".to_owned(), 2)].into());
        assert_eq!(told.task_name.as_deref(), Some("任务"));
        assert_eq!((told.task_id.as_deref(), told.call_sn_name.as_deref()), (Some("7"), Some("批次")));
        assert!(told.first_record_at <= told.last_record_at && told.first_record_at.is_some());
        // At the next start it goes on from what was written.
        desk = Desk::new();
    }
    let parts = store.batch_parts("crm", "b").await.unwrap();
    let bytes: usize = parts.iter().map(Bytes::len).sum();
    assert!(bytes < 8 * 26 && !parts.iter().any(|part| part.windows(11).any(|w| w == b"13800138000")));
}

#[test]
fn the_batches_heard_of_last_stay_at_hand() {
    let mut books = Books { max_at_hand: 20 * Book::default().size(), ..Desk::new().books };
    let name = |number: u64| -> Name { ("crm".into(), number.to_string()) };
    let heard = |touched| {
        let mut book = Book::default();
        book.touched = touched;
        book
    };
    let here = |books: &Books| books.books.values().map(|book| book.touched).collect::<BTreeSet<_>>();
    for number in 0..20 {
        books.books.insert(name(number), heard(100 - number));
        books.let_go();
    }
    assert_eq!(books.books.len(), 20);
    // One more, and the older half goes, though none of them holds a call.
    books.books.insert(name(20), heard(101));
    books.let_go();
    assert_eq!(here(&books), (92..=101).collect());
    books.max_at_hand = 1;
    books.let_go();
    assert_eq!(here(&books), [101].into());
}

#[test]
fn a_batch_is_quiet_when_it_lacks_numbers_and_nothing_comes() {
    let at = |second| Some(Timestamp::from_second(second).unwrap());
    let told = BatchEntry { returned: 2, last_record_at: at(50), ..BatchEntry::default() };
    let batch = BatchRecord { told, submitted_at: at(10), sent: None, accepted: Some(3) };
    assert!(batch.is_quiet(at(51).unwrap()) && !batch.is_quiet(at(50).unwrap()));
    let whole = BatchRecord { accepted: Some(2), ..batch.clone() };
    assert!(!whole.is_quiet(at(99).unwrap()));
    let silent = BatchRecord { told: BatchEntry::default(), ..batch };
    assert!(silent.is_quiet(at(11).unwrap()));
}

proptest::proptest! {
    #[test]
    fn parts_never_panic(part in proptest::collection::vec(proptest::num::u8::ANY, 0..80)) {
        Book::read(&[Bytes::from(part)]);
    }
}
