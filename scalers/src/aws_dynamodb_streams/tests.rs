//! The rules of keda.md §2.1, §5.9 and the suite that every scaler passes.

use scaler_api::{MetricTarget, Scaler as _, conformance, conformance::Harness as _, metadata};

use super::*;
use crate::{aws::test_service::TestService, http::test_server::Reply};

const METADATA: [(&str, &str); 2] = [("tableName", "orders"), ("activationShardCount", "3")];

/// Table and stream in one, of which each request reads its own.
fn answer(shards: f64) -> String {
    let shards: Vec<String> = (0..shards as usize)
        .map(|shard| format!("{{\"ShardId\":\"shard-{shard}\"}}"))
        .collect();
    let shards = shards.join(",");
    format!(
        "{{\"Table\":{{\"LatestStreamArn\":\"arn:s\"}},\"StreamDescription\":{{\"StreamArn\":\"arn:s\",\"Shards\":[{shards}]}}}}"
    )
}

#[tokio::test]
async fn it_conforms() {
    let service = TestService::<DynamodbStreamsTrigger>::start(&METADATA, 3.0, answer).await;
    conformance::assert_conforms(&service).await;
}

#[tokio::test]
async fn the_stream_is_looked_up_once_and_anew_when_it_is_gone() {
    let service = TestService::<DynamodbStreamsTrigger>::start(&METADATA, 3.0, answer).await;
    let (trigger, _) = metadata::parse::<DynamodbStreamsTrigger>(&service.input()).unwrap();
    let scaler = trigger.connect(&service.context()).await.unwrap();
    service.set_value(4.0).await;
    for _ in 0..3 {
        let sample = scaler.sample().await.unwrap();
        assert_eq!((sample.values[0].value, sample.active), (4.0, true));
    }
    let lookups = |service: &TestService<_>| {
        let requests = service.server.requests();
        let lookups = requests
            .iter()
            .filter(|request| request.contains("x-amz-target: DynamoDB_20120810.DescribeTable"));
        (lookups.count(), requests.len())
    };
    assert_eq!(lookups(&service), (1, 4));
    let gone = "{\"__type\":\"com.amazonaws.dynamodb.v20120810#ResourceNotFoundException\"}";
    service.server.reply(Reply::Body(400, gone.to_owned()));
    assert_eq!(scaler.sample().await.unwrap_err().kind(), ErrorKind::NotFound);
    service.set_value(2.0).await;
    assert_eq!(scaler.sample().await.unwrap().values[0].value, 2.0);
    assert_eq!(lookups(&service), (2, 7));
}

#[tokio::test]
async fn every_page_is_read_and_a_table_without_a_stream_is_an_error() {
    let service = TestService::<DynamodbStreamsTrigger>::start(&METADATA, 3.0, answer).await;
    let (trigger, _) = metadata::parse::<DynamodbStreamsTrigger>(&service.input()).unwrap();
    let scaler = trigger.connect(&service.context()).await.unwrap();
    let no_stream = "{\"Table\":{\"TableName\":\"orders\"}}";
    service.server.reply(Reply::Body(200, no_stream.to_owned()));
    let error = scaler.sample().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("has no stream"), "{error}");
    // Always another page: the deadline of the sample ends it.
    let endless = "{\"Table\":{\"LatestStreamArn\":\"arn:s\"},\"StreamDescription\":{\"Shards\":[{}],\
                   \"LastEvaluatedShardId\":\"shard-7\"}}";
    service.server.reply(Reply::Body(200, endless.to_owned()));
    let sample = tokio::time::timeout(std::time::Duration::from_millis(300), scaler.sample());
    assert!(sample.await.is_err());
    let request = service.server.last_request();
    assert!(
        request.contains("\"ExclusiveStartShardId\":\"shard-7\""),
        "{request}"
    );
}

#[tokio::test]
async fn keys_have_the_defaults_of_keda() {
    let service = TestService::<DynamodbStreamsTrigger>::start(&METADATA[..1], 3.0, answer).await;
    let (trigger, _) = metadata::parse::<DynamodbStreamsTrigger>(&service.input()).unwrap();
    assert_eq!((trigger.shard_count, trigger.activation_shard_count), (2, 0));
    let MetricSpec::External { name, target } = &trigger.metrics()[0] else {
        panic!("an external metric")
    };
    assert_eq!(name, "aws-dynamodb-streams-orders");
    assert_eq!(*target, MetricTarget::AverageValue(Quantity::from_units(2)));
}
