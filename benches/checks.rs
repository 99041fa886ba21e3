//! What the request checks cost: a JSON body, and a list of the most numbers there can be.

use std::hint::black_box;
use std::io::{Cursor, Write};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flate2::Compression;
use flate2::write::DeflateEncoder;
use xinyao_gateway::store::{LedgerKey, SentNumbers, SentRow};
use xinyao_gateway::xinyao::number_file::{Format, NumberFile, Numbers, xlsx};
use xinyao_gateway::xinyao::{Endpoint, checks};

const ROWS: usize = 150_000;

fn json(criterion: &mut Criterion) {
    for endpoint in [Endpoint::AddTask, Endpoint::BotdmTrigger] {
        let spec = endpoint.spec();
        criterion.bench_function(&format!("json/{}", spec.name), |bencher| {
            bencher.iter(|| checks::json(endpoint, black_box(spec.example.as_bytes())));
        });
    }
}

fn csv(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("csv");
    for (name, text) in [("ascii", "Mr Zhang San,sir,2341.25"), ("utf-8", "张三压测,先生,2341.25")] {
        let rows = (0..ROWS).map(|row| format!("138{row:08},{text}\n"));
        let file: String = std::iter::once("phone,name,sex,fees\n".to_owned()).chain(rows).collect();
        group.throughput(Throughput::Bytes(file.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut scan = NumberFile::default();
                for chunk in file.as_bytes().chunks(16 * 1024) {
                    scan.feed(black_box(chunk), &mut ());
                }
                let verdict = scan.finish(Some(Format::Csv), None, &mut ());
                assert_eq!(verdict.rows, u32::try_from(ROWS).ok());
                assert!(verdict.failures.is_empty());
            });
        });
    }
}

/// What the ledger wants of a file.
struct Digests(LedgerKey, Vec<SentRow>);

impl Numbers for Digests {
    fn number(&mut self, row: u32, number: &[u8]) {
        self.1.push(SentNumbers::row(row, self.0.number(number)));
    }

    fn unreadable(&mut self) {}
}

fn digests(criterion: &mut Criterion) {
    let rows = (0..ROWS).map(|row| format!("138{row:08},Mr Zhang San,sir,2341.25\n"));
    let file: String = std::iter::once("phone,name,sex,fees\n".to_owned()).chain(rows).collect();
    criterion.bench_function("csv/ascii, digested", |bencher| {
        bencher.iter(|| {
            let (mut scan, mut digests) = (NumberFile::default(), Digests(LedgerKey([7; 32]), Vec::new()));
            for chunk in file.as_bytes().chunks(16 * 1024) {
                scan.feed(black_box(chunk), &mut digests);
            }
            scan.finish(Some(Format::Csv), None, &mut digests);
            assert_eq!(digests.1.len(), ROWS);
        });
    });
}

/// A workbook as Excel writes it: numbers as numbers, everything else as shared texts.
fn workbook(criterion: &mut Criterion) {
    let head = r#"<row r="1"><c r="A1" t="s"><v>0</v></c><c r="B1" t="s"><v>1</v></c><c r="C1" t="s"><v>1</v></c><c r="D1" t="s"><v>1</v></c></row>"#;
    let mut sheet = format!("<worksheet><sheetData>{head}");
    let mut shared = "<sst><si><t>phone</t></si><si><t>name</t></si>".to_owned();
    for row in 0..ROWS {
        let (at, text) = (row + 2, row * 2 + 2);
        sheet += &format!(
            r#"<row r="{at}"><c r="A{at}" t="s"><v>{text}</v></c><c r="B{at}" t="s"><v>{}</v></c><c r="C{at}" t="s"><v>1</v></c><c r="D{at}"><v>2341.25</v></c></row>"#,
            text + 1
        );
        shared += &format!("<si><t>138{row:08}</t></si><si><t>张三{row}</t></si>");
    }
    let book = archive(&[
        ("xl/workbook.xml", r#"<workbook><sheets><sheet name="a" r:id="rId1"/></sheets></workbook>"#),
        (
            "xl/_rels/workbook.xml.rels",
            r#"<Relationships><Relationship Id="rId1" Target="worksheets/sheet1.xml"/></Relationships>"#,
        ),
        ("xl/worksheets/sheet1.xml", &(sheet + "</sheetData></worksheet>")),
        ("xl/sharedStrings.xml", &(shared + "</sst>")),
    ]);
    let mut group = criterion.benchmark_group("xlsx");
    group.sample_size(10);
    group.bench_function("150,000 rows", |bencher| {
        bencher.iter(|| {
            let verdict = xlsx(Cursor::new(black_box(&book)), &mut ());
            assert_eq!(verdict.rows, u32::try_from(ROWS).ok());
            assert!(verdict.failures.is_empty());
        });
    });
}

/// A zip archive of these entries.
fn archive(entries: &[(&str, &str)]) -> Vec<u8> {
    let word = |number: usize| u32::try_from(number).expect("small").to_le_bytes();
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in entries {
        let mut packer = DeflateEncoder::new(Vec::new(), Compression::default());
        packer.write_all(content.as_bytes()).expect("memory takes it");
        let packed = packer.finish().expect("memory takes it");
        let sizes = [word(packed.len()), word(content.len()), word(name.len())].concat();
        let common = [&[20, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &sizes].concat();
        let at = word(file.len());
        directory.extend([&b"PK\x01\x02\x14\x00"[..], &common, &[0; 10], &at, name.as_bytes()].concat());
        file.extend([&b"PK\x03\x04"[..], &common, name.as_bytes(), &packed].concat());
    }
    let count = &word(entries.len())[..2];
    let place = [word(directory.len()), word(file.len())].concat();
    [&file[..], &directory, b"PK\x05\x06\0\0\0\0", count, count, &place, &[0, 0]].concat()
}

criterion_group!(benches, json, csv, digests, workbook);
criterion_main!(benches);
