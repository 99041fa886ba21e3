//! The hub's thread: callbacks come in and deliveries go out on a runtime of their own, so that they and the
//! proxy's requests do not wait for each other.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use anyhow::Context;
use arc_swap::ArcSwap;
use tokio::sync::oneshot;

use super::GRACE;
use super::team_urls::Addresses;
use crate::hub::dispatch::{Dispatch, Parts};
use crate::hub::schedule::{Clock, HostClock};
use crate::hub::{self, BadUrl, Connection, Intake, Settings};
use crate::net::client::Client;
use crate::net::listen::{self, Drain, Listening, Live};
use crate::store::Store;
use crate::telemetry::trace::Tracer;

/// How often the store's figures are read for the metrics.
const REFRESH: Duration = Duration::from_secs(5);

/// How long deliveries may take to finish while the next process waits for the store, and all that call wait for it.
const GRACE_BEFORE_NEXT: Duration = Duration::from_secs(2);

/// The thread, and what the operators' listener shows of it.
#[derive(Debug)]
pub(super) struct Hub {
    /// What is counted of callbacks.
    pub(super) metrics: hub::Metrics,
    /// The subscribers' loops.
    pub(super) dispatch: Arc<Dispatch>,
    /// Where another intake can take its place.
    pub(super) door: Door,
    /// Closed when listener, connections and deliveries have ended.
    ended: oneshot::Receiver<()>,
    /// Dropped to have the thread end at once.
    _cut: oneshot::Sender<()>,
}

impl Hub {
    /// Begins to take callbacks in from `listening`, and to deliver.
    pub(super) fn start(
        listening: Listening,
        settings: Settings,
        store: &Arc<dyn Store>,
        mask_numbers: bool,
        drain: Drain,
        addresses: &Addresses,
        tracer: Option<Tracer>,
    ) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = Client::new()?;
        let clock: Arc<dyn Clock> = Arc::new(HostClock);
        let (intake, keeping) = Intake::new(
            &settings,
            Arc::clone(store) as _,
            &client,
            Arc::clone(&clock),
            mask_numbers,
            tracer.clone(),
        )?;
        let metrics = intake.metrics();
        let (log, progress, query) = (Arc::clone(store) as _, Arc::clone(store) as _, Arc::clone(store) as _);
        let parts = Parts { log, progress, query, clock, client, tracer };
        let dispatch = {
            let _here = runtime.enter();
            Dispatch::start(parts)
        };
        addresses.serve(&dispatch)?;
        let (intake, listen) = (Arc::new(ArcSwap::new(intake)), Live::new(settings.listen));
        let door = Door { intake: Arc::downgrade(&intake), listen: listen.clone() };
        let (cut, cut_off) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let delivering = Arc::clone(&dispatch);
        let serving = async move {
            tokio::spawn(refresh(Arc::clone(&delivering)));
            let keeping = tokio::spawn(keeping);
            let taking = async {
                let service = move |peer| Connection::new(Arc::clone(&intake), peer);
                listen::serve(listening, listen, hub::reject, service, drain.clone()).await;
                // With the last connection the intake is gone, and with it what its copies wait for.
                drop(keeping.await);
            };
            let delivering = async {
                drain.started().await;
                let grace = if drain.leaves_sockets() { GRACE_BEFORE_NEXT } else { GRACE };
                delivering.stop(grace).await;
            };
            tokio::join!(taking, delivering);
        };
        std::thread::Builder::new()
            .name("hub".into())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = serving => {}
                        _ = cut_off => tracing::warn!("callbacks or deliveries under way were cut off"),
                    }
                });
                drop(end);
            })
            .context("cannot start the hub's thread")?;
        Ok(Self { metrics, dispatch, door, ended, _cut: cut })
    }

    /// Waits until all has ended, at most until then.
    pub(super) async fn ended(mut self, until: Instant) {
        // It is never sent anything: the thread drops its end.
        if tokio::time::timeout_at(until.into(), &mut self.ended).await.is_err() {
            tracing::warn!("not every callback or delivery finished in time");
        }
    }
}

/// Where callbacks come in. It holds nothing: the last connection takes the intake with it.
#[derive(Debug, Clone)]
pub(super) struct Door {
    intake: Weak<ArcSwap<Intake>>,
    listen: Live,
}

impl Door {
    /// An intake as other settings say; `None` once the listener has ended.
    ///
    /// # Errors
    /// A responder's URL is none.
    pub(super) fn prepare(
        &self,
        settings: &Settings,
        mask_numbers: bool,
    ) -> Result<Option<Arc<Intake>>, BadUrl> {
        let intake = self.intake.upgrade();
        intake.map(|intake| intake.load().changed(settings, mask_numbers)).transpose()
    }

    /// Has callbacks that come from now on taken in by `intake`.
    pub(super) fn take_up(&self, settings: &Settings, intake: Option<Arc<Intake>>) {
        if let (Some(place), Some(intake)) = (self.intake.upgrade(), intake) {
            place.store(intake);
        }
        self.listen.change(settings.listen.clone());
    }
}

async fn refresh(dispatch: Arc<Dispatch>) {
    let mut ticks = tokio::time::interval(REFRESH);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = dispatch.refresh().await {
            tracing::warn!(%error, "the store does not tell how subscribers stand");
        }
    }
}
