//! Operations on messages, singly and in batches.

use std::{collections::BTreeSet, time::Duration};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Answer, seconds};
use crate::sqs::fake::{
    FakeSqs,
    error::ApiError,
    md5,
    model::{Delivery, NewMessage, QueueOptions, ReceiptError, Sent},
};

/// Messages that one receive may give, and entries that a batch may have.
const BATCH: usize = 10;

/// Messages of a queue that may be in flight.
const IN_FLIGHT_LIMIT: u64 = 120_000;

const VISIBILITY: std::ops::RangeInclusive<i64> = 0..=43_200;

/// A message as `SendMessage` and an entry of `SendMessageBatch` give it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Outgoing {
    message_body: String,
    delay_seconds: Option<i64>,
    message_group_id: Option<String>,
    message_deduplication_id: Option<String>,
    message_attributes: Option<Value>,
}

impl Outgoing {
    fn check(self, options: &QueueOptions) -> Result<NewMessage, ApiError> {
        let length = self.message_body.len();
        if length == 0 {
            return Err(ApiError::missing_parameter("MessageBody"));
        }
        if length > options.maximum_message_size {
            let reason = format!(
                "Message must be shorter than {} bytes",
                options.maximum_message_size
            );
            return Err(ApiError::invalid_parameter(
                "MessageBody",
                format_args!("of {length} bytes"),
                &reason,
            ));
        }
        if options.fifo {
            self.check_fifo(options)?;
        } else if let Some(id) = &self.message_deduplication_id {
            let reason = "The request includes a parameter that is not valid for this queue type";
            return Err(ApiError::invalid_parameter("MessageDeduplicationId", id, reason));
        }
        let delay = self
            .delay_seconds
            .map(|value| seconds("DelaySeconds", value, 0..=900))
            .transpose()?;
        Ok(NewMessage {
            body: self.message_body,
            group: self.message_group_id,
            deduplication_id: self.message_deduplication_id,
            delay,
            attributes: self.message_attributes,
        })
    }

    fn check_fifo(&self, options: &QueueOptions) -> Result<(), ApiError> {
        if self.message_group_id.as_deref().is_none_or(str::is_empty) {
            return Err(ApiError::missing_parameter("MessageGroupId"));
        }
        if self.message_deduplication_id.is_none() && !options.content_based_deduplication {
            let reason = "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly";
            return Err(ApiError::invalid_parameter(
                "MessageDeduplicationId",
                "null",
                reason,
            ));
        }
        match self.delay_seconds {
            Some(delay) if delay != 0 => {
                let reason = "The request include parameter that is not valid for this queue type";
                Err(ApiError::invalid_parameter("DelaySeconds", delay, reason))
            }
            _ => Ok(()),
        }
    }
}

fn send_one(sqs: &FakeSqs, url: &str, message: Outgoing) -> Result<Map<String, Value>, ApiError> {
    let digest = md5::hex(&message.message_body);
    let (sent, fifo) = sqs.change(url, |queue, now, ids| {
        let message = message.check(&queue.options)?;
        Ok((queue.send(now, message, ids.next()), queue.options.fifo))
    })??;
    let Sent { id, sequence } = sent;
    let mut answer = Map::new();
    answer.insert("MD5OfMessageBody".to_owned(), digest.into());
    answer.insert("MessageId".to_owned(), id.into());
    if fifo {
        answer.insert("SequenceNumber".to_owned(), sequence_number(sequence).into());
    }
    Ok(answer)
}

/// Twenty digits, as the service has them.
fn sequence_number(sequence: u64) -> String {
    format!("{:020}", 18_850_000_000_000_000_000_u128 + u128::from(sequence))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SendMessage {
    queue_url: String,
    message_body: String,
    delay_seconds: Option<i64>,
    message_group_id: Option<String>,
    message_deduplication_id: Option<String>,
    message_attributes: Option<Value>,
}

pub(super) fn send(sqs: &FakeSqs, request: SendMessage) -> Answer {
    let message = Outgoing {
        message_body: request.message_body,
        delay_seconds: request.delay_seconds,
        message_group_id: request.message_group_id,
        message_deduplication_id: request.message_deduplication_id,
        message_attributes: request.message_attributes,
    };
    send_one(sqs, &request.queue_url, message).map(Value::Object)
}

/// A request with up to ten entries, each an object with an `Id`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Batch {
    queue_url: String,
    #[serde(default)]
    entries: Vec<Value>,
}

impl Batch {
    /// Performs `act` for each entry; one that fails does not keep the others from succeeding.
    fn perform<T: serde::de::DeserializeOwned>(
        self,
        sqs: &FakeSqs,
        mut act: impl FnMut(&str, T) -> Result<Map<String, Value>, ApiError>,
    ) -> Answer {
        let Self { queue_url, entries } = self;
        sqs.read(&queue_url, |_, _| ())?;
        let ids = checked_ids(&entries)?;
        let (mut successful, mut failed) = (Vec::new(), Vec::new());
        for (id, entry) in ids.into_iter().zip(entries) {
            let entry: T =
                serde_json::from_value(entry).map_err(|error| ApiError::serialization(error.to_string()))?;
            match act(&queue_url, entry) {
                Ok(mut answer) => {
                    answer.insert("Id".to_owned(), id.into());
                    successful.push(Value::Object(answer));
                }
                Err(error) => failed.push(json!({
                    "Id": id,
                    "Code": error.code(),
                    "Message": error.message,
                    "SenderFault": error.status < 500,
                })),
            }
        }
        Ok(json!({"Successful": successful, "Failed": failed}))
    }
}

fn checked_ids(entries: &[Value]) -> Result<Vec<String>, ApiError> {
    if entries.is_empty() {
        return Err(ApiError::batch(
            "EmptyBatchRequest",
            "There should be at least one entry in the request.",
        ));
    }
    if entries.len() > BATCH {
        let message = format!(
            "Maximum number of entries per request are {BATCH}. You have sent {}.",
            entries.len()
        );
        return Err(ApiError::batch("TooManyEntriesInBatchRequest", &message));
    }
    let id = |entry: &Value| entry.get("Id").and_then(Value::as_str).map(str::to_owned);
    let ids: Option<Vec<String>> = entries.iter().map(id).collect();
    let ids = ids.ok_or_else(|| ApiError::missing_parameter("Id"))?;
    if ids.iter().collect::<BTreeSet<_>>().len() < ids.len() {
        return Err(ApiError::batch(
            "BatchEntryIdsNotDistinct",
            "Two or more batch entries have the same Id.",
        ));
    }
    Ok(ids)
}

pub(super) fn send_batch(sqs: &FakeSqs, batch: Batch) -> Answer {
    batch.perform(sqs, |url, message: Outgoing| send_one(sqs, url, message))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ReceiveMessage {
    queue_url: String,
    max_number_of_messages: Option<i64>,
    visibility_timeout: Option<i64>,
    wait_time_seconds: Option<i64>,
    #[serde(default)]
    attribute_names: Vec<String>,
    #[serde(default)]
    message_system_attribute_names: Vec<String>,
    #[serde(default)]
    message_attribute_names: Vec<String>,
}

pub(super) async fn receive(sqs: &FakeSqs, request: ReceiveMessage) -> Answer {
    let max = request.max_number_of_messages.unwrap_or(1);
    let count = usize::try_from(max)
        .ok()
        .filter(|count| (1..=BATCH).contains(count));
    let count = count.ok_or_else(|| {
        ApiError::invalid_parameter(
            "MaxNumberOfMessages",
            max,
            "Must be between 1 and 10, if provided",
        )
    })?;
    let visibility = request
        .visibility_timeout
        .map(|value| seconds("VisibilityTimeout", value, VISIBILITY))
        .transpose()?;
    let wait = match request.wait_time_seconds {
        Some(value) => seconds("WaitTimeSeconds", value, 0..=20)?,
        None => sqs.read(&request.queue_url, |queue, _| queue.options.receive_wait)?,
    };
    let delivered = poll(sqs, &request.queue_url, count, visibility, wait).await?;
    let messages: Vec<Value> = delivered
        .into_iter()
        .map(|delivery| incoming(sqs, &request, delivery))
        .collect();
    if messages.is_empty() {
        Ok(json!({}))
    } else {
        Ok(json!({"Messages": messages}))
    }
}

/// Receives, waiting up to `wait` for the first message.
async fn poll(
    sqs: &FakeSqs,
    url: &str,
    count: usize,
    visibility: Option<Duration>,
    wait: Duration,
) -> Result<Vec<Delivery>, ApiError> {
    let deadline = sqs.now() + wait;
    loop {
        let mut changes = sqs.subscribe(url)?;
        let idle = sqs.read(url, |queue, now| !queue.can_deliver(now))?;
        if !idle {
            let delivered = sqs.change(url, |queue, now, _| {
                if queue.counts(now).in_flight >= IN_FLIGHT_LIMIT {
                    return Err(ApiError::over_limit());
                }
                Ok(queue.receive(now, count, visibility))
            })??;
            return Ok(delivered);
        }
        if sqs.now() >= deadline {
            return Ok(Vec::new());
        }
        sqs.changed(url, &mut changes, Some(deadline)).await?;
    }
}

fn incoming(sqs: &FakeSqs, request: &ReceiveMessage, delivery: Delivery) -> Value {
    let asked = |name: &str| {
        let names = request
            .attribute_names
            .iter()
            .chain(&request.message_system_attribute_names);
        names.into_iter().any(|asked| asked == "All" || asked == name)
    };
    let millis = |at| sqs.time_of_day(at).as_millisecond().to_string();
    let mut attributes = Map::new();
    let all = [
        (
            "ApproximateReceiveCount",
            Some(delivery.receive_count.to_string()),
        ),
        ("SentTimestamp", Some(millis(delivery.sent_at))),
        (
            "ApproximateFirstReceiveTimestamp",
            Some(millis(delivery.first_received_at)),
        ),
        ("SenderId", Some("AIDAIOSFODNN7EXAMPLE".to_owned())),
        ("MessageGroupId", delivery.group.as_deref().map(str::to_owned)),
        ("MessageDeduplicationId", delivery.deduplication_id),
        (
            "SequenceNumber",
            delivery
                .group
                .as_ref()
                .map(|_| sequence_number(delivery.sequence)),
        ),
    ];
    for (name, value) in all {
        if let Some(value) = value.filter(|_| asked(name)) {
            attributes.insert(name.to_owned(), value.into());
        }
    }
    let mut message = json!({
        "MessageId": delivery.id,
        "ReceiptHandle": delivery.receipt,
        "MD5OfBody": md5::hex(&delivery.body),
        "Body": delivery.body,
    });
    if !attributes.is_empty() {
        message["Attributes"] = Value::Object(attributes);
    }
    let own = chosen_attributes(delivery.attributes, &request.message_attribute_names);
    if !own.is_empty() {
        message["MessageAttributes"] = Value::Object(own);
    }
    message
}

/// The message attributes that were asked for: by name, by `prefix.*`, or `All`.
fn chosen_attributes(attributes: Option<Value>, names: &[String]) -> Map<String, Value> {
    let Some(Value::Object(attributes)) = attributes else {
        return Map::new();
    };
    let asked = |name: &str| {
        names.iter().any(|asked| match asked.strip_suffix(".*") {
            Some(prefix) => name.starts_with(prefix),
            None => asked == "All" || asked == name,
        })
    };
    attributes.into_iter().filter(|(name, _)| asked(name)).collect()
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DeleteMessage {
    queue_url: String,
    receipt_handle: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DeleteEntry {
    receipt_handle: String,
}

pub(super) fn delete(sqs: &FakeSqs, request: &DeleteMessage) -> Answer {
    delete_one(sqs, &request.queue_url, &request.receipt_handle).map(Value::Object)
}

pub(super) fn delete_batch(sqs: &FakeSqs, batch: Batch) -> Answer {
    batch.perform(sqs, |url, entry: DeleteEntry| {
        delete_one(sqs, url, &entry.receipt_handle)
    })
}

fn delete_one(sqs: &FakeSqs, url: &str, receipt: &str) -> Result<Map<String, Value>, ApiError> {
    match sqs.change(url, |queue, now, _| queue.delete(now, receipt))? {
        Ok(_) => Ok(Map::new()),
        Err(ReceiptError::Invalid) => Err(ApiError::receipt_handle_is_invalid(receipt)),
        Err(ReceiptError::Expired) => Err(ApiError::invalid_parameter(
            "ReceiptHandle",
            receipt,
            "The receipt handle has expired",
        )),
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ChangeVisibility {
    queue_url: String,
    receipt_handle: String,
    visibility_timeout: i64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ChangeEntry {
    receipt_handle: String,
    visibility_timeout: i64,
}

pub(super) fn change_visibility(sqs: &FakeSqs, request: &ChangeVisibility) -> Answer {
    change_one(
        sqs,
        &request.queue_url,
        &request.receipt_handle,
        request.visibility_timeout,
    )
    .map(Value::Object)
}

pub(super) fn change_visibility_batch(sqs: &FakeSqs, batch: Batch) -> Answer {
    batch.perform(sqs, |url, entry: ChangeEntry| {
        change_one(sqs, url, &entry.receipt_handle, entry.visibility_timeout)
    })
}

fn change_one(sqs: &FakeSqs, url: &str, receipt: &str, timeout: i64) -> Result<Map<String, Value>, ApiError> {
    let visibility = seconds("VisibilityTimeout", timeout, VISIBILITY)?;
    match sqs.change(url, |queue, now, _| {
        queue.change_visibility(now, receipt, visibility)
    })? {
        Ok(()) => Ok(Map::new()),
        Err(ReceiptError::Invalid) => Err(ApiError::receipt_handle_is_invalid(receipt)),
        Err(ReceiptError::Expired) => Err(ApiError::message_not_inflight()),
    }
}
