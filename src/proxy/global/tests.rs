use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::time::sleep;

use super::*;
use crate::proxy::settings::Rate;

fn limit(count: u32, burst: u32, max_wait_ms: u64) -> Arc<GlobalLimit> {
    let rate = Rate { count, per: Duration::from_secs(1), burst };
    Arc::new(GlobalLimit::new(GlobalRate { rate, max_wait: Duration::from_millis(max_wait_ms) }))
}

fn flow(app: usize, weight: u32, priority: Priority) -> Flow {
    Flow { app, weight, priority }
}

const CHAT: Priority = Priority::Interactive;
const BATCH: Priority = Priority::Batch;

/// As a request goes: past, or into the queue.
async fn enter(limit: &GlobalLimit, flow: Flow) -> Result<(), Short> {
    if limit.admit(now()) { Ok(()) } else { limit.wait(flow).await }
}

/// So many clients that ask again and again for so long; how many were let in.
async fn hammer(limit: Arc<GlobalLimit>, flow: Flow, clients: usize, seconds: u64) -> u32 {
    let until = now() + Duration::from_secs(seconds);
    let client = async || {
        let mut had = 0;
        while now() < until {
            match enter(&limit, flow).await {
                Ok(()) => had += 1,
                Err(_) => sleep(Duration::from_millis(7)).await,
            }
        }
        had
    };
    join_all((0..clients).map(|_| client())).await.into_iter().sum()
}

#[tokio::test(start_paused = true)]
async fn while_there_is_enough_nobody_waits() {
    let limit = limit(10, 5, 1000);
    for _ in 0..5 {
        assert!(limit.admit(now()));
    }
    assert!(!limit.admit(now()));
    let began = now();
    assert_eq!(limit.wait(flow(1, 1, CHAT)).await, Ok(()));
    assert!((99..=102).contains(&now().duration_since(began).as_millis()));
    sleep(Duration::from_secs(1)).await;
    assert!((0..5).all(|_| limit.admit(now())) && !limit.admit(now()));
}

#[tokio::test(start_paused = true)]
async fn who_could_not_be_let_in_in_time_is_refused_at_once() {
    let limit = limit(1, 1, 1500);
    assert!(limit.admit(now()));
    let began = now();
    let mut first = Box::pin(limit.wait(flow(1, 1, CHAT)));
    assert!(first.as_mut().now_or_never().is_none());
    let refused = limit.wait(flow(1, 1, CHAT)).await.unwrap_err();
    assert_eq!(now(), began);
    assert_eq!((refused.retry_after.as_millis(), refused.slowed), (2000, false));
    // What it was told is true.
    assert_eq!(first.await, Ok(()));
    sleep((began + refused.retry_after).duration_since(now())).await;
    assert!(limit.admit(now()));
    let none = GlobalLimit::new(GlobalRate { max_wait: Duration::ZERO, ..limit.rate });
    assert!(none.admit(now()) && none.wait(flow(1, 1, CHAT)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn all_of_it_goes_to_the_apps_by_weight() {
    for (count, burst, max_wait_ms) in [(20, 1, 1000), (200, 200, 1000), (2000, 1, 50), (10, 1, 99)] {
        let limit = limit(count, burst, max_wait_ms);
        let weights = [3, 1, 2];
        let had = join_all(
            weights
                .iter()
                .enumerate()
                .map(|(app, weight)| hammer(Arc::clone(&limit), flow(app, *weight, CHAT), 20, 60)),
        )
        .await;
        let sum = f64::from(had.iter().sum::<u32>());
        let may = f64::from(60 * count + burst);
        // Who waits at the end is let in still.
        assert!(sum <= may * 1.02 + 2.0 && sum >= may * 0.98 - 2.0, "{had:?} of {count}/s");
        for (had, weight) in had.iter().zip(weights) {
            let share = (sum - f64::from(burst)) * f64::from(weight) / 6.0;
            // The burst goes to whoever comes first.
            let off = share.mul_add(0.03, f64::from(burst)) + 2.0;
            assert!((f64::from(*had) - share).abs() <= off, "{had} of {share} at {count}/s");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_modest_app_does_not_feel_the_greedy_ones() {
    let limit = limit(20, 1, 1000);
    let greedy = hammer(Arc::clone(&limit), flow(0, 1, CHAT), 50, 30);
    let modest = async {
        for _ in 0..100 {
            let began = now();
            assert_eq!(enter(&limit, flow(1, 1, CHAT)).await, Ok(()));
            let waited = now().duration_since(began);
            assert!(waited <= Duration::from_millis(102), "{waited:?}");
            sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::join!(greedy, modest);
}

#[tokio::test(start_paused = true)]
async fn somebody_in_a_conversation_goes_before_batches_but_a_fifth_is_theirs() {
    let limit = limit(50, 1, 500);
    let batch = hammer(Arc::clone(&limit), flow(0, 100, BATCH), 40, 20);
    let chat = hammer(Arc::clone(&limit), flow(1, 1, CHAT), 40, 20);
    let (batch, chat) = tokio::join!(batch, chat);
    assert!(batch.abs_diff((batch + chat) / 5) <= 3 && batch + chat >= 990, "{batch} {chat}");
    // A batch that can't wait that long, at a rate that low, has its fifth all the same.
    let limit = self::limit(2, 1, 600);
    let batch = hammer(Arc::clone(&limit), flow(0, 1, BATCH), 3, 100);
    let chat = hammer(Arc::clone(&limit), flow(1, 1, CHAT), 3, 100);
    let (batch, chat) = tokio::join!(batch, chat);
    assert!((38..=42).contains(&batch) && batch + chat >= 198, "{batch} {chat}");
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_takes_no_turn_along() {
    let limit = limit(10, 1, 1000);
    assert!(limit.admit(now()));
    let mut waiting: Vec<_> = (0..5).map(|_| Box::pin(limit.wait(flow(1, 1, CHAT)))).collect();
    for place in &mut waiting {
        assert!(place.as_mut().now_or_never().is_none());
    }
    assert_eq!((limit.status().waiting, limit.waiting(1, CHAT), limit.waiting(1, BATCH)), (5, 5, 0));
    // The first goes while it waits, the second with its turn, which the third gets at once.
    drop(waiting.remove(0));
    assert_eq!(limit.status().waiting, 4);
    sleep(Duration::from_millis(105)).await;
    assert_eq!(limit.status().waiting, 3);
    drop(waiting.remove(0));
    assert_eq!(limit.status().waiting, 2);
    assert_eq!(waiting.remove(0).now_or_never(), Some(Ok(())));
    // When nobody is left to get it, it is there for whoever comes next.
    sleep(Duration::from_millis(100)).await;
    assert_eq!(limit.status().waiting, 1);
    drop(waiting.pop());
    sleep(Duration::from_millis(95)).await;
    assert_eq!(limit.status().waiting, 0);
    drop(waiting);
    assert!(limit.admit(now()));
}

#[tokio::test(start_paused = true)]
async fn no_more_than_so_many_wait_and_who_has_most_makes_room() {
    let limit = limit(1000, 1, 60_000);
    assert!(limit.admit(now()));
    let mut greedy: Vec<_> = (0..MAX_WAITING).map(|_| Box::pin(limit.wait(flow(0, 1, CHAT)))).collect();
    for place in &mut greedy {
        assert!(place.as_mut().now_or_never().is_none());
    }
    assert!(limit.wait(flow(0, 1, CHAT)).await.is_err());
    let mut modest = Box::pin(limit.wait(flow(1, 1, CHAT)));
    assert!(modest.as_mut().now_or_never().is_none());
    assert_eq!(limit.status().waiting, MAX_WAITING);
    let last = greedy.pop().unwrap().now_or_never();
    assert!(matches!(last, Some(Err(short)) if short.retry_after >= Duration::from_secs(1)));
    assert_eq!(modest.await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_asks_for_less_gets_less_and_all_share_it() {
    let limit = limit(1000, 1000, 1000);
    let sent = Arc::new(Mutex::new(Vec::new()));
    // It takes 40 a second, and says so to the others.
    let upstream = {
        let (limit, sent) = (Arc::clone(&limit), Arc::clone(&sent));
        let room = super::pace::Pace::new(Rate { count: 40, per: Duration::from_secs(1), burst: 4 });
        move |sent_at: Instant| {
            let served = room.take(sent_at);
            sent.lock().unwrap().push((sent_at, served));
            let status = if served { StatusCode::OK } else { StatusCode::TOO_MANY_REQUESTS };
            limit.answered(status, None, sent_at);
        }
    };
    let began = now();
    let client = async |app, weight| {
        while now() < began + Duration::from_mins(1) {
            match enter(&limit, flow(app, weight, CHAT)).await {
                Ok(()) => {
                    let sent_at = now();
                    sleep(Duration::from_millis(5)).await;
                    upstream(sent_at);
                }
                Err(short) => {
                    assert!(short.slowed);
                    sleep(Duration::from_millis(50)).await;
                }
            }
        }
    };
    let clients = (0..20).flat_map(|_| [client(0, 3), client(1, 1)]);
    join_all(clients).await;
    let settled: Vec<(Instant, bool)> = std::mem::take(&mut *sent.lock().unwrap());
    let settled: Vec<_> = settled.iter().filter(|(at, _)| *at > began + Duration::from_secs(5)).collect();
    let refused = settled.iter().filter(|(_, served)| !served).count();
    assert!((1200..=2450).contains(&settled.len()), "{} in 55 s", settled.len());
    assert!(refused * 20 < settled.len(), "{refused} of {}", settled.len());
    assert!(limit.status().allowed < 50.0);
    sleep(Duration::from_secs(20)).await;
    let status = limit.status();
    assert!((status.allowed - 1000.0).abs() < 1e-9, "{status:?}");
    assert_eq!(limit.wait(flow(0, 1, CHAT)).await, Ok(()));
    assert!((0..100).all(|_| limit.admit(now())));
}

#[tokio::test(start_paused = true)]
async fn a_pause_is_obeyed_within_what_requests_may_wait() {
    let limit = limit(1000, 1000, 1000);
    limit.answered(StatusCode::SERVICE_UNAVAILABLE, Some(Duration::from_hours(1)), now());
    let began = now();
    assert!(!limit.admit(now()));
    assert_eq!(limit.wait(flow(0, 1, CHAT)).await, Ok(()));
    assert!((500..=502).contains(&now().duration_since(began).as_millis()));
}

#[tokio::test(start_paused = true)]
async fn the_same_rate_in_another_configuration_is_the_same_limit() {
    let before = limit(10, 2, 1000);
    let next = |rate| GlobalLimit::new(rate).after(&before);
    let same = next(GlobalRate { max_wait: Duration::ZERO, ..before.rate });
    assert!(before.admit(now()) && same.admit(now()) && !before.admit(now()));
    let mut other = before.rate;
    other.rate.count = 100;
    assert!(next(other).admit(now()));
    before.answered(StatusCode::TOO_MANY_REQUESTS, Some(Duration::from_secs(1)), now());
    assert!(!next(other).admit(now()) && next(other).status().allowed < 100.0);
}
