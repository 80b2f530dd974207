//! What an error of the AWS SDK means to a scaler.

use std::error::Error as StdError;

#[cfg(feature = "aws-clients")]
use aws_credential_types::provider::error::CredentialsError;
#[cfg(feature = "aws-clients")]
use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
#[cfg(feature = "aws-clients")]
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
#[cfg(feature = "aws-clients")]
use scaler_api::Error;
use scaler_api::ErrorKind;

#[cfg(feature = "aws-clients")]
/// Translates the error of one call; `message` says what was being done.
///
/// The source that is kept is the service's code and message, or the chain of causes. A request id is not: it would make
/// every repetition of one failure a new text.
pub(crate) fn service_error<E>(message: &'static str, error: &SdkError<E, HttpResponse>) -> Error
where
    E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
{
    Error::new(kind(error), message).with_source(cause(error))
}

#[cfg(feature = "aws-clients")]
fn kind<E>(error: &SdkError<E, HttpResponse>) -> ErrorKind
where
    E: StdError + ProvideErrorMetadata + 'static,
{
    match error {
        SdkError::TimeoutError(_) => ErrorKind::Timeout,
        SdkError::DispatchFailure(failure) if failure.is_timeout() => ErrorKind::Timeout,
        SdkError::DispatchFailure(failure) if failure.is_io() => ErrorKind::Unavailable,
        SdkError::ServiceError(context) => kind_of_code(
            context.err().code().unwrap_or_default(),
            context.raw().status().as_u16(),
        ),
        // An answer that is not the service's: a proxy's, or a body that is cut off.
        SdkError::ResponseError(context) => match kind_of_code("", context.raw().status().as_u16()) {
            ErrorKind::Invalid => ErrorKind::Unavailable,
            kind => kind,
        },
        SdkError::ConstructionFailure(_) => kind_of_credentials(error).unwrap_or(ErrorKind::Invalid),
        // A connection that ends before its answer is neither a timeout nor input and output to the SDK.
        SdkError::DispatchFailure(failure) => kind_of_credentials(error).unwrap_or(match failure.is_user() {
            true => ErrorKind::Invalid,
            false => ErrorKind::Unavailable,
        }),
        _ => ErrorKind::Internal,
    }
}

/// The kind of an answer: by its code, else by its HTTP status.
pub(crate) fn kind_of_code(code: &str, status: u16) -> ErrorKind {
    // Codes of the query protocol carry a prefix: `AWS.SimpleQueueService.NonExistentQueue`.
    match code.rsplit('.').next().unwrap_or_default() {
        "QueueDoesNotExist" | "NonExistentQueue" | "QueueDeletedRecently" | "ResourceNotFoundException" => {
            ErrorKind::NotFound
        }
        "AccessDenied"
        | "AccessDeniedException"
        | "AuthFailure"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "IncompleteSignature"
        | "InvalidAccessKeyId"
        | "InvalidClientTokenId"
        | "InvalidSecurity"
        | "InvalidSignatureException"
        | "KmsAccessDenied"
        | "MissingAuthenticationToken"
        | "NotAuthorized"
        | "OptInRequired"
        | "SignatureDoesNotMatch"
        | "UnauthorizedOperation"
        | "UnrecognizedClientException" => ErrorKind::Unauthorized,
        "KmsThrottled"
        | "LimitExceededException"
        | "ProvisionedThroughputExceededException"
        | "RequestLimitExceeded"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "SlowDown"
        | "Throttling"
        | "ThrottledException"
        | "ThrottlingException"
        | "TooManyRequestsException" => ErrorKind::Throttled,
        "RequestTimeout" | "RequestTimeoutException" => ErrorKind::Timeout,
        "InternalError" | "InternalFailure" | "ServiceUnavailable" => ErrorKind::Unavailable,
        _ => match status {
            401 | 403 => ErrorKind::Unauthorized,
            429 => ErrorKind::Throttled,
            500.. => ErrorKind::Unavailable,
            _ => ErrorKind::Invalid,
        },
    }
}

#[cfg(feature = "aws-clients")]
/// The kind of a failure to get credentials, if `error` is one.
fn kind_of_credentials(error: &(dyn StdError + 'static)) -> Option<ErrorKind> {
    let credentials = causes(error).find_map(|cause| cause.downcast_ref::<CredentialsError>())?;
    Some(match credentials {
        CredentialsError::ProviderTimedOut(_) => ErrorKind::Timeout,
        _ => ErrorKind::Unauthorized,
    })
}

#[cfg(feature = "aws-clients")]
fn cause<E>(error: &SdkError<E, HttpResponse>) -> String
where
    E: StdError + ProvideErrorMetadata + 'static,
{
    if let SdkError::ServiceError(context) = error {
        let status = context.raw().status().as_u16();
        return match (context.err().code(), context.err().message()) {
            (Some(code), Some(message)) => format!("{code}: {message}"),
            (Some(code), None) => code.to_owned(),
            (None, _) => format!("HTTP status {status}"),
        };
    }
    chain(error)
}

/// An error and what caused it, as one line.
pub(super) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = String::new();
    for part in causes(error).map(ToString::to_string) {
        if text.is_empty() {
            text = part;
        } else if !text.contains(&part) {
            text = format!("{text}: {part}");
        }
    }
    text
}

fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_win_over_status_and_status_decides_the_rest() {
        let cases = [
            (
                "AWS.SimpleQueueService.NonExistentQueue",
                400,
                ErrorKind::NotFound,
            ),
            ("QueueDoesNotExist", 400, ErrorKind::NotFound),
            ("AccessDenied", 403, ErrorKind::Unauthorized),
            ("InvalidClientTokenId", 400, ErrorKind::Unauthorized),
            ("RequestThrottled", 400, ErrorKind::Throttled),
            ("RequestThrottled", 503, ErrorKind::Throttled),
            ("ServiceUnavailable", 503, ErrorKind::Unavailable),
            ("SomethingNew", 403, ErrorKind::Unauthorized),
            ("SomethingNew", 429, ErrorKind::Throttled),
            ("", 502, ErrorKind::Unavailable),
            ("InvalidAttributeName", 400, ErrorKind::Invalid),
        ];
        for (code, status, expected) in cases {
            assert_eq!(kind_of_code(code, status), expected, "{code} {status}");
        }
    }
}
