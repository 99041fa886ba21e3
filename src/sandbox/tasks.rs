//! Tasks and bots: §10, §11, §12.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::answer::{Answer, Failure, success};
use super::house::House;
use super::route::{Fields, text};

/// The bots that every tenant has: those of §12.5.
const BOTS: [(&str, &str); 2] = [("114660944623140864", "省呗"), ("104516283748601856", "滴水贷")];

/// A task, with the document's defaults for what was not given (§10.2); as tasklist shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Its id; the sandbox gives it.
    #[serde(default)]
    pub task_id: String,
    /// Whose it is.
    pub app_id: String,
    /// Its name.
    pub task_name: String,
    /// 2: calls are recorded.
    #[serde(default = "one")]
    pub is_record: i64,
    /// Which bot speaks.
    pub bot_id: String,
    /// Its voice.
    pub voice: String,
    /// The number that is shown.
    pub disnumber: String,
    /// Where results are pushed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team_url: Option<String>,
    /// When not to call; the sandbox calls at any time.
    #[serde(default = "forbidden")]
    pub forbid_policy: Vec<String>,
    /// After which states a number is called once more.
    #[serde(default)]
    pub recall_policy: Vec<String>,
    /// After how many minutes that is.
    #[serde(default = "half_an_hour")]
    pub recall_interval: u64,
}

fn one() -> i64 {
    1
}

fn half_an_hour() -> u64 {
    30
}

fn forbidden() -> Vec<String> {
    ["00:00-08:00", "12:00-13:00", "20:00-23:59"].map(str::to_owned).to_vec()
}

/// The name of a bot; any id is accepted, and one that is not known has none, as in §7.3.
pub(super) fn bot_name(bot_id: &str) -> &'static str {
    BOTS.iter().find(|(id, _)| *id == bot_id).map_or("", |(_, name)| name)
}

/// §12.
pub(super) fn bots() -> Answer {
    let bots = BOTS.map(|(id, name)| json!({ "bot_id": id, "bot_name": name }));
    success(json!({ "result": bots }))
}

/// §10.
pub(super) fn add(house: &House, fields: Fields) -> Result<Answer, Failure> {
    let mut task: Task = serde_json::from_value(Value::Object(fields))
        .map_err(|_| Failure::Malformed("fields are not of their types"))?;
    let mut memory = house.memory();
    let task_id = memory.next_id();
    task.task_id.clone_from(&task_id);
    memory.tasks.put(&task_id, task);
    Ok(success(json!({ "result": { "task_id": task_id } })))
}

/// §11: the newest first; `task_name` finds tasks whose name holds it.
pub(super) fn list(house: &House, fields: &Fields) -> Answer {
    let number = |name, default| {
        fields.get(name).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok()).unwrap_or(default)
    };
    let (page, size) = (number("page_no", 1), number("page_size", 10));
    let (app_id, name, id) = (text(fields, "app_id"), text(fields, "task_name"), text(fields, "task_id"));
    let memory = house.memory();
    let found = || {
        memory.tasks.iter().rev().filter(|task| {
            task.app_id == app_id && task.task_name.contains(name) && (id.is_empty() || task.task_id == id)
        })
    };
    let total = found().count();
    let rows: Vec<&Task> = found().skip((page - 1).saturating_mul(size)).take(size).collect();
    success(json!({
        "num_per_page": size,
        "total_rows": total,
        "total_pages": total.div_ceil(size),
        "current_page": page,
        "result": rows,
    }))
}
