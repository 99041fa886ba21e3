//! What each request pays for, step by step: who calls, where to, whether it may, what is signed, and what
//! is read of the bodies that pass. `cargo bench --bench proxy`.

use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use xinyao_gateway::net::{Networks, headers};
use xinyao_gateway::proxy::answer_code::CodeReader;
use xinyao_gateway::proxy::global::GlobalLimit;
use xinyao_gateway::proxy::limits::Limits;
use xinyao_gateway::proxy::tenant::{MultipartScan, Tenants, check_json};
use xinyao_gateway::proxy::{GlobalRate, Rate, RateLimit, target};
use xinyao_gateway::xinyao::{Credential, Endpoint, Target, TargetSet};

/// The chunks that a body arrives in.
const CHUNK: usize = 16 << 10;

fn sign(criterion: &mut Criterion) {
    let credential = Credential { apikey: "a".repeat(32), apisecret: "s".repeat(32).into() };
    let mut now = 1_700_000_000;
    criterion.bench_function("sign", |bencher| {
        bencher.iter(|| {
            now += 1;
            black_box(&credential).authorization(now)
        });
    });
}

fn route(criterion: &mut Criterion) {
    let extra = ["/api/v2".to_owned()];
    for path in [Endpoint::BotdmTrigger.spec().path, "/api/v2/new", "/nowhere"] {
        criterion.bench_function(&format!("route {path}"), |bencher| {
            bencher.iter(|| target(black_box(path), black_box(&extra)));
        });
    }
}

fn admit(criterion: &mut Criterion) {
    for count in [8_u8, 100] {
        let networks: Networks =
            (0..count).map(|n| format!("10.{n}.0.0/16").parse().expect("a network")).collect();
        let address = IpAddr::from([10, count - 1, 2, 3]);
        criterion.bench_function(&format!("admit, {count} networks"), |bencher| {
            bencher.iter(|| black_box(&networks).contains(black_box(address)));
        });
    }
}

fn limit(criterion: &mut Criterion) {
    let never = Rate { count: u32::MAX, per: Duration::from_secs(1), burst: u32::MAX };
    let limit = RateLimit { rate: never, endpoints: TargetSet::ALL, max_wait: Duration::ZERO };
    let global = GlobalLimit::new(GlobalRate { rate: never, max_wait: Duration::from_secs(1) });
    criterion.bench_function("limit, of all apps", |bencher| {
        // As a request has it: when it began is known.
        let now = Instant::now();
        bencher.iter(|| black_box(&global).admit(black_box(now)));
    });
    for count in [1, 3] {
        let limits = Limits::new(&vec![limit.clone(); count]);
        criterion.bench_function(&format!("limit, {count} apply"), |bencher| {
            let target = Target::Endpoint(Endpoint::Outnum);
            let at_once = (Instant::now(), Duration::ZERO);
            bencher.iter(|| limits.admit(black_box(target), 0, at_once, &mut None));
        });
    }
}

fn clean(criterion: &mut Criterion) {
    let fields = [
        ("host", "gateway:8080"),
        ("user-agent", "okhttp/4.12.0"),
        ("accept", "application/json"),
        ("content-type", "application/json; charset=utf-8"),
        ("content-length", "93"),
        ("connection", "keep-alive, x-hop"),
        ("x-hop", "1"),
        ("x-forwarded-for", "10.20.1.2"),
        ("authorization", "Bearer 0123456789"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ];
    let map: HeaderMap = fields
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect();
    criterion.bench_function("clean headers", |bencher| {
        let also: fn(&HeaderName) -> bool = |name| name == header::COOKIE;
        bencher.iter_batched_ref(
            || map.clone(),
            |map| headers::strip_for_upstream(map, also),
            criterion::BatchSize::SmallInput,
        );
    });
}

fn answer_code(criterion: &mut Criterion) {
    let usual = br#"{"code":0,"msg":"success","result":{"task_id":123456}}"#;
    let late = format!(r#"{{"result":[{}0],"code":0}}"#, r#"{"name":"x","n":1},"#.repeat(1000));
    let mut group = criterion.benchmark_group("answer code");
    for (name, body) in [("first", &usual[..]), ("last", late.as_bytes())] {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut reader = CodeReader::new(None);
                reader.feed(black_box(body));
                reader.code()
            });
        });
    }
}

fn tenants(criterion: &mut Criterion) {
    let tenants = Arc::new(Tenants::new(&["200000000".to_owned()]));
    let mut group = criterion.benchmark_group("tenant");

    let json = format!(r#"{{"var_json":{{"text":"{}"}},"app_id":"200000000"}}"#, "话".repeat(5000));
    group.throughput(Throughput::Bytes(json.len() as u64));
    group.bench_function("json", |bencher| bencher.iter(|| check_json(black_box(json.as_bytes()), &tenants)));

    let content_type = HeaderValue::from_static("multipart/form-data; boundary=----b0undary");
    let field = "------b0undary\r\nContent-Disposition: form-data; name=\"app_id\"\r\n\r\n200000000\r\n";
    let file = "------b0undary\r\nContent-Disposition: form-data; name=\"file\"; filename=\"n.csv\"\r\n\r\n";
    let body = [field, file, &"13800138000,\r\n".repeat(150_000), "\r\n------b0undary--\r\n"].concat();
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("multipart", |bencher| {
        bencher.iter(|| {
            let mut scan = MultipartScan::new(&content_type, Arc::clone(&tenants)).expect("a boundary");
            for chunk in black_box(body.as_bytes()).chunks(CHUNK) {
                scan.feed(chunk).expect("an allowed tenant");
            }
            scan.finish().expect("an allowed tenant");
        });
    });
}

criterion_group!(steps, sign, route, admit, limit, clean, answer_code, tenants);
criterion_main!(steps);
