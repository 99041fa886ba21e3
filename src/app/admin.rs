//! What the operators' listener is given to show.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use http::{Response, StatusCode};
use hyper_util::service::TowerToHyperService;
use prometheus_client::collector::Collector;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};

use super::certificates::{self, Certificates};
use super::figures::{self, Checks, Figures};
use super::history::Gauges;
use super::reload::{self, Reloads, Shown, Trigger};
use super::rotation;
use super::store::Degraded;
use super::subscribers::Served;
use super::team_urls::Addresses;
use crate::admin::{self, Check, History, Operations, Problem, Views};
use crate::config::Config;
use crate::hub;
use crate::hub::dispatch::{self, Dispatch};
use crate::ledger;
use crate::net::listen::{self, Drain, Live, Peer, Rejected};
use crate::net::{ListenSettings, Networks};
use crate::proxy::{Proxy, Shared, SharedMetrics};
use crate::store::Store;
use crate::telemetry::process::Process;
use crate::telemetry::trace;

/// What there is to show.
pub(super) struct Parts {
    pub(super) proxy: Arc<Proxy>,
    pub(super) hub: hub::Metrics,
    pub(super) dispatch: Arc<Dispatch>,
    /// What the ledger counts.
    pub(super) batches: Arc<ledger::Figures>,
    /// The subscribers, and the addresses that apps named.
    pub(super) addresses: Arc<Addresses>,
    /// What there is to see of the configuration.
    pub(super) shown: Arc<Shown>,
    pub(super) reloads: Arc<Reloads>,
    pub(super) store: Arc<dyn Store>,
    /// Where the store is on disk, if it is.
    pub(super) store_path: Option<PathBuf>,
    /// What the store counts of itself.
    pub(super) store_metrics: Vec<Box<dyn Collector>>,
    /// What is amiss with the store while it takes events in all the same.
    pub(super) degraded: Option<Degraded>,
    /// What became of spans, if there are any.
    pub(super) spans: Option<trace::Metrics>,
    /// Where limits are shared, if they are.
    pub(super) shared: Option<Arc<Shared>>,
    /// The listeners' certificates.
    pub(super) certificates: Arc<Certificates>,
    pub(super) draining: Drain,
    pub(super) mask_numbers: Arc<AtomicBool>,
    pub(super) started: Instant,
}

/// What holds for operators' connections: the limits of apps', but nobody stands between.
pub(super) fn listen(config: &Config) -> ListenSettings {
    ListenSettings {
        address: config.admin.address,
        trusted_proxies: Networks::default(),
        proxy_protocol: false,
        tls: None,
        ..config.proxy.listen.clone()
    }
}

/// Serves operators until told to stop.
pub(super) async fn serve(listener: std::net::TcpListener, parts: Parts, settings: Live, drain: Drain) {
    let watching = Arc::clone(&parts.certificates).watch();
    let figures = Arc::new(Figures::of(parts.store_path.clone()));
    let keeping = figures.keep(Arc::clone(&parts.store));
    let gauges = Gauges {
        proxy: Arc::clone(&parts.proxy),
        counts: parts.proxy.metrics(),
        hub: parts.hub.clone(),
        dispatch: Arc::clone(&parts.dispatch),
    };
    let history = Arc::new(History::new(gauges.read(), Instant::now()));
    let router = admin::router(views(parts, &figures, Arc::clone(&history)));
    let service = move |_| TowerToHyperService::new(router.clone());
    tokio::select! {
        () = listen::serve(listener, settings, reject, service, drain) => {}
        () = keeping => {}
        () = watching => {}
        () = gauges.keep(history) => {}
    }
}

fn views(parts: Parts, figures: &Arc<Figures>, history: Arc<History>) -> Views {
    let checks: Checks = {
        let (store, draining) = (Arc::clone(&parts.store), parts.draining.clone());
        let shown = Arc::clone(&parts.shown);
        let degraded = parts.degraded.clone();
        Arc::new(move || checks(&*store, degraded.as_deref(), &draining, shown.detail()))
    };
    let mut metrics = Registry::default();
    metrics.register_collector(Box::new(parts.proxy.metrics()));
    metrics.register_collector(Box::new(Process::new()));
    metrics.register_collector(Box::new(parts.hub));
    metrics.register_collector(Box::new(ledger::Metrics(Arc::clone(&parts.batches))));
    metrics.register_collector(Box::new(dispatch::Metrics(Arc::clone(&parts.dispatch))));
    metrics.register_collector(Box::new(certificates::Metrics(Arc::clone(&parts.certificates))));
    for collector in parts.store_metrics {
        metrics.register_collector(collector);
    }
    if let Some(shared) = parts.shared {
        metrics.register_collector(Box::new(SharedMetrics(shared)));
    }
    if let Some(spans) = parts.spans {
        metrics.register_collector(Box::new(spans));
    }
    metrics.register_collector(Box::new(figures::Metrics {
        figures: Arc::clone(figures),
        checks: Arc::clone(&checks),
    }));
    metrics.register_collector(Box::new(reload::Metrics(Arc::clone(&parts.shown))));
    let rotation = Arc::clone(parts.reloads.rotation());
    metrics.register_collector(Box::new(rotation::Metrics(Arc::clone(&rotation))));
    let (apps, counts) = (Arc::clone(&parts.proxy), parts.proxy.metrics());
    let Parts { proxy, store, shown, reloads, started, batches, certificates, .. } = parts;
    let (loaded, running) = (Arc::clone(&shown), Arc::clone(&shown));
    let operations = Operations {
        query: Arc::clone(&store) as _,
        operate: Arc::clone(&store) as _,
        once: Arc::clone(&store) as _,
        ledger: Arc::clone(&store) as _,
        cluster: Arc::clone(&store) as _,
        missing: super::ledger::find_missing(&store),
        quiet_after: ledger::QUIET_AFTER,
        subscribers: Arc::new(Served { dispatch: parts.dispatch, addresses: parts.addresses }),
        mask_numbers: parts.mask_numbers,
    };
    Views {
        metrics,
        status: Box::new(move || {
            let mut status = json!({
                "version": env!("CARGO_PKG_VERSION"),
                "uptime_seconds": started.elapsed().as_secs(),
                "config": loaded.status(),
                "credentials": rotation.shown(),
                "certificates": certificates.status(),
                "batches": { "quiet": batches.quiet() },
            });
            if let (Some(status), Ok(Value::Object(proxy))) =
                (status.as_object_mut(), serde_json::to_value(proxy.status()))
            {
                status.extend(proxy);
            }
            status
        }),
        checks: Box::new(move || checks()),
        apps: Box::new(move || json!(apps.apps(&counts))),
        history,
        config: Box::new(move || running.running()),
        reload: Box::new(move || {
            let reloads = Arc::clone(&reloads);
            Box::pin(async move { reloads.reload(Trigger::Api).await.answer() })
        }),
        token: Box::new(move || shown.token()),
        openapi: admin::openapi::document(),
        operations: Some(operations),
    }
}

/// What must hold for requests to be taken, and whether it does.
fn checks(
    store: &dyn Store,
    degraded: Option<&(dyn Fn() -> Option<String> + Send + Sync)>,
    draining: &Drain,
    config: String,
) -> Vec<Check> {
    let stopping = draining.is_started();
    let writable = store.writable();
    let degraded = degraded.and_then(|degraded| degraded());
    vec![
        Check { name: "config", ok: true, detail: config },
        Check {
            name: "draining",
            ok: !stopping,
            detail: if stopping { "shutting down" } else { "no" }.into(),
        },
        Check {
            name: "store",
            ok: writable.is_ok(),
            detail: match (&writable, degraded) {
                (Ok(()), None) => "writable".to_owned(),
                (Ok(()), Some(degraded)) => format!("degraded: {degraded}"),
                (Err(error), _) => error.to_string(),
            },
        },
    ]
}

/// The answer to what is no request.
pub(super) fn reject(rejected: Rejected, _: Peer) -> Response<bytes::Bytes> {
    let (status, detail) = match rejected {
        Rejected::HeadTooSlow => (StatusCode::REQUEST_TIMEOUT, "the request's head took too long to come"),
        Rejected::HeadTooLarge => (
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "the request has too many header fields, or too long ones",
        ),
        Rejected::TargetTooLong => (StatusCode::URI_TOO_LONG, "the request's target is too long"),
        Rejected::Malformed => {
            (StatusCode::BAD_REQUEST, "the request is not well-formed HTTP/1.1, or its framing is ambiguous")
        }
    };
    Problem::new(status, detail).whole()
}
