//! Operations on queues as a whole.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Answer, QueueRequest, seconds};
use crate::sqs::fake::{
    FakeSqs, QueueOptions, connector::Call, error::ApiError, model::Counts, queue::Queue,
};

/// The account of queues that are created through the protocol, the one of AWS's documentation.
const ACCOUNT: &str = "123456789012";

type Attributes = BTreeMap<String, String>;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateQueue {
    queue_name: String,
    #[serde(default)]
    attributes: Attributes,
}

pub(super) fn create(sqs: &FakeSqs, call: &Call, request: CreateQueue) -> Answer {
    let CreateQueue {
        queue_name,
        attributes,
    } = request;
    let mut options = QueueOptions::default();
    apply(&attributes, &mut options, true)?;
    check_name(&queue_name, options.fifo)?;
    let url = url(call, ACCOUNT, &queue_name);
    if let Some(queue) = sqs.queue(&url) {
        let mut wanted = queue.options();
        apply(&attributes, &mut wanted, true)?;
        if wanted != queue.options() {
            return Err(ApiError::queue_name_exists());
        }
    }
    sqs.create_queue(&url, options);
    Ok(json!({"QueueUrl": url}))
}

fn url(call: &Call, account: &str, name: &str) -> String {
    format!("{}/{account}/{name}", call.endpoint)
}

fn check_name(name: &str, fifo: bool) -> Result<(), ApiError> {
    let stem = name.strip_suffix(".fifo");
    let letters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let valid = !name.is_empty() && name.len() <= 80 && stem.unwrap_or(name).chars().all(letters);
    if !valid {
        let reason = "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length";
        return Err(ApiError::invalid_parameter("QueueName", name, reason));
    }
    if stem.is_some() != fifo {
        let reason = "The name of a FIFO queue, and of no other, ends with the .fifo suffix";
        return Err(ApiError::invalid_parameter("QueueName", name, reason));
    }
    Ok(())
}

/// Writes attributes of a request into `options`.
fn apply(attributes: &Attributes, options: &mut QueueOptions, creating: bool) -> Result<(), ApiError> {
    for (name, text) in attributes {
        let duration = |bounds| number(name, text).and_then(|value| seconds(name, value, bounds));
        match name.as_str() {
            "VisibilityTimeout" => options.visibility_timeout = duration(0..=43_200)?,
            "DelaySeconds" => options.delay = duration(0..=900)?,
            "MessageRetentionPeriod" => options.retention = duration(60..=1_209_600)?,
            "ReceiveMessageWaitTimeSeconds" => options.receive_wait = duration(0..=20)?,
            "MaximumMessageSize" => {
                let bytes = number(name, text)?;
                let valid = usize::try_from(bytes)
                    .ok()
                    .filter(|bytes| (1024..=1_048_576).contains(bytes));
                options.maximum_message_size = valid.ok_or_else(|| {
                    ApiError::invalid_parameter(name, text, "Must be between 1024 and 1048576")
                })?;
            }
            "FifoQueue" if creating => options.fifo = boolean(name, text)?,
            "ContentBasedDeduplication" => options.content_based_deduplication = boolean(name, text)?,
            // Taken and not modelled.
            "Policy"
            | "RedrivePolicy"
            | "RedriveAllowPolicy"
            | "KmsMasterKeyId"
            | "KmsDataKeyReusePeriodSeconds"
            | "SqsManagedSseEnabled"
            | "DeduplicationScope"
            | "FifoThroughputLimit" => {}
            unknown => return Err(ApiError::invalid_attribute_name(unknown)),
        }
    }
    Ok(())
}

fn number(name: &str, text: &str) -> Result<i64, ApiError> {
    text.parse()
        .map_err(|_| ApiError::invalid_parameter(name, text, "Must be an integer"))
}

fn boolean(name: &str, text: &str) -> Result<bool, ApiError> {
    text.parse()
        .map_err(|_| ApiError::invalid_parameter(name, text, "Must be true or false"))
}

pub(super) fn delete(sqs: &FakeSqs, request: &QueueRequest) -> Answer {
    let removed = sqs.lock().queues.remove(&request.queue_url);
    removed.ok_or_else(ApiError::queue_does_not_exist)?.changes.add();
    sqs.shared.changes.add();
    Ok(json!({}))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetQueueUrl {
    queue_name: String,
    #[serde(rename = "QueueOwnerAWSAccountId")]
    owner: Option<String>,
}

pub(super) fn get_url(sqs: &FakeSqs, call: &Call, request: &GetQueueUrl) -> Answer {
    let url = match &request.owner {
        Some(owner) => Some(url(call, owner, &request.queue_name)).filter(|url| sqs.queue(url).is_some()),
        None => {
            of_endpoint(sqs, call).find(|url| url.rsplit('/').next() == Some(request.queue_name.as_str()))
        }
    };
    let url = url.ok_or_else(ApiError::queue_does_not_exist)?;
    Ok(json!({"QueueUrl": url}))
}

/// The queues that a client of this endpoint can see.
fn of_endpoint(sqs: &FakeSqs, call: &Call) -> impl Iterator<Item = String> {
    let prefix = format!("{}/", call.endpoint);
    sqs.queue_urls()
        .into_iter()
        .filter(move |url| url.starts_with(&prefix))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListQueues {
    #[serde(default)]
    queue_name_prefix: String,
    max_results: Option<i64>,
    next_token: Option<String>,
}

pub(super) fn list(sqs: &FakeSqs, call: &Call, request: &ListQueues) -> Answer {
    let limit = request.max_results.unwrap_or(1000);
    if !(1..=1000).contains(&limit) {
        return Err(ApiError::invalid_parameter(
            "MaxResults",
            limit,
            "Must be between 1 and 1000",
        ));
    }
    let name_starts = |url: &String| {
        url.rsplit('/')
            .next()
            .is_some_and(|name| name.starts_with(&request.queue_name_prefix))
    };
    let after = |url: &String| request.next_token.as_ref().is_none_or(|token| url > token);
    let mut urls: Vec<String> = of_endpoint(sqs, call).filter(name_starts).filter(after).collect();
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = request.max_results.is_some() && urls.len() > limit;
    urls.truncate(limit);
    match urls.last() {
        Some(last) if more => Ok(json!({"QueueUrls": urls, "NextToken": last})),
        _ => Ok(json!({"QueueUrls": urls})),
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetQueueAttributes {
    queue_url: String,
    #[serde(default)]
    attribute_names: Vec<String>,
}

pub(super) fn get_attributes(sqs: &FakeSqs, request: &GetQueueAttributes) -> Answer {
    let all = sqs.read(&request.queue_url, |queue, now| {
        let counts = queue.counts(now);
        attributes(sqs, &request.queue_url, queue, counts)
    })?;
    let mut chosen = Map::new();
    for name in &request.attribute_names {
        match (name.as_str(), all.get(name)) {
            ("All", _) => chosen.extend(all.clone()),
            (_, Some(value)) => {
                chosen.insert(name.clone(), value.clone());
            }
            // Known, but not set on this queue.
            ("Policy" | "RedrivePolicy" | "RedriveAllowPolicy" | "KmsMasterKeyId", None) => {}
            (
                "FifoQueue" | "ContentBasedDeduplication" | "DeduplicationScope" | "FifoThroughputLimit",
                None,
            ) => {}
            (unknown, None) => return Err(ApiError::invalid_attribute_name(unknown)),
        }
    }
    if chosen.is_empty() {
        Ok(json!({}))
    } else {
        Ok(json!({"Attributes": chosen}))
    }
}

/// Every attribute of a queue that is modelled.
fn attributes(sqs: &FakeSqs, url: &str, queue: &Queue, counts: Counts) -> Map<String, Value> {
    let options = &queue.options;
    let time = |at: Duration| sqs.time_of_day(at).as_second().to_string();
    let whole = |duration: Duration| duration.as_secs().to_string();
    let mut attributes = vec![
        ("ApproximateNumberOfMessages", counts.visible.to_string()),
        (
            "ApproximateNumberOfMessagesNotVisible",
            counts.in_flight.to_string(),
        ),
        ("ApproximateNumberOfMessagesDelayed", counts.delayed.to_string()),
        ("CreatedTimestamp", time(queue.created_at)),
        ("LastModifiedTimestamp", time(queue.modified_at)),
        ("VisibilityTimeout", whole(options.visibility_timeout)),
        ("DelaySeconds", whole(options.delay)),
        ("MessageRetentionPeriod", whole(options.retention)),
        ("ReceiveMessageWaitTimeSeconds", whole(options.receive_wait)),
        ("MaximumMessageSize", options.maximum_message_size.to_string()),
        ("SqsManagedSseEnabled", "true".to_owned()),
        ("QueueArn", arn(url)),
    ];
    if options.fifo {
        attributes.push(("FifoQueue", "true".to_owned()));
        attributes.push((
            "ContentBasedDeduplication",
            options.content_based_deduplication.to_string(),
        ));
        attributes.push(("DeduplicationScope", "queue".to_owned()));
        attributes.push(("FifoThroughputLimit", "perQueue".to_owned()));
    }
    attributes
        .into_iter()
        .map(|(name, value)| (name.to_owned(), Value::from(value)))
        .collect()
}

/// `arn:aws:sqs:<region>:<account>:<name>` of `https://sqs.<region>.amazonaws.com/<account>/<name>`.
fn arn(url: &str) -> String {
    let region = url
        .split_once("://sqs.")
        .and_then(|(_, rest)| rest.split('.').next())
        .unwrap_or("us-east-1");
    let mut parts = url.rsplit('/');
    let name = parts.next().unwrap_or_default();
    let account = parts.next().unwrap_or(ACCOUNT);
    format!("arn:aws:sqs:{region}:{account}:{name}")
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SetQueueAttributes {
    queue_url: String,
    attributes: Attributes,
}

pub(super) fn set_attributes(sqs: &FakeSqs, request: &SetQueueAttributes) -> Answer {
    sqs.change(&request.queue_url, |queue, now, _| {
        let mut options = queue.options.clone();
        apply(&request.attributes, &mut options, false)?;
        queue.options = options;
        queue.modified_at = now;
        Ok(json!({}))
    })?
}

pub(super) fn purge(sqs: &FakeSqs, request: &QueueRequest) -> Answer {
    sqs.change(&request.queue_url, |queue, now, _| queue.purge(now))?;
    Ok(json!({}))
}
