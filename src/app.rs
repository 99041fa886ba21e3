//! The composition root: a configuration becomes listeners that serve until they are told to stop.

mod admin;
mod certificates;
mod cluster;
mod figures;
mod history;
mod hub;
mod ledger;
mod notify;
mod processors;
mod reload;
mod rotation;
mod sockets;
mod store;
mod subscribers;
mod succession;
mod team_urls;
mod traces;
mod workers;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

use crate::config::{Config, Source};
use crate::net::hand_over::Desk;
use crate::net::listen::{self, Drain, DrainTrigger, LAST_CALL, Listening, Live};
use crate::proxy::{AccessLog, Asking, Proxy, Rooms, Shared};
use crate::store::Store;
use crate::telemetry::trace::Tracer;

pub use self::certificates::{Certificates, SOON_DAYS};
use self::hub::Hub;
use self::ledger::Ledger;
use self::reload::{Reloads, Shown, Trigger};
pub use self::sockets::Handed;
use self::sockets::Sockets;
use self::store::Opened;
use self::team_urls::Addresses;
use self::traces::Traces;
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
    traces: Option<Traces>,
    /// Asks Redis for what the limits let in.
    asking: Option<Asking>,
    admin: JoinHandle<()>,
    reloads: Arc<Reloads>,
    /// Looks after the file, after credentials that are to take over, and after what other replicas do.
    watching: [JoinHandle<()>; 4],
    /// For the next process.
    sockets: Sockets,
    desk: Option<Desk>,
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
    /// Listening sockets that are open already.
    pub sockets: Handed,
}

impl Gateway {
    /// Binds the listeners and begins to serve, on threads of its own and on the current tokio runtime.
    ///
    /// # Errors
    /// An address can't be bound, or the configuration can't run on this host.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        Self::start_with(config, Given::default()).await
    }

    /// Likewise, with what is `given`; a change of the file is taken up. Where another process has the store, it is
    /// waited for.
    ///
    /// # Errors
    /// See [`Gateway::start`].
    pub async fn start_with(config: Config, given: Given) -> anyhow::Result<Self> {
        Box::pin(Self::compose(config, given)).await
    }

    async fn compose(mut config: Config, given: Given) -> anyhow::Result<Self> {
        let started = Instant::now();
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let log = AccessLog { on: config.log.access, mask_numbers: config.log.mask_numbers };
        let (drain, draining) = Drain::new();
        let (admin_drain, admin_draining) = Drain::new();

        let certificates = Arc::new(Certificates::load(&config)?);
        // The addresses, then the store's lock, then its files: who does not get one leaves the rest alone.
        let (sockets, store, desk) = match given.store {
            Some(store) => {
                (Sockets::complete(given.sockets, false, &config, threads)?, Opened::given(store), None)
            }
            None => {
                let (sockets, lock) = succession::enter(&config, given.sockets, threads).await?;
                let desk = succession::open_desk(&config.store.path);
                (sockets, Opened::open(config.store.clone(), lock).await?, desk)
            }
        };
        let threads = sockets.proxy.len();
        let spare = sockets.spare()?;
        let proxy_address = sockets.proxy[0].local_addr()?;
        let (callbacks_address, admin_address) =
            (sockets.callbacks.local_addr()?, sockets.admin.local_addr()?);
        // What a reload is held to is where they really listen.
        (config.hub.listen.address, config.admin.address) = (callbacks_address, admin_address);
        let admin_listen = Live::new(admin::listen(&config));
        let addresses = Addresses::known(&config.hub, &store.store).await?;
        let traces = config.traces.clone().map(Traces::start).transpose()?;
        let tracer = traces.as_ref().map(|traces| traces.tracer.clone());
        let sharing = config.proxy.limits.shared.clone().map(Shared::start).transpose()?;
        let (shared, asking) = sharing.unzip();
        let rooms = Rooms {
            once: Arc::clone(&store.store) as _,
            ledger: Arc::clone(&store.store) as _,
            ledger_key: ledger::key(&store.store).await,
            team_urls: addresses.replacing(&config.hub),
            tracer: tracer.clone(),
            shared: shared.clone(),
        };
        let proxy = Proxy::new(config.proxy.clone(), log, threads, rooms)?;
        let hub = Hub::start(
            Listening { socket: sockets.callbacks, tls: certificates.callbacks.clone() },
            config.hub.clone(),
            &store.store,
            log.mask_numbers,
            draining.clone(),
            &addresses,
            tracer.clone(),
        )?;

        let ledger = Ledger::start(&store.store)?;
        let listen = Live::new(config.proxy.listen.clone());
        let mask_numbers = Arc::new(AtomicBool::new(log.mask_numbers));
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
            addresses: Arc::clone(&addresses),
            store: Arc::clone(&store.store),
            store_path: store.path(),
            store_metrics: store.metrics(),
            degraded: store.degraded(),
            spans: tracer.as_ref().map(Tracer::metrics),
            shared,
            certificates: Arc::clone(&certificates),
            draining: draining.clone(),
            shown,
            reloads: Arc::clone(&reloads),
            mask_numbers,
            started,
        };
        let admin = tokio::spawn(admin::serve(sockets.admin, parts, admin_listen, admin_draining));
        let watching = [
            tokio::spawn(reload::watch(Arc::clone(&reloads))),
            tokio::spawn(rotation::rotate(Arc::clone(&reloads))),
            tokio::spawn(addresses.follow()),
            tokio::spawn(cluster::tell(
                Arc::clone(&store.store),
                Arc::clone(&proxy),
                [proxy_address, callbacks_address, admin_address],
            )),
        ];
        let workers = Workers::start(sockets.proxy, certificates.proxy.as_ref(), &proxy, &listen, &draining)?;
        Ok(Self {
            proxy_address,
            callbacks_address,
            admin_address,
            proxy,
            workers,
            hub,
            ledger,
            store,
            traces,
            asking,
            admin,
            reloads,
            watching,
            sockets: spare,
            desk,
            drain,
            admin_drain,
        })
    }

    /// Reads the file again and takes it up; what came of it, the log tells.
    pub async fn reload(&self) {
        self.reloads.reload(Trigger::Signal).await;
    }

    /// Stops accepting, lets what is under way finish, and ends. A process that waits for it gets the listening
    /// sockets at once, and the store as soon as nothing under way needs it any more.
    pub async fn stop(self) {
        self.watching.iter().for_each(JoinHandle::abort);
        let kept = self.sockets.kept;
        let handed = self.sockets.hand_over(self.desk).await;
        let sockets = if handed || kept { listen::Sockets::Leave } else { listen::Sockets::Close };
        self.drain.start(sockets);
        if handed {
            // The next one answers operators; it is it that they ask about.
            self.admin_drain.start(sockets);
        }
        let until = Instant::now() + GRACE;
        let working = self.workers.ended(GRACE).shared();
        let releasing = async {
            let kept = async {
                tokio::time::sleep(LAST_CALL).await;
                self.reloads.settled().await;
                self.proxy.drain();
                self.proxy.kept().await;
            };
            let proxy = async {
                tokio::select! {
                    () = working.clone() => {}
                    () = kept => {}
                }
            };
            tokio::join!(proxy, self.hub.ended(until));
            drop(self.ledger);
            self.store.close().await;
        };
        tokio::join!(working.clone(), releasing);
        if let Some(asking) = self.asking {
            asking.end().await;
        }
        if let Some(traces) = self.traces {
            traces.end().await;
        }
        // Last, so that `/readyz` says until the end that nothing more should be sent here.
        self.admin_drain.start(sockets);
        if tokio::time::timeout(Duration::from_secs(1), self.admin).await.is_err() {
            tracing::debug!("an operator's request was cut off");
        }
    }
}

/// Serves `config`, which was read from `source`, until SIGTERM or SIGINT; on SIGHUP it is read again.
///
/// # Errors
/// See [`Gateway::start`].
pub async fn run(config: Config, source: Source) -> anyhow::Result<()> {
    let mut stop = pin!(asked_to_stop()?);
    let mut hang_up = signal(SignalKind::hangup())?;
    let given = Given { source: Some(source), sockets: Handed::by_supervisor()?, ..Given::default() };
    let gateway = tokio::select! {
        gateway = Gateway::start_with(config, given) => gateway?,
        () = &mut stop => return Ok(()),
    };
    tracing::info!(
        proxy = %gateway.proxy_address,
        callbacks = %gateway.callbacks_address,
        admin = %gateway.admin_address,
        "ready"
    );
    notify::tell("READY=1\nSTATUS=Serving");
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(()) = hang_up.recv() => gateway.reload().await,
        }
    }
    tracing::info!("stopping: finishing what is under way, for at most {} s", GRACE.as_secs());
    notify::tell("STOPPING=1\nSTATUS=Finishing what is under way");
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
