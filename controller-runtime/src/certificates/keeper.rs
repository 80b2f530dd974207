//! Reads, decides, writes.

use std::{fmt, path::Path, sync::Arc, time::Duration};

use futures::future::{BoxFuture, join_all};
use jiff::Timestamp;
use k8s_openapi::{
    ByteString,
    api::{admissionregistration::v1::ValidatingWebhookConfiguration, core::v1::Secret as CoreSecret},
    kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use kube::{
    Api, Resource,
    api::{Patch, PatchParams, PostParams},
    runtime::watcher,
};
use metrics_adapter::server::ServingCertificate;
use scaler_api::Secret;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::{sync::Notify, time::Instant};

use super::{
    Error, Material, Options, Source, bundle,
    decision::{self, Action, Facts, decide},
    issue,
    material::{Certificate, KeptSecret, to_pem},
};
use crate::{
    queue::Backoff,
    runtime::Runtime,
    store::{Informer, ObjectKey, Store},
};

/// How often a folder is looked at.
const POLL: Duration = Duration::from_secs(10);
/// How long nothing is looked at at most: the wall clock may be set, and a machine may have slept.
const LONGEST: Duration = Duration::from_secs(60 * 60);
/// How soon what failed is tried again.
const RETRY: Backoff = Backoff {
    first: Duration::from_secs(1),
    last: Duration::from_secs(60),
};
/// Who writes.
const MANAGER: &str = "autoscaler-certificates";

/// Keeps the certificate of the process's listeners.
pub struct Keeper {
    core: Core,
    watches: Vec<BoxFuture<'static, ()>>,
}

/// What a turn works with.
struct Core {
    runtime: Runtime,
    options: Options,
    serving: ServingCertificate,
    secret: Option<Store<KeptSecret>>,
    api_services: Vec<Store<APIService>>,
    webhooks: Vec<Store<ValidatingWebhookConfiguration>>,
    changed: Arc<Notify>,
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper")
            .field("options", &self.core.options)
            .field("serving", &self.core.serving)
            .finish_non_exhaustive()
    }
}

/// What one turn leaves to the next.
#[derive(Debug, Default)]
struct Memory {
    /// What the listeners were given.
    served: Option<(String, Secret)>,
    /// What was written, and the version of the Secret in the store when it was: it is ahead of the store until that
    /// changes.
    written: Option<(Option<String>, KeptSecret)>,
    /// A bundle, and since when every object has been carrying it.
    distributed: Option<(String, Instant)>,
}

impl Keeper {
    /// A keeper that does nothing until it [runs](Self::run).
    #[must_use]
    pub fn new(runtime: Runtime, options: Options) -> Self {
        let changed = Arc::new(Notify::new());
        let mut watches = Vec::new();
        let client = &runtime.client;
        let secret = match &options.source {
            Source::Managed(name) | Source::Secret(name) => {
                let api = Api::namespaced(client.clone(), &options.namespace);
                Some(watch(api, name, &changed, &mut watches))
            }
            Source::Directory(_) => None,
        };
        let names = options.api_services.iter();
        let api_services = names
            .map(|name| watch(Api::all(client.clone()), name, &changed, &mut watches))
            .collect();
        let names = options.validating_webhooks.iter();
        let webhooks = names
            .map(|name| watch(Api::all(client.clone()), name, &changed, &mut watches))
            .collect();
        let core = Core {
            serving: ServingCertificate::empty(),
            secret,
            api_services,
            webhooks,
            changed,
            runtime,
            options,
        };
        Self { core, watches }
    }

    /// The certificate for listeners: empty at first, replaced whenever there is another.
    #[must_use]
    pub fn serving(&self) -> ServingCertificate {
        self.core.serving.clone()
    }

    /// Watches and works until dropped.
    pub async fn run(self) {
        let Self { core, watches } = self;
        futures::join!(join_all(watches), core.work());
    }
}

impl Core {
    async fn work(&self) {
        if let Some(secret) = &self.secret {
            secret.synced().await;
        }
        let (mut memory, mut failures) = (Memory::default(), 0_u32);
        let leadership = &self.runtime.leadership;
        loop {
            let led = leadership.leads();
            let pause = match self.turn(&mut memory).await {
                Ok(pause) => {
                    failures = 0;
                    pause
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    tracing::warn!(%error, "the certificate could not be looked after, trying again");
                    RETRY.after(failures)
                }
            };
            let leads_or_not = async {
                match led {
                    true => leadership.lost().await,
                    false => leadership.gained().await,
                }
            };
            tokio::select! {
                biased;
                () = leads_or_not => {}
                () = self.changed.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Loads what there is; where this process leads, sees to the Secret and to the bundles. Says how long to wait.
    async fn turn(&self, memory: &mut Memory) -> Result<Duration, Error> {
        if let Source::Directory(directory) = &self.options.source {
            let material = read(directory)?;
            self.load(&material, memory)?;
            self.distribute(&material, memory).await?;
            return Ok(POLL);
        }
        let mut secret = self.current(memory);
        if let Some(secret) = &secret {
            self.load(&secret.data, memory)?;
        }
        let mut pause = LONGEST;
        if matches!(self.options.source, Source::Managed(_)) && self.runtime.leadership.leads() {
            let (kept, until) = self.maintain(secret, memory).await?;
            if let Some(kept) = &kept {
                self.load(&kept.data, memory)?;
            }
            (secret, pause) = (kept, until);
        }
        if let Some(secret) = secret
            && let Some(distributed_in) = self.distribute(&secret.data, memory).await?
        {
            pause = pause.min(distributed_in);
        }
        Ok(pause)
    }

    /// The Secret as it was last read or written.
    fn current(&self, memory: &mut Memory) -> Option<KeptSecret> {
        let stored = self.stored();
        let version = stored
            .as_ref()
            .and_then(|secret| secret.metadata.resource_version.clone());
        match &memory.written {
            Some((before, written)) if *before == version => Some(written.clone()),
            _ => {
                memory.written = None;
                stored.map(|secret| KeptSecret::clone(&secret))
            }
        }
    }

    fn stored(&self) -> Option<Arc<KeptSecret>> {
        let (Source::Managed(name) | Source::Secret(name)) = &self.options.source else {
            return None;
        };
        let key = ObjectKey::new(&self.options.namespace, name);
        self.secret.as_ref()?.get(&key)
    }

    /// Gives the listeners another certificate.
    fn load(&self, material: &Material, memory: &mut Memory) -> Result<(), Error> {
        let served = (material.certificate.clone(), material.key.clone());
        if memory.served.as_ref() == Some(&served) || material.certificate.is_empty() {
            return Ok(());
        }
        let replaced = self
            .serving
            .replace(served.0.as_bytes(), served.1.expose().as_bytes());
        // The leader mends what is its own, and what is not is not mended by trying again.
        match replaced {
            Err(error) if matches!(self.options.source, Source::Managed(_)) => {
                tracing::warn!(%error, "the certificate in the Secret cannot be served");
                return Ok(());
            }
            replaced => replaced?,
        }
        let expires = Certificate::read_all("tls.crt", &served.0)
            .ok()
            .and_then(|chain| chain.first().map(|leaf| leaf.not_after));
        tracing::info!(expires = ?expires, "a certificate is served");
        memory.served = Some(served);
        Ok(())
    }

    /// Does to the Secret what is due; returns it, and how long nothing will be.
    async fn maintain(
        &self,
        mut secret: Option<KeptSecret>,
        memory: &mut Memory,
    ) -> Result<(Option<KeptSecret>, Duration), Error> {
        loop {
            let now = self.runtime.clock.now();
            let material = secret.as_ref().map(|secret| &secret.data);
            let facts = Facts {
                material,
                is_provided: secret.as_ref().is_some_and(KeptSecret::is_provided),
                is_distributed: material.is_some_and(|material| self.is_distributed(material, memory)),
            };
            let action = decide(facts, now, &self.options);
            let material = material.cloned().unwrap_or_default();
            let bundle = || Certificate::read_all("ca.crt", &material.bundle).unwrap_or_default();
            let trusted = || decision::still_trusted(&bundle(), now, self.options.certificate_life);
            let (changed, why) = match action {
                Action::Keep { until } => return Ok((secret, pause_until(until, now))),
                Action::Load | Action::AwaitDistribution => return Ok((secret, LONGEST)),
                Action::MakeEverything { reason } => {
                    (issue::everything(&self.options, &trusted(), now)?, reason)
                }
                Action::MakeAuthority { reason } => (
                    issue::authority(&self.options, &material, &trusted(), now)?,
                    reason,
                ),
                Action::Issue { reason } => (issue::certificate(&self.options, &material, now)?, reason),
                Action::Retire => {
                    let bundle = to_pem(&trusted());
                    (
                        Material { bundle, ..material },
                        "all that an authority signed has expired",
                    )
                }
            };
            let written = match self.write(secret.as_ref(), &changed).await {
                // Another was faster: its certificate counts, and the watch brings it.
                Err(Error::Api(kube::Error::Api(status)))
                    if status.is_already_exists() || status.is_conflict() =>
                {
                    return Ok((secret, RETRY.first));
                }
                written => written?,
            };
            self.runtime.decisions.record(
                "certificates",
                format!("Secret/{}", ObjectKey::of(&written)),
                "",
                in_words(&changed),
                why,
            );
            let before = self
                .stored()
                .and_then(|secret| secret.metadata.resource_version.clone());
            memory.written = Some((before, written.clone()));
            secret = Some(written);
        }
    }

    /// Creates or changes the Secret, unless somebody else did meanwhile.
    async fn write(&self, secret: Option<&KeptSecret>, material: &Material) -> Result<KeptSecret, Error> {
        let (Source::Managed(name) | Source::Secret(name)) = &self.options.source else {
            return Ok(KeptSecret::default());
        };
        let (client, namespace) = (&self.runtime.client, &self.options.namespace);
        let Some(secret) = secret else {
            let object = json!({
                "metadata": {"name": name, "namespace": namespace},
                "type": "kubernetes.io/tls",
                "data": material.to_data(),
            });
            let object: CoreSecret = serde_json::from_value(object).map_err(kube::Error::SerdeError)?;
            let api: Api<CoreSecret> = Api::namespaced(client.clone(), namespace);
            let parameters = PostParams {
                field_manager: Some(MANAGER.to_owned()),
                ..PostParams::default()
            };
            let created = api.create(&parameters, &object).await?;
            return Ok(KeptSecret {
                metadata: created.metadata,
                data: material.clone(),
            });
        };
        let api: Api<KeptSecret> = Api::namespaced(client.clone(), namespace);
        let patch = json!({
            "metadata": {"resourceVersion": secret.metadata.resource_version},
            "data": material.to_data(),
        });
        Ok(api.patch(name, &parameters(), &Patch::Merge(&patch)).await?)
    }

    /// Whether every object has been carrying the bundle for long enough.
    fn is_distributed(&self, material: &Material, memory: &Memory) -> bool {
        let since = memory.distributed.as_ref();
        since.is_some_and(|(bundle, since)| {
            *bundle == material.bundle && since.elapsed() >= self.options.propagation
        })
    }

    /// Puts the bundle into every object that does not carry it. Says when it will have been there for long enough.
    async fn distribute(&self, material: &Material, memory: &mut Memory) -> Result<Option<Duration>, Error> {
        let bundle = ByteString(material.bundle.as_bytes().to_vec());
        if bundle.0.is_empty() || !self.runtime.leadership.leads() {
            memory.distributed = None;
            return Ok(None);
        }
        let mut lacking = false;
        let client = &self.runtime.client;
        for object in self.api_services.iter().flat_map(Store::list) {
            if let Some(patch) = bundle::for_api_service(&object, &bundle) {
                lacking = true;
                self.patch(&Api::all(client.clone()), &*object, &Patch::Merge(patch))
                    .await?;
            }
        }
        for object in self.webhooks.iter().flat_map(Store::list) {
            if let Some(patch) = bundle::for_webhooks(&object, &bundle) {
                lacking = true;
                self.patch(&Api::all(client.clone()), &*object, &Patch::Strategic(patch))
                    .await?;
            }
        }
        if lacking || !self.has_seen_all() {
            memory.distributed = None;
            return Ok(None);
        }
        let known = memory
            .distributed
            .take()
            .filter(|(known, _)| *known == material.bundle);
        let (bundle, since) = known.unwrap_or_else(|| (material.bundle.clone(), Instant::now()));
        memory.distributed = Some((bundle, since));
        let left = self.options.propagation.checked_sub(since.elapsed());
        Ok(left.filter(|left| !left.is_zero()))
    }

    fn has_seen_all(&self) -> bool {
        self.api_services.iter().all(Store::is_synced) && self.webhooks.iter().all(Store::is_synced)
    }

    async fn patch<K>(&self, api: &Api<K>, object: &K, patch: &Patch<serde_json::Value>) -> Result<(), Error>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + fmt::Debug,
    {
        if !self.options.write_bundles || !self.runtime.leadership.leads() {
            return Ok(());
        }
        let key = ObjectKey::of(object);
        match api.patch(&key.name, &parameters(), patch).await {
            Ok(_) => {}
            // It goes, and its watch says so.
            Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        self.runtime.decisions.record(
            "certificates",
            format!("{}/{key}", K::kind(&())),
            "",
            "caBundle",
            "it did not carry the current bundle",
        );
        Ok(())
    }
}

fn parameters() -> PatchParams {
    PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

fn pause_until(until: Timestamp, now: Timestamp) -> Duration {
    let left = Duration::try_from(until.duration_since(now)).unwrap_or_default();
    left.clamp(Duration::from_secs(1), LONGEST)
}

/// When the certificate expires, and how many authorities there are.
fn in_words(material: &Material) -> String {
    let expires = Certificate::read_all("tls.crt", &material.certificate)
        .ok()
        .and_then(|chain| chain.first().map(|leaf| leaf.not_after.to_string()));
    let authorities = Certificate::read_all("ca.crt", &material.bundle).map_or(0, |bundle| bundle.len());
    let expires = expires.unwrap_or_else(|| "unknown".to_owned());
    format!("expires {expires}, authorities {authorities}")
}

/// Watches the one object of this name.
fn watch<K>(
    api: Api<K>,
    name: &str,
    changed: &Arc<Notify>,
    watches: &mut Vec<BoxFuture<'static, ()>>,
) -> Store<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + fmt::Debug + Send + Sync + 'static,
{
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut informer = Informer::with_config(api, config);
    let changed_now = Arc::clone(changed);
    informer.subscribe(move |_| changed_now.notify_one());
    let store = informer.store();
    let (first_list, changed) = (store.clone(), Arc::clone(changed));
    watches.push(Box::pin(informer.run()));
    // An object that is not there is no change, but worth knowing.
    watches.push(Box::pin(async move {
        first_list.synced().await;
        changed.notify_one();
    }));
    store
}

/// The files of a folder.
fn read(directory: &Path) -> Result<Material, Error> {
    let file = |name: &str| {
        let path = directory.join(name);
        std::fs::read_to_string(&path).map_err(|source| Error::File {
            path: path.display().to_string(),
            source,
        })
    };
    let bundle = match file("ca.crt") {
        Err(Error::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => String::new(),
        bundle => bundle?,
    };
    Ok(Material {
        certificate: file("tls.crt")?,
        key: Secret::new(file("tls.key")?),
        bundle,
        authority_key: Secret::default(),
    })
}
