//! What the operators' listener is given to show.

use std::sync::Arc;
use std::time::Instant;

use http::Response;
use hyper_util::service::TowerToHyperService;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};

use crate::admin::{self, Check, Views};
use crate::net::listen::{self, Drain, Rejected};
use crate::net::{ListenSettings, Networks};
use crate::proxy::Proxy;
use crate::telemetry::process::Process;

/// What there is to show.
pub(super) struct Parts {
    pub(super) proxy: Arc<Proxy>,
    pub(super) draining: Drain,
    pub(super) config: Value,
    pub(super) started: Instant,
}

/// Serves operators until told to stop.
pub(super) async fn serve(
    listener: std::net::TcpListener,
    parts: Parts,
    settings: admin::Settings,
    like: ListenSettings,
    drain: Drain,
) {
    let listen = ListenSettings {
        address: settings.address,
        trusted_proxies: Networks::default(),
        proxy_protocol: false,
        ..like
    };
    let router = admin::router(views(parts), settings.token);
    let service = move |_| TowerToHyperService::new(router.clone());
    listen::serve(listener, &listen, reject, service, drain).await;
}

fn views(parts: Parts) -> Views {
    let Parts { proxy, draining, config, started } = parts;
    let mut metrics = Registry::default();
    metrics.register_collector(Box::new(proxy.metrics()));
    metrics.register_collector(Box::new(Process::new()));
    Views {
        metrics,
        status: Box::new(move || {
            let mut status = json!({
                "version": env!("CARGO_PKG_VERSION"),
                "uptime_seconds": started.elapsed().as_secs(),
                "config": { "outcome": "ok" },
            });
            if let (Some(status), Ok(Value::Object(proxy))) =
                (status.as_object_mut(), serde_json::to_value(proxy.status()))
            {
                status.extend(proxy);
            }
            status
        }),
        checks: Box::new(move || {
            let stopping = draining.is_started();
            vec![
                Check { name: "config", ok: true, detail: "valid".into() },
                Check {
                    name: "draining",
                    ok: !stopping,
                    detail: if stopping { "shutting down" } else { "no" }.into(),
                },
            ]
        }),
        config: Box::new(move || config.clone()),
        openapi: admin::openapi::document(),
        operations: None,
    }
}

fn reject(rejected: Rejected) -> Response<bytes::Bytes> {
    crate::proxy::reject(rejected)
}
