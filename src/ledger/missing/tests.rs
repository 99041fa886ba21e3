//! Whatever the file and whatever came back of it, what is missing is the one less the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;

use super::reconcile;
use crate::ledger::{Desk, step};
use crate::store::{
    EventId, Intake, Ledger, LedgerKey, MemoryStore, Missing, MissingNumber, NewEvent, SentNumbers, SentRow,
    ShardId, Start,
};
use crate::store::{MAX_REPEATS, Progress};
use crate::xinyao::callback::Kind;
use crate::xinyao::number_file::{Format, NumberFile, Numbers};

const SHARD: ShardId = ShardId(0);

/// A number in one of the ways in which it may be written.
#[derive(Debug, Clone, Copy)]
struct Written {
    number: usize,
    way: usize,
}

impl Written {
    fn text(self) -> String {
        match (self.number % 3, self.way) {
            (0, _) => format!("99{:02}", self.number),
            (_, 0) => format!("+86138001380{:02}", self.number),
            (_, 1) => format!("0138001380{:02}", self.number),
            _ => format!("138001380{:02}", self.number),
        }
    }
}

fn written() -> impl Strategy<Value = Written> {
    (0..15_usize, 0..4_usize).prop_map(|(number, way)| Written { number, way })
}

/// What comes from the SaaS.
#[derive(Debug, Clone)]
struct Push {
    calls: Vec<(Written, u8)>,
    /// A record twice, as after an acknowledgement that was lost.
    twice: bool,
    /// Intents tell of numbers, and are no records.
    intent: Written,
    /// The process is started again.
    restart: bool,
}

fn push() -> impl Strategy<Value = Push> {
    let calls = prop::collection::vec((written(), any::<u8>()), 0..5);
    (calls, any::<bool>(), written(), any::<bool>()).prop_map(|(calls, twice, intent, restart)| Push {
        calls,
        twice,
        intent,
        restart,
    })
}

struct Collected(LedgerKey, Vec<SentRow>);

impl Numbers for Collected {
    fn number(&mut self, row: u32, number: &[u8]) {
        self.1.push(SentNumbers::row(row, self.0.number(number)));
    }

    fn unreadable(&mut self) {
        panic!("it can be read");
    }
}

/// The rows of a csv file, digested with `key`.
fn sent(key: LedgerKey, file: &str) -> SentNumbers {
    let (mut scan, mut collected) = (NumberFile::default(), Collected(key, Vec::new()));
    scan.feed(file.as_bytes(), &mut collected);
    scan.finish(Some(Format::Csv), None, &mut collected);
    SentNumbers::of(collected.1)
}

/// The store in memory answers at once.
fn now<T>(answer: impl Future<Output = Result<T, crate::store::StoreError>>) -> T {
    answer.now_or_never().expect("it answers at once").unwrap()
}

fn append(store: &MemoryStore, kind: Kind, body: &serde_json::Value) {
    now(store.append(NewEvent {
        id: EventId(Uuid::now_v7()),
        received_at: Timestamp::now(),
        app: "crm".into(),
        label: None,
        kind,
        task_id: None,
        call_sn: Some("b".into()),
        content_type: None,
        unless_since: None,
        body: Bytes::from(body.to_string()),
    }));
}

fn push_all(store: &Arc<MemoryStore>, pushes: &[Push]) {
    let mut desk = Desk::new();
    for push in pushes {
        let calls: Vec<_> = push
            .calls
            .iter()
            .map(|(written, id)| json!({ "call_id": id, "num": written.text(), "state": 775 }))
            .collect();
        for _ in 0..=usize::from(push.twice) {
            append(store, Kind::CallRecord, &json!({ "call_sn": "b", "calls": calls }));
        }
        let degrees = json!([{ "num": push.intent.text(), "degree_name": "A类" }]);
        append(store, Kind::IntentResult, &json!({ "call_sn": "b", "degrees": degrees }));
        while now(step(&**store, &mut desk, SHARD)) {}
        if push.restart {
            desk = Desk::new();
        }
    }
}

proptest! {
    #[test]
    fn missing_is_what_was_sent_less_what_came_back(
        file in prop::collection::vec(prop::option::of(written()), 0..60),
        pushes in prop::collection::vec(push(), 0..8),
        limit in 1..9_usize,
    ) {
        let store = Arc::new(MemoryStore::new());
        now(store.open("other", Start::Now));
        push_all(&store, &pushes);
        let key = now(store.ledger(SHARD)).key;
        let lines = file.iter().map(|cell| cell.map_or(",none\n".to_owned(), |cell| cell.text() + ",x\n"));
        let sent = sent(key, &("phone,name\n".to_owned() + &lines.collect::<String>()));

        let mut rows = BTreeMap::<usize, Vec<u32>>::new();
        for (row, cell) in (2..).zip(&file) {
            if let Some(written) = cell {
                rows.entry(written.number).or_default().push(row);
            }
        }
        let back: BTreeSet<usize> =
            pushes.iter().flat_map(|push| &push.calls).map(|(written, _)| written.number).collect();
        let mut missing: Vec<MissingNumber> = rows
            .iter()
            .filter(|(number, _)| !back.contains(number))
            .map(|(_, rows)| MissingNumber {
                row: rows[0],
                repeats: rows[1..].iter().copied().take(MAX_REPEATS).collect(),
            })
            .collect();
        missing.sort_by_key(|number| number.row);

        let parts = now(store.batch_parts("crm", "b"));
        let (mut paged, mut after) = (Vec::new(), 0);
        loop {
            let Missing { page, more, .. } = reconcile(&sent, parts.clone(), after, limit);
            prop_assert!(page.len() <= limit && (page.len() == limit || !more));
            paged.extend(page);
            if !more {
                break;
            }
            after = paged.last().unwrap().row;
        }
        prop_assert_eq!(&paged, &missing);
        let whole = reconcile(&sent, parts, 0, usize::MAX);
        prop_assert_eq!(whole.sent, file.iter().flatten().count() as u64);
        prop_assert_eq!((whole.distinct, whole.missing), (rows.len() as u64, missing.len() as u64));
        prop_assert_eq!(whole.unexpected, back.iter().filter(|number| !rows.contains_key(number)).count() as u64);
        prop_assert_eq!(&whole.page, &missing);
    }
}
