//! Three replicas of the real thing, and what they share.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Answer, Binary, Builder, Metrics, Postgres, Redis, Relay, get, post};

/// How many replicas there are.
pub const REPLICAS: usize = 3;

/// Replicas that run the same file. Each has an address of its own, 127.0.1.1 and so on.
pub struct Cluster {
    /// What they keep everything in.
    pub postgres: Postgres,
    /// What they share their limits by.
    pub redis: Redis,
    /// They.
    pub replicas: Vec<Replica>,
}

/// Each replica's sessions have its name.
const WATCH: &str = "CREATE TABLE trespasser (name text, deed text);
CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO trespasser SELECT current_setting('application_name'), TG_TABLE_NAME || ' ' || NEW.shard
  WHERE NOT EXISTS (SELECT 1 FROM shard AS s JOIN replica AS r ON r.epoch = s.holder
    WHERE s.id = NEW.shard AND NOT r.fenced AND r.name = current_setting('application_name'));
  RETURN NULL; END $$;
CREATE TRIGGER watch AFTER INSERT ON event FOR EACH ROW EXECUTE FUNCTION watch();
CREATE TRIGGER watch AFTER UPDATE ON frontier FOR EACH ROW EXECUTE FUNCTION watch()";

impl Cluster {
    /// The configuration of `builder`, run three times; ready when this returns. In it `${REPLICA}` is a
    /// replica's name and `${ADDRESS}` its address.
    pub async fn run(builder: Builder) -> Self {
        // On addresses of their own: a connection to a port that is free may come to be one to itself.
        let (postgres, redis) = (Postgres::start_on("127.0.1.8"), Redis::start());
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let path = folder.path().join("${REPLICA}.db");
        let builder =
            builder.with("listen: {proxy: '${PROXY}', callbacks: '${CALLBACKS}', admin: '${ADMIN}'}");
        let builder = builder.with("limits: {shared: {url: '${REDIS}', timeout: 2s}}");
        let store =
            format!("{{path: '{}', postgres: '${{POSTGRES}}', replica: '${{REPLICA}}'}}", path.display());
        std::fs::write(folder.path().join("config.yaml"), builder.with(format!("store: {store}")).text())
            .unwrap();
        let mut replicas = Vec::new();
        for number in 1..=REPLICAS {
            let mut replica = Replica::new(number, &folder, postgres.address(), redis.address).await;
            replica.start().await;
            replicas.push(replica);
        }
        Self { postgres, redis, replicas }
    }

    /// The number that `psql` answers to a query of the gateway's tables.
    pub fn count(&self, query: &str) -> i64 {
        let answer = self.rows(query);
        answer.parse().unwrap_or_else(|_| panic!("{query}: {answer}"))
    }

    /// What `psql` answers to a query of the gateway's tables.
    pub fn rows(&self, query: &str) -> String {
        self.postgres.sql(&format!("SET search_path TO xinyao_gateway; {query}"))
    }

    /// The first shard that a replica holds, if it has a seat.
    pub fn shard_of(&self, replica: &Replica) -> Option<HeldShard> {
        let row = self.rows(&format!(
            "SELECT s.id, s.holder FROM shard AS s JOIN replica AS r ON r.epoch = s.holder \
             WHERE r.name = '{}' AND NOT r.fenced ORDER BY s.id LIMIT 1",
            replica.name
        ));
        let (id, holder) = row.split_once('|')?;
        Some(HeldShard { id: id.parse().unwrap(), holder: holder.parse().unwrap() })
    }

    /// From now on, notes whoever writes to a shard that another holds.
    pub fn watch(&self) {
        self.rows(WATCH);
    }

    /// Who did since.
    pub fn trespassers(&self) -> String {
        self.rows("SELECT * FROM trespasser")
    }

    /// That no number of a shard is left out and no event is there twice.
    pub fn is_sound(&self) {
        let left_out = "SELECT count(*) FROM shard AS s
          WHERE s.next - s.first <> (SELECT count(*) FROM event AS e WHERE e.shard = s.id)";
        assert_eq!(self.count(left_out), 0, "{}", self.rows("SELECT * FROM shard"));
        assert_eq!(self.count("SELECT count(*) - count(DISTINCT id) FROM event"), 0);
    }
}

/// A shard, and the epoch of the seat that holds it.
#[derive(Debug, Clone, Copy)]
pub struct HeldShard {
    /// Its number.
    pub id: i64,
    /// Whose it is.
    pub holder: i64,
}

/// One of them, which may be down.
pub struct Replica {
    /// Its name: `one`, `two` or `three`.
    pub name: &'static str,
    /// Its address.
    pub address: String,
    /// Its proxy listener.
    pub proxy: SocketAddr,
    /// Its callbacks listener.
    pub callbacks: SocketAddr,
    /// Its admin listener.
    pub admin: SocketAddr,
    /// Its way to PostgreSQL.
    pub postgres: Relay,
    /// Its way to Redis.
    pub redis: Relay,
    postgres_url: String,
    folder: Arc<tempfile::TempDir>,
    process: Option<Binary>,
}

impl Replica {
    async fn new(
        number: usize,
        folder: &Arc<tempfile::TempDir>,
        postgres: SocketAddr,
        redis: SocketAddr,
    ) -> Self {
        let address = format!("127.0.1.{number}");
        let [proxy, callbacks, admin] = ports(&address);
        let postgres = Relay::on(&address, postgres).await;
        let name = ["one", "two", "three"][number - 1];
        Self {
            name,
            proxy,
            callbacks,
            admin,
            postgres_url: format!(
                "postgresql://gateway@{}/postgres?application_name={name}",
                postgres.address
            ),
            postgres,
            redis: Relay::on(&address, redis).await,
            folder: Arc::clone(folder),
            process: None,
            address,
        }
    }

    /// Starts it; ready when this returns.
    pub async fn start(&mut self) {
        let environment = [
            ("REPLICA", self.name.to_owned()),
            ("ADDRESS", self.address.clone()),
            ("PROXY", self.proxy.to_string()),
            ("CALLBACKS", self.callbacks.to_string()),
            ("ADMIN", self.admin.to_string()),
            ("POSTGRES", self.postgres_url.clone()),
            ("REDIS", format!("redis://{}", self.redis.address)),
        ];
        let folder = Arc::clone(&self.folder);
        // Its relays are served meanwhile.
        let started = tokio::task::spawn_blocking(move || Binary::run_in(&folder, &environment));
        self.process = Some(started.await.unwrap());
    }

    /// Its process.
    pub fn process(&self) -> &Binary {
        self.process.as_ref().expect("it runs")
    }

    /// Whether it runs.
    pub fn runs(&self) -> bool {
        self.process.is_some()
    }

    /// Kills it as it stands.
    pub async fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.signal("KILL");
        process.ended().await;
    }

    /// Ends it as a supervisor does; it drains.
    pub async fn stop(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.signal("TERM");
        let begun = Instant::now();
        while !process.has_ended() {
            assert!(begun.elapsed() < Duration::from_secs(40), "it does not end: {:#?}", process.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Stops it in its tracks.
    pub fn freeze(&self) {
        self.process().signal("STOP");
    }

    /// Has it go on.
    pub fn wake(&self) {
        self.process().signal("CONT");
    }

    /// What it has logged since it was started.
    pub fn log(&self) -> Vec<String> {
        self.process.as_ref().map_or_else(Vec::new, Binary::log)
    }

    /// Asks its operators' listener.
    pub async fn operate(&self, path: &str) -> Answer {
        get(path).send(self.admin).await
    }

    /// Has its operators' listener do something; the answer, which is 200.
    pub async fn act(&self, path: &str, body: &str) -> Value {
        let answer = post(path, body).send(self.admin).await;
        assert_eq!(answer.status, 200, "{path} {body}: {answer:?}");
        answer.json()
    }

    /// How things stand there.
    pub async fn status(&self) -> Value {
        self.operate("/api/v1/status").await.json()
    }

    /// What it counts.
    pub async fn metrics(&self) -> Metrics {
        Metrics(self.operate("/metrics").await.text())
    }
}

/// Three ports next to each other, from below those that connections are given: they stay free while it is down.
fn ports(address: &str) -> [SocketAddr; 3] {
    loop {
        let first = fastrand::u16(10_000..30_000);
        let ports = [first, first + 1, first + 2];
        let bound: Vec<_> = ports.iter().map(|port| TcpListener::bind((address, *port))).collect();
        if bound.iter().all(Result::is_ok) {
            return ports.map(|port| SocketAddr::new(address.parse().unwrap(), port));
        }
    }
}
