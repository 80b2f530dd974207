//! What the API server asks: the metrics adapter and the admission webhook, over TLS.

use std::{net::TcpListener, sync::Arc};

use metrics_adapter::{
    ExternalMetrics, MetricsAdapter,
    server::{self, Delegated, DelegatedOptions, ServingCertificate},
};
use tower::Layer as _;

use super::{
    listeners::Listeners,
    process::{Lives, Process},
};

/// Starts both, and what they need: the certificate, and the authentication of clients.
pub(super) fn start(
    process: &Process,
    lives: &mut Lives,
    listeners: &mut Listeners,
    certificate: ServingCertificate,
    metrics: Arc<dyn ExternalMetrics>,
) {
    let shown = certificate.clone();
    process
        .health
        .add_readiness("certificate", move || match shown.is_set() {
            true => Ok(()),
            false => Err("there is no serving certificate yet".to_owned()),
        });
    if let Some(listener) = listeners.adapter.take() {
        adapter(process, lives, listener, certificate, metrics);
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
