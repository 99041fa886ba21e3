//! The configuration as it runs: everything that can be worked out beforehand, worked out.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use super::app::App;
use super::budget::Budget;
use super::clock::Clock;
use super::global::GlobalLimit;
use super::in_flight::InFlight;
use super::metrics::{Gauge, Reading, Slots};
use super::numbers;
use super::outgoing::Room;
use super::settings::{Priority, Settings};
use super::shared::{Shared, SharedStatus};
use super::source::Sources;
use super::team_url::TeamUrls;
use super::upstream::{BadOrigin, Upstream};
use super::worker::Worker;
use crate::net::Origin;
use crate::net::connect::{Connector, EgressError};
use crate::store::{Ledger, LedgerKey, Once};
use crate::telemetry::trace::Tracer;

/// Bytes on disk for workbooks that are not checked.
const COPIES_BYTES: u64 = 256 << 20;

/// The configuration as it runs, shared by all workers.
pub struct Running {
    /// What it was made from.
    pub settings: Settings,
    /// All apps.
    pub apps: Vec<App>,
    /// Stands for callers that are not known.
    pub nobody: App,
    /// The limit of all apps together.
    pub global: GlobalLimit,
    /// All that is under way.
    pub in_flight: InFlight,
    /// Those of it that the store is needed for.
    pub storing: Arc<InFlight>,
    /// Retries under way.
    pub budget: Arc<Budget>,
    /// The SaaS's clock.
    pub clock: Arc<Clock>,
    /// The SaaS's API.
    pub api: Arc<Upstream>,
    /// Where recordings are.
    pub recordings: Arc<Upstream>,
    /// Makes connections.
    pub connector: Connector,
    /// Where connections leave from.
    pub sources: Arc<Sources>,
    /// What the others keep.
    pub rooms: Rooms,
    /// Where uploads wait.
    pub spools: Room,
    /// Where workbooks wait of which only the ledger wants to know.
    pub copies: Room,
    /// Where the digests of numbers are.
    pub digests: Room,
    /// Whether there is an access log.
    pub log_access: bool,
    /// Whether phone numbers in it are masked.
    pub mask_numbers: bool,
    draining: Arc<AtomicBool>,
}

/// What others keep for the proxy.
#[derive(Clone)]
pub struct Rooms {
    /// What was sent that must not be sent twice.
    pub once: Arc<dyn Once>,
    /// What is told of batches.
    pub ledger: Arc<dyn Ledger>,
    /// What their numbers are digested with, once the store has told.
    pub ledger_key: Arc<OnceLock<LedgerKey>>,
    /// What stands for the callback addresses of tasks; none: they are left alone.
    pub team_urls: Option<Arc<dyn TeamUrls>>,
    /// Begins spans; none: nothing is traced.
    pub tracer: Option<Tracer>,
    /// Where limits are shared with other replicas; none: they are not.
    pub shared: Option<Arc<Shared>>,
}

/// Why a configuration can't run on this host.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Connections can't be made as configured.
    #[error(transparent)]
    Egress(#[from] EgressError),
    /// An upstream's URL.
    #[error("upstream: {0}")]
    Upstream(#[from] BadOrigin),
    /// An app's credential is missing.
    #[error("app {app} names credential {credential}, which is not configured")]
    Credential {
        /// Which app.
        app: String,
        /// Which credential.
        credential: String,
    },
}

/// What the log of requests is like.
#[derive(Debug, Clone, Copy)]
pub struct AccessLog {
    /// Whether there is one.
    pub on: bool,
    /// Whether phone numbers in it are masked.
    pub mask_numbers: bool,
}

impl Running {
    /// Works the settings out. Follows the upstreams' names on the current tokio runtime.
    ///
    /// # Errors
    /// A source IP is not this host's, a CA bundle can't be read, or a name stands for nothing.
    pub fn new(
        settings: Settings,
        log: AccessLog,
        slots: &Slots,
        rooms: Rooms,
    ) -> Result<Arc<Self>, StartError> {
        let connector = Connector::new(&settings.egress)?;
        Ok(Arc::new(Self {
            nobody: App::nobody(slots.of(super::app::NOBODY)),
            apps: apps(&settings, slots, rooms.shared.as_ref(), &[])?,
            global: GlobalLimit::shared(settings.limits.global, rooms.shared.as_ref()),
            in_flight: InFlight::new(settings.upstream.max_in_flight),
            storing: Arc::new(InFlight::new(usize::MAX)),
            budget: Arc::default(),
            clock: Arc::default(),
            api: Arc::new(Upstream::new(settings.upstream.base_url.clone(), &connector, None)?),
            recordings: Arc::new(Upstream::new(settings.upstream.recordings_url.clone(), &connector, None)?),
            sources: Arc::new(Sources::new(connector.sources().to_vec())),
            connector,
            rooms,
            spools: Room::new(settings.limits.max_body_bytes),
            copies: Room::of(COPIES_BYTES),
            digests: Room::of(numbers::MAX_BYTES),
            log_access: log.on,
            mask_numbers: log.mask_numbers,
            draining: Arc::default(),
            settings,
        }))
    }

    /// Works other settings out. What is known and counted goes on from here, wherever that has not changed:
    /// what is under way, limits, circuits, addresses, the SaaS's clock.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn changed(
        &self,
        settings: Settings,
        log: AccessLog,
        slots: &Slots,
        team_urls: Option<Arc<dyn TeamUrls>>,
    ) -> Result<Arc<Self>, StartError> {
        let connector = self.connector.changed(&settings.egress)?;
        let same_way = connector.is_like(&self.connector);
        let upstream = |origin: &Origin, known: &Arc<Upstream>| -> Result<_, BadOrigin> {
            if same_way && known.origin == *origin {
                return Ok(Arc::clone(known));
            }
            Upstream::new(origin.clone(), &connector, Some(known)).map(Arc::new)
        };
        let same_room = settings.limits.max_body_bytes == self.settings.limits.max_body_bytes;
        Ok(Arc::new(Self {
            nobody: App::nobody(slots.of(super::app::NOBODY)),
            apps: apps(&settings, slots, self.rooms.shared.as_ref(), &self.apps)?,
            global: GlobalLimit::shared(settings.limits.global, self.rooms.shared.as_ref())
                .after(&self.global),
            in_flight: self.in_flight.at_most(settings.upstream.max_in_flight),
            storing: Arc::clone(&self.storing),
            budget: Arc::clone(&self.budget),
            clock: Arc::clone(&self.clock),
            api: upstream(&settings.upstream.base_url, &self.api)?,
            recordings: upstream(&settings.upstream.recordings_url, &self.recordings)?,
            sources: if same_way {
                Arc::clone(&self.sources)
            } else {
                Arc::new(Sources::new(connector.sources().to_vec()))
            },
            connector,
            rooms: Rooms { team_urls, ..self.rooms.clone() },
            copies: self.copies.clone(),
            digests: self.digests.clone(),
            spools: if same_room { self.spools.clone() } else { Room::new(settings.limits.max_body_bytes) },
            log_access: log.on,
            mask_numbers: log.mask_numbers,
            draining: Arc::clone(&self.draining),
            settings,
        }))
    }

    /// From now on requests are refused.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether requests are refused because the process is about to end.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// How the Redis stands that limits are shared through, if they are.
    pub fn shared(&self) -> Option<SharedStatus> {
        self.rooms.shared.as_ref().map(|shared| shared.status())
    }

    /// The gauges as they stand.
    pub fn gauges(&self, workers: &[Arc<Worker>]) -> Vec<Reading> {
        let mut readings =
            vec![Reading { metric: Gauge::ClockSkew, labels: Vec::new(), value: self.clock.skew_seconds() }];
        readings.extend(self.apps.iter().map(|app| Reading {
            metric: Gauge::InFlight,
            labels: vec![("app", app.name.clone())],
            value: app.in_flight.now() as f64,
        }));
        for (app, priority) in self.apps.iter().flat_map(|app| Priority::ALL.map(|priority| (app, priority)))
        {
            readings.push(Reading {
                metric: Gauge::Waiting,
                labels: vec![("app", app.name.clone()), ("priority", priority.name().to_owned())],
                value: self.global.waiting(app.slot, priority) as f64,
            });
        }
        let global = self.global.status();
        readings.extend([("configured", global.configured), ("allowed", global.allowed)].map(
            |(kind, value)| Reading {
                metric: Gauge::GlobalRate,
                labels: vec![("kind", kind.to_owned())],
                value,
            },
        ));
        readings.extend([("api", &self.api), ("recordings", &self.recordings)].map(|(name, upstream)| {
            Reading {
                metric: Gauge::OpenCircuits,
                labels: vec![("upstream", name.to_owned())],
                value: upstream.open_circuits().len() as f64,
            }
        }));
        for (at, address) in self.sources.addresses().iter().enumerate() {
            let source = address.map_or_else(|| "any".to_owned(), |address| address.to_string());
            readings.push(Reading {
                metric: Gauge::SourceAside,
                labels: vec![("source_ip", source.clone())],
                value: f64::from(u8::from(self.sources.is_aside(at))),
            });
            let (open, idle) = workers
                .iter()
                .map(|worker| worker.connections(at))
                .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
            readings.extend([("idle", idle), ("active", open.saturating_sub(idle))].map(|(state, count)| {
                Reading {
                    metric: Gauge::Connections,
                    labels: vec![("source_ip", source.clone()), ("state", state.to_owned())],
                    value: count as f64,
                }
            }));
        }
        readings
    }
}

/// The apps as they run; what is counted of those that were there `before` goes on.
fn apps(
    settings: &Settings,
    slots: &Slots,
    shared: Option<&Arc<Shared>>,
    before: &[App],
) -> Result<Vec<App>, StartError> {
    let before: HashMap<&str, &App> = before.iter().map(|app| (app.name.as_str(), app)).collect();
    let apps = settings.apps.iter().map(|app| {
        let credential = settings.credentials.get(&app.credential).ok_or_else(|| StartError::Credential {
            app: app.name.clone(),
            credential: app.credential.clone(),
        })?;
        let before = before.get(app.name.as_str()).copied();
        Ok(App::new(app, credential.clone(), slots.of(&app.name), shared, before))
    });
    apps.collect()
}
