//! The second half: what the SaaS pushes, who gets it, and what it all came to.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use bytes::Bytes;
use http::Request;
use jiff::Timestamp;
use serde_json::Value;

use super::app::origin;
use super::subscriber::Subscriber;
use super::{Play, say, text};
use crate::cli::Failed;
use crate::cli::exchange::exchange;
use crate::cli::screen::Ink;
use crate::cli::table::table;
use crate::sandbox::PushKind;

/// For the campaign, and then for the last retry.
const PATIENCE: Duration = Duration::from_secs(40);
const GLANCE: Duration = Duration::from_millis(500);

impl Play<'_> {
    /// The campaign goes on since its numbers were uploaded; this looks on until all is delivered.
    pub(super) async fn callbacks(&self) -> Result<(), Failed> {
        self.title("5  The SaaS calls, and pushes what came of it")?;
        self.dim(format!("POST {}", self.stage.callback_url))?;
        self.dim("  each push is kept before it is acknowledged; then every subscriber gets it")?;
        let until = Instant::now() + PATIENCE;
        let mut told = String::new();
        loop {
            let settled = tokio::time::timeout(GLANCE, self.stage.sandbox.settled()).await.is_ok();
            let pushed = self.accepted_pushes();
            let standing = self.standing(pushed);
            if standing != told {
                self.say_progress(&standing)?;
                told = standing;
            }
            if settled && self.stage.subscribers().iter().all(|(_, one)| one.book().taken.len() >= pushed) {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(anyhow!("the subscribers did not get everything within {PATIENCE:?}").into());
            }
            if settled {
                // What is left are retries.
                tokio::time::sleep(GLANCE).await;
            }
        }
    }

    fn accepted_pushes(&self) -> usize {
        let pushes = self.stage.sandbox.pushes();
        pushes.iter().filter(|push| push.accepted && push.kind != PushKind::InboundQuery).count()
    }

    fn standing(&self, pushed: usize) -> String {
        let mut standing = format!("{pushed:3} pushes kept");
        for (name, one) in self.stage.subscribers() {
            let book = one.book();
            standing += &format!("   {name} {:3}", book.taken.len());
            if book.refused > 0 {
                standing += &format!(" ({} refused at first)", book.refused);
            }
        }
        standing
    }

    fn say_progress(&self, standing: &str) -> Result<(), Failed> {
        say(format!("{} {standing}", self.screen.ink(Ink::Good, "▸")))
    }

    /// One call, as a subscriber with `enrich` has it, and its recording through the gateway.
    pub(super) async fn one_call(&self) -> Result<(), Failed> {
        let calls = self.stage.crm.book().calls.clone();
        let talked = calls.iter().find(|call| call["round"].as_u64() > Some(1));
        let call = talked.or(calls.first()).context("no call was recorded")?;
        let state = call["state_text"].as_str().unwrap_or("接通");
        say(format!("one of them, as crm-hook has it: {state}, {} s", call["duration"]))?;
        for line in list(&call["dialogs"]).take(4) {
            let who = if line["dialog_type"] == 1 { "机器人" } else { "客户  " };
            let words = line["dialog_plain"].as_str().or(line["dialog_text"].as_str()).unwrap_or("-");
            let meant = line["intention_name"].as_str().filter(|name| !name.is_empty());
            let meant = meant.map(|name| format!("  ({name})")).unwrap_or_default();
            self.dim(format!("  {who} {}{meant}", words.trim()))?;
        }
        let Some(url) = call["record_url"].as_str() else { return Ok(()) };
        let size = self.app.recording(url).await?;
        self.dim(format!("  录音   {} ({} KiB, through the gateway)", self.link(url), size >> 10))
    }

    /// §9: somebody rings back, and the gateway asks who knows what to say.
    pub(super) async fn ring_back(&self) -> Result<(), Failed> {
        self.title("6  Somebody rings back, and the SaaS asks what to say")?;
        let started = Instant::now();
        let answer = self.stage.sandbox.ask_inbound("10000000007", &self.stage.callback_url).await;
        let answer = answer.context("nobody said what to say")?;
        if answer.code != 0 {
            return Err(anyhow!("the inbound query was answered with code {}", answer.code).into());
        }
        let took = self.screen.ink(Ink::Dim, format!("{:.1} ms", started.elapsed().as_secs_f64() * 1000.0));
        say(format!("{} {took}  {}", self.screen.ink(Ink::Good, "✓"), answer.prompt))
    }

    /// Figures, from those who were there: the sandbox, the subscribers, the gateway's own API.
    pub(super) async fn summary(&self) -> Result<(), Failed> {
        self.title("What it came to")?;
        let batch = self.stage.sandbox.batches().pop().context("the sandbox knows of no batch")?;
        let crm = tally(&self.stage.crm);
        say(format!("numbers called      {}, {} answered", batch.called, batch.answered))?;
        say(format!("call records        {} in {} pushes", crm.calls, self.accepted_pushes()))?;
        say(format!("intents             {}", crm.degrees))?;
        let rows: Vec<Vec<String>> = list(&self.settled_figures().await?)
            .map(|row| {
                let mut cells = vec![text(&row["name"])];
                cells.extend(["delivered", "failed", "dead", "backlog"].map(|key| row[key].to_string()));
                cells
            })
            .collect();
        for line in table(&["SUBSCRIBER", "DELIVERED", "FAILED AT FIRST", "DEAD", "LEFT"], &rows).lines() {
            say(line)?;
        }
        let p99 = self.p99_ms("crm-hook").await?;
        say(format!("p99 from the SaaS's push to crm-hook's answer: {p99} ms"))
    }

    /// The gateway's figures of the subscribers; they follow what happens by a moment.
    async fn settled_figures(&self) -> Result<Value, Failed> {
        let (until, pushed) = (Instant::now() + PATIENCE, self.accepted_pushes() as u64);
        let done = |row: &Value| row["backlog"] == 0 && row["delivered"].as_u64() >= Some(pushed);
        loop {
            let subscribers = self.admin("/api/v1/subscribers").await?["subscribers"].take();
            if list(&subscribers).all(done) || Instant::now() > until {
                return Ok(subscribers);
            }
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// From an event's coming to the end of the attempt that delivered it.
    async fn p99_ms(&self, subscriber: &str) -> Result<i64, Failed> {
        let page = self.admin("/api/v1/events?limit=1000").await?;
        let mut taken_ms = Vec::new();
        for id in list(&page["events"]).map(|event| text(&event["id"])) {
            let event = self.admin(&format!("/api/v1/events/{id}")).await?;
            let own = |attempt: &&Value| attempt["subscriber"] == subscriber && attempt["error"].is_null();
            let delivered = list(&event["attempts"]).find(own);
            taken_ms.extend(delivered.and_then(|attempt| taken(&event, attempt)));
        }
        taken_ms.sort_unstable();
        let place = (taken_ms.len() * 99).div_ceil(100);
        Ok(place
            .checked_sub(1)
            .and_then(|place| taken_ms.get(place))
            .copied()
            .context("nothing was delivered")?)
    }

    async fn admin(&self, path: &str) -> Result<Value, Failed> {
        let request = Request::get(path).body(Bytes::new()).context("no such path")?;
        let answer = exchange(&origin(self.stage.admin()), request).await;
        let answer = answer.context("the admin listener does not answer")?;
        if !answer.status.is_success() {
            return Err(anyhow!("{path} was answered with {}", answer.status).into());
        }
        Ok(serde_json::from_slice(&answer.body).context("the admin listener's answer is no JSON")?)
    }
}

struct Tally {
    calls: usize,
    degrees: String,
}

fn tally(subscriber: &Subscriber) -> Tally {
    let book = subscriber.book();
    let mut degrees: BTreeMap<String, usize> = BTreeMap::new();
    for degree in &book.degrees {
        *degrees.entry(text(&degree["degree_name"])).or_default() += 1;
    }
    let degrees: Vec<String> = degrees.iter().map(|(name, count)| format!("{name} {count}")).collect();
    Tally { calls: book.calls.len(), degrees: degrees.join(", ") }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn taken(event: &Value, attempt: &Value) -> Option<i64> {
    let time = |value: &Value| value.as_str()?.parse::<Timestamp>().ok();
    let waited = time(&attempt["at"])?.as_millisecond() - time(&event["received_at"])?.as_millisecond();
    Some(waited + attempt["latency_ms"].as_i64()?)
}
