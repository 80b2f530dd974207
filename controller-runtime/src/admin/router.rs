//! Health, metrics and decisions over HTTP.

use axum::{
    Json, Router,
    extract::{Path, RawQuery, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::json;
use tokio::net::TcpListener;

use super::{
    health::{Health, Outcome},
    metrics::Metrics,
};
use crate::{
    decisions::DecisionLog,
    explain::{self, Explainer, Unknown},
};

/// The content type of OpenMetrics.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `/healthz`, `/livez` and `/readyz`, each also with the name of one check behind it.
///
/// The answer is `ok`, or with `?verbose`, and whenever a check fails, a line for each check; `?exclude=NAME` leaves
/// one out.
pub fn health_router(health: Health) -> Router {
    let live = |name: &'static str| {
        get(
            move |State(health): State<Health>, RawQuery(query): RawQuery| async move {
                answer(name, health.liveness(), &query.unwrap_or_default())
            },
        )
    };
    let ready = get(
        |State(health): State<Health>, RawQuery(query): RawQuery| async move {
            answer("readyz", health.readiness(), &query.unwrap_or_default())
        },
    );
    let one_live = get(
        |State(health): State<Health>, Path(check): Path<String>| async move { one(health.liveness(), &check) },
    );
    let one_ready = get(
        |State(health): State<Health>, Path(check): Path<String>| async move { one(health.readiness(), &check) },
    );
    Router::new()
        .route("/healthz", live("healthz"))
        .route("/livez", live("livez"))
        .route("/readyz", ready)
        .route("/healthz/{check}", one_live.clone())
        .route("/livez/{check}", one_live)
        .route("/readyz/{check}", one_ready)
        .with_state(health)
}

/// As Kubernetes' own programs print it, but with the reasons: nothing secret is in them.
fn answer(name: &str, mut outcomes: Vec<Outcome>, query: &str) -> Response {
    let pairs = || query.split('&').filter(|pair| !pair.is_empty());
    let excluded: Vec<&str> = pairs().filter_map(|pair| pair.strip_prefix("exclude=")).collect();
    outcomes.retain(|outcome| !excluded.contains(&outcome.name));
    let verbose = pairs().any(|pair| pair == "verbose" || pair.starts_with("verbose="));
    let failed = outcomes.iter().any(|outcome| outcome.result.is_err());
    if !failed && !verbose {
        return "ok".into_response();
    }
    let mut text = String::new();
    for outcome in &outcomes {
        let line = match &outcome.result {
            Ok(()) => format!("[+]{} ok\n", outcome.name),
            Err(why) => format!("[-]{} failed: {why}\n", outcome.name),
        };
        text.push_str(&line);
    }
    let (code, verdict) = if failed {
        (StatusCode::INTERNAL_SERVER_ERROR, "failed")
    } else {
        (StatusCode::OK, "passed")
    };
    text.push_str(&format!("{name} check {verdict}\n"));
    (code, text).into_response()
}

fn one(outcomes: Vec<Outcome>, check: &str) -> Response {
    let found = outcomes.into_iter().find(|outcome| outcome.name == check);
    match found.map(|outcome| outcome.result) {
        Some(Ok(())) => "ok".into_response(),
        Some(Err(why)) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{why}\n")).into_response(),
        None => (StatusCode::NOT_FOUND, format!("there is no check {check:?}\n")).into_response(),
    }
}

/// `/metrics`, and `/decisions` with what was decided lately and why, oldest first.
///
/// `/decisions?object=TEXT` keeps those whose object contains the text, `?limit=N` the newest N of them.
pub fn metrics_router(metrics: Metrics, decisions: DecisionLog) -> Router {
    Router::new()
        .route("/metrics", get(scrape))
        .with_state(metrics)
        .merge(
            Router::new()
                .route("/decisions", get(decided))
                .with_state(decisions),
        )
}

/// `/explain/{kind}/{namespace}/{name}`: why an object is scaled as it is, as JSON; with `?output=text` in words.
pub fn explain_router(explainer: Explainer) -> Router {
    Router::new()
        .route("/explain/{kind}/{namespace}/{name}", get(explained))
        .with_state(explainer)
}

async fn explained(
    State(explainer): State<Explainer>,
    Path((kind, namespace, name)): Path<(String, String, String)>,
    RawQuery(query): RawQuery,
) -> Response {
    let in_words = query
        .unwrap_or_default()
        .split('&')
        .any(|pair| pair == "output=text");
    match explainer.explain(&kind, &namespace, &name) {
        Ok(explanation) if in_words => explain::text(&explanation).into_response(),
        Ok(explanation) => Json(explanation).into_response(),
        Err(unknown) => {
            let code = match unknown {
                Unknown::NotStarted => StatusCode::SERVICE_UNAVAILABLE,
                Unknown::Kind { .. } | Unknown::Object { .. } => StatusCode::NOT_FOUND,
            };
            (code, format!("{unknown}\n")).into_response()
        }
    }
}

async fn scrape(State(metrics): State<Metrics>) -> Response {
    match metrics.render() {
        Ok(page) => ([(header::CONTENT_TYPE, OPEN_METRICS)], page).into_response(),
        Err(error) => {
            let message = format!("cannot write the metrics: {error}\n");
            (StatusCode::INTERNAL_SERVER_ERROR, message).into_response()
        }
    }
}

async fn decided(State(decisions): State<DecisionLog>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let value = |key: &str| {
        query.split('&').find_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            (name == key).then(|| {
                percent_encoding::percent_decode_str(value)
                    .decode_utf8_lossy()
                    .into_owned()
            })
        })
    };
    let mut found = decisions.recent();
    if let Some(object) = value("object") {
        found.retain(|decision| decision.object.contains(&object));
    }
    if let Some(limit) = value("limit") {
        let Ok(limit) = limit.parse::<usize>() else {
            let message = format!("limit is {limit:?}, expected a number\n");
            return (StatusCode::BAD_REQUEST, message).into_response();
        };
        found.drain(..found.len().saturating_sub(limit));
    }
    Json(json!({ "decisions": found })).into_response()
}

/// Serves `router` until `shutdown` resolves and the requests that are under way have their answers.
///
/// # Errors
/// If the listener cannot be used.
pub async fn serve(
    listener: std::net::TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    axum::serve(listener, router)
        .with_graceful_shutdown(shutdown)
        .await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::body::Body;
    use http::Request;
    use http_body_util::BodyExt as _;
    use scaler_api::SystemClock;
    use tower::ServiceExt as _;

    use super::*;

    async fn get(router: &Router, uri: &str) -> (u16, String) {
        let request = Request::builder().uri(uri).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let code = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (code, String::from_utf8(body.to_vec()).unwrap())
    }

    fn said(code: u16, text: &str) -> (u16, String) {
        (code, text.to_owned())
    }

    #[tokio::test]
    async fn health_is_answered_as_kubernetes_does() {
        let health = Health::new();
        health.add_liveness("loop", || Ok(()));
        health.add_readiness("caches", || Ok(()));
        health.add_readiness("adapter", || Err("has no certificate yet".to_owned()));
        let router = health_router(health);
        for (uri, expected) in [
            ("/healthz", said(200, "ok")),
            (
                "/livez?verbose",
                said(200, "[+]ping ok\n[+]loop ok\nlivez check passed\n"),
            ),
            (
                "/readyz",
                said(
                    500,
                    "[+]ping ok\n[+]caches ok\n[-]adapter failed: has no certificate yet\nreadyz check failed\n",
                ),
            ),
            ("/readyz?exclude=adapter", said(200, "ok")),
            (
                "/readyz?verbose=1&exclude=adapter",
                said(200, "[+]ping ok\n[+]caches ok\nreadyz check passed\n"),
            ),
            ("/readyz/caches", said(200, "ok")),
            ("/readyz/adapter", said(500, "has no certificate yet\n")),
            ("/readyz/nothing", said(404, "there is no check \"nothing\"\n")),
        ] {
            assert_eq!(get(&router, uri).await, expected, "{uri}");
        }
    }

    #[tokio::test]
    async fn decisions_are_picked_by_object_and_number() {
        let decisions = DecisionLog::new(Arc::new(SystemClock));
        for (object, to) in [
            ("ScaledObject/a/web", 1),
            ("ScaledObject/a/api", 2),
            ("ScaledObject/a/web", 3),
        ] {
            decisions.record("scaled-object", object, 0, to, "there is work");
        }
        let router = metrics_router(Metrics::new("0"), decisions);
        let targets = |text: &str| -> Vec<String> {
            let found: serde_json::Value = serde_json::from_str(text).unwrap();
            let found = found["decisions"].as_array().unwrap().iter();
            found
                .map(|decision| decision["to"].as_str().unwrap().to_owned())
                .collect()
        };
        let (_, all) = get(&router, "/decisions").await;
        assert_eq!(targets(&all), ["1", "2", "3"]);
        let (_, last) = get(&router, "/decisions?object=a%2Fweb&limit=1").await;
        assert_eq!(targets(&last), ["3"]);
        assert_eq!(get(&router, "/decisions?limit=x").await.0, 400);
    }

    #[tokio::test]
    async fn who_asks_why_gets_a_value_or_words_or_names_that_are_like_it() {
        use crate::{explain::Kind, store::ObjectKey};

        let explainer = Explainer::default();
        let router = explain_router(explainer.clone());
        assert_eq!(get(&router, "/explain/so/shop/orders").await.0, 503);
        let known = ObjectKey::new("shop", "orders");
        let named = known.clone();
        let explain = move |key: &ObjectKey| {
            (*key == known).then(|| explain::Explanation {
                name: key.name.clone(),
                ..explain::Explanation::default()
            })
        };
        explainer.set(vec![Kind::new("ScaledObject", &["so"], explain, move || {
            vec![named.clone()]
        })]);
        let (code, body) = get(&router, "/explain/scaledobject/shop/orders").await;
        let found: explain::Explanation = serde_json::from_str(&body).unwrap();
        assert_eq!((code, found.name.as_str()), (200, "orders"));
        let (_, words) = get(&router, "/explain/so/shop/orders?output=text").await;
        assert!(words.contains("shop") || words.contains("orders"), "{words}");
        assert_eq!(
            get(&router, "/explain/so/shop/ordres").await,
            said(
                404,
                "there is no ScaledObject shop/ordres, did you mean shop/orders?\n"
            )
        );
        assert_eq!(
            get(&router, "/explain/pod/shop/orders").await,
            said(
                404,
                "\"pod\" is no kind that can be explained, expected one of scaledobject\n"
            )
        );
    }

    #[tokio::test]
    async fn metrics_are_open_metrics() {
        let router = metrics_router(Metrics::new("0"), DecisionLog::new(Arc::new(SystemClock)));
        let request = Request::builder().uri("/metrics").body(Body::empty()).unwrap();
        let response = router.oneshot(request).await.unwrap();
        assert_eq!(response.headers()[header::CONTENT_TYPE], OPEN_METRICS);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert!(body.ends_with(b"# EOF\n"));
    }
}
