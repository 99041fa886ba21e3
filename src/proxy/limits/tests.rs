//! What one process's limits let in.

use super::*;
use crate::xinyao::Endpoint;

const OUTNUM: Target = Target::Endpoint(Endpoint::Outnum);
const TASKLIST: Target = Target::Endpoint(Endpoint::TaskList);

fn limit(count: u32, burst: u32, targets: TargetSet, max_wait: Duration) -> RateLimit {
    let rate = Rate { count, per: Duration::from_hours(1), burst };
    RateLimit { rate, endpoints: targets, max_wait }
}

fn at_once() -> (Instant, Duration) {
    (Instant::now(), Duration::ZERO)
}

#[test]
fn all_that_apply_must_admit_and_the_narrowest_is_asked_first() {
    let limits = Limits::new(&[
        limit(100, 5, TargetSet::ALL, Duration::ZERO),
        limit(6, 1, [OUTNUM].into_iter().collect(), Duration::ZERO),
    ]);
    let mut standing = None;
    assert!(matches!(limits.admit(OUTNUM, 0, at_once(), &mut standing), Verdict::Admitted));
    assert_eq!(limits.standing(standing.unwrap()).unwrap(), "\"outnum\";r=0;t=600");
    for _ in 0..9 {
        let verdict = limits.admit(OUTNUM, 0, at_once(), &mut standing);
        assert!(matches!(verdict, Verdict::Refused { policy, .. } if policy == "outnum"));
    }
    // The refused ones took nothing from the limit of all.
    let admitted =
        (0..9).filter(|_| matches!(limits.admit(TASKLIST, 0, at_once(), &mut None), Verdict::Admitted));
    assert_eq!(admitted.count(), 4);
}

#[test]
fn looking_charges_nobody() {
    let limits = Limits::new(&[limit(60, 3, TargetSet::ALL, Duration::ZERO)]);
    for left in [3, 2, 1, 0] {
        for _ in 0..5 {
            let standing = limits.look(OUTNUM).unwrap();
            assert_eq!((standing.remaining, standing.reset), (left, u64::from(3 - left) * 60));
        }
        limits.admit(OUTNUM, 0, at_once(), &mut None);
    }
}

#[test]
fn what_did_not_change_goes_on_from_where_it_is() {
    let outnum = || [OUTNUM].into_iter().collect();
    let admits =
        |limits: &Limits, target| matches!(limits.admit(target, 0, at_once(), &mut None), Verdict::Admitted);
    let before =
        Limits::new(&[limit(9, 1, outnum(), Duration::ZERO), limit(9, 2, TargetSet::ALL, Duration::ZERO)]);
    assert!(admits(&before, OUTNUM));
    let same =
        Limits::new(&[limit(9, 1, outnum(), Duration::ZERO), limit(9, 3, TargetSet::ALL, Duration::ZERO)]);
    let after = same.after(&before);
    assert!(!admits(&after, OUTNUM));
    assert!(
        (0..3).all(|_| admits(&after, TASKLIST)) && !admits(&after, TASKLIST),
        "another burst begins anew"
    );
    // Two alike have a state each.
    let twice =
        || Limits::new(&[limit(9, 1, outnum(), Duration::ZERO), limit(9, 1, outnum(), Duration::ZERO)]);
    let third = twice().after(&after);
    assert!(!admits(&third, OUTNUM));
    assert!(admits(&twice(), OUTNUM));
}

#[test]
fn a_limit_may_delay_before_it_refuses() {
    let limits = Limits::new(&[limit(3600, 1, TargetSet::ALL, Duration::from_secs(2))]);
    let ask = |waited| limits.admit(TASKLIST, 0, (Instant::now(), waited), &mut None);
    assert!(matches!(ask(Duration::ZERO), Verdict::Admitted));
    assert!(matches!(ask(Duration::ZERO), Verdict::Wait { at: 0, delay } if delay.as_millis() > 900));
    assert!(matches!(ask(Duration::from_millis(1500)), Verdict::Refused { .. }));
}

#[test]
fn policies_name_the_limits_that_apply() {
    let limits = Limits::new(&[
        limit(100, 200, TargetSet::ALL, Duration::ZERO),
        limit(6, 2, [OUTNUM].into_iter().collect(), Duration::ZERO),
    ]);
    let of = |target: Target| limits.policies()[target.index()].clone();
    assert_eq!(of(OUTNUM).unwrap(), "\"outnum\";q=6;w=3600, \"all\";q=100;w=3600");
    assert_eq!(of(TASKLIST).unwrap(), "\"all\";q=100;w=3600");
    assert!(Limits::new(&[]).policies().iter().all(Option::is_none));
}
