//! Whether the SaaS accepts a credential: one call that only reads, signed with it, on the way that requests take.

use std::future::poll_fn;
use std::time::{Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use serde_json::{Value, json};

use super::acquire::{self, Acquired, Search};
use super::lane::{Http1, Http2, Lane, Patience, SendError};
use super::outgoing::Outgoing;
use super::refusal::Refusal;
use super::settings::NextCredential;
use super::way::Way;
use super::worker::Worker;
use crate::net::http1::{Head, Payload};
use crate::xinyao::Endpoint;

/// Largest answer: a page of one task.
const MAX_ANSWER: usize = 256 << 10;
/// So much of the SaaS's own words is passed on, characters.
const MAX_WORDS: usize = 200;

/// Why a credential is not known to be good.
#[derive(Debug, thiserror::Error)]
pub enum Unproven {
    /// The SaaS answered something else than success (§5.4).
    #[error("the SaaS does not accept it: {0}")]
    Refused(String),
    /// The SaaS did not answer.
    #[error("the SaaS can't be asked: {0}")]
    Unreachable(String),
}

impl Unproven {
    fn broken(_: SendError) -> Self {
        Self::Unreachable("no answer in time, or the connection broke off".into())
    }
}

/// Asks for a page of one task (§11). The way is one of its own, as connections belong to the thread that made
/// them; `worker` tells of source IPs, circuits and the clock.
///
/// # Errors
/// The answer is no success, or there is none.
pub(super) async fn prove(worker: &Worker, next: &NextCredential) -> Result<(), Unproven> {
    let running = &worker.running;
    let way = Way::new(&running.api);
    let until = Instant::now() + running.settings.upstream.response_timeout;
    let mut search = Search::default();
    let acquired = match acquire::at_hand(worker, &way, &search, Instant::now()) {
        Ok(acquired) => Ok(acquired),
        Err(route) => acquire::acquire(worker, &way, &mut search, route, until).await,
    };
    let acquired = acquired.map_err(|refusal: Refusal| Unproven::Unreachable(refusal.to_string()))?;
    let Acquired { lane, mut ticket, .. } = acquired;
    let asked = Asked {
        body: json!({ "app_id": next.app_id.as_deref().unwrap_or_default(), "page_no": 1, "page_size": 1 })
            .to_string()
            .into(),
        authorization: next.credential.authorization(running.clock.timestamp(SystemTime::now())),
        until,
    };
    let exchange = async {
        match lane {
            Lane::Http1(lane) => asked.over_http1(*lane, &way).await,
            Lane::Http2(lane) => asked.over_http2(lane, &way).await,
        }
    };
    let answered = tokio::time::timeout_at(until.into(), exchange).await;
    let answered = answered.unwrap_or_else(|_| Err(Unproven::Unreachable("no answer in time".into())));
    match &answered {
        Ok(_) => ticket.succeeded(),
        Err(_) => ticket.failed(),
    }
    let (status, body) = answered?;
    judge(status, &body)
}

/// What is asked.
struct Asked {
    body: Bytes,
    authorization: Vec<u8>,
    until: Instant,
}

type Answered = Result<(StatusCode, Bytes), Unproven>;

impl Asked {
    fn patience(&self) -> Patience<'static> {
        Patience { until: self.until, extend: &|| None }
    }

    async fn over_http1(&self, mut lane: Http1, way: &Way) -> Answered {
        let fields = fields();
        let head = Head {
            method: &Method::POST,
            target: Endpoint::TaskList.spec().path,
            fields: &fields,
            set: &[(HOST, way.host.as_bytes()), (AUTHORIZATION, &self.authorization)],
        };
        lane.connection.begin(&head, Payload::Whole(self.body.clone()));
        let answer = lane.wait(self.patience()).await.map_err(Unproven::broken)?;
        let mut body = BytesMut::new();
        while let Some(data) = poll_fn(|cx| lane.connection.poll_data(cx)).await {
            let data = data.map_err(|error| Unproven::Unreachable(error.to_string()))?;
            if body.len() + data.len() > MAX_ANSWER {
                return Err(Unproven::Refused("its answer is too long".into()));
            }
            body.extend_from_slice(&data);
        }
        Ok((answer.status(), body.freeze()))
    }

    async fn over_http2(&self, mut lane: Http2, way: &Way) -> Answered {
        let upstream = &way.upstream;
        let target = format!("{}{}", upstream.origin, Endpoint::TaskList.spec().path);
        let unsayable = |error: http::Error| Unproven::Unreachable(error.to_string());
        let mut request =
            Request::post(target).body(Outgoing::Whole(self.body.clone())).map_err(unsayable)?;
        *request.headers_mut() = fields();
        let signature =
            HeaderValue::from_bytes(&self.authorization).map_err(|error| unsayable(error.into()))?;
        request.headers_mut().insert(AUTHORIZATION, signature);
        let answer = lane.send(request, self.patience()).await.map_err(Unproven::broken)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| Unproven::Unreachable(error.to_string()))?;
        Ok((status, body.to_bytes()))
    }
}

fn fields() -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))])
}

/// Success is HTTP 200 and code 0 (§5.4).
fn judge(status: StatusCode, body: &[u8]) -> Result<(), Unproven> {
    let envelope: Value = serde_json::from_slice(body).unwrap_or_default();
    let code = envelope["code"].as_i64();
    if status == StatusCode::OK && code == Some(0) {
        return Ok(());
    }
    let words = envelope["msg"].as_str().unwrap_or_default();
    let words: String = words.chars().filter(|c| !c.is_control()).take(MAX_WORDS).collect();
    let code = code.map_or_else(|| "no code".to_owned(), |code| format!("code {code}"));
    Err(Unproven::Refused(format!("status {}, {code} {words}", status.as_u16()).trim_end().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_success_proves() {
        assert!(judge(StatusCode::OK, br#"{"code":0,"msg":"success"}"#).is_ok());
        for (status, body) in [
            (StatusCode::OK, &br#"{"code":-174791,"msg":"no"}"#[..]),
            (StatusCode::OK, b"{}"),
            (StatusCode::OK, b"<html>"),
            (StatusCode::UNAUTHORIZED, br#"{"code":0}"#),
            (StatusCode::BAD_GATEWAY, b""),
        ] {
            let refused = judge(status, body).unwrap_err();
            assert!(matches!(refused, Unproven::Refused(_)), "{refused}");
        }
        let refused = judge(StatusCode::OK, br#"{"code":7,"msg":"wrong\u0007 key"}"#).unwrap_err();
        assert_eq!(refused.to_string(), "the SaaS does not accept it: status 200, code 7 wrong key");
    }
}
