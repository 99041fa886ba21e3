#![expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "small numbers")]

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use governor::{Quota, RateLimiter};

use super::{counted, settings};
use crate::proxy::shared::cells::Counted;
use crate::proxy::shared::link::{Link, Script};

#[path = "../../../../tests/it/support/redis.rs"]
#[allow(dead_code, reason = "the tool of other tests")]
mod redis_server;
use redis_server::Redis;

async fn link(redis: &Redis) -> Link {
    let link = Link::connect(&settings(&redis.address.ip().to_string(), redis.address.port())).await;
    link.unwrap_or_else(|failure| panic!("{failure}"))
}

/// Draws of one cell count each, of one limit.
async fn draw(link: &mut Link, limit: &Counted, cells: i64) -> (i64, i64) {
    let mut command = redis::cmd("EVALSHA");
    command.arg(link.digest(Script::Rates)).arg(1).arg(&limit.key);
    command.arg(limit.period.as_nanos() as f64 / 1000.0).arg(limit.burst).arg(&[cells, 1, 1]);
    let answer = link.call(&[command]).await.unwrap().remove(0);
    (answer[0], answer[1])
}

#[tokio::test]
async fn the_script_decides_as_governor_does() {
    let redis = Redis::start();
    let mut link = link(&redis).await;
    let mut dice = fastrand::Rng::with_seed(7);
    for (count, burst) in [(60_u32, 1_u32), (7, 3), (1000, 90), (333, 1000)] {
        let limit = counted(&format!("{{t}}:{count}:{burst}"), count, Duration::from_hours(1), burst);
        let quota = Quota::with_period(limit.period).unwrap().allow_burst(NonZeroU32::new(burst).unwrap());
        let governor = RateLimiter::direct(quota);
        for _ in 0..60 {
            let wanted = dice.i64(1..=i64::from(burst / 4 + 2));
            let admitted = (0..wanted).filter(|_| governor.check().is_ok()).count();
            let (drawn, missing) = draw(&mut link, &limit, wanted).await;
            assert_eq!(drawn, admitted as i64, "{wanted} of {count}/h, burst {burst}");
            // Until the burst is whole: never more than all of it takes.
            let whole = (limit.period * burst).as_micros() as i64;
            assert!((0..=whole + 1).contains(&missing), "{missing}");
        }
    }
}

#[tokio::test]
async fn cells_come_back_at_the_rate() {
    let redis = Redis::start();
    let mut link = link(&redis).await;
    let limit = counted("{t}:fast", 1000, Duration::from_secs(1), 20);
    let began = Instant::now();
    let mut drawn = 0;
    while began.elapsed() < Duration::from_millis(500) {
        drawn += draw(&mut link, &limit, 5).await.0;
    }
    // A machine that stops for a moment loses what is over the burst.
    let (least, most) = (300.0, 21.0 + 1000.0 * began.elapsed().as_secs_f64());
    assert!((least..=most).contains(&(drawn as f64)), "{drawn}, at most {most}");
}

#[tokio::test]
async fn what_is_given_back_can_be_drawn_again_and_no_more_than_the_burst() {
    let redis = Redis::start();
    let mut link = link(&redis).await;
    let limit = counted("{t}:back", 10, Duration::from_hours(1), 10);
    assert_eq!(draw(&mut link, &limit, 10).await.0, 10);
    assert_eq!(draw(&mut link, &limit, 1).await.0, 0);
    assert_eq!(draw(&mut link, &limit, -4).await.0, -4);
    assert_eq!(draw(&mut link, &limit, 9).await.0, 4);
    assert_eq!(draw(&mut link, &limit, -50).await, (-50, 0));
    assert_eq!(draw(&mut link, &limit, 20).await.0, 10);
}

#[tokio::test]
async fn keys_expire_and_a_clock_that_was_set_back_does_no_harm() {
    let redis = Redis::start();
    let mut link = link(&redis).await;
    let limit = counted("{t}:clock", 100, Duration::from_secs(1), 10);
    draw(&mut link, &limit, 10).await;
    let ttl: i64 = redis.cli("PTTL {t}:clock").trim().parse().unwrap();
    assert!((1000..=1101).contains(&ttl), "{ttl}");
    redis.cli("SET {t}:clock 9e14");
    let (_, missing) = draw(&mut link, &limit, 1).await;
    assert!(missing <= 100_000, "{missing}");
}

async fn lease(link: &mut Link, replica: &str, used: usize, wanted: usize, lease_ms: u64) -> Vec<i64> {
    let mut command = redis::cmd("EVALSHA");
    command.arg(link.digest(Script::Slots)).arg(1).arg("{t}:slots").arg(replica);
    command.arg(&[10, used, wanted]).arg(lease_ms);
    link.call(&[command]).await.unwrap().remove(0)
}

#[tokio::test]
async fn slots_are_leased_once_and_come_free() {
    let redis = Redis::start();
    let mut link = link(&redis).await;
    assert_eq!(lease(&mut link, "a", 4, 6, 10_000).await, [6, 4]);
    assert_eq!(lease(&mut link, "b", 0, 9, 10_000).await, [4, 0]);
    // Asked again it is the same; less is given back.
    assert_eq!(lease(&mut link, "b", 0, 9, 10_000).await, [4, 0]);
    assert_eq!(lease(&mut link, "a", 1, 1, 10_000).await, [1, 5]);
    // What is under way can't be taken away.
    assert_eq!(lease(&mut link, "a", 8, 8, 10_000).await, [8, 0]);
    assert_eq!(lease(&mut link, "a", 0, 0, 10_000).await, [0, 6]);
    assert_eq!(lease(&mut link, "b", 0, 4, 1).await, [4, 6]);
    let mut others = lease(&mut link, "c", 0, 10, 10_000).await;
    while others != [10, 0] {
        others = lease(&mut link, "c", 0, 10, 10_000).await;
    }
}

/// A draw from the limit of all, of 1 an hour and this burst: cells.
async fn share(link: &mut Link, replica: &str, (burst, wanted, waiting): (u32, i64, i64)) -> i64 {
    let mut command = redis::cmd("EVALSHA");
    command.arg(link.digest(Script::Global)).arg(3).arg(&["{*}:rate", "{*}:slowed", "{*}:replicas"]);
    command.arg(replica).arg(3.6e9).arg(burst).arg(&[wanted, waiting, 0, 0, 0, -1, 0, 0, 0]);
    link.call(&[command]).await.unwrap().remove(0)[0]
}

#[tokio::test]
async fn replicas_have_in_proportion_to_what_waits_there() {
    let redis = Redis::start();
    let mut link = link(&redis).await;
    assert_eq!(share(&mut link, "a", (100, 0, 30)).await, 0);
    // There is enough for both.
    assert_eq!(share(&mut link, "b", (100, 10, 10)).await, 10);
    // There is not: 90 for the 300 here and the 30 there.
    assert_eq!(share(&mut link, "b", (100, 300, 300)).await, 82);
    // Nothing ahead while somebody waits elsewhere.
    assert_eq!(share(&mut link, "c", (100, 20, 0)).await, 0);
    assert_eq!(share(&mut link, "a", (100, 30, 30)).await, 1);
}

/// An answer that asks for less: of 100 sent by the second here so many were answered so,
/// to a request that was sent so long ago. The rate (thousandths by the
/// second; 0: none), and for how long nothing is sent (us).
async fn asks_for_less(link: &mut Link, busy: i64, ago_us: i64, pause_us: i64) -> (i64, i64) {
    let mut command = redis::cmd("EVALSHA");
    command.arg(link.digest(Script::Global)).arg(3).arg(&["{*}:rate", "{*}:slowed", "{*}:replicas"]);
    command.arg("a").arg(1e3).arg(1000).arg(&[0, 0, 100, busy, busy, ago_us, 1, 1, pause_us]);
    let answer = link.call(&[command]).await.unwrap().remove(0);
    (answer[3], answer[2])
}

#[tokio::test]
async fn what_the_saas_asks_for_is_taken_as_without_redis() {
    let redis = Redis::start();
    let mut link = link(&redis).await;
    // One in a hundred is an accident.
    assert_eq!(asks_for_less(&mut link, 1, 0, 0).await, (0, 0));
    // It is halved, once for all that was on its way, and rises by a tenth of what was too much each second.
    let began = Instant::now();
    let (rate, _) = asks_for_less(&mut link, 90, 0, 0).await;
    assert!((50_000..50_100).contains(&rate), "{rate}");
    let (rate, _) = asks_for_less(&mut link, 90, 10_000_000, 0).await;
    let risen = 50_100 + began.elapsed().as_millis() as i64 * 10;
    assert!((50_000..=risen).contains(&rate), "{rate}");
    let (_, pause) = asks_for_less(&mut link, 90, 10_000_000, 500_000).await;
    assert!((490_000..=500_000).contains(&pause), "{pause}");
    // Others heed it too.
    assert_eq!(share(&mut link, "b", (100, 50, 0)).await, 0);
}
