//! What one sandbox knows: its clock, its dice, and everything it remembers.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use tokio::sync::{Semaphore, mpsc, watch};

use super::answer::Failure;
use super::call::Remembered;
use super::campaign::{Campaign, MAX_CAMPAIGNS, Unsettled};
use super::chat::Session;
use super::clock::Clock;
use super::fault::{Fault, Plan};
use super::journal::Journal;
use super::kept::Kept;
use super::{Batch, Settings, Task};

const MAX_TASKS: usize = 10_000;
const MAX_BATCHES: usize = 10_000;
const MAX_SESSIONS: usize = 10_000;
const MAX_CALLS: usize = 20_000;
/// For all bodies together that are in memory at one time.
const BODY_ROOM_KIB: usize = 256 << 10;
/// No pause is longer, however slow the sandbox is told to be.
const LONGEST_PAUSE: Duration = Duration::from_hours(24);

/// Everything that requests and campaigns share.
#[derive(Debug)]
pub(super) struct House {
    pub(super) settings: Settings,
    pub(super) clock: Clock,
    /// What the dice of campaigns start from.
    pub(super) seed: u64,
    faults: Mutex<Vec<Fault>>,
    dice: Mutex<fastrand::Rng>,
    journal: Mutex<Journal>,
    memory: Mutex<Memory>,
    campaigns: mpsc::Sender<Campaign>,
    unsettled: watch::Sender<usize>,
    /// KiB of memory that bodies may still take.
    pub(super) body_room: Semaphore,
}

/// What the endpoints remember; each part forgets its oldest.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) tasks: Kept<Task>,
    pub(super) batches: Kept<Batch>,
    pub(super) sessions: Kept<Session>,
    pub(super) calls: Kept<Remembered>,
    last_id: u64,
}

impl Memory {
    /// An id as the SaaS has them: 18 digits, ascending.
    pub(super) fn next_id(&mut self) -> String {
        self.last_id += 4096;
        self.last_id.to_string()
    }
}

impl House {
    /// A house without memories. Accepted campaigns go to `campaigns`, which holds [`MAX_CAMPAIGNS`].
    pub(super) fn new(settings: Settings, campaigns: mpsc::Sender<Campaign>) -> Self {
        let seed = settings.seed.unwrap_or_else(|| fastrand::u64(..));
        let mut dice = fastrand::Rng::with_seed(seed);
        let memory = Memory {
            tasks: Kept::new(MAX_TASKS),
            batches: Kept::new(MAX_BATCHES),
            sessions: Kept::new(MAX_SESSIONS),
            calls: Kept::new(MAX_CALLS),
            last_id: dice.u64(100_000_000_000_000_000..500_000_000_000_000_000),
        };
        Self {
            clock: Clock::default(),
            seed,
            faults: Mutex::new(settings.faults.clone()),
            dice: Mutex::new(dice),
            journal: Mutex::default(),
            memory: Mutex::new(memory),
            campaigns,
            unsettled: watch::Sender::new(0),
            body_room: Semaphore::new(BODY_ROOM_KIB),
            settings,
        }
    }

    /// The memory, held for as long as the guard lives: never across an await.
    pub(super) fn memory(&self) -> MutexGuard<'_, Memory> {
        held(&self.memory)
    }

    /// The journal, held for as long as the guard lives: never across an await.
    pub(super) fn journal(&self) -> MutexGuard<'_, Journal> {
        held(&self.journal)
    }

    /// The faults, held for as long as the guard lives: never across an await.
    pub(super) fn faults(&self) -> MutexGuard<'_, Vec<Fault>> {
        held(&self.faults)
    }

    /// What goes wrong with the next request.
    pub(super) fn roll(&self) -> Plan {
        Plan::roll(&self.faults(), &mut held(&self.dice))
    }

    /// Whether address and signature admit a request (§2.2, §3).
    pub(super) fn authorize(&self, peer: IpAddr, headers: &HeaderMap) -> Result<(), Failure> {
        let peer = peer.to_canonical();
        let allowed = &self.settings.allowed_ips;
        if !allowed.is_empty() && !allowed.iter().any(|ip| ip.to_canonical() == peer) {
            return Err(Failure::IpNotAllowed(peer));
        }
        let header = headers.get(AUTHORIZATION).ok_or(Failure::NoAuthorization)?;
        // An apikey may hold any UTF-8, which `to_str` would refuse; what is no UTF-8 is no signature.
        let header = std::str::from_utf8(header.as_bytes()).unwrap_or_default();
        self.settings.credential.verify(header, self.clock.now_seconds()).map_err(Failure::Unauthorized)
    }

    /// A place for one more campaign, if there is one.
    pub(super) fn reserve(&self) -> Result<Unsettled, Failure> {
        let mut free = false;
        self.unsettled.send_if_modified(|count| {
            free = *count < MAX_CAMPAIGNS;
            *count += usize::from(free);
            free
        });
        if free { Ok(Unsettled(self.unsettled.clone())) } else { Err(Failure::Busy) }
    }

    /// Hands a campaign over to whoever runs them.
    pub(super) fn launch(&self, campaign: Campaign) -> Result<(), Failure> {
        self.campaigns.try_send(campaign).map_err(|_| Failure::Busy)
    }

    /// How many campaigns are under way, and a notice of every change.
    pub(super) fn unsettled(&self) -> watch::Receiver<usize> {
        self.unsettled.subscribe()
    }

    /// A time of life, at the sandbox's speed.
    pub(super) fn pause(&self, ms: u64) -> Duration {
        let seconds = Duration::from_millis(ms).as_secs_f64() / self.settings.speed;
        Duration::try_from_secs_f64(seconds).map_or(LONGEST_PAUSE, |pause| pause.min(LONGEST_PAUSE))
    }
}

/// A panic elsewhere leaves what it held usable: every change here is a single put or count.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
