//! Uploads of numbers (§6).

use super::{Ask, OUTNUM, request};

/// An outnum that sends `numbers` to `task`.
pub fn outnum(task: &str, numbers: impl AsRef<[u8]>) -> Ask {
    outnum_with("B", task, numbers)
}

/// The same with another boundary.
pub fn outnum_with(boundary: &str, task: &str, numbers: impl AsRef<[u8]>) -> Ask {
    let text = |name: &str, value: &str| {
        format!("--{boundary}\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let numbers = numbers.as_ref();
    // The first row is the header.
    let rows = numbers.split(|byte| *byte == b'\n').filter(|row| !row.is_empty()).count();
    let count = rows.saturating_sub(1).to_string();
    let fields = [("app_id", "1"), ("task_id", task), ("call_count", &count), ("file_suffix", "csv")];
    let head = fields
        .iter()
        .chain([&("disnum_group_id", "1")])
        .fold(String::new(), |head, (name, value)| head + &text(name, value));
    let file = "content-disposition: form-data; name=\"file\"; filename=\"a.csv\"\r\n\r\n";
    let head = format!("{head}--{boundary}\r\n{file}");
    let body = [head.as_bytes(), numbers, format!("\r\n--{boundary}--\r\n").as_bytes()].concat();
    request("POST", OUTNUM)
        .header("content-type", format!("multipart/form-data; boundary={boundary}"))
        .body(body)
}
