//! What the steps of a callback's way do.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap};
use http::request::Parts;
use hyper::body::Incoming;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tokio::sync::OwnedSemaphorePermit;
use uuid::Uuid;

use super::body::{Room, Whole};
use super::copies::Copies;
use super::inbound::{Answer, BadUrl, Inbound, Query};
use super::metrics::{Metrics, Outcome};
use super::record::Record;
use super::refusal::Refusal;
use super::schedule::Clock;
use super::settings::Settings;
use super::token::{self, Keys};
use super::trace;
use crate::net::Networks;
use crate::net::client::Client;
use crate::net::client_address::client_address;
use crate::net::listen::Peer;
use crate::store::{self, Appended, DuplicateKey, EventId, NewEvent};
use crate::telemetry::trace::Tracer;
use crate::xinyao::callback::Kind;
use crate::xinyao::callback::heading::{self, Heading};

/// How long the store may take. How long the SaaS waits is not documented; what is kept later than this is
/// found to be a duplicate when it is pushed again.
const KEEP_WITHIN: Duration = Duration::from_secs(5);
/// Bodies over this are looked through on another thread, so that nobody else's callback waits for them.
const LARGE: usize = 256 << 10;

/// Takes callbacks in.
pub struct Intake {
    keys: Keys,
    networks: Networks,
    trusted_proxies: Networks,
    apps: Vec<Arc<str>>,
    room: Room,
    dedup_window: Duration,
    inbound: Vec<Inbound>,
    /// For apps whose queries nobody answers.
    unasked: Answer,
    mask_numbers: bool,
    lasting: Lasting,
}

/// What stays when the settings change.
#[derive(Clone)]
struct Lasting {
    client: Client,
    copies: Copies,
    store: Arc<dyn store::Intake>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    tracer: Option<Tracer>,
}

impl fmt::Debug for Intake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intake").field("apps", &self.apps).finish_non_exhaustive()
    }
}

/// A new id: time-ordered, and of what becomes an event the event's.
pub(super) fn new_id() -> EventId {
    EventId(Uuid::now_v7())
}

impl Intake {
    /// An intake as the settings say, and the task that keeps copies of inbound queries: it ends once the
    /// intake is gone and the last copy is kept.
    ///
    /// # Errors
    /// A responder's URL is none.
    pub fn new(
        settings: &Settings,
        store: Arc<dyn store::Intake>,
        client: &Client,
        clock: Arc<dyn Clock>,
        mask_numbers: bool,
        tracer: Option<Tracer>,
    ) -> Result<(Arc<Self>, impl Future<Output = ()> + Send + use<>), BadUrl> {
        let metrics = Metrics::default();
        let (copies, keeping) = Copies::new(Arc::clone(&store), metrics.clone());
        let room = Room::new(settings.max_body_bytes, settings.body_idle_timeout);
        let lasting = Lasting { client: client.clone(), copies, store, clock, metrics, tracer };
        Ok((Self::of(settings, mask_numbers, room, lasting)?, keeping))
    }

    /// An intake as other settings say, which goes on counting and keeping where this one does.
    ///
    /// # Errors
    /// A responder's URL is none.
    pub fn changed(&self, settings: &Settings, mask_numbers: bool) -> Result<Arc<Self>, BadUrl> {
        let room = self.room.changed(settings.max_body_bytes, settings.body_idle_timeout);
        Self::of(settings, mask_numbers, room, self.lasting.clone())
    }

    fn of(
        settings: &Settings,
        mask_numbers: bool,
        room: Room,
        lasting: Lasting,
    ) -> Result<Arc<Self>, BadUrl> {
        let inbound = settings.inbound_query.iter();
        let inbound = inbound.map(|inbound| Inbound::new(inbound, lasting.client.clone()));
        let intake = Self {
            keys: Keys::new(&settings.keys),
            networks: settings.networks.clone(),
            trusted_proxies: settings.listen.trusted_proxies.clone(),
            apps: settings.apps.iter().map(|app| app.as_str().into()).collect(),
            room,
            dedup_window: settings.dedup_window,
            inbound: inbound.collect::<Result<_, _>>()?,
            unasked: Answer::fallback("", ""),
            mask_numbers,
            lasting,
        };
        Ok(Arc::new(intake))
    }

    /// What is counted, for a scrape.
    pub fn metrics(&self) -> Metrics {
        self.lasting.metrics.clone()
    }

    /// What is known of a callback whose head is there.
    pub(super) fn record(&self, peer: &Peer, headers: &HeaderMap) -> Record {
        let id = new_id();
        Record {
            started: Instant::now(),
            id,
            client: client_address(peer, headers, &self.trusted_proxies),
            app: None,
            label: None,
            kind: None,
            size: 0,
            outcome: Outcome::ClientGone,
            responder: None,
            failure: None,
            metrics: self.lasting.metrics.clone(),
            mask_numbers: self.mask_numbers,
            span: self.lasting.tracer.as_ref().and_then(|tracer| tracer.callback(id.0)),
        }
    }

    /// Whether callbacks may come from there.
    pub(super) fn allow(&self, client: IpAddr) -> Result<(), Refusal> {
        if self.networks.contains(client) { Ok(()) } else { Err(Refusal::NotAllowed(client)) }
    }

    /// App and label of a callback URL.
    pub(super) fn door(&self, path: &str) -> Result<(Arc<str>, Option<Arc<str>>), Refusal> {
        let (app, token, label) = token::parts(path).ok_or(Refusal::UnknownUrl)?;
        // Looked at for apps that there are not too, so that time does not tell which there are.
        let proven = self.keys.verify(app, token);
        let app = self.apps.iter().find(|known| &***known == app).filter(|_| proven);
        Ok((Arc::clone(app.ok_or(Refusal::UnknownUrl)?), label.map(Arc::from)))
    }

    pub(super) async fn read(&self, body: Incoming) -> Result<Whole, Refusal> {
        self.room.read(body).await
    }

    /// What is to be kept of a callback.
    pub(super) async fn event(
        &self,
        id: EventId,
        app: Arc<str>,
        label: Option<Arc<str>>,
        head: &Parts,
        body: Bytes,
    ) -> NewEvent {
        let (heading, key) = look_through(&app, label.as_deref(), &body).await;
        let Heading { kind, task_id, call_sn } = heading;
        let received_at = self.lasting.clock.now();
        // A query is asked anew each time somebody calls.
        let repeats = !self.dedup_window.is_zero() && kind != Kind::InboundQuery;
        let since = received_at.checked_sub(self.dedup_window).unwrap_or(Timestamp::MIN);
        let content_type = head.headers.get(CONTENT_TYPE);
        NewEvent {
            id,
            received_at,
            app,
            label,
            kind,
            task_id,
            call_sn,
            content_type: content_type.map(|value| Bytes::copy_from_slice(value.as_bytes())),
            unless_since: repeats.then_some((key, since)),
            body,
        }
    }

    /// Has the store keep an event; ready when it is synced.
    pub(super) async fn keep(&self, event: NewEvent) -> Result<Outcome, Refusal> {
        let (id, app, began) = (event.id, Arc::clone(&event.app), Instant::now());
        let appended = tokio::time::timeout(KEEP_WITHIN, self.lasting.store.append(event)).await;
        if let Some(tracer) = &self.lasting.tracer {
            trace::commit(tracer, id, began, matches!(appended, Ok(Ok(_))));
        }
        let error = match appended {
            Ok(Ok(Appended::Kept(_))) => return Ok(Outcome::Accepted),
            Ok(Ok(Appended::Duplicate(_))) => return Ok(Outcome::Duplicate),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("the store took over {KEEP_WITHIN:?}"),
        };
        tracing::error!(%id, %app, %error, "a callback cannot be kept; the SaaS is told to push it again");
        Err(Refusal::NotKept)
    }

    /// What is said to a query. A copy of it goes to the store behind the answer, which does not wait for it.
    pub(super) async fn answer(
        &self,
        record: &mut Record,
        event: NewEvent,
        share: Option<OwnedSemaphorePermit>,
    ) -> Answer {
        let answer = match self.inbound.iter().find(|inbound| inbound.is_for(&event.app)) {
            Some(inbound) => {
                let asked = inbound.ask(&Query::from(&event)).await;
                (record.responder, record.failure) = (asked.by, asked.failure);
                asked.answer
            }
            None => self.unasked.clone(),
        };
        self.lasting.copies.put(event, share);
        answer
    }
}

async fn look_through(app: &Arc<str>, label: Option<&str>, body: &Bytes) -> (Heading, DuplicateKey) {
    if body.len() <= LARGE {
        return (heading::read(body), duplicate_key(app, label, body));
    }
    let looking = tokio::task::spawn_blocking({
        let (app, label, body) = (Arc::clone(app), label.map(str::to_owned), body.clone());
        move || (heading::read(&body), duplicate_key(&app, label.as_deref(), &body))
    });
    // It ends early only with the runtime; here would do too.
    looking.await.unwrap_or_else(|_| (heading::read(body), duplicate_key(app, label, body)))
}

/// App, label and body; neither app nor label has a zero byte, and no label is empty.
fn duplicate_key(app: &str, label: Option<&str>, body: &[u8]) -> DuplicateKey {
    let digest = Sha256::new()
        .chain_update(app)
        .chain_update([0])
        .chain_update(label.unwrap_or_default())
        .chain_update([0])
        .chain_update(body)
        .finalize();
    let mut key = DuplicateKey::default();
    key.copy_from_slice(&digest[..16]);
    key
}
