//! What operators see of the configuration, and what they must show for it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use secrecy::SecretString;
use serde_json::Value;

use super::outcome::{Outcome, Told, Trigger};
use crate::config::Config;

/// What there is to see.
pub(in crate::app) struct Shown {
    config: ArcSwap<Value>,
    token: ArcSwapOption<SecretString>,
    loaded: ArcSwap<Told>,
    last: ArcSwap<Told>,
    /// By outcome.
    counts: [AtomicU64; Outcome::NAMES.len()],
}

impl Shown {
    /// Of a process that begins with `config`.
    pub(in crate::app) fn new(config: &Config) -> Arc<Self> {
        let outcome = Outcome::Ok { warnings: Vec::new(), restart: Vec::new() };
        let start = Arc::new(Told::new(Trigger::Start, outcome));
        Arc::new(Self {
            config: ArcSwap::from_pointee(config.redacted.clone()),
            token: ArcSwapOption::from(config.admin.token.clone().map(Arc::new)),
            loaded: ArcSwap::new(Arc::clone(&start)),
            last: ArcSwap::new(start),
            counts: Default::default(),
        })
    }

    /// `config` is what runs.
    pub(super) fn config(&self, config: &Config) {
        self.config.store(Arc::new(config.redacted.clone()));
        self.token.store(config.admin.token.clone().map(Arc::new));
    }

    /// A reload is over.
    pub(super) fn tell(&self, told: Arc<Told>) {
        self.counts[told.outcome.at()].fetch_add(1, Ordering::Relaxed);
        if let Outcome::Ok { .. } = told.outcome {
            self.loaded.store(Arc::clone(&told));
        }
        self.last.store(told);
    }

    /// The running configuration, secrets as `***`.
    pub(in crate::app) fn running(&self) -> Value {
        Value::clone(&self.config.load())
    }

    /// What operators must show.
    pub(in crate::app) fn token(&self) -> Option<Arc<SecretString>> {
        self.token.load_full()
    }

    /// The last outcome, and since when what runs does.
    pub(in crate::app) fn status(&self) -> Value {
        let (last, loaded) = (self.last.load(), self.loaded.load().json());
        let mut status = last.json();
        status["loaded_at"] = loaded["at"].clone();
        // A failed one leaves what the last good one asked for.
        status["restart_needed"] = loaded["restart_needed"].clone();
        status
    }

    /// Whether what runs is what the file says, for the readiness check: a broken file changes nothing.
    pub(in crate::app) fn detail(&self) -> String {
        let last = self.last.load();
        match &last.outcome {
            Outcome::Ok { .. } => "valid".into(),
            Outcome::Invalid(_) | Outcome::Failed(_) => {
                format!("valid; the file's change is not taken up ({}): see /api/v1/status", last.name())
            }
        }
    }
}

/// `xinyao_config_reloads_total`
pub(in crate::app) struct Metrics(pub(in crate::app) Arc<Shown>);

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let help = "Reloads of the configuration";
        let mut family =
            encoder.encode_descriptor("xinyao_config_reloads", help, None, MetricType::Counter)?;
        for (name, count) in Outcome::NAMES.into_iter().zip(&self.0.counts) {
            let count = ConstCounter::new(count.load(Ordering::Relaxed));
            count.encode(family.encode_family(&[("outcome", name)])?)?;
        }
        Ok(())
    }
}
