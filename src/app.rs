//! The composition root: a configuration becomes listeners that serve until they are told to stop.

mod admin;
mod workers;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::net::listen::{self, Drain, DrainTrigger};
use crate::proxy::{AccessLog, Proxy};

use self::workers::Workers;

/// How long what is under way may take to finish once the end has been announced.
const GRACE: Duration = Duration::from_secs(30);

/// A gateway that serves.
#[derive(Debug)]
pub struct Gateway {
    /// Where the proxy listens.
    pub proxy_address: SocketAddr,
    /// Where operators are served.
    pub admin_address: SocketAddr,
    proxy: Arc<Proxy>,
    workers: Workers,
    admin: JoinHandle<()>,
    drain: DrainTrigger,
    admin_drain: DrainTrigger,
}

impl Gateway {
    /// Binds the listeners and begins to serve, on threads of its own and on the current tokio runtime.
    ///
    /// # Errors
    /// An address can't be bound, or the configuration can't run on this host.
    #[expect(clippy::unused_async, reason = "it starts tasks, which wants a runtime")]
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let started = Instant::now();
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let log = AccessLog { on: config.log.access, mask_numbers: config.log.mask_numbers };
        let listen = config.proxy.listen.clone();
        let proxy = Proxy::new(config.proxy, log, threads)?;
        let (drain, draining) = Drain::new();
        let (admin_drain, admin_draining) = Drain::new();

        let listeners = workers::bind(listen.address, threads)
            .with_context(|| format!("cannot listen on {} (listen.proxy)", listen.address))?;
        let admin_listener = listen::bind(config.admin.address, false)
            .with_context(|| format!("cannot listen on {} (listen.admin)", config.admin.address))?;
        let proxy_address = listeners.first().context("no worker threads")?.local_addr()?;
        let admin_address = admin_listener.local_addr()?;

        let parts = admin::Parts {
            proxy: Arc::clone(&proxy),
            draining: draining.clone(),
            config: config.redacted,
            started,
        };
        let serving = admin::serve(admin_listener, parts, config.admin, listen.clone(), admin_draining);
        let admin = tokio::spawn(serving);
        let workers = Workers::start(listeners, &proxy, &listen, &draining)?;
        Ok(Self { proxy_address, admin_address, proxy, workers, admin, drain, admin_drain })
    }

    /// Stops accepting, lets what is under way finish, and ends.
    pub async fn stop(self) {
        self.drain.start();
        self.proxy.drain();
        self.workers.ended(GRACE).await;
        // Last, so that `/readyz` says until the end that nothing more should be sent here.
        self.admin_drain.start();
        if tokio::time::timeout(Duration::from_secs(1), self.admin).await.is_err() {
            tracing::debug!("an operator's request was cut off");
        }
    }
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// See [`Gateway::start`].
pub async fn run(config: Config) -> anyhow::Result<()> {
    let stop = asked_to_stop()?;
    let gateway = Gateway::start(config).await?;
    tracing::info!(proxy = %gateway.proxy_address, admin = %gateway.admin_address, "ready");
    stop.await;
    tracing::info!("stopping: finishing what is under way, for at most {} s", GRACE.as_secs());
    gateway.stop().await;
    Ok(())
}

/// Heeds SIGTERM and SIGINT from now on; over when one has come.
///
/// # Errors
/// Signals can't be waited for.
pub fn asked_to_stop() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
