//! The internal app of the demo: it knows the gateway's address, and nothing of keys.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use http::Request;
use http::header::CONTENT_TYPE;
use serde_json::Value;

use crate::cli::exchange::exchange;
use crate::net::{Origin, Scheme};
use crate::xinyao::Endpoint;

const BOUNDARY: &str = "----demo";

/// The app, calling one server.
pub(super) struct App {
    server: Origin,
}

/// What a call came to.
pub(super) struct Called {
    pub(super) status: u16,
    pub(super) body: Value,
    pub(super) took: Duration,
}

impl App {
    /// An app that calls `address`.
    pub(super) fn calling(address: SocketAddr) -> Self {
        Self { server: origin(address) }
    }

    /// Posts JSON, whatever is answered.
    pub(super) async fn try_post(&self, endpoint: Endpoint, body: &Value) -> anyhow::Result<Called> {
        self.send(endpoint, "application/json", body.to_string().into()).await
    }

    /// Posts JSON that must succeed.
    pub(super) async fn post(&self, endpoint: Endpoint, body: &Value) -> anyhow::Result<Called> {
        succeeded(endpoint, self.try_post(endpoint, body).await?)
    }

    /// Uploads a CSV file of numbers with these form fields; must succeed.
    pub(super) async fn upload(&self, fields: &[(&str, &str)], file: &str) -> anyhow::Result<Called> {
        let kind = format!("multipart/form-data; boundary={BOUNDARY}");
        let called = self.send(Endpoint::Outnum, &kind, form(fields, file).into()).await?;
        succeeded(Endpoint::Outnum, called)
    }

    /// Fetches the recording at `url`, which is the server's; its size in bytes.
    pub(super) async fn recording(&self, url: &str) -> anyhow::Result<usize> {
        let path = url.strip_prefix(&self.server.to_string()).context("the recording is elsewhere")?;
        let answer = exchange(&self.server, Request::get(path).body(Bytes::new())?).await?;
        if !answer.status.is_success() {
            bail!("the recording was answered with {}", answer.status);
        }
        Ok(answer.body.len())
    }

    async fn send(&self, endpoint: Endpoint, kind: &str, body: Bytes) -> anyhow::Result<Called> {
        let request = Request::post(endpoint.spec().path).header(CONTENT_TYPE, kind).body(body)?;
        let started = Instant::now();
        let answer = exchange(&self.server, request).await?;
        let body = serde_json::from_slice(&answer.body).context("the answer is no JSON")?;
        Ok(Called { status: answer.status.as_u16(), body, took: started.elapsed() })
    }
}

/// A server of this process.
pub(super) fn origin(address: SocketAddr) -> Origin {
    Origin { scheme: Scheme::Http, host: address.ip().to_string(), port: address.port() }
}

/// §5.4.
fn succeeded(endpoint: Endpoint, called: Called) -> anyhow::Result<Called> {
    if called.status != 200 || called.body["code"] != 0 {
        bail!("{} was answered with {} {}", endpoint.spec().name, called.status, called.body);
    }
    Ok(called)
}

fn form(fields: &[(&str, &str)], file: &str) -> String {
    let mut form = String::new();
    for (name, value) in fields {
        let head = format!("content-disposition: form-data; name=\"{name}\"");
        form += &format!("--{BOUNDARY}\r\n{head}\r\n\r\n{value}\r\n");
    }
    let head = "content-disposition: form-data; name=\"file\"; filename=\"numbers.csv\"";
    form += &format!("--{BOUNDARY}\r\n{head}\r\ncontent-type: text/csv\r\n\r\n{file}\r\n--{BOUNDARY}--\r\n");
    form
}
