//! Whether a subscriber is in working order: (health x what came of a try) -> health, pure.
//!
//! Five failures in a row, over at least two events, and it is *probing*: one event at a time, after 1 s,
//! doubling to 60 s, until it answers. A single event that always fails says nothing about the rest.

use std::time::Duration;

use tokio::time::Instant;

use crate::store::EventId;

/// Failures in a row that end confidence.
const PATIENCE: u32 = 5;
const FIRST_PROBE: Duration = Duration::from_secs(1);
const LAST_PROBE: Duration = Duration::from_mins(1);

/// How a subscriber is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Deliveries go on side by side.
    Well {
        /// What has failed since something was last answered.
        streak: Option<Streak>,
    },
    /// One event at a time.
    Probing {
        /// How long the next probe waits after the last.
        delay: Duration,
        /// When the next one is made.
        next: Instant,
    },
}

/// Failures in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Streak {
    failures: u32,
    first: EventId,
    /// Whether a second event is among them.
    several: bool,
}

/// What a try tells of the subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// It answered.
    Answered,
    /// It failed.
    Failed {
        /// With which event.
        event: EventId,
        /// Whether this was a probe.
        probe: bool,
        /// Whether its retry set can take no more.
        full: bool,
    },
}

impl Health {
    /// In working order until the contrary is seen.
    pub const NEW: Self = Self::Well { streak: None };

    /// How the subscriber is doing after that sign.
    pub fn after(self, sign: Sign, now: Instant) -> Self {
        match (self, sign) {
            (Self::Well { .. } | Self::Probing { .. }, Sign::Answered) => Self::NEW,
            (Self::Well { streak }, Sign::Failed { event, full, .. }) => {
                let streak = Streak::longer(streak, event);
                let hopeless = streak.failures >= PATIENCE && streak.several;
                if hopeless || full {
                    Self::probing(FIRST_PROBE, now)
                } else {
                    Self::Well { streak: Some(streak) }
                }
            }
            (Self::Probing { delay, .. }, Sign::Failed { probe: true, .. }) => {
                Self::probing((delay * 2).min(LAST_PROBE), now)
            }
            // It was under way before; of now it says nothing.
            (Self::Probing { .. }, Sign::Failed { probe: false, .. }) => self,
        }
    }

    fn probing(delay: Duration, now: Instant) -> Self {
        Self::Probing { delay, next: now + delay }
    }

    /// When the next probe is made, if the subscriber is probing.
    pub fn next_probe(self) -> Option<Instant> {
        match self {
            Self::Well { .. } => None,
            Self::Probing { next, .. } => Some(next),
        }
    }
}

impl Streak {
    fn longer(streak: Option<Self>, event: EventId) -> Self {
        match streak {
            None => Self { failures: 1, first: event, several: false },
            Some(known) => Self {
                failures: known.failures.saturating_add(1),
                several: known.several || known.first != event,
                ..known
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn failed(event: u128) -> Sign {
        Sign::Failed { event: EventId(Uuid::from_u128(event)), probe: false, full: false }
    }

    fn probe_failed() -> Sign {
        Sign::Failed { event: EventId(Uuid::nil()), probe: true, full: false }
    }

    fn after(signs: &[Sign], now: Instant) -> Health {
        signs.iter().fold(Health::NEW, |health, sign| health.after(*sign, now))
    }

    #[test]
    fn every_state_meets_every_sign() {
        let now = Instant::now();
        let full = Sign::Failed { event: EventId(Uuid::nil()), probe: false, full: true };
        let probing = Health::probing(FIRST_PROBE, now);
        let doubted = after(&[failed(1), failed(2), failed(1), failed(2)], now);
        for well in [Health::NEW, after(&[failed(1)], now)] {
            assert_eq!(well.after(Sign::Answered, now), Health::NEW);
            assert_eq!(well.after(failed(1), now).next_probe(), None);
            assert_eq!(well.after(full, now), probing);
        }
        assert_eq!(doubted.next_probe(), None);
        assert_eq!(doubted.after(failed(2), now), probing);
        assert_eq!(doubted.after(Sign::Answered, now), Health::NEW);
        assert_eq!(probing.after(Sign::Answered, now), Health::NEW);
        assert_eq!(probing.after(failed(1), now), probing);
        assert_eq!(probing.after(full, now), probing);
        assert_eq!(probing.after(probe_failed(), now), Health::probing(FIRST_PROBE * 2, now));
    }

    #[test]
    fn one_event_alone_never_ends_confidence() {
        let now = Instant::now();
        let alone = after(&[failed(1); 100], now);
        assert_eq!(alone.next_probe(), None);
        assert!(alone.after(failed(2), now).next_probe().is_some());
    }

    #[test]
    fn probes_are_made_ever_more_seldom_up_to_a_minute() {
        let now = Instant::now();
        let mut health = Health::probing(FIRST_PROBE, now);
        let waits: Vec<u64> = std::iter::from_fn(|| {
            let wait = health.next_probe()? - now;
            health = health.after(probe_failed(), now);
            Some(wait.as_secs())
        })
        .take(9)
        .collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }

    proptest! {
        #[test]
        fn an_answer_always_ends_it(signs in prop::collection::vec((0_u128..3, any::<bool>(), any::<bool>()), 0..30)) {
            let now = Instant::now();
            let signs = signs.into_iter().map(|(event, probe, full)| {
                Sign::Failed { event: EventId(Uuid::from_u128(event)), probe, full }
            });
            let health = signs.fold(Health::NEW, |health, sign| health.after(sign, now));
            prop_assert!(health.next_probe().is_none_or(|next| next - now <= LAST_PROBE));
            prop_assert_eq!(health.after(Sign::Answered, now), Health::NEW);
        }
    }
}
