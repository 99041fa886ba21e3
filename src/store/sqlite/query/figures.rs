//! Figures of subscribers. What is ahead of one is added up from tallies of blocks; only the block that its
//! frontier stands in is counted by rows.

use std::collections::HashMap;

use rusqlite::OptionalExtension;

use super::super::schema::{BLOCK, signed};
use super::super::shared::{Member, SHARD};
use super::Questions;
use crate::store::log::record::time;
use crate::store::{Replay, Seq, SubscriberFigures};
use crate::xinyao::callback::Kind;

/// What is in memory of a subscriber's figures, and what leads to the rest.
struct Told {
    id: i64,
    figures: SubscriberFigures,
    replays: Vec<Replay>,
    oldest_retry: Option<Seq>,
}

impl Told {
    fn of(name: &str, member: &Member) -> Self {
        let standing = &member.standing;
        let figures = SubscriberFigures {
            name: name.to_owned(),
            paused: standing.paused,
            frontiers: vec![(SHARD, standing.frontier)],
            ahead: Vec::new(),
            oldest: None,
            retrying: standing.retries.len() as u64,
            replaying: 0,
            delivered: standing.delivered,
            failed: standing.failed,
            dead: 0,
            expired: standing.expired,
        };
        let (replays, oldest_retry) = (standing.replays.clone(), standing.retries.oldest());
        Self { id: member.id, figures, replays, oldest_retry }
    }
}

impl Questions<'_> {
    pub fn figures(&self) -> rusqlite::Result<Vec<SubscriberFigures>> {
        let told: Vec<Told> = {
            let members = self.shared.members();
            let told = |(name, member): (&String, &Member)| Told::of(name, member);
            members.by_name.iter().map(told).collect()
        };
        let mut dead =
            self.connection.prepare_cached("SELECT subscriber, count(*) FROM dead GROUP BY subscriber")?;
        let dead: HashMap<i64, u64> =
            dead.query_map([], |row| Ok((row.get(0)?, super::count(row, 1)?)))?.collect::<Result<_, _>>()?;
        told.into_iter().map(|told| self.completed(told, &dead)).collect()
    }

    fn completed(&self, told: Told, dead: &HashMap<i64, u64>) -> rusqlite::Result<SubscriberFigures> {
        let mut figures = told.figures;
        let frontier = figures.frontiers.first().map_or(Seq(0), |(_, frontier)| *frontier);
        figures.ahead = self.ahead(frontier)?;
        figures.oldest = self.oldest([Some(frontier), told.oldest_retry])?;
        figures.replaying = self.replaying(&told.replays)?;
        figures.dead = dead.get(&told.id).copied().unwrap_or(0);
        Ok(figures)
    }

    /// What the replays of the subscriber of that name have left.
    pub fn replaying_of(&self, name: &str) -> rusqlite::Result<u64> {
        let replays = self.shared.members().by_name.get(name).map(|member| member.standing.replays.clone());
        self.replaying(&replays.unwrap_or_default())
    }

    fn replaying(&self, replays: &[Replay]) -> rusqlite::Result<u64> {
        replays.iter().try_fold(0, |sum, replay| {
            let from = replay.next.max(self.shared.shelf.first());
            Ok(sum + self.count(&replay.filter, from, replay.end)?)
        })
    }

    fn ahead(&self, frontier: Seq) -> rusqlite::Result<Vec<(String, Kind, u64)>> {
        if frontier >= self.shared.shelf.tail() {
            return Ok(Vec::new());
        }
        let block = frontier.0 / BLOCK;
        let mut statement = self.connection.prepare_cached(
            "SELECT app, kind, sum(n) FROM (
               SELECT class, count(*) AS n FROM event WHERE seq >= ?1 AND seq < ?2 GROUP BY class
               UNION ALL SELECT class, sum(events) FROM tally WHERE block > ?3 GROUP BY class)
             JOIN class ON class.id = class GROUP BY app, kind",
        )?;
        let bounds = (signed(frontier.0), signed((block + 1) * BLOCK), signed(block));
        let rows = statement
            .query_map(bounds, |row| Ok((row.get(0)?, super::kind(row, 1)?, super::count(row, 2)?)))?;
        rows.collect()
    }

    /// When the earliest of these events came.
    fn oldest(&self, seqs: [Option<Seq>; 2]) -> rusqlite::Result<Option<jiff::Timestamp>> {
        let mut statement = self.connection.prepare_cached("SELECT received_at FROM event WHERE seq = ?")?;
        let mut oldest = None;
        for seq in seqs.into_iter().flatten() {
            let at: Option<i64> = statement.query_row([signed(seq.0)], |row| row.get(0)).optional()?;
            oldest = oldest.into_iter().chain(at).min();
        }
        Ok(oldest.map(time))
    }
}
