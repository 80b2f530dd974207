//! The endpoint through the unmodified SDK client, on one thread under a paused clock.

use std::{sync::Arc, time::Duration};

use aws_sdk_sqs::{
    Client,
    error::ProvideErrorMetadata,
    types::{
        DeleteMessageBatchRequestEntry, MessageAttributeValue, MessageSystemAttributeName,
        QueueAttributeName, SendMessageBatchRequestEntry,
    },
};
use scaler_api::TokioClock;
use tokio::time::{Instant, sleep};

use super::*;
use crate::aws::{AwsEnvironment, AwsIdentity};

const URL: &str = "https://sqs.eu-west-1.amazonaws.com/123456789012/orders";
const FIFO: &str = "https://sqs.eu-west-1.amazonaws.com/123456789012/orders.fifo";

fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

async fn endpoint() -> (FakeSqs, Client) {
    let sqs = FakeSqs::new(7, start());
    let client = client(&sqs).await;
    (sqs, client)
}

async fn client(sqs: &FakeSqs) -> Client {
    let clock = Arc::new(TokioClock::starting_at(start()));
    let environment = AwsEnvironment::in_memory(sqs.clone(), clock);
    Client::new(&environment.config(&AwsIdentity::DefaultChain, "eu-west-1").await)
}

async fn send(client: &Client, url: &str, body: &str) -> String {
    let sent = client
        .send_message()
        .queue_url(url)
        .message_body(body)
        .send()
        .await
        .unwrap();
    sent.message_id().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_queue_is_created_found_listed_described_and_deleted() {
    let (_sqs, client) = endpoint().await;
    let created = client
        .create_queue()
        .queue_name("orders.fifo")
        .attributes(QueueAttributeName::FifoQueue, "true")
        .attributes(QueueAttributeName::VisibilityTimeout, "60")
        .send()
        .await
        .unwrap();
    assert_eq!(created.queue_url(), Some(FIFO));
    let found = client
        .get_queue_url()
        .queue_name("orders.fifo")
        .send()
        .await
        .unwrap();
    assert_eq!(found.queue_url(), Some(FIFO));
    let listed = client
        .list_queues()
        .queue_name_prefix("ord")
        .send()
        .await
        .unwrap();
    assert_eq!(listed.queue_urls(), [FIFO]);
    let all = client
        .get_queue_attributes()
        .queue_url(FIFO)
        .attribute_names(QueueAttributeName::All)
        .send()
        .await
        .unwrap();
    let attribute = |name| all.attributes().unwrap().get(&name).cloned().unwrap_or_default();
    assert_eq!(attribute(QueueAttributeName::VisibilityTimeout), "60");
    assert_eq!(
        attribute(QueueAttributeName::QueueArn),
        "arn:aws:sqs:eu-west-1:123456789012:orders.fifo"
    );
    assert_eq!(
        attribute(QueueAttributeName::CreatedTimestamp),
        start().as_second().to_string()
    );
    client.delete_queue().queue_url(FIFO).send().await.unwrap();
    assert!(client.list_queues().send().await.unwrap().queue_urls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn requests_take_no_virtual_time() {
    let (sqs, client) = endpoint().await;
    sqs.create_queue(URL, QueueOptions::default());
    let before = Instant::now();
    for _ in 0..50 {
        send(&client, URL, "x").await;
        client.get_queue_attributes().queue_url(URL).send().await.unwrap();
    }
    assert_eq!(before.elapsed(), Duration::ZERO);
    assert_eq!(sqs.requests()["SendMessage"], 50);
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_ids() {
    let ids = |seed| async move {
        let sqs = FakeSqs::new(seed, start());
        sqs.create_queue(URL, QueueOptions::default());
        let client = client(&sqs).await;
        (send(&client, URL, "a").await, send(&client, URL, "b").await)
    };
    assert_eq!(ids(7).await, ids(7).await);
    assert_ne!(ids(7).await, ids(8).await);
}

#[tokio::test(start_paused = true)]
async fn a_message_goes_round_with_its_attributes() {
    let (sqs, client) = endpoint().await;
    sqs.create_queue(FIFO, QueueOptions::fifo());
    let colour = MessageAttributeValue::builder()
        .data_type("String")
        .string_value("red")
        .build()
        .unwrap();
    client
        .send_message()
        .queue_url(FIFO)
        .message_body("abc")
        .message_group_id("g")
        .message_deduplication_id("d")
        .message_attributes("colour", colour)
        .send()
        .await
        .unwrap();
    sleep(Duration::from_secs(5)).await;
    let received = client
        .receive_message()
        .queue_url(FIFO)
        .message_attribute_names("All")
        .message_system_attribute_names(MessageSystemAttributeName::All)
        .send()
        .await
        .unwrap();
    let [message] = received.messages() else {
        panic!("one message, got {:?}", received.messages())
    };
    assert_eq!(message.body(), Some("abc"));
    assert_eq!(message.md5_of_body(), Some("900150983cd24fb0d6963f7d28e17f72"));
    assert_eq!(
        message.message_attributes().unwrap()["colour"].string_value(),
        Some("red")
    );
    let attributes = message.attributes().unwrap();
    assert_eq!(attributes[&MessageSystemAttributeName::MessageGroupId], "g");
    assert_eq!(
        attributes[&MessageSystemAttributeName::ApproximateReceiveCount],
        "1"
    );
    let sent = start().as_millisecond();
    assert_eq!(
        attributes[&MessageSystemAttributeName::SentTimestamp],
        sent.to_string()
    );
    let received_at = (sent + 5000).to_string();
    assert_eq!(
        attributes[&MessageSystemAttributeName::ApproximateFirstReceiveTimestamp],
        received_at
    );
    client
        .delete_message()
        .queue_url(FIFO)
        .receipt_handle(message.receipt_handle().unwrap())
        .send()
        .await
        .unwrap();
    assert_eq!(sqs.queue(FIFO).unwrap().counts(), Counts::default());
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_ends_with_the_message_or_with_its_time() {
    let (sqs, client) = endpoint().await;
    let queue = sqs.create_queue(URL, QueueOptions::default());
    let poll = || {
        client
            .receive_message()
            .queue_url(URL)
            .wait_time_seconds(20)
            .send()
    };
    let before = Instant::now();
    assert!(poll().await.unwrap().messages().is_empty());
    assert_eq!(before.elapsed(), Duration::from_secs(20));

    let producer = queue.clone();
    tokio::spawn(async move {
        sleep(Duration::from_secs(3)).await;
        producer.send("x", None, None);
    });
    let before = Instant::now();
    assert_eq!(poll().await.unwrap().messages().len(), 1);
    assert_eq!(before.elapsed(), Duration::from_secs(3));

    // The message comes back by itself when its 30 s are over.
    sleep(Duration::from_secs(15)).await;
    let before = Instant::now();
    assert_eq!(poll().await.unwrap().messages().len(), 1);
    assert_eq!(before.elapsed(), Duration::from_secs(15));
}

#[tokio::test(start_paused = true)]
async fn batches_succeed_and_fail_by_entry() {
    let (sqs, client) = endpoint().await;
    sqs.create_queue(
        URL,
        QueueOptions {
            maximum_message_size: 1024,
            ..QueueOptions::default()
        },
    );
    let entry = |id: &str, body: String| {
        SendMessageBatchRequestEntry::builder()
            .id(id)
            .message_body(body)
            .build()
            .unwrap()
    };
    let answer = client
        .send_message_batch()
        .queue_url(URL)
        .entries(entry("one", "x".into()))
        .entries(entry("two", "x".repeat(1025)))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.successful()[0].id(), "one");
    assert_eq!(
        (answer.failed()[0].id(), answer.failed()[0].code()),
        ("two", "InvalidParameterValue")
    );

    let received = client
        .receive_message()
        .queue_url(URL)
        .max_number_of_messages(10)
        .send()
        .await
        .unwrap();
    let receipt = received.messages()[0].receipt_handle().unwrap();
    let delete = |id: &str, receipt: &str| {
        DeleteMessageBatchRequestEntry::builder()
            .id(id)
            .receipt_handle(receipt)
            .build()
            .unwrap()
    };
    let answer = client
        .delete_message_batch()
        .queue_url(URL)
        .entries(delete("good", receipt))
        .entries(delete("bad", "nonsense"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.successful().len(), 1);
    assert_eq!(answer.failed()[0].code(), "ReceiptHandleIsInvalid");

    let eleven = (0..11)
        .map(|index| entry(&index.to_string(), "x".into()))
        .collect();
    let error = client
        .send_message_batch()
        .queue_url(URL)
        .set_entries(Some(eleven))
        .send()
        .await
        .unwrap_err();
    assert!(error.into_service_error().is_too_many_entries_in_batch_request());
}

#[tokio::test(start_paused = true)]
async fn errors_have_the_shape_that_the_sdk_knows() {
    let (sqs, client) = endpoint().await;
    let error = client
        .receive_message()
        .queue_url(URL)
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert!(error.is_queue_does_not_exist(), "{error:?}");
    assert_eq!(error.code(), Some("AWS.SimpleQueueService.NonExistentQueue"));

    sqs.create_queue(FIFO, QueueOptions::fifo());
    let send = || client.send_message().queue_url(FIFO).message_body("x");
    let error = send().send().await.unwrap_err().into_service_error();
    assert_eq!(error.code(), Some("MissingParameter"));
    let error = send()
        .message_group_id("g")
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert!(
        error.message().unwrap().contains("ContentBasedDeduplication"),
        "{error:?}"
    );

    let poll = client
        .receive_message()
        .queue_url(FIFO)
        .max_number_of_messages(11);
    assert_eq!(
        poll.send().await.unwrap_err().code(),
        Some("InvalidParameterValue")
    );
    let change = client
        .change_message_visibility()
        .queue_url(FIFO)
        .receipt_handle("x")
        .visibility_timeout(1);
    assert!(
        change
            .send()
            .await
            .unwrap_err()
            .into_service_error()
            .is_receipt_handle_is_invalid()
    );
    let create = client.create_queue().queue_name("no good");
    assert_eq!(
        create.send().await.unwrap_err().code(),
        Some("InvalidParameterValue")
    );
    let create = client
        .create_queue()
        .queue_name("orders.fifo")
        .attributes(QueueAttributeName::FifoQueue, "true")
        .attributes(QueueAttributeName::DelaySeconds, "9");
    assert!(
        create
            .send()
            .await
            .unwrap_err()
            .into_service_error()
            .is_queue_name_exists()
    );
    let unsupported = client
        .list_dead_letter_source_queues()
        .queue_url(FIFO)
        .send()
        .await;
    assert_eq!(unsupported.unwrap_err().code(), Some("InvalidAction"));
}

#[tokio::test(start_paused = true)]
async fn counts_are_announced_when_they_change_by_hand_or_by_time() {
    let (sqs, _) = endpoint().await;
    let queue = sqs.create_queue(URL, QueueOptions::default());
    queue.send("x", None, None);
    let seen = queue.counts_differ(Counts::default()).await;
    assert_eq!(
        seen,
        Counts {
            visible: 1,
            ..Counts::default()
        }
    );
    let [message] = &queue.receive(1, None)[..] else {
        panic!("one message")
    };
    assert_eq!(message.receive_count, 1);
    let seen = queue.counts_differ(seen).await;
    let before = Instant::now();
    assert_eq!(
        queue.counts_differ(seen).await,
        Counts {
            visible: 1,
            ..Counts::default()
        }
    );
    assert_eq!(before.elapsed(), Duration::from_secs(30));
    let changes = sqs.changes();
    queue.purge();
    assert!(changes.has_changed());
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_ends_when_its_queue_is_deleted() {
    let (sqs, client) = endpoint().await;
    sqs.create_queue(URL, QueueOptions::default());
    let poll = client
        .receive_message()
        .queue_url(URL)
        .wait_time_seconds(20)
        .send();
    let delete = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        client.delete_queue().queue_url(URL).send().await
    };
    let before = Instant::now();
    let (polled, deleted) = tokio::join!(poll, delete);
    deleted.unwrap();
    assert!(polled.unwrap_err().into_service_error().is_queue_does_not_exist());
    assert_eq!(before.elapsed(), Duration::from_secs(1));
}

/// Four producers and a growing crowd of consumers on one message group, some of which die with a message in hand: what was
/// sent is written once or more and deleted once, in order.
#[tokio::test(start_paused = true)]
async fn no_message_is_lost_however_consumers_die() {
    let (sqs, client) = endpoint().await;
    let options = QueueOptions {
        visibility_timeout: Duration::from_secs(60),
        ..QueueOptions::fifo()
    };
    let queue = sqs.create_queue(FIFO, options);
    for producer in 0..4 {
        let queue = queue.clone();
        tokio::spawn(async move {
            for index in 0..60 {
                let id = format!("{producer}-{index}");
                queue.send(&id, Some("group"), Some(&id));
                sleep(Duration::from_secs(1)).await;
            }
        });
    }
    for consumer in 0..10_u64 {
        let (client, mut held) = (client.clone(), 0);
        tokio::spawn(async move {
            loop {
                sleep(Duration::from_millis(1000 + consumer)).await;
                let received = client.receive_message().queue_url(FIFO).send().await.unwrap();
                let Some(message) = received.messages().first() else {
                    continue;
                };
                held += 1;
                if consumer < 3 && held > 3 {
                    return;
                }
                sleep(Duration::from_millis(250)).await;
                let receipt = message.receipt_handle().unwrap();
                client
                    .delete_message()
                    .queue_url(FIFO)
                    .receipt_handle(receipt)
                    .send()
                    .await
                    .unwrap();
            }
        });
    }
    sleep(Duration::from_secs(400)).await;
    let totals = queue.totals();
    assert_eq!((totals.sent, totals.deleted), (240, 240));
    assert_eq!(totals.received, 243, "three consumers died with a message");
    assert_eq!(queue.counts(), Counts::default());
}

#[tokio::test(start_paused = true)]
async fn a_deleted_queue_leaves_handles_without_effect() {
    let (sqs, client) = endpoint().await;
    let queue = sqs.create_queue(URL, QueueOptions::default());
    client.delete_queue().queue_url(URL).send().await.unwrap();
    assert_eq!(queue.send("x", None, None), "");
    assert!(queue.receive(1, None).is_empty());
    assert_eq!(queue.counts(), Counts::default());
    assert!(sqs.queue(URL).is_none());
}
