//! The process is killed between the steps of an outnum: afterwards it is known what became of it, or known
//! that it is not known. `ONCE_KILL_ROUNDS=50` has the test do more rounds, by hand.

use std::collections::BTreeMap;

use futures_util::future::join_all;

use crate::support::{Answer, Ask, Binary, Gateway, Line, Upstream, bytes, get, ok, outnum, within};

fn keyed(number: usize) -> Ask {
    outnum(&number.to_string(), "phone\n1\n").header("idempotency-key", number)
}

async fn again(gateway: &Binary, ask: &Ask) -> Answer {
    ask.clone().send(gateway.proxy).await
}

/// The next connection over which a request comes whole; an upload that was held back comes in part.
async fn whole(upstream: &Upstream) -> Line {
    loop {
        let mut server = upstream.accept().await;
        if server.request().await.is_ok() {
            return server;
        }
    }
}

async fn unknown(gateway: &Binary) -> usize {
    let page = get("/api/v1/requests?state=unknown").send(gateway.admin).await.json();
    page["requests"].as_array().unwrap().len()
}

#[tokio::test]
async fn killed_before_the_upload_has_ended_nobody_was_called() {
    let upstream = Upstream::by_hand();
    let gateway = Binary::run(Gateway::to(&upstream));
    let ask = outnum("1", bytes(200_000));
    let mut line = Line::to(gateway.proxy).await;
    line.send(&ask.to_bytes()[..150_000]).await;
    let mut server = upstream.accept().await;
    server.some().await;
    let gateway = gateway.kill_and_run_again();
    assert!(server.request().await.is_err());
    assert_eq!(unknown(&gateway).await, 0);
    let (answer, ()) = tokio::join!(again(&gateway, &ask), async {
        let mut server = upstream.accept().await;
        server.request().await.unwrap();
        server.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{\"code\":0}").await;
    });
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn killed_before_the_answer_the_outcome_is_unknown() {
    let upstream = Upstream::by_hand();
    let mut gateway = Binary::run(Gateway::to(&upstream));
    for (number, ask) in [keyed(7), outnum("1", "phone\n1\n"), outnum("2", bytes(200_000))].iter().enumerate()
    {
        let mut line = Line::to(gateway.proxy).await;
        line.send(ask.to_bytes()).await;
        let _server = whole(&upstream).await;
        gateway = gateway.kill_and_run_again();
        let refused = again(&gateway, ask).await;
        let message = refused.refused(409, -40901, "duplicate_request");
        assert!(message.contains("unknown"), "{message}");
        assert_eq!(unknown(&gateway).await, number + 1);
    }
}

#[tokio::test]
async fn killed_after_the_answer_it_is_given_again() {
    let upstream = Upstream::start();
    let gateway = Binary::run(Gateway::to(&upstream));
    let plain = outnum("1", "phone\n1\n");
    let first = again(&gateway, &keyed(7)).await;
    assert_eq!((first.status, again(&gateway, &plain).await.status), (200, 200));
    let gateway = gateway.kill_and_run_again();
    let second = again(&gateway, &keyed(7)).await;
    assert_eq!((second.status, second.header("idempotency-replayed")), (200, "true"));
    assert_eq!(second.body, first.body);
    again(&gateway, &plain).await.refused(409, -40901, "duplicate_request");
    assert_eq!(upstream.seen().len(), 2);
}

#[tokio::test]
async fn killed_at_any_moment_nobody_is_called_twice() {
    let rounds = std::env::var("ONCE_KILL_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(4);
    let upstream = Upstream::scripted(|_| ok());
    let mut gateway = Binary::run(Gateway::to(&upstream));
    let called = || {
        let mut called = BTreeMap::<Vec<u8>, usize>::new();
        for seen in upstream.seen() {
            *called.entry(seen.body).or_default() += 1;
        }
        called
    };
    for round in 0..rounds {
        let numbers = round * 100..round * 100 + 64;
        let asks: Vec<Ask> = numbers.map(keyed).collect();
        let sending = tokio::spawn({
            let (asks, proxy) = (asks.clone(), gateway.proxy);
            async move {
                let one = async |ask: &Ask| {
                    let mut line = Line::to(proxy).await;
                    drop(line.try_send(ask.to_bytes()).await);
                    line.try_answer(false).await.ok()
                };
                join_all(asks.iter().map(one)).await
            }
        });
        // Into claiming, sending, and writing down the answers.
        upstream.has_seen(called().len() + 1 + (round * 13) % 60).await;
        gateway = gateway.kill_and_run_again();
        let answers = within(sending).await.unwrap_or_default();
        let before = called();
        for (at, ask) in asks.iter().enumerate() {
            let answered =
                answers.get(at).and_then(Option::as_ref).is_some_and(|answer| answer.status == 200);
            let body = ask.content();
            let times = before.get(body).copied().unwrap_or(0);
            let answer = again(&gateway, ask).await;
            match (answer.status, answer.header("idempotency-replayed")) {
                (200, "true") => assert_eq!(times, 1, "{answer:?}"),
                (200, _) => assert_eq!((times, answered), (0, false), "{answer:?}"),
                (409, _) => assert!(times <= 1, "{answer:?}"),
                _ => panic!("{answer:?}"),
            }
        }
        assert!(called().values().all(|times| *times == 1));
    }
}
