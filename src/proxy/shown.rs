//! Apps as operators see them.

use serde::Serialize;

use super::app::App;
use super::global::GlobalStatus;
use super::handle::Proxy;
use super::limits::{LimitStatus, names};
use super::metrics::{Endings, Metrics};
use super::running::Running;
use super::settings::{AppSettings, Checks, Priority};
use super::shared::SharedStatus;

/// Who may call, and how much of what they may is used.
#[derive(Debug, Clone, Serialize)]
pub struct AppsStatus {
    /// The apps, in the order in which they are configured.
    pub apps: Vec<AppStatus>,
    /// The limit of all of them together.
    pub global: GlobalStatus,
    /// The Redis that limits are shared through, if they are.
    pub shared: Option<SharedStatus>,
}

/// One app.
#[derive(Debug, Clone, Serialize)]
pub struct AppStatus {
    /// Its name.
    pub name: String,
    /// Where it calls from.
    pub networks: Vec<String>,
    /// Whether it must show a token.
    pub token: bool,
    /// Which credential signs for it.
    pub credential: String,
    /// Tenants it may act for; empty: any.
    pub app_ids: Vec<String>,
    /// What it may call; `*`: everything.
    pub endpoints: Vec<&'static str>,
    /// What is done about requests that the SaaS would refuse: `off`, `report` or `enforce`.
    pub checks: &'static str,
    /// Requests under way.
    pub in_flight: usize,
    /// How many there may be.
    pub max_in_flight: usize,
    /// Its rate limits.
    pub limits: Vec<LimitStatus>,
    /// Its share when there is not enough for all.
    pub weight: u32,
    /// Requests that wait for their turn.
    pub waiting: usize,
    /// How its requests ended, since the process began.
    pub requests: Endings,
    /// How many of them a rate limit refused.
    pub rate_limited: u64,
}

impl Proxy {
    /// The apps, for operators.
    pub fn apps(&self, metrics: &Metrics) -> AppsStatus {
        let running = self.running();
        let counts = metrics.by_app();
        let apps = running.apps.iter().zip(&running.settings.apps).map(|(app, settings)| {
            let (requests, rate_limited) = counts.get(app.slot).copied().unwrap_or_default();
            AppStatus::of(&running, (app, settings), requests, rate_limited)
        });
        AppsStatus { apps: apps.collect(), global: running.global.status(), shared: running.shared() }
    }
}

impl AppStatus {
    fn of(
        running: &Running,
        (app, settings): (&App, &AppSettings),
        requests: Endings,
        rate_limited: u64,
    ) -> Self {
        Self {
            name: app.name.clone(),
            networks: settings.networks.iter().map(|network| network.to_string()).collect(),
            token: settings.token.is_some(),
            credential: settings.credential.clone(),
            app_ids: settings.app_ids.clone(),
            endpoints: names(app.endpoints),
            checks: match app.checks {
                Checks::Off => "off",
                Checks::Report => "report",
                Checks::Enforce => "enforce",
            },
            in_flight: app.in_flight.now(),
            max_in_flight: app.in_flight.max(),
            limits: app.limits.status(),
            weight: settings.weight,
            waiting: Priority::ALL.iter().map(|first| running.global.waiting(app.slot, *first)).sum(),
            requests,
            rate_limited,
        }
    }
}
