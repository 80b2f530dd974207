//! The trigger's metadata.

use std::collections::BTreeMap;

use scaler_api::{MetricTarget, MetricType, PodIdentity, TriggerInput, metadata};

use super::*;

const URL: &str = "https://sqs.us-east-2.amazonaws.com/12345678909/my-sqs-keda";

fn input(pairs: &[(&str, &str)]) -> TriggerInput {
    let mut metadata = BTreeMap::from([
        ("queueURL".to_owned(), URL.to_owned()),
        ("awsRegion".to_owned(), "us-east-2".to_owned()),
        ("identityOwner".to_owned(), "operator".to_owned()),
    ]);
    metadata.extend(
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned())),
    );
    TriggerInput {
        metadata,
        ..TriggerInput::default()
    }
}

fn parse(input: &TriggerInput) -> SqsTrigger {
    metadata::parse::<SqsTrigger>(input)
        .expect("the metadata is good")
        .0
}

fn problems(input: &TriggerInput) -> String {
    metadata::parse::<SqsTrigger>(input)
        .expect_err("the metadata is bad")
        .to_string()
}

#[test]
fn defaults_are_those_of_keda() {
    let trigger = parse(&input(&[]));
    assert_eq!((trigger.queue_length, trigger.activation_queue_length), (5, 0));
    assert!(trigger.scale_on_in_flight && !trigger.scale_on_delayed);
    let target = MetricTarget::AverageValue(Quantity::from_units(5));
    let metric = MetricSpec::External {
        name: "aws-sqs-my-sqs-keda".into(),
        target,
    };
    assert_eq!(trigger.metrics(), [metric]);
}

#[test]
fn section_2_1_the_queue_is_named_by_its_url_or_by_itself() {
    let cases = [
        (URL, Ok("my-sqs-keda")),
        ("my-queue", Ok("my-queue")),
        ("/123/my-queue", Ok("my-queue")),
        ("http://localhost:9324/000000000000/q.fifo", Ok("q.fifo")),
        (
            "https://sqs.us-east-2.amazonaws.com/12345678909/my-queue?x=1",
            Ok("my-queue"),
        ),
        ("https://sqs.us-east-2.amazonaws.com/my-queue", Err(())),
        ("https://sqs.us-east-2.amazonaws.com/1/2/my-queue", Err(())),
        ("https://sqs.us-east-2.amazonaws.com", Err(())),
        ("https://sqs.us-east-2.amazonaws.com/12345678909/", Err(())),
        ("arn:aws:sqs:us-east-2:1:my-queue", Err(())),
    ];
    for (url, expected) in cases {
        assert_eq!(queue_name(url).map_err(|_| ()), expected, "{url}");
    }
    let problems = problems(&input(&[("queueURL", "https://example.com/orders")]));
    assert!(
        problems.contains("cannot get queueName from queueURL \"https://example.com/orders\""),
        "{problems}"
    );
}

#[test]
fn section_2_1_names_of_fifo_queues_are_normalised() {
    let trigger = parse(&input(&[(
        "queueURL",
        "https://sqs.us-east-2.amazonaws.com/1/keda-demo-queue.fifo",
    )]));
    assert_eq!(
        trigger.metrics()[0].external_name(),
        Some("aws-sqs-keda-demo-queue-fifo")
    );
}

#[test]
fn all_problems_are_reported_at_once() {
    let mut input = input(&[
        ("queueURL", "https://example.com/orders"),
        ("queueLength", "0"),
        ("awsEndpoint", "not a url"),
        ("identityOwner", "pod"),
    ]);
    input.settings.metric_type = MetricType::Utilization;
    let problems = problems(&input);
    for expected in [
        "cannot get queueName",
        "queueLength must be greater than 0, got 0",
        "awsEndpoint \"not a url\" is not a URL",
        "'Utilization' metric type is unsupported for external metrics",
        "awsAccessKeyID not found",
        "awsSecretAccessKey not found",
    ] {
        assert!(problems.contains(expected), "{expected:?} is not in {problems}");
    }
}

#[test]
fn the_url_may_come_from_the_environment_and_the_region_from_the_authentication() {
    let mut input = input(&[("queueURLFromEnv", "QUEUE")]);
    input.metadata.remove("queueURL");
    input.metadata.remove("awsRegion");
    input.environment.insert("QUEUE".into(), URL.into());
    input
        .authentication
        .insert("awsRegion".into(), scaler_api::Secret::new("eu-west-3"));
    let trigger = parse(&input);
    assert_eq!(
        (trigger.queue_url.as_str(), trigger.connection.aws_region.as_str()),
        (URL, "eu-west-3")
    );
}

#[test]
fn the_source_key_tells_sources_apart_and_ignores_the_target() {
    let key = |pairs: &[(&str, &str)]| parse(&input(pairs)).source_key();
    assert_eq!(key(&[("queueLength", "7")]), key(&[("queueLength", "9")]));
    for pairs in [
        [("queueURL", "other")],
        [("awsRegion", "eu-west-1")],
        [("awsEndpoint", "http://localhost:4566")],
        [("scaleOnInFlight", "false")],
        [("scaleOnDelayed", "true")],
        [("activationQueueLength", "3")],
    ] {
        assert_ne!(key(&pairs), key(&[]), "{pairs:?}");
    }
    let mut with_identity = input(&[]);
    with_identity.settings.pod_identity = Some(PodIdentity {
        provider: "aws".into(),
        role_arn: Some("arn:r".into()),
        ..PodIdentity::default()
    });
    assert_ne!(parse(&with_identity).source_key(), key(&[]));
}

#[test]
fn a_value_target_is_kept_as_one() {
    let mut input = input(&[("queueLength", "20")]);
    input.settings.metric_type = MetricType::Value;
    assert_eq!(
        *parse(&input).metrics()[0].target(),
        MetricTarget::Value(Quantity::from_units(20))
    );
}

/// The only test with the real client: nothing listens on port 1 of loopback.
#[tokio::test]
async fn the_clients_of_this_process_reach_for_the_endpoint_that_is_given() {
    use scaler_api::{ErrorKind, Scaler as _, Secret};
    let mut input = input(&[("awsEndpoint", "http://127.0.0.1:1"), ("identityOwner", "pod")]);
    input
        .authentication
        .insert("awsAccessKeyID".into(), Secret::new("AKIA"));
    input
        .authentication
        .insert("awsSecretAccessKey".into(), Secret::new("s"));
    let scaler = parse(&input).connect(&Context::new()).await.unwrap();
    let error = scaler.sample().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[cfg(feature = "sqs-fake")]
mod against_the_fake {
    use std::{sync::Arc, time::Duration};

    use scaler_api::{Context, ErrorKind, Sample, Scaler as _, Secret, TokioClock};
    use tokio::time::Instant;

    use super::{super::fake::*, *};
    use crate::aws::AwsEnvironment;

    fn surroundings() -> (FakeSqs, Context) {
        let start = "2026-01-01T00:00:00Z".parse().unwrap();
        let sqs = FakeSqs::new(7, start);
        let clock = Arc::new(TokioClock::starting_at(start));
        let context = Context::new().with(AwsEnvironment::in_memory(sqs.clone(), clock));
        (sqs, context)
    }

    async fn sample(input: &TriggerInput, context: &Context) -> Result<Sample, Error> {
        parse(input).connect(context).await?.sample().await
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_counted_follows_the_flags() {
        let (sqs, context) = surroundings();
        sqs.set_depth(URL, 10, 4, 1);
        for (in_flight, delayed, expected) in [
            ("true", "false", 14.0),
            ("false", "false", 10.0),
            ("true", "1", 15.0),
        ] {
            let input = input(&[("scaleOnInFlight", in_flight), ("scaleOnDelayed", delayed)]);
            let sample = sample(&input, &context).await.unwrap();
            assert_eq!(sample, Sample::single("aws-sqs-my-sqs-keda", expected, true));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn activation_is_strictly_greater() {
        let (sqs, context) = surroundings();
        for (depth, activation, active) in [(0, "0", false), (1, "0", true), (5, "5", false), (6, "5", true)]
        {
            sqs.set_depth(URL, depth, 0, 0);
            let sample = sample(&input(&[("activationQueueLength", activation)]), &context)
                .await
                .unwrap();
            assert_eq!(sample.active, active, "{depth} over {activation}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_told_apart_by_kind() {
        let (sqs, context) = surroundings();
        let error = sample(&input(&[]), &context).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(
            error.to_string(),
            format!(
                "cannot read the attributes of the SQS queue (queue={URL}): \
                 AWS.SimpleQueueService.NonExistentQueue: The specified queue does not exist."
            )
        );
        sqs.set_depth(URL, 1, 0, 0);
        for (outage, kind) in [
            (Outage::Unreachable, ErrorKind::Unavailable),
            (Outage::Error500, ErrorKind::Unavailable),
            (Outage::Hang, ErrorKind::Timeout),
            (Outage::Throttle, ErrorKind::Throttled),
            (Outage::Deny, ErrorKind::Unauthorized),
        ] {
            sqs.set_outage(Some(URL), Some(outage));
            let error = sample(&input(&[]), &context).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
        }
        sqs.set_outage(Some(URL), None);
        assert!(sample(&input(&[]), &context).await.is_ok());
        assert_eq!(
            sqs.requests()["GetQueueAttributes"],
            7,
            "the scaler repeats nothing by itself"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_hanging_endpoint_costs_the_contexts_timeout() {
        let (sqs, context) = surroundings();
        sqs.set_outage(None, Some(Outage::Hang));
        let before = Instant::now();
        let error = sample(&input(&[]), &context.with_timeout(Duration::from_secs(2)))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert_eq!(before.elapsed(), Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn wrong_keys_are_unauthorized_and_shown_nowhere() {
        let (sqs, context) = surroundings();
        sqs.set_depth(URL, 1, 0, 0);
        sqs.allow_only_access_keys(["AKIAGOOD"]);
        let with_key = |key: &str| {
            let mut input = input(&[("identityOwner", "pod")]);
            input
                .authentication
                .insert("awsAccessKeyId".into(), Secret::new(key));
            input
                .authentication
                .insert("awsSecretAccessKey".into(), Secret::new("hunter2"));
            input
        };
        assert!(sample(&with_key("AKIAGOOD"), &context).await.unwrap().active);
        let error = sample(&with_key("AKIAWRONG"), &context).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthorized);
        let scaler = parse(&with_key("AKIAWRONG")).connect(&context).await.unwrap();
        let shown = format!("{error} {error:?} {scaler:?} {:?}", parse(&with_key("AKIAWRONG")));
        assert!(
            !shown.contains("hunter2") && !shown.contains("AKIAWRONG"),
            "{shown}"
        );
    }
}
