//! The application of the walk-through: a consumer of an SQS queue, how it is scaled, and nodes for it.

use serde_json::{Value, json};

use super::{Context, insert_unless_empty};
use crate::install::Provider;

/// The name of the application in its labels; what it has is none of the autoscaler's own.
pub const SAMPLE_NAME: &str = "autoscaler-sample";

const APP: &str = "sqs-app";
const ACCOUNT: &str = "keda-service-account";
const AUTHENTICATION: &str = "keda-aws-credentials";

/// Its objects, as far as the halves that are installed can act on them.
pub(super) fn objects(cx: &Context<'_>) -> Vec<Value> {
    if !cx.values.sample.enabled {
        return Vec::new();
    }
    let mut objects = application(cx);
    if cx.values.pods() {
        objects.extend(scaling(cx));
    }
    if cx.values.nodes() {
        objects.extend(nodes(cx));
    }
    for object in &mut objects {
        object["metadata"]["labels"] = json!({ "app.kubernetes.io/name": SAMPLE_NAME });
    }
    objects
}

fn application(cx: &Context<'_>) -> Vec<Value> {
    let sample = &cx.values.sample;
    let namespace = cx.cluster_object("v1", "Namespace", &sample.namespace);
    let mut account = cx.object_in(&sample.namespace, "v1", "ServiceAccount", ACCOUNT);
    if !sample.role_arn.is_empty() {
        account["metadata"]["annotations"] = json!({ "eks.amazonaws.com/role-arn": sample.role_arn });
    }
    let mut deployment = cx.object_in(&sample.namespace, "apps/v1", "Deployment", APP);
    let variable = |name: &str, value: &str| json!({ "name": name, "value": value });
    deployment["spec"] = json!({
        "selector": { "matchLabels": { "app": "sqs-reader" } },
        "template": {
            "metadata": { "labels": { "app": "sqs-reader" } },
            "spec": {
                "serviceAccountName": ACCOUNT,
                "containers": [{
                    "name": "sqs-pull-app",
                    "image": sample.image,
                    "env": [
                        variable("SQS_QUEUE_URL", &sample.queue_url),
                        variable("DYNAMODB_TABLE", &sample.table),
                        variable("AWS_REGION", &sample.region),
                    ],
                    "resources": {
                        "requests": { "cpu": "250m", "memory": "64Mi" },
                        "limits": { "cpu": "500m", "memory": "128Mi" },
                    },
                }],
            },
        },
    });
    vec![namespace, account, deployment]
}

fn scaling(cx: &Context<'_>) -> Vec<Value> {
    const KEDA: &str = "keda.sh/v1alpha1";
    let sample = &cx.values.sample;
    let mut authentication = cx.object_in(&sample.namespace, KEDA, "TriggerAuthentication", AUTHENTICATION);
    authentication["spec"] = json!({ "podIdentity": { "provider": "aws-eks" } });
    let mut scaled = cx.object_in(
        &sample.namespace,
        KEDA,
        "ScaledObject",
        "aws-sqs-queue-scaledobject",
    );
    let mut metadata = json!({
        "queueURL": sample.queue_url,
        "queueLength": sample.queue_length,
        "awsRegion": sample.region,
        "identityOwner": "operator",
    });
    insert_unless_empty(&mut metadata, "awsEndpoint", json!(sample.endpoint));
    scaled["spec"] = json!({
        "scaleTargetRef": { "name": APP },
        "minReplicaCount": 1,
        "maxReplicaCount": sample.max_replicas,
        "pollingInterval": 30,
        "cooldownPeriod": 10,
        "triggers": [{
            "type": "aws-sqs-queue",
            "authenticationRef": { "name": AUTHENTICATION },
            "metadata": metadata,
        }],
    });
    vec![authentication, scaled]
}

fn nodes(cx: &Context<'_>) -> Vec<Value> {
    use provisioner::karpenter::labels;
    const NAME: &str = "default";
    let sample = &cx.values.sample;
    let (group, kind, class) = match cx.values.provider {
        Provider::Ec2 => (labels::AWS_GROUP, "EC2NodeClass", ec2_class(cx, NAME)),
        Provider::Kwok | Provider::None => {
            let api_version = format!("{}/v1alpha1", labels::KWOK_GROUP);
            let mut class = cx.cluster_object(&api_version, "KWOKNodeClass", NAME);
            class["spec"] = json!({});
            (labels::KWOK_GROUP, "KWOKNodeClass", class)
        }
    };
    let mut requirements =
        vec![json!({ "key": labels::CAPACITY_TYPE, "operator": "NotIn", "values": ["spot"] })];
    if !sample.instance_types.is_empty() {
        requirements
            .push(json!({ "key": labels::INSTANCE_TYPE, "operator": "In", "values": sample.instance_types }));
    }
    let mut pool = cx.cluster_object("karpenter.sh/v1", "NodePool", NAME);
    pool["spec"] = json!({
        "template": { "spec": {
            "requirements": requirements,
            "nodeClassRef": { "group": group, "kind": kind, "name": NAME },
            "expireAfter": "720h",
        } },
        "limits": { "cpu": sample.cpu_limit },
        "disruption": { "consolidationPolicy": "WhenEmptyOrUnderutilized", "consolidateAfter": "0s" },
    });
    vec![class, pool]
}

fn ec2_class(cx: &Context<'_>, name: &str) -> Value {
    let sample = &cx.values.sample;
    let discovery = json!([{ "tags": { "karpenter.sh/discovery": sample.cluster_name } }]);
    let mut class = cx.cluster_object("karpenter.k8s.aws/v1", "EC2NodeClass", name);
    class["spec"] = json!({
        "amiSelectorTerms": [{ "alias": "al2023@latest" }],
        "role": sample.node_role(),
        "subnetSelectorTerms": discovery,
        "securityGroupSelectorTerms": discovery,
    });
    class
}
