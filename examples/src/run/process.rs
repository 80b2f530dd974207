//! The process: what runs, in which order it starts, and in which it ends.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use controller_runtime::{
    admin::{self, Health, Heartbeat, Metrics},
    certificates::{self, Keeper, Source},
    explain::Explainer,
    lease::Writes,
    runtime::{Readiness, Runtime},
};
use kube::Client;
use metrics_adapter::server::ServingCertificate;
use scaler_api::{Registry, SharedClock, SystemClock};

use super::{
    certificates::OwnCertificate,
    cluster,
    config::{Configuration, Provider, Settings},
    election::Election,
    ending::{Ending, Parts},
    halves,
    listeners::{Addresses, Listeners, shown},
    registration::Registration,
    serving,
};
use crate::names;

/// How long a task may stand still before the process is to be restarted.
const STANDSTILL: Duration = Duration::from_secs(60);
/// How long taking back the registration may take.
const TAKE_BACK: Duration = Duration::from_secs(5);
/// How long the last events may take.
const LAST_EVENTS: Duration = Duration::from_secs(2);
/// How long requests are still accepted after readiness is over: as long as a Service takes to look elsewhere, or the next
/// leader to register.
const LAST_REQUESTS: Duration = Duration::from_secs(2);

/// What every part of the process is given.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) settings: Settings,
    /// The trigger types that there are.
    pub(super) registry: Arc<Registry>,
    pub(super) runtime: Runtime,
    pub(super) health: Health,
    pub(super) metrics: Metrics,
    /// Knows why, once the halves have started.
    pub(super) explainer: Explainer,
    pub(super) addresses: Addresses,
    /// What a process outside the cluster shows.
    certificate: ServingCertificate,
    /// What makes a process outside the cluster known.
    registration: Option<Registration>,
    /// Begins when the process is to end.
    ending: Ending,
    /// Begins when nothing writes any more.
    releasing: Ending,
    /// Begins when its listeners are to end.
    pub(super) draining: Ending,
}

/// The parts of the process, by how they end.
#[derive(Debug, Default)]
pub(super) struct Lives {
    /// What watches and writes: dropped first.
    pub(super) working: Parts,
    /// What tells of the work: goes on until everything is told.
    telling: Parts,
    /// The election: told to release the Lease once nothing writes any more.
    pub(super) electing: Parts,
    /// The listeners: told to end last, when their requests have their answers.
    pub(super) serving: Parts,
}

impl Lives {
    /// Why the first of them ended that did.
    async fn failure(&mut self) -> anyhow::Error {
        tokio::select! {
            biased;
            error = self.working.failure() => error,
            error = self.telling.failure() => error,
            error = self.electing.failure() => error,
            error = self.serving.failure() => error,
        }
    }
}

/// Runs until told to end.
///
/// # Errors
/// Whatever prevents the start, or a part that ended before it was told to.
pub(super) async fn run(configuration: Configuration, registry: Arc<Registry>) -> anyhow::Result<()> {
    let Configuration { settings, notes, .. } = configuration;
    for note in &notes {
        tracing::warn!("{note}");
    }
    let ending = Ending::new();
    ending.on_signals()?;
    let (mut listeners, addresses) = Listeners::bind(&settings)?;
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
    let requests = metrics.add_requests("autoscaler_api", "to the API server");
    let writes = Writes::default();
    let (client, server) = cluster::client(&settings, &requests, &writes).await?;
    let clock: SharedClock = Arc::new(SystemClock);
    let (runtime, events) = Runtime::new(client.clone(), clock, "autoscaler");
    let election = Election::new(&settings, &runtime, writes)?;
    let runtime = runtime.with_leadership(election.leadership());
    metrics.add_leadership(election.leadership());
    metrics.add_work(&runtime.work);
    if settings.pods {
        metrics.add_pods(&runtime.pods);
    }
    let own = own_certificate(&settings)?;
    let registration = own.as_ref().and_then(|own| {
        Some(Registration {
            client: client.clone(),
            identity: election.identity().to_owned(),
            namespace: settings.pod_namespace.clone(),
            service: settings.service.clone(),
            address: settings.advertise_address?,
            adapter_port: addresses.adapter?.port(),
            webhook_port: addresses.webhook.map(|address| address.port()),
            authority: own.authority.clone(),
            namespaces: settings.namespaces.clone(),
        })
    });
    let process = Process {
        settings,
        registry,
        runtime,
        health: Health::new(),
        metrics,
        explainer: Explainer::default(),
        addresses,
        certificate: own.map_or_else(ServingCertificate::empty, |own| own.serving),
        registration,
        ending,
        releasing: Ending::new(),
        draining: Ending::new(),
    };
    process.announce(&server, election.identity());

    let mut lives = Lives::default();
    lives.telling.add("the writer of events", events);
    let counting = process.metrics.add_decisions(&process.runtime.decisions);
    lives.working.add("the counter of decisions", counting);
    let outcome = process.live(&mut lives, &mut listeners, election).await;
    if let Err(error) = &outcome {
        tracing::error!(error = %format!("{error:#}"), "ending, as a part of the process failed");
    }
    let ended = process.end(lives).await;
    outcome.and(ended)?;
    tracing::info!("ended");
    Ok(())
}

/// The certificate of a process outside the cluster.
fn own_certificate(settings: &Settings) -> anyhow::Result<Option<OwnCertificate>> {
    let Some(address) = settings.advertise_address.filter(|_| settings.pods) else {
        return Ok(None);
    };
    OwnCertificate::make(&settings.service, &settings.pod_namespace, address).map(Some)
}

impl Process {
    pub(super) fn client(&self) -> Client {
        self.runtime.client.clone()
    }

    /// Whether the API server reaches this process through a Service of the cluster.
    fn is_behind_service(&self) -> bool {
        self.settings.advertise_address.is_none() && self.addresses.adapter.is_some()
    }

    /// One line: what runs where.
    fn announce(&self, server: &str, identity: &str) {
        let Settings {
            pods,
            nodes,
            namespaces,
            ..
        } = &self.settings;
        let namespaces = match (pods, namespaces.as_slice()) {
            (false, _) => "none".to_owned(),
            (true, []) => "all".to_owned(),
            (true, some) => some.join(","),
        };
        let provider = match nodes {
            None => "none",
            Some(Provider::Kwok) => "kwok",
            Some(Provider::Ec2) => "ec2",
        };
        let Addresses {
            metrics,
            health,
            adapter,
            webhook,
        } = self.addresses;
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            cluster = %server.trim_end_matches('/'),
            pods,
            nodes = provider,
            namespaces,
            adapter = shown(adapter),
            webhook = shown(webhook),
            metrics = shown(metrics),
            health = shown(health),
            identity,
            "autoscaler starts"
        );
    }

    /// Starts everything and waits for the end.
    async fn live(
        &self,
        lives: &mut Lives,
        listeners: &mut Listeners,
        election: Election,
    ) -> anyhow::Result<()> {
        let progress = self.watch_over_start();
        self.serve_admin(lives, listeners);
        let prepared = {
            let said = Arc::clone(&progress);
            let say = move |what: String| *said.lock().unwrap_or_else(PoisonError::into_inner) = Some(what);
            let prepare = self.prepare(say);
            tokio::select! {
                biased;
                () = self.ending.begun() => return Ok(()),
                error = lives.failure() => return Err(error),
                prepared = prepare => prepared,
            }
        };
        prepared?;
        if self.settings.pods {
            let answers = halves::start_pods(self, lives);
            let kept = self.keep_certificate(lives);
            let certificate = kept.unwrap_or_else(|| self.certificate.clone());
            serving::start(self, lives, listeners, certificate, answers);
        }
        // Without the pod half nobody knows anything.
        self.explainer.set(Vec::new());
        if let Some(provider) = self.settings.nodes {
            halves::start_nodes(self, provider, lives)?;
        }
        self.register(lives);
        election.start(&mut lives.electing, &self.releasing);
        *progress.lock().unwrap_or_else(PoisonError::into_inner) = None;
        tokio::select! {
            biased;
            () = self.ending.begun() => Ok(()),
            error = lives.failure() => Err(error),
        }
    }

    /// Readiness from the first moment on: not before everything has started, and no longer once it ends.
    fn watch_over_start(&self) -> Arc<Mutex<Option<String>>> {
        let progress = Arc::new(Mutex::new(Some(
            "the API server has not been asked yet".to_owned(),
        )));
        let state = Arc::clone(&progress);
        self.health.add_readiness("start", move || {
            match &*state.lock().unwrap_or_else(PoisonError::into_inner) {
                Some(waiting) => Err(waiting.clone()),
                None => Ok(()),
            }
        });
        let ending = self.ending.clone();
        self.health
            .add_readiness("shutdown", move || match ending.has_begun() {
                true => Err("the process is ending".to_owned()),
                false => Ok(()),
            });
        progress
    }

    fn serve_admin(&self, lives: &mut Lives, listeners: &mut Listeners) {
        let health = admin::health_router(self.health.clone());
        let metrics = admin::metrics_router(self.metrics.clone(), self.runtime.decisions.clone())
            .merge(admin::explain_router(self.explainer.clone()));
        for (name, listener, router) in [
            ("the health endpoint", listeners.health.take(), health),
            ("the metrics endpoint", listeners.metrics.take(), metrics),
        ] {
            let Some(listener) = listener else { continue };
            let serve = admin::serve(listener, router, self.draining.begun());
            lives.serving.add_fallible(name, async move { Ok(serve.await?) });
        }
    }

    /// Waits for what everything else needs.
    async fn prepare(&self, say: impl Fn(String)) -> anyhow::Result<()> {
        let client = self.client();
        cluster::until_reached(&client, &say).await;
        cluster::until_installed(&client, &self.settings, &say).await;
        if self.settings.advertise_address.is_some() {
            let namespace = &self.settings.pod_namespace;
            cluster::ensure_namespace(&client, namespace)
                .await
                .with_context(|| format!("the namespace {namespace} cannot be made"))?;
        }
        Ok(())
    }

    /// Not ready before the caches of a half are filled.
    pub(super) fn add_caches(&self, name: &'static str, caches: Readiness) {
        self.health.add_readiness(name, move || match caches.is_ready() {
            true => Ok(()),
            false => Err("the caches are not filled yet".to_owned()),
        });
    }

    /// Keeps the certificate of a process that the API server reaches through a Service.
    fn keep_certificate(&self, lives: &mut Lives) -> Option<ServingCertificate> {
        if !self.is_behind_service() {
            return None;
        }
        let settings = &self.settings;
        let secret = settings.certificate_secret.clone();
        let source = match settings.rotate_certificates {
            true => Source::Managed(secret),
            false => Source::Secret(secret),
        };
        let told = |is_told: bool, name: &str| is_told.then(|| name.to_owned()).into_iter().collect();
        let keeper = Keeper::new(
            self.runtime.clone(),
            certificates::Options {
                cluster_domain: settings.cluster_domain.clone(),
                api_services: told(settings.patch_api_service, names::API_SERVICE),
                validating_webhooks: told(
                    settings.patch_webhook && self.addresses.webhook.is_some(),
                    names::WEBHOOK_CONFIGURATION,
                ),
                ..certificates::Options::new(source, &settings.pod_namespace, &settings.service)
            },
        );
        let serving = keeper.serving();
        lives.working.add("the keeper of certificates", keeper.run());
        Some(serving)
    }

    /// A liveness check for a part, and the heart to run beside it.
    pub(super) fn heartbeat(&self, name: &'static str) -> Heartbeat {
        let heartbeat = Heartbeat::new();
        self.health.add_liveness(name, heartbeat.check(STANDSTILL));
        heartbeat
    }

    fn register(&self, lives: &mut Lives) {
        let Some(registration) = self.registration.clone() else {
            return;
        };
        let leadership = self.runtime.leadership.clone();
        lives.working.add("the registration", async move {
            leadership.while_leading(|| registration.keep()).await;
        });
    }

    /// Ends in order: no more writes, the Lease, then, when others have had time to look elsewhere, what is left of the
    /// registration, and the listeners.
    async fn end(&self, lives: Lives) -> anyhow::Result<()> {
        self.ending.begin();
        let Lives {
            mut working,
            mut telling,
            mut electing,
            mut serving,
        } = lives;
        let in_order = async {
            let led = self.runtime.leadership.leads();
            working.stop().await;
            self.releasing.begin();
            electing.finish().await?;
            // The last events are about the Lease. They are worth a moment, but no failure.
            tokio::time::timeout(LAST_EVENTS, self.runtime.recorder.written())
                .await
                .ok();
            telling.stop().await;
            let registration = self.registration.as_ref().filter(|_| led);
            if self.is_behind_service() || registration.is_some() {
                tokio::time::sleep(LAST_REQUESTS).await;
            }
            if let Some(registration) = registration {
                // An API server that is away must not keep the rest from ending.
                if tokio::time::timeout(TAKE_BACK, registration.remove())
                    .await
                    .is_err()
                {
                    tracing::error!("the registration with the API server was not taken back in time");
                }
            }
            self.draining.begin();
            serving.finish().await
        };
        let grace = self.settings.shutdown_grace_period;
        tokio::time::timeout(grace, in_order)
            .await
            .with_context(|| format!("an orderly end took longer than {} s", grace.as_secs()))?
    }
}
