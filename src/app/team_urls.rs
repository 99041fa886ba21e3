//! The callback addresses that apps name in their tasks: the proxy puts the hub's URLs in their place, the store
//! keeps them, and the dispatcher serves them as subscribers.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use jiff::Timestamp;

use crate::hub::dispatch::{Dispatch, DispatchError, Wanted};
use crate::hub::{Keys, Settings, SubscriberSettings, TeamUrlSettings, team_url};
use crate::net::Networks;
use crate::net::client::Client;
use crate::proxy::{Originals, Place, Refusal, TeamUrls};
use crate::store::{Store, StoreError, TeamUrl, too_many};

/// How long finding an address's host, or keeping it, may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How far the clocks of replicas may be apart.
const SKEW: Duration = Duration::from_secs(10);
/// How long a delivery that is under way may keep a loop.
const LEAVING: Duration = Duration::from_mins(1);
/// How often the store is asked that does not answer.
const AGAIN: Duration = Duration::from_secs(1);

/// The addresses, and what stands for them.
pub(super) struct Addresses {
    configured: ArcSwap<Configured>,
    store: Arc<dyn Store>,
    known: Mutex<Vec<TeamUrl>>,
    /// By app.
    originals: ArcSwap<BTreeMap<String, Arc<Originals>>>,
    dispatch: OnceLock<Arc<Dispatch>>,
    /// Held while one is kept or forgotten, or the store is asked for all: what it says is then no older than what
    /// is known.
    order: tokio::sync::Mutex<()>,
    /// Held while the dispatcher is told, so that it is told of the newest last.
    telling: Mutex<()>,
}

/// What the configuration says.
struct Configured {
    settings: TeamUrlSettings,
    public_url: String,
    proxy_url: String,
    keys: Keys,
    subscribers: Vec<SubscriberSettings>,
    /// Connects within the networks that addresses may be in.
    guarded: Client,
}

impl Configured {
    fn new(hub: &Settings, guarded: Client) -> Self {
        Self {
            settings: hub.team_urls.clone(),
            public_url: hub.public_url.clone(),
            proxy_url: hub.proxy_url.clone(),
            keys: Keys::new(&hub.keys),
            subscribers: hub.subscribers.clone(),
            guarded,
        }
    }
}

impl Addresses {
    /// Those that the store knows.
    pub(super) async fn known(hub: &Settings, store: &Arc<dyn Store>) -> anyhow::Result<Arc<Self>> {
        let guarded = Client::within(hub.team_urls.networks.clone())?;
        let known = store.team_urls().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "the team_urls of tasks are served once the store has told them");
            Vec::new()
        });
        let addresses = Self {
            configured: ArcSwap::from_pointee(Configured::new(hub, guarded)),
            known: Mutex::new(known),
            store: Arc::clone(store),
            originals: ArcSwap::default(),
            dispatch: OnceLock::new(),
            order: tokio::sync::Mutex::default(),
            telling: Mutex::default(),
        };
        addresses.list();
        Ok(Arc::new(addresses))
    }

    /// What stands for the addresses of tasks as these settings say; none: they are left alone.
    pub(super) fn replacing(self: &Arc<Self>, hub: &Settings) -> Option<Arc<dyn TeamUrls>> {
        hub.team_urls.rewrite.then(|| Arc::clone(self) as _)
    }

    /// All subscribers: those of the file, and the addresses.
    pub(super) fn subscribers(&self) -> Vec<SubscriberSettings> {
        self.subscribers_with(&self.configured.load())
    }

    fn subscribers_with(&self, configured: &Configured) -> Vec<SubscriberSettings> {
        let implicit = self.held().iter().map(team_url::subscriber).collect::<Vec<_>>();
        configured.subscribers.iter().cloned().chain(implicit).collect()
    }

    /// From now on `dispatch` serves all of them, and new addresses.
    ///
    /// # Errors
    /// One can't be served as configured.
    pub(super) fn serve(&self, dispatch: &Arc<Dispatch>) -> Result<(), DispatchError> {
        drop(self.dispatch.set(Arc::clone(dispatch)));
        self.tell()
    }

    /// Goes by other settings, and has the dispatcher do so.
    ///
    /// # Errors
    /// A subscriber can't be served as configured, or the system's certificate authorities can't be read; nothing
    /// has changed then.
    pub(super) fn change(&self, hub: &Settings) -> anyhow::Result<()> {
        let _told = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.configured.load();
        let same_networks = before.settings.networks == hub.team_urls.networks;
        let guarded = if same_networks {
            before.guarded.clone()
        } else {
            Client::within(hub.team_urls.networks.clone())?
        };
        let configured = Configured::new(hub, guarded);
        self.apply(&configured)?;
        self.configured.store(Arc::new(configured));
        self.list();
        Ok(())
    }

    fn held(&self) -> MutexGuard<'_, Vec<TeamUrl>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn list(&self) {
        let Configured { keys, public_url, .. } = &**self.configured.load();
        let mut originals = BTreeMap::<String, Originals>::new();
        for TeamUrl { app, url, .. } in &*self.held() {
            let of = originals.entry(app.clone()).or_insert_with(|| Originals {
                prefixes: keys.urls(public_url, app).map(|url| url + "/").collect(),
                urls: Vec::new(),
            });
            of.urls.push((team_url::label(app, url), url.clone()));
        }
        let originals = originals.into_iter().map(|(app, of)| (app, Arc::new(of))).collect();
        self.originals.store(Arc::new(originals));
    }

    async fn register(&self, app: &str, url: &str) -> Result<(), Refusal> {
        let is_known = |known: &TeamUrl| known.app == app && known.url == url;
        if self.held().iter().any(is_known) {
            return Ok(());
        }
        if let Some(many) = too_many(&self.held(), app) {
            return Err(Refusal::TeamUrl(format!(
                "team_url is a new one, and {many}, which is as many as there can be; name one of those, or have \
                 the gateway's operator let one go: POST /api/v1/subscribers/team-url-.../purge"
            )));
        }
        let Ok(order) = tokio::time::timeout(PATIENCE, self.order.lock()).await else {
            return Err(Refusal::Unremembered);
        };
        // What names it comes later; but it may come in where the clock is behind this host's.
        let skew = self.store.replica().map_or(Duration::ZERO, |_| SKEW);
        let since = Timestamp::now().saturating_sub(skew).unwrap_or(Timestamp::MIN);
        let new = TeamUrl { app: app.to_owned(), url: url.to_owned(), since };
        let keeping = tokio::time::timeout(PATIENCE, self.store.keep_team_url(new.clone())).await;
        match keeping {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!(%error, app, "a team_url can't be kept");
                return Err(Refusal::Unremembered);
            }
            Err(_) => return Err(Refusal::Unremembered),
        }
        {
            let mut known = self.held();
            if !known.iter().any(is_known) {
                known.push(new);
            }
        }
        drop(order);
        self.list();
        self.tell().map_err(|error| {
            tracing::error!(%error, app, "a team_url can't be served");
            Refusal::TeamUrl("team_url can't be delivered to; write it as in http://10.0.0.5/path".into())
        })
    }

    /// Forgets the address that is served as `subscriber`, until an app names it again. Whether there is one.
    pub(super) async fn forget(&self, subscriber: &str) -> Result<bool, StoreError> {
        let is_it = |known: &TeamUrl| team_url::label(&known.app, &known.url) == subscriber;
        let found = self.held().iter().find(|known| is_it(known)).cloned();
        let Some(TeamUrl { app, url, .. }) = found else { return Ok(false) };
        let order = self.order.lock().await;
        self.store.forget_team_url(app, url).await?;
        self.held().retain(|known| !is_it(known));
        drop(order);
        self.list();
        if let Err(error) = self.tell() {
            tracing::error!(%error, subscriber, "the subscribers that are left can't be served");
        }
        Ok(true)
    }

    /// Takes up what other replicas register and forget; does not end while the store is open.
    pub(super) async fn follow(self: Arc<Self>) {
        let mut changes = self.store.changes();
        loop {
            changes.borrow_and_update();
            if let Err(error) = self.look().await {
                tracing::debug!(%error, "the team_urls that others registered are looked at later");
                tokio::time::sleep(AGAIN).await;
            } else if changes.changed().await.is_err() {
                return;
            }
        }
    }

    async fn look(&self) -> Result<(), StoreError> {
        let order = self.order.lock().await;
        let all = self.store.team_urls().await?;
        let before = std::mem::replace(&mut *self.held(), all.clone());
        drop(order);
        if before == all {
            return Ok(());
        }
        self.list();
        if let Err(error) = self.tell() {
            tracing::error!(%error, "the team_urls that others registered can't be served");
        }
        for TeamUrl { app, url, .. } in before.iter().filter(|known| !all.contains(known)) {
            tokio::spawn(self.let_go(team_url::label(app, url)));
        }
        Ok(())
    }

    /// Forgets a subscriber that another replica forgot while its loop went on here, which may have taken it up again.
    fn let_go(&self, subscriber: String) -> impl Future<Output = ()> + use<> {
        let (dispatch, store) = (self.dispatch.get().cloned(), Arc::clone(&self.store));
        async move {
            if let Some(dispatch) = dispatch {
                dispatch.ended(&subscriber, LEAVING).await;
            }
            if let Err(error) = store.forget(&subscriber).await {
                tracing::warn!(%error, subscriber, "it is still known to the store; purge it");
            }
        }
    }

    /// Tells the dispatcher of all subscribers.
    fn tell(&self) -> Result<(), DispatchError> {
        let _told = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
        self.apply(&self.configured.load())
    }

    fn apply(&self, configured: &Configured) -> Result<(), DispatchError> {
        let Some(dispatch) = self.dispatch.get() else { return Ok(()) };
        dispatch.apply(&Wanted {
            subscribers: self.subscribers_with(configured),
            proxy_url: configured.proxy_url.clone(),
            guarded: configured.guarded.clone(),
        })
    }

    /// What becomes of a task whose address is, or may be, outside the networks, as `message` tells.
    fn outside(&self, app: &str, message: String) -> Result<Place, Refusal> {
        if !self.configured.load().settings.pass_outside {
            return Err(Refusal::TeamUrl(message));
        }
        tracing::warn!(app, message, "a task is left as it is: the SaaS calls its team_url directly");
        Ok(Place::Outside(format!("{message}; the SaaS calls it directly")))
    }

    /// Whether all of the host's addresses are within the networks; what is wrong otherwise.
    async fn is_within(&self, url: &str) -> Result<(), String> {
        let uri: http::Uri = url.parse().map_err(|_| "it is no URL".to_owned())?;
        let port = match uri.scheme_str() {
            Some("http") => 80,
            Some("https") => 443,
            _ => return Err("it is no http:// or https:// URL".into()),
        };
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let plain = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        if host.is_empty() || !plain {
            return Err("it names no host, or a user".into());
        }
        let looking = tokio::net::lookup_host((host.as_str(), uri.port_u16().unwrap_or(port)));
        let found = tokio::time::timeout(PATIENCE, looking).await;
        let Ok(Ok(found)) = found else { return Err(format!("{host} can't be resolved")) };
        let addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
        let configured = self.configured.load();
        let outside = addresses.iter().find(|address| !within(&configured.settings.networks, **address));
        match (outside, addresses.is_empty()) {
            (Some(outside), _) => Err(format!("it points to {outside}")),
            (None, true) => Err(format!("{host} has no address")),
            (None, false) => Ok(()),
        }
    }
}

/// Whether `address` may be delivered to.
fn within(networks: &Networks, address: IpAddr) -> bool {
    !address.is_unspecified() && networks.contains(address)
}

impl TeamUrls for Addresses {
    fn replace<'a>(
        &'a self,
        app: &'a str,
        original: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Place, Refusal>> {
        Box::pin(async move {
            let original = original.filter(|original| !original.is_empty());
            let configured = self.configured.load_full();
            let Configured { keys, public_url, .. } = &*configured;
            let Some(original) = original else {
                return Ok(Place::Url(keys.url(public_url, app, None)));
            };
            if keys.urls(public_url, app).any(|own| original.starts_with(&own)) {
                return Ok(Place::Same);
            }
            if let Err(why) = self.is_within(original).await {
                let message = format!("team_url is outside callbacks.team_url_networks: {why}");
                return self.outside(app, message);
            }
            self.register(app, original).await?;
            let label = team_url::label(app, original);
            Ok(Place::Url(keys.url(public_url, app, Some(&label))))
        })
    }

    fn unseen(&self, app: &str, why: &str) -> Result<Place, Refusal> {
        let message = format!(
            "the body can't be looked through for a team_url that is outside callbacks.team_url_networks: {why}"
        );
        self.outside(app, message)
    }

    fn originals(&self, app: &str) -> Option<Arc<Originals>> {
        self.originals.load().get(app).cloned()
    }
}
