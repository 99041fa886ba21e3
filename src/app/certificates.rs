//! The listeners' certificates: read before anything is served, watched, and shown to operators.

use std::fmt;
use std::sync::Arc;

use anyhow::Context;
use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use serde_json::{Value, json};

use crate::config::Config;
use crate::net::TlsSettings;
use crate::net::listen::Tls;

/// What the listeners show to their clients, where they speak TLS.
#[derive(Debug)]
pub struct Certificates {
    /// For the proxy listener.
    pub proxy: Option<Arc<Tls>>,
    /// For the callbacks listener.
    pub callbacks: Option<Arc<Tls>>,
}

impl Certificates {
    /// Reads what `config` names.
    ///
    /// # Errors
    /// A file can't be read or used, or the key is another certificate's.
    pub fn load(config: &Config) -> anyhow::Result<Self> {
        let load = |listener: &'static str, settings: Option<&TlsSettings>| {
            let loaded = settings.map(|settings| Tls::load(listener, settings)).transpose();
            loaded.with_context(|| format!("listen.{listener}_tls"))
        };
        Ok(Self {
            proxy: load("proxy", config.proxy.listen.tls.as_ref())?,
            callbacks: load("callbacks", config.hub.listen.tls.as_ref())?,
        })
    }

    /// Each, with the days that are left of it; none or less: it has run out.
    pub fn days_left(&self) -> impl Iterator<Item = (&'static str, i64)> {
        self.all().map(|tls| (tls.listener, seconds_left(tls.standing().not_after).div_euclid(24 * 60 * 60)))
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Tls>> {
        [&self.proxy, &self.callbacks].into_iter().flatten()
    }

    /// Takes them up whenever their files change; does not end.
    pub(super) async fn watch(self: Arc<Self>) {
        for (listener, days) in self.days_left().filter(|(_, days)| *days < SOON_DAYS) {
            tracing::warn!(listener, days, "the certificate is about to run out, or has");
        }
        futures_util::future::join_all(self.all().map(Tls::watch)).await;
        // None of them ends; where there is none, this does not either.
        std::future::pending::<()>().await;
    }

    /// How they stand, for operators.
    pub(super) fn status(&self) -> Value {
        let one = |tls: &Arc<Tls>| {
            let standing = tls.standing();
            let expires_at = Timestamp::from_second(standing.not_after).ok().map(|at| at.to_string());
            json!({ "listener": tls.listener, "expires_at": expires_at, "error": standing.error })
        };
        self.all().map(one).collect()
    }
}

/// With fewer days left, a certificate is warned of.
pub const SOON_DAYS: i64 = 14;

fn seconds_left(not_after: i64) -> i64 {
    not_after.saturating_sub(Timestamp::now().as_second())
}

/// [`Certificates`], for a scrape.
#[derive(Debug)]
pub(super) struct Metrics(pub(super) Arc<Certificates>);

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (name, help) =
            ("xinyao_certificate_expiry_seconds", "How long a listener's certificate is still valid");
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for tls in self.0.all() {
            let left = ConstGauge::new(seconds_left(tls.standing().not_after));
            left.encode(family.encode_family(&[("listener", tls.listener)])?)?;
        }
        let (name, help) =
            ("xinyao_certificate_reloads", "Changes of a listener's certificate files, by what came of it");
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for tls in self.0.all() {
            let standing = tls.standing();
            for (outcome, count) in [("ok", standing.taken_up), ("failed", standing.refused)] {
                let labels = [("listener", tls.listener), ("outcome", outcome)];
                ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
        let (name, help) = ("xinyao_tls_handshakes_failed", "TLS handshakes of clients that came to nothing");
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for tls in self.0.all() {
            let failed = ConstCounter::new(tls.failed_handshakes());
            failed.encode(family.encode_family(&[("listener", tls.listener)])?)?;
        }
        Ok(())
    }
}
