//! TLS on a listener: its certificate and key are files, which are read again when they change.
//!
//! Connections keep what they began with. Files that can't be used change nothing: what was read last goes on, and
//! what is wrong is told.

mod error;
mod expiry;
mod files;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::BytesMut;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;

pub use self::error::TlsError;
use self::files::{Contents, Files};
use super::early::Early;
use crate::net::TlsSettings;

/// How often the files are looked at.
const POLL: Duration = Duration::from_secs(1);
/// Whoever writes gets so long for the rest of it: certificate and key are two files.
const SETTLE: Duration = Duration::from_millis(200);

/// What a listener needs for TLS.
pub struct Tls {
    /// Which listener it is: `proxy` or `callbacks`.
    pub listener: &'static str,
    settings: TlsSettings,
    config: ArcSwap<ServerConfig>,
    standing: Mutex<Standing>,
    failed: AtomicU64,
}

/// How it stands.
#[derive(Debug, Clone)]
pub struct Standing {
    /// When the certificate that is shown runs out, Unix seconds.
    pub not_after: i64,
    /// Why the files as they are now are not used, if they are not.
    pub error: Option<String>,
    /// How often other files were taken up.
    pub taken_up: u64,
    /// How often they could not be.
    pub refused: u64,
    contents: Contents,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("listener", &self.listener).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files of the listener that is called so.
    ///
    /// # Errors
    /// A file can't be read or used, or the key is another certificate's.
    pub fn load(listener: &'static str, settings: &TlsSettings) -> Result<Arc<Self>, TlsError> {
        let files = Files::read(settings)?;
        let (config, not_after) = files.understand(settings)?;
        let standing =
            Standing { not_after, error: None, taken_up: 0, refused: 0, contents: files.contents() };
        Ok(Arc::new(Self {
            listener,
            settings: settings.clone(),
            config: ArcSwap::new(config),
            standing: Mutex::new(standing),
            failed: AtomicU64::new(0),
        }))
    }

    /// How it stands.
    pub fn standing(&self) -> Standing {
        self.state().clone()
    }

    /// Handshakes that failed.
    pub fn failed_handshakes(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Takes the files up whenever they have changed, and stay so for a moment; does not end.
    pub fn watch(self: &Arc<Self>) -> impl Future<Output = ()> + Send + use<> {
        let tls = Arc::clone(self);
        async move {
            let mut seen = None;
            loop {
                tokio::time::sleep(if seen.is_some() { SETTLE } else { POLL }).await;
                let looking = Arc::clone(&tls);
                let looked = tokio::task::spawn_blocking(move || looking.look(seen)).await;
                seen = looked.ok().flatten();
            }
        }
    }

    /// Takes the files up if they are other ones than were read last, and the same as were `seen` before; what they
    /// are, if it is to be looked again.
    fn look(&self, seen: Option<Contents>) -> Option<Contents> {
        let read = Files::read(&self.settings);
        let contents = read.as_ref().map_or_else(Contents::unreadable, Files::contents);
        if self.state().contents == contents {
            return None;
        }
        if seen.as_ref() != Some(&contents) {
            return Some(contents);
        }
        let taken = read.and_then(|files| files.understand(&self.settings));
        let mut standing = self.state();
        standing.contents = contents;
        match taken {
            Ok((config, not_after)) => {
                self.config.store(config);
                (standing.not_after, standing.error) = (not_after, None);
                standing.taken_up += 1;
                tracing::info!(listener = self.listener, "another certificate was taken up");
            }
            Err(error) => {
                tracing::error!(listener = self.listener, %error, "the certificate stays the one that was read before");
                standing.error = Some(error.to_string());
                standing.refused += 1;
            }
        }
        None
    }

    /// The server's side of a handshake over `tcp`, of which `early` has been read already, within `limit`.
    pub(super) async fn handshake(
        &self,
        tcp: TcpStream,
        early: BytesMut,
        limit: Duration,
    ) -> io::Result<TlsStream<Early>> {
        let shaking = TlsAcceptor::from(self.config.load_full()).accept(Early::new(tcp, early));
        let shaken = timeout(limit, shaking).await.unwrap_or_else(|late| Err(late.into()));
        if shaken.is_err() {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        shaken
    }

    fn state(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
