//! Whatever subscribers answer, stores refuse and crashes cut off: nothing is lost, order is kept where
//! it is promised, and without a crash nothing comes twice after it was taken.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;

use super::actor::Actor;
use super::bed::Bed;
use crate::hub::delivery_state::Outcome;
use crate::hub::dispatch::testing::settings;
use crate::hub::settings::SubscriberSettings;
use crate::store::Seq;

/// What happens between two looks at the whole.
#[derive(Debug, Clone)]
enum Act {
    Append(usize),
    Pass(u64),
    Writes(bool),
    Crash,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        (1_usize..20).prop_map(Act::Append),
        (1_u64..40_000).prop_map(Act::Pass),
        any::<bool>().prop_map(Act::Writes),
        Just(Act::Crash),
    ];
    prop::collection::vec(act, 1..12)
}

/// The answer to the `number`th attempt of an event, from dice that fall the same way each time.
fn answer(seed: u64, seq: u64, number: u32) -> (Outcome, Duration) {
    let mut dice = fastrand::Rng::with_seed(seed ^ (seq << 32) ^ u64::from(number));
    let took = Duration::from_millis(dice.u64(0..3000));
    let outcome = match dice.u8(0..10) {
        0 => Outcome::Gone,
        1 => Outcome::Busy { status: 429, retry_after: Duration::from_secs(dice.u64(0..30)) },
        2 => Outcome::Refused { code: "7".into(), message: None },
        3 => Outcome::TimedOut { within: took },
        _ => Outcome::Delivered,
    };
    (outcome, took)
}

async fn play(seed: u64, ordered: bool, delays: usize, acts: Vec<Act>) {
    let bed = Bed::new();
    let ended: Arc<Mutex<Vec<u64>>> = Arc::default();
    let noting = Arc::clone(&ended);
    let actor = Actor::new(move |event, number| {
        let (outcome, took) = answer(seed, event.place.seq.0, number);
        if outcome.is_answer() {
            noting.lock().unwrap().push(event.place.seq.0);
        }
        (outcome, took)
    });
    let settings =
        SubscriberSettings { ordered, retry: vec![Duration::from_secs(2); delays], ..settings("crm") };
    let (mut running, mut shown) = bed.serve(settings.clone(), &actor);
    let (mut appended, mut crashes) = (0, 0);
    for act in acts {
        match act {
            Act::Append(events) => {
                bed.append(events).await;
                appended += events as u64;
            }
            Act::Pass(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
            Act::Writes(fail) => bed.fail_writes(fail),
            Act::Crash => {
                // Before the first look a new subscriber has no place that a crash could leave it.
                tokio::time::sleep(Duration::from_millis(1)).await;
                running.kill();
                (running, shown) = bed.serve(settings.clone(), &actor);
                crashes += 1;
            }
        }
    }
    bed.fail_writes(false);
    bed.append(1).await;
    appended += 1;
    bed.frontier_comes_to("crm", Seq(appended + 1)).await;
    bed.until(|| bed.settled("crm") && shown.in_flight() == 0).await;
    running.end().await;

    let dead = bed.dead("crm").await;
    let ended = ended.lock().unwrap().clone();
    let whole: BTreeSet<u64> = ended.iter().chain(&dead).copied().collect();
    assert_eq!(whole, (1..=appended).collect(), "all were taken or given up");
    if crashes == 0 {
        assert_eq!(ended.len(), ended.iter().collect::<BTreeSet<_>>().len(), "none twice: {ended:?}");
        if ordered {
            assert!(ended.is_sorted(), "in order: {ended:?}");
        }
    }
    if ordered && crashes == 0 {
        assert!(actor.busiest() <= 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn nothing_is_lost(seed: u64, ordered: bool, delays in 0_usize..4, acts in acts()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(play(seed, ordered, delays, acts));
    }
}
