#![expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small numbers")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use redis::{Arg, Cmd};

use super::{counted, shared};
use crate::proxy::shared::cells::{Cells, Told, Took};
use crate::proxy::shared::draw::{self, Watched};
use crate::proxy::shared::{Counted, Shared};

/// Plain GCRA, that reads what the script reads.
#[derive(Default)]
struct Model {
    whole_at: BTreeMap<String, f64>,
    /// Cells that were drawn, less those given back.
    drawn: i64,
}

impl Model {
    fn answer(&mut self, command: &Cmd, now: f64) -> Vec<i64> {
        let words: Vec<String> = command
            .args_iter()
            .map(|word| match word {
                Arg::Simple(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
                _ => panic!("no word"),
            })
            .collect();
        let keys: usize = words[2].parse().unwrap();
        let (keys, numbers) = words[3..].split_at(keys);
        let mut numbers = numbers.iter().map(|word| word.parse::<f64>().unwrap());
        let mut next = move || numbers.next();
        let limits: Vec<(f64, f64)> = keys.iter().map(|_| (next().unwrap(), next().unwrap())).collect();
        let mut answer = Vec::new();
        while let Some(wanted) = next() {
            let of: Vec<usize> =
                (0..next().unwrap() as usize).map(|_| next().unwrap() as usize - 1).collect();
            let mut cells = wanted as i64;
            for at in &of {
                let ((period, burst), whole_at) = (limits[*at], self.whole_at(&keys[*at], now));
                let room = (now + period * (burst - 1.0) - whole_at) / period + 1e-6;
                cells = if cells > 0 { cells.min(room.floor() as i64 + 1).max(0) } else { cells };
            }
            for at in &of {
                let whole_at = self.whole_at(&keys[*at], now) + cells as f64 * limits[*at].0;
                self.whole_at.insert(keys[*at].clone(), whole_at.max(now));
            }
            self.drawn += cells;
            answer.push(cells);
        }
        answer.extend(keys.iter().map(|key| (self.whole_at(key, now) - now).ceil() as i64));
        answer
    }

    fn whole_at(&self, key: &str, now: f64) -> f64 {
        self.whole_at.get(key).copied().unwrap_or(0.0).max(now)
    }
}

struct Replica {
    shared: Shared,
    cells: Arc<Cells>,
    watched: Vec<Watched>,
    used: i64,
}

impl Replica {
    fn new(limits: &[Arc<Counted>], now: Instant) -> Self {
        let shared = shared();
        shared.is_up.store(true, Ordering::Relaxed);
        // Each has its own idea of how things stand.
        let limits = limits.iter().map(|l| counted(&l.key, 1, l.period, l.burst)).collect();
        let cells = Arc::new(Cells::new("crm".into(), limits));
        let watched = vec![Watched::new(Arc::downgrade(&cells), now)];
        Self { shared, cells, watched, used: 0 }
    }

    /// So many requests, of which those that have to ask share a call.
    fn serve(&mut self, requests: u32, look: bool, now: Instant, model: &mut Model, model_now: f64) {
        let mut waiting = Vec::new();
        for _ in 0..requests {
            match self.cells.take(&self.shared, now) {
                Took::Cell => self.used += 1,
                Took::Ask => waiting.push(self.cells.line_up(&self.shared)),
                Took::Empty(_) => {}
                Took::Unreachable => panic!("it is up"),
            }
        }
        let draws = draw::gather(&mut self.watched, &self.shared, now, look);
        for draws in draws.into_values() {
            let answer = model.answer(&draws.command("digest"), model_now);
            draws.settle(&answer, &mut self.watched, self.shared.since(now)).unwrap();
        }
        for mut told in waiting {
            self.used += i64::from(matches!(told.try_recv(), Ok(Told::Cell)));
        }
    }
}

proptest! {
    #[test]
    fn replicas_let_in_what_one_gcra_would(
        replicas in 1..4_usize,
        count in 1..5000_u32,
        burst in 1..5000_u32,
        wide in 0..5000_u32,
        steps in prop::collection::vec((0..40_000_u64, 0..4_usize, 0..200_u32, any::<bool>()), 1..200),
    ) {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut limits = vec![counted("{crm}:narrow", count, second, burst)];
        if wide > 0 {
            limits.push(counted("{crm}:wide", count + wide, second, burst + wide));
        }
        let mut replicas: Vec<Replica> = (0..replicas).map(|_| Replica::new(&limits, start)).collect();
        let (mut model, mut passed) = (Model::default(), Duration::ZERO);
        for (micros, replica, requests, look) in steps {
            passed += Duration::from_micros(micros);
            let (at, count_of) = (replica % replicas.len(), replicas.len());
            let model_now = passed.as_secs_f64() * 1e6;
            replicas[at].serve(requests, look, start + passed, &mut model, model_now);
            let used: i64 = replicas.iter().map(|one| one.used).sum();
            let held: i64 = replicas.iter().map(|one| i64::from(one.cells.held())).sum();
            // Cells are neither made nor lost.
            prop_assert_eq!(used + held, model.drawn);
            let may = passed.as_secs_f64() * f64::from(count) + f64::from(burst) + 0.1;
            prop_assert!(used as f64 <= may, "{} of {}", used, may);
            // Each has at hand at most a tenth of a second's worth: of a minute's, less than 0.2 %.
            prop_assert!(held as f64 <= count_of as f64 * f64::from(count) / 10.0, "{} at hand", held);
        }
        // What nobody uses is given back.
        for replica in &mut replicas {
            for look in 1..4 {
                let later = passed + Duration::from_millis(100) * look;
                replica.serve(0, true, start + later, &mut model, later.as_secs_f64() * 1e6);
            }
            prop_assert_eq!(replica.cells.held(), 0);
        }
    }
}
