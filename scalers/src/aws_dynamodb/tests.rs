//! The rules of keda.md §2.1, §5.9, §5.14 and the suite that every scaler passes.

use scaler_api::{ErrorKind, MetricTarget, Scaler as _, conformance, conformance::Harness as _, metadata};

use super::*;
use crate::{aws::test_service::TestService, http::test_server::Reply};

const METADATA: [(&str, &str); 7] = [
    ("tableName", "orders"),
    ("keyConditionExpression", "#state = :state"),
    ("expressionAttributeNames", r##"{"#state": "state"}"##),
    ("expressionAttributeValues", r#"{":state": {"S": "open"}}"#),
    ("filterExpression", "amount > :state"),
    ("targetValue", "1"),
    ("activationTargetValue", "4"),
];

fn answer(count: f64) -> String {
    format!("{{\"Count\":{count},\"ScannedCount\":{count}}}")
}

#[tokio::test]
async fn it_conforms() {
    let service = TestService::<DynamodbTrigger>::start(&METADATA, 4.0, answer).await;
    conformance::assert_conforms(&service).await;
}

#[tokio::test]
async fn the_query_asks_for_the_count_alone_and_codes_have_their_kinds() {
    let service = TestService::<DynamodbTrigger>::start(&METADATA, 4.0, answer).await;
    let mut input = service.input();
    input.metadata.insert("indexName".into(), "by-state".into());
    let (trigger, _) = metadata::parse::<DynamodbTrigger>(&input).unwrap();
    let scaler = trigger.connect(&service.context()).await.unwrap();
    scaler.sample().await.unwrap();
    let request = service.server.last_request();
    assert!(
        request.contains("x-amz-target: DynamoDB_20120810.Query"),
        "{request}"
    );
    let body = request.split("\r\n\r\n").nth(1).unwrap();
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    let expected = serde_json::json!({
        "TableName": "orders",
        "IndexName": "by-state",
        "Select": "COUNT",
        "KeyConditionExpression": "#state = :state",
        "FilterExpression": "amount > :state",
        "ExpressionAttributeNames": {"#state": "state"},
        "ExpressionAttributeValues": {":state": {"S": "open"}},
    });
    assert_eq!(body, expected);
    for (status, code, expected) in [
        (400, "ResourceNotFoundException", ErrorKind::NotFound),
        (400, "ValidationException", ErrorKind::Invalid),
        (
            400,
            "ProvisionedThroughputExceededException",
            ErrorKind::Throttled,
        ),
        (400, "UnrecognizedClientException", ErrorKind::Unauthorized),
        (400, "ExpiredTokenException", ErrorKind::Unauthorized),
        (500, "InternalServerError", ErrorKind::Unavailable),
    ] {
        let body = format!("{{\"__type\":\"com.amazonaws.dynamodb.v20120810#{code}\",\"message\":\"no\"}}");
        service.server.reply(Reply::Body(status, body));
        assert_eq!(scaler.sample().await.unwrap_err().kind(), expected, "{code}");
    }
}

#[tokio::test]
async fn the_next_page_begins_where_the_last_one_ended() {
    let service = TestService::<DynamodbTrigger>::start(&METADATA, 4.0, answer).await;
    let (trigger, _) = metadata::parse::<DynamodbTrigger>(&service.input()).unwrap();
    let scaler = trigger.connect(&service.context()).await.unwrap();
    let page = r#"{"Count": 3, "LastEvaluatedKey": {"id": {"S": "seven"}}}"#;
    service.server.reply(Reply::Body(200, page.to_owned()));
    let sample = tokio::time::timeout(std::time::Duration::from_millis(300), scaler.sample());
    assert!(sample.await.is_err(), "there is always another page");
    let request = service.server.last_request();
    assert!(
        request.contains(r#""ExclusiveStartKey":{"id":{"S":"seven"}}"#),
        "{request}"
    );
}

#[tokio::test]
async fn keys_follow_the_rules_of_keda() {
    let service = TestService::<DynamodbTrigger>::start(&METADATA, 4.0, answer).await;
    let (trigger, _) = metadata::parse::<DynamodbTrigger>(&service.input()).unwrap();
    let MetricSpec::External { name, target } = &trigger.metrics()[0] else {
        panic!("an external metric")
    };
    assert_eq!(name, "aws-dynamodb-orders");
    assert_eq!(*target, MetricTarget::AverageValue(Quantity::from_units(1)));
    let without = |key: &str| {
        let mut input = service.input();
        input.metadata.remove(key);
        input
    };
    for key in [
        "tableName",
        "keyConditionExpression",
        "expressionAttributeNames",
        "expressionAttributeValues",
        "awsRegion",
        "targetValue",
    ] {
        let problems = metadata::parse::<DynamodbTrigger>(&without(key)).unwrap_err();
        assert!(problems.to_string().contains(key), "{key}: {problems}");
    }
    let mut input = without("targetValue");
    input.settings.as_metric_source = true;
    metadata::parse::<DynamodbTrigger>(&input).unwrap();
    for (key, value) in [
        ("expressionAttributeNames", "{}"),
        ("expressionAttributeValues", r#"{":state": {"N": 5}}"#),
        ("targetValue", "0"),
    ] {
        let mut input = service.input();
        input.metadata.insert(key.into(), value.into());
        let problems = metadata::parse::<DynamodbTrigger>(&input).unwrap_err();
        assert!(problems.to_string().contains(key), "{key}: {problems}");
    }
}
