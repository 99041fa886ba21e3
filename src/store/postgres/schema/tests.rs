//! Two versions on one database.

use super::super::tests::Cluster;
use super::VERSION;
use crate::store::suite::event;
use crate::store::{Intake, StoreError};

#[tokio::test]
async fn a_newer_database_that_can_be_read_serves() {
    let cluster = Cluster::new();
    cluster.replica("older").await.close().await;
    cluster.server.sql(&format!(
        "ALTER TABLE xinyao_gateway.request ADD COLUMN unheard_of text NOT NULL DEFAULT 'x';
         CREATE TABLE xinyao_gateway.unheard_of (id bigint);
         UPDATE xinyao_gateway.schema_version SET version = {}, readable = {VERSION}",
        VERSION + 1
    ));
    let again = cluster.replica("older").await;
    again.append(event(1)).await.unwrap();
    assert_eq!(cluster.server.sql("SELECT count(*) FROM xinyao_gateway.event"), "1");
}

#[tokio::test]
async fn a_newer_database_that_can_not_be_read_is_left_alone() {
    let cluster = Cluster::new();
    cluster.replica("older").await.close().await;
    let newer = VERSION + 1;
    cluster
        .server
        .sql(&format!("UPDATE xinyao_gateway.schema_version SET version = {newer}, readable = {newer}"));
    let refused = cluster.open("older").await.unwrap_err();
    let expected = format!("its schema {newer} was made by a newer gateway; upgrade this one");
    assert!(matches!(&refused, StoreError::Unavailable(why) if why.contains(&expected)), "{refused:?}");
    assert_eq!(cluster.server.sql("SELECT count(*) FROM xinyao_gateway.replica WHERE NOT fenced"), "0");
}
