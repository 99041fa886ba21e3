//! The store goes from one process to the next: the one that comes waits for it, and nobody is refused meanwhile.
//!
//! While it waits it has the listening sockets, if they were given to it, and lets connections queue in them; to
//! operators it says what it waits for.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use hyper_util::service::TowerToHyperService;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::sockets::{Handed, Sockets};
use super::{admin, notify};
use crate::admin::waiting;
use crate::config::Config;
use crate::net::hand_over::{Desk, Heir};
use crate::net::listen::{self, Drain, DrainTrigger, Live};
use crate::store::{Locking, StoreLock, held};

/// How long the other process may go on before it is told to stop.
const BEFORE: Duration = Duration::from_mins(1);
/// How long it may take from then on: somewhat longer than it gives what is under way.
const AFTER: Duration = Duration::from_secs(40);
/// How often the lock is tried.
const TRY: Duration = Duration::from_millis(10);

/// Where the next process asks for the sockets: `gateway.sock` beside `gateway.db`.
fn desk(store: &Path) -> PathBuf {
    store.with_extension("sock")
}

/// Lets another process take this one's place later on; that it can't is no reason not to serve.
pub(super) fn open_desk(store: &Path) -> Option<Desk> {
    let path = desk(store);
    match Desk::open(&path) {
        Ok(desk) => Some(desk),
        Err(error) => {
            let path = path.display();
            tracing::warn!(%error, %path, "no other process can take over without a pause");
            None
        }
    }
}

/// The listening sockets and the store's lock, once nobody else has it.
pub(super) async fn enter(
    config: &Config,
    mut given: Handed,
    threads: usize,
) -> anyhow::Result<(Sockets, StoreLock)> {
    let path = &config.store.path;
    let about = || format!("cannot open {} (store.path)", path.display());
    let kept = given.is_some();
    let holder = match StoreLock::take(path).with_context(about)? {
        Locking::Locked(lock) => return Ok((Sockets::complete(given, kept, config, threads)?, lock)),
        Locking::Held(holder) => holder,
    };
    let why = held(holder);
    tracing::warn!(
        "{why}: waiting for it, for at most {} s; stop that process to go on here",
        BEFORE.as_secs()
    );
    notify::tell(&format!("STATUS=Waiting: {why}"));
    if let Ok(heir) = Heir::ask(&desk(path)).await
        && let Ok(handed) = timeout(BEFORE, heir.receive()).await
    {
        given.inherit(handed.unwrap_or_default(), config);
    }
    let has_sockets = given.is_some();
    let waiting = has_sockets.then(|| Sockets::complete(given, kept, config, threads)).transpose()?;
    let operators =
        waiting.as_ref().map(|sockets| Waiting::serve(&sockets.admin, config, &why)).transpose()?;
    let lock = lock(path, if has_sockets { AFTER } else { BEFORE }).await.with_context(about)?;
    if let Some(operators) = operators {
        operators.end().await;
    }
    let sockets = match waiting {
        Some(sockets) => sockets,
        None => Sockets::complete(Handed::default(), false, config, threads)?,
    };
    Ok((sockets, lock))
}

async fn lock(path: &Path, patience: Duration) -> anyhow::Result<StoreLock> {
    let mut holder = None;
    let taking = async {
        loop {
            match StoreLock::take(path)? {
                Locking::Locked(lock) => return anyhow::Ok(lock),
                Locking::Held(by) => holder = by,
            }
            sleep(TRY).await;
        }
    };
    match timeout(patience, taking).await {
        Ok(taken) => taken,
        Err(_) => bail!("{}; it was waited for, for {} s", held(holder), patience.as_secs()),
    }
}

/// Tells operators what is waited for.
struct Waiting {
    drain: DrainTrigger,
    serving: JoinHandle<()>,
}

impl Waiting {
    fn serve(socket: &TcpListener, config: &Config, why: &str) -> anyhow::Result<Self> {
        let socket = socket.try_clone()?;
        let (drain, draining) = Drain::new();
        let router = waiting(why.to_owned());
        let settings = Live::new(admin::listen(config));
        let serving = tokio::spawn(async move {
            let service = move |_| TowerToHyperService::new(router.clone());
            listen::serve(socket, settings, admin::reject, service, draining).await;
        });
        Ok(Self { drain, serving })
    }

    /// Leaves the socket to whoever serves operators from now on; whoever asked last has the answer first.
    async fn end(self) {
        self.drain.start(listen::Sockets::Leave);
        drop(timeout(Duration::from_secs(1), self.serving).await);
    }
}
