use proptest::prelude::*;

use super::*;

const SCHEDULE: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(100)];

fn outcomes() -> Vec<Outcome> {
    let all = vec![
        Outcome::Delivered,
        Outcome::Gone,
        Outcome::Refused { code: "7".into(), message: Some("no".into()) },
        Outcome::Busy { status: 503, retry_after: Duration::from_secs(30) },
        Outcome::Redirected { status: 302 },
        Outcome::Failed { status: 500 },
        Outcome::TooLong { bytes: 1 << 18 },
        Outcome::TimedOut { within: Duration::from_secs(10) },
        Outcome::Unreachable("refused".into()),
        Outcome::BrokeOff("reset".into()),
    ];
    // A new outcome must come to this table: the match has no arm for what is not listed here.
    for outcome in &all {
        match outcome {
            Outcome::Delivered
            | Outcome::Gone
            | Outcome::Refused { .. }
            | Outcome::Busy { .. }
            | Outcome::Redirected { .. }
            | Outcome::Failed { .. }
            | Outcome::TooLong { .. }
            | Outcome::TimedOut { .. }
            | Outcome::Unreachable(_)
            | Outcome::BrokeOff(_) => {}
        }
    }
    all
}

/// The middle of the dice: no jitter.
fn after_try(standing: Standing, outcome: &Outcome) -> (Option<(u64, u32)>, Why) {
    let decision = decide(standing, outcome, &SCHEDULE, Timestamp::UNIX_EPOCH, 0.5);
    let retry = match decision.fate {
        Fate::Retry { due, spent } => Some((due.as_second().unsigned_abs(), spent)),
        Fate::Delivered => {
            assert_eq!(decision.why, Why::Done);
            None
        }
        Fate::Dead => {
            assert!(matches!(decision.why, Why::Gone | Why::UsedUp));
            None
        }
    };
    (retry, decision.why)
}

#[test]
fn every_state_meets_every_outcome() {
    for outcome in outcomes() {
        for spent in 0..4 {
            let scheduled = after_try(Standing::Scheduled { spent }, &outcome);
            let probe = after_try(Standing::Probe { spent }, &outcome);
            match (&outcome, spent) {
                (Outcome::Delivered, _) => {
                    assert_eq!((scheduled, probe), ((None, Why::Done), (None, Why::Done)));
                }
                (Outcome::Gone, _) => assert_eq!((scheduled, probe), ((None, Why::Gone), (None, Why::Gone))),
                (Outcome::Busy { .. }, 0 | 1) => {
                    assert_eq!(scheduled, (Some((30, spent + 1)), Why::RetryAfter));
                    assert_eq!(probe, (Some((30, spent)), Why::Probe));
                }
                (Outcome::Busy { .. }, _) => {
                    assert_eq!(scheduled, (None, Why::UsedUp));
                    assert_eq!(probe, (Some((30, spent)), Why::Probe));
                }
                (_, 0 | 1) => {
                    let delay = SCHEDULE[spent as usize].as_secs();
                    assert_eq!(scheduled, (Some((delay, spent + 1)), Why::Scheduled));
                    assert_eq!(probe, (Some((0, spent)), Why::Probe));
                }
                (_, _) => {
                    assert_eq!(scheduled, (None, Why::UsedUp));
                    assert_eq!(probe, (Some((0, spent)), Why::Probe));
                }
            }
        }
    }
}

#[test]
fn only_what_was_taken_or_refused_for_good_is_an_answer() {
    let answers: Vec<Outcome> = outcomes().into_iter().filter(Outcome::is_answer).collect();
    assert_eq!(answers, [Outcome::Delivered, Outcome::Gone]);
    for outcome in outcomes() {
        assert_eq!(outcome.error().is_none(), outcome == Outcome::Delivered);
    }
}

proptest! {
    /// Whatever fails for ever is given up after one try more than there are delays, each wait within a
    /// tenth of its delay; with probes in between it takes as many tries more and not one delay less.
    #[test]
    fn what_keeps_failing_runs_through_its_schedule(
        delays in prop::collection::vec(1_u64..100_000, 0..12),
        dice in prop::collection::vec(0.0..1.0_f64, 40),
        probes in prop::collection::vec(any::<bool>(), 40),
    ) {
        let schedule: Vec<Duration> = delays.iter().map(|s| Duration::from_secs(*s)).collect();
        let (mut now, mut spent, mut waited) = (Timestamp::UNIX_EPOCH, 0, 0);
        for (dice, probe) in dice.into_iter().zip(probes) {
            let standing = if probe { Standing::Probe { spent } } else { Standing::Scheduled { spent } };
            let decision = decide(standing, &Outcome::Failed { status: 500 }, &schedule, now, dice);
            match decision.fate {
                Fate::Retry { due, spent: after } if probe => prop_assert_eq!((due, after), (now, spent)),
                Fate::Retry { due, spent: after } => {
                    let wait = due.duration_since(now).as_secs_f64();
                    let delay = schedule[waited].as_secs_f64();
                    prop_assert!(wait >= delay * 0.899 && wait <= delay * 1.101, "{} for {}", wait, delay);
                    prop_assert_eq!(after, spent + 1);
                    waited += 1;
                    (now, spent) = (due, after);
                }
                Fate::Dead => {
                    prop_assert!(!probe);
                    prop_assert_eq!(waited, schedule.len());
                    return Ok(());
                }
                Fate::Delivered => prop_assert!(false, "nobody took it"),
            }
        }
    }
}
