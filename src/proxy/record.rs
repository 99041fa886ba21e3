//! What is known of one request, for metrics and log; told when its last byte has left.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::uri::PathAndQuery;
use http::{HeaderValue, Method, StatusCode};

use super::answer_code::CodeReader;
use super::app::App;
use super::limits::Standing;
use super::metrics::Outcome;
use super::refusal;
use super::trace;
use super::worker::Worker;
use crate::net::listen::Peer;
use crate::telemetry::trace::Begun;
use crate::telemetry::{log, mask};
use crate::xinyao::Target;
use crate::xinyao::checks::Failure;

/// What is known of one request.
pub struct Record {
    /// When its head was there.
    pub started: Instant,
    /// Its id, in the answer and the log.
    pub id: HeaderValue,
    /// Who connected.
    pub peer: Peer,
    /// On whose behalf, trusted proxies believed.
    pub client: IpAddr,
    /// Who calls.
    pub app: Arc<App>,
    /// What is called.
    pub target: Option<Target>,
    /// Its method; none, where it was no request.
    pub method: Option<Method>,
    /// Where it goes; kept for the access log alone, which has the path of it and never the query.
    pub path: Option<PathAndQuery>,
    /// How near it came to its limits.
    pub standing: Option<Standing>,
    /// Where it counts as under way; it leaves when this is dropped, so that an answer that is being
    /// streamed still counts.
    pub entered: Entered,
    /// Time that limits delayed it, or that its body took to come.
    pub waited: Duration,
    /// Time that the upstream took, connecting included.
    pub upstream_took: Duration,
    /// Time that the gateway itself took until the answer's head.
    pub overhead: Duration,
    /// Where it was sent last.
    pub address: Option<SocketAddr>,
    /// How often it was sent.
    pub attempts: u32,
    /// Bytes of its body, where it was read whole.
    pub bytes_in: u64,
    /// Whether its body may not have been read to the end.
    pub unread: bool,
    /// Bytes of the answer's body.
    pub bytes_out: u64,
    /// The answer's status, once there is one.
    pub status: Option<StatusCode>,
    /// Why the gateway answered by itself.
    pub refused: Option<&'static str>,
    /// What it is not as the document asks for it.
    pub failures: Vec<Failure>,
    /// Whether the upstream failed.
    pub upstream_failed: bool,
    /// Finds the answer's `code`.
    pub code: Option<CodeReader>,
    /// Whose counts it goes to.
    pub worker: Arc<Worker>,
    /// Its span, where its trace is kept.
    pub span: Option<Box<Begun>>,
}

/// Where a request counts as under way.
#[derive(Debug, Default, Clone, Copy)]
pub struct Entered {
    /// With its app.
    pub app: bool,
    /// With the gateway.
    pub gateway: bool,
    /// With those that the store is needed for.
    pub store: bool,
}

/// Status in metrics and log of a request whose client went away before the answer, as nginx has it.
const CLIENT_GONE: u16 = 499;

impl Record {
    /// Takes in a part of the answer's body.
    pub fn saw(&mut self, data: &[u8]) {
        self.bytes_out += data.len() as u64;
        if let Some(reader) = self.code.as_mut().filter(|reader| !reader.done()) {
            reader.feed(data);
        }
    }

    /// The `code` of the answer, as far as it was read (§5.4).
    pub fn code(&self) -> Option<i64> {
        self.code.as_ref().and_then(CodeReader::code)
    }

    /// What is counted as status.
    pub fn status(&self) -> u16 {
        self.status.map_or(CLIENT_GONE, |status| status.as_u16())
    }

    /// How it ended (§5.4: success is HTTP 200 and code 0).
    pub fn outcome(&self) -> Outcome {
        let Some(status) = self.status else { return Outcome::ClientGone };
        match (self.refused, self.code()) {
            (_, _) if self.upstream_failed => Outcome::UpstreamError,
            (Some(reason), _) => Outcome::Rejected(reason),
            (None, Some(0)) if status == StatusCode::OK => Outcome::Ok,
            (None, Some(_)) if status == StatusCode::OK => Outcome::BusinessError,
            (None, None) if status.as_u16() < 400 && !self.must_have_a_code() => Outcome::Ok,
            (None, _) => Outcome::UpstreamError,
        }
    }

    /// The documented endpoints answer with an envelope always; what else there is need not.
    fn must_have_a_code(&self) -> bool {
        matches!(self.target, Some(Target::Endpoint(_)))
    }

    /// It is not what the document asks for, and goes out all the same.
    pub fn note(&mut self, failures: Vec<Failure>) {
        tracing::warn!(
            request_id = self.id.to_str().unwrap_or_default(),
            app = %self.app.name,
            endpoint = self.target.map_or("none", Target::name),
            failures = refusal::listed(&failures),
            "a request fails checks"
        );
        self.failures = failures;
    }

    /// The answer is about to go out: what the gateway itself took until now is its own share.
    pub fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
        self.overhead = self.started.elapsed().saturating_sub(self.upstream_took).saturating_sub(self.waited);
    }

    fn log(&self, took: Duration) {
        let target = self.target.map_or("none", Target::name);
        let path = self.path.as_ref().map_or("", PathAndQuery::path);
        let path = if self.worker.running.mask_numbers { mask::numbers(path) } else { path.into() };
        tracing::info!(
            target: log::ACCESS,
            id = self.id.to_str().unwrap_or_default(),
            client = %self.client,
            app = %self.app.name,
            endpoint = target,
            method = self.method.as_ref().map(tracing::field::display),
            path = %path,
            status = self.status(),
            outcome = self.outcome().label(),
            reason = self.refused,
            code = self.code(),
            bytes_in = self.bytes_in,
            bytes_out = self.bytes_out,
            upstream = self.address.map(tracing::field::display),
            attempts = self.attempts,
            took_ms = took.as_secs_f64() * 1000.0,
            upstream_ms = self.upstream_took.as_secs_f64() * 1000.0,
        );
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if self.entered.app {
            self.app.in_flight.leave();
        }
        if self.entered.store {
            self.worker.running.storing.leave();
        }
        if self.entered.gateway {
            self.worker.running.in_flight.leave();
        }
        let took = self.started.elapsed();
        self.worker.count(|counts| counts.add(self, took));
        if self.worker.running.log_access {
            self.log(took);
        }
        if let Some(span) = self.span.take() {
            trace::end(*span, self);
        }
    }
}
