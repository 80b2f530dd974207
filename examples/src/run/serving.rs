//! What the API server asks: the metrics adapter and the admission webhook, over TLS.

use std::{net::TcpListener, sync::Arc};

use controller_runtime::admission::webhook::{ValidationMetrics, Webhook};
use metrics_adapter::{
    ExternalMetrics, MetricsAdapter,
    server::{self, ClientAuthorities, Delegated, DelegatedOptions, ServingCertificate},
};
use tower::Layer as _;

use super::{
    halves::Answers,
    listeners::Listeners,
    process::{Lives, Process},
};

/// Starts both, and what they need: the certificate, and the authentication of clients.
pub(super) fn start(
    process: &Process,
    lives: &mut Lives,
    listeners: &mut Listeners,
    certificate: ServingCertificate,
    answers: Answers,
) {
    let shown = certificate.clone();
    process
        .health
        .add_readiness("certificate", move || match shown.is_set() {
            true => Ok(()),
            false => Err("there is no serving certificate yet".to_owned()),
        });
    if let Some(listener) = listeners.adapter.take() {
        let metrics = Arc::clone(&answers.metrics);
        adapter(process, lives, listener, certificate.clone(), metrics);
    }
    if let Some(listener) = listeners.webhook.take() {
        webhook(process, lives, listener, certificate, answers);
    }
}

fn adapter(
    process: &Process,
    lives: &mut Lives,
    listener: TcpListener,
    certificate: ServingCertificate,
    metrics: Arc<dyn ExternalMetrics>,
) {
    let delegated = Delegated::new(process.client(), DelegatedOptions::default());
    let known = delegated.clone();
    process
        .health
        .add_readiness("authentication", move || match known.ready() {
            true => Ok(()),
            false => Err(
                "whom the cluster trusts is not known yet (kube-system/extension-apiserver-authentication)"
                    .to_owned(),
            ),
        });
    let requests = process
        .metrics
        .add_requests("autoscaler_adapter", "for external metrics");
    let service = requests.layer(delegated.layer(MetricsAdapter::new(metrics)));
    let authorities = delegated.client_authorities();
    let serve = server::serve(
        listener,
        certificate,
        authorities,
        service,
        process.draining.begun(),
    );
    lives
        .serving
        .add_fallible("the metrics adapter", async move { Ok(serve.await?) });
    let end = process.draining.begun();
    lives.serving.add("the trust of the metrics adapter", async move {
        tokio::select! {
            biased;
            () = end => {}
            () = delegated.run() => {}
        }
    });
}

/// Answers on every replica, from what the pod half watches anyway. The API server shows no certificate to webhooks
/// unless it is told to, so whoever reaches the port may ask; the answers tell nothing that the question did not.
fn webhook(
    process: &Process,
    lives: &mut Lives,
    listener: TcpListener,
    certificate: ServingCertificate,
    answers: Answers,
) {
    let Answers { registry, stores, .. } = answers;
    let validations = process.metrics.with_registry(ValidationMetrics::register);
    let webhook = Webhook::new(process.client(), registry, stores, validations);
    let asked = webhook.clone();
    process
        .health
        .add_readiness("webhook-caches", move || match asked.is_ready() {
            true => Ok(()),
            false => Err("what objects are compared with is not known yet".to_owned()),
        });
    let requests = process
        .metrics
        .add_requests("autoscaler_webhook", "for admission");
    let serve = server::serve(
        listener,
        certificate,
        ClientAuthorities::none(),
        requests.layer(webhook),
        process.draining.begun(),
    );
    lives
        .serving
        .add_fallible("the admission webhook", async move { Ok(serve.await?) });
}
