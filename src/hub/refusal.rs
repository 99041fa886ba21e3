//! The callbacks listener's own answers: one table from reason to status, code and name, and the envelope.

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};

use crate::net::listen::Rejected;

/// Names a callback, in the answer and the log; of an event it is the id.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Names the reason of a refusal.
const X_GATEWAY_ERROR: HeaderName = HeaderName::from_static("x-gateway-error");

/// Why a callback is not taken. `Display` tells whoever pushed it what happened and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It comes from elsewhere than the SaaS.
    #[error("callbacks are not taken from {0}; the gateway's callbacks.networks must have this address")]
    NotAllowed(IpAddr),
    /// No such path, app or token.
    #[error("this is no callback URL of the gateway; `xinyao-gateway callback-url` prints those that are")]
    UnknownUrl,
    /// Not POST.
    #[error("callback URLs take POST only")]
    MethodNotAllowed,
    /// Over `callbacks.max_body`.
    #[error("the body is over {0} bytes, the gateway's callbacks.max_body")]
    BodyTooLarge(u64),
    /// Nothing came for too long.
    #[error("the request's {0} came too slowly")]
    TooSlow(&'static str),
    /// Not HTTP, or not all of it.
    #[error("{0}")]
    Invalid(&'static str),
    /// Request line over the limit.
    #[error("the request target is over 8 KiB")]
    TargetTooLong,
    /// Head over the limit.
    #[error("the header fields are over the gateway's limits.max_headers or limits.max_header_size")]
    HeadersTooLarge,
    /// The store could not keep it.
    #[error("the callback cannot be kept at present; push it again")]
    NotKept,
    /// Too many bytes of other callbacks are on their way to the store.
    #[error("too many callbacks are under way; push it again")]
    Crowded,
}

/// A row of the table.
struct Row(u16, i32, &'static str);

impl Refusal {
    fn row(&self) -> Row {
        match self {
            Self::Invalid(_) => Row(400, -40001, "invalid_request"),
            Self::NotAllowed(_) => Row(403, -40301, "not_allowed"),
            Self::UnknownUrl => Row(404, -40401, "unknown_url"),
            Self::MethodNotAllowed => Row(405, -40501, "method_not_allowed"),
            Self::TooSlow(_) => Row(408, -40801, "request_timeout"),
            Self::BodyTooLarge(_) => Row(413, -41301, "body_too_large"),
            Self::TargetTooLong => Row(414, -41401, "target_too_long"),
            Self::HeadersTooLarge => Row(431, -43101, "headers_too_large"),
            Self::NotKept => Row(500, -50001, "not_kept"),
            Self::Crowded => Row(500, -50001, "crowded"),
        }
    }

    /// Its name, in `x-gateway-error` and in metrics.
    pub fn reason(&self) -> &'static str {
        self.row().2
    }

    /// The answer, in the SaaS's own envelope. The connection ends with it where the body is not read: what
    /// is left of it would be taken for the next request.
    pub fn answer(&self, request_id: &str) -> Response<Bytes> {
        let Row(status, code, reason) = self.row();
        let envelope = serde_json::json!({ "code": code, "msg": self.to_string(), "request_id": request_id });
        let mut response = Response::new(Bytes::from(envelope.to_string()));
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(X_GATEWAY_ERROR, HeaderValue::from_static(reason));
        if let Ok(id) = HeaderValue::from_str(request_id) {
            headers.insert(X_REQUEST_ID, id);
        }
        if *self == Self::MethodNotAllowed {
            headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
        }
        if *self != Self::NotKept {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl From<Rejected> for Refusal {
    fn from(rejected: Rejected) -> Self {
        match rejected {
            Rejected::HeadTooSlow => Self::TooSlow("head"),
            Rejected::HeadTooLarge => Self::HeadersTooLarge,
            Rejected::TargetTooLong => Self::TargetTooLong,
            Rejected::Malformed => {
                Self::Invalid("the request is not well-formed HTTP/1.1, or its framing is ambiguous")
            }
        }
    }
}
