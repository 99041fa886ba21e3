//! Three replicas on one PostgreSQL and one Redis keep the promises of one, whatever is killed.
//!
//! Each test runs the binary three times, on 127.0.1.1 to 127.0.1.3, from one configuration file, and takes
//! something away while the SaaS pushes. What was acknowledged is to be delivered, and what was delivered more
//! than once is counted. `CLUSTER_SOAK_SECONDS` and `CLUSTER_SEED` are for [`soak`], which is run by hand.

mod faults;
mod frozen;
mod limits;
mod once;
mod operating;
mod outages;
mod rolling;
mod soak;

use std::time::Duration;

use crate::support::{Builder, Cluster, Gateway, Pushed, Pushes, Subscriber, Upstream};

/// A dead replica's deliveries are taken over within so long.
const ADOPTED: Duration = Duration::from_secs(15);
/// What was acknowledged is delivered within so long, once nothing is taken away any more.
const SOON: Duration = Duration::from_secs(40);

/// A gateway between `saas` and a subscriber that gets every callback of `crm`.
fn between(saas: &Upstream, subscriber: &Subscriber) -> Builder {
    Gateway::to(saas).with(format!("subscribers: [{}]", subscriber.entry("hook", "")))
}

/// A SaaS that pushes to all replicas.
fn pushes_to(cluster: &Cluster) -> Pushes {
    Pushes::to(cluster.replicas.iter().map(|replica| replica.callbacks).collect())
}

/// That all that was acknowledged is delivered, and stands soundly in the log.
async fn nothing_is_lost(
    what: &str,
    cluster: &Cluster,
    pushes: Pushes,
    subscriber: &Subscriber,
) -> Vec<Pushed> {
    let acked = pushes.end().await;
    let took = subscriber.gets(&acked, SOON).await;
    cluster.is_sound();
    let [again, twice] = subscriber.repetitions();
    let longest = acked.iter().map(|pushed| pushed.took).max().unwrap_or_default();
    eprintln!(
        "{what}: {} acknowledged (longest {longest:?}), all delivered {took:?} later; {again} deliveries \
         repeated, {twice} records under two ids",
        acked.len()
    );
    assert_eq!(twice, 0, "a record that was pushed again is known again");
    acked
}
