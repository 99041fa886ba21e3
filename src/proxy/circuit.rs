//! When to leave a failing address, or a failing source IP, alone.

use std::time::{Duration, Instant};

/// Failures in a row that open a circuit.
const THRESHOLD: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(30);

/// Whether something that fails may be used.
#[derive(Debug, Default)]
pub struct Circuit {
    failures: u32,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    until: Instant,
    pause: Duration,
    probing: bool,
}

/// What a circuit says to one request.
#[derive(Debug, PartialEq, Eq)]
pub enum Passage {
    /// Use it.
    Free,
    /// Use it, as the one that finds out whether it works again; the outcome must be told.
    Probe,
    /// Leave it alone for so long.
    Blocked(Duration),
}

impl Circuit {
    /// Asks for passage.
    pub fn ask(&mut self, now: Instant) -> Passage {
        let Some(open) = &mut self.open else { return Passage::Free };
        if now >= open.until && !open.probing {
            open.probing = true;
            return Passage::Probe;
        }
        // While a probe is out, its outcome is near: whoever comes now may ask again in a moment.
        Passage::Blocked(open.until.saturating_duration_since(now))
    }

    /// It failed. `true`: this opened the circuit.
    pub fn failed(&mut self, now: Instant) -> bool {
        self.failures += 1;
        match &mut self.open {
            Some(open) if open.probing => {
                let pause = (open.pause * 2).min(LAST_PAUSE);
                self.open = Some(Open { until: now + pause, pause, probing: false });
                false
            }
            // What was under way when it opened says nothing new.
            Some(_) => false,
            None if self.failures >= THRESHOLD => {
                self.open_now(now);
                true
            }
            None => false,
        }
    }

    /// Opens it whatever came before.
    pub fn open_now(&mut self, now: Instant) {
        let pause = self.open.as_ref().map_or(FIRST_PAUSE, |open| (open.pause * 2).min(LAST_PAUSE));
        self.open = Some(Open { until: now + pause, pause, probing: false });
    }

    /// The probe ended without saying anything, its caller having gone away: the next one may probe.
    pub fn abandoned(&mut self) {
        if let Some(open) = &mut self.open {
            open.probing = false;
        }
    }

    /// Whether it is left alone.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn opened(now: Instant) -> Circuit {
        let mut circuit = Circuit::default();
        for failure in 1..=THRESHOLD {
            assert_eq!(circuit.failed(now), failure == THRESHOLD);
        }
        circuit
    }

    #[test]
    fn five_failures_in_a_row_open_it_and_one_request_probes() {
        let start = Instant::now();
        let mut circuit = opened(start);
        assert_eq!(circuit.ask(start), Passage::Blocked(Duration::from_secs(1)));
        let later = start + Duration::from_secs(1);
        assert_eq!(circuit.ask(later), Passage::Probe);
        assert!(matches!(circuit.ask(later), Passage::Blocked(_)));
        circuit = Circuit::default();
        assert_eq!(circuit.ask(later), Passage::Free);
    }

    #[test]
    fn the_pause_doubles_up_to_thirty_seconds() {
        let mut now = Instant::now();
        let mut circuit = opened(now);
        for pause in [1, 2, 4, 8, 16, 30, 30] {
            assert_eq!(circuit.ask(now), Passage::Blocked(Duration::from_secs(pause)));
            now += Duration::from_secs(pause);
            assert_eq!(circuit.ask(now), Passage::Probe);
            circuit.failed(now);
        }
    }

    #[test]
    fn an_abandoned_probe_leaves_room_for_the_next() {
        let start = Instant::now();
        let mut circuit = opened(start);
        let later = start + Duration::from_secs(1);
        assert_eq!(circuit.ask(later), Passage::Probe);
        circuit.abandoned();
        assert_eq!(circuit.ask(later), Passage::Probe);
    }

    proptest! {
        #[test]
        fn never_two_probes_at_once(steps in prop::collection::vec(0..4_u8, 0..60)) {
            let mut now = Instant::now();
            let mut circuit = Circuit::default();
            let mut probing = false;
            for step in steps {
                match step {
                    0 => { circuit.failed(now); probing = false; }
                    1 => { circuit = Circuit::default(); probing = false; }
                    2 => now += Duration::from_secs(7),
                    _ => if circuit.ask(now) == Passage::Probe {
                        prop_assert!(!probing);
                        probing = true;
                    },
                }
            }
        }
    }
}
