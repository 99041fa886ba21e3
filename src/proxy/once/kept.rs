//! Answers: what they mean for what was sent, and how they are given again.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use super::slot::Ticket;
use crate::proxy::answer::Answer;
use crate::proxy::answer_code::CodeReader;
use crate::proxy::call::{Answered, Refused};
use crate::proxy::record::Record;
use crate::proxy::refusal::Refusal;
use crate::store::{Conclusion, KeptAnswer};

/// Of an answer that was given before.
const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Largest answer that is kept to be given again; the document's have a few hundred bytes.
const MAX_KEPT: usize = 64 * 1024;

/// Reads an answer, writes down what it means, and passes it on.
///
/// # Errors
/// It broke off, or did not end in time: what it meant is not known.
pub async fn keep(answered: Answered, ticket: Ticket, patience: Duration) -> Result<Answered, Refused> {
    let Answered { response, mut record } = answered;
    let (head, mut body) = response.into_parts();
    let started = Instant::now();
    let read = tokio::time::timeout(patience, body.gather(&head.headers, MAX_KEPT)).await;
    record.upstream_took += started.elapsed();
    let refusal = match read {
        Ok(Some((bytes, whole))) => {
            let keep = whole && ticket.is_keyed();
            ticket.conclude(conclusion(&head, &bytes, keep)).await;
            let body = if whole { Answer::whole(bytes) } else { Answer::after(bytes, body) };
            return Ok(Answered { response: Response::from_parts(head, body), record });
        }
        Ok(None) => Refusal::BrokeOff,
        Err(_) => Refusal::UpstreamTimeout(patience),
    };
    ticket.conclude(Conclusion::Unknown).await;
    Err(Refused { refusal, record, unread: false })
}

fn conclusion(head: &Parts, bytes: &Bytes, keep: bool) -> Conclusion {
    let mut code = CodeReader::new(head.headers.get(header::CONTENT_ENCODING));
    code.feed(bytes);
    match meaning(head.status, code.code()) {
        Meaning::Done => Conclusion::Done(keep.then(|| KeptAnswer {
            status: head.status.as_u16(),
            head: written(&head.headers),
            body: bytes.clone(),
        })),
        Meaning::NotDone => Conclusion::NotSent,
        Meaning::Unknown => Conclusion::Unknown,
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    Done,
    NotDone,
    Unknown,
}

/// The SaaS says in its envelope whether the call succeeded (§5.4). Without one, something in front of it
/// answered: a 4xx turned the request away, and behind a 5xx anything may have happened.
fn meaning(status: StatusCode, code: Option<i64>) -> Meaning {
    match code {
        Some(0) => Meaning::Done,
        Some(_) => Meaning::NotDone,
        None if status.is_client_error() => Meaning::NotDone,
        None if status.is_server_error() => Meaning::Unknown,
        None => Meaning::Done,
    }
}

/// The answer that was given before.
pub fn replay(kept: &KeptAnswer, mut record: Box<Record>) -> Answered {
    let mut response = Response::new(Answer::whole(kept.body.clone()));
    *response.status_mut() = StatusCode::from_u16(kept.status).unwrap_or_default();
    *response.headers_mut() = understood(&kept.head);
    response.headers_mut().insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    record.code = Some(CodeReader::new(response.headers().get(header::CONTENT_ENCODING)));
    Answered { response, record }
}

/// `name: value`, a line each.
fn written(headers: &HeaderMap) -> Bytes {
    let mut text = BytesMut::new();
    for (name, value) in headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            text.extend_from_slice(part);
        }
    }
    text.freeze()
}

fn understood(text: &Bytes) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in text.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Some(colon) = memchr::memmem::find(line, b": ") else { continue };
        let (name, value) =
            (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(&line[colon + 2..]));
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_means_what_its_envelope_says() {
        for (status, code, expected) in [
            (200, Some(0), Meaning::Done),
            (200, Some(1001), Meaning::NotDone),
            (500, Some(500), Meaning::NotDone),
            (502, Some(0), Meaning::Done),
            (200, None, Meaning::Done),
            (302, None, Meaning::Done),
            (404, None, Meaning::NotDone),
            (429, None, Meaning::NotDone),
            (500, None, Meaning::Unknown),
            (502, None, Meaning::Unknown),
        ] {
            assert_eq!(meaning(StatusCode::from_u16(status).unwrap(), code), expected, "{status} {code:?}");
        }
    }

    #[test]
    fn header_fields_come_back() {
        let mut headers = HeaderMap::new();
        headers.append("content-type", HeaderValue::from_static("application/json"));
        headers.append("x-two", HeaderValue::from_static("a: b"));
        headers.append("x-two", HeaderValue::from_bytes(b"\xe4\xbd\xa0").unwrap());
        headers.append("x-empty", HeaderValue::from_static(""));
        assert_eq!(understood(&written(&headers)), headers);
    }
}
