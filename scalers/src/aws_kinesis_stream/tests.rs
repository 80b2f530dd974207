//! The rules of keda.md §2.1, §5.9 and the suite that every scaler passes.

use scaler_api::{ErrorKind, MetricTarget, Scaler as _, conformance, conformance::Harness as _, metadata};

use super::*;
use crate::{aws::test_service::TestService, http::test_server::Reply};

const METADATA: [(&str, &str); 2] = [("streamName", "clicks"), ("activationShardCount", "3")];

fn answer(open: f64) -> String {
    format!(
        "{{\"StreamDescriptionSummary\":{{\"StreamName\":\"clicks\",\"StreamARN\":\"arn:s\",\"StreamStatus\":\"ACTIVE\",\
         \"RetentionPeriodHours\":24,\"StreamCreationTimestamp\":0,\"EnhancedMonitoring\":[],\"OpenShardCount\":{open}}}}}"
    )
}

#[tokio::test]
async fn it_conforms() {
    let service = TestService::<KinesisTrigger>::start(&METADATA, 3.0, answer).await;
    conformance::assert_conforms(&service).await;
}

#[tokio::test]
async fn one_request_describes_the_stream_and_codes_have_their_kinds() {
    let service = TestService::<KinesisTrigger>::start(&METADATA, 3.0, answer).await;
    let (trigger, _) = metadata::parse::<KinesisTrigger>(&service.input()).unwrap();
    let scaler = trigger.connect(&service.context()).await.unwrap();
    service.set_value(4.0).await;
    let sample = scaler.sample().await.unwrap();
    assert_eq!((sample.values[0].value, sample.active), (4.0, true));
    assert_eq!(service.server.requests().len(), 1);
    let request = service.server.last_request();
    assert!(
        request.contains("x-amz-target: Kinesis_20131202.DescribeStreamSummary"),
        "{request}"
    );
    assert!(request.ends_with("{\"StreamName\":\"clicks\"}"), "{request}");
    for (status, code, expected) in [
        (400, "ResourceNotFoundException", ErrorKind::NotFound),
        (400, "LimitExceededException", ErrorKind::Throttled),
        (400, "AccessDeniedException", ErrorKind::Unauthorized),
        (400, "UnrecognizedClientException", ErrorKind::Unauthorized),
        (400, "InvalidArgumentException", ErrorKind::Invalid),
        (500, "InternalFailure", ErrorKind::Unavailable),
    ] {
        let body = format!("{{\"__type\":\"{code}\",\"message\":\"no\"}}");
        service.server.reply(Reply::Body(status, body));
        assert_eq!(scaler.sample().await.unwrap_err().kind(), expected, "{code}");
    }
    service.server.reply(Reply::Body(200, "{}".to_owned()));
    assert_eq!(scaler.sample().await.unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn keys_have_the_defaults_of_keda() {
    let service = TestService::<KinesisTrigger>::start(&METADATA, 3.0, answer).await;
    let mut input = service.input();
    input.metadata.remove("activationShardCount");
    let (trigger, _) = metadata::parse::<KinesisTrigger>(&input).unwrap();
    assert_eq!((trigger.shard_count, trigger.activation_shard_count), (2, 0));
    let MetricSpec::External { name, target } = &trigger.metrics()[0] else {
        panic!("an external metric")
    };
    assert_eq!(name, "aws-kinesis-clicks");
    assert_eq!(*target, MetricTarget::AverageValue(Quantity::from_units(2)));
    input.metadata.insert("shardCount".into(), "0".into());
    let problems = metadata::parse::<KinesisTrigger>(&input).unwrap_err();
    assert!(problems.to_string().contains("shardCount must be greater than 0"));
}
