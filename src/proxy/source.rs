//! Source IPs in turn, without those that fail where others succeed.

use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(30);

/// The local addresses that connections leave from.
#[derive(Debug)]
pub struct Sources {
    addresses: Vec<Option<IpAddr>>,
    aside: Mutex<Vec<Option<Aside>>>,
    /// How many are set aside; while none is, nobody takes the lock.
    troubled: AtomicUsize,
}

#[derive(Debug, Clone, Copy)]
struct Aside {
    until: Instant,
    pause: Duration,
}

impl Sources {
    /// None of them is set aside.
    pub fn new(addresses: Vec<Option<IpAddr>>) -> Self {
        let aside = Mutex::new(vec![None; addresses.len()]);
        Self { addresses, aside, troubled: AtomicUsize::new(0) }
    }

    /// How many there are; at least one.
    pub fn count(&self) -> usize {
        self.addresses.len()
    }

    /// Number `at` of them; `None`: the kernel's choice.
    pub fn address(&self, at: usize) -> Option<IpAddr> {
        self.addresses.get(at).copied().flatten()
    }

    /// All of them.
    pub fn addresses(&self) -> &[Option<IpAddr>] {
        &self.addresses
    }

    /// Whether number `at` may be used. One whose pause is over may be by whoever asks first; for the
    /// others the pause begins anew, unless it turns out that it works.
    pub fn may_use(&self, at: usize, now: Instant) -> bool {
        if self.troubled.load(Ordering::Relaxed) == 0 {
            return true;
        }
        let Ok(mut aside) = self.aside.lock() else { return true };
        match aside.get_mut(at) {
            Some(Some(aside)) if now < aside.until => false,
            Some(Some(aside)) => {
                aside.until = now + aside.pause;
                true
            }
            Some(None) | None => true,
        }
    }

    /// Number `at` failed where another succeeded, or is not this host's any more. `true`: it worked before.
    pub fn set_aside(&self, at: usize, now: Instant) -> bool {
        let Ok(mut aside) = self.aside.lock() else { return false };
        let Some(entry) = aside.get_mut(at) else { return false };
        let pause = entry.map_or(FIRST_PAUSE, |known| (known.pause * 2).min(LAST_PAUSE));
        let first = entry.replace(Aside { until: now + pause, pause }).is_none();
        self.recount(&aside);
        first
    }

    /// Number `at` made a connection.
    pub fn works(&self, at: usize) {
        if self.troubled.load(Ordering::Relaxed) == 0 {
            return;
        }
        let Ok(mut aside) = self.aside.lock() else { return };
        if let Some(entry) = aside.get_mut(at) {
            *entry = None;
        }
        self.recount(&aside);
    }

    /// Whether number `at` is set aside.
    pub fn is_aside(&self, at: usize) -> bool {
        self.aside.lock().is_ok_and(|aside| matches!(aside.get(at), Some(Some(_))))
    }

    fn recount(&self, aside: &[Option<Aside>]) {
        self.troubled.store(aside.iter().flatten().count(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_one_is_set_aside_and_probed() {
        let now = Instant::now();
        let sources = Sources::new(vec![None, None]);
        assert!(sources.set_aside(0, now));
        assert!(!sources.may_use(0, now) && sources.may_use(1, now));
        let later = now + FIRST_PAUSE;
        assert!(sources.may_use(0, later), "one probes");
        assert!(!sources.may_use(0, later), "the others wait for what it finds");
        assert!(!sources.set_aside(0, later));
        assert!(!sources.may_use(0, later + FIRST_PAUSE), "the pause has doubled");
        sources.works(0);
        assert!(sources.may_use(0, later) && !sources.is_aside(0));
    }
}
