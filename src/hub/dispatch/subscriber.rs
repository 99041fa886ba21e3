//! The loop of one subscriber: it looks, begins what may begin, and waits; nothing in it waits for any
//! other subscriber.
//!
//! What is due in the retry set goes first, then live events from the frontier, then replays. A failed
//! delivery has a row in the retry set before the frontier passes its event; a delivered one needs none.

mod job;
mod outcome;
mod source;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::{self, JoinSet};
use tokio::time::Instant;

use self::job::Job;
use super::health::Health;
use super::lane::Lane;
use super::ledger::Ledger;
use super::pace::Pace;
use super::retries::Retries;
use super::shown::{Shown, State};
use super::wake::Wake;
use crate::hub::deliver::{Carry, Tried};
use crate::hub::filter::Filter;
use crate::hub::schedule::Clock;
use crate::hub::settings::SubscriberSettings;
use crate::store::{Event, Log, Place, Progress, ReplayId, Start, StoreError};
use crate::xinyao::callback::Kind;

/// How often the store is looked at when nothing says that there is anything new.
const POLL: Duration = Duration::from_secs(5);
/// Most bytes of bodies under way, but for a single larger one.
const MOST_BYTES: usize = 64 << 20;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// What the configuration says of a subscriber, ready for use.
pub struct Served {
    /// As configured.
    pub settings: SubscriberSettings,
    /// Which of the events that it takes it really wants.
    pub filter: Filter,
    /// Brings an event to it.
    pub carrier: Arc<dyn Carry>,
}

impl Served {
    /// Whether events of this app and kind are for it.
    pub fn takes(&self, app: &str, kind: Kind) -> bool {
        self.settings.apps.contains(app) && self.settings.events.iter().any(|name| name == kind.name())
    }

    fn wants(&self, event: &Event) -> bool {
        self.takes(&event.app, event.kind) && self.filter.matches(event)
    }
}

/// What a loop works with.
#[derive(Clone)]
pub struct Rooms {
    /// Gives events.
    pub log: Arc<dyn Log>,
    /// Keeps how far subscribers have come.
    pub progress: Arc<dyn Progress>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
}

/// The loop.
pub struct Subscriber {
    name: Arc<str>,
    rooms: Rooms,
    serving: watch::Receiver<Arc<Served>>,
    served: Arc<Served>,
    shown: Arc<Shown>,
    dice: fastrand::Rng,
    wake: Wake,
    pace: Pace,
    health: Health,
    paused: bool,
    /// Nothing more is begun; what is under way is finished.
    ending: bool,
    lanes: Vec<Lane>,
    replay: Option<source::Replaying>,
    replayed: HashSet<ReplayId>,
    retries: Retries,
    ledger: Ledger,
    flights: JoinSet<Tried>,
    flying: HashMap<task::Id, Job>,
    places: HashSet<Place>,
    flying_bytes: usize,
    /// What the subscriber was last probed with: another event is the better probe, lest one that always
    /// fails keeps the subscriber from showing that it is back.
    probed: Option<Place>,
    /// When the subscriber asked to be left alone until.
    asked_until: Option<Timestamp>,
    /// When the rate limit has room again.
    paced_until: Option<Instant>,
    /// Not to ask the store before then, since it failed.
    quiet_until: Option<Instant>,
    pause: Duration,
    polled: Instant,
}

impl Subscriber {
    /// A loop that follows `serving` until its sender is gone.
    pub fn new(serving: watch::Receiver<Arc<Served>>, rooms: Rooms, shown: Arc<Shown>, seed: u64) -> Self {
        let served = Arc::clone(&serving.borrow());
        Self {
            name: served.settings.name.as_str().into(),
            wake: Wake::new(Arc::clone(&rooms.log), &*rooms.progress),
            pace: Pace::new(served.settings.rate_per_second),
            ledger: Ledger::new(Arc::clone(&rooms.progress)),
            serving,
            served,
            rooms,
            shown,
            dice: fastrand::Rng::with_seed(seed),
            health: Health::NEW,
            paused: false,
            ending: false,
            lanes: Vec::new(),
            replay: None,
            replayed: HashSet::new(),
            retries: Retries::default(),
            flights: JoinSet::new(),
            flying: HashMap::new(),
            places: HashSet::new(),
            flying_bytes: 0,
            probed: None,
            asked_until: None,
            paced_until: None,
            quiet_until: None,
            pause: FIRST_PAUSE,
            polled: Instant::now(),
        }
    }

    /// Runs until the subscriber is no longer served and what was under way has ended and is noted.
    pub async fn run(mut self) {
        loop {
            if !self.ending && self.quiet_until.is_none_or(|then| then <= Instant::now()) {
                match self.look_and_begin().await {
                    Ok(()) => (self.quiet_until, self.pause) = (None, FIRST_PAUSE),
                    Err(error) => self.store_failed(&error),
                }
            }
            self.ledger.begin(Instant::now());
            self.show();
            if self.ending && self.flying.is_empty() && self.ledger.len() == 0 {
                return;
            }
            self.wait().await;
        }
    }

    async fn look_and_begin(&mut self) -> Result<(), StoreError> {
        self.take_up().await?;
        for lane in &mut self.lanes {
            lane.ends(self.wake.tail(lane.shard()));
        }
        self.look_at_retries().await?;
        while self.may_begin() {
            let Some((event, job)) = self.next_job().await? else { break };
            self.begin(event, job);
        }
        Ok(())
    }

    /// Reads again what operators, configuration and cluster may have changed.
    async fn take_up(&mut self) -> Result<(), StoreError> {
        let shards = self.wake.new_shards();
        let acted = self.wake.operator_acted();
        let polled = self.polled.elapsed() >= POLL;
        if shards.is_none() && !acted && !polled {
            return Ok(());
        }
        if polled {
            self.polled = Instant::now();
        }
        let outcome = self.open(shards.is_some() || acted).await;
        if outcome.is_err() {
            self.wake.look_again();
        }
        outcome
    }

    async fn open(&mut self, anew: bool) -> Result<(), StoreError> {
        if anew {
            let start = self.served.settings.since.map_or(Start::Now, Start::Since);
            let progress = Arc::clone(&self.rooms.progress);
            let state = progress.open(&self.name, start).await?;
            if self.paused != state.paused {
                tracing::info!(subscriber = %self.name, "{}", if state.paused { "paused" } else { "resumed" });
            }
            self.paused = state.paused;
            self.follow(&state.frontiers);
            self.look_at_replays().await?;
        }
        self.retries.look_again();
        self.retries.counted(self.rooms.progress.retries(&self.name).await?);
        Ok(())
    }

    fn may_begin(&self) -> bool {
        let most = if self.served.settings.ordered { 1 } else { self.served.settings.max_in_flight.max(1) };
        let in_flight = self.flying.len();
        let turn = match self.health.next_probe() {
            None => in_flight < most,
            Some(next) => in_flight == 0 && next <= Instant::now(),
        };
        let room = self.flying_bytes < MOST_BYTES && self.ledger.has_room();
        turn && room
            && !self.paused
            && !self.ending
            && self.paced_until.is_none_or(|then| then <= Instant::now())
    }

    fn begin(&mut self, event: Arc<Event>, job: Job) {
        self.places.insert(event.place);
        self.probed = (job.is_probe() && !self.served.settings.ordered).then_some(event.place);
        self.flying_bytes += event.body.len();
        let flight = self.flights.spawn(self.served.carrier.carry(event, job.attempts + 1));
        self.flying.insert(flight.id(), job);
    }

    async fn wait(&mut self) {
        let until = Instant::now() + self.patience();
        let (idle, quiet) = (self.may_begin(), self.quiet_until.is_some());
        tokio::select! {
            // In this order: who is no longer served gets nothing more, whatever else there is to do.
            biased;
            changed = self.serving.changed(), if !self.ending => match changed {
                Ok(()) => self.reconfigure(),
                Err(_) => self.ending = true,
            },
            Some(landed) = self.flights.join_next_with_id() => {
                self.landed(landed);
                // Those that ended meanwhile go into the same write.
                while let Some(landed) = self.flights.try_join_next_with_id() {
                    self.landed(landed);
                }
            }
            saved = self.ledger.saved() => self.saved(saved).await,
            () = self.wake.woken(idle), if !self.ending && !quiet => {}
            () = tokio::time::sleep_until(until) => {}
        }
    }

    /// How long there is nothing to do unless something happens.
    fn patience(&self) -> Duration {
        let now = Instant::now();
        let due = self.retries.next_due().map(|due| crate::hub::schedule::until(self.rooms.clock.now(), due));
        let instants = [self.health.next_probe(), self.paced_until, self.quiet_until, self.ledger.wakes_at()];
        let waits = instants.into_iter().flatten().map(|then| then.saturating_duration_since(now));
        // What is past waits for something else than time.
        waits.chain(due).filter(|wait| !wait.is_zero()).min().unwrap_or(POLL).min(POLL)
    }

    fn reconfigure(&mut self) {
        self.served = Arc::clone(&self.serving.borrow_and_update());
        self.pace.change(self.served.settings.rate_per_second);
        self.paced_until = None;
    }

    fn store_failed(&mut self, error: &StoreError) {
        // There may be hundreds of loops: each says once that it begins to wait.
        if self.pause == FIRST_PAUSE {
            tracing::error!(subscriber = %self.name, %error, "deliveries wait: the store can't be read");
        } else {
            tracing::debug!(subscriber = %self.name, %error, "the store still can't be read");
        }
        self.quiet_until = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(LAST_PAUSE);
    }

    fn show(&self) {
        let state = match (self.paused, self.health.next_probe()) {
            (true, _) => State::Paused,
            (false, Some(_)) => State::Probing,
            (false, None) => State::Active,
        };
        self.shown.show(state, self.flying.len());
    }
}
