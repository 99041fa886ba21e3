//! Tells the ledger what an outnum was answered with (§6.4), and which numbers it sent.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either};
use http::Response;
use jiff::Timestamp;
use serde::Deserialize;
use tower::{Layer, Service};

use super::answer::Answer;
use super::call::{Answered, Call, Refused};
use super::numbers::{Collected, Numbers};
use super::outgoing::Observer;
use super::refusal::Refusal;
use super::tenant::Parts;
use crate::store::{Ledger, Submission};
use crate::xinyao::{Endpoint, Target};

/// Most bytes of a field that are of use.
const MAX_FIELD: usize = 256;
/// Largest answer that is looked through.
const MAX_ANSWER: usize = 64 * 1024;
/// How long the numbers of a workbook are waited for, once there is the answer; nobody else waits.
const NUMBERS_WITHIN: Duration = Duration::from_secs(10);

/// Puts the ledger's eye on what is below.
#[derive(Clone, Copy)]
pub struct BatchLayer;

/// See [`BatchLayer`].
#[derive(Clone, Copy)]
pub struct Booked<S>(S);

impl<S> Layer<S> for BatchLayer {
    type Service = Booked<S>;

    fn layer(&self, inner: S) -> Booked<S> {
        Booked(inner)
    }
}

impl<S> Service<Box<Call>> for Booked<S>
where
    S: Service<Box<Call>, Response = Answered, Error = Refused>,
    S::Future: Send + 'static,
{
    type Response = Answered;
    type Error = Refused;
    type Future = Either<S::Future, BoxFuture<'static, Result<Answered, Refused>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut call: Box<Call>) -> Self::Future {
        if call.record.target != Some(Target::Endpoint(Endpoint::Outnum)) {
            return Either::Left(self.0.call(call));
        }
        let fields = Arc::<Mutex<Fields>>::default();
        call.body.observe(Box::new(Reader { fields: Arc::clone(&fields), reading: None }));
        let patience = call.worker.running.settings.upstream.response_timeout;
        let numbers = call.numbers.take();
        let answering = self.0.call(call);
        Either::Right(Box::pin(async move { book(answering.await?, &fields, numbers, patience).await }))
    }
}

/// The fields that say what a batch is.
#[derive(Debug, Default)]
struct Fields {
    task_id: Vec<u8>,
    call_count: Vec<u8>,
    call_sn_name: Vec<u8>,
}

impl Fields {
    fn of(&mut self, name: Field) -> &mut Vec<u8> {
        match name {
            Field::Task => &mut self.task_id,
            Field::Count => &mut self.call_count,
            Field::Name => &mut self.call_sn_name,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Field {
    Task,
    Count,
    Name,
}

/// Reads the fields of an upload as it streams by.
struct Reader {
    fields: Arc<Mutex<Fields>>,
    reading: Option<Field>,
}

impl Parts for Reader {
    fn part(&mut self, name: &str, is_file: bool) {
        self.reading = match name {
            _ if is_file => None,
            "task_id" => Some(Field::Task),
            "call_count" => Some(Field::Count),
            "call_sn_name" => Some(Field::Name),
            _ => None,
        };
    }

    fn data(&mut self, bytes: &[u8]) {
        let Some(field) = self.reading else { return };
        let mut fields = self.fields.lock().unwrap_or_else(PoisonError::into_inner);
        let text = fields.of(field);
        let room = MAX_FIELD.saturating_sub(text.len());
        text.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

impl Observer for Reader {
    fn poll_end(&mut self, _: bool, _: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        Poll::Ready(Ok(()))
    }
}

#[derive(Debug, Deserialize)]
struct Envelope {
    code: Number,
    result: Batch,
}

#[derive(Debug, Deserialize)]
struct Batch {
    call_sn: Name,
    call_count: Option<Number>,
}

/// The document has texts where others have numbers, and the other way round.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Number {
    Number(i64),
    Text(String),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Name {
    Text(String),
    Number(u64),
}

impl Number {
    fn get(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.trim().parse().ok(),
        }
    }
}

async fn book(
    answered: Answered,
    fields: &Mutex<Fields>,
    numbers: Option<Numbers>,
    patience: Duration,
) -> Result<Answered, Refused> {
    let Answered { response, mut record } = answered;
    let (head, mut body) = response.into_parts();
    let started = std::time::Instant::now();
    let read = tokio::time::timeout(patience, body.gather(&head.headers, MAX_ANSWER)).await;
    record.upstream_took += started.elapsed();
    let (bytes, whole) = match read {
        Ok(Some(read)) => read,
        Ok(None) => return Err(Refused { refusal: Refusal::BrokeOff, record, unread: false }),
        Err(_) => {
            return Err(Refused { refusal: Refusal::UpstreamTimeout(patience), record, unread: false });
        }
    };
    if let Some(submission) = submission(&bytes, fields, &record.app.name) {
        enter(&record.worker.running.rooms.ledger, submission, numbers);
    }
    let body = if whole { Answer::whole(bytes) } else { Answer::after(bytes, body) };
    Ok(Answered { response: Response::from_parts(head, body), record })
}

/// It is written in its turn; nobody waits for it.
fn enter(ledger: &Arc<dyn Ledger>, submission: Submission, numbers: Option<Numbers>) {
    let (app, call_sn) = (submission.app.clone(), submission.call_sn.clone());
    drop(ledger.submit_batch(submission));
    let Some(numbers) = numbers else { return };
    let ledger = Arc::clone(ledger);
    let mut keeping = Box::pin(async move {
        let Collected { sent, share } = numbers.within(NUMBERS_WITHIN).await;
        if let Err(error) = ledger.keep_sent(&app, &call_sn, sent).await {
            tracing::warn!(%error, call_sn, "it is not known which numbers of a batch were sent");
        }
        drop(share);
    });
    // What is there goes to the store now: the process may be about to end.
    if (&mut keeping).now_or_never().is_none() {
        tokio::spawn(keeping);
    }
}

fn submission(answer: &Bytes, fields: &Mutex<Fields>, app: &str) -> Option<Submission> {
    let envelope: Envelope = serde_json::from_slice(answer).ok()?;
    if envelope.code.get() != Some(0) {
        return None;
    }
    let fields = fields.lock().unwrap_or_else(PoisonError::into_inner);
    let text =
        |bytes: &[u8]| Some(String::from_utf8_lossy(bytes).into_owned()).filter(|text| !text.is_empty());
    let call_sn = match envelope.result.call_sn {
        Name::Text(text) => text,
        Name::Number(number) => number.to_string(),
    };
    let accepted = envelope.result.call_count.and_then(|count| count.get());
    (!call_sn.is_empty()).then(|| Submission {
        app: app.to_owned(),
        call_sn,
        task_id: text(&fields.task_id),
        call_sn_name: text(&fields.call_sn_name),
        sent: text(&fields.call_count).and_then(|count| count.trim().parse().ok()),
        accepted: accepted.and_then(|count| count.try_into().ok()),
        at: Timestamp::now(),
    })
}
