//! Uploads of numbers (§6).

use super::{Ask, OUTNUM, request};

/// An outnum that sends `numbers` to `task`.
pub fn outnum(task: &str, numbers: impl AsRef<[u8]>) -> Ask {
    outnum_with("B", task, numbers)
}

/// The same with another boundary.
pub fn outnum_with(boundary: &str, task: &str, numbers: impl AsRef<[u8]>) -> Ask {
    let numbers = numbers.as_ref();
    // The first row is the header.
    let rows = numbers.split(|byte| *byte == b'\n').filter(|row| !row.is_empty()).count();
    upload(boundary, task, ("csv", rows.saturating_sub(1)), numbers)
}

/// An outnum of a file that says that it is a `suffix`, with `count` numbers.
pub fn outnum_as(suffix: &str, count: usize, task: &str, numbers: impl AsRef<[u8]>) -> Ask {
    upload("B", task, (suffix, count), numbers.as_ref())
}

fn upload(boundary: &str, task: &str, (suffix, count): (&str, usize), numbers: &[u8]) -> Ask {
    let text = |name: &str, value: &str| {
        format!("--{boundary}\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let count = count.to_string();
    let fields = [("app_id", "1"), ("task_id", task), ("call_count", &count), ("file_suffix", suffix)];
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

/// A workbook with two numbers, the second being `number` as a shared text.
pub fn workbook(number: &str) -> Vec<u8> {
    let sheet = r#"<worksheet><sheetData><row r="1"><c r="A1" t="s"><v>0</v></c></row><row r="2"><c r="A2"><v>13800138000</v></c></row><row r="3"><c r="A3" t="s"><v>1</v></c></row></sheetData></worksheet>"#;
    let shared = format!("<sst><si><t>phone</t></si><si><t>{number}</t></si></sst>");
    let relations =
        r#"<Relationships><Relationship Id="rId1" Target="worksheets/sheet1.xml"/></Relationships>"#;
    stored(&[
        ("xl/workbook.xml", r#"<workbook><sheets><sheet name="a" r:id="rId1"/></sheets></workbook>"#),
        ("xl/_rels/workbook.xml.rels", relations),
        ("xl/worksheets/sheet1.xml", sheet),
        ("xl/sharedStrings.xml", &shared),
    ])
}

/// A zip archive in which nothing is packed.
fn stored(entries: &[(&str, &str)]) -> Vec<u8> {
    let word = |number: usize| u32::try_from(number).unwrap().to_le_bytes();
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in entries {
        let sizes = [word(content.len()), word(content.len())].concat();
        let common = [&[10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &sizes, &word(name.len())].concat();
        let at = word(file.len());
        directory.extend([&b"PK\x01\x02\x0a\x00"[..], &common, &[0; 10], &at, name.as_bytes()].concat());
        file.extend([&b"PK\x03\x04"[..], &common, name.as_bytes(), content.as_bytes()].concat());
    }
    let count = &word(entries.len())[..2];
    let place = [word(directory.len()), word(file.len())].concat();
    [&file[..], &directory, b"PK\x05\x06\0\0\0\0", count, count, &place, &[0, 0]].concat()
}
