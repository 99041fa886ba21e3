//! Whichever replica it is sent to, nobody is called twice.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::Value;

use crate::support::{
    ADDTASK, Answer, Ask, Cluster, Gateway, Line, OUTNUM, Replica, TASKLIST, Upstream, answer, callback,
    in_time, outnum, post, try_ask,
};

use super::{ADOPTED, SOON};

fn keyed(number: usize) -> Ask {
    outnum(&number.to_string(), "phone\n13800138000\n").header("idempotency-key", number)
}

/// A SaaS that lets a moment pass before it answers: there is something under way.
fn saas() -> Upstream {
    Upstream::scripted(|_| {
        std::thread::sleep(Duration::from_millis(5));
        answer("200 OK", "content-type: application/json\r\n", r#"{"code":0,"result":{"call_sn":"1"}}"#)
    })
}

/// Sends it to all replicas at the same time.
async fn everywhere(cluster: &Cluster, ask: &Ask) -> Vec<Answer> {
    join_all(cluster.replicas.iter().map(|replica| ask.clone().send(replica.proxy))).await
}

async fn unknown(replica: &Replica) -> Vec<Value> {
    let page = replica.operate("/api/v1/requests?state=unknown").await.json();
    page["requests"].as_array().cloned().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_to_all_replicas_at_once_reaches_the_saas_once() {
    let saas = saas();
    let cluster = Cluster::run(Gateway::to(&saas)).await;
    for number in 0..20 {
        let ask = if number % 2 == 0 { keyed(number) } else { outnum(&number.to_string(), "phone\n1\n") };
        let answers = everywhere(&cluster, &ask).await;
        let sent =
            |answer: &&Answer| answer.status == 200 && answer.header("idempotency-replayed").is_empty();
        assert_eq!(answers.iter().filter(sent).count(), 1, "{answers:?}");
        for other in answers.iter().filter(|answer| !sent(answer)) {
            assert!(other.status == 409 || other.header("idempotency-replayed") == "true", "{other:?}");
        }
        assert_eq!(saas.seen().len(), number + 1);
        // Afterwards all know how it ended.
        for again in everywhere(&cluster, &ask).await {
            match number % 2 {
                0 => assert_eq!((again.status, again.header("idempotency-replayed")), (200, "true")),
                _ => drop(again.refused(409, -40901, "duplicate_request")),
            }
        }
        assert_eq!(saas.seen().len(), number + 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_replica_had_under_way_is_unknown_to_all_and_settled_anywhere() {
    let saas = Upstream::by_hand();
    let mut cluster = Cluster::run(Gateway::to(&saas)).await;
    let mut line = Line::to(cluster.replicas[0].proxy).await;
    line.send(keyed(1).to_bytes()).await;
    let mut server = saas.accept().await;
    server.request().await.unwrap();
    let message = keyed(1).send(cluster.replicas[1].proxy).await.refused(409, -40901, "duplicate_request");
    assert!(message.contains("under way"), "{message}");
    cluster.replicas[0].kill().await;
    let (second, third) = (&cluster.replicas[1], &cluster.replicas[2]);
    let took = in_time(ADOPTED, async || unknown(second).await.len() == 1).await;
    eprintln!("its outcome was unknown {took:?} after the kill");
    for replica in [second, third] {
        let message = keyed(1).send(replica.proxy).await.refused(409, -40901, "duplicate_request");
        assert!(message.contains("unknown"), "{message}");
    }
    let id = unknown(third).await[0]["id"].as_str().unwrap().to_owned();
    third.act(&format!("/api/v1/requests/{id}/settle"), r#"{"outcome":"not_sent"}"#).await;
    assert!(unknown(second).await.is_empty());
    let mut line = Line::to(second.proxy).await;
    line.send(keyed(1).to_bytes()).await;
    let mut server = saas.accept().await;
    server.request().await.unwrap();
    server.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{\"code\":0}").await;
    assert_eq!(line.answer().await.status, 200);
    let again = keyed(1).send(third.proxy).await;
    assert_eq!((again.status, again.header("idempotency-replayed")), (200, "true"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_postgres_what_must_not_be_sent_twice_is_not_sent_and_all_else_is() {
    let saas = Upstream::start();
    let mut cluster = Cluster::run(Gateway::to(&saas)).await;
    assert_eq!(keyed(1).send(cluster.replicas[0].proxy).await.status, 200);
    cluster.postgres.kill();
    for replica in &cluster.replicas {
        for ask in [
            keyed(1),
            keyed(2),
            outnum("3", "phone\n1\n"),
            post(ADDTASK, "{}").header("idempotency-key", "a"),
        ] {
            ask.send(replica.proxy).await.refused(503, -50301, "overloaded");
        }
        assert_eq!(saas.seen().len(), 1, "{:?}", saas.seen());
    }
    for (count, replica) in cluster.replicas.iter().enumerate() {
        assert_eq!(post(TASKLIST, "{}").send(replica.proxy).await.status, 200);
        assert_eq!(post(&callback(None), "{}").send(replica.callbacks).await.status, 200);
        assert_eq!(saas.seen().len(), count + 2);
    }
    cluster.postgres.resume();
    for replica in &cluster.replicas {
        let again = async || keyed(1).send(replica.proxy).await;
        in_time(SOON, async || again().await.status == 200).await;
        assert_eq!(again().await.header("idempotency-replayed"), "true");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_nobody_is_called_twice_by_another() {
    let saas = Upstream::start();
    let mut cluster = Cluster::run(Gateway::to(&saas)).await;
    let asks: Vec<Ask> = (0..64).map(keyed).collect();
    let sending = tokio::spawn({
        let (asks, proxy) = (asks.clone(), cluster.replicas[0].proxy);
        async move {
            let one = async |ask: &Ask| try_ask(ask, proxy, &mut None).await;
            join_all(asks.iter().map(one)).await
        }
    });
    saas.has_seen(20).await;
    cluster.replicas[0].kill().await;
    let answers = sending.await.unwrap();
    let called = |ask: &Ask| saas.seen().iter().filter(|seen| seen.body == ask.content()).count();
    // Nothing of the killed one's is under way any more.
    let other = &cluster.replicas[1];
    let under_way = async || {
        let page = other.operate("/api/v1/requests?state=under_way&limit=1").await.json();
        !page["requests"].as_array().unwrap().is_empty()
    };
    in_time(ADOPTED, async || !under_way().await).await;
    for (ask, answered) in asks.iter().zip(&answers) {
        let before = called(ask);
        let again = ask.clone().send(other.proxy).await;
        match (again.status, again.header("idempotency-replayed")) {
            (200, "true") => assert_eq!(before, 1),
            (200, _) => assert!(before == 0 && answered.is_none(), "{again:?}"),
            (409, _) => assert!(before <= 1 && answered.is_none(), "{again:?}"),
            _ => panic!("{again:?}"),
        }
        assert!(called(ask) <= 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ends_behind_a_cut_is_not_sent_again_by_another() {
    let saas = Upstream::by_hand();
    let cluster = Cluster::run(Gateway::to(&saas)).await;
    let [cut, other, _] = &cluster.replicas[..] else { panic!() };
    let mut line = Line::to(cut.proxy).await;
    line.send(keyed(1).to_bytes()).await;
    let mut server = saas.accept().await;
    server.request().await.unwrap();
    cut.postgres.silence();
    server.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{\"code\":0}").await;
    let message = keyed(1).send(other.proxy).await.refused(409, -40901, "duplicate_request");
    assert!(message.contains("under way"), "{message}");
    // Whose lease has ended does not tell any more how it ended.
    in_time(ADOPTED, async || unknown(other).await.len() == 1).await;
    cut.postgres.mend();
    let seated = async || cut.operate("/readyz").await.status == 200 && cluster.shard_of(cut).is_some();
    in_time(SOON, seated).await;
    for replica in [other, cut] {
        let message = keyed(1).send(replica.proxy).await.refused(409, -40901, "duplicate_request");
        assert!(message.contains("unknown"), "{message}");
    }
    assert_eq!(saas.accepted(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_while_postgres_stands_still_is_not_under_way_afterwards() {
    let saas = Upstream::start();
    let cluster = Cluster::run(Gateway::to(&saas)).await;
    assert_eq!(keyed(0).send(cluster.replicas[0].proxy).await.status, 200);
    cluster.postgres.freeze();
    let begun = Instant::now();
    let refused = cluster.replicas.iter().enumerate().map(async |(number, replica)| {
        keyed(number + 1).send(replica.proxy).await.refused(503, -50301, "overloaded");
        assert_eq!(post(TASKLIST, "{}").send(replica.proxy).await.status, 200);
    });
    join_all(refused).await;
    eprintln!("refused after {:?}", begun.elapsed());
    let outnums = || saas.seen().iter().filter(|seen| seen.target == OUTNUM).count();
    assert_eq!(outnums(), 1);
    cluster.postgres.wake();
    for number in 1..=3 {
        let again = async || keyed(number).send(cluster.replicas[number % 3].proxy).await.status == 200;
        in_time(SOON, again).await;
        assert_eq!(outnums(), number + 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_postgres_takes_up_after_its_caller_has_gone_is_not_under_way_for_ever() {
    let saas = Upstream::start();
    let cluster = Cluster::run(Gateway::to(&saas)).await;
    let one = &cluster.replicas[0];
    cluster.rows(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(4); RETURN NEW; END';
        CREATE TRIGGER slow BEFORE INSERT ON request FOR EACH ROW EXECUTE FUNCTION slow()",
    );
    let asking = tokio::spawn(keyed(1).send(one.proxy));
    let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    in_time(SOON, async || cluster.count(sleeping) == 1).await;
    one.postgres.close();
    asking.await.unwrap().refused(503, -50301, "overloaded");
    one.postgres.mend();
    assert_eq!(cluster.count("SELECT count(*) FROM request"), 0);
    in_time(SOON, async || cluster.count(sleeping) == 0).await;
    cluster.rows("DROP TRIGGER slow ON request");
    let again = async || keyed(1).send(one.proxy).await.status == 200;
    in_time(SOON, again).await;
    assert_eq!(saas.seen().len(), 1);
}
