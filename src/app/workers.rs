//! The proxy's threads: a runtime and a listener each, so that no request ever changes threads.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::oneshot;

use super::processors::Processors;
use crate::net::listen::{self, Drain, Listening, Live, Tls};
use crate::proxy::Proxy;

/// The threads.
#[derive(Debug)]
pub(super) struct Workers(Vec<Worker>);

#[derive(Debug)]
struct Worker {
    /// Closed when the thread's listener and connections have ended, and nothing is under way.
    ended: oneshot::Receiver<()>,
    /// Dropped to have the thread end at once.
    _cut: oneshot::Sender<()>,
}

impl Workers {
    /// Starts a thread per socket, each on a processor of its own if there are as many.
    pub(super) fn start(
        sockets: Vec<TcpListener>,
        tls: Option<&Arc<Tls>>,
        proxy: &Arc<Proxy>,
        settings: &Live,
        drain: &Drain,
    ) -> anyhow::Result<Self> {
        let processors = Processors::one_each(sockets.len());
        let threads = sockets.into_iter().enumerate().map(|(thread, socket)| {
            let listening = Listening { socket, tls: tls.cloned() };
            let (cut, cut_off) = oneshot::channel();
            let (end, ended) = oneshot::channel();
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            if let Some(processors) = processors {
                runtime.on_thread_start(move || processors.roam());
            }
            let runtime = runtime.enable_all().build()?;
            let (proxy, settings, drain) = (Arc::clone(proxy), settings.clone(), drain.clone());
            std::thread::Builder::new().name(format!("proxy-{thread}")).spawn(move || {
                if let Some(processors) = processors {
                    processors.keep_to(thread);
                }
                runtime.block_on(async {
                    tokio::spawn(proxy.upkeep(thread));
                    let (reject, service) = (proxy.rejections(thread), proxy.service(thread));
                    let serving = listen::serve(listening, settings, reject, service, drain);
                    let finishing = async {
                        serving.await;
                        proxy.idle().await;
                    };
                    tokio::select! {
                        () = finishing => {}
                        _ = cut_off => tracing::warn!("requests still under way were cut off"),
                    }
                });
                drop(end);
            })?;
            Ok(Worker { ended, _cut: cut })
        });
        threads.collect::<io::Result<_>>().map(Self).context("cannot start the worker threads")
    }

    /// Waits until all have ended, at most for `grace`.
    pub(super) async fn ended(mut self, grace: Duration) {
        let all = async {
            for worker in &mut self.0 {
                // It is never sent anything: the thread drops its end.
                let _ = (&mut worker.ended).await;
            }
        };
        if tokio::time::timeout(grace, all).await.is_err() {
            tracing::warn!("not everything finished in time");
        }
    }
}
