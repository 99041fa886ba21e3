//! One simulated call: thrown by dice, told as a call record (§7), remembered for §13 and its recording.

use serde_json::{Map, Value, json};

use super::Task;
use super::clock::{china_minute, china_plain, china_time};
use super::script::{OPENING, Outcome, SILENCE, Script, throw_outcome, throw_script};

/// A call as the dice have it; times count from its start.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) call_id: String,
    pub(super) outcome: &'static Outcome,
    script: &'static Script,
    /// Until it was picked up, or given up.
    ring_ms: i64,
    lines: Vec<Line>,
    /// From picking up to hanging up.
    talk_ms: i64,
    /// Whether a customer who missed it rings back.
    pub(super) rings_back: bool,
}

/// Something said.
#[derive(Debug, Clone)]
struct Line {
    by_bot: bool,
    text: &'static str,
    intention: &'static str,
    /// When, counted from picking up.
    at_ms: i64,
}

/// What is kept of an answered call.
#[derive(Debug)]
pub(super) struct Remembered {
    lines: Vec<Line>,
    answered_ms: i64,
    /// Path of its recording, if there is one.
    pub(super) record_url: Option<String>,
    pub(super) talk_seconds: u32,
}

impl Call {
    /// Throws a call.
    pub(super) fn throw(dice: &mut fastrand::Rng) -> Self {
        let outcome = throw_outcome(dice);
        let script = if outcome.state == 1 { throw_script(dice) } else { &SILENCE };
        let ring_ms = dice.i64(2_000..if outcome.answered { 15_000 } else { 45_000 });
        let (lines, talk_ms) = if outcome.answered { talk(script, dice) } else { (Vec::new(), 0) };
        let mut id = [0; 16];
        dice.fill(&mut id);
        let call_id = uuid::Builder::from_random_bytes(id).into_uuid().to_string();
        let rings_back = !outcome.answered && dice.u8(..4) == 0;
        Self { call_id, outcome, script, ring_ms, lines, talk_ms, rings_back }
    }

    /// How long it takes, all in all.
    pub(super) fn length_ms(&self) -> i64 {
        self.ring_ms + self.talk_ms
    }

    /// What §8 says of it; nothing for one that was not answered.
    pub(super) fn degree(&self) -> Option<&'static str> {
        self.outcome.answered.then_some(self.script.degree)
    }

    /// The call to `num` for `task`, over at `end_ms`, as §7.3 shows one. What an unanswered call has
    /// none of is left out.
    pub(super) fn record(&self, task: &Task, num: &str, end_ms: i64) -> Value {
        let start_ms = end_ms - self.length_ms();
        let mut record = json!({
            "num": num,
            "state": self.outcome.state,
            "state_desc": self.outcome.sip,
            "start_time": china_time(start_ms),
            "end_time": china_time(end_ms),
            "duration": self.talk_ms / 1000,
            "call_id": self.call_id,
            "sms_state": 2,
        });
        if let (true, Some(record)) = (self.outcome.answered, record.as_object_mut()) {
            self.tell_talk(record, task, start_ms);
        }
        record
    }

    fn tell_talk(&self, record: &mut Map<String, Value>, task: &Task, start_ms: i64) {
        let answered_ms = start_ms + self.ring_ms;
        let dialogs: Vec<Value> = self.lines.iter().map(|line| line.dialog(answered_ms)).collect();
        let sms = if self.script.degree == "A类" { 1 } else { 2 };
        let hangup_by = if self.script.customer_hangs_up { 1 } else { 2 };
        if let Some(url) = self.record_url(task, start_ms) {
            record.insert("record_url".into(), url.into());
        }
        record.insert("round".into(), self.lines.iter().filter(|line| !line.by_bot).count().into());
        record.insert("answered_time".into(), china_time(answered_ms).into());
        record.insert("hangup_by".into(), hangup_by.into());
        record.insert("sms_state".into(), sms.into());
        record.insert("dialogs".into(), dialogs.into());
    }

    /// What §13 and recordings need of it; nothing of a call that was not answered.
    pub(super) fn remember(&self, task: &Task, end_ms: i64) -> Option<Remembered> {
        let start_ms = end_ms - self.length_ms();
        self.outcome.answered.then(|| Remembered {
            lines: self.lines.clone(),
            answered_ms: start_ms + self.ring_ms,
            record_url: self.record_url(task, start_ms),
            talk_seconds: u32::try_from(self.talk_ms / 1000).unwrap_or(0),
        })
    }

    fn record_url(&self, task: &Task, start_ms: i64) -> Option<String> {
        let minute = china_minute(start_ms);
        let folder = format!("/coeus/82001/{}/{}/{minute}", path_part(&task.app_id), task.task_id);
        (task.is_record == 2).then(|| format!("{folder}/{}.wav", self.call_id))
    }
}

impl Line {
    fn dialog(&self, answered_ms: i64) -> Value {
        json!({
            "dialog_type": if self.by_bot { 1 } else { 2 },
            "dialog_text": self.text,
            "msg_time": china_time(answered_ms + self.at_ms),
            "intention_name": self.intention,
        })
    }
}

impl Remembered {
    /// What was said, as §13.5 shows it.
    pub(super) fn followed(&self) -> Vec<Value> {
        let line = |line: &Line| {
            json!({
                "dialog_type": if line.by_bot { 1 } else { 2 },
                "content": line.text,
                "create_time": china_plain(self.answered_ms + line.at_ms),
            })
        };
        self.lines.iter().map(line).collect()
    }
}

/// Lines with their times, and how long they take together.
fn talk(script: &Script, dice: &mut fastrand::Rng) -> (Vec<Line>, i64) {
    let mut said = vec![(true, OPENING, "")];
    for (words, intention, answer) in script.turns {
        said.push((false, *words, *intention));
        said.push((true, *answer, ""));
    }
    let (mut lines, mut at_ms) = (Vec::new(), 300);
    for (by_bot, text, intention) in said.into_iter().filter(|(_, text, _)| !text.is_empty()) {
        lines.push(Line { by_bot, text, intention, at_ms });
        at_ms += if by_bot { dice.i64(4_000..9_000) } else { dice.i64(1_000..4_000) };
    }
    (lines, at_ms)
}

/// A tenant's id as one segment of a path.
fn path_part(app_id: &str) -> String {
    app_id.chars().filter(char::is_ascii_alphanumeric).take(64).collect()
}
