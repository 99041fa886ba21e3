use http::HeaderValue;
use proptest::prelude::*;

use super::*;

fn tenants(ids: &[&str]) -> Tenants {
    Tenants::new(&ids.iter().map(|&id| id.to_owned()).collect::<Vec<_>>())
}

fn json(body: &str) -> Result<(), Denied> {
    check_json(body.as_bytes(), &tenants(&["1", "200000000"]))
}

fn unreadable(verdict: Result<(), Denied>) -> bool {
    matches!(verdict, Err(Denied::Unreadable(_)))
}

#[test]
fn json_bodies_that_name_an_own_tenant_or_none() {
    for body in [
        r#"{"app_id":"200000000","page_no":1}"#,
        r#"{"app_id":200000000}"#,
        r#"{"APP_ID":"1"}"#,
        r#"{"\u0061pp\u005fid":"\u0031"}"#,
        r#"{"appId":"1"}"#,
        r#"{"sid":"ad84177a55e14ce02a46331bd500243c"}"#,
        r#"{"var_json":{"app_id":"9","app_id":"8"},"list":["app_id",{"app_id":7}],"app_id":"1"}"#,
        " {} \r\n",
        "",
    ] {
        assert_eq!(json(body), Ok(()), "{body}");
    }
}

#[test]
fn json_bodies_that_name_another() {
    for id in [r#""2""#, "2", "-1", r#""""#, r#"" 1""#, r#""01""#, r#""1\u0000""#, r#""１""#] {
        assert_eq!(json(&format!(r#"{{"app_id":{id}}}"#)), Err(Denied::Foreign), "{id}");
    }
    assert_eq!(json(r#"{"app_\u0069d":"2"}"#), Err(Denied::Foreign));
    assert_eq!(json(r#"{"App-Id":"2"}"#), Err(Denied::Foreign));
    assert_eq!(json(r#"{"app_ıd":"2"}"#), Err(Denied::Foreign));
}

#[test]
fn json_bodies_that_name_two() {
    for body in [
        r#"{"app_id":"1","app_id":"1"}"#,
        r#"{"app_id":"1","x":[],"App_Id":"2"}"#,
        r#"{"app_id":"1","app_i\u0064":"2"}"#,
        r#"{"app_id":"1","appid":"1"}"#,
    ] {
        assert_eq!(json(body), Err(Denied::Twice), "{body}");
    }
}

#[test]
fn json_bodies_that_can_be_read_in_two_ways() {
    for body in [
        r#"{"app_id":null}"#,
        r#"{"app_id":true}"#,
        r#"{"app_id":1.0}"#,
        r#"{"app_id":1e0}"#,
        r#"{"app_id":["1"]}"#,
        r#"{"app_id":{"app_id":"1"}}"#,
        r#"{"app_id":100000000000000000000}"#,
        r#"{"app_id":"1"}{"app_id":"2"}"#,
        r#"{"app_id":"1"},"#,
        r#"{"app_id":"1",}"#,
        r#"{"app_id":"1""#,
        r"{'app_id':'1'}",
        r#"{app_id:"1"}"#,
        r#"{/**/"app_id":"1"}"#,
        r#"{"app_id":01}"#,
        r#"[{"app_id":"2"}]"#,
        r#""app_id""#,
        "\u{feff}{}",
        "app_id=2",
        " ",
    ] {
        assert!(unreadable(json(body)), "{body}");
    }
    let own = tenants(&["1"]);
    assert!(unreadable(check_json(b"{\"x\":\"\xff\",\"app_id\":\"1\"}", &own)));
    let utf16: Vec<u8> = r#"{"app_id":"2"}"#.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(unreadable(check_json(&utf16, &own)));
    let deep = format!(r#"{{"x":{}{},"app_id":"1"}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(check_json(deep.as_bytes(), &own), Ok(()));
}

#[test]
fn an_app_without_a_list_is_held_to_one_tenant_only() {
    let any = tenants(&[]);
    assert!(any.is_empty() && any.allows("1"));
    for body in [r#"{"app_id":"7"}"#, r#"{"app_id":null}"#, "[]", "{", r#"{"app_id":"1","appid":"wx2"}"#] {
        assert_eq!(check_json(body.as_bytes(), &any), Ok(()), "{body}");
    }
    assert_eq!(check_json(br#"{"app_id":"1","APP_ID":"2"}"#, &any), Err(Denied::Twice));
    assert_eq!(check_query(Some("app_id=1;%zz&app_id=2"), &any), Ok(()));
}

#[test]
fn queries() {
    let own = tenants(&["1", "a b"]);
    for (query, expected) in [
        ("", Ok(())),
        ("page=2&x=%zz;y", Ok(())),
        ("x=app_id%3d2&xapp_id=2", Ok(())),
        ("app_id=1", Ok(())),
        ("%41PP%5Fid=%31", Ok(())),
        ("app_id=a+b", Ok(())),
        ("app_id=2", Err(Denied::Foreign)),
        ("app_id", Err(Denied::Foreign)),
        ("x=1&app%5fid=2", Err(Denied::Foreign)),
        ("app.id=2", Err(Denied::Foreign)),
        ("app_id[]=2", Err(Denied::Foreign)),
        ("app_id[0]=2", Err(Denied::Foreign)),
        ("app[id=2", Err(Denied::Foreign)),
        ("+app_id=2", Err(Denied::Foreign)),
        ("app_id=1&APP_ID=1", Err(Denied::Twice)),
    ] {
        assert_eq!(check_query(Some(query), &own), expected, "{query}");
    }
    for query in
        ["x=1;app_id=1", "app_id=1;x", "app_id=%3", "%u0061pp_id=1", "app_id%00x=1", "app_id=1&%ff=1"]
    {
        assert!(unreadable(check_query(Some(query), &own)), "{query}");
    }
    assert_eq!(check_query(None, &own), Ok(()));
}

#[test]
fn heads() {
    let head = |fields: &[(http::HeaderName, &'static str)]| -> HeaderMap {
        fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    };
    let mut twice = head(&[(CONTENT_TYPE, "application/json")]);
    twice.append(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    let own = tenants(&["1"]);
    for good in [
        head(&[]),
        head(&[(CONTENT_TYPE, "application/json"), (CONTENT_ENCODING, "Identity")]),
        head(&[(CONTENT_TYPE, "application/json;charset=UTF-8")]),
        head(&[(CONTENT_TYPE, "multipart/form-data; boundary=\"x\"")]),
    ] {
        assert_eq!(check_head(&good, &own), Ok(()), "{good:?}");
    }
    for bad in [
        head(&[(CONTENT_ENCODING, "gzip")]),
        head(&[(CONTENT_TYPE, "application/json; charset=gbk")]),
        head(&[(CONTENT_TYPE, "application/json; Charset=\"utf-16\"")]),
        head(&[(CONTENT_TYPE, "application/json; charset")]),
        twice,
    ] {
        assert!(unreadable(check_head(&bad, &own)), "{bad:?}");
        assert_eq!(check_head(&bad, &tenants(&[])), Ok(()));
    }
}

#[test]
fn a_verdict_names_no_tenant() {
    let verdict = json(r#"{"app_id":"424242"}"#).map_err(|denied| denied.to_string());
    assert!(!verdict.unwrap_err().contains("424242"));
}

proptest! {
    /// Against the reading of a parser that keeps the last of equal keys.
    #[test]
    fn a_body_that_passes_names_an_own_tenant(
        entries in prop::collection::vec(
            ("(app_id|APP_ID|app_i\\\\u0064|x|app|\\PC{0,3})", "(\"[12]\"|[12]|null|\\{\"app_id\":2\\}|\\[\\])"), 0..5),
        tail in "[ ,}\\{]{0,2}",
    ) {
        let fields: Vec<_> = entries.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
        let body = format!("{{{}}}{tail}", fields.join(","));
        if json(&body).is_ok() {
            let read: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&body).unwrap();
            let named: Vec<_> = read.iter().filter(|(key, _)| key.eq_ignore_ascii_case("app_id")).collect();
            prop_assert!(named.len() <= 1);
            prop_assert!(named.iter().all(|(_, id)| **id == "1" || **id == 1));
        }
    }

    #[test]
    fn any_bytes_do(body in prop::collection::vec(any::<u8>(), 0..100), query in "\\PC{0,40}") {
        let _ = check_json(&body, &tenants(&["1"]));
        let _ = check_query(Some(&query), &tenants(&["1"]));
    }
}
