//! The configuration from outside: the shipped file, the schema and reference, and what is said of broken files.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use xinyao_gateway::config::{self, Faults, Loaded, Severity};
use xinyao_gateway::xinyao::{Endpoint, Target};

const SHIPPED: &str = include_str!("../../config.yaml");

/// What no output may ever show.
const SECRET: &str = "hunter2hunter2hunter2";

fn environment() -> BTreeMap<String, String> {
    [
        ("XINYAO_APIKEY", "apikey-of-the-saas"),
        ("XINYAO_APISECRET", "apisecret-of-the-saas"),
        ("CALLBACK_KEY", "0123456789abcdef0123456789abcdef"),
        ("SECRET", SECRET),
        ("EMPTY", ""),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// Parses `text` below what every file needs.
fn parse(text: &str) -> Result<Loaded, Faults> {
    let needed = "credentials: {default: {apikey: k, apisecret: s}}\nlisten: {callbacks: 127.0.0.1:8081}\n";
    config::parse("config.yaml", &format!("{needed}{text}"), &environment())
}

fn faults(text: &str) -> Faults {
    config::parse("config.yaml", text, &environment()).expect_err(text)
}

#[test]
fn the_shipped_file_means_the_defaults() {
    let loaded =
        config::load(Path::new("config.yaml"), &environment()).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(loaded.warnings.iter().map(ToString::to_string).collect::<Vec<_>>(), Vec::<String>::new());
    let config = loaded.config;
    assert_eq!(config.proxy.listen.address.to_string(), "0.0.0.0:8080");
    assert_eq!(config.hub.listen.address.to_string(), "0.0.0.0:8081");
    assert_eq!(config.admin.address.to_string(), "127.0.0.1:9090");
    assert!(config.admin.token.is_none() && config.proxy.apps[0].token.is_none());
    assert_eq!(config.proxy.credentials["default"].apikey, "apikey-of-the-saas");
    assert_eq!(config.hub.keys[0].expose_secret(), "0123456789abcdef0123456789abcdef");
    let limit = &config.proxy.apps[0].rate_limits[1];
    assert_eq!((limit.rate.count, limit.rate.per, limit.rate.burst), (6, Duration::from_mins(1), 2));
    assert!(limit.endpoints.contains(Target::Endpoint(Endpoint::Outnum)));
    assert!(!limit.endpoints.contains(Target::Recordings));
    assert_eq!(config.hub.subscribers[0].retry.len(), 9);

    // what it spells out is what is taken when it is left out
    let bare =
        parse("apps: [{name: crm, networks: []}]\nsubscribers: [{name: s, url: http://h}]\n").unwrap().config;
    let (mut shipped, mut bare) = (config.redacted, bare.redacted);
    for redacted in [&mut shipped, &mut bare] {
        redacted["listen"] = json!(null);
        redacted["callbacks"]["key"] = json!(null);
        for key in ["networks", "rate_limits"] {
            redacted["apps"][0][key] = json!(null);
        }
        for key in ["name", "url"] {
            redacted["subscribers"][0][key] = json!(null);
        }
    }
    assert_eq!(shipped, bare);
}

#[test]
fn traces_go_to_a_collector_and_some_of_them_if_wanted() {
    for (text, endpoint, ratio) in [
        ("tracing_otlp: http://collector:4317", "http://collector:4317/v1/traces", 1.0),
        ("tracing_otlp: {endpoint: 'https://c/otlp', ratio: 0.25}", "https://c/otlp", 0.25),
        ("tracing_otlp: {endpoint: http://c:4318}", "http://c:4318/v1/traces", 1.0),
    ] {
        let loaded = parse(text).unwrap_or_else(|faults| panic!("{faults}"));
        assert_eq!(
            loaded.warnings.iter().filter(|warning| warning.to_string().contains("tracing")).count(),
            0
        );
        let traces = loaded.config.traces.unwrap();
        assert_eq!(traces.endpoint, endpoint);
        assert!((traces.ratio - ratio).abs() < f64::EPSILON, "{text}");
    }
    for nothing in ["tracing_otlp:", "tracing_otlp: ${EMPTY}", ""] {
        assert!(parse(nothing).unwrap().config.traces.is_none(), "{nothing}");
    }
    for wrong in ["collector:4317", "{endpoint: http://c, ratio: 2}", "{ratio: 1}", "[http://c]"] {
        parse(&format!("tracing_otlp: {wrong}")).unwrap_err();
    }
}

#[test]
fn the_shipped_file_fits_the_schema() {
    let schema = config::schema();
    jsonschema::meta::validate(&schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let shipped: Value = serde_yaml::from_str(SHIPPED).unwrap();
    let errors: Vec<_> =
        validator.iter_errors(&shipped).map(|e| format!("{e} at {}", e.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    for broken in [
        json!({}),
        json!({"credentials": {}}),
        json!({"credentials": {"a": {"apikey": "k"}}}),
        json!({"credentials": {"a": {"apikey": "k", "apisecret": "s"}}, "listn": {}}),
        json!({"credentials": {"a": {"apikey": "k", "apisecret": "s"}}, "upstream": {"connect_timeout": "3"}}),
        json!({"credentials": {"a": {"apikey": "k", "apisecret": "s"}}, "upstream": {"max_in_flight": 0}}),
        json!({"credentials": {"a": {"apikey": "k", "apisecret": "s"}}, "log": {"level": "loud"}}),
        json!({"credentials": {"a": {"apikey": "k", "apisecret": "s"}}, "apps": [{"name": "crm"}]}),
    ] {
        assert!(!validator.is_valid(&broken), "{broken}");
    }
    let files =
        json!({"credentials": {"a": {"apikey_file": "k", "apisecret": "s"}}, "log": {"level": "${L:-info}"}});
    assert!(validator.is_valid(&files));
}

#[test]
fn the_reference_is_made_of_the_schema() {
    let path = "docs/configuration.md";
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, config::reference()).unwrap();
    }
    let page = std::fs::read_to_string(path).unwrap();
    assert!(page == config::reference(), "{path} is out of date: UPDATE=1 cargo test --test it reference");
}

#[test]
fn a_fault_is_shown_in_its_place() {
    let text = "credentials: {default: {apikey: k, apisecret: s}}\nlisten: {callbacks: 127.0.0.1:8081}\napps:\n  - name: crm\n    networks: [10.0.0.0/8]\n    endpoint: [\"*\"]\n    max_in_flight: 5\n";
    let found = faults(text);
    assert_eq!(found.count(), 1);
    let expected = "\
error: unknown key `endpoint`; did you mean `endpoints`?
 --> config.yaml:6:5
  |
6 |     endpoint: [\"*\"]
  |     ^^^^^^^^
  = help: known here: name, networks, token, credential, app_ids, endpoints, rate_limits, max_in_flight, checks, \
outnum_duplicate_window, weight, priority";
    assert_eq!(found.to_string(), expected);
}

/// Text, and for its only fault: line, column, a part of the message, a part of the help.
type Case = (&'static str, usize, usize, &'static str, &'static str);

/// Lines are counted from 3: two lines with what every file needs stand before.
const BROKEN: &[Case] = &[
    ("upstraem: {}", 3, 1, "unknown key `upstraem`; did you mean `upstream`?", "known here"),
    ("log: {level: loud}", 3, 14, "`loud` is no log level", "one of: trace, debug"),
    ("log: {access: yes}", 3, 15, "`yes` is neither true nor false", "write `true`"),
    ("log: {access: \"true\"}", 3, 15, "found text in quotes", "without the quotes"),
    ("log: [text]", 3, 6, "expected a mapping, found a list", ""),
    ("log: {}\nlog: {}", 4, 1, "duplicate key `log`", "line 3"),
    ("upstream: {connect_timeout: 3}", 3, 29, "`3` is no duration", "500ms, 3s"),
    ("upstream: {connect_timeout: 0s}", 3, 29, "`0s` leaves no time", "more than 0s"),
    ("upstream: {max_in_flight: 0}", 3, 27, "`0` is too small", "at least 1"),
    ("upstream: {max_in_flight: -1}", 3, 27, "`-1` is no whole number", "digits"),
    ("upstream: {base_url: \"https://h/v2\"}", 3, 22, "is more than an origin", "scheme, host and port"),
    ("upstream: {base_url: ftp://h}", 3, 22, "is neither http nor https", "https://"),
    ("upstream: {extra_paths: [v2]}", 3, 26, "`v2` is no path's beginning", "`/`"),
    ("store: {max_size: 20GB}", 3, 19, "`20GB` is no size", "20GiB"),
    ("limits: {global: 5/d}", 3, 18, "`5/d` is no rate", "50/s"),
    ("limits: {global: {limit: 5/s, burst: 0}}", 3, 38, "`0` is too small", "at least 1"),
    ("limits: {global: {burst: 5}}", 3, 18, "required key `limit` is missing", "give `limit`"),
    ("trusted_proxies: [10.0.0.0/33]", 3, 19, "`10.0.0.0/33` is no network", "CIDR"),
    ("trusted_proxies: 10.0.0.0/8", 3, 18, "expected a list, found a single value", "brackets"),
    (
        "egress: {allowed_ips: [1.1.1.1, 1.1.1.2, 1.1.1.3, 1.1.1.4, 1.1.1.5, 1.1.1.6]}",
        3,
        69,
        "at most five",
        "§2.2",
    ),
    (
        "egress: {allowed_ips: [1.1.1.1], source_ips: [2.2.2.2]}",
        3,
        47,
        "2.2.2.2 is not in `allowed_ips`",
        "registe",
    ),
    ("egress: {source_ips: auto}", 3, 22, "no allowed_ips", "allowed_ips"),
    ("egress: {source_ips: all}", 3, 22, "neither none nor auto", "brackets"),
    ("egress: {proxy: \"https://h:1\"}", 3, 17, "is neither http nor socks5", "socks5://host:port"),
    ("apps: [{networks: []}]", 3, 8, "required key `name` is missing", "give `name`"),
    ("apps: [{name: crm}]", 3, 8, "required key `networks` is missing", "networks"),
    ("apps: [{name: CRM, networks: [::1]}]", 3, 15, "`CRM` is no name", "a-z"),
    (
        "apps:\n  - {name: a, networks: [::1]}\n  - {name: a, networks: [::1]}",
        5,
        12,
        "duplicate app `a`",
        "line 4",
    ),
    (
        "apps: [{name: a, networks: [::1], credential: defualt}]",
        3,
        47,
        "did you mean `default`?",
        "there is: default",
    ),
    (
        "apps: [{name: a, networks: [::1], endpoints: [outnums]}]",
        3,
        47,
        "did you mean `outnum`?",
        "one of: addtask",
    ),
    (
        "apps: [{name: a, networks: [::1], rate_limits: [{limit: 1/s, brust: 2}]}]",
        3,
        62,
        "mean `burst`?",
        "max_wait",
    ),
    ("subscribers: [{name: a}]", 3, 15, "required key `url` is missing", "url"),
    ("subscribers: [{name: a, url: h/x}]", 3, 30, "`h/x` is no URL", "http://"),
    ("subscribers: [{name: a, url: http://h, apps: [cmr]}]", 3, 47, "no app is named `cmr`", "none"),
    (
        "subscribers: [{name: a, url: http://h}, {name: a, url: http://h}]",
        3,
        48,
        "duplicate subscriber `a`",
        "line 3",
    ),
    (
        "subscribers: [{name: a, url: http://h, events: [call_records]}]",
        3,
        49,
        "mean `call_record`?",
        "intent_result",
    ),
    ("subscribers: [{name: a, url: http://h, where: {task: 1}}]", 3, 48, "mean `task_id`?", "degree_name"),
    ("subscribers: [{name: a, url: http://h, since: 2026-01-31}]", 3, 47, "is no time", "RFC 3339"),
    (
        "subscribers: [{name: a, url: http://h, rate_limit: 30/m}]",
        3,
        52,
        "no whole number by the second",
        "1/s",
    ),
    (
        "subscribers: [{name: a, url: http://h, headers: {webhook-id: x}}]",
        3,
        50,
        "set by the gateway",
        "another",
    ),
    ("subscribers: [{name: a, url: http://h, signing_secret: abc}]", 3, 56, "`whsec_` and base64", "openssl"),
    ("admin: {token: \"${NOPE}\"}", 3, 16, "`admin.token`: variable NOPE is not set", "${NOPE:-default}"),
    ("log: {level: \"${}\"}", 3, 14, "`log.level`: `${` without", "${NAME}"),
    ("log: {level: !x info}", 3, 17, "tags", "quotes"),
    ("admin: {token_file: /no/such/file}", 3, 21, "file `/no/such/file` can't be read", "working directory"),
    ("admin: {token: a, token_file: b}", 3, 19, "both `token` and `token_file`", "keep one"),
    ("---\nlog: {}", 3, 1, "a second document", "one document"),
    ("log: {level: [}", 3, 14, "not valid YAML", ""),
];

#[test]
fn each_fault_has_its_place_and_a_way_out() {
    let mut wrong = Vec::new();
    for (text, line, column, message, help) in BROKEN {
        let found = parse(text).err().unwrap_or_else(|| panic!("{text} is taken for valid"));
        let first = found.iter().next().unwrap();
        let right = found.count() == 1
            && first.severity() == Severity::Error
            && (first.line(), first.column()) == (Some(*line), Some(*column))
            && first.message().contains(message)
            && first.help().unwrap_or_default().contains(help);
        if !right {
            wrong.push(format!("{text}: wanted {line}:{column} {message} / {help}, got\n{found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn all_faults_come_at_once() {
    let text: Vec<_> = [
        "listen: {admin: 0.0.0.0:9090, proxy: 1}",
        "upstream: {base_url: x, http2: maybe, unknown: 1}",
        "apps: [{name: A}, {name: b, networks: [x], credential: nope}, 5]",
        "subscribers: [{name: s, url: http://h, apps: [nobody], token: \"${UNSET}\"}]",
        "callbacks: {key: \"${UNSET}\"}",
    ]
    .into();
    let found = faults(&text.join("\n"));
    // `nobody` is not among them: an app's name could not be read, so it may be the one that is meant
    assert_eq!(found.count(), 13, "{found}");
    let lines: Vec<_> = found.iter().map(|finding| finding.line().unwrap()).collect();
    assert!(lines.is_sorted(), "{found}");
}

#[test]
fn files_without_a_tree_are_faults() {
    for text in ["", "\n\n", "# only a comment\n", "---\n", "null\n", "~"] {
        assert_eq!(faults(text).iter().next().unwrap().message(), "the file is empty", "{text:?}");
    }
    for text in ["just text", "[]", "a: b: c", "a: [", "a: *nowhere", "a: &a [*a]", "\"open", "\u{1}"] {
        assert_eq!(faults(text).count(), 1, "{text:?}");
    }
    assert!(faults("{}").to_string().contains("no credentials"));
    let missing = config::load(Path::new("no/such.yaml"), &environment()).unwrap_err();
    assert!(missing.to_string().contains("--> no/such.yaml"), "{missing}");
}

#[test]
fn aliases_multiply_only_so_far() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let inside = vec![format!("*a{}", level - 1); 10].join(", ");
        text += &format!("a{level}: &a{level} [{inside}]\n");
    }
    assert!(faults(&text).to_string().contains("more than 50000 values"));
    assert!(faults(&"[".repeat(10_000)).count() > 0);
    assert!(faults(&"a:\n ".repeat(10_000)).count() > 0);
}

#[test]
fn anchors_and_merges_save_repetition() {
    let text =
        "apps:\n  - &base {name: a, networks: [\"::1\"], max_in_flight: 7}\n  - {<<: *base, name: b}\n";
    let apps = parse(text).unwrap().config.proxy.apps;
    assert_eq!((apps[1].name.as_str(), apps[1].max_in_flight), ("b", 7));
}

#[test]
fn no_secret_is_shown() {
    let broken = [
        "credentials: {default: {apikey: SECRET, apisecrt: SECRET}}",
        "credentials: SECRET",
        "credentials: {default: SECRET}",
        "credentials: [SECRET, {a: SECRET}]",
        "credentials:\n  default: {apikey: \"SECRET x:y\", apisecret: SECRET, x: 1}  # was: SECRET",
        "admin: {tokn: SECRET}",
        "admin: {token: [SECRET]}",
        "admin: {password: SECRET, token: {a: SECRET}}",
        "admin:\n  token: \"SECRET",
        "admin: {token: SECRET",
        "admin:\n  token: SECRET: x",
        "admin:\n\ttoken: SECRET",
        "admin:\n  token: |\n   SECRET\n  x: 1",
        "callbacks: {key: [SECRET, x], kye: SECRET, keys: SECRET}",
        "subscribers: [{name: s, url: http://h, signing_secret: SECRET, headers: {authorization: SECRET, host: SECRET}}]",
        "subscribers: [{name: s, url: \"http://user:SECRET@h/\"}]",
        "egress: {proxy: \"ftp://user:SECRET@h:1\"}",
        "limits: {shared: \"redi://:SECRET@h\"}",
        "limits: {shared: {url: \"redis://:SECRET@h:x\", timeout: 0s}}",
        "limits: {shared: {ulr: \"redis://u:SECRET@h\"}}",
        "subscribers: [{name: s, url: \"htp://h/x?key=SECRET\"}]",
        "store: {postgres: \"pg://u:SECRET@h/db?password=SECRET\"}",
        "log: {level: \"${SECRET}\"}",
        "admin: {token: \"${UNSET:-}SECRET${UNSET}\"}",
        "apps: [{name: \"${SECRET}!\", networks: [\"${SECRET}\"], credential: \"${SECRET}\"}]",
        "upstream: {base_url: \"${SECRET}\", connect_timeout: \"${SECRET}\", max_in_flight: \"${SECRET}\"}",
        "egress: {source_ips: \"${SECRET}\", allowed_ips: [\"${SECRET}\"]}",
        "subscribers: [{name: s, url: http://h, apps: [\"${SECRET}\"], since: \"${SECRET}\"}]",
    ];
    for text in broken {
        // a variable's name stays as it is
        let text = text.replace("SECRET", SECRET).replace(&format!("${{{SECRET}}}"), "${SECRET}");
        let found = faults(&text).to_string();
        let lower = found.to_lowercase();
        assert!(!lower.contains("hunter2"), "{text}\n{found}");
    }
}

#[test]
fn no_secret_is_in_what_was_loaded() {
    let text = "\
admin: {token: SECRET}
callbacks: {key: [SECRET, \"${SECRET}\"]}
egress: {proxy: \"socks5://user:SECRET@h:1\"}
limits: {shared: \"redis://:SECRET@h\"}
store: {postgres: \"postgresql://u:SECRET@h/db?password=SECRET\"}
apps: [{name: crm, networks: [], token: SECRET}]
subscribers: [{name: s, url: http://h, headers: {authorization: SECRET}}]
";
    let loaded =
        parse(&text.replace("SECRET", SECRET).replace(&format!("${{{SECRET}}}"), "${SECRET}")).unwrap();
    let redacted = loaded.config.redacted.to_string();
    assert!(!redacted.contains(SECRET), "{redacted}");
    assert_eq!(loaded.config.redacted["egress"]["proxy"], "socks5://***@h:1");
    assert_eq!(loaded.config.redacted["callbacks"]["key"], json!(["***", "***"]));
    let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert!(!warnings.concat().contains(SECRET), "{warnings:?}");
}

#[test]
fn a_secret_may_come_from_a_file() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"from a file\n\n").unwrap();
    let path = file.path().display();
    let loaded =
        parse(&format!("admin: {{token_file: {path}}}\ncallbacks: {{key_file: [{path}, {path}]}}")).unwrap();
    assert_eq!(loaded.config.admin.token.unwrap().expose_secret(), "from a file\n");
    assert_eq!(loaded.config.hub.keys.len(), 2);
    assert_eq!(loaded.config.redacted["admin"]["token"], "***");
}

#[test]
fn a_url_with_a_password_may_come_from_a_file() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"postgresql://gateway:hush@pg1,pg2/gateway?sslmode=verify-full\n").unwrap();
    let loaded = parse(&format!("store: {{postgres_file: {}}}", file.path().display())).unwrap();
    let url = loaded.config.store.cluster.unwrap().url;
    assert_eq!((url.place().as_str(), url.may_use_tls()), ("pg1:5432,pg2:5432/gateway", true));
    assert!(!loaded.config.redacted.to_string().contains("hush"));
}

#[test]
fn nothing_written_means_the_default() {
    let empty = "\
listen: {callbacks: 127.0.0.1:8081, proxy: }
admin: {token: \"${EMPTY}\"}
upstream: {ca_file: \"\", connect_timeout: ~, http2: \"${EMPTY}\", max_in_flight: \"${EMPTY}\"}
apps:
callbacks: {key: [\"${EMPTY}\", \"${CALLBACK_KEY}\"]}
credentials: {default: {apikey: k, apisecret: s}}
";
    let config = config::parse("c", empty, &environment()).unwrap_or_else(|faults| panic!("{faults}")).config;
    assert!(config.admin.token.is_none());
    assert!(config.proxy.egress.ca_file.is_none());
    assert_eq!(config.proxy.egress.connect_timeout, Duration::from_secs(3));
    assert_eq!(config.hub.keys.len(), 1);
    for text in ["apikey: ", "apikey: \"\"", "apikey: \"${EMPTY}\""] {
        let found = faults(&format!(
            "listen: {{callbacks: 127.0.0.1:1}}\ncredentials: {{a: {{{text}, apisecret: s}}}}"
        ));
        assert!(found.to_string().contains("required key `apikey` has no value"), "{found}");
    }
}

#[test]
fn who_may_be_reached_needs_a_secret() {
    let credentials = "credentials: {default: {apikey: k, apisecret: s}}\n";
    let found = faults(&format!("{credentials}listen: {{admin: \"[::]:9090\"}}"));
    assert_eq!(found.count(), 2, "{found}");
    assert!(found.to_string().contains("`admin.token` is required"), "{found}");
    assert!(found.to_string().contains("`callbacks.key` is required"), "{found}");
    let loaded = parse("").unwrap();
    let warnings: Vec<_> = loaded.warnings.iter().map(xinyao_gateway::config::Finding::message).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(parse("proxy_protocol: true").unwrap().warnings.len() == 3);
    let pair = "certificate_file: c.pem, key_file: k.pem, client_certificate: required";
    let open = faults(&format!("{credentials}listen: {{callbacks: 127.0.0.1:1, proxy_tls: {{{pair}}}}}"));
    assert!(open.to_string().contains("it has no `client_ca_file`"), "{open}");
    let same = faults(&format!("{credentials}listen: {{proxy: 0.0.0.0:80, callbacks: 127.0.0.1:80}}"));
    assert!(same.to_string().contains("the callbacks listener can't share 127.0.0.1:80"), "{same}");
}

#[test]
fn a_rate_brings_its_own_burst() {
    let global =
        |text: &str| parse(&format!("limits: {{global: {text}}}")).unwrap().config.proxy.limits.global.rate;
    for (text, burst) in [("2000/s", 2000), ("600/m", 10), ("6/m", 1), ("{limit: 6/m, burst: 9}", 9)] {
        assert_eq!(global(text).burst, burst, "{text}");
    }
}

proptest! {
    #[test]
    fn any_text_is_survived(text in r"(?s)([a-z]{1,6}|[\[\]{}:,&*!|>'\x22#%@`\-?~$\n\t .0-9心]){0,60}") {
        if let Err(found) = config::parse("config.yaml", &text, &environment()) {
            prop_assert!(found.count() > 0 && !found.to_string().is_empty());
        }
    }

    #[test]
    fn a_damaged_file_is_survived(at in 0..SHIPPED.len(), cut in 0..40_usize, put in r"(?s)[\[\]{}:,&*!|>'\x22#\n\t ]{0,4}") {
        let start = SHIPPED.floor_char_boundary(at);
        let end = SHIPPED.ceil_char_boundary((at + cut).min(SHIPPED.len()));
        let text = format!("{}{put}{}", &SHIPPED[..start], &SHIPPED[end..]);
        if let Err(found) = config::parse("config.yaml", &text, &environment()) {
            prop_assert!(!found.to_string().contains("of-the-saas"));
        }
    }
}
