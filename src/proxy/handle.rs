//! The proxy as the rest of the program sees it.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::Response;
use serde::Serialize;

use super::Connection;
use super::global::GlobalStatus;
use super::metrics::{Counts, Metrics, Slots};
use super::proof::Unproven;
use super::running::{AccessLog, Rooms, Running, StartError};
use super::settings::{NextCredential, Settings};
use super::shared::SharedStatus;
use super::team_url::TeamUrls;
use super::upstream::Upstream;
use super::worker::Worker;
use crate::net::listen::{Peer, Rejected};

/// At the end it is looked so often whether anything is under way still.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How long other settings wait for the addresses of a new upstream, so that no request has to.
const FIRST_LOOK_UP: Duration = Duration::from_secs(1);
/// How often unused connections to the upstream are looked through.
const SWEEP: Duration = Duration::from_secs(2);

/// The proxy: what it runs, and the workers that run it.
pub struct Proxy {
    running: ArcSwap<Running>,
    slots: Arc<Slots>,
    threads: Vec<Thread>,
}

/// Other settings, worked out.
pub struct Prepared {
    running: Arc<Running>,
    workers: Vec<Arc<Worker>>,
}

struct Thread {
    worker: Arc<ArcSwap<Worker>>,
    counts: Arc<Mutex<Counts>>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}

impl Proxy {
    /// Works the settings out for so many worker threads. Follows the upstreams' names on the current tokio
    /// runtime, which must outlive the workers.
    ///
    /// # Errors
    /// The settings can't run on this host.
    pub fn new(
        settings: Settings,
        log: AccessLog,
        threads: usize,
        rooms: Rooms,
    ) -> Result<Arc<Self>, StartError> {
        let slots = Arc::new(Slots::default());
        let running = Running::new(settings, log, &slots, rooms)?;
        let threads = (0..threads).map(|_| {
            let counts = Arc::<Mutex<Counts>>::default();
            let worker = Worker::new(Arc::clone(&running), Arc::clone(&counts));
            Thread { worker: Arc::new(ArcSwap::new(worker)), counts }
        });
        Ok(Arc::new(Self { threads: threads.collect(), running: ArcSwap::new(running), slots }))
    }

    /// Works other settings out, which nothing acts on until they are [taken up](Self::take_up). Follows the
    /// upstreams' names on the current tokio runtime, and waits a moment for those that are new.
    ///
    /// # Errors
    /// The settings can't run on this host.
    pub async fn prepare(
        &self,
        settings: Settings,
        log: AccessLog,
        team_urls: Option<Arc<dyn TeamUrls>>,
    ) -> Result<Prepared, StartError> {
        let running = self.running.load().changed(settings, log, &self.slots, team_urls)?;
        for upstream in [&running.api, &running.recordings] {
            // One that is not found now is found later, or whoever needs it is told.
            drop(upstream.name.first(FIRST_LOOK_UP).await);
        }
        let workers = self.workers().iter().map(|worker| worker.under(Arc::clone(&running))).collect();
        Ok(Prepared { running, workers })
    }

    /// Serves each request that comes from now on by other settings; those under way keep theirs.
    pub fn take_up(&self, prepared: Prepared) {
        self.running.store(prepared.running);
        for (thread, worker) in self.threads.iter().zip(prepared.workers) {
            thread.worker.store(worker);
        }
    }

    /// Whether the SaaS accepts a credential, on the way that requests take.
    ///
    /// # Errors
    /// It does not, or can't be asked.
    pub async fn prove(&self, next: &NextCredential) -> Result<(), Unproven> {
        let Some(worker) = self.workers().into_iter().next() else { return Ok(()) };
        super::proof::prove(&worker, next).await
    }

    /// What makes a service for each connection that thread number `thread` accepts.
    pub fn service(&self, thread: usize) -> impl Fn(Peer) -> Connection + use<> {
        let worker = Arc::clone(&self.threads[thread].worker);
        move |peer| Connection::new(Arc::clone(&worker), peer)
    }

    /// What answers those requests that thread number `thread` accepts and that do not get to the service.
    pub fn rejections(&self, thread: usize) -> impl Fn(Rejected, Peer) -> Response<Bytes> + use<> {
        let worker = Arc::clone(&self.threads[thread].worker);
        move |rejected, peer| super::account::reject(rejected, &worker.load(), peer)
    }

    /// What thread number `thread` has to do beside; does not end.
    pub fn upkeep(&self, thread: usize) -> impl Future<Output = ()> + Send + use<> {
        let worker = Arc::clone(&self.threads[thread].worker);
        async move {
            let mut ticks = tokio::time::interval(SWEEP);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                worker.load().sweep();
            }
        }
    }

    /// From now on requests are refused.
    pub fn drain(&self) {
        self.running.load().drain();
    }

    /// Over when nothing is under way: an exchange may go on without its connection.
    pub async fn idle(&self) {
        while self.running.load().in_flight.now() > 0 {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// What runs at present.
    pub(super) fn running(&self) -> Arc<Running> {
        self.running.load_full()
    }

    /// Over when nothing is under way that the store is needed for.
    pub async fn kept(&self) {
        while self.running.load().storing.now() > 0 {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Counts and gauges, for a scrape.
    pub fn metrics(self: &Arc<Self>) -> Metrics {
        let proxy = Arc::clone(self);
        Metrics {
            slots: Arc::clone(&self.slots),
            shards: self.threads.iter().map(|thread| Arc::clone(&thread.counts)).collect(),
            gauges: Box::new(move || proxy.running.load().gauges(&proxy.workers())),
        }
    }

    fn workers(&self) -> Vec<Arc<Worker>> {
        self.threads.iter().map(|thread| thread.worker.load_full()).collect()
    }

    /// How things stand, for operators.
    pub fn status(&self) -> Status {
        let running = self.running.load();
        let sources = running.sources.addresses().iter().enumerate().map(|(at, address)| SourceStatus {
            address: address.map_or_else(|| "any".into(), |address| address.to_string()),
            set_aside: running.sources.is_aside(at),
        });
        Status {
            clock_skew_seconds: running.clock.skew_seconds(),
            in_flight: running.in_flight.now(),
            global: running.global.status(),
            limits: LimitsStatus { shared: running.shared() },
            egress: EgressStatus {
                allowed_ips: running.settings.egress.allowed_ips.iter().map(ToString::to_string).collect(),
                source_ips: sources.collect(),
            },
            upstreams: [&running.api, &running.recordings]
                .map(|upstream| UpstreamStatus::of(upstream))
                .into(),
        }
    }
}

/// How things stand.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// How far the SaaS's clock is ahead of this host's.
    pub clock_skew_seconds: f64,
    /// Requests under way.
    pub in_flight: usize,
    /// The limit of all apps together.
    pub global: GlobalStatus,
    /// Limits, beside what each app has left of its own.
    pub limits: LimitsStatus,
    /// Where connections leave from.
    pub egress: EgressStatus,
    /// The API and the recordings.
    pub upstreams: Vec<UpstreamStatus>,
}

/// Limits, wherever they are counted.
#[derive(Debug, Clone, Serialize)]
pub struct LimitsStatus {
    /// The Redis that they are shared through; none: each process keeps its own.
    pub shared: Option<SharedStatus>,
}

/// Where connections leave from.
#[derive(Debug, Clone, Serialize)]
pub struct EgressStatus {
    /// The SaaS's whitelist, as configured.
    pub allowed_ips: Vec<String>,
    /// The source IPs.
    pub source_ips: Vec<SourceStatus>,
}

/// One source IP.
#[derive(Debug, Clone, Serialize)]
pub struct SourceStatus {
    /// The address; `any`: the kernel's choice.
    pub address: String,
    /// Whether it fails where others do not.
    pub set_aside: bool,
}

/// One upstream.
#[derive(Debug, Clone, Serialize)]
pub struct UpstreamStatus {
    /// Its URL.
    pub url: String,
    /// Its addresses, as DNS last had them.
    pub addresses: Vec<String>,
    /// Those that are left alone at present.
    pub open_circuits: Vec<String>,
    /// Why the last DNS look-up failed, if it did.
    pub dns_error: Option<String>,
    /// Whether any address can be used.
    pub healthy: bool,
}

impl UpstreamStatus {
    fn of(upstream: &Upstream) -> Self {
        let addresses: Vec<String> = upstream.name.addresses().iter().map(ToString::to_string).collect();
        let open_circuits: Vec<String> = upstream.open_circuits().iter().map(ToString::to_string).collect();
        Self {
            url: upstream.origin.to_string(),
            healthy: addresses.iter().any(|address| !open_circuits.contains(address)),
            addresses,
            open_circuits,
            dns_error: upstream.name.last_error(),
        }
    }
}
