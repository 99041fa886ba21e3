//! A tunnel through an HTTP proxy: `CONNECT` (RFC 9110 §9.3.6).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::ProxyFailure;

/// The most that is read of the answer's head.
pub(super) const LONGEST_HEAD: usize = 8 * 1024;
const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// Leaves `tcp` at the tunnel's first byte.
pub(super) async fn tunnel(
    tcp: &mut TcpStream,
    host: &str,
    port: u16,
    login: Option<&(String, SecretString)>,
) -> Result<(), ProxyFailure> {
    tcp.write_all(request(host, port, login).as_bytes()).await?;
    let head = read_head(tcp).await?;
    // Of a 2xx answer all after the head is the tunnel, whatever length its fields declare.
    match status(&head).ok_or(ProxyFailure::NotHttp)? {
        200..=299 => Ok(()),
        status => Err(ProxyFailure::Status { status }),
    }
}

fn request(host: &str, port: u16, login: Option<&(String, SecretString)>) -> String {
    // Unlike that of a Host field, CONNECT's port is never left out.
    let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let login = login.map_or_else(String::new, |(user, password)| {
        let pair = STANDARD.encode(format!("{user}:{}", password.expose_secret()));
        format!("Proxy-Authorization: Basic {pair}\r\n")
    });
    format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{login}\r\n")
}

/// Reads to the end of the head and not a byte further: peeks, then takes what is the head's.
async fn read_head(tcp: &mut TcpStream) -> Result<Vec<u8>, ProxyFailure> {
    let mut head = Vec::new();
    let mut waiting = [0; 2048];
    loop {
        let seen = tcp.peek(&mut waiting).await?;
        if seen == 0 {
            return Err(ProxyFailure::Io(std::io::ErrorKind::UnexpectedEof.into()));
        }
        let before = head.len();
        head.extend_from_slice(waiting.get(..seen).unwrap_or_default());
        if !b"HTTP/".starts_with(head.get(..5).unwrap_or(&head)) {
            return Err(ProxyFailure::NotHttp);
        }
        // The end may straddle two reads.
        let from = before.saturating_sub(END_OF_HEAD.len() - 1);
        let end = head[from..].windows(END_OF_HEAD.len()).position(|four| four == END_OF_HEAD);
        head.truncate(end.map_or(head.len(), |at| from + at + END_OF_HEAD.len()));
        if head.len() > LONGEST_HEAD {
            return Err(ProxyFailure::HeadTooLong { limit: LONGEST_HEAD });
        }
        tcp.read_exact(&mut head[before..]).await?;
        if end.is_some() {
            return Ok(head);
        }
    }
}

/// Of `HTTP/1.1 200 Connection established`: 200.
fn status(head: &[u8]) -> Option<u16> {
    let line = head.strip_prefix(b"HTTP/1.")?;
    let [b'0' | b'1', b' ', hundreds @ b'1'..=b'9', tens @ b'0'..=b'9', ones @ b'0'..=b'9', b' ' | b'\r', ..] =
        line
    else {
        return None;
    };
    Some(u16::from(hundreds - b'0') * 100 + u16::from(tens - b'0') * 10 + u16::from(ones - b'0'))
}
