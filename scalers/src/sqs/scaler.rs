//! One sample of a queue: `GetQueueAttributes`, and the sum of what counts.

use std::{collections::HashMap, fmt};

use async_trait::async_trait;
use aws_sdk_sqs::{Client, types::QueueAttributeName};
use scaler_api::{Error, Sample, Scaler};

use super::SqsTrigger;
use crate::aws::{self, service_config, service_error};

/// Reads the approximate counts of one queue.
pub struct SqsScaler {
    client: Client,
    queue_url: String,
    metric_name: String,
    attributes: Vec<QueueAttributeName>,
    activation: i64,
}

impl SqsScaler {
    pub(super) fn new(trigger: &SqsTrigger, client: aws::Client) -> Self {
        Self {
            client: Client::from_conf(service_config!(aws_sdk_sqs, client)),
            queue_url: trigger.queue_url.clone(),
            metric_name: trigger.metric_name(),
            attributes: counted_attributes(trigger.scale_on_in_flight, trigger.scale_on_delayed),
            activation: trigger.activation_queue_length,
        }
    }

    fn with_context(&self, error: Error) -> Error {
        error.with_context("queue", &self.queue_url)
    }
}

/// The attributes whose sum is the value.
fn counted_attributes(in_flight: bool, delayed: bool) -> Vec<QueueAttributeName> {
    let mut attributes = vec![QueueAttributeName::ApproximateNumberOfMessages];
    if in_flight {
        attributes.push(QueueAttributeName::ApproximateNumberOfMessagesNotVisible);
    }
    if delayed {
        attributes.push(QueueAttributeName::ApproximateNumberOfMessagesDelayed);
    }
    attributes
}

/// Adds up the attributes of an answer.
fn queue_length(
    wanted: &[QueueAttributeName],
    answered: Option<&HashMap<QueueAttributeName, String>>,
) -> Result<i64, Error> {
    let mut sum = 0_i64;
    for name in wanted {
        let name_text = name.as_str();
        let text = answered
            .and_then(|attributes| attributes.get(name))
            .ok_or_else(|| Error::invalid(format!("metric {name_text} not found in SQS queue attributes")))?;
        let count: i64 = text.parse().map_err(|_| {
            Error::invalid(format!(
                "metric {name_text} is {text:?} in SQS queue attributes, expected an integer"
            ))
        })?;
        sum = sum.saturating_add(count);
    }
    Ok(sum)
}

#[async_trait]
impl Scaler for SqsScaler {
    async fn sample(&self) -> Result<Sample, Error> {
        let answer = self
            .client
            .get_queue_attributes()
            .queue_url(&self.queue_url)
            .set_attribute_names(Some(self.attributes.clone()))
            .send()
            .await
            .map_err(|error| {
                self.with_context(service_error(
                    "cannot read the attributes of the SQS queue",
                    &error,
                ))
            })?;
        let length =
            queue_length(&self.attributes, answer.attributes()).map_err(|error| self.with_context(error))?;
        #[allow(
            clippy::cast_precision_loss,
            reason = "queues hold far fewer than 2^52 messages"
        )]
        let value = length as f64;
        Ok(Sample::single(&self.metric_name, value, length > self.activation))
    }
}

impl fmt::Debug for SqsScaler {
    // The client's own output is pages long.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqsScaler")
            .field("queue_url", &self.queue_url)
            .field("attributes", &self.attributes)
            .field("activation", &self.activation)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(pairs: &[(&str, &str)]) -> HashMap<QueueAttributeName, String> {
        pairs
            .iter()
            .map(|(name, value)| (QueueAttributeName::from(*name), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn what_counts_is_added_up() {
        let all = answer(&[
            ("ApproximateNumberOfMessages", "10"),
            ("ApproximateNumberOfMessagesNotVisible", "4"),
            ("ApproximateNumberOfMessagesDelayed", "1"),
        ]);
        for (in_flight, delayed, expected) in [
            (true, false, 14),
            (false, false, 10),
            (true, true, 15),
            (false, true, 11),
        ] {
            let wanted = counted_attributes(in_flight, delayed);
            assert_eq!(
                queue_length(&wanted, Some(&all)).unwrap(),
                expected,
                "{in_flight} {delayed}"
            );
        }
    }

    #[test]
    fn a_missing_or_odd_attribute_is_an_error_and_never_zero() {
        let wanted = counted_attributes(true, false);
        let missing =
            queue_length(&wanted, Some(&answer(&[("ApproximateNumberOfMessages", "10")]))).unwrap_err();
        assert_eq!(
            missing.to_string(),
            "metric ApproximateNumberOfMessagesNotVisible not found in SQS queue attributes"
        );
        let odd =
            queue_length(&wanted, Some(&answer(&[("ApproximateNumberOfMessages", "many")]))).unwrap_err();
        assert!(odd.to_string().contains("\"many\""), "{odd}");
        assert!(queue_length(&wanted, None).is_err());
    }
}
