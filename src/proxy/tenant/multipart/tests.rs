use proptest::prelude::*;

use super::*;

const PLAIN: &str = "multipart/form-data; boundary=XbX";
const QUOTED: &str = "multipart/form-data; boundary=\"XbX\"";

fn scan(content_type: &str, ids: &[&str]) -> Result<MultipartScan, Denied> {
    let tenants = Tenants::new(&ids.iter().map(|&id| id.to_owned()).collect::<Vec<_>>());
    MultipartScan::new(&HeaderValue::from_str(content_type).unwrap(), Arc::new(tenants))
}

/// The verdict on `body`, cut at `cuts`, each taken modulo what is left; and whether a tenant was seen.
fn verdict(mut scan: MultipartScan, mut body: &[u8], cuts: &[usize]) -> Result<bool, Denied> {
    for cut in cuts {
        let (head, rest) = body.split_at(cut % (body.len() + 1));
        let fed = scan.feed(head);
        assert!(fed.is_ok() || scan.feed(b"") == fed, "a verdict stands");
        body = rest;
    }
    let fed = scan.feed(body);
    let finished = scan.finish();
    assert!(fed.is_ok() || finished == fed, "a verdict stands");
    assert!(scan.pending.capacity() <= 4 * MAX_HEAD, "memory is bounded");
    finished.map(|()| scan.seen())
}

fn read(content_type: &str, body: &str) -> Result<bool, Denied> {
    let whole = verdict(scan(content_type, &["1", "200000000"]).unwrap(), body.as_bytes(), &[]);
    let bytewise =
        verdict(scan(content_type, &["1", "200000000"]).unwrap(), body.as_bytes(), &vec![1; body.len()]);
    assert_eq!(whole, bytewise, "{body}");
    whole
}

/// A part's head and body as one body, all lines as they should be.
fn alone(head: &str, value: &str) -> String {
    format!("--XbX\r\n{head}\r\n\r\n{value}\r\n--XbX--\r\n")
}

fn field(name: &str, value: &str) -> String {
    format!("--XbX\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
}

const FILE: &str = "--XbX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"号码名单.csv\"; \
                    filename*=UTF-8''号码名单.csv\r\nContent-Type: text/csv\r\n\r\nphone\r\n13800000000\r\n";

fn unreadable<T>(verdict: Result<T, Denied>) -> bool {
    matches!(verdict, Err(Denied::Unreadable(_)))
}

#[test]
fn what_clients_send() {
    let tail = format!("{}{FILE}--XbX--\r\n", field("call_count", "1"));
    for (content_type, body) in [
        (PLAIN, field("app_id", "200000000") + &tail),
        (PLAIN, FILE.to_owned() + &field("app_id", "1") + "--XbX--"),
        (PLAIN, "\r\n".to_owned() + &field("APP_ID", "1") + &tail),
        (PLAIN, field("appId", "1") + &tail),
        ("Multipart/Form-Data;charset=utf-8 ;Boundary=XbX", field("app_id", "1") + &tail),
        // .NET
        (
            QUOTED,
            "--XbX\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; name=app_id\r\n\r\n1\r\n"
                .to_owned()
                + &tail,
        ),
        // okhttp, Apache
        (
            PLAIN,
            "--XbX\r\ncontent-disposition: FORM-DATA;name=\"app_id\"\r\nContent-Length: 1\r\n\
             Content-Transfer-Encoding: 8bit\r\n\r\n1\r\n"
                .to_owned()
                + &tail,
        ),
    ] {
        assert_eq!(read(content_type, &body), Ok(true), "{body}");
    }
    assert_eq!(read(PLAIN, &tail), Ok(false));
    assert_eq!(
        read(PLAIN, &alone("Content-Disposition: form-data; name=\"file\"; filename=\"a\\\\b.csv\"", "")),
        Ok(false)
    );
    assert_eq!(read(PLAIN, "--XbX--\r\n"), Ok(false));
}

#[test]
fn what_names_another_tenant_or_two() {
    let end = "--XbX--\r\n";
    for id in ["2", "", " 1", "1 ", "01", "1\r\n", "1\0", "１"] {
        assert_eq!(read(PLAIN, &(field("app_id", id) + end)), Err(Denied::Foreign), "{id}");
    }
    for name in
        ["App_ID", "app-id", "app.id", "app id", " app_id", "app_id[]", "app_id[0]", "app[id", "app_ıd"]
    {
        assert_eq!(read(PLAIN, &(field(name, "2") + end)), Err(Denied::Foreign), "{name}");
        let both = field("app_id", "1") + FILE + &field(name, "1") + end;
        assert_eq!(read(PLAIN, &both), Err(Denied::Twice), "{name}");
    }
    let replaced =
        [field("app_id", "").strip_suffix("\r\n").unwrap().as_bytes(), b"\xff\r\n--XbX--"].concat();
    assert_eq!(verdict(scan(PLAIN, &["\u{fffd}"]).unwrap(), &replaced, &[]), Err(Denied::Foreign));
}

#[test]
fn heads_that_can_be_read_in_two_ways() {
    let good = "Content-Disposition: form-data; name=\"x\"";
    assert_eq!(read(PLAIN, &alone(good, "v")), Ok(false));
    for head in [
        "X: y",
        "Content-Disposition: form-data",
        "Content-Disposition: form-data;",
        "Content-Disposition: form-data; name",
        "Content-Disposition: form-data; name=",
        "Content-Disposition: form-data; name=\"x",
        "Content-Disposition: form-data; name=\"x\";",
        "Content-Disposition: form-data; name=\"x\" y",
        "Content-Disposition: form-data; name = \"x\"",
        "Content-Disposition: form-data name=\"x\"",
        "Content-Disposition: attachment; name=\"x\"",
        "Content-Disposition: form-data; name=\"x\"; name=\"app_id\"",
        "Content-Disposition: form-data; name=\"x\"; Name=\"x\"",
        "Content-Disposition: form-data; name=\"x\"; name*=UTF-8''app_id",
        "Content-Disposition: form-data; name*=UTF-8''app_id",
        "Content-Disposition: form-data; name*0=app; name*1=_id",
        "Content-Disposition: form-data; filename=\"app_id\"; name=\"file\"",
        "Content-Disposition: form-data; name=\"file\"; filename=\"a\"; filename=\"b\"",
        "Content-Disposition: form-data; name=\"file\"; filename=\"; name=app_id; x\"",
        "Content-Disposition: form-data; name=\"file\"; filename=\"\\\"; name=\"app_id\"",
        "Content-Disposition: form-data; name=\"file\"; filename=\"号\\\\\"",
        "Content-Disposition: form-data; name=\"app_\\id\"",
        "Content-Disposition: form-data; name=\"%61pp_id\"",
        "Content-Disposition: form-data; name=\"=?utf-8?B?YXBwX2lk?=\"",
        "Content-Disposition: form-data; name=\"app_id\0x\"",
        "Content-Disposition: form-data; name=\"app_id\"; filename=\"x\"",
        "Content-Disposition: form-data; name=\"app_id\"; filename*=UTF-8''x",
        "Content-Disposition: form-data; name=\"x\"\r\nContent-Disposition: form-data; name=\"app_id\"",
        "Content-Disposition : form-data; name=\"x\"",
        " Content-Disposition: form-data; name=\"x\"",
        "Content-Disposition: form-data;\r\n name=\"x\"",
        "Content-Disposition: form-data; name=\"x\"\r\n\tX: y",
        "Content-Disposition: form-data; name=\"x\"\nX: y",
        "Content-Disposition: form-data; name=\"x\"\rX: y",
        "Content-Disposition: form-data; name=\"x\"\n\nContent-Disposition: form-data; name=\"app_id\"",
        "Content-Disposition: form-data; name=\"x\"\r\n--XbX",
        "Content-Disposition: form-data; name=\"x\"\r\nX: --XbX",
        "Content-Disposition: form-data; name=\"x\"\r\nContent-Transfer-Encoding: base64",
        "Content-Disposition: form-data; name=\"x\"\r\nContent-Type: multipart/mixed; boundary=y",
        "Content-Disposition: form-data; name=\"x\"\r\nContent-Type: a/b\r\nContent-Type: a/b",
        "Content-Disposition: form-data; name=\"x\"\r\nContent-Length: 2",
        "Content-Disposition: form-data; name=\"x\"\r\nContent-Length: +1",
        "Content-Disposition: form-data; name=\"x\"\r\nContent-Length:",
        "",
    ] {
        assert!(unreadable(read(PLAIN, &alone(head, "1"))), "{head}");
    }
}

#[test]
fn bodies_that_can_be_read_in_two_ways() {
    let part = field("app_id", "1");
    let inner = |content: &str| field("x", content) + "--XbX--\r\n";
    for body in [
        String::new(),
        part.clone(),
        part.clone() + "--XbX",
        part.clone() + "--XbX-",
        part.clone() + "--XbX--\r",
        part.clone() + "--XbX--\r\n\r\n",
        part.clone() + "--XbX--\n",
        part.clone() + "--XbX--x",
        part.clone() + "--XbX--\r\n" + &part,
        part.clone() + "--XbX \r\n",
        part.clone() + "--XbX\n",
        part.clone() + "--XbXy\r\n--XbX--",
        "preamble\r\n".to_owned() + &part + "--XbX--",
        "\r\n\r\n".to_owned() + &part + "--XbX--",
        "\n".to_owned() + &part + "--XbX--",
        inner("a\n--XbX\nContent-Disposition: form-data; name=\"app_id\"\n\n2\n"),
        inner("a\r--XbX\r\n"),
        inner("a--XbX--"),
        inner("a\r\n---XbX--"),
        alone("Content-Disposition: form-data; name=\"x\"", "").replacen("\r\n\r\n\r\n", "\r\n\r\n", 1),
        alone(&format!("Content-Disposition: form-data; name=\"x\"\r\nX: {}", "y".repeat(MAX_HEAD)), ""),
        field("app_id", &"1".repeat(MAX_ID + 1)) + "--XbX--",
        field("x", "").repeat(MAX_PARTS + 1) + "--XbX--",
    ] {
        assert!(unreadable(read(PLAIN, &body)), "{body}");
    }
    assert_eq!(read(PLAIN, &inner("XbX --Xb \r\n--Xb\r\n\r\n--")), Ok(false));
    assert!(unreadable(read(QUOTED, &inner("\r\n--\"XbX\"\r\n"))));
    assert_eq!(read(PLAIN, &(field("x", "").repeat(MAX_PARTS) + "--XbX--")), Ok(false));
    assert_eq!(read(PLAIN, &(field("app_id", &"2".repeat(MAX_ID)) + "--XbX--")), Err(Denied::Foreign));
}

#[test]
fn content_types() {
    for bad in [
        "application/json",
        "multipart/mixed; boundary=x",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=\"\"",
        "multipart/form-data; boundary=x; boundary=x",
        "multipart/form-data; boundary=x; boundary=y",
        "multipart/form-data; boundary*=x",
        "multipart/form-data; boundary = x",
        "multipart/form-data; boundary=x y",
        "multipart/form-data; boundary=\"x y\"",
        "multipart/form-data; boundary=\"x\\y\"",
        "multipart/form-data; boundary=\"x\"y",
        "multipart/form-data; boundary=\"x",
        "multipart/form-data; boundary=x,y",
        "multipart/form-data; boundary=x;",
        "multipart/form-data; boundary=x; charset=gbk",
        "multipart/form-data, multipart/form-data; boundary=x",
        "multipart/form-data; boundary=------",
    ] {
        assert!(unreadable(scan(bad, &["1"])), "{bad}");
        assert_eq!(verdict(scan(bad, &[]).unwrap(), b"anything", &[]), Ok(false));
    }
    let long = |length: usize| format!("multipart/form-data; boundary={}", "x".repeat(length));
    assert!(scan(&long(70), &["1"]).is_ok());
    assert!(unreadable(scan(&long(71), &["1"])));
    assert!(scan("multipart/form-data; boundary=\"----=_Part_1:/?.2\"", &["1"]).is_ok());
}

#[test]
fn an_app_without_a_list_is_held_to_one_tenant_only() {
    let any = |body: &str| verdict(scan(PLAIN, &[]).unwrap(), body.as_bytes(), &[]);
    assert_eq!(any(&(field("app_id", "7") + "--XbX--")), Ok(true));
    assert_eq!(any(&(field("app_id", "7") + &field("appid", "wx8") + "--XbX--")), Ok(true));
    assert_eq!(any("preamble\r\n"), Ok(false));
    assert_eq!(any(&field("x", "")), Ok(false));
    assert_eq!(any(&(field("app_id", "7") + &field("App_id", "7") + "--XbX--")), Err(Denied::Twice));
    let latin =
        [field("app_id", "").trim_end_matches("\r\n").as_bytes(), b"\r\n\r\n\xff\r\n--XbX--"].concat();
    assert_eq!(verdict(scan(PLAIN, &[]).unwrap(), &latin, &[]), Ok(true));
}

/// Lines that matter, in any order.
fn fragments() -> impl Strategy<Value = Vec<u8>> {
    let fragment = prop_oneof![
        6 => Just(b"\r\n--XbX\r\n".to_vec()),
        2 => Just(b"--XbX".to_vec()),
        2 => Just(b"\r\n--XbX--\r\n".to_vec()),
        4 => Just(b"Content-Disposition: form-data; name=\"app_id\"\r\n\r\n".to_vec()),
        4 => Just(b"Content-Disposition: form-data; name=\"x\"; filename=y\r\n\r\n".to_vec()),
        1 => Just(b"Content-Length: 1\r\n".to_vec()),
        2 => Just(b"1".to_vec()),
        1 => Just(b"\r\n".to_vec()),
        1 => Just(b"\n".to_vec()),
        1 => Just(b"-".to_vec()),
        1 => Just(vec![b'1'; 300]),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ];
    prop::collection::vec(fragment, 0..14).prop_map(|fragments| fragments.concat())
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![prop::collection::vec(any::<usize>(), 0..12), prop::collection::vec(1..5_usize, 0..200)]
}

/// Fields with content in which only the boundary itself is left out.
fn fields() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let content = prop::collection::vec(prop::sample::select(b"\r\n-Xb1\0".to_vec()), 0..60)
        .prop_filter("no boundary inside", |content| memmem::find(content, b"XbX").is_none());
    prop::collection::vec(("[a-z]{1,3}", content), 0..6)
}

/// What is told of a body's parts.
#[derive(Default)]
struct Told(Vec<(String, Vec<u8>)>);

impl Parts for Told {
    fn part(&mut self, name: &str, is_file: bool) {
        assert!(!is_file, "{name}");
        self.0.push((name.into(), Vec::new()));
    }

    fn data(&mut self, bytes: &[u8]) {
        self.0.last_mut().expect("a part has begun").1.extend_from_slice(bytes);
    }
}

proptest! {
    #[test]
    fn cuts_make_no_difference(body in fragments(), cuts in cuts(), quoted: bool, bound: bool) {
        let ids: &[&str] = if bound { &["1"] } else { &[] };
        let content_type = if quoted { QUOTED } else { PLAIN };
        let whole = verdict(scan(content_type, ids).unwrap(), &body, &[]);
        prop_assert_eq!(whole, verdict(scan(content_type, ids).unwrap(), &body, &cuts));
    }

    #[test]
    fn sound_bodies_are_read(fields in fields(), at in 0..6_usize, id in "[12]", cuts in cuts(), quoted: bool) {
        let mut fields = fields;
        fields.insert(at.min(fields.len()), ("app_id".into(), id.clone().into_bytes()));
        let mut body = Vec::new();
        for (name, content) in &fields {
            let head = format!("--XbX\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
            body.extend([head.as_bytes(), content, b"\r\n"].concat());
        }
        body.extend(b"--XbX--\r\n");
        let read = verdict(scan(if quoted { QUOTED } else { PLAIN }, &["1"]).unwrap(), &body, &cuts);
        prop_assert_eq!(read, if id == "1" { Ok(true) } else { Err(Denied::Foreign) });
    }

    #[test]
    fn parts_are_told_as_they_are(fields in fields(), cuts in cuts(), quoted: bool) {
        let mut body = Vec::new();
        for (name, content) in &fields {
            let head = format!("--XbX\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
            body.extend([head.as_bytes(), content, b"\r\n"].concat());
        }
        body.extend(b"--XbX--\r\n");
        let mut scan = scan(if quoted { QUOTED } else { PLAIN }, &["1"]).unwrap();
        let (mut rest, mut told) = (&body[..], Told::default());
        for cut in cuts {
            let (head, after) = rest.split_at(cut % (rest.len() + 1));
            scan.feed_to(head, &mut told).unwrap();
            rest = after;
        }
        scan.feed_to(rest, &mut told).unwrap();
        if !fields.is_empty() {
            scan.finish().unwrap();
            prop_assert!(scan.is_whole());
        }
        prop_assert_eq!(told.0, fields);
    }
}
