//! Keepers against the embedded API server, in virtual time.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::ByteString;
use metrics_adapter::server::ServingCertificate;
use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
    crypto::ring,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
};
use scaler_api::{SharedClock, TokioClock};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::{Keeper, Options, Source, issue};
use crate::{
    lease::Leadership,
    runtime::Runtime,
    sim::api::{self, ApiServer},
};

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const API_SERVICE: &str = "v1beta1.external.metrics.k8s.io";
const SERVER_NAME: &str = "adapter.autoscaler.svc";

struct World {
    server: ApiServer,
    clock: SharedClock,
}

impl World {
    fn new() -> Self {
        ring::default_provider().install_default().ok();
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let clock: SharedClock = Arc::new(TokioClock::starting_at(start));
        let server = ApiServer::new(api::Options {
            clock: Arc::clone(&clock),
            seed: 1,
        });
        let world = Self { server, clock };
        world.apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "autoscaler"}}));
        world
    }

    fn apply(&self, object: Value) {
        self.server.apply_manifest(object).unwrap();
    }

    fn api_service(&self) {
        self.apply(json!({
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": {"name": API_SERVICE},
            "spec": {
                "group": "external.metrics.k8s.io", "version": "v1beta1",
                "groupPriorityMinimum": 100, "versionPriority": 100,
                "service": {"namespace": "autoscaler", "name": "adapter", "port": 443},
            },
        }));
    }

    fn webhooks(&self) {
        let webhook = |name: &str| {
            json!({
                "name": name, "admissionReviewVersions": ["v1"], "sideEffects": "None",
                "clientConfig": {"service": {"namespace": "autoscaler", "name": "adapter", "path": "/x"}},
            })
        };
        self.apply(json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": "autoscaler-admission"},
            "webhooks": [webhook("a.keda.sh"), webhook("b.keda.sh")],
        }));
    }

    fn options(&self) -> Options {
        let mut options = Options::new(Source::Managed("certificates".into()), "autoscaler", "adapter");
        options.api_services = vec![API_SERVICE.to_owned()];
        options.validating_webhooks = vec!["autoscaler-admission".to_owned()];
        options
    }

    fn replica(&self, options: Options, leadership: Leadership) -> (ServingCertificate, JoinHandle<()>) {
        let client = self.server.client("autoscaler");
        let (runtime, events) = Runtime::new(client, Arc::clone(&self.clock), "test");
        let keeper = Keeper::new(runtime.with_leadership(leadership), options);
        let serving = keeper.serving();
        let run = async move { tokio::join!(keeper.run(), events) };
        (
            serving,
            tokio::spawn(async move {
                run.await;
            }),
        )
    }

    fn secret(&self) -> Option<Arc<Value>> {
        self.server
            .objects("", "secrets", Some("autoscaler"))
            .first()
            .cloned()
    }

    /// The bundles of the APIService and of both webhooks.
    fn bundles(&self) -> Vec<String> {
        let api_services = self.server.objects("apiregistration.k8s.io", "apiservices", None);
        let group = "admissionregistration.k8s.io";
        let configurations = self
            .server
            .objects(group, "validatingwebhookconfigurations", None);
        let mut found: Vec<Value> = api_services
            .iter()
            .map(|object| object["spec"]["caBundle"].clone())
            .collect();
        for configuration in configurations {
            let webhooks = configuration["webhooks"].as_array().unwrap();
            found.extend(
                webhooks
                    .iter()
                    .map(|webhook| webhook["clientConfig"]["caBundle"].clone()),
            );
        }
        found.into_iter().map(decoded).collect()
    }

    /// Whether everything that carries a bundle accepts what these replicas show.
    fn is_accepted(&self, replicas: &[&ServingCertificate]) -> Result<(), String> {
        for bundle in self.bundles() {
            for serving in replicas {
                accepts(&bundle, &serving.chain(), self.clock.now())?;
            }
        }
        Ok(())
    }
}

fn decoded(value: Value) -> String {
    let bytes: Option<ByteString> = serde_json::from_value(value).unwrap();
    String::from_utf8(bytes.unwrap_or_default().0).unwrap()
}

/// What an API server checks at a handshake; beyond the library, that authorities have not expired, as Go does.
fn accepts(bundle: &str, chain: &[CertificateDer<'_>], now: Timestamp) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
        let root = root.map_err(|error| error.to_string())?;
        let read = x509_parser::parse_x509_certificate(&root).unwrap().1;
        if read.validity().not_after.timestamp() > now.as_second() {
            roots.add(root.clone()).map_err(|error| error.to_string())?;
        }
    }
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(ring::default_provider()))
            .build()
            .map_err(|error| error.to_string())?;
    let leaf = chain.first().ok_or("nothing is served")?;
    let name = ServerName::try_from(SERVER_NAME).unwrap();
    let at = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now.as_second()).unwrap()));
    let verified = verifier.verify_server_cert(leaf, &[], &name, &[], at);
    verified.map(|_| ()).map_err(|error| error.to_string())
}

fn expires(serving: &ServingCertificate) -> i64 {
    let chain = serving.chain();
    let (_, read) = x509_parser::parse_x509_certificate(&chain[0]).unwrap();
    read.validity().not_after.timestamp()
}

#[tokio::test(start_paused = true)]
async fn the_leader_makes_it_and_everybody_serves_and_trusts_it() {
    let world = World::new();
    world.webhooks();
    let (leader, _leader) = world.replica(world.options(), Leadership::always());
    let (standby, _standby) = world.replica(world.options(), Leadership::standby());
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(leader.chain(), standby.chain());
    assert_eq!(world.bundles().len(), 2);
    world.is_accepted(&[&leader, &standby]).unwrap();
    let secret = world.secret().unwrap();
    assert_eq!(secret["type"], "kubernetes.io/tls");
    let keys: Vec<&String> = secret["data"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["ca.crt", "ca.key", "tls.crt", "tls.key"]);
    // The APIService comes later, and somebody meddles with a webhook.
    world.api_service();
    world.webhooks();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.bundles().len(), 3);
    world.is_accepted(&[&leader, &standby]).unwrap();
    // While nothing changes, nothing is written.
    let revision = world.server.resource_version();
    tokio::time::sleep(HOUR * 3).await;
    assert_eq!(world.server.resource_version(), revision);
}

#[tokio::test(start_paused = true)]
async fn a_standby_alone_writes_nothing() {
    let world = World::new();
    world.api_service();
    let (serving, _running) = world.replica(world.options(), Leadership::standby());
    tokio::time::sleep(HOUR).await;
    assert!(world.secret().is_none() && !serving.is_set());
    assert_eq!(world.bundles(), [""]);
}

#[tokio::test(start_paused = true)]
async fn two_that_both_think_they_lead_end_with_one_authority() {
    let world = World::new();
    world.api_service();
    let (one, _one) = world.replica(world.options(), Leadership::always());
    let (other, _other) = world.replica(world.options(), Leadership::always());
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(one.chain(), other.chain());
    world.is_accepted(&[&one, &other]).unwrap();
    let secret = world.secret().unwrap();
    assert_eq!(decoded(secret["data"]["ca.crt"].clone()), world.bundles()[0]);
}

#[tokio::test(start_paused = true)]
async fn a_year_of_rotations_is_never_refused() {
    let world = World::new();
    world.api_service();
    world.webhooks();
    let mut options = world.options();
    options.authority_life = DAY * 90;
    options.certificate_life = DAY * 30;
    let leads = [Leadership::standby(), Leadership::standby()];
    leads[0].set(true);
    let (one, _one) = world.replica(options.clone(), leads[0].clone());
    let (other, _other) = world.replica(options, leads[1].clone());
    tokio::time::sleep(Duration::from_secs(5)).await;
    let end = world.clock.now() + jiff::SignedDuration::from_hours(24 * 365);
    let mut changes = world.server.observe();
    let (mut certificates, mut bundles) = (vec![one.chain()], world.bundles());
    bundles.dedup();
    assert_eq!(bundles.len(), 1);
    let (mut minutes, mut jumps) = (0, 0);
    while world.clock.now() < end {
        // Looked at at every change, and every minute of the three that follow each jump of half a day: without jumps,
        // nearly all of the time would go into watches that begin again after five minutes.
        let changed = tokio::time::timeout(Duration::from_secs(60), changes.recv()).await;
        for serving in [&one, &other] {
            let checked = world.is_accepted(&[serving]);
            assert_eq!(checked, Ok(()), "{} {changed:?}", world.clock.now());
            assert!(expires(serving) - world.clock.now().as_second() > 9 * 86_400);
        }
        if one.chain() != *certificates.last().unwrap() {
            certificates.push(one.chain());
        }
        if world.bundles()[0] != *bundles.last().unwrap() {
            bundles.push(world.bundles().remove(0));
        }
        if changed.is_err() {
            minutes += 1;
        }
        if minutes == 3 {
            (minutes, jumps) = (0, jumps + 1);
            leads[0].set(jumps % 50 < 25);
            leads[1].set(jumps % 50 >= 25);
            tokio::time::advance(HOUR * 12).await;
        }
    }
    let authorities = |bundle: &String| bundle.matches("BEGIN").count();
    let counts: Vec<usize> = bundles.iter().map(authorities).collect();
    assert_eq!(
        certificates.len(),
        19,
        "every twenty days, every third by a new authority"
    );
    assert_eq!(
        counts,
        [1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2],
        "six new authorities"
    );
}

#[tokio::test(start_paused = true)]
async fn what_cert_manager_provides_is_loaded_and_never_written() {
    let world = World::new();
    world.api_service();
    let given = issue::everything(&world.options(), &[], world.clock.now()).unwrap();
    world.apply(json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "certificates", "namespace": "autoscaler"},
        "data": given.to_data(),
    }));
    for inject in [false, true] {
        let mut options = world.options();
        options.source = Source::Secret("certificates".into());
        options.write_bundles = inject;
        let (serving, running) = world.replica(options, Leadership::always());
        for _ in 0..400 {
            tokio::time::advance(DAY).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert!(serving.is_set());
        assert_eq!(
            decoded(world.secret().unwrap()["data"]["tls.crt"].clone()),
            given.certificate
        );
        let expected = if inject { given.bundle.as_str() } else { "" };
        assert_eq!(world.bundles(), [expected]);
        running.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_spoilt_or_deleted_is_made_anew() {
    let world = World::new();
    world.api_service();
    let (serving, _running) = world.replica(world.options(), Leadership::always());
    tokio::time::sleep(Duration::from_secs(5)).await;
    for spoil in ["tls.crt", "tls.key", "ca.crt", "ca.key", ""] {
        if spoil.is_empty() {
            let secrets: kube::Api<k8s_openapi::api::core::v1::Secret> =
                kube::Api::namespaced(world.server.client("autoscaler"), "autoscaler");
            secrets.delete("certificates", &Default::default()).await.unwrap();
        } else {
            let mut secret = Value::clone(&world.secret().unwrap());
            secret["metadata"]
                .as_object_mut()
                .unwrap()
                .retain(|key, _| key == "name" || key == "namespace");
            secret["data"][spoil] = "c3BvaWx0".into();
            world.apply(secret);
        }
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert_eq!(world.is_accepted(&[&serving]), Ok(()), "{spoil}");
        let kept = decoded(world.secret().unwrap()["data"]["tls.crt"].clone());
        let kept = CertificateDer::from_pem_slice(kept.as_bytes()).unwrap();
        assert_eq!(serving.chain(), [kept], "{spoil}");
    }
}

#[tokio::test(start_paused = true)]
async fn files_are_read_again_when_they_change() {
    let world = World::new();
    world.api_service();
    let directory = tempfile::tempdir().unwrap();
    let write = |material: &super::Material| {
        for (name, text) in [
            ("tls.crt", material.certificate.as_str()),
            ("tls.key", material.key.expose()),
            ("ca.crt", material.bundle.as_str()),
        ] {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
    };
    let mut options = world.options();
    options.source = Source::Directory(directory.path().to_owned());
    let (serving, _running) = world.replica(options, Leadership::always());
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(!serving.is_set());
    for _ in 0..2 {
        write(&issue::everything(&world.options(), &[], world.clock.now()).unwrap());
        tokio::time::sleep(Duration::from_secs(61)).await;
        world.is_accepted(&[&serving]).unwrap();
    }
    assert!(world.secret().is_none());
}
