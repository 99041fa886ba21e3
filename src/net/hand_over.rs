//! Listening sockets go from a process that ends to the one that takes its place.
//!
//! The socket itself is handed over, with all that waits in its queue (SCM_RIGHTS, unix(7)): it is open without a
//! pause, and no connection is refused or reset. A second socket on the same address (SO_REUSEPORT) would not do:
//! when the first is closed, the kernel resets the handshakes that are under way on it, unless
//! `net.ipv4.tcp_migrate_req` is set.
//!
//! The one that ends has a [`Desk`], a socket in the file system. The one that comes is an [`Heir`]: it says in which
//! network namespace it is, and waits. There is one heir at a time, of the same user, in the same namespace.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The most sockets that go at once: the kernel's own bound is 253.
pub const MAX_SOCKETS: usize = 250;
/// How long the other end may take for a few bytes.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where an heir asks for the sockets.
#[derive(Debug)]
pub struct Desk {
    path: PathBuf,
    heir: Arc<Mutex<Option<UnixStream>>>,
    listening: JoinHandle<()>,
}

impl Desk {
    /// Opens it at `path`, on the current tokio runtime. What is there already was left behind: whoever opens the
    /// desk has the store.
    ///
    /// # Errors
    /// No socket can be made there: the path is over 107 bytes, for one.
    pub fn open(path: &Path) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(path)?;
        let heir = Arc::<Mutex<Option<UnixStream>>>::default();
        let listening = tokio::spawn(attend(listener, Arc::clone(&heir)));
        Ok(Self { path: path.to_owned(), heir, listening })
    }

    /// Gives the heir, if there is one, these sockets, each with a letter that says what it is for. Whether it has
    /// them now.
    pub async fn hand_over(self, sockets: &[(u8, &TcpListener)]) -> bool {
        let heir = self.heir.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(heir) = heir else { return false };
        let given = timeout(PATIENCE, give(&heir, sockets)).await.unwrap_or_else(|late| Err(late.into()));
        if let Err(error) = &given {
            tracing::warn!(%error, "the process that waits could not be given the listening sockets");
        }
        given.is_ok()
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.listening.abort();
        drop(std::fs::remove_file(&self.path));
    }
}

async fn attend(listener: UnixListener, heir: Arc<Mutex<Option<UnixStream>>>) {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else {
            tokio::time::sleep(PATIENCE).await;
            continue;
        };
        let who = stream
            .peer_cred()
            .ok()
            .filter(|who| who.uid() == 0 || who.uid() == nix::unistd::geteuid().as_raw());
        let Some(who) = who else { continue };
        let told = timeout(PATIENCE, stream.read_u64()).await;
        if !matches!((told, namespace()), (Ok(Ok(theirs)), Ok(ours)) if theirs == ours) {
            continue;
        }
        let mut place = heir.lock().unwrap_or_else(PoisonError::into_inner);
        if place.as_ref().is_some_and(is_there) {
            continue;
        }
        tracing::info!(
            process = who.pid(),
            "another process waits to take over: it will when this one is told to stop"
        );
        *place = Some(stream);
    }
}

/// An heir says nothing more; what can be read is its end.
fn is_there(heir: &UnixStream) -> bool {
    matches!(heir.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

async fn give(heir: &UnixStream, sockets: &[(u8, &TcpListener)]) -> io::Result<()> {
    let letters: Vec<u8> = sockets.iter().map(|(letter, _)| *letter).collect();
    let descriptors: Vec<BorrowedFd<'_>> = sockets.iter().map(|(_, socket)| socket.as_fd()).collect();
    heir.async_io(Interest::WRITABLE, || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_SOCKETS))];
        let mut rights = SendAncillaryBuffer::new(&mut space);
        if !rights.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::Error::other(format!("more than {MAX_SOCKETS} listening sockets")));
        }
        sendmsg(heir, &[IoSlice::new(&letters)], &mut rights, SendFlags::NOSIGNAL)?;
        Ok(())
    })
    .await
}

/// Waits for the sockets of the process that ends.
#[derive(Debug)]
pub struct Heir(UnixStream);

impl Heir {
    /// Asks at the desk at `path`.
    ///
    /// # Errors
    /// There is none.
    pub async fn ask(path: &Path) -> io::Result<Self> {
        let mut stream = UnixStream::connect(path).await?;
        timeout(PATIENCE, stream.write_u64(namespace()?)).await??;
        Ok(Self(stream))
    }

    /// The sockets, each with its letter, when the other process ends; none if it ended without giving them, or has
    /// another heir.
    ///
    /// # Errors
    /// The connection to it fails.
    pub async fn receive(self) -> io::Result<Vec<(u8, TcpListener)>> {
        self.0.async_io(Interest::READABLE, || take(&self.0)).await
    }
}

fn take(stream: &UnixStream) -> io::Result<Vec<(u8, TcpListener)>> {
    let mut letters = [0; MAX_SOCKETS];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_SOCKETS))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    let read = recvmsg(stream, &mut [IoSliceMut::new(&mut letters)], &mut rights, RecvFlags::CMSG_CLOEXEC);
    let count = match read {
        Ok(read) => read.bytes,
        // It went away with what we had told it unread.
        Err(rustix::io::Errno::CONNRESET) => 0,
        Err(error) => return Err(error.into()),
    };
    let sockets = rights.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => descriptors.map(TcpListener::from).collect(),
        _ => Vec::new(),
    });
    Ok(letters[..count].iter().copied().zip(sockets).collect())
}

/// Which network namespace this process is in: another one's addresses are not those of the same name here.
fn namespace() -> io::Result<u64> {
    Ok(std::fs::metadata("/proc/self/ns/net")?.ino())
}
