//! W3C Trace Context: what `traceparent` and `tracestate` say of the span above.

use std::fmt;
use std::sync::Arc;

use http::header::{HeaderMap, HeaderName, HeaderValue};

/// The span above (W3C Trace Context §3.2).
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What systems that know of the trace keep with it (§3.3).
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Longest `tracestate` that is taken over; §3.3.1.5 asks for as much.
const MAX_STATE: usize = 512;
/// So many faces have the dice of a trace's id.
pub const DICE: u64 = 1 << 32;

/// Names a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(pub [u8; 16]);

/// Names a span of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(pub [u8; 8]);

/// Where a span stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// In which trace.
    pub trace: TraceId,
    /// Which of its spans.
    pub span: SpanId,
    /// Whether the trace is kept.
    pub sampled: bool,
    /// Its `tracestate`.
    pub state: Option<Arc<str>>,
}

impl TraceId {
    /// A new one. It guards nothing, so cheap dice will do.
    pub fn random() -> Self {
        Self(fastrand::u128(1..).to_be_bytes())
    }

    /// The last 32 bits. Of an event's id those before them count up among events of one millisecond.
    pub fn dice(self) -> u64 {
        u64::from_be_bytes(self.first_span().0) % DICE
    }

    /// The id that the first span of an event's trace has.
    pub fn first_span(self) -> SpanId {
        let mut half = [0; 8];
        half.copy_from_slice(&self.0[8..]);
        SpanId(half)
    }
}

impl SpanId {
    /// A new one.
    pub fn random() -> Self {
        Self(fastrand::u64(1..).to_be_bytes())
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl Context {
    /// What a request's header fields say; `None` where they say nothing that can be understood.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut parents = headers.get_all(TRACEPARENT).iter();
        let context = Self::parse(parents.next()?.as_bytes())?;
        if parents.next().is_some() {
            return None;
        }
        Some(Self { state: state(headers), ..context })
    }

    /// `VERSION-TRACE-SPAN-FLAGS` (§3.2.2). Later versions may go on after that (§3.2.4).
    fn parse(text: &[u8]) -> Option<Self> {
        let (known, more) = text.split_at_checked(55)?;
        let [version, trace, span, flags] =
            [&known[..2], &known[3..35], &known[36..52], &known[53..]].map(lowercase_hex);
        let version = *version?.first()?;
        let dashes = [2, 35, 52].iter().all(|at| known[*at] == b'-');
        let goes_on = version > 0 && more.first().is_none_or(|next| *next == b'-');
        if !dashes || version == 0xff || !(more.is_empty() || goes_on) {
            return None;
        }
        let (trace, span) = (TraceId(trace?.try_into().ok()?), SpanId(span?.try_into().ok()?));
        let sampled = flags?.first()? & 1 == 1;
        (trace.0 != [0; 16] && span.0 != [0; 8]).then_some(Self { trace, span, sampled, state: None })
    }

    /// `traceparent`, for who is below.
    pub fn traceparent(&self) -> Option<HeaderValue> {
        let flags = u8::from(self.sampled);
        HeaderValue::try_from(format!("00-{}-{}-{flags:02x}", self.trace, self.span)).ok()
    }
}

fn lowercase_hex(text: &[u8]) -> Option<Vec<u8>> {
    let lowercase = text.iter().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
    lowercase.then(|| hex::decode(text).ok()).flatten()
}

fn state(headers: &HeaderMap) -> Option<Arc<str>> {
    let values: Option<Vec<&str>> =
        headers.get_all(TRACESTATE).iter().map(|value| value.to_str().ok()).collect();
    let state = values?.join(",");
    (1..=MAX_STATE).contains(&state.len()).then(|| state.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GIVEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_parent_is_read_as_it_is_written() {
        let context = Context::parse(GIVEN.as_bytes()).unwrap();
        assert_eq!(context.traceparent().unwrap(), GIVEN);
        let unsampled = Context::parse(GIVEN.replace("-01", "-02").as_bytes()).unwrap();
        assert!(context.sampled && !unsampled.sampled);
        for later in ["-01-more", "-01"] {
            let later = GIVEN.replacen("00", "cc", 1).replace("-01", later);
            assert_eq!(Context::parse(later.as_bytes()), Some(context.clone()), "{later}");
        }
    }

    #[test]
    fn what_is_no_parent_is_not_taken_for_one() {
        for wrong in [
            "",
            &GIVEN[..54],
            &GIVEN.to_uppercase(),
            &GIVEN.replacen("00", "ff", 1),
            &GIVEN.replace('-', "_"),
            &format!("{GIVEN}-more"),
            &format!("cc{}x", &GIVEN[2..]),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        ] {
            assert_eq!(Context::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn two_parents_are_none_and_states_are_joined() {
        let mut headers = HeaderMap::from_iter([(TRACEPARENT, HeaderValue::from_static(GIVEN))]);
        headers.append(TRACESTATE, HeaderValue::from_static("a=1"));
        headers.append(TRACESTATE, HeaderValue::from_static("b=2"));
        assert_eq!(Context::of(&headers).unwrap().state.as_deref(), Some("a=1,b=2"));
        headers.append(TRACEPARENT, HeaderValue::from_static(GIVEN));
        assert_eq!(Context::of(&headers), None);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_not(text in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Some(context) = Context::parse(&text) {
                let told = context.traceparent().unwrap();
                prop_assert_eq!(&told.as_bytes()[3..52], &text[3..52]);
            }
        }
    }
}
