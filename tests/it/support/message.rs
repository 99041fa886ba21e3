//! Requests to send, and what came.

use std::fmt;
use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::Line;

/// A request to be sent.
#[derive(Debug, Clone)]
pub struct Ask {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    from: Option<String>,
}

/// `GET target`.
pub fn get(target: &str) -> Ask {
    request("GET", target)
}

/// `POST target`, with a JSON body.
pub fn post(target: &str, body: impl AsRef<[u8]>) -> Ask {
    request("POST", target).header("content-type", "application/json").body(body)
}

/// A request without a body.
pub fn request(method: &str, target: &str) -> Ask {
    Ask { method: method.to_owned(), target: target.to_owned(), headers: Vec::new(), body: None, from: None }
}

impl Ask {
    /// With this field too.
    pub fn header(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    /// With this token.
    pub fn token(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    /// With this body, and its length unless it is framed already.
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = Some(body.as_ref().to_vec());
        self
    }

    /// From this local address.
    pub fn from(mut self, address: &str) -> Self {
        self.from = Some(address.to_owned());
        self
    }

    /// Its body.
    pub fn content(&self) -> &[u8] {
        self.body.as_deref().unwrap_or_default()
    }

    /// As it goes over the line.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        let named = |name: &str| self.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
        if !named("host") {
            head += "host: gateway\r\n";
        }
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        if let Some(body) =
            self.body.as_ref().filter(|_| !named("content-length") && !named("transfer-encoding"))
        {
            head += &format!("content-length: {}\r\n", body.len());
        }
        let mut bytes = (head + "\r\n").into_bytes();
        bytes.extend(self.body.iter().flatten());
        bytes
    }

    /// Sends it on a connection of its own; the answer.
    pub async fn send(self, address: SocketAddr) -> Answer {
        let mut line = match &self.from {
            Some(local) => Line::between(local, address).await,
            None => Line::to(address).await,
        };
        self.send_on(&mut line).await
    }

    /// Sends it on `line`; the answer.
    pub async fn send_on(&self, line: &mut Line) -> Answer {
        // A refusal may come, and the connection close, before all was sent.
        drop(line.try_send(self.to_bytes()).await);
        line.try_answer(self.method == "HEAD").await.unwrap_or_else(|e| panic!("no answer to {self:?}: {e}"))
    }
}

/// An answer that came.
#[derive(Clone)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its head, as it came.
    pub head: String,
    /// Its fields.
    pub headers: HeaderMap,
    /// Its content, unchunked.
    pub body: Vec<u8>,
}

impl Answer {
    /// From its head.
    pub fn of(head: &str) -> Self {
        let status = head.split(' ').nth(1).and_then(|status| status.get(..3)).and_then(|s| s.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status line: {head}"));
        Self { status, head: head.to_owned(), headers: fields(head), body: Vec::new() }
    }

    /// A field's value; empty where it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Its content as text.
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// Its content as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The `code` of its envelope.
    #[track_caller]
    pub fn code(&self) -> i64 {
        self.json()["code"].as_i64().unwrap_or_else(|| panic!("no code: {self:?}"))
    }

    /// Holds it to a row of the table of refusals: status, code, reason, and all that every row has. What
    /// it says to people.
    #[track_caller]
    pub fn refused(&self, status: u16, code: i64, reason: &str) -> String {
        assert_eq!((self.status, self.header("x-gateway-error")), (status, reason), "{self:?}");
        let envelope = self.json();
        let keys: Vec<&str> = envelope.as_object().unwrap().keys().map(String::as_str).collect();
        let further: &[&str] = if keys.contains(&"failures") { &["failures"] } else { &[] };
        assert_eq!(keys, [&["code", "msg", "request_id"], further].concat(), "{self:?}");
        assert_eq!(envelope["code"], code, "{self:?}");
        let id = self.header("x-request-id");
        assert!(!id.is_empty() && envelope["request_id"] == id, "{self:?}");
        assert_eq!(self.header("content-type"), "application/json");
        let message = envelope["msg"].as_str().unwrap();
        assert!(!message.is_empty(), "{self:?}");
        message.to_owned()
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = String::from_utf8_lossy(&self.body[..self.body.len().min(2000)]);
        write!(f, "{}{body}", self.head)
    }
}

/// A request that came.
#[derive(Clone)]
pub struct Seen {
    /// From where.
    pub peer: SocketAddr,
    /// Its method.
    pub method: String,
    /// Its target, as it came.
    pub target: String,
    /// Its head, as it came.
    pub head: String,
    /// Its fields.
    pub headers: HeaderMap,
    /// Its content, unchunked.
    pub body: Vec<u8>,
}

impl Seen {
    /// From its head.
    pub fn of(head: &str, peer: SocketAddr) -> Self {
        let mut words = head.split(' ').map(str::to_owned);
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        Self { peer, method, target, head: head.to_owned(), headers: fields(head), body: Vec::new() }
    }

    /// A field's value; empty where it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Apikey, timestamp and digest of its signature.
    pub fn signature(&self) -> [&str; 3] {
        let parts: Vec<&str> = self.header("authorization").split(':').collect();
        parts.try_into().unwrap_or_else(|_| panic!("not signed: {self:?}"))
    }
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{} bytes", self.head, self.body.len())
    }
}

fn fields(head: &str) -> HeaderMap {
    let fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    fields
        .map(|(name, value)| {
            (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value.trim()).unwrap())
        })
        .collect()
}

/// Where content ends.
pub enum Framing {
    Length(usize),
    Chunked,
    ToTheEnd,
}

/// Of a request.
pub fn framing(headers: &HeaderMap) -> Framing {
    if headers.contains_key("transfer-encoding") {
        return Framing::Chunked;
    }
    let length = headers.get("content-length").and_then(|value| value.to_str().ok());
    Framing::Length(length.map_or(0, |length| length.parse().unwrap()))
}

/// Of an answer.
pub fn framing_of_answer(answer: &Answer, to_head: bool) -> Framing {
    let framed =
        ["content-length", "transfer-encoding"].iter().any(|name| answer.headers.contains_key(*name));
    match answer.status {
        _ if to_head => Framing::Length(0),
        100..200 | 204 | 304 => Framing::Length(0),
        _ if framed => framing(&answer.headers),
        _ => Framing::ToTheEnd,
    }
}
