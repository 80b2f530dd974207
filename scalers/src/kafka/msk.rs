//! The login of Amazon MSK: a request to AWS that is signed but never sent, as a message or as a token.

use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign},
    sign::v4,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use scaler_api::{Error, ErrorKind, Secret, SharedClock};
use serde_json::{Map, Value};

use crate::{aws::signing, oauth2};

const SERVICE: &str = "kafka-cluster";
const ACTION: &str = "kafka-cluster:Connect";
const USER_AGENT: &str = "autoscaler";
/// How long a broker may take to look at it.
const EXPIRES: Duration = Duration::from_secs(900);

/// Who logs in.
pub(super) struct Iam {
    pub(super) config: SdkConfig,
    pub(super) region: String,
    pub(super) clock: SharedClock,
}

impl Iam {
    /// The message of the mechanism `AWS_MSK_IAM`.
    pub(super) async fn message(&self, host: &str) -> Result<String, Error> {
        let credentials = signing::credentials(&self.config).await?;
        let parameters = presigned(&credentials, &self.region, host, self.clock.now().into())?;
        Ok(message(host, parameters))
    }

    /// A token for `OAUTHBEARER`.
    pub(super) async fn token(&self) -> Result<Secret, Error> {
        let credentials = signing::credentials(&self.config).await?;
        let host = format!("kafka.{}.amazonaws.com", self.region);
        let parameters = presigned(&credentials, &self.region, &host, self.clock.now().into())?;
        Ok(token(&host, &parameters))
    }
}

type Parameters = Vec<(String, String)>;

/// The parameters of a request for the permission to connect, signature included.
fn presigned(
    credentials: &Credentials,
    region: &str,
    host: &str,
    time: SystemTime,
) -> Result<Parameters, Error> {
    let failed =
        |problem: String| Error::new(ErrorKind::Internal, "the login cannot be signed").with_source(problem);
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(EXPIRES);
    let identity = credentials.clone().into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(SERVICE)
        .time(time)
        .settings(settings)
        .build()
        .map_err(|error| failed(error.to_string()))?
        .into();
    let url = format!("https://{host}/?{}", oauth2::encode(vec![("Action", ACTION)]));
    let body = SignableBody::Bytes(b"");
    let request = SignableRequest::new("GET", url, [("host", host)].into_iter(), body)
        .map_err(|error| failed(error.to_string()))?;
    let (instructions, _) = sign(request, &parameters)
        .map_err(|error| failed(error.to_string()))?
        .into_parts();
    let added = instructions.params().iter();
    let added = added.map(|(name, value)| ((*name).to_owned(), value.clone().into_owned()));
    Ok([("Action".to_owned(), ACTION.to_owned())]
        .into_iter()
        .chain(added)
        .collect())
}

fn message(host: &str, parameters: Parameters) -> String {
    let fixed = [
        ("version", "2020_10_22"),
        ("host", host),
        ("user-agent", USER_AGENT),
    ];
    let fixed = fixed.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let signed = parameters
        .into_iter()
        .map(|(name, value)| (name.to_lowercase(), value));
    let all: Map<String, Value> = fixed
        .into_iter()
        .chain(signed)
        .map(|(name, value)| (name, Value::String(value)))
        .collect();
    Value::Object(all).to_string()
}

fn token(host: &str, parameters: &[(String, String)]) -> Secret {
    let mut query: Vec<(&str, &str)> = parameters
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    query.push(("User-Agent", USER_AGENT));
    let url = format!("https://{host}/?{}", oauth2::encode(query));
    Secret::new(URL_SAFE_NO_PAD.encode(url))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(session: Option<&str>) -> Parameters {
        let session = session.map(str::to_owned);
        let credentials = Credentials::new("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG", session, None, "test");
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        presigned(&credentials, "eu-west-1", "kafka.eu-west-1.amazonaws.com", time).unwrap()
    }

    /// The signatures are those that AWS's description of version 4, written down in Python, gives.
    #[test]
    fn signatures_are_those_of_the_vectors() {
        for (session, signature) in [
            (
                None,
                "a8ea98d1a791ab3037caca7261ab1958d7d480f3aa7c3db8533aa6b03fb5de23",
            ),
            (
                Some("t+/="),
                "eed2ddbd945afe4229f8cd0046a79eecdea9904d0e785fdeece585a675e36ae0",
            ),
        ] {
            let parameters = parameters(session);
            let found = parameters.iter().find(|(name, _)| name == "X-Amz-Signature");
            assert_eq!(found.unwrap().1, signature, "{parameters:?}");
        }
    }

    #[test]
    fn the_message_has_the_keys_that_brokers_read() {
        let message = message("b-1.example", parameters(Some("t")));
        let message: Map<String, Value> = serde_json::from_str(&message).unwrap();
        let mut keys: Vec<_> = message.keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(
            keys,
            [
                "action",
                "host",
                "user-agent",
                "version",
                "x-amz-algorithm",
                "x-amz-credential",
                "x-amz-date",
                "x-amz-expires",
                "x-amz-security-token",
                "x-amz-signature",
                "x-amz-signedheaders",
            ]
        );
        for (key, value) in [
            ("version", "2020_10_22"),
            ("host", "b-1.example"),
            ("action", "kafka-cluster:Connect"),
            ("x-amz-algorithm", "AWS4-HMAC-SHA256"),
            ("x-amz-date", "20231114T221320Z"),
            ("x-amz-expires", "900"),
            ("x-amz-signedheaders", "host"),
            (
                "x-amz-credential",
                "AKIDEXAMPLE/20231114/eu-west-1/kafka-cluster/aws4_request",
            ),
        ] {
            assert_eq!(message[key], value);
        }
    }

    #[test]
    fn the_token_is_the_url() {
        let host = "kafka.eu-west-1.amazonaws.com";
        let token = token(host, &parameters(None));
        let url = URL_SAFE_NO_PAD.decode(token.expose()).unwrap();
        let url = String::from_utf8(url).unwrap();
        let start = "https://kafka.eu-west-1.amazonaws.com/?Action=kafka-cluster%3AConnect&X-Amz-";
        assert!(url.starts_with(start), "{url}");
        let credential = "X-Amz-Credential=AKIDEXAMPLE%2F20231114%2Feu-west-1%2Fkafka-cluster%2Faws4_request";
        assert!(url.contains(credential), "{url}");
        assert!(url.ends_with("&User-Agent=autoscaler"), "{url}");
    }
}
