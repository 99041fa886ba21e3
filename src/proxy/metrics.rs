//! What is counted. Each worker counts by itself; a scrape adds the workers up.

mod traffic;

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

pub use self::traffic::{Endings, Errors, Traffic};
use super::app::NOBODY;
use super::record::Record;
use crate::telemetry::histogram::{FINE, Histogram, SPREAD};
use crate::xinyao::checks::Check;
use crate::xinyao::{Endpoint, Target};

/// Different codes that are told apart per target; further ones are counted as `other`.
const MAX_CODES: usize = 64;
/// Rows per table: targets, and one for requests that had none.
const ROWS: usize = Target::COUNT + 1;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// HTTP 200 and code 0.
    Ok,
    /// HTTP 200 and another code.
    BusinessError,
    /// No answer, or none as documented.
    UpstreamError,
    /// The gateway answered by itself.
    Rejected(&'static str),
    /// The client did not wait for the answer.
    ClientGone,
}

impl Outcome {
    /// Its name; of a rejection without the reason.
    pub fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::BusinessError => "business_error",
            Self::UpstreamError => "upstream_error",
            Self::Rejected(_) => "rejected",
            Self::ClientGone => "client_gone",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(reason) => write!(f, "rejected_{reason}"),
            other => f.write_str(other.label()),
        }
    }
}

/// How a request ended, as it is counted.
type Ending = (u16, Outcome);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Code {
    Known(i64),
    Other,
}

/// Counts by key. Of a few keys, the usual one first, a list is searched faster than a map.
#[derive(Debug, Clone)]
struct Tally<K>(Vec<(K, u64)>);

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Copy + PartialEq> Tally<K> {
    fn add(&mut self, key: K, count: u64) {
        match self.0.iter_mut().find(|(known, _)| *known == key) {
            Some((_, sum)) => *sum += count,
            None => self.0.push((key, count)),
        }
    }

    fn has(&self, key: K) -> bool {
        self.0.iter().any(|(known, _)| *known == key)
    }

    fn merge(&mut self, other: &Self) {
        for (key, count) in &other.0 {
            self.add(*key, *count);
        }
    }
}

/// What is counted of one app.
#[derive(Debug, Clone, Default)]
struct OfApp {
    requests: [Tally<Ending>; ROWS],
    limited: [u64; ROWS],
}

/// The counts of one worker.
#[derive(Debug, Clone)]
pub struct Counts {
    apps: Vec<OfApp>,
    codes: [Tally<Code>; ROWS],
    failures: [[u64; Check::ALL.len()]; Endpoint::ALL.len()],
    took: Vec<Histogram>,
    overhead: Vec<Histogram>,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            apps: Vec::new(),
            codes: Default::default(),
            failures: Default::default(),
            took: vec![Histogram::new(SPREAD); ROWS],
            overhead: vec![Histogram::new(FINE); ROWS],
        }
    }
}

impl Counts {
    /// Counts a request that has ended.
    pub fn add(&mut self, record: &Record, took: Duration) {
        let row = record.target.map_or(Target::COUNT, Target::index);
        let app = self.app(record.app.slot);
        app.requests[row].add((record.status(), record.outcome()), 1);
        app.limited[row] += u64::from(record.refused == Some("rate_limited"));
        self.took[row].observe(took);
        self.overhead[row].observe(record.overhead);
        if let Some(code) = record.code() {
            self.count_code(row, code);
        }
        if let Some(failures) = self.failures.get_mut(row) {
            record.failures.iter().for_each(|failure| failures[failure.check as usize] += 1);
        }
    }

    fn app(&mut self, slot: usize) -> &mut OfApp {
        if self.apps.len() <= slot {
            self.apps.resize_with(slot + 1, OfApp::default);
        }
        &mut self.apps[slot]
    }

    fn count_code(&mut self, row: usize, code: i64) {
        let codes = &mut self.codes[row];
        let known = Code::Known(code);
        let key = if codes.0.len() < MAX_CODES || codes.has(known) { known } else { Code::Other };
        codes.add(key, 1);
    }

    fn merge(&mut self, other: &Self) {
        for (slot, theirs) in other.apps.iter().enumerate() {
            let mine = self.app(slot);
            for row in 0..ROWS {
                mine.requests[row].merge(&theirs.requests[row]);
                mine.limited[row] += theirs.limited[row];
            }
        }
        for (mine, theirs) in self.codes.iter_mut().zip(&other.codes) {
            mine.merge(theirs);
        }
        for (mine, theirs) in self.failures.as_flattened_mut().iter_mut().zip(other.failures.as_flattened()) {
            *mine += theirs;
        }
        for (mine, theirs) in self.took.iter_mut().zip(&other.took) {
            mine.add(theirs);
        }
        for (mine, theirs) in self.overhead.iter_mut().zip(&other.overhead) {
            mine.add(theirs);
        }
    }
}

/// Names of apps by slot. A name keeps its slot when the configuration changes, so that its counts go on.
#[derive(Debug, Default)]
pub struct Slots(Mutex<Vec<String>>);

impl Slots {
    /// The slot of `name`.
    pub fn of(&self, name: &str) -> usize {
        let Ok(mut names) = self.0.lock() else { return 0 };
        if names.is_empty() {
            names.push(NOBODY.into());
        }
        names.iter().position(|known| known == name).unwrap_or_else(|| {
            names.push(name.into());
            names.len() - 1
        })
    }

    fn names(&self) -> Vec<String> {
        self.0.lock().map(|names| names.clone()).unwrap_or_default()
    }
}

/// One value of a gauge, at the time of the scrape.
#[derive(Debug)]
pub struct Reading {
    /// Of which metric.
    pub metric: Gauge,
    /// Its labels.
    pub labels: Vec<(&'static str, String)>,
    /// Its value.
    pub value: f64,
}

/// The gauges of the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gauge {
    /// `xinyao_upstream_connections`
    Connections,
    /// `xinyao_in_flight`
    InFlight,
    /// `xinyao_waiting`
    Waiting,
    /// `xinyao_global_rate`
    GlobalRate,
    /// `xinyao_clock_skew_seconds`
    ClockSkew,
    /// `xinyao_upstream_circuits_open`
    OpenCircuits,
    /// `xinyao_source_ip_aside`
    SourceAside,
}

impl Gauge {
    const ALL: [(Self, &'static str, &'static str); 7] = [
        (Self::Connections, "xinyao_upstream_connections", "Connections to the upstream"),
        (Self::InFlight, "xinyao_in_flight", "Requests under way, answers being streamed included"),
        (Self::Waiting, "xinyao_waiting", "Requests that wait for their turn"),
        (Self::GlobalRate, "xinyao_global_rate", "Requests by the second that all apps together may send"),
        (
            Self::ClockSkew,
            "xinyao_clock_skew_seconds",
            "How far the upstream's clock is ahead of this host's",
        ),
        (Self::OpenCircuits, "xinyao_upstream_circuits_open", "Upstream addresses that are left alone"),
        (Self::SourceAside, "xinyao_source_ip_aside", "Whether a source IP is set aside"),
    ];
}

/// Tells the gauges when asked.
pub type Gauges = Box<dyn Fn() -> Vec<Reading> + Send + Sync>;

/// Adds the workers up at each scrape.
pub struct Metrics {
    /// Names of the apps.
    pub slots: Arc<Slots>,
    /// The workers' counts.
    pub shards: Vec<Arc<Mutex<Counts>>>,
    /// What is read rather than counted.
    pub gauges: Gauges,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("shards", &self.shards.len()).finish_non_exhaustive()
    }
}

impl Metrics {
    fn sum(&self) -> Counts {
        let mut sum = Counts::default();
        for shard in &self.shards {
            if let Ok(shard) = shard.lock() {
                sum.merge(&shard);
            }
        }
        sum
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let (sum, names) = (self.sum(), self.slots.names());
        let name = |slot: usize| names.get(slot).cloned().unwrap_or_default();
        encode_requests(&mut encoder, &sum, &name)?;
        encode_limited(&mut encoder, &sum, &name)?;
        encode_codes(&mut encoder, &sum)?;
        encode_failures(&mut encoder, &sum)?;
        histograms(&mut encoder, "xinyao_request_duration_seconds", "To the answer's last byte", &sum.took)?;
        let help = "The gateway's own share of the time to the answer's head";
        histograms(&mut encoder, "xinyao_gateway_overhead_seconds", help, &sum.overhead)?;
        encode_gauges(&mut encoder, &(self.gauges)())
    }
}

fn encode_requests(
    encoder: &mut DescriptorEncoder,
    sum: &Counts,
    name: &dyn Fn(usize) -> String,
) -> fmt::Result {
    let mut family = family(encoder, "xinyao_requests", "Requests ended", MetricType::Counter)?;
    for (slot, app) in sum.apps.iter().enumerate() {
        for (row, tally) in app.requests.iter().enumerate() {
            for ((status, outcome), count) in &tally.0 {
                let labels = [
                    ("app", name(slot)),
                    ("endpoint", endpoint(row).into()),
                    ("status", status.to_string()),
                    ("outcome", outcome.to_string()),
                ];
                ConstCounter::new(*count).encode(family.encode_family(&labels)?)?;
            }
        }
    }
    Ok(())
}

fn encode_limited(
    encoder: &mut DescriptorEncoder,
    sum: &Counts,
    name: &dyn Fn(usize) -> String,
) -> fmt::Result {
    let help = "Requests refused by a rate limit";
    let mut family = family(encoder, "xinyao_rate_limited", help, MetricType::Counter)?;
    for (slot, app) in sum.apps.iter().enumerate() {
        for (row, count) in app.limited.iter().enumerate().filter(|(_, count)| **count > 0) {
            let labels = [("app", name(slot)), ("endpoint", endpoint(row).to_owned())];
            ConstCounter::new(*count).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn encode_codes(encoder: &mut DescriptorEncoder, sum: &Counts) -> fmt::Result {
    let mut family =
        family(encoder, "xinyao_upstream_code", "Codes of the upstream's answers", MetricType::Counter)?;
    for (row, codes) in sum.codes.iter().enumerate() {
        for (code, count) in &codes.0 {
            let code = match code {
                Code::Known(code) => code.to_string(),
                Code::Other => "other".into(),
            };
            let labels = [("endpoint", endpoint(row).to_owned()), ("code", code)];
            ConstCounter::new(*count).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn encode_failures(encoder: &mut DescriptorEncoder, sum: &Counts) -> fmt::Result {
    let help = "What requests fail of the document's checks";
    let mut family = family(encoder, "xinyao_check_failures", help, MetricType::Counter)?;
    for (row, failures) in sum.failures.iter().enumerate() {
        for (check, count) in Check::ALL.into_iter().zip(failures).filter(|(_, count)| **count > 0) {
            let labels = [("endpoint", endpoint(row)), ("check", check.name())];
            ConstCounter::new(*count).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn histograms(encoder: &mut DescriptorEncoder, name: &str, help: &str, rows: &[Histogram]) -> fmt::Result {
    let mut family = family(encoder, name, help, MetricType::Histogram)?;
    for (row, histogram) in rows.iter().enumerate().filter(|(_, histogram)| histogram.count() > 0) {
        let labels = [("endpoint", endpoint(row))];
        let mut one = family.encode_family(&labels)?;
        one.encode_histogram::<NoLabelSet>(histogram.sum(), histogram.count(), &histogram.buckets(), None)?;
    }
    Ok(())
}

fn encode_gauges(encoder: &mut DescriptorEncoder, readings: &[Reading]) -> fmt::Result {
    for (metric, name, help) in Gauge::ALL {
        let mut family = family(encoder, name, help, MetricType::Gauge)?;
        let mut own = readings.iter().filter(|reading| reading.metric == metric);
        if metric == Gauge::ClockSkew {
            own.next().map_or(Ok(()), |reading| ConstGauge::new(reading.value).encode(family))?;
            continue;
        }
        for reading in own {
            ConstGauge::new(reading.value).encode(family.encode_family(&reading.labels)?)?;
        }
    }
    Ok(())
}

fn family<'a>(
    encoder: &'a mut DescriptorEncoder,
    name: &'a str,
    help: &'a str,
    kind: MetricType,
) -> Result<MetricEncoder<'a>, fmt::Error> {
    encoder.encode_descriptor(name, help, None, kind)
}

fn endpoint(row: usize) -> &'static str {
    Target::ALL.get(row).map_or("none", |target| target.name())
}
