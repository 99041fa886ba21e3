//! Another configuration takes the place of the one that runs: the file is read again, checked whole and worked
//! out, and only then taken up, all of it or nothing. Requests, callbacks and deliveries that are under way end as
//! they began.

mod files;
mod fixed;
mod outcome;
mod shown;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, bail};
use tokio::sync::{Mutex, watch};

use super::hub::Door;
use super::rotation::Rotation;
use super::team_urls::Addresses;
use crate::config::{Config, Loaded, Source};
use crate::net::listen::{Drain, Live};
use crate::proxy::{AccessLog, NextCredential, Prepared, Proxy};
use crate::telemetry;

pub(super) use self::files::watch;
pub(super) use self::outcome::Trigger;
use self::outcome::{Outcome, Told};
pub(super) use self::shown::{Metrics, Shown};

/// What a configuration is taken up by.
pub(super) struct Parts {
    pub(super) proxy: Arc<Proxy>,
    pub(super) addresses: Arc<Addresses>,
    /// The callbacks listener.
    pub(super) door: Door,
    /// The proxy listener.
    pub(super) listen: Live,
    /// The operators' listener.
    pub(super) admin: Live,
    /// Whether phone numbers are masked in what operators are shown.
    pub(super) mask_numbers: Arc<AtomicBool>,
    pub(super) draining: Drain,
}

/// Reloads, one at a time.
pub(super) struct Reloads {
    parts: Parts,
    /// Where the configuration came from; none: it was made, and stays.
    source: Option<Source>,
    running: Mutex<Config>,
    shown: Arc<Shown>,
    rotation: Arc<Rotation>,
    /// Says that another configuration runs.
    changed: watch::Sender<()>,
}

impl fmt::Debug for Reloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloads").finish_non_exhaustive()
    }
}

impl Reloads {
    /// Of `running`, which is what `parts` run.
    pub(super) fn new(parts: Parts, running: Config, source: Option<Source>, shown: Arc<Shown>) -> Arc<Self> {
        let rotation = Arc::default();
        let changed = watch::Sender::new(());
        Arc::new(Self { parts, source, running: Mutex::new(running), shown, rotation, changed })
    }

    /// How the credentials stand that are to take over.
    pub(super) fn rotation(&self) -> &Arc<Rotation> {
        &self.rotation
    }

    /// Tells when another configuration runs.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Credentials that are still to be proven, as the proxy goes about it.
    pub(super) async fn unproven(&self) -> (Arc<Proxy>, Vec<(String, NextCredential)>) {
        let running = self.running.lock().await;
        (Arc::clone(&self.parts.proxy), self.rotation.unproven(&running.proxy))
    }

    /// Has those sign that are proven.
    ///
    /// # Errors
    /// The configuration can't be worked out again, or the end has begun.
    pub(super) async fn adopt(&self) -> anyhow::Result<()> {
        let mut running = self.running.lock().await;
        if self.parts.draining.is_started() {
            bail!("the gateway is shutting down");
        }
        let mut config = running.clone();
        self.rotation.apply(&mut config.proxy);
        let prepared = self.prepare(&config).await?;
        self.parts.proxy.take_up(prepared);
        *running = config;
        Ok(())
    }

    /// Reads the file again and takes it up, to its end whether or not this is waited for.
    pub(super) async fn reload(self: &Arc<Self>, trigger: Trigger) -> Arc<Told> {
        let reloads = Arc::clone(self);
        let reloading = tokio::spawn(async move { reloads.run(trigger).await });
        match reloading.await {
            Ok(told) => told,
            Err(error) => Arc::new(Told::new(trigger, Outcome::Failed(format!("it broke off: {error}")))),
        }
    }

    /// Waits for one that is under way. Once draining has begun, no other is taken up.
    pub(super) async fn settled(&self) {
        drop(self.running.lock().await);
    }

    async fn run(&self, trigger: Trigger) -> Arc<Told> {
        let mut running = self.running.lock().await;
        let began = Instant::now();
        let outcome = self.outcome(&mut running).await;
        let told = Arc::new(Told { took: began.elapsed(), ..Told::new(trigger, outcome) });
        told.log();
        self.shown.tell(Arc::clone(&told));
        told
    }

    async fn outcome(&self, running: &mut Config) -> Outcome {
        let Some(source) = self.source.clone() else {
            return Outcome::Failed("the gateway was not started from a file".into());
        };
        if self.parts.draining.is_started() {
            return Outcome::Failed("the gateway is shutting down".into());
        }
        // Another thread's work: this one serves operators meanwhile.
        let Loaded { mut config, warnings } = match tokio::task::spawn_blocking(move || source.load()).await {
            Ok(Ok(loaded)) => loaded,
            Ok(Err(faults)) => return Outcome::Invalid(faults),
            Err(error) => return Outcome::Failed(format!("the file could not be read: {error}")),
        };
        let restart = fixed::keep(&mut config, running);
        self.rotation.apply(&mut config.proxy);
        let taking_up = async {
            fixed::guard(&config)?;
            self.take_up(&config, running).await
        };
        if let Err(error) = taking_up.await {
            return Outcome::Failed(format!("{error:#}"));
        }
        self.shown.config(&config);
        self.rotation.forget(&config.proxy);
        *running = config;
        self.changed.send_replace(());
        Outcome::Ok { warnings, restart }
    }

    /// Whatever can fail comes first.
    async fn take_up(&self, config: &Config, running: &Config) -> anyhow::Result<()> {
        let parts = &self.parts;
        let mask_numbers = config.log.mask_numbers;
        let proxy = self.prepare(config).await?;
        let intake = parts.door.prepare(&config.hub, mask_numbers)?;
        parts.addresses.change(&config.hub)?;
        parts.proxy.take_up(proxy);
        parts.door.take_up(&config.hub, intake);
        parts.listen.change(config.proxy.listen.clone());
        parts.admin.change(super::admin::listen(config));
        parts.mask_numbers.store(mask_numbers, Ordering::Relaxed);
        if config.log != running.log {
            telemetry::log::change(config.log);
        }
        Ok(())
    }

    async fn prepare(&self, config: &Config) -> anyhow::Result<Prepared> {
        let log = AccessLog { on: config.log.access, mask_numbers: config.log.mask_numbers };
        let team_urls = self.parts.addresses.replacing(&config.hub);
        let prepared = self.parts.proxy.prepare(config.proxy.clone(), log, team_urls).await;
        prepared.context("requests can't be sent as configured")
    }
}
