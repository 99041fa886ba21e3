//! What the room's tests are made with.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use uuid::Uuid;

use crate::hub::settings::{Apps, SubscriberSettings};
use crate::store::{Event, EventId, Place, Seq, ShardId};
use crate::xinyao::callback::Kind;

/// The event number `seq` of shard 0, a call record of the app `crm`.
pub fn event(seq: u64, body: &str) -> Event {
    Event {
        place: Place { shard: ShardId(0), seq: Seq(seq) },
        id: EventId(Uuid::from_u128(seq.into())),
        received_at: Timestamp::UNIX_EPOCH,
        app: "crm".into(),
        label: None,
        kind: Kind::CallRecord,
        task_id: None,
        call_sn: None,
        content_type: Some(Bytes::from_static(b"application/json")),
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

/// A subscriber of everything of kind call record, with delays of 5 and 10 s.
pub fn settings(name: &str) -> SubscriberSettings {
    SubscriberSettings {
        name: name.into(),
        url: "http://127.0.0.1:9/hook".into(),
        apps: Apps::All,
        events: vec!["call_record".into()],
        filter: BTreeMap::new(),
        timeout: Duration::from_secs(10),
        max_in_flight: 4,
        ordered: false,
        since: None,
        rate_per_second: None,
        retry: vec![Duration::from_secs(5), Duration::from_secs(10)],
        signing_secrets: Vec::new(),
        headers: BTreeMap::new(),
        enrich: false,
        guarded: false,
    }
}
