//! A server that does what it is told, byte by byte.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;

use super::tls::Acceptor;
use super::{Line, Seen, eventually, within};

/// The envelope of success (§5.4).
pub const OK: &str = r#"{"code":0,"msg":"success"}"#;

/// What is done about a request that has come whole.
#[derive(Debug, Clone)]
pub enum Act {
    /// These bytes are sent; the connection is kept.
    Answer(Vec<u8>),
    /// These bytes are sent, and the connection closed.
    Last(Vec<u8>),
    /// The connection is closed.
    Close,
    /// Nothing, for as long as the other end waits.
    Hang,
}

/// An answer with this status line, these further fields and this body.
pub fn answer(status: &str, fields: &str, body: impl AsRef<[u8]>) -> Act {
    let body = body.as_ref();
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{fields}\r\n", body.len());
    Act::Answer([head.as_bytes(), body].concat())
}

/// The answer of success.
pub fn ok() -> Act {
    answer("200 OK", "content-type: application/json\r\n", OK)
}

type Script = Arc<dyn Fn(&Seen) -> Act + Send + Sync>;

/// A server. It ends when it is dropped.
pub struct Upstream {
    /// Where it listens.
    pub address: SocketAddr,
    secure: bool,
    seen: Arc<Mutex<Vec<Seen>>>,
    accepted: Arc<Mutex<usize>>,
    lines: tokio::sync::Mutex<tokio::sync::mpsc::Receiver<Line>>,
    serving: JoinHandle<()>,
}

impl Upstream {
    /// One that answers everything with success.
    pub fn start() -> Self {
        Self::scripted(|_| ok())
    }

    /// One that does what `script` says of each request.
    pub fn scripted(script: impl Fn(&Seen) -> Act + Send + Sync + 'static) -> Self {
        Self::on(bind("127.0.0.1:0"), None, Some(Arc::new(script)))
    }

    /// One that does the first of these with the first request, and so on; the last with all further ones.
    pub fn in_turn(acts: impl IntoIterator<Item = Act>) -> Self {
        let acts: Vec<Act> = acts.into_iter().collect();
        let next = Mutex::new(0);
        Self::scripted(move |_| {
            let mut next = next.lock().unwrap();
            *next += 1;
            acts[(*next - 1).min(acts.len() - 1)].clone()
        })
    }

    /// One at this address that answers everything with success.
    pub fn at(address: impl AsRef<str>) -> Self {
        Self::on(bind(address.as_ref()), None, Some(Arc::new(|_: &Seen| ok())))
    }

    /// One whose connections the test serves itself, by [`accept`](Self::accept).
    pub fn by_hand() -> Self {
        Self::on(bind("127.0.0.1:0"), None, None)
    }

    /// One that speaks TLS, with a certificate for `127.0.0.1`.
    pub fn secure(acceptor: Acceptor, script: impl Fn(&Seen) -> Act + Send + Sync + 'static) -> Self {
        Self::on(bind("127.0.0.1:0"), Some(acceptor), Some(Arc::new(script)))
    }

    fn on(listener: TcpListener, tls: Option<Acceptor>, script: Option<Script>) -> Self {
        let address = listener.local_addr().unwrap();
        let (seen, accepted) = (Arc::<Mutex<Vec<Seen>>>::default(), Arc::<Mutex<usize>>::default());
        let (waiting, lines) = tokio::sync::mpsc::channel(1024);
        let secure = tls.is_some();
        let serving = tokio::spawn({
            let (seen, accepted) = (Arc::clone(&seen), Arc::clone(&accepted));
            async move {
                let mut open = tokio::task::JoinSet::new();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    *accepted.lock().unwrap() += 1;
                    let (tls, script) = (tls.clone(), script.clone());
                    let (seen, waiting) = (Arc::clone(&seen), waiting.clone());
                    open.spawn(async move {
                        let line = match tls {
                            Some(tls) => tls.accept(stream).await,
                            None => Some(Line::over(stream)),
                        };
                        match (line, script) {
                            (Some(line), Some(script)) => serve(line, &script, &seen).await,
                            (Some(line), None) => drop(waiting.send(line).await),
                            (None, _) => {}
                        }
                    });
                }
            }
        });
        Self { address, secure, seen, accepted, lines: tokio::sync::Mutex::new(lines), serving }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.secure { "https" } else { "http" }, self.address)
    }

    /// The requests that came, in order.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The one request that came.
    #[track_caller]
    pub fn only(&self) -> Seen {
        let seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen[0].clone()
    }

    /// Waits until so many requests have come.
    pub async fn has_seen(&self, count: usize) {
        eventually(async || self.seen.lock().unwrap().len() >= count).await;
    }

    /// How many connections were made.
    pub fn accepted(&self) -> usize {
        *self.accepted.lock().unwrap()
    }

    /// The next connection, of a server [by hand](Self::by_hand).
    pub async fn accept(&self) -> Line {
        within(async { self.lines.lock().await.recv().await }).await.expect("the server runs")
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(mut line: Line, script: &Script, seen: &Mutex<Vec<Seen>>) {
    while let Some(request) = line.request_whenever().await {
        let act = script(&request);
        seen.lock().unwrap().push(request);
        match act {
            Act::Answer(bytes) if line.try_send(&bytes).await.is_ok() => {}
            Act::Answer(_) | Act::Close => return,
            Act::Last(bytes) => return drop(line.try_send(&bytes).await),
            Act::Hang => {
                line.rest().await;
                return;
            }
        }
    }
}

fn bind(address: &str) -> TcpListener {
    let address: SocketAddr = address.parse().unwrap();
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap_or_else(|error| panic!("{address}: {error}"));
    socket.listen(1024).unwrap()
}

/// An address of 127.0.0.x at which nobody listens, and nobody else in this run will.
pub fn nobody() -> SocketAddr {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    socket.local_addr().unwrap()
}
