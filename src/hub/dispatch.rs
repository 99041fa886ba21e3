//! From the store to subscribers: a loop for each, started, changed and ended with the configuration.

mod health;
mod lane;
mod ledger;
mod metrics;
mod pace;
mod retries;
mod sample;
mod shown;
mod subscriber;
#[cfg(test)]
pub(super) mod testing;
#[cfg(test)]
mod tests;
mod wake;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};

pub use self::metrics::Metrics;
pub use self::sample::Sampled;
use self::shown::Shown;
pub use self::shown::{Failure, State};
use self::subscriber::{Rooms, Served, Subscriber};
use super::deliver::{Courier, Unusable};
use super::filter::Filter;
use super::schedule::Clock;
use super::settings::SubscriberSettings;
use crate::net::client::Client;
use crate::store::{Log, Progress, Query, StoreError, SubscriberFigures};
use crate::telemetry::trace::Tracer;
use crate::xinyao::callback::Kind;

/// What deliveries are made with.
#[derive(Clone)]
pub struct Parts {
    /// Gives events.
    pub log: Arc<dyn Log>,
    /// Keeps how far subscribers have come.
    pub progress: Arc<dyn Progress>,
    /// Tells how large backlogs are.
    pub query: Arc<dyn Query>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Sends.
    pub client: Client,
    /// Begins spans; none: nothing is traced.
    pub tracer: Option<Tracer>,
}

/// Whom to deliver to.
#[derive(Debug)]
pub struct Wanted {
    /// Each of them.
    pub subscribers: Vec<SubscriberSettings>,
    /// How they reach the proxy listener.
    pub proxy_url: String,
    /// Sends to addresses that apps named.
    pub guarded: Client,
}

/// The loops of all subscribers, and what can be known and asked of them.
pub struct Dispatch {
    parts: Parts,
    /// Where the loops run, whoever changes them.
    runtime: Handle,
    subscribers: Mutex<BTreeMap<String, Running>>,
    /// Loops that are ending; one that is put back in begins when it has ended.
    leaving: Mutex<BTreeMap<String, JoinHandle<()>>>,
    /// Figures of the store, as of the last [`refresh`](Dispatch::refresh).
    figures: Mutex<Vec<SubscriberFigures>>,
}

/// What a subscriber's settings come to.
struct Made {
    served: Arc<Served>,
    courier: Courier,
    proxy_url: String,
    client: Client,
}

/// A subscriber's loop.
struct Running {
    made: Made,
    serving: watch::Sender<Arc<Served>>,
    shown: Arc<Shown>,
    task: JoinHandle<()>,
}

impl Running {
    /// Whether it runs, and would do nothing else under these settings.
    fn serves(&self, settings: &SubscriberSettings, proxy_url: &str, client: &Client) -> bool {
        let Made { served, proxy_url: known_url, client: known_client, .. } = &self.made;
        !self.serving.is_closed()
            && served.settings == *settings
            && known_url == proxy_url
            && known_client.is(client)
    }

    /// The same loop, which goes by other settings from now on.
    fn changed(self, made: Made) -> Self {
        self.serving.send_replace(Arc::clone(&made.served));
        Self { made, ..self }
    }
}

/// How a subscriber's deliveries stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Whether they go on.
    pub state: State,
    /// Deliveries under way.
    pub in_flight: usize,
    /// The last attempt that failed since the process began.
    pub last_error: Option<Failure>,
}

/// How often it is looked whether a loop has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// All subscribers together, by the last [`refresh`](Dispatch::refresh).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Deliveries done.
    pub delivered: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Deliveries not yet done.
    pub backlog: u64,
    /// Deliveries given up.
    pub dead: u64,
}

/// A subscriber that can't be served as configured.
#[derive(Debug, thiserror::Error)]
#[error("subscriber {name} can't be served")]
pub struct DispatchError {
    name: String,
    source: Unusable,
}

impl Dispatch {
    /// Ready to deliver on the current tokio runtime, to nobody yet.
    pub fn start(parts: Parts) -> Arc<Self> {
        Arc::new(Self {
            parts,
            runtime: Handle::current(),
            subscribers: Mutex::new(BTreeMap::new()),
            leaving: Mutex::new(BTreeMap::new()),
            figures: Mutex::new(Vec::new()),
        })
    }

    /// Serves these subscribers from now on: those that are new from where they begin, those that were
    /// there with what is under way undisturbed, and those that have not changed not even woken. The backlog of
    /// those that are gone stays.
    ///
    /// # Errors
    /// One of them can't be served; nothing has changed then.
    pub fn apply(&self, wanted: &Wanted) -> Result<(), DispatchError> {
        let mut running = self.running();
        let made = wanted.subscribers.iter().map(|settings| {
            let client = if settings.guarded { &wanted.guarded } else { &self.parts.client };
            match running.get(&settings.name) {
                Some(known) if known.serves(settings, &wanted.proxy_url, client) => Ok(None),
                _ => self.make(settings, &wanted.proxy_url, client).map(Some),
            }
        });
        let made = made.collect::<Result<Vec<Option<Made>>, _>>()?;
        let mut leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        leaving.retain(|_, task| !task.is_finished());
        let mut before = std::mem::take(&mut *running);
        for (settings, made) in wanted.subscribers.iter().zip(made) {
            let one = match (before.remove(&settings.name), made) {
                (Some(known), None) => known,
                (Some(known), Some(made)) if !known.serving.is_closed() => known.changed(made),
                (_, Some(made)) => self.begin(made, leaving.remove(&settings.name)),
                // Only one that is there can be as it was.
                (None, None) => continue,
            };
            running.insert(settings.name.clone(), one);
        }
        leaving.extend(before.into_iter().map(|(name, gone)| (name, gone.task)));
        Ok(())
    }

    fn make(
        &self,
        settings: &SubscriberSettings,
        proxy_url: &str,
        client: &Client,
    ) -> Result<Made, DispatchError> {
        let courier = Courier::new(settings, proxy_url, client.clone(), Arc::clone(&self.parts.clock))
            .map_err(|source| DispatchError { name: settings.name.clone(), source })?
            .traced(&settings.name, self.parts.tracer.as_ref());
        let (carrier, filter) = (Arc::new(courier.clone()), Filter::new(&settings.filter));
        let served = Arc::new(Served { settings: settings.clone(), filter, carrier });
        Ok(Made { served, courier, proxy_url: proxy_url.to_owned(), client: client.clone() })
    }

    fn begin(&self, made: Made, last: Option<JoinHandle<()>>) -> Running {
        let (serving, receiver) = watch::channel(Arc::clone(&made.served));
        let shown = Arc::new(Shown::default());
        let Parts { log, progress, clock, .. } = self.parts.clone();
        let rooms = Rooms { log, progress, clock };
        let subscriber = Subscriber::new(receiver, rooms, Arc::clone(&shown), fastrand::u64(..));
        let task = self.runtime.spawn(async move {
            // The last loop of that name knows best where this one begins.
            if let Some(last) = last {
                drop(last.await);
            }
            subscriber.run().await;
        });
        Running { made, serving, shown, task }
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<String, Running>> {
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How a subscriber's deliveries stand; `None` when it is not configured.
    pub fn standing(&self, subscriber: &str) -> Option<Standing> {
        let running = self.running();
        let shown = &running.get(subscriber)?.shown;
        Some(Standing { state: shown.state(), in_flight: shown.in_flight(), last_error: shown.last_error() })
    }

    /// Where a subscriber's events go; `None` when it is not configured.
    pub fn url(&self, subscriber: &str) -> Option<String> {
        Some(self.running().get(subscriber)?.made.served.settings.url.clone())
    }

    /// Whether a subscriber takes events of this app and kind. Of `where` it can't be told here.
    pub fn wants(&self, subscriber: &str, app: &str, kind: Kind) -> bool {
        self.running().get(subscriber).is_some_and(|running| running.made.served.takes(app, kind))
    }

    /// Deliveries that a subscriber has still to get, by figures of the store.
    pub fn backlog(&self, figures: &SubscriberFigures) -> u64 {
        let ahead = figures.ahead.iter().filter(|(app, kind, _)| self.wants(&figures.name, app, *kind));
        ahead.map(|(_, _, events)| events).sum::<u64>() + figures.retrying + figures.replaying
    }

    /// What all subscribers together have got and have still to get.
    pub fn totals(&self) -> Totals {
        let figures = self.figures.lock().unwrap_or_else(PoisonError::into_inner).clone();
        figures.iter().fold(Totals::default(), |sum, known| Totals {
            delivered: sum.delivered + known.delivered,
            failed: sum.failed + known.failed,
            backlog: sum.backlog + self.backlog(known),
            dead: sum.dead + known.dead,
        })
    }

    /// Reads the figures that [`Metrics`] shows.
    ///
    /// # Errors
    /// The store can't tell; the last figures stay.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let figures = self.parts.query.figures().await?;
        *self.figures.lock().unwrap_or_else(PoisonError::into_inner) = figures;
        Ok(())
    }

    /// Sends the subscriber a signed sample of each kind that it takes, outside the log, and tells what it
    /// answered; `None` when it is not configured.
    pub async fn test(&self, subscriber: &str) -> Option<Vec<Sampled>> {
        let (served, courier) = {
            let running = self.running();
            let one = running.get(subscriber)?;
            (Arc::clone(&one.made.served), one.made.courier.clone())
        };
        Some(sample::send(&served, &courier, self.parts.clock.now()).await)
    }

    /// Waits until the loop of a subscriber that is served no more has ended, but for no longer than `grace`: until
    /// then it may take the subscriber up again.
    pub async fn ended(&self, subscriber: &str, grace: Duration) {
        let until = Instant::now() + grace;
        let ended = || {
            let leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
            leaving.get(subscriber).is_none_or(JoinHandle::is_finished)
        };
        while !ended() && Instant::now() < until {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Begins nothing more, and waits at most `grace` for what is under way; what is cut off then is
    /// delivered again by the next process.
    pub async fn stop(&self, grace: Duration) {
        let running = std::mem::take(&mut *self.running());
        let leaving = std::mem::take(&mut *self.leaving.lock().unwrap_or_else(PoisonError::into_inner));
        let tasks: Vec<JoinHandle<()>> =
            running.into_values().map(|running| running.task).chain(leaving.into_values()).collect();
        let aborts: Vec<_> = tasks.iter().map(JoinHandle::abort_handle).collect();
        if tokio::time::timeout(grace, futures_util::future::join_all(tasks)).await.is_err() {
            tracing::warn!("deliveries were cut off; they are made again after the next start");
            aborts.iter().for_each(AbortHandle::abort);
        }
    }
}

impl fmt::Debug for Dispatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatch").field("subscribers", &self.running().len()).finish_non_exhaustive()
    }
}
