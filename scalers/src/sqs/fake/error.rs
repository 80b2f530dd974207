//! Errors in the shape of the AWS JSON 1.0 protocol.

use serde_json::json;

/// An error answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ApiError {
    /// The shape's name, with its namespace.
    shape: String,
    /// The code that the older query protocol had, which SDKs still take for the error's code.
    query_code: String,
    pub(super) message: String,
    pub(super) status: u16,
}

impl ApiError {
    /// An error that the service's model names; `query_code` where the query protocol called it otherwise.
    fn modelled(name: &str, query_code: Option<&str>, message: impl Into<String>) -> Self {
        Self {
            shape: format!("com.amazonaws.sqs#{name}"),
            query_code: query_code.unwrap_or(name).to_owned(),
            message: message.into(),
            status: 400,
        }
    }

    /// An error of the front end that every AWS service shares.
    fn common(name: &str, query_code: &str, status: u16, message: impl Into<String>) -> Self {
        Self {
            shape: format!("com.amazon.coral.service#{name}"),
            query_code: query_code.to_owned(),
            message: message.into(),
            status,
        }
    }

    pub(super) fn queue_does_not_exist() -> Self {
        Self::modelled(
            "QueueDoesNotExist",
            Some("AWS.SimpleQueueService.NonExistentQueue"),
            "The specified queue does not exist.",
        )
    }

    pub(super) fn queue_name_exists() -> Self {
        Self::modelled(
            "QueueNameExists",
            Some("QueueAlreadyExists"),
            "A queue already exists with the same name and a different value for an attribute",
        )
    }

    pub(super) fn receipt_handle_is_invalid(receipt: &str) -> Self {
        let message = format!("The input receipt handle {receipt:?} is not a valid receipt handle.");
        Self::modelled("ReceiptHandleIsInvalid", None, message)
    }

    pub(super) fn message_not_inflight() -> Self {
        Self::modelled(
            "MessageNotInflight",
            Some("AWS.SimpleQueueService.MessageNotInflight"),
            "The specified message is not in flight.",
        )
    }

    pub(super) fn invalid_attribute_name(name: &str) -> Self {
        Self::modelled("InvalidAttributeName", None, format!("Unknown Attribute {name}."))
    }

    pub(super) fn over_limit() -> Self {
        Self::modelled("OverLimit", None, "Too many messages are in flight.")
    }

    pub(super) fn throttled() -> Self {
        Self::modelled("RequestThrottled", None, "Rate exceeded")
    }

    pub(super) fn batch(name: &str, message: &str) -> Self {
        Self::modelled(name, Some(&format!("AWS.SimpleQueueService.{name}")), message)
    }

    pub(super) fn invalid_parameter(name: &str, value: impl std::fmt::Display, reason: &str) -> Self {
        let message = format!("Value {value} for parameter {name} is invalid. Reason: {reason}.");
        Self::common(
            "InvalidParameterValueException",
            "InvalidParameterValue",
            400,
            message,
        )
    }

    pub(super) fn missing_parameter(name: &str) -> Self {
        let message = format!("The request must contain the parameter {name}.");
        Self::common(
            "MissingRequiredParameterException",
            "MissingParameter",
            400,
            message,
        )
    }

    pub(super) fn serialization(message: impl Into<String>) -> Self {
        Self::common("SerializationException", "SerializationException", 400, message)
    }

    pub(super) fn unknown_operation(action: &str) -> Self {
        let message = format!("The action {action:?} is not valid for this endpoint.");
        Self::common("UnknownOperationException", "InvalidAction", 400, message)
    }

    pub(super) fn invalid_client_token() -> Self {
        Self::common(
            "UnrecognizedClientException",
            "InvalidClientTokenId",
            403,
            "The security token included in the request is invalid.",
        )
    }

    pub(super) fn access_denied(action: &str) -> Self {
        let message = format!("User is not authorized to perform: sqs:{action} on resource");
        Self::common("AccessDeniedException", "AccessDenied", 403, message)
    }

    pub(super) fn internal() -> Self {
        Self::common(
            "InternalFailure",
            "InternalFailure",
            500,
            "We encountered an internal error.",
        )
    }

    /// The code as an entry of a failed batch names it.
    pub(super) fn code(&self) -> &str {
        &self.query_code
    }

    /// The header `x-amzn-query-error`.
    pub(super) fn query_error(&self) -> String {
        let fault = if self.status < 500 { "Sender" } else { "Receiver" };
        format!("{};{fault}", self.query_code)
    }

    pub(super) fn body(&self) -> String {
        json!({"__type": self.shape, "message": self.message}).to_string()
    }
}
