//! How a callback's body tells its kind.

pub mod facets;
pub mod heading;

use std::fmt;
use std::str::FromStr;

/// What a callback is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// §7: what came of calls.
    CallRecord,
    /// §8: what callees were found to intend.
    IntentResult,
    /// §9: somebody calls, and the SaaS asks what to say.
    InboundQuery,
    /// None that the document names.
    Unknown,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::CallRecord, Self::IntentResult, Self::InboundQuery, Self::Unknown];

    /// Its name in configuration, headers, API and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::CallRecord => "call_record",
            Self::IntentResult => "intent_result",
            Self::InboundQuery => "inbound_query",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The name is none of a kind.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no kind of event; there are call_record, intent_result, inbound_query, unknown")]
pub struct UnknownKind(String);

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(name: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| UnknownKind(name.into()))
    }
}
