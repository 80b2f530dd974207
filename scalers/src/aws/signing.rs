//! Requests that carry AWS's signature, version 4, for services without an SDK client here.

use std::time::SystemTime;

use aws_config::SdkConfig;
use aws_credential_types::{Credentials, provider::ProvideCredentials as _};
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use scaler_api::{Error, ErrorKind};

/// A request to sign.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unsigned<'a> {
    pub(crate) service: &'a str,
    pub(crate) region: &'a str,
    pub(crate) method: &'a str,
    pub(crate) url: &'a str,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: &'a [u8],
    pub(crate) time: SystemTime,
}

/// The credentials of a configuration.
///
/// # Errors
/// If there are none.
pub(crate) async fn credentials(config: &SdkConfig) -> Result<Credentials, Error> {
    let none = || Error::new(ErrorKind::Unauthorized, "no AWS credentials were found");
    let provider = config.credentials_provider().ok_or_else(none)?;
    provider.provide_credentials().await.map_err(|error| {
        let kind = match &error {
            aws_credential_types::provider::error::CredentialsError::ProviderTimedOut(_) => {
                ErrorKind::Timeout
            }
            _ => ErrorKind::Unauthorized,
        };
        Error::new(kind, "no AWS credentials were found").with_source(super::error::chain(&error))
    })
}

/// The headers that sign a request.
///
/// # Errors
/// If the request cannot be signed.
pub(crate) fn headers(
    credentials: &Credentials,
    request: Unsigned<'_>,
) -> Result<Vec<(String, String)>, Error> {
    let failed = |problem: String| {
        Error::new(ErrorKind::Internal, "the request cannot be signed").with_source(problem)
    };
    let identity = credentials.clone().into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(request.region)
        .name(request.service)
        .time(request.time)
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| failed(error.to_string()))?
        .into();
    let signable = SignableRequest::new(
        request.method,
        request.url,
        request.headers.iter().copied(),
        SignableBody::Bytes(request.body),
    )
    .map_err(|error| failed(error.to_string()))?;
    let (instructions, _) = sign(signable, &parameters)
        .map_err(|error| failed(error.to_string()))?
        .into_parts();
    let headers = instructions.headers();
    Ok(headers
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect())
}
