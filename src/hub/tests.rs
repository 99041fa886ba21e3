use std::sync::Mutex;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinHandle;

use super::*;
use crate::hub::schedule::Clock;
use crate::net::client::Client;
use crate::net::listen::{self, Drain, Live};
use crate::net::{ListenSettings, Networks};
use crate::store::{self, Event, Log, MemoryStore, NewEvent, Seq, ShardId, StoreError};

/// A clock that stands until it is moved.
#[derive(Debug)]
struct Hands(Mutex<Timestamp>);

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

/// A store that never answers.
struct Stuck;

impl store::Intake for Stuck {
    fn append(&self, _: NewEvent) -> store::Answer<'_, store::Appended> {
        Box::pin(std::future::pending())
    }

    fn writable(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

struct Bed {
    url: String,
    client: Client,
    store: Arc<MemoryStore>,
    clock: Arc<Hands>,
    tasks: [JoinHandle<()>; 2],
}

fn settings() -> Settings {
    Settings {
        listen: ListenSettings {
            address: "127.0.0.1:0".parse().unwrap(),
            trusted_proxies: Networks::default(),
            proxy_protocol: false,
            header_timeout: Duration::from_secs(10),
            max_headers: 100,
            max_header_bytes: 64 << 10,
            tls: None,
        },
        public_url: "http://gateway".into(),
        proxy_url: String::new(),
        keys: vec!["key".to_owned().into()],
        networks: networks(&["127.0.0.0/8"]),
        max_body_bytes: 1000,
        body_idle_timeout: Duration::from_secs(10),
        dedup_window: Duration::from_mins(10),
        apps: vec!["crm".into(), "erp".into()],
        team_urls: TeamUrlSettings::default(),
        subscribers: Vec::new(),
        inbound_query: Vec::new(),
    }
}

fn networks(networks: &[&str]) -> Networks {
    networks.iter().map(|network| network.parse().unwrap()).collect()
}

impl Bed {
    fn new() -> Self {
        Self::with(settings())
    }

    fn with(settings: Settings) -> Self {
        let store = Arc::new(MemoryStore::new());
        Self::on(settings, Arc::clone(&store), store)
    }

    fn on(settings: Settings, store: Arc<MemoryStore>, intakes: Arc<dyn store::Intake>) -> Self {
        let clock = Arc::new(Hands(Mutex::new(Timestamp::UNIX_EPOCH + SignedDuration::from_hours(1))));
        let client = Client::new().unwrap();
        let (intake, keeping) =
            Intake::new(&settings, intakes, &client, Arc::clone(&clock) as _, true, None).unwrap();
        let listener = listen::bind(settings.listen.address, false).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (_, drain) = Drain::new();
        let intake = Arc::new(ArcSwap::new(intake));
        let serve = async move {
            let service = move |peer| Connection::new(Arc::clone(&intake), peer);
            listen::serve(listener, Live::new(settings.listen), reject, service, drain).await;
        };
        let tasks = [tokio::spawn(serve), tokio::spawn(keeping)];
        Self { url, client, store, clock, tasks }
    }

    fn path(label: Option<&str>) -> String {
        Keys::new(&settings().keys).url("", "crm", label)
    }

    /// Posts `body`; the status of the answer, and the answer.
    async fn post(&self, path: &str, body: impl Into<Bytes>) -> (u16, String) {
        let request = Request::post(format!("{}{path}", self.url)).body(body.into()).unwrap();
        let mut reply = self.client.send(request).await.unwrap();
        assert!(reply.read(1 << 20).await.unwrap());
        (reply.status.as_u16(), String::from_utf8(reply.begun().to_vec()).unwrap())
    }

    async fn push(&self, body: impl Into<Bytes>) -> (u16, String) {
        self.post(&Self::path(None), body).await
    }

    async fn kept(&self) -> Vec<Arc<Event>> {
        self.store.read(ShardId(0), Seq(1), 1000, usize::MAX).await.unwrap().events
    }

    fn later(&self, by: Duration) {
        *self.clock.0.lock().unwrap() += by;
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

#[tokio::test]
async fn a_body_as_large_as_may_be_is_taken_however_it_is_framed() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let bed = Bed::new();
    assert_eq!(bed.push("x".repeat(1000)).await.0, 200);
    for (chunk, status) in [(500, "200"), (501, "413")] {
        let mut stream = tokio::net::TcpStream::connect(&bed.url[7..]).await.unwrap();
        let head =
            format!("POST {} HTTP/1.1\r\nhost: g\r\ntransfer-encoding: chunked\r\n\r\n", Bed::path(None));
        let part = format!("{chunk:x}\r\n{}\r\n", "y".repeat(chunk));
        stream.write_all(format!("{head}{part}{part}0\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(std::str::from_utf8(&answer[9..]).unwrap(), status);
    }
    let sizes: Vec<usize> = bed.kept().await.iter().map(|event| event.body.len()).collect();
    assert_eq!(sizes, [1000, 1000]);
}

#[tokio::test]
async fn the_same_again_is_acknowledged_and_not_kept() {
    let bed = Bed::new();
    let body = r#"{"calls":[]}"#;
    assert_eq!(bed.push(body).await.0, 200);
    bed.later(Duration::from_mins(9));
    assert_eq!(bed.push(body).await, (200, r#"{"code":0,"msg":"success"}"#.to_owned()));
    assert_eq!(bed.kept().await.len(), 1);
    // Another label, and another body, are something else.
    bed.post(&Bed::path(Some("vip")), body).await;
    bed.push(r#"{"calls":[] }"#).await;
    assert_eq!(bed.kept().await.len(), 3);
    // The window is counted from the first, whatever came since.
    bed.later(Duration::from_secs(61));
    bed.push(body).await;
    assert_eq!(bed.kept().await.len(), 4);
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_not_waited_for() {
    let bed = Bed::on(settings(), Arc::new(MemoryStore::new()), Arc::new(Stuck));
    let mut pushing = Box::pin(bed.push("{}"));
    // Real time until the callback waits for the store; from then on only timers are left.
    let waits = tokio::time::timeout(Duration::from_millis(500), &mut pushing).await;
    assert!(waits.is_err(), "nothing is acknowledged that the store has not kept");
    tokio::time::pause();
    assert_eq!(pushing.await.0, 500);
}
