//! Samples: what a subscriber would be sent, to see what it answers.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use jiff::Timestamp;
use uuid::Uuid;

use super::subscriber::Served;
use crate::hub::deliver::{Courier, Tried};
use crate::hub::settings::Apps;
use crate::store::{Event, EventId, Place, Seq, ShardId};
use crate::xinyao::callback::Kind;

/// The app of samples for who takes those of all apps.
const ANY_APP: &str = "sample";

/// A sample that was sent.
#[derive(Debug, Clone)]
pub struct Sampled {
    /// Which kind it was of.
    pub kind: Kind,
    /// Its `webhook-id`.
    pub id: EventId,
    /// What came of it.
    pub tried: Tried,
}

/// Sends one of each kind that the subscriber takes.
pub(super) async fn send(served: &Served, courier: &Courier, now: Timestamp) -> Vec<Sampled> {
    let app: Arc<str> = match &served.settings.apps {
        Apps::Named(names) => names.first().map_or(ANY_APP, String::as_str).into(),
        Apps::All => ANY_APP.into(),
    };
    let kinds = Kind::ALL.into_iter().filter(|kind| served.takes(&app, *kind));
    join_all(kinds.map(async |kind| {
        let event = Arc::new(event(kind, Arc::clone(&app), now));
        let tried = courier.carry_sample(Arc::clone(&event)).await;
        Sampled { kind, id: event.id, tried }
    }))
    .await
}

fn event(kind: Kind, app: Arc<str>, now: Timestamp) -> Event {
    Event {
        place: Place { shard: ShardId(0), seq: Seq(0) },
        id: EventId(Uuid::now_v7()),
        received_at: now,
        app,
        label: None,
        kind,
        task_id: None,
        call_sn: None,
        content_type: Some(Bytes::from_static(b"application/json")),
        body: Bytes::from_static(body(kind).as_bytes()),
    }
}

/// After the vendor's examples (§7.3, §8.3, §9.3), with numbers that nobody has.
fn body(kind: Kind) -> &'static str {
    match kind {
        Kind::CallRecord => include_str!("sample/call_record.json"),
        Kind::IntentResult => include_str!("sample/intent_result.json"),
        Kind::InboundQuery => r#"{"caller":"13800138000"}"#,
        Kind::Unknown => r#"{"sample":true}"#,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xinyao::callback::facets::scan;

    #[test]
    fn samples_are_what_they_say() {
        for kind in Kind::ALL {
            let mut facets = 0;
            assert!(scan(body(kind).as_bytes(), &mut |_, _| facets += 1), "{kind}");
            assert_eq!(facets > 0, matches!(kind, Kind::CallRecord | Kind::IntentResult), "{kind}");
        }
    }
}
