//! The listening sockets: given by whoever started the process, by the process before it, or bound here.

use std::io;
use std::net::{SocketAddr, TcpListener};

use anyhow::{Context, bail};
use listenfd::ListenFd;

use crate::config::Config;
use crate::net::hand_over::Desk;
use crate::net::listen;

/// What stands for a socket where they are handed over.
const PROXY: u8 = b'p';
const CALLBACKS: u8 = b'c';
const ADMIN: u8 = b'a';

/// Sockets that somebody else opened.
#[derive(Debug, Default)]
pub struct Handed {
    proxy: Vec<TcpListener>,
    callbacks: Option<TcpListener>,
    admin: Option<TcpListener>,
}

impl Handed {
    /// Those of socket activation (sd_listen_fds(3)), which are named `proxy`, `callbacks` and `admin`; several may be
    /// `proxy`.
    ///
    /// # Errors
    /// One is no listening TCP socket, or has another name.
    pub fn by_supervisor() -> anyhow::Result<Self> {
        let mut listed = ListenFd::from_env();
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut given = Self::default();
        for at in 0..listed.len() {
            let name = names.next().unwrap_or_default();
            let way_out = "FileDescriptorName= in its socket unit must be proxy, callbacks or admin";
            let socket = listed
                .take_tcp_listener(at)
                .with_context(|| format!("socket {name:?}, which systemd opened, can't be used"))?
                .with_context(|| format!("socket {name:?}, which systemd opened, is gone"))?;
            match name {
                "proxy" => given.proxy.push(socket),
                "callbacks" if given.callbacks.is_none() => given.callbacks = Some(socket),
                "admin" if given.admin.is_none() => given.admin = Some(socket),
                "callbacks" | "admin" => {
                    bail!("systemd opened two sockets for {name}; one is all it can have")
                }
                _ => bail!("systemd opened a socket that is called {name:?}: {way_out}"),
            }
        }
        Ok(given)
    }

    /// Takes in what the process before hands over, if it listens where `config` says; what was given already stays.
    pub(super) fn inherit(&mut self, handed: Vec<(u8, TcpListener)>, config: &Config) {
        let at = |socket: &TcpListener, address: SocketAddr| {
            let same =
                |local: SocketAddr| local == address || (address.port() == 0 && local.ip() == address.ip());
            socket.local_addr().is_ok_and(same)
        };
        let own_proxy = !self.proxy.is_empty();
        for (letter, socket) in handed {
            let (place, address) = match letter {
                PROXY if at(&socket, config.proxy.listen.address) => {
                    if !own_proxy {
                        self.proxy.push(socket);
                    }
                    continue;
                }
                CALLBACKS => (&mut self.callbacks, config.hub.listen.address),
                ADMIN => (&mut self.admin, config.admin.address),
                _ => continue,
            };
            if place.is_none() && at(&socket, address) {
                *place = Some(socket);
            }
        }
    }

    /// Whether there are any.
    pub(super) fn is_some(&self) -> bool {
        !self.proxy.is_empty() || self.callbacks.is_some() || self.admin.is_some()
    }
}

/// All that the gateway listens on.
#[derive(Debug)]
pub(super) struct Sockets {
    /// One for each worker thread.
    pub(super) proxy: Vec<TcpListener>,
    pub(super) callbacks: TcpListener,
    pub(super) admin: TcpListener,
    /// Whoever started the process has them too, and gives them to the next one.
    pub(super) kept: bool,
}

impl Sockets {
    /// Binds what is not `given`, and sees to it that at least `threads` threads have one to accept from.
    pub(super) fn complete(
        given: Handed,
        kept: bool,
        config: &Config,
        threads: usize,
    ) -> anyhow::Result<Self> {
        let Handed { mut proxy, callbacks, admin } = given;
        if proxy.is_empty() {
            let address = config.proxy.listen.address;
            proxy = bind_all(address, threads).with_context(|| cannot(address, "listen.proxy"))?;
        }
        for at in 0..threads.saturating_sub(proxy.len()) {
            let again = proxy[at].try_clone().context("cannot share the socket of listen.proxy")?;
            proxy.push(again);
        }
        let or_bind = |given: Option<TcpListener>, address: SocketAddr, key: &str| match given {
            Some(socket) => Ok(socket),
            None => listen::bind(address, false).with_context(|| cannot(address, key)),
        };
        let sockets = Self {
            proxy,
            admin: or_bind(admin, config.admin.address, "listen.admin")?,
            callbacks: or_bind(callbacks, config.hub.listen.address, "listen.callbacks")?,
            kept,
        };
        sockets.guard(config)?;
        Ok(sockets)
    }

    /// That nobody gets in who is not let in by the file: a socket that was given may be another than the file names.
    fn guard(&self, config: &Config) -> anyhow::Result<()> {
        let (admin, callbacks) = (self.admin.local_addr()?, self.callbacks.local_addr()?);
        if config.admin.token.is_none() && !admin.ip().is_loopback() {
            bail!("`admin.token` is required: the socket for operators is {admin}, which is not on loopback");
        }
        if config.hub.keys.is_empty() && !callbacks.ip().is_loopback() {
            bail!(
                "`callbacks.key` is required: the socket for callbacks is {callbacks}, which is not on loopback"
            );
        }
        Ok(())
    }

    /// The same sockets once more.
    pub(super) fn spare(&self) -> io::Result<Self> {
        Ok(Self {
            proxy: self.proxy.iter().map(TcpListener::try_clone).collect::<io::Result<_>>()?,
            callbacks: self.callbacks.try_clone()?,
            admin: self.admin.try_clone()?,
            kept: self.kept,
        })
    }

    /// Gives them to the process that waits at `desk` for this one's end, if there is one.
    pub(super) async fn hand_over(self, desk: Option<Desk>) -> bool {
        let Some(desk) = desk else { return false };
        let mut all = vec![(CALLBACKS, &self.callbacks), (ADMIN, &self.admin)];
        all.extend(self.proxy.iter().map(|socket| (PROXY, socket)));
        desk.hand_over(&all).await
    }
}

fn cannot(address: SocketAddr, key: &str) -> String {
    format!("cannot listen on {address} ({key})")
}

/// Sockets for so many threads; the kernel spreads connections over them (SO_REUSEPORT).
fn bind_all(address: SocketAddr, threads: usize) -> io::Result<Vec<TcpListener>> {
    let first = listen::bind(address, true)?;
    // Port 0 took a free one; the others must take the same.
    let address = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..threads {
        sockets.push(listen::bind(address, true)?);
    }
    Ok(sockets)
}
