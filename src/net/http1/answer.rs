//! The head of an answer (RFC 9112 §4), and what it says about the body (§6).

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{HeaderMap, Response, StatusCode, Version};
use httparse::ParserConfig;
use hyper::ext::ReasonPhrase;

use super::Error;

/// Most fields of an answer; who passes it on may add some.
const MAX_FIELDS: usize = 250;
/// Room for what is added to an answer on its way.
const ROOM: usize = 4;

/// How the end of an answer's body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
    /// It ends with the connection.
    Close,
}

/// An answer's head.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) response: Response<()>,
    pub(super) framing: Framing,
    /// Whether the connection takes another request afterwards (RFC 9112 §9.3).
    pub(super) persists: bool,
}

/// Reads the head that `bytes` is, in whole.
pub(super) fn read(bytes: BytesMut, is_head: bool) -> Result<Head, Error> {
    let bytes = bytes.freeze();
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let outcome =
        ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, &bytes, &mut fields);
    match outcome {
        Ok(httparse::Status::Complete(len)) if len == bytes.len() => {}
        Ok(_) => return Err(Error::Malformed("its head ends in two places")),
        Err(httparse::Error::TooManyHeaders) => return Err(Error::Malformed("it has too many fields")),
        Err(_) => return Err(Error::Malformed("its head can't be read")),
    }
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(parsed.code.unwrap_or_default())
        .map_err(|_| Error::Malformed("its status is none"))?;
    *response.version_mut() = if parsed.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    keep_reason(&mut response, parsed.reason.unwrap_or_default());
    *response.headers_mut() = fields_of(&bytes, parsed.headers)?;
    let framing = framing(&mut response, is_head)?;
    let persists = framing != Framing::Close && persists(response.version(), response.headers());
    Ok(Head { response, framing, persists })
}

/// A reason phrase of the server's own is the client's to see.
fn keep_reason(response: &mut Response<()>, reason: &str) {
    if response.status().canonical_reason() != Some(reason)
        && let Ok(reason) = ReasonPhrase::try_from(reason.as_bytes())
    {
        response.extensions_mut().insert(reason);
    }
}

fn fields_of(bytes: &Bytes, parsed: &[httparse::Header<'_>]) -> Result<HeaderMap, Error> {
    let mut fields = HeaderMap::with_capacity(parsed.len() + ROOM);
    for field in parsed {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let name = name.map_err(|_| Error::Malformed("a field's name is none"))?;
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(field.value));
        let value = value.map_err(|_| Error::Malformed("a field's value is none"))?;
        fields.append(name, value);
    }
    Ok(fields)
}

/// RFC 9112 §6.3, but that where two ways to frame the body contradict each other there is none.
fn framing(response: &mut Response<()>, is_head: bool) -> Result<Framing, Error> {
    let status = response.status();
    if status.is_informational() || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED {
        return Ok(Framing::Length(0));
    }
    let chunked = is_chunked(response)?;
    let length = length(response.headers_mut())?;
    Ok(match (chunked, length) {
        (true, Some(_)) => return Err(Error::Malformed("it has both a length and chunks")),
        _ if is_head => Framing::Length(0),
        (true, None) => Framing::Chunked,
        (false, Some(length)) => Framing::Length(length),
        (false, None) => Framing::Close,
    })
}

/// No other coding may be used, as none is asked for (RFC 9112 §7).
fn is_chunked(response: &Response<()>) -> Result<bool, Error> {
    let mut codings = response.headers().get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(false),
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
            if response.version() == Version::HTTP_10 {
                return Err(Error::Malformed("HTTP/1.0 has no chunks"));
            }
            Ok(true)
        }
        _ => Err(Error::Malformed("it has a transfer coding that nobody asked for")),
    }
}

/// The length; where it is there several times, it must be the same, and is there once from then on.
fn length(fields: &mut HeaderMap) -> Result<Option<u64>, Error> {
    let mut values = fields.get_all(CONTENT_LENGTH).iter();
    let Some(first) = values.next() else { return Ok(None) };
    let (repeated, same) = values.fold((false, true), |(_, same), value| (true, same && value == first));
    let length = decimal(first.as_bytes()).filter(|_| same);
    let length = length.ok_or(Error::Malformed("its length is no length"))?;
    if repeated {
        fields.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(Some(length))
}

fn decimal(text: &[u8]) -> Option<u64> {
    // Its own check, since a number may be read from "+1" too.
    text.iter().all(u8::is_ascii_digit).then(|| std::str::from_utf8(text).ok()?.parse().ok()).flatten()
}

fn persists(version: Version, fields: &HeaderMap) -> bool {
    let says = |option: &[u8]| {
        let values = fields.get_all(CONNECTION).iter();
        let mut options = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        options.any(|said| said.trim_ascii().eq_ignore_ascii_case(option))
    };
    !says(b"close") && (version == Version::HTTP_11 || says(b"keep-alive"))
}
