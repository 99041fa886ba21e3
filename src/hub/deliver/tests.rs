use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::hub::dispatch::testing::{event, settings};
use crate::hub::schedule::HostClock;

const TIMEOUT: Duration = Duration::from_millis(400);

fn courier(settings: SubscriberSettings) -> Courier {
    Courier::new(&settings, "http://gateway:8080", Client::new().unwrap(), Arc::new(HostClock)).unwrap()
}

fn to(address: SocketAddr) -> SubscriberSettings {
    SubscriberSettings { url: format!("http://{address}/hook"), timeout: TIMEOUT, ..settings("crm") }
}

/// The head and the body of a request.
async fn request(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    loop {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let length: usize = value(&head, "content-length").parse().unwrap();
            if bytes.len() >= end + 4 + length {
                return (head, bytes[end + 4..].to_vec());
            }
        }
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0, "a whole request");
    }
}

fn value<'h>(head: &'h str, name: &str) -> &'h str {
    let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}: ")));
    line.map_or("", |line| &line[name.len() + 2..])
}

/// What comes of a delivery that is answered with `answer`; the connection is held open after it.
async fn answered(answer: &'static [u8]) -> Tried {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let courier = courier(to(listener.local_addr().unwrap()));
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        request(&mut stream).await;
        stream.write_all(answer).await.unwrap();
        stream
    });
    let tried = courier.carry(Arc::new(event(1, "{}")), 1).await;
    drop(server.await.unwrap());
    tried
}

#[tokio::test]
async fn answers_mean_what_they_say() {
    let cases: [(&[u8], Outcome); 6] = [
        (b"HTTP/1.1 204 No Content\r\n\r\n", Outcome::Delivered),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", Outcome::Delivered),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 21\r\n\r\n{\"code\":7,\"msg\":\"no\"}",
            Outcome::Refused { code: "7".into(), message: Some("no".into()) },
        ),
        (
            b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
            Outcome::Redirected { status: 302 },
        ),
        (b"HTTP/1.1 410 Gone\r\ncontent-length: 99\r\n\r\nand then nothing", Outcome::Gone),
        (
            b"HTTP/1.1 503 Busy\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n",
            Outcome::Busy { status: 503, retry_after: Duration::from_secs(7) },
        ),
    ];
    for (answer, outcome) in cases {
        let tried = answered(answer).await;
        assert_eq!(tried.outcome, outcome);
        assert!(tried.status.is_some() && tried.took < TIMEOUT * 2, "{tried:?}");
    }
    assert_eq!(answered(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.answer, "ok");
}

#[tokio::test]
async fn the_deadline_covers_head_and_body() {
    for answer in [&b""[..], b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nbegun"] {
        let tried = answered(answer).await;
        assert_eq!(tried.outcome, Outcome::TimedOut { within: TIMEOUT });
        assert!(tried.took >= TIMEOUT && tried.took < TIMEOUT * 3, "{tried:?}");
    }
    let tried = answered(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nbegun").await;
    assert_eq!((tried.status, &tried.answer[..]), (Some(200), &b"begun"[..]));
}

/// What comes of a delivery to a server that does `serve` with the connection.
async fn served<F: Future<Output = ()> + Send + 'static>(
    serve: impl FnOnce(TcpStream) -> F + Send + 'static,
) -> Tried {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let courier = courier(to(listener.local_addr().unwrap()));
    let server = tokio::spawn(async move { serve(listener.accept().await.unwrap().0).await });
    let tried = courier.carry(Arc::new(event(1, "{}")), 1).await;
    server.abort();
    tried
}

#[tokio::test]
async fn an_endless_body_is_read_no_further_than_needed() {
    let tried = served(|mut stream| async move {
        request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        while stream.write_all(&[b'x'; 8192]).await.is_ok() {}
    })
    .await;
    assert_eq!(tried.outcome, Outcome::TooLong { bytes: MAX_ANSWER });
    assert_eq!(tried.answer.len(), KEPT);
}

#[tokio::test]
async fn a_trickle_ends_with_the_deadline() {
    let tried = served(|mut stream| async move {
        request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n").await.unwrap();
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(tried.outcome, Outcome::TimedOut { within: TIMEOUT });
}

#[tokio::test]
async fn what_breaks_off_or_is_not_there_is_told_apart() {
    let reset = served(|mut stream| async move {
        request(&mut stream).await;
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    })
    .await;
    assert!(matches!(reset.outcome, Outcome::BrokeOff(_)), "{reset:?}");
    let nonsense = served(|mut stream| async move {
        request(&mut stream).await;
        stream.write_all(b"220 mail\r\n").await.unwrap();
    })
    .await;
    assert!(matches!(nonsense.outcome, Outcome::BrokeOff(_)), "{nonsense:?}");

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let nobody = courier(to(address)).carry(Arc::new(event(1, "{}")), 1).await;
    assert!(matches!(&nobody.outcome, Outcome::Unreachable(why) if why.contains("refused")), "{nobody:?}");
    assert_eq!(nobody.status, None);
}

/// HMAC written out (RFC 2104), so that nothing here shares code with what it checks.
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = [0_u8; 64];
    block[..key.len()].copy_from_slice(key);
    let pad = |with: u8| block.map(|byte| byte ^ with);
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().to_vec()
}

#[tokio::test]
async fn a_delivery_says_who_and_what_and_is_signed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let keys = [[1_u8; 32], [2; 32]];
    let secrets = keys.map(|key| format!("whsec_{}", STANDARD.encode(key)).into());
    let courier = courier(SubscriberSettings {
        signing_secrets: secrets.to_vec(),
        headers: [("x-team".to_owned(), "red".to_owned())].into(),
        enrich: true,
        ..to(listener.local_addr().unwrap())
    });
    let mut sent = event(1, r#"{"calls":[{"state":775}]}"#);
    sent.label = Some("贵宾".into());
    sent.content_type = Some(Bytes::from_static(b"application/json;charset=UTF-8"));
    let sent = Arc::new(sent);
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = Vec::new();
        for _ in 0..2 {
            seen.push(request(&mut stream).await);
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        }
        seen
    });
    courier.carry(Arc::clone(&sent), 3).await;
    courier.carry_sample(Arc::clone(&sent)).await;
    let seen = server.await.unwrap();

    let (head, body) = &seen[0];
    assert_eq!(String::from_utf8_lossy(body), r#"{"calls":[{"state":775,"state_text":"无人接听"}]}"#);
    assert!(head.starts_with("POST /hook HTTP/1.1"));
    for (name, expected) in [
        ("content-type", "application/json;charset=UTF-8"),
        ("webhook-id", &sent.id.to_string()),
        ("x-xinyao-event", "call_record"),
        ("x-xinyao-app", "crm"),
        ("x-xinyao-label", "贵宾"),
        ("x-xinyao-attempt", "3"),
        ("x-xinyao-sample", ""),
        ("x-team", "red"),
    ] {
        assert_eq!(value(head, name), expected, "{name}");
    }
    assert!(value(head, "user-agent").starts_with("xinyao-gateway/"));
    let (id, timestamp) = (value(head, "webhook-id"), value(head, "webhook-timestamp"));
    let age = Timestamp::now().as_second() - timestamp.parse::<i64>().unwrap();
    assert!((0..60).contains(&age));
    let message = [format!("{id}.{timestamp}.").as_bytes(), body].concat();
    let expected = keys.map(|key| format!("v1,{}", STANDARD.encode(hmac(&key, &message))));
    assert_eq!(value(head, "webhook-signature"), expected.join(" "));

    assert_eq!(value(&seen[1].0, "x-xinyao-sample"), "true");
    assert_eq!(value(&seen[1].0, "x-xinyao-attempt"), "1");
}
