//! Replicas let in together what one would.

use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::support::{Cluster, Gateway, TASKLIST, Upstream, in_time, post, try_ask};

use super::SOON;

const RATE: f64 = 60.0;
const BURST: f64 = 20.0;

/// That clients of all replicas, which ask for more than the limit, get no more and hardly less, for so long.
async fn the_sum_is_the_limit(time: Duration) {
    let saas = Upstream::start();
    let limit = format!("rate_limits: [{{limit: {RATE}/s, burst: {BURST}}}]");
    let cluster = Cluster::run(Gateway::to(&saas).crm(limit)).await;
    for replica in &cluster.replicas {
        in_time(SOON, async || replica.status().await["limits"]["shared"]["up"] == true).await;
    }
    let begun = Instant::now();
    let clients = (0..12).map(async |client: usize| {
        let (mut line, mut let_in) = (None, 0_u32);
        while begun.elapsed() < time {
            let proxy = cluster.replicas[client % 3].proxy;
            let answer = try_ask(&post(TASKLIST, "{}"), proxy, &mut line).await.expect("an answer");
            assert!(matches!(answer.status, 200 | 429), "{answer:?}");
            let_in += u32::from(answer.status == 200);
            // A refused client comes again a little later.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let_in
    });
    let count = join_all(clients).await.iter().sum::<u32>();
    let let_in = f64::from(count);
    let may = BURST + RATE * begun.elapsed().as_secs_f64();
    eprintln!(
        "{let_in} requests were let in, of {may:.1} that the limit allows ({:+.2} %)",
        (let_in / may - 1.0) * 100.0
    );
    assert!((0.95 * may..=1.05 * may).contains(&let_in), "{let_in} of {may}");
    assert_eq!(saas.seen().len(), count as usize);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn for_seconds_the_sum_over_all_is_the_limit() {
    the_sum_is_the_limit(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a minute long: run it by hand"]
async fn for_a_minute_the_sum_over_all_is_the_limit() {
    the_sum_is_the_limit(Duration::from_mins(1)).await;
}
