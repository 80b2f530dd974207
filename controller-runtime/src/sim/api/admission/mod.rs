//! Validating webhooks: who is asked about a write, and what comes of the answers.
//!
//! Webhooks are in-process services that stand for a Service's pods. They are asked outside the lock, as they may ask
//! the API server themselves. Therefore a write that concerns any is done twice: first as a dry run, whose outcome they
//! are shown, and then, if none refuses, in earnest on what is there by then. Collections are deleted without them.

mod matching;
mod review;

use std::{collections::BTreeMap, fmt, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use serde_json::Value;
use tower::ServiceExt as _;

use self::matching::Operation;
use super::{
    ApiBody, ApiServer, Call, aggregation::BoxedBackend, random::Random, reply, routes::Form, state::State,
    status::ApiError, value, verbs,
};

pub(crate) const GROUP: &str = "admissionregistration.k8s.io";
pub(crate) const CONFIGURATIONS: &str = "validatingwebhookconfigurations";

/// The registered services by namespace and name, and how many questions were asked.
#[derive(Default)]
pub(crate) struct Webhooks {
    services: BTreeMap<(String, String), BoxedBackend>,
    asked: u64,
}

impl fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.services.keys()).finish()
    }
}

impl Webhooks {
    pub(crate) fn register(&mut self, namespace: &str, service: &str, webhook: BoxedBackend) {
        let key = (namespace.to_owned(), service.to_owned());
        self.services.insert(key, webhook);
    }

    pub(crate) fn unregister(&mut self, namespace: &str, service: &str) {
        self.services.remove(&(namespace.to_owned(), service.to_owned()));
    }
}

/// A write that waits for what webhooks say.
#[derive(Debug)]
pub(crate) struct Pending {
    method: Method,
    call: Call,
    questions: Vec<Question>,
}

/// What is asked of one webhook.
#[derive(Debug)]
struct Question {
    webhook: Value,
    /// Who answers, or why nobody can.
    service: Result<BoxedBackend, String>,
    uid: String,
    review: Bytes,
}

/// Defaults of a configuration's webhooks.
pub(crate) fn default(configuration: &mut Value) {
    let Some(Value::Array(webhooks)) = value::at_mut(configuration, &["webhooks"]) else {
        return;
    };
    for webhook in webhooks {
        value::default(webhook, &["failurePolicy"], "Fail");
        value::default(webhook, &["matchPolicy"], "Equivalent");
        value::default(webhook, &["timeoutSeconds"], 10);
        for selector in ["namespaceSelector", "objectSelector"] {
            value::default(webhook, &[selector], Value::Object(serde_json::Map::new()));
        }
        if value::at(webhook, &["clientConfig", "service"]).is_some() {
            value::default(webhook, &["clientConfig", "service", "port"], 443);
        }
        if let Some(Value::Array(rules)) = value::at_mut(webhook, &["rules"]) {
            for rule in rules {
                value::default(rule, &["scope"], "*");
            }
        }
    }
}

/// The write as one that waits, if any webhook is to be asked.
///
/// # Errors
/// What refuses the write anyway, and a dry run that a webhook does not bear.
pub(crate) fn pending(
    server: &ApiServer,
    state: &mut State,
    method: &Method,
    call: &Call,
) -> Result<Option<Pending>, ApiError> {
    let Some(operation) = Operation::of(state, method, call) else {
        return Ok(None);
    };
    let configurations = state.builtins(GROUP, CONFIGURATIONS, None);
    let concerned: Vec<Value> = configurations
        .flat_map(|configuration| value::items(&configuration.value, &["webhooks"]))
        .filter(|webhook| matching::covers(webhook, operation, call))
        .cloned()
        .collect();
    if concerned.is_empty() || call.resource.group == GROUP {
        return Ok(None);
    }
    let (object, old) = trial(server, state, method, call, operation)?;
    let mut questions = Vec::new();
    for webhook in concerned {
        if !matching::selects(state, &webhook, call, &object, &old)? {
            continue;
        }
        let side_effects = value::text(&webhook, &["sideEffects"]);
        if is_dry_run(call) && !matches!(side_effects, "None" | "NoneOnDryRun") {
            let name = value::text(&webhook, &["name"]);
            return Err(ApiError::bad_request(format!(
                "admission webhook \"{name}\" does not support dry run"
            )));
        }
        state.webhooks.asked += 1;
        let uid = Random::seeded(state.webhooks.asked).uid();
        questions.push(Question {
            service: service(state, &webhook),
            review: review::request(&uid, operation, call, &object, &old),
            webhook,
            uid,
        });
    }
    let pending = Pending {
        method: method.clone(),
        call: call.clone(),
        questions,
    };
    Ok((!pending.questions.is_empty()).then_some(pending))
}

fn is_dry_run(call: &Call) -> bool {
    call.query.get("dryRun").is_some()
}

/// The object as the write would leave it, and as it is.
fn trial(
    server: &ApiServer,
    state: &mut State,
    method: &Method,
    call: &Call,
    operation: Operation,
) -> Result<(Value, Value), ApiError> {
    let mut trial = call.clone();
    trial.form = Form::Full;
    let answer = |response: Response<ApiBody>| {
        let bytes = response.into_body().into_full().unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    };
    let old = match operation {
        Operation::Create => Value::Null,
        Operation::Update | Operation::Delete => answer(verbs::serve(server, state, &Method::GET, &trial)?),
    };
    if operation == Operation::Delete {
        return Ok((Value::Null, old));
    }
    trial.query.set("dryRun", "All");
    // The write in earnest gets the same uid and generated name.
    let random = state.random.clone();
    let object = verbs::serve(server, state, method, &trial);
    state.random = random;
    Ok((answer(object?), old))
}

/// Who answers for a webhook.
fn service(state: &State, webhook: &Value) -> Result<BoxedBackend, String> {
    let reference = &webhook["clientConfig"]["service"];
    if reference.is_null() {
        return Err("the embedded cluster reaches webhooks by Service only".to_owned());
    }
    let (namespace, name) = (
        value::text(reference, &["namespace"]),
        value::text(reference, &["name"]),
    );
    let key = format!("{namespace}/{name}");
    if state.builtin("", "services", &key).is_none() {
        return Err(format!("service \"{name}\" not found"));
    }
    let found = state
        .webhooks
        .services
        .get(&(namespace.to_owned(), name.to_owned()));
    found
        .cloned()
        .ok_or_else(|| format!("no endpoints available for service \"{name}\""))
}

impl ApiServer {
    /// Asks the webhooks; writes if none refuses.
    pub(crate) async fn admit(&self, pending: Pending) -> Response<ApiBody> {
        let Pending {
            method,
            call,
            questions,
        } = pending;
        let mut warnings = Vec::new();
        for question in questions {
            if let Err(refusal) = ask(question, &mut warnings).await {
                return reply::warn(reply::error(&refusal), &warnings);
            }
        }
        let response = verbs::serve(self, &mut self.inner.lock(), &method, &call);
        let response = response.unwrap_or_else(|error| reply::error(&error));
        warnings.extend(call.warnings.into_inner());
        reply::warn(response, &warnings)
    }
}

/// Asks one webhook.
///
/// # Errors
/// Its refusal, or that it cannot be asked, where its policy says so.
async fn ask(question: Question, warnings: &mut Vec<String>) -> Result<(), ApiError> {
    let name = value::text(&question.webhook, &["name"]).to_owned();
    let fails = value::text(&question.webhook, &["failurePolicy"]) != "Ignore";
    let answered = answer(question).await.and_then(|answer| {
        let response = &answer["response"];
        match response["allowed"].as_bool() {
            Some(_) => Ok(answer),
            None => Err("the response says nothing".to_owned()),
        }
    });
    match answered {
        Ok(answer) => {
            let response = &answer["response"];
            let said = value::items(response, &["warnings"]).iter();
            warnings.extend(said.filter_map(Value::as_str).map(str::to_owned));
            match response["allowed"] == true {
                true => Ok(()),
                false => Err(review::refusal(&name, &response["status"])),
            }
        }
        Err(why) if fails => Err(ApiError::internal(format!(
            "failed calling webhook \"{name}\": failed to call webhook: {why}"
        ))),
        Err(why) => {
            tracing::debug!(webhook = name, why, "a webhook was not asked");
            Ok(())
        }
    }
}

/// The AdmissionReview that comes back, or why none does.
async fn answer(question: Question) -> Result<Value, String> {
    let Question {
        webhook,
        service,
        uid,
        review,
    } = question;
    let seconds = value::int(&webhook, &["timeoutSeconds"]).unwrap_or(10);
    let url = review::url(&webhook, seconds);
    let failed = |why: &str| format!("Post \"{url}\": {why}");
    let service = service.map_err(|why| failed(&why))?;
    let mut request = Request::new(Full::new(review));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = url.parse().map_err(|_| failed("invalid URL"))?;
    let json = http::HeaderValue::from_static("application/json");
    request.headers_mut().insert(header::CONTENT_TYPE, json);
    let exchange = async {
        let response = service
            .oneshot(request)
            .await
            .map_err(|error| failed(&error.to_string()))?;
        let status = response.status();
        let body = response.into_body().collect().await;
        let body = body.map_err(|error| failed(&error.to_string()))?.to_bytes();
        Ok::<_, String>((status, body))
    };
    let limit = Duration::from_secs(u64::try_from(seconds).unwrap_or(10));
    let (status, body) = tokio::time::timeout(limit, exchange)
        .await
        .map_err(|_| failed("context deadline exceeded"))??;
    if status == StatusCode::NOT_FOUND {
        return Err("the server could not find the requested resource".to_owned());
    }
    if !status.is_success() {
        let text = String::from_utf8_lossy(&body);
        return Err(format!(
            "an error on the server (\"{}\") has prevented the request from succeeding",
            text.trim()
        ));
    }
    let answer: Value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
    if answer["response"]["uid"] != uid.as_str() {
        return Err(format!(
            "expected response.uid={uid:?}, got {}",
            answer["response"]["uid"]
        ));
    }
    Ok(answer)
}
