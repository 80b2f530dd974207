//! What the codes of Kafka's errors come to.

use heck::ToShoutySnakeCase as _;
use kafka_protocol::error::ResponseError;
use scaler_api::{Error, ErrorKind};

/// # Errors
///
/// Whatever a code of the protocol stands for, unless it stands for none.
pub(super) fn check(code: i16) -> Result<(), Error> {
    let Some(error) = ResponseError::try_from_code(code) else {
        return Ok(());
    };
    let kind = match error {
        ResponseError::UnknownTopicOrPartition | ResponseError::GroupIdNotFound => ErrorKind::NotFound,
        ResponseError::TopicAuthorizationFailed
        | ResponseError::GroupAuthorizationFailed
        | ResponseError::ClusterAuthorizationFailed
        | ResponseError::IllegalSaslState
        | ResponseError::SaslAuthenticationFailed => ErrorKind::Unauthorized,
        ResponseError::UnsupportedSaslMechanism | ResponseError::UnsupportedVersion => ErrorKind::Unsupported,
        ResponseError::ThrottlingQuotaExceeded => ErrorKind::Throttled,
        ResponseError::BrokerNotAvailable | ResponseError::UnknownServerError => ErrorKind::Unavailable,
        _ if error.is_retriable() => ErrorKind::Unavailable,
        _ => ErrorKind::Invalid,
    };
    let name = match error {
        ResponseError::Unknown(_) => "an error that has no name here".to_owned(),
        // As Kafka's own documents and logs have it.
        _ => error.to_string().to_shouty_snake_case(),
    };
    let message = format!("the broker answers with {name} ({code})");
    Err(Error::new(kind, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_a_kind_and_the_name_that_kafka_gives_it() {
        check(0).unwrap();
        for (code, kind, name) in [
            (3, ErrorKind::NotFound, "UNKNOWN_TOPIC_OR_PARTITION"),
            (8, ErrorKind::Unavailable, "BROKER_NOT_AVAILABLE"),
            (14, ErrorKind::Unavailable, "COORDINATOR_LOAD_IN_PROGRESS"),
            (17, ErrorKind::Invalid, "INVALID_TOPIC_EXCEPTION"),
            (24, ErrorKind::Invalid, "INVALID_GROUP_ID"),
            (30, ErrorKind::Unauthorized, "GROUP_AUTHORIZATION_FAILED"),
            (33, ErrorKind::Unsupported, "UNSUPPORTED_SASL_MECHANISM"),
            (56, ErrorKind::Unavailable, "KAFKA_STORAGE_ERROR"),
            (58, ErrorKind::Unauthorized, "SASL_AUTHENTICATION_FAILED"),
            (69, ErrorKind::NotFound, "GROUP_ID_NOT_FOUND"),
            (78, ErrorKind::Unavailable, "OFFSET_NOT_AVAILABLE"),
            (88, ErrorKind::Unavailable, "UNSTABLE_OFFSET_COMMIT"),
            (89, ErrorKind::Throttled, "THROTTLING_QUOTA_EXCEEDED"),
            (-1, ErrorKind::Unavailable, "UNKNOWN_SERVER_ERROR"),
            (9999, ErrorKind::Invalid, "an error that has no name here"),
        ] {
            let error = check(code).unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert_eq!(
                error.to_string(),
                format!("the broker answers with {name} ({code})")
            );
        }
    }
}
