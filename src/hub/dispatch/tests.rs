mod actor;
mod bed;
mod property;
mod whole;

use std::time::Duration;

use tokio::time::Instant;

use self::actor::{Actor, Seen};
use self::bed::Bed;
use super::shown::State;
use super::testing::settings;
use crate::hub::delivery_state::Outcome;
use crate::hub::settings::SubscriberSettings;
use crate::store::{EventFilter, Operate, Seq};

const SOON: Duration = Duration::from_millis(50);
const NOW: Duration = Duration::ZERO;

fn failed() -> (Outcome, Duration) {
    (Outcome::Failed { status: 500 }, NOW)
}

fn taken() -> (Outcome, Duration) {
    (Outcome::Delivered, NOW)
}

fn seconds(seen: &[Seen]) -> Vec<u64> {
    seen.iter().map(|seen| (seen.at_ms + 500) / 1000).collect()
}

#[tokio::test(start_paused = true)]
async fn events_are_delivered_and_the_frontier_follows() {
    let bed = Bed::new();
    let actor = Actor::willing();
    let (subscriber, shown) = bed.serve(settings("crm"), &actor);
    bed.append(10).await;
    bed.until(|| actor.seen().len() == 10).await;
    bed.frontier_comes_to("crm", Seq(11)).await;
    assert_eq!(shown.counts().delivered, 10);
    assert!(actor.seen().iter().all(|seen| seen.number == 1));
    subscriber.end().await;
    assert_eq!(bed.figures("crm").delivered, 10);
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_tried_by_its_schedule_and_then_given_up() {
    let bed = Bed::new();
    let actor = Actor::new(|_, _| failed());
    let (_subscriber, shown) = bed.serve(settings("crm"), &actor);
    bed.append(1).await;
    bed.until(|| shown.counts().dead == 1).await;
    let seen = actor.seen();
    assert_eq!(seen.iter().map(|seen| seen.number).collect::<Vec<_>>(), [1, 2, 3]);
    for (pair, delay) in seen.windows(2).zip([5000, 10_000]) {
        let waited = pair[1].at_ms - pair[0].at_ms;
        assert!((delay * 9 / 10..=delay * 11 / 10 + 50).contains(&waited), "{waited} for {delay}");
    }
    bed.frontier_comes_to("crm", Seq(2)).await;
    let figures = bed.figures("crm");
    assert_eq!((figures.dead, figures.retrying, figures.failed), (1, 0, 3));
}

#[tokio::test(start_paused = true)]
async fn the_answer_may_say_when_or_that_never() {
    let bed = Bed::new();
    let actor = Actor::new(|event, number| match (event.place.seq.0, number) {
        (1, 1) => (Outcome::Busy { status: 503, retry_after: Duration::from_secs(90) }, NOW),
        (2, _) => (Outcome::Gone, NOW),
        (_, _) => taken(),
    });
    let (_subscriber, shown) = bed.serve(settings("crm"), &actor);
    bed.append(2).await;
    bed.until(|| shown.counts().delivered == 1).await;
    assert_eq!(seconds(&actor.seen()), [0, 0, 90]);
    assert_eq!(shown.counts().dead, 1);
}

#[tokio::test(start_paused = true)]
async fn no_more_than_max_in_flight_are_under_way() {
    let bed = Bed::new();
    let actor = Actor::new(|_, _| (Outcome::Delivered, SOON));
    let (_subscriber, shown) = bed.serve(settings("crm"), &actor);
    bed.append(40).await;
    bed.until(|| shown.in_flight() == 4).await;
    bed.until(|| shown.counts().delivered == 40).await;
    assert_eq!(actor.busiest(), 4);
}

#[tokio::test(start_paused = true)]
async fn an_ordered_queue_is_held_by_a_failing_event_and_let_go_by_a_dead_one() {
    let bed = Bed::new();
    let actor = Actor::new(|event, number| match (event.place.seq.0, number) {
        (2, 1 | 2) | (3, _) => failed(),
        (_, _) => taken(),
    });
    let (_subscriber, shown) = bed.serve(SubscriberSettings { ordered: true, ..settings("crm") }, &actor);
    bed.append(4).await;
    bed.until(|| shown.counts().delivered == 3).await;
    assert_eq!(actor.seqs(), [1, 2, 2, 2, 3, 3, 3, 4]);
    assert_eq!(actor.busiest(), 1);
    assert_eq!(bed.figures("crm").dead, 1);
}

#[tokio::test(start_paused = true)]
async fn one_event_that_always_fails_holds_up_nobody() {
    let bed = Bed::new();
    let actor = Actor::new(|event, _| if event.place.seq.0 == 1 { failed() } else { taken() });
    let retry = vec![Duration::from_secs(1); 20];
    let (_subscriber, shown) = bed.serve(SubscriberSettings { retry, ..settings("crm") }, &actor);
    bed.append(1).await;
    bed.until(|| shown.counts().failed == 10).await;
    assert_eq!(shown.state(), State::Active);
    bed.append(5).await;
    bed.until(|| shown.counts().delivered == 5).await;
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_does_not_answer_is_probed() {
    let bed = Bed::new();
    let actor = Actor::new(|_, _| failed());
    let (_subscriber, shown) = bed.serve(SubscriberSettings { max_in_flight: 5, ..settings("crm") }, &actor);
    bed.append(100).await;
    bed.until(|| shown.state() == State::Probing).await;
    bed.until(|| actor.seen().len() == 12).await;
    let seen = actor.seen();
    // Five at once; then one at a time, none of them spending anything.
    assert_eq!(seconds(&seen), [0, 0, 0, 0, 0, 1, 3, 7, 15, 31, 63, 123]);
    let figures = bed.figures("crm");
    assert_eq!(figures.dead, 0, "probes give nothing up");
    assert!(figures.retrying <= 8, "nothing is written of what was not tried: {}", figures.retrying);

    actor.play(|_, _| taken());
    bed.until(|| shown.counts().delivered == 100).await;
    assert_eq!(shown.state(), State::Active);
    let figures = bed.figures("crm");
    assert_eq!((figures.dead, figures.retrying), (0, 0));
    bed.frontier_comes_to("crm", Seq(101)).await;
}

#[tokio::test(start_paused = true)]
async fn one_event_that_always_fails_does_not_hide_that_a_subscriber_is_back() {
    let bed = Bed::new();
    let actor = Actor::new(|_, _| failed());
    let (_subscriber, shown) = bed.serve(SubscriberSettings { max_in_flight: 5, ..settings("crm") }, &actor);
    bed.append(5).await;
    bed.until(|| shown.state() == State::Probing).await;
    actor.play(|event, _| if event.place.seq.0 == 1 { failed() } else { taken() });
    bed.append(50).await;
    bed.until(|| shown.counts().delivered == 54).await;
    bed.until(|| shown.counts().dead == 1).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_not_due_yet_is_a_probe_too_unless_the_subscriber_says_when() {
    let hour = vec![Duration::from_hours(1)];
    let bed = Bed::new();
    let actor = Actor::new(|_, _| failed());
    let settings = SubscriberSettings { max_in_flight: 5, retry: hour, ..settings("crm") };
    let (_subscriber, shown) = bed.serve(settings.clone(), &actor);
    bed.append(5).await;
    bed.until(|| actor.seen().len() == 8).await;
    assert_eq!(seconds(&actor.seen()), [0, 0, 0, 0, 0, 1, 3, 7]);
    actor.play(|_, _| taken());
    bed.until(|| shown.state() == State::Active).await;

    let bed = Bed::new();
    let busy = || (Outcome::Busy { status: 429, retry_after: Duration::from_mins(30) }, NOW);
    let actor = Actor::new(move |_, _| busy());
    let (_subscriber, _) = bed.serve(settings, &actor);
    bed.append(5).await;
    bed.until(|| actor.seen().len() == 6).await;
    assert_eq!(seconds(&actor.seen()).last(), Some(&1800));
}

#[tokio::test(start_paused = true)]
async fn a_rate_is_kept() {
    let bed = Bed::new();
    let actor = Actor::willing();
    let (_subscriber, shown) =
        bed.serve(SubscriberSettings { rate_per_second: Some(10), ..settings("crm") }, &actor);
    bed.append(40).await;
    bed.until(|| shown.counts().delivered == 40).await;
    let last = actor.seen().last().unwrap().at_ms;
    assert!((2900..3300).contains(&last), "ten at once, then ten a second: {last}");
}

#[tokio::test(start_paused = true)]
async fn operators_pause_resume_and_purge() {
    let bed = Bed::new();
    let actor = Actor::willing();
    let (_subscriber, shown) = bed.serve(settings("crm"), &actor);
    bed.append(1).await;
    bed.until(|| shown.counts().delivered == 1).await;
    bed.store.set_paused("crm", true).await.unwrap();
    bed.until(|| shown.state() == State::Paused).await;
    bed.append(3).await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(actor.seqs(), [1]);
    assert_eq!(bed.store.purge("crm").await.unwrap(), 3);
    bed.append(1).await;
    bed.store.set_paused("crm", false).await.unwrap();
    bed.until(|| shown.counts().delivered == 2).await;
    assert_eq!(actor.seqs(), [1, 5]);
    assert_eq!(shown.state(), State::Active);
}

#[tokio::test(start_paused = true)]
async fn a_replay_goes_beside_the_live_events() {
    let bed = Bed::new();
    let actor = Actor::willing();
    let (_subscriber, shown) = bed.serve(settings("crm"), &actor);
    bed.append(5).await;
    bed.until(|| shown.counts().delivered == 5).await;
    bed.frontier_comes_to("crm", Seq(6)).await;
    assert_eq!(bed.store.replay("crm", EventFilter::default()).await.unwrap(), 5);
    bed.until(|| shown.counts().delivered == 10).await;
    bed.append(1).await;
    bed.until(|| shown.counts().delivered == 11).await;
    assert_eq!(actor.seqs(), [1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 6]);
    let id = Bed::id(3);
    assert_eq!(bed.store.replay_ids("crm", vec![id]).await.unwrap(), 1);
    bed.until(|| shown.counts().delivered == 12).await;
    assert_eq!(actor.seqs().last(), Some(&3));
    bed.until(|| bed.settled("crm")).await;
    assert_eq!(bed.figures("crm").replaying, 0);
}

#[tokio::test(start_paused = true)]
async fn while_nothing_can_be_written_deliveries_go_on_and_nothing_is_lost() {
    let bed = Bed::new();
    let actor = Actor::new(|event, number| match event.place.seq.0 {
        2 if number < 3 => failed(),
        3 => (Outcome::Gone, NOW),
        _ => taken(),
    });
    let (_subscriber, shown) = bed.serve(settings("crm"), &actor);
    bed.fail_writes(true);
    bed.append(20).await;
    bed.until(|| shown.counts().delivered == 19).await;
    let tries = actor.seqs().iter().filter(|seq| **seq == 2).count();
    assert_eq!(tries, 3, "tried again from memory");
    assert_eq!(bed.frontier("crm"), Seq(2), "the first that has left no trace");
    let asked = bed.writes();
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert!(bed.writes() - asked <= 125, "it does not spin: {}", bed.writes() - asked);

    bed.fail_writes(false);
    bed.frontier_comes_to("crm", Seq(21)).await;
    let figures = bed.figures("crm");
    assert_eq!((figures.delivered, figures.dead, figures.retrying), (19, 1, 0));
    assert_eq!(actor.seen().len(), 22);
}

#[tokio::test(start_paused = true)]
async fn a_crash_repeats_deliveries_and_loses_none() {
    let bed = Bed::new();
    let actor = Actor::new(|event, _| match event.place.seq.0 {
        1 => (Outcome::Delivered, Duration::from_secs(5)),
        2 => failed(),
        _ => taken(),
    });
    let (subscriber, shown) = bed.serve(settings("crm"), &actor);
    bed.append(6).await;
    bed.until(|| shown.counts().delivered == 4).await;
    bed.until_retrying("crm", 1).await;
    // The first is still under way: the frontier stands before it, what came after is settled.
    subscriber.kill();
    assert_eq!(bed.frontier("crm"), Seq(1));

    let again = Actor::willing();
    let (_subscriber, shown) = bed.serve(settings("crm"), &again);
    bed.frontier_comes_to("crm", Seq(7)).await;
    bed.until(|| shown.counts().delivered >= 6).await;
    for seq in 1..=6 {
        assert!(again.seqs().contains(&seq), "{seq}");
    }
    bed.until(|| bed.settled("crm")).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_hangs_and_one_that_is_dead_hold_up_no_other() {
    let bed = Bed::new();
    let hanging =
        Actor::new(|_, _| (Outcome::TimedOut { within: Duration::from_secs(10) }, Duration::from_secs(10)));
    let dead = Actor::new(|_, _| (Outcome::Unreachable("refused".into()), NOW));
    let well = Actor::willing();
    let _hanging = bed.serve(settings("hanging"), &hanging);
    let _dead = bed.serve(settings("dead"), &dead);
    let (_well, shown) = bed.serve(settings("well"), &well);
    let (began, mut accepted) = (Instant::now(), Vec::new());
    for _ in 0..100 {
        bed.append(1).await;
        accepted.push(began.elapsed());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bed.until(|| shown.counts().delivered == 100).await;
    for (seen, accepted) in well.seen().iter().zip(accepted) {
        assert!(u128::from(seen.at_ms) <= accepted.as_millis() + 5, "{seen:?} for {accepted:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_wanted_is_passed() {
    let bed = Bed::new();
    let actor = Actor::willing();
    let filter = [("task_id".to_owned(), vec!["7".to_owned()])].into();
    let (_subscriber, shown) = bed.serve(SubscriberSettings { filter, ..settings("crm") }, &actor);
    bed.append(300).await;
    bed.append_body(r#"{"task_id":7,"calls":[]}"#).await;
    bed.until(|| shown.counts().delivered == 1).await;
    assert_eq!(actor.seqs(), [301]);
    bed.frontier_comes_to("crm", Seq(302)).await;
}

#[tokio::test(start_paused = true)]
async fn a_changed_configuration_takes_effect_at_once() {
    let bed = Bed::new();
    let before = Actor::new(|_, _| (Outcome::Delivered, Duration::from_secs(3)));
    let (subscriber, shown) = bed.serve(SubscriberSettings { ordered: true, ..settings("crm") }, &before);
    bed.append(3).await;
    bed.until(|| before.seen().len() == 1).await;
    let after = Actor::willing();
    subscriber.change(settings("crm"), &after);
    bed.until(|| shown.counts().delivered == 3).await;
    assert_eq!((before.seqs(), after.seqs()), (vec![1], vec![2, 3]));
}

#[tokio::test(start_paused = true)]
async fn a_try_that_panics_is_a_failed_try() {
    let bed = Bed::new();
    let actor = Actor::new(|_, number| {
        assert!(number > 1, "a fault in the courier");
        taken()
    });
    let (_subscriber, shown) = bed.serve(settings("crm"), &actor);
    bed.append(1).await;
    bed.until(|| shown.counts().delivered == 1).await;
    assert_eq!(shown.counts().failed, 1);
}
