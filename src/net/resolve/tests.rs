//! Following a name in paused time, with look-ups that the test answers.

mod dns;

use std::future::pending;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::lookup::{Answer, LookupFailure};
use super::*;

type Outcome = Result<Answer, LookupFailure>;

/// Tells the test of each look-up, and has it answer.
struct Asking(UnboundedSender<(Instant, oneshot::Sender<Outcome>)>);

impl Lookup for Asking {
    async fn look_up(&self, _host: &str) -> Outcome {
        let (sender, outcome) = oneshot::channel();
        self.0.send((Instant::now(), sender)).unwrap();
        match outcome.await {
            Ok(outcome) => outcome,
            Err(_) => pending().await,
        }
    }
}

/// A name on port 443, and its look-ups.
struct Watched {
    name: Arc<Name>,
    begun: UnboundedReceiver<(Instant, oneshot::Sender<Outcome>)>,
    last: Instant,
}

impl Watched {
    fn new() -> Self {
        let (sender, begun) = unbounded_channel();
        Self { name: Name::watch_by("api.test", 443, Asking(sender)), begun, last: Instant::now() }
    }

    /// Answers the next look-up, waits until that is taken in, and says how long after the last look-up
    /// this one began.
    async fn answer(&mut self, outcome: Outcome) -> Duration {
        let (at, sender) = self.begun.recv().await.unwrap();
        let mut changes = self.name.shared.changes();
        sender.send(outcome).unwrap();
        changes.changed().await.unwrap();
        at.duration_since(std::mem::replace(&mut self.last, at))
    }

    fn addresses(&self) -> Vec<String> {
        self.name.addresses().iter().map(ToString::to_string).collect()
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it stands beside `bad`")]
fn good(addresses: &[&str], ttl: Duration) -> Outcome {
    Ok(Answer { addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(), ttl })
}

fn bad() -> Outcome {
    Err(LookupFailure::NoAddresses)
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn a_literal_is_its_own_answer_and_needs_no_runtime() {
    for (host, expected) in
        [("192.0.2.7", "192.0.2.7:443"), ("2001:db8::7", "[2001:db8::7]:443"), ("[::1]", "[::1]:443")]
    {
        let name = Name::watch(host, 443);
        assert_eq!(name.addresses().as_ref(), [expected.parse().unwrap()]);
        assert_eq!((name.generation(), name.last_error()), (1, None));
    }
}

#[tokio::test]
async fn localhost_is_this_host() {
    let name = Name::watch("localhost", 80);
    let addresses = name.first(secs(10)).await.unwrap();
    assert!(!addresses.is_empty() && addresses.iter().all(|address| address.ip().is_loopback()));
}

#[tokio::test(start_paused = true)]
async fn an_answer_holds_for_its_ttl() {
    let mut watched = Watched::new();
    assert_eq!(watched.answer(good(&["192.0.2.1"], secs(7))).await, Duration::ZERO);
    assert_eq!(watched.addresses(), ["192.0.2.1:443"]);
    assert_eq!(watched.answer(good(&["192.0.2.2"], secs(42))).await, secs(7));
    assert_eq!(watched.addresses(), ["192.0.2.2:443"]);
    assert_eq!(watched.answer(bad()).await, secs(42));
}

#[tokio::test(start_paused = true)]
async fn a_ttl_is_held_between_a_second_and_five_minutes() {
    let mut watched = Watched::new();
    watched.answer(good(&["192.0.2.1"], Duration::ZERO)).await;
    assert_eq!(watched.answer(good(&["192.0.2.1"], secs(u64::from(u32::MAX)))).await, secs(1));
    assert_eq!(watched.answer(bad()).await, secs(300));
}

#[tokio::test(start_paused = true)]
async fn the_last_good_answer_serves_while_dns_fails() {
    let mut watched = Watched::new();
    watched.answer(good(&["192.0.2.1"], secs(5))).await;
    assert_eq!(watched.name.last_error(), None);
    watched.answer(bad()).await;
    assert_eq!(watched.addresses(), ["192.0.2.1:443"]);
    assert_eq!(watched.name.last_error().as_deref(), Some("DNS knows no address of it"));
    assert!(watched.name.first(secs(1)).await.is_ok());
    watched.answer(good(&["192.0.2.1"], secs(5))).await;
    assert_eq!((watched.name.last_error(), watched.name.generation()), (None, 1));
}

#[tokio::test(start_paused = true)]
async fn failures_are_tried_again_after_growing_waits() {
    let mut watched = Watched::new();
    watched.answer(bad()).await;
    let mut waits = Vec::new();
    for _ in 0..7 {
        waits.push(watched.answer(bad()).await.as_secs());
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
    // After an answer the first wait is a short one again.
    watched.answer(good(&["192.0.2.1"], secs(60))).await;
    assert_eq!(watched.answer(bad()).await, secs(60));
    assert_eq!(watched.answer(bad()).await, secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_lookup_that_hangs_is_given_up() {
    let mut watched = Watched::new();
    let error = watched.name.first(secs(60)).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot resolve api.test: DNS did not answer within 5s");
    let (hung, _) = watched.begun.recv().await.unwrap();
    watched.last = hung;
    assert_eq!(watched.answer(bad()).await, secs(5 + 1));
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_addresses_replaces_none() {
    let mut watched = Watched::new();
    watched.answer(good(&["192.0.2.1"], secs(1))).await;
    watched.answer(good(&[], secs(1))).await;
    assert_eq!((watched.addresses(), watched.name.generation()), (vec!["192.0.2.1:443".to_owned()], 1));
    assert!(watched.name.last_error().is_some());
}

#[tokio::test(start_paused = true)]
async fn the_generation_grows_with_the_set_and_not_with_its_order() {
    let mut watched = Watched::new();
    assert_eq!(watched.name.generation(), 0);
    let answers: [(&[&str], u64, &[&str]); 4] = [
        (&["192.0.2.1", "192.0.2.2"], 1, &["192.0.2.1:443", "192.0.2.2:443"]),
        // What was first stays first while the set is the same.
        (&["192.0.2.2", "192.0.2.1", "192.0.2.2"], 1, &["192.0.2.1:443", "192.0.2.2:443"]),
        (&["192.0.2.2"], 2, &["192.0.2.2:443"]),
        (&["192.0.2.2", "2001:db8::1"], 3, &["192.0.2.2:443", "[2001:db8::1]:443"]),
    ];
    for (answer, generation, addresses) in answers {
        watched.answer(good(answer, secs(1))).await;
        assert_eq!((watched.name.generation(), watched.addresses()), (generation, owned(addresses)));
    }
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

#[test]
fn of_a_flood_of_addresses_some_are_kept() {
    let flood = (0..4000_u32).map(|n| IpAddr::V4(n.into())).collect();
    assert_eq!(watch::endpoints(flood, 443).len(), 64);
}

#[tokio::test(start_paused = true)]
async fn first_waits_for_the_first_outcome() {
    let mut watched = Watched::new();
    let name = Arc::clone(&watched.name);
    let waiting = tokio::spawn(async move { name.first(secs(1)).await });
    assert!(watched.name.addresses().is_empty());
    watched.answer(good(&["192.0.2.1"], secs(5))).await;
    assert_eq!(waiting.await.unwrap().unwrap().as_ref(), watched.name.addresses().as_ref());
}

#[tokio::test(start_paused = true)]
async fn first_fails_at_once_while_there_was_only_failure() {
    let mut watched = Watched::new();
    watched.answer(bad()).await;
    let begun = Instant::now();
    let error = watched.name.first(secs(60)).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot resolve api.test: DNS knows no address of it");
    assert_eq!(begun.elapsed(), Duration::ZERO);
    watched.answer(good(&["192.0.2.1"], secs(5))).await;
    assert!(watched.name.first(secs(60)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn first_waits_no_longer_than_told() {
    let watched = Watched::new();
    let begun = Instant::now();
    let error = watched.name.first(secs(2)).await.unwrap_err();
    assert_eq!(error.to_string(), "no answer from DNS for api.test within 2s");
    assert_eq!(begun.elapsed(), secs(2));
}

#[tokio::test(start_paused = true)]
async fn what_nobody_holds_is_followed_no_longer() {
    let mut watched = Watched::new();
    watched.answer(good(&["192.0.2.1"], secs(5))).await;
    drop(watched.name);
    assert!(watched.begun.recv().await.is_none());
}
