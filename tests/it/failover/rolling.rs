//! The replicas are restarted one after the other.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::task::JoinSet;

use crate::support::{Cluster, Subscriber, TASKLIST, Upstream, in_time, post, try_ask};

use super::{SOON, between, nothing_is_lost, pushes_to};

/// Apps that call a replica after the other; who finds one closed asks the next.
struct Calls {
    over: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: JoinSet<()>,
}

impl Calls {
    fn to(proxies: &[SocketAddr]) -> Self {
        let (over, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let mut clients = JoinSet::new();
        for client in 0..4 {
            let (over, answered, proxies) = (Arc::clone(&over), Arc::clone(&answered), proxies.to_vec());
            clients.spawn(async move {
                let mut lines: Vec<_> = proxies.iter().map(|_| None).collect();
                for turn in client.. {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    let replica = turn % proxies.len();
                    let answer = try_ask(&post(TASKLIST, "{}"), proxies[replica], &mut lines[replica]).await;
                    if let Some(answer) = answer {
                        assert_eq!(answer.status, 200, "{answer:?}");
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
            });
        }
        Self { over, answered, clients }
    }

    async fn go_on(&self, count: usize) {
        let before = self.answered.load(Ordering::Relaxed);
        in_time(SOON, async || self.answered.load(Ordering::Relaxed) >= before + count).await;
    }

    async fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        self.clients.join_all().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_are_restarted_in_turn_and_nobody_is_refused() {
    let (saas, subscriber) = (Upstream::start(), Subscriber::start());
    let mut cluster = Cluster::run(between(&saas, &subscriber)).await;
    let pushes = pushes_to(&cluster);
    let proxies: Vec<_> = cluster.replicas.iter().map(|replica| replica.proxy).collect();
    let calls = Calls::to(&proxies);
    for number in 0..3 {
        calls.go_on(50).await;
        pushes.go_on(30, Some(number)).await;
        cluster.replicas[number].stop().await;
        pushes.go_on(30, None).await;
        cluster.replicas[number].start().await;
        pushes.go_on(30, Some(number)).await;
    }
    calls.end().await;
    nothing_is_lost("all were restarted in turn", &cluster, pushes, &subscriber).await;
    // A seat that was given up is nobody's to take over: no more shards than replicas ever ran at once.
    assert!(cluster.count("SELECT count(*) FROM shard") <= 4, "{}", cluster.rows("SELECT * FROM shard"));
}
