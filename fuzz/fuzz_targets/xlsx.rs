//! Any bytes as a workbook, or as the worksheet and the texts of one that is sound otherwise.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use xinyao_gateway::xinyao::number_file::{MAX_ROWS, xlsx};

const WORKBOOK: &[u8] = br#"<workbook><sheets><sheet name="a" r:id="rId1"/></sheets></workbook>"#;
const RELATIONS: &[u8] =
    br#"<Relationships><Relationship Id="rId1" Target="worksheets/sheet1.xml"/></Relationships>"#;

/// A zip archive in which nothing is packed.
fn stored(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let word = |number: usize| (number as u32).to_le_bytes();
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in entries {
        let sizes = [word(content.len()), word(content.len()), word(name.len())].concat();
        let common = [&[10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &sizes].concat();
        let at = word(file.len());
        directory.extend([&b"PK\x01\x02\x0a\x00"[..], &common, &[0; 10], &at, name.as_bytes()].concat());
        file.extend([&b"PK\x03\x04"[..], &common, name.as_bytes(), content].concat());
    }
    let count = &word(entries.len())[..2];
    let place = [word(directory.len()), word(file.len())].concat();
    [&file[..], &directory, b"PK\x05\x06\0\0\0\0", count, count, &place, &[0, 0]].concat()
}

fuzz_target!(|input: (Vec<u8>, Vec<u8>, Vec<u8>)| {
    let (any, sheet, texts) = input;
    xlsx(Cursor::new(any), &mut ());
    let book = stored(&[
        ("xl/workbook.xml", WORKBOOK),
        ("xl/_rels/workbook.xml.rels", RELATIONS),
        ("xl/worksheets/sheet1.xml", &sheet),
        ("xl/sharedStrings.xml", &texts),
    ]);
    let verdict = xlsx(Cursor::new(book), &mut ());
    assert!(verdict.rows.is_none_or(|rows| rows <= MAX_ROWS));
});
