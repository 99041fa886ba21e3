//! Answers: the envelope of §5.4, the failures, and a body that can break off half-way.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use serde_json::{Value, json};

use crate::xinyao::signature::Invalid;

/// Content type of every envelope (§5.4).
const ENVELOPE_TYPE: HeaderValue = HeaderValue::from_static("application/json;charset=UTF-8");

/// What the sandbox answers with.
pub(super) type Answer = Response<AnswerBody>;

/// Everything that keeps a request from success. One row each in `Failure::row`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    #[error("IP 不在白名单: {0}")]
    IpNotAllowed(std::net::IpAddr),
    #[error("鉴权失败: 缺少 Authorization")]
    NoAuthorization,
    #[error("鉴权失败: {0}")]
    Unauthorized(Invalid),
    #[error("接口不存在: {0}")]
    UnknownPath(String),
    #[error("请求方法不支持, 请使用 {0}")]
    Method(&'static str),
    #[error("请求体过大")]
    TooLarge,
    #[error("系统繁忙, 请稍后重试")]
    Busy,
    #[error("未知错误: {0}")]
    Malformed(&'static str),
    #[error("参数错误: {field} {problem}")]
    Parameter { field: &'static str, problem: &'static str },
    #[error("外呼任务不存在: {0}")]
    NoTask(String),
    #[error("号码文件错误: {0}")]
    NumberFile(&'static str),
    #[error("会话不存在或已结束: {0}")]
    NoSession(String),
    #[error("未找到随路数据: {0}")]
    NoDialog(String),
    #[error("录音不存在")]
    NoRecording,
    #[error("Range 超出录音范围")]
    Range(usize),
    #[error("错误消息")]
    Injected(i64),
}

impl Failure {
    /// HTTP status and `code`.
    fn row(&self) -> (StatusCode, i64) {
        match self {
            Self::IpNotAllowed(_) => (StatusCode::FORBIDDEN, -403_001),
            Self::NoAuthorization | Self::Unauthorized(Invalid::Malformed) => {
                (StatusCode::UNAUTHORIZED, -401_001)
            }
            Self::Unauthorized(Invalid::UnknownKey) => (StatusCode::UNAUTHORIZED, -401_002),
            Self::Unauthorized(Invalid::WrongSignature) => (StatusCode::UNAUTHORIZED, -401_003),
            Self::Unauthorized(Invalid::Expired) => (StatusCode::UNAUTHORIZED, -401_004),
            Self::UnknownPath(_) => (StatusCode::NOT_FOUND, -404_001),
            Self::NoRecording => (StatusCode::NOT_FOUND, -404_002),
            Self::Method(_) => (StatusCode::METHOD_NOT_ALLOWED, -405_001),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, -413_001),
            Self::Range(_) => (StatusCode::RANGE_NOT_SATISFIABLE, -416_001),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, -503_001),
            Self::Malformed(_) => (StatusCode::INTERNAL_SERVER_ERROR, 999_999),
            Self::Parameter { .. } => (StatusCode::OK, -170_001),
            Self::NoTask(_) => (StatusCode::OK, -170_101),
            Self::NumberFile(_) => (StatusCode::OK, -170_102),
            Self::NoSession(_) => (StatusCode::OK, -170_201),
            Self::NoDialog(_) => (StatusCode::OK, -170_301),
            Self::Injected(code) => (StatusCode::OK, *code),
        }
    }

    /// As it goes out.
    pub(super) fn answer(&self) -> Answer {
        let (status, code) = self.row();
        let mut answer = json_answer(status, &json!({ "code": code, "msg": self.to_string() }));
        let headers = answer.headers_mut();
        match self {
            Self::Method(allowed) => {
                headers.insert(ALLOW, HeaderValue::from_static(allowed));
            }
            Self::TooLarge => {
                headers.insert(http::header::CONNECTION, HeaderValue::from_static("close"));
            }
            Self::Range(size) => {
                let range = HeaderValue::from_str(&format!("bytes */{size}"));
                if let Ok(range) = range {
                    headers.insert(http::header::CONTENT_RANGE, range);
                }
            }
            _ => {}
        }
        answer
    }
}

/// `{"code": 0, "msg": "success"}` and the members of `rest`.
pub(super) fn success(rest: Value) -> Answer {
    let mut envelope = json!({ "code": 0, "msg": "success" });
    if let (Some(envelope), Value::Object(rest)) = (envelope.as_object_mut(), rest) {
        envelope.extend(rest);
    }
    json_answer(StatusCode::OK, &envelope)
}

/// What a gateway in front of the SaaS says when the SaaS is in trouble; 500 is the SaaS's own (§17).
pub(super) fn trouble(status: StatusCode) -> Answer {
    if status == StatusCode::INTERNAL_SERVER_ERROR {
        return json_answer(status, &json!({ "code": 999_999, "msg": "未知错误" }));
    }
    let mut answer = Response::new(AnswerBody::whole(status.to_string()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    answer
}

fn json_answer(status: StatusCode, value: &Value) -> Answer {
    let mut answer = Response::new(AnswerBody::whole(value.to_string()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, ENVELOPE_TYPE);
    answer
}

/// A body of known length, that may end before it.
#[derive(Debug)]
pub(super) struct AnswerBody {
    bytes: Option<Bytes>,
    length: u64,
    ending: Ending,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Whole,
    /// One more poll, in which what was given is flushed: a break before it would take the head along.
    Flush,
    Break,
}

/// The end of a body that was told to break off.
#[derive(Debug, thiserror::Error)]
#[error("broken off, as the injected fault wants it")]
pub(super) struct BrokenOff;

impl AnswerBody {
    /// All of `bytes`.
    pub(super) fn whole(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { length: bytes.len() as u64, bytes: Some(bytes), ending: Ending::Whole }
    }

    /// The first half of it; its length is announced as if the rest came too.
    pub(super) fn broken(self) -> Self {
        let half = self.bytes.map(|bytes| bytes.slice(..bytes.len() / 2));
        Self { bytes: half, length: self.length.max(1), ending: Ending::Flush }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if let Some(bytes) = self.bytes.take().filter(|bytes| !bytes.is_empty()) {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        match self.ending {
            Ending::Whole => Poll::Ready(None),
            Ending::Flush => {
                self.ending = Ending::Break;
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Ending::Break => Poll::Ready(Some(Err(BrokenOff))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.as_ref().is_none_or(Bytes::is_empty) && self.ending == Ending::Whole
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}
