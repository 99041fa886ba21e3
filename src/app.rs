//! The composition root: a configuration becomes listeners that serve until they are told to stop.

mod admin;
mod figures;
mod history;
mod hub;
mod ledger;
mod reload;
mod store;
mod subscribers;
mod team_urls;
mod workers;

use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

use crate::config::{Config, Source};
use crate::net::listen::{self, Drain, DrainTrigger, Live};
use crate::proxy::{AccessLog, Proxy, Rooms};
use crate::store::Store;

use self::hub::Hub;
use self::ledger::Ledger;
use self::reload::{Reloads, Shown, Trigger};
use self::store::Opened;
use self::team_urls::Addresses;
use self::workers::Workers;

/// How long what is under way may take to finish once the end has been announced.
const GRACE: Duration = Duration::from_secs(30);

/// A gateway that serves.
#[derive(Debug)]
pub struct Gateway {
    /// Where the proxy listens.
    pub proxy_address: SocketAddr,
    /// Where callbacks come in.
    pub callbacks_address: SocketAddr,
    /// Where operators are served.
    pub admin_address: SocketAddr,
    proxy: Arc<Proxy>,
    workers: Workers,
    hub: Hub,
    ledger: Ledger,
    store: Opened,
    admin: JoinHandle<()>,
    reloads: Arc<Reloads>,
    watching: JoinHandle<()>,
    drain: DrainTrigger,
    admin_drain: DrainTrigger,
}

/// What a gateway is given beside its configuration.
#[derive(Default)]
pub struct Given {
    /// Another store than the configuration's; whoever gives it closes it.
    pub store: Option<Arc<dyn Store>>,
    /// Where the configuration was read and can be read again; without one it stays as it is.
    pub source: Option<Source>,
}

impl Gateway {
    /// Binds the listeners and begins to serve, on threads of its own and on the current tokio runtime.
    ///
    /// # Errors
    /// An address can't be bound, or the configuration can't run on this host.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        Self::start_with(config, Given::default()).await
    }

    /// Likewise, with what is `given`; a change of the file is taken up.
    ///
    /// # Errors
    /// See [`Gateway::start`].
    pub async fn start_with(config: Config, given: Given) -> anyhow::Result<Self> {
        Box::pin(Self::compose(config, given)).await
    }

    async fn compose(config: Config, given: Given) -> anyhow::Result<Self> {
        let started = Instant::now();
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let log = AccessLog { on: config.log.access, mask_numbers: config.log.mask_numbers };
        let (listen, admin_listen) = (&config.proxy.listen, Live::new(admin::listen(&config)));
        let (drain, draining) = Drain::new();
        let (admin_drain, admin_draining) = Drain::new();

        let listeners = workers::bind(listen.address, threads)
            .with_context(|| format!("cannot listen on {} (listen.proxy)", listen.address))?;
        let admin_listener = bind(config.admin.address, "listen.admin")?;
        let proxy_address = listeners.first().context("no worker threads")?.local_addr()?;
        let admin_address = admin_listener.local_addr()?;
        let callbacks_listener = bind(config.hub.listen.address, "listen.callbacks")?;
        let callbacks_address = callbacks_listener.local_addr()?;
        // After the addresses: a second gateway of this configuration ends there, and touches no file.
        let store = match given.store {
            Some(store) => Opened::given(store),
            None => Opened::embedded(config.store.clone()).await?,
        };
        let addresses = Addresses::known(&config.hub, &store.store).await?;
        let rooms = Rooms {
            once: Arc::clone(&store.store) as _,
            ledger: Arc::clone(&store.store) as _,
            ledger_key: ledger::key(&*store.store).await?,
            team_urls: addresses.replacing(&config.hub),
        };
        let proxy = Proxy::new(config.proxy.clone(), log, threads, rooms)?;
        let hub = Hub::start(
            callbacks_listener,
            config.hub.clone(),
            &store.store,
            log.mask_numbers,
            draining.clone(),
            &addresses,
        )?;

        let ledger = Ledger::start(&store.store)?;
        let (listen, mask_numbers) = (Live::new(listen.clone()), Arc::new(AtomicBool::new(log.mask_numbers)));
        let shown = Shown::new(&config);
        let reloads = {
            let parts = reload::Parts {
                proxy: Arc::clone(&proxy),
                addresses: Arc::clone(&addresses),
                door: hub.door.clone(),
                listen: listen.clone(),
                admin: admin_listen.clone(),
                mask_numbers: Arc::clone(&mask_numbers),
                draining: draining.clone(),
            };
            Reloads::new(parts, config, given.source, Arc::clone(&shown))
        };
        let parts = admin::Parts {
            batches: Arc::clone(&ledger.figures),
            proxy: Arc::clone(&proxy),
            hub: hub.metrics.clone(),
            dispatch: Arc::clone(&hub.dispatch),
            addresses,
            store: Arc::clone(&store.store),
            store_path: store.path(),
            commits: store.metrics(),
            draining: draining.clone(),
            shown,
            reloads: Arc::clone(&reloads),
            mask_numbers,
            started,
        };
        let admin = tokio::spawn(admin::serve(admin_listener, parts, admin_listen, admin_draining));
        let watching = tokio::spawn(reload::watch(Arc::clone(&reloads)));
        let workers = Workers::start(listeners, &proxy, &listen, &draining)?;
        Ok(Self {
            proxy_address,
            callbacks_address,
            admin_address,
            proxy,
            workers,
            hub,
            ledger,
            store,
            admin,
            reloads,
            watching,
            drain,
            admin_drain,
        })
    }

    /// Reads the file again and takes it up; what came of it, the log tells.
    pub async fn reload(&self) {
        self.reloads.reload(Trigger::Signal).await;
    }

    /// Stops accepting, lets what is under way finish, and ends.
    pub async fn stop(self) {
        self.drain.start();
        self.watching.abort();
        self.reloads.settled().await;
        self.proxy.drain();
        let until = Instant::now() + GRACE;
        tokio::join!(self.workers.ended(GRACE), self.hub.ended(until));
        drop(self.ledger);
        self.store.close().await;
        // Last, so that `/readyz` says until the end that nothing more should be sent here.
        self.admin_drain.start();
        if tokio::time::timeout(Duration::from_secs(1), self.admin).await.is_err() {
            tracing::debug!("an operator's request was cut off");
        }
    }
}

fn bind(address: SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    listen::bind(address, false).with_context(|| format!("cannot listen on {address} ({key})"))
}

/// Serves `config`, which was read from `source`, until SIGTERM or SIGINT; on SIGHUP it is read again.
///
/// # Errors
/// See [`Gateway::start`].
pub async fn run(config: Config, source: Source) -> anyhow::Result<()> {
    let stop = asked_to_stop()?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let given = Given { source: Some(source), ..Given::default() };
    let gateway = Gateway::start_with(config, given).await?;
    tracing::info!(
        proxy = %gateway.proxy_address,
        callbacks = %gateway.callbacks_address,
        admin = %gateway.admin_address,
        "ready"
    );
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(()) = hang_up.recv() => gateway.reload().await,
        }
    }
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
