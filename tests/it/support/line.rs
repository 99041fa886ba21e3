//! One TCP connection.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::message::{self, Answer, Framing, Seen};
use super::within;

/// What bytes go over: TCP, or TLS on it.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Either end of a connection. Every wait has a deadline.
pub struct Line {
    stream: Box<dyn Stream>,
    held: BytesMut,
    /// This end.
    pub local: SocketAddr,
    /// The other end.
    pub peer: SocketAddr,
}

impl Line {
    /// Connects to `address`.
    pub async fn to(address: SocketAddr) -> Self {
        Self::over(within(TcpStream::connect(address)).await.expect("a connection"))
    }

    /// Connects from `local` to `address`.
    pub async fn between(local: &str, address: SocketAddr) -> Self {
        let local: IpAddr = local.parse().unwrap();
        let socket = if local.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.unwrap();
        socket.bind((local, 0).into()).unwrap();
        Self::over(within(socket.connect(address)).await.expect("a connection"))
    }

    /// Over a connection that is there.
    pub fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        let (local, peer) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
        Self::over_stream(Box::new(stream), local, peer)
    }

    /// Over whatever carries bytes.
    pub fn over_stream(stream: Box<dyn Stream>, local: SocketAddr, peer: SocketAddr) -> Self {
        Self { stream, held: BytesMut::new(), local, peer }
    }

    /// Sends all of `bytes`.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).await.expect("the other end takes it");
    }

    /// Sends all of `bytes`, unless the other end has gone.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        within(async {
            self.stream.write_all(bytes.as_ref()).await?;
            self.stream.flush().await
        })
        .await
    }

    /// Sends as much of `bytes`, over and over, as the other end takes before it takes nothing for so long.
    pub async fn send_until_stuck(&mut self, bytes: &[u8], pause: Duration) -> usize {
        let mut sent = 0;
        while let Ok(written) = tokio::time::timeout(pause, self.stream.write(bytes)).await {
            sent += written.expect("the other end is there");
        }
        sent
    }

    /// No more will be sent.
    pub async fn finish(&mut self) {
        within(self.stream.shutdown()).await.expect("the other end is there");
    }

    async fn more(&mut self) -> io::Result<usize> {
        within(self.stream.read_buf(&mut self.held)).await
    }

    /// The next bytes, at least one.
    pub async fn some(&mut self) -> Vec<u8> {
        if self.held.is_empty() {
            self.more().await.expect("bytes");
        }
        self.held.split().to_vec()
    }

    /// The next `count` bytes.
    pub async fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.held.len() < count {
            assert!(self.more().await.expect("bytes") > 0, "only {} of {count} bytes", self.held.len());
        }
        self.held.split_to(count).to_vec()
    }

    /// All bytes until the other end closes.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.more().await.unwrap_or(0) > 0 {}
        self.held.split().to_vec()
    }

    /// The next head, with the empty line that ends it.
    pub async fn head(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.held.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = self.held.split_to(end + 4);
                return Ok(String::from_utf8_lossy(&head).into_owned());
            }
            if self.more().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// The next answer, whole.
    #[track_caller]
    pub fn answer(&mut self) -> impl Future<Output = Answer> {
        let caller = std::panic::Location::caller();
        async move { self.try_answer(false).await.unwrap_or_else(|e| panic!("no answer: {e}, {caller}")) }
    }

    /// The next answer, to a HEAD.
    pub async fn answer_to_head(&mut self) -> Answer {
        self.try_answer(true).await.expect("an answer")
    }

    /// The next answer, unless the connection ends before it does.
    pub async fn try_answer(&mut self, to_head: bool) -> io::Result<Answer> {
        loop {
            let head = self.head().await?;
            let mut answer = Answer::of(&head);
            // Interim answers are not what is waited for.
            if answer.status == 100 {
                continue;
            }
            answer.body = self.body(message::framing_of_answer(&answer, to_head)).await?;
            return Ok(answer);
        }
    }

    /// The next request, whole.
    pub async fn request(&mut self) -> io::Result<Seen> {
        let head = self.head().await?;
        let mut seen = Seen::of(&head, self.peer);
        if seen.headers.get("expect").is_some_and(|value| value == "100-continue") {
            self.try_send("HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        seen.body = self.body(message::framing(&seen.headers)).await?;
        Ok(seen)
    }

    /// The next request, however long it takes to come; `None` when the other end has gone.
    pub async fn request_whenever(&mut self) -> Option<Seen> {
        if self.held.is_empty() && self.stream.read_buf(&mut self.held).await.ok()? == 0 {
            return None;
        }
        self.request().await.ok()
    }

    async fn body(&mut self, framing: Framing) -> io::Result<Vec<u8>> {
        match framing {
            Framing::Length(length) => self.take(length).await,
            Framing::ToTheEnd => {
                while self.more().await? > 0 {}
                Ok(self.held.split().to_vec())
            }
            Framing::Chunked => {
                let mut body = Vec::new();
                loop {
                    let line = self.text_line().await?;
                    let size = line.split(';').next().unwrap_or_default();
                    let size = usize::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
                    if size == 0 {
                        while !self.text_line().await?.is_empty() {}
                        return Ok(body);
                    }
                    body.extend(self.take(size).await?);
                    self.take(2).await?;
                }
            }
        }
    }

    async fn take(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.held.len() < count {
            if self.more().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.held.split_to(count).to_vec())
    }

    /// The next line, without its end.
    pub async fn text_line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.held.windows(2).position(|window| window == b"\r\n") {
                let line = self.held.split_to(end);
                self.held.advance(2);
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            if self.more().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Waits until the other end has closed; it must send nothing more.
    pub async fn closed(&mut self) {
        let rest = self.rest().await;
        assert!(rest.is_empty(), "sent instead of closing: {}", String::from_utf8_lossy(&rest));
    }

    /// Whether nothing comes for so long, not even the end.
    pub async fn is_silent_for(&mut self, time: Duration) -> bool {
        self.held.is_empty()
            && tokio::time::timeout(time, self.stream.read_buf(&mut self.held)).await.is_err()
    }
}
