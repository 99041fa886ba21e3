//! Uploads of numbers (§6), each of which starts a campaign.

use std::time::SystemTime;

use serde_json::json;

use super::answer::{Answer, Failure, success};
use super::campaign::Campaign;
use super::house::House;
use super::multipart::Form;
use super::numbers;
use super::route::text;

/// What a file of Excel 2007 and later begins with.
const ZIP: &[u8] = b"PK\x03\x04";

/// One accepted upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Its id.
    pub call_sn: String,
    /// Its name, where one was given.
    pub call_sn_name: String,
    /// Whose it is.
    pub app_id: String,
    /// The task it belongs to.
    pub task_id: String,
    /// How many numbers were accepted.
    pub call_count: usize,
    /// When it came.
    pub submitted_at: SystemTime,
    /// How many calls have ended, second tries too.
    pub called: usize,
    /// How many of these were answered.
    pub answered: usize,
    /// Whether all calls and pushes are over.
    pub settled: bool,
}

/// §6.
pub(super) fn outnum(house: &House, form: &Form) -> Result<Answer, Failure> {
    let fields = &form.fields;
    let file = form.file.as_deref().filter(|file| !file.is_empty());
    let file = file.ok_or(Failure::Parameter { field: "file", problem: "不能为空" })?;
    let excel = matches!(text(fields, "file_suffix"), "excel" | "xlsx");
    let numbers = if excel { refuse_other_than_xlsx(file)? } else { numbers::read(file)? };
    let claimed = fields.get("call_count").and_then(serde_json::Value::as_u64).unwrap_or(0);
    // The numbers in an xlsx file are not looked at: the count is believed, and nobody is called.
    let call_count = if excel { usize::try_from(claimed).unwrap_or(0) } else { numbers.len() };

    let unsettled = house.reserve()?;
    let mut memory = house.memory();
    let task_id = text(fields, "task_id");
    let task = memory.tasks.get(task_id).filter(|task| task.app_id == text(fields, "app_id")).cloned();
    let task = task.ok_or_else(|| Failure::NoTask(task_id.to_owned()))?;
    let batch = Batch {
        call_sn: memory.next_id(),
        call_sn_name: text(fields, "call_sn_name").to_owned(),
        app_id: task.app_id.clone(),
        task_id: task.task_id.clone(),
        call_count,
        submitted_at: SystemTime::now(),
        called: 0,
        answered: 0,
        settled: false,
    };
    let call_sn = batch.call_sn.clone();
    house.launch(Campaign::new(task, &batch, numbers, unsettled))?;
    memory.batches.put(&call_sn, batch);
    tracing::info!(task_id, call_sn, call_count, "sandbox: batch accepted");
    Ok(success(json!({ "result": { "call_sn": call_sn, "call_count": call_count } })))
}

fn refuse_other_than_xlsx(file: &[u8]) -> Result<Vec<Box<str>>, Failure> {
    if file.starts_with(ZIP) {
        Ok(Vec::new())
    } else {
        Err(Failure::NumberFile("excel 必须是 2007 及以上版本"))
    }
}
