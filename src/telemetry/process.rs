//! The `process_*` metrics, read from `/proc/self` at each scrape.

use std::fmt;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Ticks a second of `/proc/self/stat`; Linux has shown userland 100 on every architecture we run on.
const TICKS: f64 = 100.0;
const PAGE_BYTES: u64 = 4096;

/// Collects them.
#[derive(Debug)]
pub struct Process {
    started: f64,
}

impl Process {
    /// To be made when the process starts.
    pub fn new() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: since_epoch.as_secs_f64() }
    }
}

impl Default for Process {
    fn default() -> Self {
        Self::new()
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // The second field is a name in parentheses and may hold spaces.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        let cpu = ConstCounter::new((field(14) + field(15)) as f64 / TICKS);
        write(&mut encoder, "process_cpu_seconds", "User and system time", &cpu)?;
        gauge(&mut encoder, "process_threads", "Threads", field(20) as f64)?;
        gauge(&mut encoder, "process_virtual_memory_bytes", "Virtual memory", field(23) as f64)?;
        gauge(&mut encoder, "process_resident_memory_bytes", "Resident memory", (field(24) * PAGE_BYTES) as f64)?;
        let open = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        gauge(&mut encoder, "process_open_fds", "Open file descriptors", open as f64)?;
        gauge(&mut encoder, "process_max_fds", "Most file descriptors", max_fds())?;
        gauge(&mut encoder, "process_start_time_seconds", "Start, Unix time", self.started)
    }
}

fn gauge(encoder: &mut DescriptorEncoder, name: &str, help: &str, value: f64) -> fmt::Result {
    write(encoder, name, help, &ConstGauge::new(value))
}

fn write(encoder: &mut DescriptorEncoder, name: &str, help: &str, metric: &impl EncodeMetric) -> fmt::Result {
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}

fn max_fds() -> f64 {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with("Max open files"));
    line.and_then(|line| line.split_whitespace().nth(3)?.parse().ok()).unwrap_or(f64::INFINITY)
}
