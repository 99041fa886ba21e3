//! The addresses of apps are kept.

use super::{House, after, full};
use crate::store::{MAX_TEAM_URLS, MAX_TEAM_URLS_EACH, TeamUrl};

fn address(app: &str, number: usize) -> TeamUrl {
    let since = after(number.try_into().unwrap());
    TeamUrl { app: app.into(), url: format!("http://10.0.0.5/{number}"), since }
}

pub(crate) async fn an_address_is_kept_once(house: &mut impl House) {
    let mut store = house.open().await;
    for (app, number) in [("crm", 1), ("crm", 2), ("erp", 1)] {
        store.keep_team_url(address(app, number)).await.unwrap();
    }
    store.keep_team_url(TeamUrl { since: after(99), ..address("crm", 1) }).await.unwrap();
    house.refuse(true);
    full(store.keep_team_url(address("crm", 3)).await);
    house.refuse(false);
    if let Some(opened) = house.reopen().await {
        store = opened;
    }
    let expected = [address("crm", 1), address("crm", 2), address("erp", 1)];
    assert_eq!(store.team_urls().await.unwrap(), expected);
}

pub(crate) async fn there_is_room_for_so_many_addresses(house: &mut impl House) {
    let store = house.open().await;
    let app = |number: usize| ["crm", "erp", "web", "bot", "lab"][number / MAX_TEAM_URLS_EACH];
    let all = (0..MAX_TEAM_URLS).map(|number| store.keep_team_url(address(app(number), number)));
    assert!(futures_util::future::join_all(all).await.iter().all(Result::is_ok));
    full(store.keep_team_url(address("lab", 0)).await);
    store.keep_team_url(address("crm", 7)).await.unwrap();
    // What is forgotten leaves room, and an app has no more than its own.
    store.forget_team_url("erp".into(), address("erp", MAX_TEAM_URLS_EACH).url).await.unwrap();
    store.forget_team_url("crm".into(), "http://nobody".into()).await.unwrap();
    full(store.keep_team_url(address("crm", MAX_TEAM_URLS)).await);
    store.keep_team_url(address("lab", 0)).await.unwrap();
    let kept = store.team_urls().await.unwrap();
    assert_eq!((kept.len(), kept.last()), (MAX_TEAM_URLS, Some(&address("lab", 0))));
}
