//! Another configuration takes the place of the one that runs: the file is read again, checked whole and worked
//! out, and only then taken up, all of it or nothing. Requests, callbacks and deliveries that are under way end as
//! they began.

mod fixed;
mod outcome;
mod shown;
mod watch;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::Context;
use tokio::sync::Mutex;

use super::hub::Door;
use super::team_urls::Addresses;
use crate::config::{Config, Loaded, Source};
use crate::net::listen::{Drain, Live};
use crate::proxy::{AccessLog, Proxy};
use crate::telemetry;

pub(super) use self::outcome::Trigger;
use self::outcome::{Outcome, Told};
pub(super) use self::shown::{Metrics, Shown};
pub(super) use self::watch::watch;

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
}

impl fmt::Debug for Reloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloads").finish_non_exhaustive()
    }
}

impl Reloads {
    /// Of `running`, which is what `parts` run.
    pub(super) fn new(parts: Parts, running: Config, source: Option<Source>, shown: Arc<Shown>) -> Arc<Self> {
        Arc::new(Self { parts, source, running: Mutex::new(running), shown })
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
        let taking_up = async {
            fixed::guard(&config)?;
            self.take_up(&config, running).await
        };
        if let Err(error) = taking_up.await {
            return Outcome::Failed(format!("{error:#}"));
        }
        self.shown.config(&config);
        *running = config;
        Outcome::Ok { warnings, restart }
    }

    /// Whatever can fail comes first.
    async fn take_up(&self, config: &Config, running: &Config) -> anyhow::Result<()> {
        let parts = &self.parts;
        let log = AccessLog { on: config.log.access, mask_numbers: config.log.mask_numbers };
        let team_urls = parts.addresses.replacing(&config.hub);
        let proxy = parts.proxy.prepare(config.proxy.clone(), log, team_urls).await;
        let proxy = proxy.context("requests can't be sent as configured")?;
        let intake = parts.door.prepare(&config.hub, log.mask_numbers)?;
        parts.addresses.change(&config.hub)?;
        parts.proxy.take_up(proxy);
        parts.door.take_up(&config.hub, intake);
        parts.listen.change(config.proxy.listen.clone());
        parts.admin.change(super::admin::listen(config));
        parts.mask_numbers.store(log.mask_numbers, Ordering::Relaxed);
        if config.log != running.log {
            telemetry::log::change(config.log);
        }
        Ok(())
    }
}
