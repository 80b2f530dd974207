//! The operations of the AWS JSON 1.0 protocol: parse a request, check it as the service does, act, and answer.

mod messages;
mod queues;

use std::time::Duration;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{FakeSqs, connector::Call, error::ApiError};

type Answer = Result<Value, ApiError>;

/// Performs one call.
pub(super) async fn handle(sqs: &FakeSqs, call: &Call) -> Answer {
    match call.action.as_str() {
        "CreateQueue" => queues::create(sqs, call, parse(call)?),
        "DeleteQueue" => queues::delete(sqs, &parse(call)?),
        "GetQueueUrl" => queues::get_url(sqs, call, &parse(call)?),
        "ListQueues" => queues::list(sqs, call, &parse(call)?),
        "GetQueueAttributes" => queues::get_attributes(sqs, &parse(call)?),
        "SetQueueAttributes" => queues::set_attributes(sqs, &parse(call)?),
        "PurgeQueue" => queues::purge(sqs, &parse(call)?),
        "SendMessage" => messages::send(sqs, parse(call)?),
        "SendMessageBatch" => messages::send_batch(sqs, parse(call)?),
        "ReceiveMessage" => messages::receive(sqs, parse(call)?).await,
        "DeleteMessage" => messages::delete(sqs, &parse(call)?),
        "DeleteMessageBatch" => messages::delete_batch(sqs, parse(call)?),
        "ChangeMessageVisibility" => messages::change_visibility(sqs, &parse(call)?),
        "ChangeMessageVisibilityBatch" => messages::change_visibility_batch(sqs, parse(call)?),
        action => Err(ApiError::unknown_operation(action)),
    }
}

/// The queue that a request's body is about.
pub(super) fn queue_url_of(body: &[u8]) -> Option<String> {
    let request: Value = serde_json::from_slice(body).ok()?;
    Some(request.get("QueueUrl")?.as_str()?.to_owned())
}

fn parse<T: DeserializeOwned>(call: &Call) -> Result<T, ApiError> {
    serde_json::from_slice(&call.body).map_err(|error| ApiError::serialization(error.to_string()))
}

/// A request that names a queue and nothing else.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct QueueRequest {
    queue_url: String,
}

/// A number of seconds within its bounds.
fn seconds(name: &str, value: i64, bounds: std::ops::RangeInclusive<i64>) -> Result<Duration, ApiError> {
    if !bounds.contains(&value) {
        let reason = format!(
            "Must be between {} and {}, if provided",
            bounds.start(),
            bounds.end()
        );
        return Err(ApiError::invalid_parameter(name, value, &reason));
    }
    Ok(Duration::from_secs(value.unsigned_abs()))
}
