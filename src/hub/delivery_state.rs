//! What is to become of a delivery after a try: (state x outcome) -> decision, total and pure.
//!
//! | outcome | next in the schedule | schedule used up | probe |
//! | --- | --- | --- | --- |
//! | delivered | done | done | done |
//! | gone | dead | dead | dead |
//! | any failure | again after the next delay, or the answer's `Retry-After` | dead | again, spends nothing |

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use super::schedule::{after, jittered};
use crate::store::Fate;

/// How a delivery stood when it was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It follows the schedule, of which so many delays are used up.
    Scheduled {
        /// How many.
        spent: u32,
    },
    /// It was tried to see whether the subscriber is back.
    Probe {
        /// How many delays of the schedule were used up before.
        spent: u32,
    },
}

/// What came of one try.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// 2xx, and no envelope that says otherwise.
    Delivered,
    /// 410.
    Gone,
    /// 2xx, but its envelope has another code than 0.
    Refused {
        /// The code, as written.
        code: String,
        /// Its `msg`.
        message: Option<String>,
    },
    /// 429 or 503 that says when to come back.
    Busy {
        /// Which of them.
        status: u16,
        /// When.
        retry_after: Duration,
    },
    /// 3xx: a delivery goes where it was told to go.
    Redirected {
        /// Which.
        status: u16,
    },
    /// Any other status.
    Failed {
        /// Which.
        status: u16,
    },
    /// The answer is longer than anybody reads.
    TooLong {
        /// How much was read.
        bytes: usize,
    },
    /// No whole answer in time.
    TimedOut {
        /// How long was waited.
        within: Duration,
    },
    /// No connection.
    Unreachable(String),
    /// The exchange broke off.
    BrokeOff(String),
}

impl Outcome {
    /// Whether the subscriber is in working order: it took the event, or said that it never will.
    pub fn is_answer(&self) -> bool {
        match self {
            Self::Delivered | Self::Gone => true,
            Self::Refused { .. }
            | Self::Busy { .. }
            | Self::Redirected { .. }
            | Self::Failed { .. }
            | Self::TooLong { .. }
            | Self::TimedOut { .. }
            | Self::Unreachable(_)
            | Self::BrokeOff(_) => false,
        }
    }

    /// What kind of failure it is, of a few names; `None` when it is none.
    pub fn name(&self) -> Option<&'static str> {
        match self {
            Self::Delivered => None,
            Self::Gone => Some("gone"),
            Self::Refused { .. } => Some("refused"),
            Self::Busy { .. } => Some("busy"),
            Self::Redirected { .. } => Some("redirected"),
            Self::Failed { .. } => Some("failed"),
            Self::TooLong { .. } => Some("too_long"),
            Self::TimedOut { .. } => Some("timed_out"),
            Self::Unreachable(_) => Some("unreachable"),
            Self::BrokeOff(_) => Some("broke_off"),
        }
    }

    /// What was wrong, in one line; `None` when nothing was.
    pub fn error(&self) -> Option<String> {
        match self {
            Self::Delivered => None,
            other => Some(other.to_string()),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delivered => f.write_str("delivered"),
            Self::Gone => f.write_str("answered 410: it never wants this event"),
            Self::Refused { code, message: None } => write!(f, "answered with code {code}"),
            Self::Refused { code, message: Some(message) } => {
                write!(f, "answered with code {code}: {message}")
            }
            Self::Busy { status, retry_after } => {
                write!(f, "answered {status}, to come back after {} s", retry_after.as_secs())
            }
            Self::Redirected { status } => write!(f, "answered {status}: redirects are not followed"),
            Self::Failed { status } => write!(f, "answered {status}"),
            Self::TooLong { bytes } => write!(f, "the answer is longer than {} KiB", bytes >> 10),
            Self::TimedOut { within } => write!(f, "no whole answer within {within:?}"),
            Self::Unreachable(reason) => write!(f, "can't be reached: {reason}"),
            Self::BrokeOff(reason) => write!(f, "broke off: {reason}"),
        }
    }
}

/// Why a delivery is given up, or that it is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It is done.
    Done,
    /// The subscriber said so.
    Gone,
    /// The schedule has a further delay.
    Scheduled,
    /// The subscriber said when.
    RetryAfter,
    /// A probe changes nothing.
    Probe,
    /// There is no further delay.
    UsedUp,
}

impl Why {
    /// In words.
    pub fn text(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Gone => "the subscriber never wants it",
            Self::Scheduled => "next in the schedule",
            Self::RetryAfter => "as the subscriber asked",
            Self::Probe => "a probe spends no attempt",
            Self::UsedUp => "the schedule is used up",
        }
    }
}

/// What is to become of a delivery, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// What the store is told.
    pub fate: Fate,
    /// Why.
    pub why: Why,
}

/// Decides what is to become of a delivery that stood as `standing` and came out as `outcome`.
///
/// `schedule` holds the delays before the second, third … attempt; `dice` lies between 0 and 1.
pub fn decide(
    standing: Standing,
    outcome: &Outcome,
    schedule: &[Duration],
    now: Timestamp,
    dice: f64,
) -> Decision {
    match outcome {
        Outcome::Delivered => Decision { fate: Fate::Delivered, why: Why::Done },
        Outcome::Gone => Decision { fate: Fate::Dead, why: Why::Gone },
        Outcome::Busy { retry_after, .. } => again(standing, Some(*retry_after), schedule, now, dice),
        Outcome::Refused { .. }
        | Outcome::Redirected { .. }
        | Outcome::Failed { .. }
        | Outcome::TooLong { .. }
        | Outcome::TimedOut { .. }
        | Outcome::Unreachable(_)
        | Outcome::BrokeOff(_) => again(standing, None, schedule, now, dice),
    }
}

fn again(
    standing: Standing,
    asked: Option<Duration>,
    schedule: &[Duration],
    now: Timestamp,
    dice: f64,
) -> Decision {
    match standing {
        // Due at once: when the subscriber is tried again is not this event's to say.
        Standing::Probe { spent } => {
            let due = after(now, asked.unwrap_or_default());
            Decision { fate: Fate::Retry { due, spent }, why: Why::Probe }
        }
        Standing::Scheduled { spent } => match (schedule.get(spent as usize), asked) {
            (None, _) => Decision { fate: Fate::Dead, why: Why::UsedUp },
            (Some(_), Some(asked)) => {
                let fate = Fate::Retry { due: after(now, asked), spent: spent + 1 };
                Decision { fate, why: Why::RetryAfter }
            }
            (Some(delay), None) => {
                let fate = Fate::Retry { due: after(now, jittered(*delay, dice)), spent: spent + 1 };
                Decision { fate, why: Why::Scheduled }
            }
        },
    }
}

#[cfg(test)]
mod tests;
