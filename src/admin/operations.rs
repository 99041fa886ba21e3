//! What operators are given to see and to do about events; whoever composes the process makes it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Problem;
use crate::store::{
    Answer, BatchRecord, Cluster, Ledger, Missing, Once, Operate, Query, Replica, StoreError,
    SubscriberFigures, Unseen,
};
use crate::xinyao::callback::Kind;

/// Events, and those who get them.
#[derive(Clone)]
pub struct Operations {
    /// Answers questions.
    pub query: Arc<dyn Query>,
    /// Does what is asked for.
    pub operate: Arc<dyn Operate>,
    /// Remembers what must not be sent twice.
    pub once: Arc<dyn Once>,
    /// Tells of batches.
    pub ledger: Arc<dyn Ledger>,
    /// Tells of replicas.
    pub cluster: Arc<dyn Cluster>,
    /// Tells which numbers of a batch lack a call record.
    pub missing: Arc<FindMissing>,
    /// A batch that lacks numbers is quiet when nothing was heard of it for so long.
    pub quiet_after: Duration,
    /// The subscribers as they are served at present.
    pub subscribers: Arc<dyn Subscribers>,
    /// Whether phone numbers are masked in what is shown. Bodies are given as they came.
    pub mask_numbers: Arc<AtomicBool>,
}

/// Finds the numbers of a batch that lack a call record: of those behind a row, so many at most; or why
/// nobody can say.
pub type FindMissing =
    dyn Fn(BatchRecord, u32, usize) -> Answer<'static, Result<Missing, Unseen>> + Send + Sync;

/// The configured subscribers.
pub trait Subscribers: Send + Sync {
    /// Each of them, and how it stands.
    fn standing(&self) -> Vec<Standing>;

    /// Whether one takes events of this app and kind. Its `where` is not looked at.
    fn wants(&self, subscriber: &str, app: &str, kind: Kind) -> bool;

    /// The kinds of events that it takes.
    fn kinds(&self, subscriber: &str) -> Vec<Kind>;

    /// Serves it no longer, if it is an address that an app named in a task, and not one of the file. Whether
    /// it is.
    fn give_up<'a>(&'a self, subscriber: &'a str) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// Sends it a signed sample of each kind that it takes, outside the log; `None` when there is none of
    /// that name.
    fn test<'a>(&'a self, subscriber: &'a str) -> BoxFuture<'a, Option<Vec<Sample>>>;
}

/// How a subscriber stands.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Its name.
    pub name: String,
    /// Where its events go.
    pub url: String,
    /// `active`, `probing` or `paused`.
    pub state: &'static str,
    /// Deliveries under way.
    pub in_flight: usize,
    /// When the last attempt was that failed since the process began, and what was wrong.
    pub last_error: Option<(Timestamp, String)>,
}

/// What a subscriber answered to a sample.
#[derive(Debug, Clone)]
pub struct Sample {
    /// What the sample was of.
    pub kind: Kind,
    /// What was answered, if anything was.
    pub status: Option<u16>,
    /// To the end of the answer, or of the waiting for it.
    pub latency_ms: u32,
    /// What was wrong.
    pub error: Option<String>,
    /// The first KiB of the answer.
    pub answer: Bytes,
}

impl Operations {
    /// That `name` is configured.
    pub(super) fn configured(&self, name: &str) -> Result<(), Problem> {
        let standing = self.subscribers.standing();
        if standing.iter().any(|one| one.name == name) {
            return Ok(());
        }
        let known: Vec<_> = standing.into_iter().map(|one| one.name).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Err(Problem::not_found(format!("no subscriber is named {name:?}; configured: {known}")))
    }

    /// That `name` is configured, or was, so that the store still knows it. Whether it is configured.
    pub(super) async fn known(&self, name: &str) -> Result<bool, Problem> {
        let Err(problem) = self.configured(name) else { return Ok(true) };
        let figures = self.query.figures().await?;
        if figures.iter().any(|known| known.name == name) { Ok(false) } else { Err(problem) }
    }

    /// Deliveries that a subscriber has yet to get.
    pub(super) fn backlog(&self, figures: &SubscriberFigures) -> u64 {
        let wanted =
            figures.ahead.iter().filter(|(app, kind, _)| self.subscribers.wants(&figures.name, app, *kind));
        wanted.map(|(.., events)| events).sum::<u64>() + figures.retrying + figures.replaying
    }

    /// The replicas that share the store, if any do.
    pub(super) async fn cluster(&self) -> Option<Value> {
        let name = self.cluster.replica()?;
        Some(match self.cluster.replicas().await {
            Ok(all) => json!({ "replica": &*name, "replicas": all.iter().map(replica).collect::<Vec<_>>() }),
            Err(error) => json!({ "replica": &*name, "replicas": [], "error": error.to_string() }),
        })
    }

    /// What all subscribers together have yet to get, and how full the store is.
    pub(super) async fn totals(&self) -> Result<(Value, Value), StoreError> {
        let (figures, (size_bytes, max_size_bytes)) = (self.query.figures().await?, self.query.size().await?);
        let sum = |of: &dyn Fn(&SubscriberFigures) -> u64| figures.iter().map(of).sum::<u64>();
        let oldest = figures.iter().map(|known| self.oldest_age_seconds(known)).fold(0.0, f64::max);
        let backlog = json!({
            "events": sum(&|known| self.backlog(known)),
            "oldest_age_seconds": oldest,
            "retrying": sum(&|known| known.retrying),
            "replaying": sum(&|known| known.replaying),
            "dead_letters": sum(&|known| known.dead),
        });
        Ok((backlog, json!({ "size_bytes": size_bytes, "max_size_bytes": max_size_bytes })))
    }
}

fn replica(one: &Replica) -> Value {
    let about = &one.about;
    json!({
        "name": one.name,
        "epoch": one.epoch,
        "version": about.version,
        "started_at": one.started_at.to_string(),
        "silent_for_ms": u64::try_from(one.silent_for.as_millis()).unwrap_or(u64::MAX),
        "shards": one.shards.iter().map(|shard| shard.0).collect::<Vec<_>>(),
        "keeps_ledger": one.keeps_ledger,
        "proxy": about.proxy,
        "callbacks": about.callbacks,
        "admin": about.admin,
        "source_ips": about.source_ips,
        "in_flight": about.in_flight,
        "waiting_events": about.waiting_events,
    })
}
