//! Spans go to the collector: OTLP over HTTP, in batches, by a task of its own. Whatever the collector does, nobody
//! waits for it; what it does not take in time is dropped and counted.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::uri::Authority;
use http::{Request, StatusCode, Uri};
use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::net::client::{Client, ClientError};
use crate::net::connect::EgressError;
use crate::net::headers;
use crate::telemetry::trace::{Queue, Settings, Span, Tracer, otlp};

/// How long the collector may take for a batch.
const DEADLINE: Duration = Duration::from_secs(5);
/// How often a batch is sent before it is dropped.
const TRIES: u32 = 4;
/// From one try to the next; doubled until one succeeds.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(30);
/// How long the last spans may take when the process ends.
const FAREWELL: Duration = Duration::from_secs(2);
/// Longest answer of a collector that is looked at.
const MAX_ANSWER: usize = 16 << 10;

/// Traces, as long as the process runs.
#[derive(Debug)]
pub(super) struct Traces {
    /// Begins spans.
    pub(super) tracer: Tracer,
    end: oneshot::Sender<()>,
    exporting: JoinHandle<()>,
}

impl Traces {
    /// Begins to export, on the current tokio runtime.
    ///
    /// # Errors
    /// The system's certificate authorities can't be read.
    pub(super) fn start(settings: Settings) -> Result<Self, EgressError> {
        let (tracer, queue) = Tracer::new(settings.ratio);
        let (end, ending) = oneshot::channel();
        let collector = Collector { client: Client::new()?, endpoint: settings.endpoint };
        let exporter = Exporter { collector, queue, batch: Vec::new(), pause: FIRST_PAUSE, lost: false };
        Ok(Self { tracer, end, exporting: tokio::spawn(exporter.run(ending)) })
    }

    /// Exports what there is, if it goes quickly.
    pub(super) async fn end(self) {
        drop(self.end);
        if timeout(FAREWELL, self.exporting).await.is_err() {
            tracing::debug!("the last spans did not reach the collector");
        }
    }
}

struct Exporter {
    collector: Collector,
    queue: Queue,
    /// Spans that are not exported yet.
    batch: Vec<Span>,
    pause: Duration,
    /// Whether the last try failed, which has been said.
    lost: bool,
}

impl Exporter {
    async fn run(mut self, mut ending: oneshot::Receiver<()>) {
        tokio::select! {
            () = self.export() => {}
            _ = &mut ending => {}
        }
        // What was under way is sent once more: a span that comes twice is one span.
        loop {
            self.queue.take(&mut self.batch);
            if self.batch.is_empty() {
                return;
            }
            let sent = self.collector.send(&self.batch).await;
            self.settled(sent.unwrap_or(0));
        }
    }

    async fn export(&mut self) {
        loop {
            self.queue.gather(&mut self.batch).await;
            if self.batch.is_empty() {
                return;
            }
            let taken = self.deliver().await;
            self.settled(taken);
        }
    }

    /// Sends the batch until it is taken or given up; how many spans of it were taken.
    async fn deliver(&mut self) -> u64 {
        for tried in 1..=TRIES {
            let failure = match self.collector.send(&self.batch).await {
                Ok(taken) => {
                    if std::mem::take(&mut self.lost) {
                        tracing::info!("the collector takes spans again");
                    }
                    self.pause = FIRST_PAUSE;
                    return taken;
                }
                Err(failure) => failure,
            };
            if !std::mem::replace(&mut self.lost, true) {
                tracing::warn!(
                    collector = %self.collector.host(), error = %failure,
                    "spans do not reach the collector; it is to speak OTLP over HTTP, usually on port 4318"
                );
            }
            if tried == TRIES || !failure.is_passing() {
                break;
            }
            sleep(failure.wait().unwrap_or(self.pause).min(LAST_PAUSE)).await;
            self.pause = (self.pause * 2).min(LAST_PAUSE);
        }
        0
    }

    fn settled(&mut self, taken: u64) {
        let all = self.batch.len() as u64;
        self.batch.clear();
        let taken = taken.min(all);
        self.queue.count(taken, all - taken);
    }
}

struct Collector {
    client: Client,
    endpoint: Uri,
}

/// Why a batch was not taken.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Exchange(#[from] ClientError),
    #[error("no answer within {DEADLINE:?}")]
    Timeout,
    #[error("answered with {status}")]
    Refused { status: StatusCode, wait: Option<Duration> },
}

impl Failure {
    /// Whether another try may succeed (OTLP specification, "Retryable Response Codes").
    fn is_passing(&self) -> bool {
        match self {
            Self::Exchange(_) | Self::Timeout => true,
            Self::Refused { status, .. } => matches!(status.as_u16(), 429 | 502 | 503 | 504),
        }
    }

    fn wait(&self) -> Option<Duration> {
        match self {
            Self::Refused { wait, .. } => *wait,
            Self::Exchange(_) | Self::Timeout => None,
        }
    }
}

impl Collector {
    /// Where it is; the rest of its URL may hold a secret.
    fn host(&self) -> &str {
        self.endpoint.authority().map_or("", Authority::as_str)
    }

    /// Sends spans; how many of them were taken.
    async fn send(&self, spans: &[Span]) -> Result<u64, Failure> {
        timeout(DEADLINE, self.exchange(spans)).await.map_err(|_| Failure::Timeout)?
    }

    async fn exchange(&self, spans: &[Span]) -> Result<u64, Failure> {
        let mut request =
            Request::post(self.endpoint.clone()).body(Bytes::from(otlp::request(spans))).unwrap_or_default();
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(otlp::CONTENT_TYPE));
        let mut reply = self.client.send(request).await?;
        if !reply.status.is_success() {
            let wait = headers::retry_after(&reply.headers, Timestamp::now());
            return Err(Failure::Refused { status: reply.status, wait });
        }
        // Its head says that they were taken, however the rest may end.
        let read = reply.read(MAX_ANSWER).await;
        let rejected = if matches!(read, Ok(true)) { otlp::rejected(reply.begun()) } else { 0 };
        Ok((spans.len() as u64).saturating_sub(rejected))
    }
}
