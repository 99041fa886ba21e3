//! Why a request is not sent again, for those who sent it.

use std::fmt;

use jiff::Timestamp;

use crate::store::{Earlier, Marks, RequestState};

/// What stands in a request's way.
#[derive(Debug, Clone)]
pub struct Duplicate {
    why: Why,
    keyed: bool,
    request_id: String,
    begun_at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    State(RequestState),
    /// The key stands for another request.
    Other,
}

impl Duplicate {
    /// That one, by key or by content, in the way of what is known by `marks`.
    pub fn of(earlier: &Earlier, keyed: bool, marks: Option<&Marks>) -> Self {
        let Earlier { request_id, begun_at, state, .. } = earlier;
        // What is under way passes, and is asked about again then.
        let told = keyed && *state != RequestState::UnderWay;
        let differs = earlier.fingerprint.zip(marks).is_some_and(|(first, marks)| first != marks.fingerprint);
        let why = if told && differs { Why::Other } else { Why::State(*state) };
        Self { why, keyed, request_id: request_id.clone(), begun_at: *begun_at }
    }

    /// That one, which was another request.
    pub fn of_another(earlier: &Earlier) -> Self {
        Self { why: Why::Other, ..Self::of(earlier, true, None) }
    }

    /// Whether it will be over by itself.
    pub fn passes(&self) -> bool {
        self.why == Why::State(RequestState::UnderWay)
    }
}

impl fmt::Display for Duplicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.begun_at.strftime("%Y-%m-%dT%H:%M:%SZ");
        let what = if self.keyed {
            "this Idempotency-Key stands for request"
        } else {
            "the same numbers for the same task came in request"
        };
        let earlier = format_args!("{what} {} of {at}", self.request_id);
        match self.why {
            Why::Other => write!(
                f,
                "{earlier}, which had another body; use a new key for a new request, and the same body for a retry"
            ),
            Why::State(RequestState::UnderWay) => {
                write!(f, "{earlier}, which is still under way; wait for it to end, and ask again")
            }
            Why::State(RequestState::Done) => write!(
                f,
                "{earlier}, which was carried out; to have it done a second time all the same, send it with \
                 `X-Gateway-Force: true`"
            ),
            Why::State(RequestState::Unknown) => write!(
                f,
                "{earlier}, and the outcome of that one is unknown: the SaaS may have acted on it. Find out whether \
                 it did; then have the operator settle it (`xinyao-gateway requests`), or send it again with \
                 `X-Gateway-Force: true`"
            ),
        }
    }
}
