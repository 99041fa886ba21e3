//! Asks Redis, for all threads and all requests: what is wanted while a call is under way goes into the next.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::Cmd;
use tokio::sync::oneshot;

use super::draw::{self, Watched};
use super::link::{Failure, Link, Script};
use super::{Shared, Standing};

/// How often it is looked whether anything at hand is not used.
const LOOK: Duration = Duration::from_millis(50);
/// How often Redis is asked when nobody wants anything.
const BEAT: Duration = Duration::from_secs(1);
/// From a failure to the first probe; from one to the next it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(1);

/// Runs until `stop` comes or is dropped; then what is at hand is given back.
pub async fn run(shared: Arc<Shared>, mut stop: oneshot::Receiver<()>) {
    let mut task = Task { shared, watched: Vec::new() };
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
    watched: Vec<Watched>,
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
            match self.probe().await {
                Ok(link) => {
                    self.shared.rose();
                    return link;
                }
                Err(failure) => self.shared.fell(&failure),
            }
        }
    }

    /// A connection on which Redis has answered in time.
    async fn probe(&self) -> Result<Link, Failure> {
        let mut link = Link::connect(&self.shared.settings).await?;
        let beat = beat(&link);
        link.call(&[beat]).await?;
        Ok(link)
    }

    /// Serves until that fails.
    async fn serve(&mut self, link: &mut Link) -> Failure {
        let (mut called_at, mut looked_at) = (Instant::now(), Instant::now());
        loop {
            let look = if self.watched.iter().any(Watched::has_some) { LOOK } else { BEAT };
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
        let draws = draw::gather(&mut self.watched, &self.shared, now, all);
        let digest = link.digest(Script::Rates);
        let mut commands: Vec<_> = draws.values().map(|draws| draws.command(digest)).collect();
        if commands.is_empty() {
            if !due {
                return Ok(false);
            }
            commands.push(beat(link));
        }
        let answers = link.call(&commands).await?;
        let answered = Instant::now();
        self.shared.called(answered.saturating_duration_since(now));
        let answered = self.shared.since(answered);
        for (draws, answer) in draws.into_values().zip(&answers) {
            draws.settle(answer, &mut self.watched, answered)?;
        }
        Ok(true)
    }

    fn watch_newcomers(&mut self) {
        let newcomers = self.shared.take_newcomers();
        if !newcomers.is_empty() {
            // Others have taken the place of some.
            self.watched.retain(|watched| !watched.is_gone());
            let now = Instant::now();
            self.watched.extend(newcomers.into_iter().map(|cells| Watched::new(cells, now)));
        }
    }

    /// Whoever waits has to do without Redis.
    fn let_go(&mut self) {
        self.watch_newcomers();
        drop(draw::gather(&mut self.watched, &self.shared, Instant::now(), false));
    }

    /// What is at hand goes back, if Redis takes it.
    async fn give_back(&mut self, link: &mut Link) {
        let digest = link.digest(Script::Rates);
        let commands: Vec<_> =
            draw::rest(&mut self.watched).values().map(|rest| rest.command(digest)).collect();
        if let Err(error) = link.call(&commands).await {
            tracing::debug!(%error, "cells that were not used could not be given back");
        }
    }
}

/// Has Redis do what it does for a call, on a key of its own.
fn beat(link: &Link) -> Cmd {
    let mut command = redis::cmd("EVALSHA");
    command.arg(link.digest(Script::Rates)).arg(1).arg("xinyao:{*}:probe").arg(&[1, 1, 1, 1, 1]);
    command
}
