//! SOCKS 5: what is sent, and what the answers come to.

use super::*;

const HELLO: [u8; 3] = [5, 1, 0];
const HELLO_WITH_LOGIN: [u8; 4] = [5, 2, 0, 2];
const DONE: [u8; 10] = [5, 0, 0, 1, 0, 0, 0, 0, 0, 0];

/// Goes to `host`:8080 through a proxy that follows these steps.
async fn scripted(
    host: &str,
    login: Option<(&str, &str)>,
    steps: Vec<(usize, Vec<u8>)>,
) -> (Result<Connected, ConnectError>, Heard) {
    let (address, heard) = proxy(steps).await;
    let connector = Connector::new(&through(EgressProxyKind::Socks5, address, login)).unwrap();
    (connector.connect(&origin(Scheme::Http, host, 8080), address, None).await, heard)
}

async fn refused(login: Option<(&str, &str)>, steps: Vec<(usize, Vec<u8>)>) -> ProxyFailure {
    match scripted("a.test", login, steps).await.0 {
        Err(ConnectError::Proxy { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_name_is_left_to_the_proxy() {
    let steps = vec![(3, vec![5, 0]), (13, [&DONE[..], b"first"].concat())];
    let (made, heard) = scripted("a.test", None, steps).await;
    let mut made = made.unwrap();
    let (heard, mut peer) = heard.await.unwrap();
    assert_eq!(heard, [HELLO.to_vec(), b"\x05\x01\x00\x03\x06a.test\x1f\x90".to_vec()]);
    let mut first = [0; 5];
    made.stream.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"first");
    is_open(&mut made.stream, &mut peer).await;
}

#[tokio::test]
async fn addresses_are_sent_as_addresses() {
    let v6: std::net::Ipv6Addr = "2001:db8::1".parse().unwrap();
    let v4 = [&[5, 1, 0, 1, 192, 0, 2, 7], &8080_u16.to_be_bytes()[..]].concat();
    let v6 = [&[5, 1, 0, 4], &v6.octets()[..], &8080_u16.to_be_bytes()[..]].concat();
    for (host, request) in [("192.0.2.7", v4), ("2001:db8::1", v6)] {
        let (made, heard) = scripted(host, None, vec![(3, vec![5, 0]), (request.len(), DONE.to_vec())]).await;
        made.unwrap();
        assert_eq!(heard.await.unwrap().0[1], request);
    }
}

#[tokio::test]
async fn any_form_of_the_bound_address_is_read_off() {
    let v6 = [&[5, 0, 0, 4][..], &[0; 18], b"x"].concat();
    let name = [&[5, 0, 0, 3, 255][..], &[b'a'; 257], b"x"].concat();
    for reply in [v6, name] {
        let (made, _heard) = scripted("a.test", None, vec![(3, vec![5, 0]), (13, reply)]).await;
        assert_eq!(made.unwrap().stream.read_u8().await.unwrap(), b'x');
    }
}

#[tokio::test]
async fn the_login_is_sent_when_it_is_asked_for() {
    let login = Some(("user", "s3cret"));
    let steps = vec![(4, vec![5, 2]), (13, vec![1, 0]), (13, DONE.to_vec())];
    let (made, heard) = scripted("a.test", login, steps).await;
    made.unwrap();
    let heard = heard.await.unwrap().0;
    assert_eq!(heard[..2], [HELLO_WITH_LOGIN.to_vec(), b"\x01\x04user\x06s3cret".to_vec()]);

    let (made, heard) = scripted("a.test", login, vec![(4, vec![5, 0]), (13, DONE.to_vec())]).await;
    made.unwrap();
    assert_eq!(heard.await.unwrap().0.len(), 2, "nobody asked for it");
}

#[tokio::test]
async fn a_login_that_fails_is_told() {
    let reason = refused(Some(("user", "wrong")), vec![(4, vec![5, 2]), (12, vec![1, 1])]).await;
    assert_eq!(reason.to_string(), "it refused the user or the password of egress.proxy");
    for method in [0xFF, 2, 1] {
        let reason = refused(None, vec![(3, vec![5, method])]).await;
        assert!(matches!(reason, ProxyFailure::NoMethod), "{method}: {reason}");
    }
    let long = "x".repeat(256);
    let reason = refused(Some(("user", &long)), vec![(4, vec![5, 2])]).await;
    assert!(reason.to_string().starts_with("the password of egress.proxy is empty or over 255"), "{reason}");
}

#[tokio::test]
async fn a_refusal_is_told_in_words_even_when_cut_short() {
    let words = [
        (1, "general failure"),
        (2, "its rules do not allow this connection"),
        (4, "host unreachable from there, or its name unknown"),
        (5, "connection refused by the host"),
        (8, "it does not know this type of address"),
        (99, "unknown reply 99"),
    ];
    for (code, words) in words {
        let reason = refused(None, vec![(3, vec![5, 0]), (13, vec![5, code])]).await;
        assert_eq!(reason.to_string(), words);
    }
}

#[tokio::test]
async fn garbage_is_told_from_socks() {
    let scripts = [
        vec![(3, b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())],
        vec![(3, vec![4, 0])],
        vec![(3, vec![5, 0]), (13, vec![4, 0])],
        vec![(3, vec![5, 0]), (13, vec![5, 0, 0, 9])],
    ];
    for steps in scripts {
        let reason = refused(None, steps).await;
        assert!(matches!(reason, ProxyFailure::NotSocks), "{reason}");
    }
    let reason = refused(Some(("user", "x")), vec![(4, vec![5, 2]), (8, vec![7, 0])]).await;
    assert!(matches!(reason, ProxyFailure::NotSocks), "{reason}");
}

#[tokio::test]
async fn a_name_that_has_no_room_is_refused_unsent() {
    let long = "a".repeat(256);
    let (outcome, _heard) = scripted(&long, None, Vec::new()).await;
    let error = outcome.unwrap_err().to_string();
    assert!(
        error.ends_with("the host name is empty or over 255 bytes, which SOCKS 5 cannot carry"),
        "{error}"
    );
}

#[tokio::test]
async fn a_proxy_that_never_answers_is_given_up() {
    let (listener, address) = listen().await;
    let connector = Connector::new(&through(EgressProxyKind::Socks5, address, None)).unwrap();
    let silent = async {
        let (mut tcp, _) = listener.accept().await.unwrap();
        tcp.read_exact(&mut [0; HELLO.len()]).await.unwrap();
        tokio::time::pause();
        tcp
    };
    let target = origin(Scheme::Http, "a.test", 80);
    let (_held, outcome) = tokio::join!(silent, connector.connect(&target, address, None));
    assert!(matches!(outcome.unwrap_err(), ConnectError::Timeout { stage: Stage::Proxy, .. }));
}
