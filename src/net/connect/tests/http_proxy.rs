//! CONNECT: what is sent, and what the answers come to.

use proptest::prelude::*;

use super::super::http_proxy::{LONGEST_HEAD, status};
use super::*;

const PLAIN: &str = "CONNECT api.test:80 HTTP/1.1\r\nHost: api.test:80\r\n\r\n";

/// Goes to `http://api.test` through a proxy that answers `CONNECT` so.
async fn answered(answer: impl Into<Vec<u8>>) -> (Result<Connected, ConnectError>, Heard) {
    let (address, heard) = proxy(vec![(PLAIN.len(), answer.into())]).await;
    let connector = Connector::new(&through(EgressProxyKind::Connect, address, None)).unwrap();
    (connector.connect(&origin(Scheme::Http, "api.test", 80), address, None).await, heard)
}

async fn refused(answer: impl Into<Vec<u8>>) -> ProxyFailure {
    match answered(answer).await.0 {
        Err(ConnectError::Proxy { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_tunnel_begins_after_the_head() {
    let (made, heard) = answered("HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\nfirst").await;
    let mut made = made.unwrap();
    let (heard, mut peer) = heard.await.unwrap();
    assert_eq!(heard, [PLAIN.as_bytes()]);
    let mut first = [0; 5];
    made.stream.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"first");
    is_open(&mut made.stream, &mut peer).await;
}

#[tokio::test]
async fn a_head_may_come_byte_by_byte() {
    let (listener, address) = listen().await;
    let connector = Connector::new(&through(EgressProxyKind::Connect, address, None)).unwrap();
    let serving = async {
        let (mut tcp, _) = listener.accept().await.unwrap();
        tcp.set_nodelay(true).unwrap();
        tcp.read_exact(&mut [0; PLAIN.len()]).await.unwrap();
        for byte in b"HTTP/1.0 200\r\nA: b\r\n\r\nx" {
            tcp.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        tcp
    };
    let target = origin(Scheme::Http, "api.test", 80);
    let (_peer, made) = tokio::join!(serving, connector.connect(&target, address, None));
    assert_eq!(made.unwrap().stream.read_u8().await.unwrap(), b'x');
}

#[tokio::test]
async fn the_login_goes_with_it() {
    let request = "CONNECT [2001:db8::1]:8443 HTTP/1.1\r\nHost: [2001:db8::1]:8443\r\n\
                   Proxy-Authorization: Basic dXNlcjpwYTpzcw==\r\n\r\n";
    let (address, heard) = proxy(vec![(request.len(), b"HTTP/1.1 204 \r\n\r\n".to_vec())]).await;
    let settings = through(EgressProxyKind::Connect, address, Some(("user", "pa:ss")));
    let target = origin(Scheme::Http, "2001:db8::1", 8443);
    Connector::new(&settings).unwrap().connect(&target, address, None).await.unwrap();
    assert_eq!(heard.await.unwrap().0, [request.as_bytes()]);
}

#[tokio::test]
async fn a_refusal_tells_proxy_status_and_way_out() {
    let (outcome, heard) = answered("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
    let error = outcome.unwrap_err();
    let address = heard.await.unwrap().1.local_addr().unwrap();
    assert_eq!(
        error.to_string(),
        format!(
            "egress proxy {address}: it answered CONNECT with status 407; \
             check the user and the password of egress.proxy"
        )
    );
    assert!(!error.request_sent());
    let reason = refused("HTTP/1.1 403 Forbidden\r\n\r\n").await;
    assert_eq!(
        reason.to_string(),
        "it answered CONNECT with status 403; it must allow CONNECT to this host and port"
    );
    assert!(matches!(refused("HTTP/1.1 301 x\r\n\r\n").await, ProxyFailure::Status { status: 301 }));
}

#[tokio::test]
async fn garbage_is_told_from_http() {
    for garbage in [
        "\x05\x00",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/1.1 2000 x\r\n\r\n",
        "HTTP/1.1 099 x\r\n\r\n",
        "HTTP/2 200 \r\n\r\n",
        "HTTP/1.1 2\r\n\r\n",
        "HTTP/\r\n\r\n",
    ] {
        let reason = refused(garbage).await;
        assert!(matches!(reason, ProxyFailure::NotHttp), "{garbage:?}: {reason}");
    }
}

#[tokio::test]
async fn an_endless_head_is_cut_off() {
    let field = format!("A: {}\r\n", "b".repeat(1000));
    let endless = format!("HTTP/1.1 200 OK\r\n{}", field.repeat(100));
    let reason = refused(endless).await;
    assert!(matches!(reason, ProxyFailure::HeadTooLong { limit: LONGEST_HEAD }), "{reason}");
    let longest = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "b".repeat(LONGEST_HEAD - 24));
    assert_eq!(longest.len(), LONGEST_HEAD);
    assert!(answered(longest).await.0.is_ok());
}

#[tokio::test]
async fn a_proxy_that_hangs_up_is_told() {
    let (listener, address) = listen().await;
    let connector = Connector::new(&through(EgressProxyKind::Connect, address, None)).unwrap();
    let hang_up = async {
        let (mut tcp, _) = listener.accept().await.unwrap();
        tcp.read_exact(&mut [0; PLAIN.len()]).await.unwrap();
    };
    let target = origin(Scheme::Http, "api.test", 80);
    let ((), outcome) = tokio::join!(hang_up, connector.connect(&target, address, None));
    let error = outcome.unwrap_err().to_string();
    assert!(error.contains("the connection broke off"), "{error}");
}

#[tokio::test]
async fn a_proxy_that_never_answers_is_given_up() {
    let (listener, address) = listen().await;
    let connector = Connector::new(&through(EgressProxyKind::Connect, address, None)).unwrap();
    let silent = async {
        let (mut tcp, _) = listener.accept().await.unwrap();
        tcp.read_exact(&mut [0; PLAIN.len()]).await.unwrap();
        tokio::time::pause();
        tcp
    };
    let target = origin(Scheme::Http, "api.test", 80);
    let (_held, outcome) = tokio::join!(silent, connector.connect(&target, address, None));
    assert_eq!(
        outcome.unwrap_err().to_string(),
        "no connection within 60s: still waiting for the egress proxy's answer"
    );
}

#[test]
fn a_proxys_login_is_not_shown() {
    let settings = through(EgressProxyKind::Connect, ([127, 0, 0, 1], 3128).into(), Some(("user", "s3cret")));
    assert!(!format!("{settings:?}").contains("s3cret"));
}

proptest! {
    #[test]
    fn any_head_can_be_judged(head in prop::collection::vec(any::<u8>(), 0..64)) {
        let first = [b"HTTP/1.1 ", &head[..]].concat();
        for head in [head, first] {
            prop_assert!(status(&head).is_none_or(|status| (100..1000).contains(&status)));
        }
    }

    #[test]
    fn a_status_is_what_its_digits_say(code in 100..1000_u16, phrase in "[ -~]{0,20}") {
        prop_assert_eq!(status(format!("HTTP/1.1 {code} {phrase}\r\n\r\n").as_bytes()), Some(code));
    }
}
