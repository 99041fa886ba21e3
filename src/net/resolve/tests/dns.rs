//! A look-up over a socket, from a DNS server of the test's own.

use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use tokio::net::UdpSocket;

use super::super::lookup::{Answer, LookupFailure, ask};
use super::*;

/// Looks `host` up at a server that answers each question with what `answer` says of its type.
async fn look_up(
    host: &str,
    answer: impl Fn(RecordType) -> Vec<(RData, u32)> + Send + 'static,
) -> Result<Answer, LookupFailure> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let mut connection = ConnectionConfig::udp();
    connection.port = socket.local_addr().unwrap().port();
    let server = NameServerConfig::new(Ipv4Addr::LOCALHOST.into(), true, vec![connection]);
    let serving = tokio::spawn(async move {
        let mut packet = [0; 1500];
        loop {
            let (length, peer) = socket.recv_from(&mut packet).await.unwrap();
            let question = Message::from_vec(&packet[..length]).unwrap();
            let response = respond(question, &answer);
            socket.send_to(&response.to_vec().unwrap(), peer).await.unwrap();
        }
    });
    let config = ResolverConfig::from_name_servers(vec![server]);
    let outcome = ask(config, ResolverOpts::default(), host).await;
    serving.abort();
    outcome
}

fn respond(question: Message, answer: &impl Fn(RecordType) -> Vec<(RData, u32)>) -> Message {
    let query = question.queries[0].clone();
    let records: Vec<_> = answer(query.query_type())
        .into_iter()
        .map(|(data, ttl)| Record::from_rdata(query.name().clone(), ttl, data))
        .collect();
    let mut response = question.into_response();
    response.metadata.recursion_available = true;
    if records.is_empty() {
        response.metadata.response_code = ResponseCode::NXDomain;
    }
    response.add_answers(records);
    response
}

fn v4(last: u8) -> RData {
    RData::A(Ipv4Addr::new(192, 0, 2, last).into())
}

#[tokio::test]
async fn both_families_are_taken_in_the_servers_order() {
    let answer = look_up("api.test.", |kind| match kind {
        RecordType::A => vec![(v4(9), 90), (v4(1), 90)],
        _ => vec![(RData::AAAA(Ipv6Addr::LOCALHOST.into()), 90)],
    });
    let answer = answer.await.unwrap();
    let v4: Vec<_> = answer.addresses.iter().filter(|ip| ip.is_ipv4()).map(ToString::to_string).collect();
    assert_eq!((v4, answer.addresses.len()), (vec!["192.0.2.9".to_owned(), "192.0.2.1".to_owned()], 3));
    assert!(answer.ttl > secs(80) && answer.ttl <= secs(90), "{:?}", answer.ttl);
}

#[tokio::test]
async fn one_family_is_enough() {
    let answer = look_up("api.test.", |kind| match kind {
        RecordType::A => vec![(v4(1), 90)],
        _ => Vec::new(),
    });
    assert_eq!(answer.await.unwrap().addresses, [IpAddr::from([192, 0, 2, 1])]);
}

#[tokio::test]
async fn a_name_that_is_not_there_is_a_failure_in_words() {
    let failure = look_up("nowhere.test.", |_| Vec::new()).await.unwrap_err();
    assert!(failure.to_string().contains("nowhere.test."), "{failure}");
}
