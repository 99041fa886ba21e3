//! Pushes to the other side: call records (§7), intent results (§8), inbound queries (§9).

use std::fmt;
use std::time::SystemTime;

use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::house::House;
use super::journal::Pushed;
use super::push_client::{Answered, PushError, post};

/// Pauses before the second, third and fourth try (§7, §8).
const RETRY_PAUSES_MS: [u64; 3] = [5_000, 10_000, 15_000];
/// How much of an answer is remembered.
const ANSWER_KEPT: usize = 1024;

/// What is pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushKind {
    /// §7.
    CallRecord,
    /// §8.
    IntentResult,
    /// §9.
    InboundQuery,
}

impl fmt::Display for PushKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CallRecord => "call_record",
            Self::IntentResult => "intent_result",
            Self::InboundQuery => "inbound_query",
        })
    }
}

/// What to say to a caller (§9.4).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct InboundAnswer {
    /// 0: it succeeded.
    pub code: i64,
    /// Its description.
    #[serde(default)]
    pub msg: String,
    /// What to say.
    #[serde(default)]
    pub prompt: String,
    /// Where to put the call through to; empty: nowhere.
    #[serde(default)]
    pub transfer: String,
}

/// Pushes `body` to `url`, up to four times.
pub(super) async fn deliver(house: &House, kind: PushKind, url: &str, call_sn: &str, body: Bytes) {
    let pauses = RETRY_PAUSES_MS.into_iter().map(Some).chain([None]);
    for (attempt, pause_ms) in (1..).zip(pauses) {
        let result = post(url, body.clone()).await;
        let pushed = told(kind, url, call_sn, attempt, body.clone(), &result);
        let over = pushed.accepted || matches!(result, Err(PushError::Url));
        // Without the URL: a callback's has a token in it.
        if !pushed.accepted {
            let (status, error) = (pushed.status.map(|status| status.as_u16()), &pushed.error);
            tracing::warn!(%kind, call_sn, attempt, status, error, "sandbox: a push was not accepted");
        }
        house.journal().note_push(pushed);
        if over {
            return;
        }
        if let Some(pause_ms) = pause_ms {
            tokio::time::sleep(house.pause(pause_ms)).await;
        }
    }
}

/// Asks `url` what to say to `caller`, once.
pub(super) async fn ask_inbound(house: &House, caller: &str, url: &str) -> Result<InboundAnswer, PushError> {
    let body = Bytes::from(json!({ "caller": caller }).to_string());
    let result = post(url, body.clone()).await;
    house.journal().note_push(told(PushKind::InboundQuery, url, "", 1, body, &result));
    let answered = result?;
    if answered.status != StatusCode::OK {
        return Err(PushError::Status(answered.status));
    }
    serde_json::from_slice(&answered.body).map_err(|_| PushError::Answer)
}

fn told(
    kind: PushKind,
    url: &str,
    call_sn: &str,
    attempt: u32,
    body: Bytes,
    result: &Result<Answered, PushError>,
) -> Pushed {
    let answered = result.as_ref().ok();
    let answer = answered.map(|answered| &answered.body[..answered.body.len().min(ANSWER_KEPT)]);
    Pushed {
        at: SystemTime::now(),
        kind,
        url: url.to_owned(),
        call_sn: call_sn.to_owned(),
        attempt,
        body,
        status: answered.map(|answered| answered.status),
        answer: String::from_utf8_lossy(answer.unwrap_or_default()).into_owned(),
        accepted: answered.is_some_and(accepted),
        error: result.as_ref().err().map(ToString::to_string),
    }
}

/// §5.4: HTTP 200 with `code` 0.
fn accepted(answered: &Answered) -> bool {
    let answer: Value = serde_json::from_slice(&answered.body).unwrap_or_default();
    answered.status == StatusCode::OK && answer["code"] == 0
}
