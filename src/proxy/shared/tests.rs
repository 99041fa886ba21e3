//! The script decides as governor does, and replicas with cells at hand as one plain GCRA would.

mod cells;
mod scripts;

use std::sync::Arc;
use std::time::Duration;

use super::{Counted, Shared};
use crate::proxy::settings::{Rate, RedisUrl, SharedLimitSettings};

fn settings(host: &str, port: u16) -> SharedLimitSettings {
    let url = RedisUrl { tls: false, host: host.into(), port, user: None, password: None, database: 0 };
    SharedLimitSettings { url, timeout: Duration::from_secs(2), fallback_share: 0.5 }
}

fn counted(key: &str, count: u32, per: Duration, burst: u32) -> Arc<Counted> {
    Arc::new(Counted::new(key.into(), Rate { count, per, burst }))
}

fn shared() -> Shared {
    Shared::new(settings("127.0.0.1", 1))
}
