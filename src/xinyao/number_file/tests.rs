use std::io::{Cursor, Write};
use std::ops::ControlFlow;

use flate2::Compression;
use flate2::write::DeflateEncoder;
use proptest::prelude::*;

use super::xml::{Handler, Tokens};
use super::*;

/// The numbers of a file, by row; none of one that can't be read.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    rows: Vec<(u32, String)>,
    unreadable: bool,
}

impl Numbers for Found {
    fn number(&mut self, row: u32, number: &[u8]) {
        self.rows.push((row, String::from_utf8_lossy(number).into_owned()));
    }

    fn unreadable(&mut self) {
        self.unreadable = true;
    }
}

fn read_all(format: Option<Format>, bytes: &[u8], cuts: &[usize]) -> (Verdict, Found) {
    let (mut file, mut rest, mut kept) = (NumberFile::default(), bytes, Vec::new());
    let mut found = Found::default();
    for cut in cuts {
        let (head, after) = rest.split_at(cut % (rest.len() + 1));
        file.feed(head, &mut found).iter().for_each(|bytes| kept.extend_from_slice(bytes));
        rest = after;
    }
    file.feed(rest, &mut found).iter().for_each(|bytes| kept.extend_from_slice(bytes));
    let verdict = file.is_zip().then(|| xlsx(Cursor::new(&kept), &mut found));
    assert!(kept.is_empty() || kept == bytes);
    (file.finish(format, verdict, &mut found), found)
}

fn read(format: Option<Format>, bytes: &[u8], cuts: &[usize]) -> Verdict {
    read_all(format, bytes, cuts).0
}

/// Rows, and what fails.
fn told(verdict: &Verdict) -> (Option<u32>, Vec<&'static str>) {
    (verdict.rows, verdict.failures.iter().map(|failure| failure.check.name()).collect())
}

#[track_caller]
fn text(format: Format, text: impl AsRef<[u8]>, rows: Option<u32>, failing: &[&str]) {
    let verdict = read(Some(format), text.as_ref(), &[]);
    assert_eq!(told(&verdict), (rows, failing.to_vec()), "{verdict:?}");
    let bytewise = read(Some(format), text.as_ref(), &vec![1; text.as_ref().len()]);
    assert_eq!(verdict, bytewise);
}

#[test]
fn csv_as_it_should_be() {
    use Format::Csv;
    text(Csv, "phone,name\n13800138000,a\n9998,b\n", Some(2), &[]);
    text(Csv, "phone,name\r\n13800138000,a\r\n9998,b", Some(2), &[]);
    text(Csv, "\u{feff}phone,name\n+8613800138000,张三\n\n,,,\n", Some(1), &[]);
    text(Csv, "\"phone\",\"name\"\n\"13800138000\",\"a, \"\"b\"\"\nc\"\n9998,\n", Some(2), &[]);
    text(Csv, "phone, name ,,\n 138001 ,5\" pipe\n139001,x\n", Some(2), &[]);
    text(Csv, format!("phone,x\n138001,{}\n", "y".repeat(10_000)), Some(1), &[]);
    // 张三 and 𠀀 (four bytes) in GB18030, whose second bytes may be digits and letters
    text(Csv, b"phone,name\n138001,\xd5\xc5\xc8\xfd\n138002,\x95\x32\x82\x36\n", Some(2), &[]);
}

#[test]
fn txt_as_it_should_be() {
    use Format::Txt;
    text(Txt, "phone\n13800138000\n13800138001\n", Some(2), &[]);
    text(Txt, "phone\tname\n13800138000\ta,b\n", Some(1), &[]);
    text(Txt, "phone,name\n13800138000,a\n", Some(1), &[]);
}

#[test]
fn text_as_it_should_not_be() {
    use Format::{Csv, Excel, Txt};
    text(Csv, "13800138000\n13800138001\n", None, &["file_header"]);
    text(Csv, "号码,姓名\n13800138001,a\n", None, &["file_header"]);
    text(Csv, "phone,姓名\n13800138001,a\n", None, &["file_header"]);
    text(Csv, ",phone\n13800138001,a\n", None, &["file_header"]);
    text(Csv, "name,phone\na,13800138001\nb,1\n", Some(2), &["file_number"]);
    text(Csv, "phone\n1.38E+10\n\u{ff11}38001\n138 001\n12\n", Some(4), &["file_number"]);
    text(Csv, "phone\tname\n138001\ta\n", Some(1), &["file_format"]);
    text(Csv, "phone\n", Some(0), &["file_rows"]);
    text(Csv, "\n\n", None, &["file_header"]);
    text(Txt, "a", Some(0), &["file_rows"]);
    text(Csv, "phone,name\n138001,\"a\n138002,b\n", None, &["file_rows"]);
    text(Csv, b"phone\n138001\n\xff\xff\n", Some(2), &["file_encoding", "file_number"]);
    text(Csv, b"phone,x\n138001,\xd5\n", Some(1), &["file_encoding"]);
    text(Csv, b"\xef\xbb\xbfphone,x\n138001,\xd5\xc5\n", Some(1), &["file_encoding"]);
    text(Excel, "phone\n138001\n", None, &["file_format"]);
    let rows = |count| "phone\n".to_owned() + &"13800138000\n".repeat(count);
    let most = read(Some(Csv), rows(150_000).as_bytes(), &[]);
    assert_eq!(told(&most), (Some(150_000), vec![]));
    let more = read(Some(Csv), rows(150_001).as_bytes(), &[]);
    assert_eq!(told(&more), (None, vec!["file_rows"]));
}

#[test]
fn rows_that_fail_are_named() {
    let verdict = read(Some(Format::Csv), b"phone\n1\n138001\n\n2\n3\n4\n", &[]);
    assert_eq!(
        verdict.failures[0].msg,
        "has no number of 3 to 20 digits in its first column in rows 2, 5, 6 and 1 more"
    );
}

#[track_caller]
fn numbers(format: Format, bytes: impl AsRef<[u8]>, expected: &[(u32, &str)]) {
    let (verdict, found) = read_all(Some(format), bytes.as_ref(), &[7, 1, 30]);
    let mut rows: Vec<_> = found.rows.iter().map(|(row, number)| (*row, number.as_str())).collect();
    rows.sort_unstable();
    assert_eq!((rows, found.unreadable), (expected.to_vec(), false), "{verdict:?}");
}

#[test]
fn numbers_are_told_with_their_rows() {
    use Format::{Csv, Excel, Txt};
    let csv = "\u{feff}phone,name\r\n13800138000,\"a\nb\"\r\n\n \"+8613800138001\" ,\n,nobody\nx,\n9998";
    numbers(Csv, csv, &[(2, "13800138000"), (4, "+8613800138001"), (6, "x"), (7, "9998")]);
    numbers(
        Csv,
        b"phone,name\n138001,\xd5\xc5\xc8\xfd\n138002,\x95\x32\x82\x36\n",
        &[(2, "138001"), (3, "138002")],
    );
    numbers(Txt, "phone\n1\n1", &[(2, "1"), (3, "1")]);
    numbers(Txt, "a\n1", &[(2, "1")]);
    // A header that the document would not have is one all the same.
    numbers(Txt, "号码\t姓名\n138001\t张\n", &[(2, "138001")]);
    let rows = r#"<row r="2"><c r="A2" t="s"><v>2</v></c></row><row r="9"><c r="A9"><v>1.3800138001E10</v></c></row>
        <row><c t="s"><v>2</v></c></row><row><c t="inlineStr"><is><t>9998</t></is></c></row>
        <row><c t="s"><v>3</v></c></row><row><c t="b"><v>1</v></c></row><row><c><v>1.5</v></c></row>
        <row><c t="s"><v>99</v></c></row><row><c r="B17"><v>138001</v></c></row>"#;
    let expected = [
        (2, "13800138000"),
        (9, "13800138001"),
        (10, "13800138000"),
        (11, "9998"),
        (12, "nobody"),
        (14, "1.5"),
    ];
    numbers(Excel, workbook(&format!("{HEAD}{rows}"), SHARED), &expected);
}

#[test]
fn what_can_not_be_read_in_one_way_is_said() {
    use Format::{Csv, Excel};
    let long = "phone\n".to_owned() + &"13800138000\n".repeat(150_001);
    let wide = workbook(&format!("{HEAD}{}", "<row><c><v>138001</v></c></row>".repeat(150_001)), SHARED);
    let book = workbook(HEAD, SHARED);
    for (format, bytes) in [
        (Csv, &b""[..]),
        (Csv, b"phone,x\n138001,\"a\n138002,b\n"),
        (Csv, b"phone,x\n138001,\xd5\n"),
        (Csv, b"\xff\xfep\0\n\x001\x003\x008\0"),
        (Csv, long.as_bytes()),
        (Csv, &book),
        (Excel, b"phone\n138001\n"),
        (Excel, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
        (Excel, &book[..book.len() - 30]),
        (Excel, &wide),
    ] {
        let (verdict, found) = read_all(Some(format), bytes, &[]);
        assert!(found.unreadable, "{verdict:?}");
    }
}

#[test]
fn an_old_workbook_is_named() {
    let verdict = read(Some(Format::Excel), b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", &[]);
    assert!(verdict.failures[0].msg.contains(".xls of before 2007"), "{verdict:?}");
}

/// A zip archive of these entries.
fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in entries {
        let mut packer = DeflateEncoder::new(Vec::new(), Compression::fast());
        packer.write_all(content).unwrap();
        let packed = packer.finish().unwrap();
        let length = |length: usize| u32::try_from(length).unwrap().to_le_bytes();
        let at = length(file.len());
        let common = [
            &[20, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0][..],
            &length(packed.len()),
            &length(content.len()),
            &length(name.len())[..2],
            &[0, 0],
        ]
        .concat();
        file.extend([&b"PK\x03\x04"[..], &common, name.as_bytes(), &packed].concat());
        directory.extend([&b"PK\x01\x02\x14\x00"[..], &common, &[0; 10], &at, name.as_bytes()].concat());
    }
    let length = |length: usize| u32::try_from(length).unwrap().to_le_bytes();
    let count = &length(entries.len())[..2];
    let end =
        [&b"PK\x05\x06\0\0\0\0"[..], count, count, &length(directory.len()), &length(file.len()), &[0, 0]];
    [&file[..], &directory, &end.concat()].concat()
}

const WORKBOOK: &[u8] = br#"<?xml version="1.0"?><workbook xmlns:r="x"><!-- <sheet r:id="no"/> --><sheets><sheet name="a>b" sheetId="1" r:id="rId7"/><sheet name="2" r:id="rId1"/></sheets></workbook>"#;
const RELATIONS: &[u8] = br#"<Relationships><Relationship Id="rId1" Target="worksheets/other.xml"/><Relationship Target="worksheets/sheet1.xml" Id="rId7"/></Relationships>"#;

fn workbook(rows: &str, shared: &str) -> Vec<u8> {
    let sheet = format!("<worksheet><cols><col min=\"1\"/></cols><sheetData>{rows}</sheetData></worksheet>");
    let shared = format!("<sst>{shared}</sst>");
    archive(&[
        ("xl/workbook.xml", WORKBOOK),
        ("xl/_rels/workbook.xml.rels", RELATIONS),
        ("xl/worksheets/sheet1.xml", sheet.as_bytes()),
        ("xl/sharedStrings.xml", shared.as_bytes()),
    ])
}

#[track_caller]
fn book(rows: &str, shared: &str, expected: Option<u32>, failing: &[&str]) {
    let verdict = read(Some(Format::Excel), &workbook(rows, shared), &[2, 1, 50]);
    assert_eq!(told(&verdict), (expected, failing.to_vec()), "{verdict:?}");
}

const HEAD: &str = r#"<row r="1"><c r="A1" t="s"><v>0</v></c><c r="B1" t="s"><v>1</v></c></row>"#;
const SHARED: &str = "<si><t>phone</t></si><si><r><t>na</t></r><r><t>me</t></r><rPh><t>拼</t></rPh></si>\
                      <si><t xml:space=\"preserve\"> 13800138000</t></si><si><t>nobody</t></si><si/>";

#[test]
fn workbooks_as_they_should_be() {
    let rows = r#"<row r="2"><c r="A2"><v>13800138000</v></c><c r="B2" t="s"><v>3</v></c></row>
        <row r="3"><c r="A3" t="s"><v>2</v></c></row><row r="4"/>
        <x:row r="5"><x:c r="A5" t="inlineStr"><x:is><x:t>9998</x:t></x:is></x:c></x:row>
        <row r="6"><c r="A6"><v>1.3800138001E10</v></c></row><row r="7"><c r="A7" s="1"/><c r="B7"><v></v></c></row>
        <row><c><f>A2&amp;1</f><v><![CDATA[13800138002]]></v></c></row>"#;
    book(&format!("{HEAD}{rows}"), SHARED, Some(5), &[]);
}

#[test]
fn workbooks_as_they_should_not_be() {
    book(HEAD, SHARED, Some(0), &["file_rows"]);
    book("", SHARED, None, &["file_header"]);
    book("<row><c><v>13800138000</v></c></row><row><c><v>138001</v></c></row>", "", None, &["file_header"]);
    book(
        r#"<row><c t="s"><v>3</v></c></row><row><c><v>138001</v></c></row>"#,
        "<si><t>号</t></si>",
        None,
        &["file_header"],
    );
    let rows = r#"<row r="2"><c t="s"><v>3</v></c></row><row r="3"><c r="B3"><v>138001</v></c></row>
        <row r="4"><c t="b"><v>1</v></c></row><row r="5"><c><v>1.5</v></c></row><row r="6"><c t="s"><v>99</v></c></row>"#;
    book(&format!("{HEAD}{rows}"), SHARED, Some(5), &["file_number"]);
    let rows = r"<row><c><v>13800138000</v></c></row>".repeat(150_001);
    book(&format!("{HEAD}{rows}"), SHARED, None, &["file_rows"]);
}

#[test]
fn rows_that_are_never_closed_count() {
    let rows = |count| format!("{HEAD}{}", "<row><c t=\"s\"><v>2</v></c>".repeat(count));
    book(&rows(3), SHARED, Some(3), &[]);
    let verdict = read(Some(Format::Excel), &workbook(&rows(150_001), SHARED), &[]);
    assert_eq!(verdict, Verdict { rows: None, failures: vec![too_many_rows()] });
}

#[test]
fn what_is_no_workbook() {
    let good = workbook(HEAD, SHARED);
    for broken in [&good[..good.len() - 30], &archive(&[("a.txt", b"x")]), b"PK\x03\x04"] {
        let verdict = read(Some(Format::Excel), broken, &[]);
        assert_eq!(told(&verdict), (None, vec!["file_format"]), "{verdict:?}");
    }
    assert_eq!(told(&read(Some(Format::Csv), &good, &[])), (None, vec!["file_format"]));
}

#[test]
fn a_bomb_is_let_alone() {
    const BUDGET: u64 = 100_000;
    let unpack = |file: &[u8]| {
        let (mut budget, mut seen) = (BUDGET, 0);
        let mut archive = zip::Archive::open(Cursor::new(file)).unwrap_or_else(|_| panic!("an archive"));
        let unpacked = archive.unpack(b"a", &mut budget, |bytes| {
            seen += bytes.len() as u64;
            ControlFlow::Continue(())
        });
        assert_eq!(unpacked, Err(zip::Unreadable::TooLarge));
        seen
    };
    let mut bomb = archive(&[("a", &vec![b' '; 1_000_000])]);
    assert!(bomb.len() < 20_000);
    assert_eq!(unpack(&bomb), 0, "it says what it is");
    let entry = memchr::memmem::rfind(&bomb, b"PK\x01\x02").unwrap();
    bomb[entry + 24..entry + 28].copy_from_slice(&[10, 0, 0, 0]);
    assert!(unpack(&bomb) <= BUDGET, "it says that it is small");
}

/// Tags and texts, what is next to each other put together.
#[derive(Default)]
struct Seen(Vec<(bool, Vec<u8>)>);

impl Handler for Seen {
    fn tag(&mut self, tag: &[u8]) {
        self.0.push((true, tag.to_vec()));
    }

    fn text(&mut self, text: &[u8]) {
        match self.0.last_mut() {
            Some((false, last)) => last.extend_from_slice(text),
            _ => self.0.push((false, text.to_vec())),
        }
    }
}

fn lines() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        3 => Just(b"phone,name\n".to_vec()),
        6 => Just(b"13800138000".to_vec()),
        4 => prop::sample::select(b",,\t\n\n\r\" ".to_vec()).prop_map(|byte| vec![byte]),
        2 => Just("张\u{20000}".as_bytes().to_vec()),
        2 => Just(b"\xd5\xc5\x95\x32\x82\x36".to_vec()),
        1 => Just(b"\xef\xbb\xbf".to_vec()),
        1 => Just(vec![b'7'; 90]),
        1 => Just(vec![b'h'; 5000]),
        1 => prop::collection::vec(any::<u8>(), 0..6),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn cuts_make_no_difference(
        bytes in lines(),
        cuts in prop_oneof![prop::collection::vec(any::<usize>(), 0..12), prop::collection::vec(1..4_usize, 0..300)],
        txt: bool,
    ) {
        let format = Some(if txt { Format::Txt } else { Format::Csv });
        prop_assert_eq!(read_all(format, &bytes, &[]), read_all(format, &bytes, &cuts));
    }

    #[test]
    fn rows_are_counted(names in prop::collection::vec("[a-z张 ]{0,9}", 1..40)) {
        let rows = names.iter().fold(String::new(), |rows, name| rows + "13800138000,\"" + name + "\"\n");
        let verdict = read(Some(Format::Csv), format!("phone,name\n{rows}").as_bytes(), &[]);
        prop_assert_eq!(verdict, Verdict { rows: Some(u32::try_from(names.len()).unwrap()), failures: Vec::new() });
    }

    #[test]
    fn text_in_either_encoding_is_known(text in "\\PC{0,40}", cuts in prop::collection::vec(any::<usize>(), 0..6)) {
        let bytes = format!("phone,x\n138001,\"{}\"\n", text.replace('"', ""));
        let verdict = read(Some(Format::Csv), bytes.as_bytes(), &cuts);
        prop_assert!(verdict.failures.is_empty(), "{:?}", verdict);
    }

    #[test]
    fn xml_means_the_same_however_it_is_cut(
        pieces in prop::collection::vec(
            prop::sample::select(vec![
                "<c r=\"A1\">", "</c>", "<v/>", "<!--", "-->", "<![CDATA[", "]]>", "<?", "?>", "<!", "a>b", "'", "\"", "]", "-", "<",
            ]),
            0..20,
        ),
        cuts in prop::collection::vec(any::<usize>(), 0..12),
    ) {
        let text = pieces.concat();
        let (mut whole, mut cut) = (Seen::default(), Seen::default());
        Tokens::default().feed(text.as_bytes(), &mut whole);
        let (mut tokens, mut rest) = (Tokens::default(), text.as_bytes());
        for at in cuts {
            let (head, after) = rest.split_at(at % (rest.len() + 1));
            tokens.feed(head, &mut cut);
            rest = after;
        }
        tokens.feed(rest, &mut cut);
        prop_assert_eq!(whole.0, cut.0);
    }

    #[test]
    fn a_damaged_workbook_does_no_harm(at in any::<prop::sample::Index>(), byte: u8) {
        let mut book = workbook(HEAD, SHARED);
        let at = at.index(book.len());
        book[at] = byte;
        xlsx(Cursor::new(&book), &mut ());
    }
}
