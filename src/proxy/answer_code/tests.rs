use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

fn coding(name: &'static str) -> HeaderValue {
    HeaderValue::from_static(name)
}

/// Feeds `body` cut at `cuts`, each taken modulo what is left.
fn read(encoding: Option<&'static str>, mut body: &[u8], cuts: &[usize]) -> CodeReader {
    let mut reader = CodeReader::new(encoding.map(coding).as_ref());
    for cut in cuts {
        let (head, rest) = body.split_at(cut % (body.len() + 1));
        reader.feed(head);
        body = rest;
    }
    reader.feed(body);
    reader
}

fn code(text: &str) -> Option<i64> {
    read(None, text.as_bytes(), &[]).code()
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn encoded(encoding: Option<&str>, text: &[u8]) -> Vec<u8> {
    match encoding {
        Some("gzip") => gzip(text),
        Some("deflate") => {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        }
        _ => text.to_vec(),
    }
}

#[test]
fn what_is_a_code() {
    for (text, expected) in [
        (r#"{"code":0,"msg":"success"}"#, Some(0)),
        ("\r\n{\n \"code\" : -174791 ,\"msg\":\"错误消息\"}", Some(-174_791)),
        (r#"{"msg":"code","result":{"code":1,"a":[{"code":2}]},"code":3}"#, Some(3)),
        (r#"{"msg":"\"code\":7,\\","code":8}"#, Some(8)),
        (r#"{"code":"0"}"#, Some(0)),
        (r#"{"code":"-12"}"#, Some(-12)),
        (r#"{"c\u006fde":5}"#, Some(5)),
        (r#"{"code":9223372036854775807}"#, Some(i64::MAX)),
        (r#"{"code":-9223372036854775808}"#, Some(i64::MIN)),
        // a reader of statistics need not mind how it goes on
        (r#"{"code":1,"#, Some(1)),
        (r#"{"code":9223372036854775808}"#, None),
        (r#"{"code":1.5}"#, None),
        (r#"{"code":1e3}"#, None),
        (r#"{"code":"1x"}"#, None),
        (r#"{"code":"1-2"}"#, None),
        (r#"{"code":""}"#, None),
        (r#"{"code":-}"#, None),
        (r#"{"code":null}"#, None),
        (r#"{"code":{"code":1}}"#, None),
        (r#"{"codes":1,"Code":2,"cod":3,"c\node":4}"#, None),
        (r#"{"code":12"#, None),
        (r#"[{"code":1}]"#, None),
        ("<html>", None),
        ("{}", None),
        ("", None),
    ] {
        assert_eq!(code(text), expected, "{text}");
    }
}

#[test]
fn it_stops_where_the_rest_makes_no_difference() {
    for text in [r#"{"code":0,"#, "<", "{}", r#"{"msg":""}"#, r#"{"code":null"#] {
        assert!(read(None, text.as_bytes(), &[]).done(), "{text}");
    }
    for text in ["", " ", r#"{"msg":"#, r#"{"code":0"#] {
        assert!(!read(None, text.as_bytes(), &[]).done(), "{text}");
    }
    assert!(CodeReader::new(Some(&coding("br"))).done());
    assert!(CodeReader::new(Some(&coding("gzip, br"))).done());
    assert!(!CodeReader::new(Some(&coding("Identity"))).done());
}

#[test]
fn it_gives_up() {
    let padded = |length: usize| format!(r#"{{"a":"{}","code":1}}"#, "x".repeat(length)).into_bytes();
    for encoding in [None, Some("gzip"), Some("deflate")] {
        assert_eq!(read(encoding, &encoded(encoding, &padded(60_000)), &[]).code(), Some(1));
        let reader = read(encoding, &encoded(encoding, &padded(70_000)), &[]);
        assert_eq!((reader.code(), reader.done()), (None, true), "{encoding:?}");
    }
    // a bomb: 64 MiB, of which 64 KiB are looked at
    assert!(read(Some("gzip"), &gzip(&vec![b' '; 64 << 20]), &[]).done());
    assert!(read(Some("gzip"), b"{\"code\":0}", &[]).done());
    assert!(read(Some("deflate"), b"{\"code\":0}", &[]).done());
    // a header without end
    let endless = [&[0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 0][..], &vec![b'n'; 70_000]].concat();
    assert!(read(Some("gzip"), &endless, &[]).done());
}

#[test]
fn gzip_with_all_of_its_fields_and_deflate_without_any() {
    let body = br#"{"msg":"success","code":4}"#;
    let plain = gzip(body);
    let mut full = plain[..10].to_vec();
    full[3] = 2 | 4 | 8 | 16;
    full.extend_from_slice(b"\x03\x00abcname\0comment\0\x12\x34");
    full.extend_from_slice(&plain[10..]);
    let mut raw = DeflateEncoder::new(Vec::new(), Compression::best());
    raw.write_all(body).unwrap();
    let raw = raw.finish().unwrap();
    for cut in 0..full.len() {
        assert_eq!(read(Some("x-gzip"), &full, &[cut]).code(), Some(4));
    }
    for cut in 0..raw.len() {
        assert_eq!(read(Some("deflate"), &raw, &[cut]).code(), Some(4));
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        "[\\PC\"\\\\{}\\[\\],:\n]{0,12}".prop_map(Value::from),
        "-?[1-9][0-9]{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            object(inner).prop_map(Value::from),
        ]
    })
}

fn object(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
    let key = prop_oneof![3 => Just("code".to_owned()), 1 => "[cC]od[eE]?s?", 4 => "[\\PC\"\\\\]{0,6}"];
    prop::collection::vec((key, value), 0..6).prop_map(|entries| entries.into_iter().collect())
}

fn expected(object: &Map<String, Value>) -> Option<i64> {
    match object.get("code")? {
        Value::String(digits) => digits.parse().ok(),
        value => value.as_i64(),
    }
}

fn encoding() -> impl Strategy<Value = Option<&'static str>> {
    prop_oneof![Just(None), Just(Some("gzip")), Just(Some("deflate"))]
}

proptest! {
    #[test]
    fn it_reads_what_serde_json_reads(
        object in object(value()),
        pretty: bool,
        encoding in encoding(),
        cuts in prop::collection::vec(any::<usize>(), 0..6),
    ) {
        let text = if pretty { serde_json::to_vec_pretty(&object) } else { serde_json::to_vec(&object) }.unwrap();
        let reader = read(encoding, &encoded(encoding, &text), &cuts);
        prop_assert_eq!(reader.code(), expected(&object));
        prop_assert!(reader.done());
    }

    #[test]
    fn cuts_make_no_difference(
        body in "[\\{\\}\\[\\]\":,\\\\ code0-9u-]{0,60}",
        encoding in encoding(),
        compressed: bool,
        cuts in prop::collection::vec(any::<usize>(), 0..12),
    ) {
        let body = if compressed { encoded(encoding, body.as_bytes()) } else { body.into_bytes() };
        let (whole, cut) = (read(encoding, &body, &[]), read(encoding, &body, &cuts));
        prop_assert_eq!((whole.code(), whole.done()), (cut.code(), cut.done()));
    }

    #[test]
    fn any_bytes_do(
        body in prop::collection::vec(any::<u8>(), 0..300),
        encoding in encoding(),
        gzip_head: bool,
        cuts in prop::collection::vec(any::<usize>(), 0..4),
    ) {
        let head: &[u8] = if gzip_head { &[0x1f, 0x8b, 8] } else { b"{\"" };
        let body = [head, &body].concat();
        let (whole, cut) = (read(encoding, &body, &[]), read(encoding, &body, &cuts));
        prop_assert_eq!((whole.code(), whole.done()), (cut.code(), cut.done()));
    }
}
