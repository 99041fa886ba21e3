//! Asks Redis, for all threads and all requests: what is wanted while a call is under way goes into the next.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::Cmd;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::draw::{self, Draws, Watched};
use super::link::{Failure, Link, Script};
use super::slots::{self, Leased, Renewal};
use super::well::{self, Bucket, Drawn};
use super::{Newcomers, Shared, Standing};
use crate::proxy::settings::SharedLimitSettings;

/// How often it is looked whether anything at hand is not used.
const LOOK: Duration = Duration::from_millis(50);
/// How often Redis is asked when nobody wants anything.
const BEAT: Duration = Duration::from_secs(1);
/// From a failure to the first probe; from one to the next it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(1);

/// Runs until `stop` comes or is dropped; then what is at hand is given back.
pub async fn run(shared: Arc<Shared>, mut stop: oneshot::Receiver<()>) {
    let replica = Uuid::new_v4().to_string();
    let mut task = Task { shared, replica, watched: Vec::new(), leased: Vec::new(), drawn: Vec::new() };
    loop {
        let mut link = tokio::select! {
            biased;
            _ = &mut stop => return,
            link = task.link() => link,
        };
        let lost = tokio::select! {
            biased;
            _ = &mut stop => None,
            failure = task.serve(&mut link) => Some(failure),
        };
        let Some(failure) = lost else {
            task.give_back(&mut link).await;
            return;
        };
        task.shared.fell(&failure);
        task.let_go();
    }
}

struct Task {
    shared: Arc<Shared>,
    /// By which Redis tells this process from others.
    replica: String,
    watched: Vec<Watched>,
    leased: Vec<Leased>,
    drawn: Vec<Drawn>,
}

/// All that goes into one call.
struct Wanted {
    draws: BTreeMap<Arc<str>, Draws>,
    renewals: Vec<Renewal>,
    buckets: Vec<Bucket>,
}

impl Wanted {
    fn commands(&self, link: &Link, replica: &str) -> Vec<Cmd> {
        let [rates, slots, global] =
            [Script::Rates, Script::Slots, Script::Global].map(|script| link.digest(script));
        let draws = self.draws.values().map(|draws| draws.command(rates));
        let renewals = self.renewals.iter().map(|renewal| renewal.command(slots, replica));
        let buckets = self.buckets.iter().map(|bucket| bucket.command(global, replica));
        draws.chain(renewals).chain(buckets).collect()
    }
}

impl Task {
    /// A connection, however long it takes. Whoever comes meanwhile is told that there is none.
    async fn link(&mut self) -> Link {
        let mut pause = FIRST_PAUSE;
        let mut known = self.shared.standing() != Standing::Unknown;
        loop {
            if known {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LAST_PAUSE);
            }
            known = true;
            match probe(&self.shared.settings).await {
                Ok((link, _)) => {
                    self.shared.rose();
                    return link;
                }
                Err(failure) => self.shared.fell(&failure),
            }
        }
    }

    /// Serves until that fails.
    async fn serve(&mut self, link: &mut Link) -> Failure {
        let (mut called_at, mut looked_at) = (Instant::now(), Instant::now());
        loop {
            let some = self.watched.iter().any(Watched::has_some)
                || self.leased.iter().any(Leased::has_some)
                || self.drawn.iter().any(Drawn::has_some);
            let look = if some { LOOK } else { BEAT };
            let until = looked_at + look;
            // What becomes of it, the clock tells as well.
            let _ = tokio::time::timeout_at(until.into(), self.shared.wake.notified()).await;
            let now = Instant::now();
            let all = now >= until;
            if all {
                looked_at = now;
            }
            match self.round(link, all, called_at.elapsed() >= BEAT).await {
                Ok(false) => {}
                Ok(true) => called_at = now,
                Err(failure) => return failure,
            }
        }
    }

    /// One call, if there is anything to ask for. `true`: there was.
    async fn round(&mut self, link: &mut Link, all: bool, due: bool) -> Result<bool, Failure> {
        self.watch_newcomers();
        let now = Instant::now();
        let wanted = Wanted {
            draws: draw::gather(&mut self.watched, &self.shared, now, all),
            renewals: slots::gather(&mut self.leased, now, all),
            buckets: well::gather(&mut self.drawn, &self.shared, now, (all, due)),
        };
        let commands = wanted.commands(link, &self.replica);
        if commands.is_empty() {
            return Ok(false);
        }
        let answers = link.call(&commands).await?;
        let answered = Instant::now();
        self.shared.called(answered.saturating_duration_since(now));
        self.settle(wanted, &answers, answered)?;
        Ok(true)
    }

    fn settle(&mut self, wanted: Wanted, answers: &[Vec<i64>], at: Instant) -> Result<(), Failure> {
        let now = self.shared.since(at);
        let mut answers = answers.iter();
        for (draws, answer) in wanted.draws.into_values().zip(&mut answers) {
            draws.settle(answer, &mut self.watched, now)?;
        }
        for (renewal, answer) in wanted.renewals.into_iter().zip(&mut answers) {
            renewal.settle(answer, &mut self.leased, &self.shared, at)?;
        }
        for (bucket, answer) in wanted.buckets.into_iter().zip(&mut answers) {
            bucket.settle(answer, &mut self.drawn, now)?;
        }
        Ok(())
    }

    fn watch_newcomers(&mut self) {
        let Newcomers { cells, leases, wells } = std::mem::take(&mut *self.shared.newcomers());
        let now = Instant::now();
        if !cells.is_empty() {
            // Others have taken the place of some.
            self.watched.retain(|watched| !watched.is_gone());
            self.watched.extend(cells.into_iter().map(|cells| Watched::new(cells, now)));
        }
        if !leases.is_empty() {
            self.leased.retain(|leased| !leased.is_gone());
            self.leased.extend(leases.into_iter().map(|lease| Leased::new(lease, now)));
        }
        if !wells.is_empty() {
            self.drawn.retain(|drawn| !drawn.is_gone());
            self.drawn.extend(wells.into_iter().map(|well| Drawn::new(well, now)));
        }
    }

    /// Whoever waits has to do without Redis.
    fn let_go(&mut self) {
        self.watch_newcomers();
        drop(draw::gather(&mut self.watched, &self.shared, Instant::now(), false));
        self.leased.iter().for_each(Leased::let_go);
        self.drawn.iter().for_each(Drawn::let_go);
    }

    /// What is at hand goes back, if Redis takes it.
    async fn give_back(&mut self, link: &mut Link) {
        let rest = Wanted {
            draws: draw::rest(&mut self.watched),
            renewals: slots::rest(&self.leased),
            buckets: well::rest(&self.drawn),
        };
        let commands = rest.commands(link, &self.replica);
        if let Err(error) = link.call(&commands).await {
            tracing::debug!(%error, "what was not used could not be given back");
        }
    }
}

/// A connection on which Redis has answered in time, and how long that took.
pub async fn probe(settings: &SharedLimitSettings) -> Result<(Link, Duration), Failure> {
    let mut link = Link::connect(settings).await?;
    let (beat, asked) = (beat(&link), Instant::now());
    link.call(&[beat]).await?;
    Ok((link, asked.elapsed()))
}

/// Has Redis do what it does for a call, on a key of its own.
fn beat(link: &Link) -> Cmd {
    let mut command = redis::cmd("EVALSHA");
    command.arg(link.digest(Script::Rates)).arg(1).arg("xinyao:{*}:probe").arg(&[1, 1, 1, 1, 1]);
    command
}
