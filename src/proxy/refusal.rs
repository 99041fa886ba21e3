//! The gateway's own answers: one table from reason to status, code and name, and the envelope.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};

use super::once::Duplicate;
use super::tenant::Denied;
use crate::net::listen::Rejected;
use crate::xinyao::Target;
use crate::xinyao::checks::Failure;

/// Header that names the reason.
pub const X_GATEWAY_ERROR: HeaderName = HeaderName::from_static("x-gateway-error");

/// Why a request ends here. `Display` tells the caller what happened and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Not HTTP that can be forwarded without guessing.
    #[error("{0}")]
    Invalid(&'static str),
    /// It is not what the document asks for.
    #[error("the request fails {} of the checks: {}", .0.len(), listed(.0))]
    ChecksFailed(Vec<Failure>),
    /// The address belongs to an app that wants a token.
    #[error(
        "apps at {0} must send `Authorization: Bearer <token>` with the token that the gateway has for them"
    )]
    BadToken(IpAddr),
    /// No app has the address.
    #[error(
        "no app is configured for address {0}; ask the gateway's operator to add it to an app's networks"
    )]
    NotAllowed(IpAddr),
    /// The app lacks the right.
    #[error("app {app} may not call {target}; ask the gateway's operator to add it to the app's endpoints")]
    EndpointNotAllowed {
        /// Who asked.
        app: String,
        /// For what.
        target: Target,
    },
    /// The app may not act for the tenant.
    #[error("{0}")]
    AppIdNotAllowed(Denied),
    /// Neither documented nor configured.
    #[error("the path is none of the SaaS's endpoints; GET /openapi.json of the admin listener lists them")]
    UnknownEndpoint,
    /// The wrong method for the path.
    #[error("this path takes {0} only")]
    MethodNotAllowed(&'static str),
    /// Nothing came for too long.
    #[error("the request's {0} came too slowly")]
    TooSlow(&'static str),
    /// The callback address of a task can't be replaced.
    #[error("{0}")]
    TeamUrl(String),
    /// It was sent before, or may have been.
    #[error("{0}")]
    Duplicate(Duplicate),
    /// Over `limits.max_body`.
    #[error("the body is over {0} bytes, the gateway's limits.max_body")]
    BodyTooLarge(u64),
    /// Request line over the limit.
    #[error("the request target is over 8 KiB")]
    TargetTooLong,
    /// Head over the limit.
    #[error("the header fields are over the gateway's limits.max_headers or limits.max_header_size")]
    HeadersTooLarge,
    /// Over a rate limit.
    #[error("the rate limit of {policy} is used up; try again in {} s", seconds(*retry_after))]
    RateLimited {
        /// Which limit.
        policy: String,
        /// When there is room again.
        retry_after: Duration,
    },
    /// Over the app's `max_in_flight`.
    #[error("the app has {0} requests under way already; wait for one to end")]
    TooManyInFlight(usize),
    /// No connection to the upstream.
    #[error("the upstream cannot be reached, nothing was sent: {0}")]
    Unreachable(String),
    /// The connection was lost after the request was sent.
    #[error("the upstream broke off before it answered; whether it acted on the request is unknown")]
    BrokeOff,
    /// Over `upstream.max_in_flight`.
    #[error("the gateway has as many requests under way as it may; try again")]
    Overloaded,
    /// The upstream failed time and again, and is being left alone.
    #[error("the upstream has failed repeatedly and is left alone for {} s", seconds(*.0))]
    CircuitOpen(Duration),
    /// What must be written down before the request is sent can't be.
    #[error(
        "the gateway's store cannot be written, and this request is not sent before what it takes is written \
         down; nothing was sent, try again"
    )]
    Unremembered,
    /// An upload that is to be checked first can't be put anywhere.
    #[error(
        "the gateway has no room on disk to check the upload before it is sent; nothing was sent, try again"
    )]
    Unspooled,
    /// The process is about to end.
    #[error("the gateway is shutting down; send the request again")]
    Draining,
    /// No answer in time.
    #[error("the upstream did not answer within {0:?}; whether it acted on the request is unknown")]
    UpstreamTimeout(Duration),
}

/// A row of the table.
struct Row(u16, i32, &'static str);

impl Refusal {
    fn row(&self) -> Row {
        match self {
            Self::Invalid(_) | Self::ChecksFailed(_) | Self::TeamUrl(_) => {
                Row(400, -40001, "invalid_request")
            }
            Self::BadToken(_) => Row(401, -40101, "bad_token"),
            Self::NotAllowed(_) => Row(403, -40301, "not_allowed"),
            Self::EndpointNotAllowed { .. } => Row(403, -40302, "endpoint_not_allowed"),
            Self::AppIdNotAllowed(_) => Row(403, -40303, "app_id_not_allowed"),
            Self::UnknownEndpoint => Row(404, -40401, "unknown_endpoint"),
            Self::MethodNotAllowed(_) => Row(405, -40501, "method_not_allowed"),
            Self::TooSlow(_) => Row(408, -40801, "request_timeout"),
            Self::Duplicate(_) => Row(409, -40901, "duplicate_request"),
            Self::BodyTooLarge(_) => Row(413, -41301, "body_too_large"),
            Self::TargetTooLong => Row(414, -41401, "target_too_long"),
            Self::HeadersTooLarge => Row(431, -43101, "headers_too_large"),
            Self::RateLimited { .. } => Row(429, -42901, "rate_limited"),
            Self::TooManyInFlight(_) => Row(429, -42902, "too_many_in_flight"),
            Self::Unreachable(_) => Row(502, -50201, "upstream_unreachable"),
            Self::BrokeOff => Row(502, -50202, "upstream_broke_off"),
            Self::Overloaded | Self::CircuitOpen(_) | Self::Unremembered | Self::Unspooled => {
                Row(503, -50301, "overloaded")
            }
            Self::Draining => Row(503, -50302, "draining"),
            Self::UpstreamTimeout(_) => Row(504, -50401, "upstream_timeout"),
        }
    }

    /// Its HTTP status.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.row().0).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Its name, in `x-gateway-error` and in metrics.
    pub fn reason(&self) -> &'static str {
        self.row().2
    }

    /// Whether the fault lies behind the gateway rather than with the caller.
    pub fn is_upstreams(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::BrokeOff | Self::UpstreamTimeout(_))
    }

    /// The answer, in the SaaS's own envelope.
    pub fn answer(&self, request_id: &HeaderValue) -> Response<Bytes> {
        let Row(_, code, reason) = self.row();
        let id = request_id.to_str().unwrap_or_default();
        let mut envelope = serde_json::json!({ "code": code, "msg": self.to_string(), "request_id": id });
        if let Self::ChecksFailed(failures) = self {
            envelope["failures"] = failures.iter().map(told).collect();
        }
        let mut response = Response::new(Bytes::from(envelope.to_string()));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(X_GATEWAY_ERROR, HeaderValue::from_static(reason));
        if let Some((name, value)) = self.header() {
            headers.insert(name, value);
        }
        response
    }

    fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::BadToken(_) => {
                Some((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"xinyao-gateway\"")))
            }
            Self::MethodNotAllowed(allowed) => Some((header::ALLOW, HeaderValue::from_static(allowed))),
            Self::RateLimited { retry_after: after, .. } | Self::CircuitOpen(after) => {
                Some((header::RETRY_AFTER, HeaderValue::from(seconds(*after))))
            }
            Self::TooManyInFlight(_)
            | Self::Overloaded
            | Self::Unremembered
            | Self::Unspooled
            | Self::Draining => Some((header::RETRY_AFTER, HeaderValue::from(1_u64))),
            Self::Duplicate(duplicate) => {
                duplicate.passes().then(|| (header::RETRY_AFTER, HeaderValue::from(1_u64)))
            }
            Self::Invalid(_)
            | Self::TeamUrl(_)
            | Self::ChecksFailed(_)
            | Self::NotAllowed(_)
            | Self::EndpointNotAllowed { .. }
            | Self::AppIdNotAllowed(_)
            | Self::UnknownEndpoint
            | Self::TooSlow(_)
            | Self::BodyTooLarge(_)
            | Self::TargetTooLong
            | Self::HeadersTooLarge
            | Self::Unreachable(_)
            | Self::BrokeOff
            | Self::UpstreamTimeout(_) => None,
        }
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

/// A failure, for programs.
fn told(failure: &Failure) -> serde_json::Value {
    serde_json::json!({ "field": failure.field, "check": failure.check.name(), "msg": failure.msg })
}

/// Failures, for people.
pub fn listed(failures: &[Failure]) -> String {
    failures.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Whole seconds, never too few and at least one.
fn seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)
}
