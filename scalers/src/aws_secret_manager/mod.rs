#![doc = include_str!("docs.md")]

use std::{collections::BTreeMap, env, fmt};

use async_trait::async_trait;
use aws_credential_types::Credentials;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::{Method, Url};
use scaler_api::{
    Context, Error, ErrorKind, PodIdentity, Secret,
    secret_store::{
        ACCESS_KEY, ACCESS_SECRET_KEY, ACCESS_TOKEN, SecretBlock, SecretRequest, SecretStore, StoredSecrets,
        blocks::{AwsSecretManager, AwsSecretManagerSecret},
    },
};
use serde_json::{Value, json};

use crate::{
    aws::{AwsEnvironment, AwsIdentity, CredentialKeys, kind_of_code, signing},
    http::{self, Answer, Caller, Tls},
};

/// AWS Secrets Manager.
#[derive(Clone, Default)]
pub struct AwsSecretManagerStore {
    endpoint: Option<String>,
    region: Option<String>,
}

impl AwsSecretManagerStore {
    /// The public one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One that takes `AWS_ENDPOINT_URL_SECRETS_MANAGER`, `AWS_ENDPOINT_URL`, `AWS_REGION` and `AWS_DEFAULT_REGION` from
    /// the environment.
    #[must_use]
    pub fn from_environment() -> Self {
        let first = |names: [&str; 2]| {
            let mut values = names.into_iter().filter_map(|name| env::var(name).ok());
            values.find(|value| !value.is_empty())
        };
        Self {
            endpoint: first(["AWS_ENDPOINT_URL_SECRETS_MANAGER", "AWS_ENDPOINT_URL"]),
            region: first(["AWS_REGION", "AWS_DEFAULT_REGION"]),
        }
    }

    /// Asks the server at this URL.
    #[must_use]
    pub fn with_endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoint = Some(url.into());
        self
    }
}

impl fmt::Debug for AwsSecretManagerStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsSecretManagerStore")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl SecretStore for AwsSecretManagerStore {
    fn field(&self) -> &'static str {
        "awsSecretManager"
    }

    async fn read(&self, request: &SecretRequest, context: &Context) -> Result<StoredSecrets, Error> {
        let SecretBlock::AwsSecretManager(block) = &request.block else {
            return Err(Error::new(ErrorKind::Internal, "the block is not one of AWS"));
        };
        let region = block.region.clone().filter(|region| !region.is_empty());
        let Some(region) = region.or_else(|| self.region.clone()) else {
            return Err(Error::invalid(
                "awsSecretManager.region is not given, and neither is AWS_REGION",
            ));
        };
        let identity = identity(block, request)?;
        let config = AwsEnvironment::of(context).config(&identity, &region).await;
        let call = Call {
            caller: Caller::new(context, &Tls::default(), None)?,
            url: self.url(&region)?,
            credentials: signing::credentials(&config).await?,
            region,
            context,
        };
        let mut found = StoredSecrets::default();
        let mut read: BTreeMap<String, Result<String, String>> = BTreeMap::new();
        for secret in &block.secrets {
            let name = body(secret).to_string();
            let text = match read.remove(&name) {
                Some(text) => text,
                None => call.get(secret, &name).await?,
            };
            match text
                .as_deref()
                .map_err(Clone::clone)
                .and_then(|text| value_of(text, secret))
            {
                Ok(value) => _ = found.parameters.insert(secret.parameter.clone(), value),
                Err(problem) => _ = found.missing.insert(secret.parameter.clone(), problem),
            }
            read.insert(name, text);
        }
        Ok(found)
    }
}

impl AwsSecretManagerStore {
    fn url(&self, region: &str) -> Result<Url, Error> {
        let text = self.endpoint.clone().unwrap_or_else(|| {
            let suffix = if region.starts_with("cn-") { ".cn" } else { "" };
            format!("https://secretsmanager.{region}.amazonaws.com{suffix}/")
        });
        http::url("awsSecretManager", &text).map_err(Error::invalid)
    }
}

fn identity(block: &AwsSecretManager, request: &SecretRequest) -> Result<AwsIdentity, Error> {
    let credential = |name: &str| request.credentials.get(name).cloned();
    if let Some(identity) = request.block.pod_identity() {
        let identity = PodIdentity::from(identity);
        return AwsIdentity::decide(Some(&identity), &CredentialKeys::default())
            .map_err(|problems| Error::invalid(problems.to_string()));
    }
    match (credential(ACCESS_KEY), credential(ACCESS_SECRET_KEY)) {
        (Some(access_key_id), Some(secret_access_key)) => Ok(AwsIdentity::Keys {
            access_key_id,
            secret_access_key,
            session_token: credential(ACCESS_TOKEN).filter(|token| !token.is_empty()),
        }),
        _ if block.credentials.is_none() => Err(Error::invalid(
            "awsSecretManager names neither credentials nor a podIdentity of provider aws",
        )),
        _ => Err(Error::new(
            ErrorKind::Internal,
            "the credentials were not resolved",
        )),
    }
}

/// What one block is asked with.
struct Call<'a> {
    caller: Caller,
    url: Url,
    credentials: Credentials,
    region: String,
    context: &'a Context,
}

fn body(secret: &AwsSecretManagerSecret) -> Value {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let mut body = json!({"SecretId": secret.name});
    if let Some(id) = given(&secret.version_id) {
        body["VersionId"] = id.into();
    }
    if let Some(stage) = given(&secret.version_stage) {
        body["VersionStage"] = stage.into();
    }
    body
}

impl Call<'_> {
    /// The text of a secret; what is not there is the inner error.
    async fn get(
        &self,
        secret: &AwsSecretManagerSecret,
        body: &str,
    ) -> Result<Result<String, String>, Error> {
        let host = match (self.url.host_str().unwrap_or_default(), self.url.port()) {
            (host, Some(port)) => format!("{host}:{port}"),
            (host, None) => host.to_owned(),
        };
        let headers = [
            ("content-type", "application/x-amz-json-1.1"),
            ("host", host.as_str()),
            ("x-amz-target", "secretsmanager.GetSecretValue"),
        ];
        let signature = signing::headers(
            &self.credentials,
            signing::Unsigned {
                service: "secretsmanager",
                region: &self.region,
                method: "POST",
                url: self.url.as_str(),
                headers: &headers,
                body: body.as_bytes(),
                time: self.context.clock.now().into(),
            },
        )?;
        let mut request = self.caller.request(Method::POST, self.url.clone())?;
        for (name, value) in headers.iter().filter(|(name, _)| *name != "host") {
            request = request.header(*name, *value);
        }
        for (name, value) in signature {
            request = request.header(name, value);
        }
        let answer = http::send(request.body(body.to_owned())).await?;
        if answer.status.is_success() {
            return text_of(&answer);
        }
        let error = refusal(&answer);
        if error.kind() == ErrorKind::NotFound {
            return Ok(Err(format!("secret {:?}: {error}", secret.name)));
        }
        Err(error.with_context("secret", &secret.name))
    }
}

fn text_of(answer: &Answer) -> Result<Result<String, String>, Error> {
    let bad = || Error::unavailable("AWS Secrets Manager answered no secret");
    let found: Value = serde_json::from_slice(&answer.body).map_err(|_| bad())?;
    if let Some(text) = found["SecretString"].as_str() {
        return Ok(Ok(text.to_owned()));
    }
    let binary = found["SecretBinary"].as_str().ok_or_else(bad)?;
    let bytes = STANDARD.decode(binary).map_err(|_| bad())?;
    Ok(String::from_utf8(bytes).map_err(|_| "the secret is not text".to_owned()))
}

/// The error of an answer: `{"__type": "com.amazonaws...#Code", "message": "..."}`.
fn refusal(answer: &Answer) -> Error {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let code = body["__type"].as_str().unwrap_or_default();
    let code = code.rsplit('#').next().unwrap_or_default();
    let kind = match code {
        "InternalServiceError" => ErrorKind::Unavailable,
        // It was deleted, and can be restored for a while.
        "InvalidRequestException" => ErrorKind::NotFound,
        _ => kind_of_code(code, answer.status.as_u16()),
    };
    let message = body["message"]
        .as_str()
        .or_else(|| body["Message"].as_str())
        .unwrap_or_default();
    let status = answer.status.as_u16();
    Error::new(kind, format!("AWS Secrets Manager answered {status}"))
        .with_source(format!("{code}: {message}"))
}

/// The whole text, or one key of it where it is a JSON object.
fn value_of(text: &str, secret: &AwsSecretManagerSecret) -> Result<Secret, String> {
    let Some(key) = secret.secret_key.as_deref().filter(|key| !key.is_empty()) else {
        return Ok(Secret::new(text));
    };
    let name = &secret.name;
    let Ok(Value::Object(fields)) = serde_json::from_str(text) else {
        return Err(format!(
            "secret {name:?} is no JSON object, so it has no key {key:?}"
        ));
    };
    match fields.get(key) {
        None | Some(Value::Null) => Err(format!("secret {name:?} has no key {key:?}")),
        Some(Value::String(text)) => Ok(Secret::new(text)),
        Some(other) => Ok(Secret::new(other.to_string())),
    }
}
