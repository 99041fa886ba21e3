//! What is counted everywhere, read for the operators' plots.

use std::sync::Arc;
use std::time::Instant;

use tokio::time::MissedTickBehavior;

use crate::admin::{Complaint, History, Reading, STEP};
use crate::hub;
use crate::hub::dispatch::Dispatch;
use crate::proxy::{Metrics, Proxy, Traffic};

/// Where readings are taken.
pub(super) struct Gauges {
    pub(super) proxy: Arc<Proxy>,
    pub(super) counts: Metrics,
    pub(super) hub: hub::Metrics,
    pub(super) dispatch: Arc<Dispatch>,
}

impl Gauges {
    /// How everything stands.
    pub(super) fn read(&self) -> Reading {
        let (Traffic { endings, took, errors }, status) = (self.counts.traffic(), self.proxy.status());
        let (callbacks, callbacks_refused) = self.hub.totals();
        let totals = self.dispatch.totals();
        let errors = errors
            .into_iter()
            .map(|of| (Complaint { endpoint: of.endpoint, outcome: of.outcome, code: of.code }, of.count));
        Reading {
            requests: endings.named(),
            took,
            errors: errors.collect(),
            in_flight: status.in_flight,
            callbacks,
            callbacks_refused,
            delivered: totals.delivered,
            failed: totals.failed,
            backlog: totals.backlog,
            dead_letters: totals.dead,
            clock_skew_seconds: status.clock_skew_seconds,
        }
    }

    /// Takes a sample each step; does not end.
    pub(super) async fn keep(self, history: Arc<History>) {
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + STEP, STEP);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            history.take(self.read(), Instant::now());
        }
    }
}
