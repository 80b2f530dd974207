use std::collections::BTreeSet;

use k8s_openapi::{
    api::{
        admissionregistration::v1::ValidatingWebhookConfiguration,
        apps::v1::Deployment,
        core::v1::{Namespace, Service, ServiceAccount},
        policy::v1::PodDisruptionBudget,
        rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use serde::{Serialize, de::DeserializeOwned};

use super::*;
use crate::install::{
    Half, Provider,
    values::{CertificateSource, ScaleTarget},
};

fn objects(values: &Values) -> Vec<Value> {
    manifests(values, "autoscaler").unwrap()
}

fn both() -> Values {
    Values {
        provider: Provider::Kwok,
        ..Values::default()
    }
}

fn only(half: Half) -> Values {
    Values {
        only: Some(half),
        ..both()
    }
}

fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> Option<&'a Value> {
    objects
        .iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
}

fn kinds(objects: &[Value]) -> BTreeSet<&str> {
    objects
        .iter()
        .filter_map(|object| object["kind"].as_str())
        .collect()
}

fn same<T: Serialize + DeserializeOwned>(object: &Value) {
    let typed: T = serde_json::from_value(object.clone()).unwrap();
    assert_eq!(&serde_json::to_value(&typed).unwrap(), object);
}

#[test]
fn no_field_is_misspelt() {
    for values in [Values::default(), both(), only(Half::Pods), only(Half::Nodes)] {
        for object in objects(&values) {
            match object["kind"].as_str().unwrap() {
                "Namespace" => same::<Namespace>(&object),
                // It was made from the type, but for bounds that are written as whole numbers.
                "CustomResourceDefinition" => {
                    _ = serde_json::from_value::<CustomResourceDefinition>(object).unwrap()
                }
                "ServiceAccount" => same::<ServiceAccount>(&object),
                "ClusterRole" => same::<ClusterRole>(&object),
                "ClusterRoleBinding" => same::<ClusterRoleBinding>(&object),
                "Role" => same::<Role>(&object),
                "RoleBinding" => same::<RoleBinding>(&object),
                "Service" => same::<Service>(&object),
                "Deployment" => same::<Deployment>(&object),
                "PodDisruptionBudget" => same::<PodDisruptionBudget>(&object),
                "APIService" => same::<APIService>(&object),
                "ValidatingWebhookConfiguration" => same::<ValidatingWebhookConfiguration>(&object),
                other => panic!("{other} is not checked"),
            }
        }
    }
}

#[test]
fn every_object_is_named_once_and_labelled() {
    let values = Values {
        watch_namespaces: vec!["a".to_owned(), "b".to_owned()],
        ..both()
    };
    let objects = objects(&values);
    let mut seen = BTreeSet::new();
    for object in &objects {
        let metadata = &object["metadata"];
        let key = format!(
            "{} {} {}",
            object["kind"], metadata["namespace"], metadata["name"]
        );
        assert!(seen.insert(key.clone()), "{key} twice");
        if object["kind"] != "CustomResourceDefinition" {
            assert_eq!(
                metadata["labels"]["app.kubernetes.io/name"], "autoscaler",
                "{key}"
            );
        }
    }
}

#[test]
fn a_half_brings_what_it_needs_and_nothing_else() {
    let pods = objects(&only(Half::Pods));
    assert!(find(&pods, "ClusterRole", "autoscaler-pods").is_some());
    assert!(find(&pods, "ClusterRole", "autoscaler-nodes").is_none());
    assert!(kinds(&pods).contains("APIService"));
    assert!(find(&pods, "CustomResourceDefinition", "nodepools.karpenter.sh").is_none());

    let nodes = objects(&only(Half::Nodes));
    assert!(find(&nodes, "ClusterRole", "autoscaler-pods").is_none());
    assert!(find(&nodes, "ClusterRoleBinding", "autoscaler-auth-delegator").is_none());
    assert!(
        !kinds(&nodes).contains("APIService") && !kinds(&nodes).contains("ValidatingWebhookConfiguration")
    );
    let service = find(&nodes, "Service", "autoscaler").unwrap();
    assert_eq!(service["spec"]["ports"].as_array().unwrap().len(), 1);
    assert!(find(&nodes, "CustomResourceDefinition", "scaledobjects.keda.sh").is_none());

    let without_provider = objects(&Values::default());
    assert!(find(&without_provider, "ClusterRole", "autoscaler-nodes").is_none());
}

fn rules(object: &Value) -> Vec<PolicyRule> {
    serde_json::from_value(object["rules"].clone()).unwrap()
}

/// The verbs that an object's rules allow on a resource whatever its name.
fn verbs(object: &Value, group: &str, resource: &str) -> BTreeSet<String> {
    let has = |list: &Option<Vec<String>>, wanted: &str| list.iter().flatten().any(|one| one == wanted);
    rules(object)
        .iter()
        .filter(|rule| {
            has(&rule.api_groups, group) && has(&rule.resources, resource) && rule.resource_names.is_none()
        })
        .flat_map(|rule| rule.verbs.clone())
        .collect()
}

#[test]
fn secrets_are_read_where_scaled_objects_are_and_nowhere_else() {
    let everywhere = objects(&both());
    let role = find(&everywhere, "ClusterRole", "autoscaler-pods").unwrap();
    assert!(verbs(role, "", "secrets").contains("watch"));

    let values = Values {
        watch_namespaces: vec!["shop".to_owned(), "billing".to_owned()],
        ..both()
    };
    let narrow = objects(&values);
    for object in narrow.iter().filter(|object| object["kind"] == "ClusterRole") {
        let name = &object["metadata"]["name"];
        assert!(verbs(object, "", "secrets").is_empty(), "{name}");
        assert!(
            verbs(object, "autoscaling", "horizontalpodautoscalers").is_empty(),
            "{name}"
        );
    }
    let mut namespaces: Vec<_> = narrow
        .iter()
        .filter(|object| object["kind"] == "Role" && verbs(object, "", "secrets").contains("watch"))
        .map(|object| object["metadata"]["namespace"].as_str().unwrap())
        .collect();
    namespaces.sort_unstable();
    // The last one for what ClusterTriggerAuthentications refer to.
    assert_eq!(namespaces, ["autoscaler", "billing", "shop"]);
    let own = narrow
        .iter()
        .find(|object| object["kind"] == "Role" && object["metadata"]["namespace"] == "autoscaler")
        .unwrap();
    assert_eq!(
        verbs(own, "", "secrets"),
        ["create", "get", "list", "watch"].map(str::to_owned).into()
    );
}

#[test]
fn nobody_is_given_everything() {
    let values = both();
    for object in objects(&values) {
        for rule in object["rules"].as_array().into_iter().flatten() {
            assert!(!rule["verbs"].as_array().unwrap().contains(&json!("*")), "{rule}");
            let resources = rule["resources"].as_array().unwrap();
            if resources.contains(&json!("*")) {
                assert_eq!(rule["apiGroups"], json!(["external.metrics.k8s.io"]), "{rule}");
            }
        }
    }
}

#[test]
fn further_kinds_are_scaled_where_not_every_kind_is() {
    let mut values = both();
    values.rbac.scale_targets = vec![ScaleTarget {
        group: "argoproj.io".to_owned(),
        resources: vec!["rollouts".to_owned()],
    }];
    let role = |values: &Values| {
        find(&objects(values), "ClusterRole", "autoscaler-pods")
            .unwrap()
            .clone()
    };
    assert!(verbs(&role(&values), "*", "*/scale").contains("update"));
    assert!(verbs(&role(&values), "argoproj.io", "rollouts").contains("get"));
    values.rbac.scale_any_kind = false;
    assert!(verbs(&role(&values), "*", "*/scale").is_empty());
    assert!(verbs(&role(&values), "argoproj.io", "rollouts/scale").contains("update"));
    assert!(verbs(&role(&values), "apps", "deployments/scale").contains("update"));
}

#[test]
fn certificates_come_from_where_they_are_asked_for() {
    let made = |source| {
        let mut values = both();
        values.certificates.source = source;
        objects(&values)
    };
    let arguments = |objects: &[Value]| {
        find(objects, "Deployment", "autoscaler").unwrap()["spec"]["template"]["spec"]["containers"][0]["args"]
            .to_string()
    };
    let own = made(CertificateSource::Own);
    assert!(!arguments(&own).contains("cert"));
    let manager = made(CertificateSource::CertManager);
    assert!(arguments(&manager).contains("--enable-apiservice-patching=false"));
    let api_service = find(&manager, "APIService", names::API_SERVICE).unwrap();
    assert_eq!(
        api_service["metadata"]["annotations"]["cert-manager.io/inject-ca-from"],
        "autoscaler/autoscaler"
    );
    let certificate = find(&manager, "Certificate", "autoscaler").unwrap();
    assert_eq!(certificate["spec"]["secretName"], names::CERTIFICATE_SECRET);
    assert!(
        certificate["spec"]["dnsNames"]
            .to_string()
            .contains("autoscaler.autoscaler.svc\"")
    );
    assert!(find(&manager, "Issuer", "autoscaler").is_some());
    let given = made(CertificateSource::Secret);
    assert!(arguments(&given).contains("--enable-cert-rotation=false"));
    assert!(!kinds(&given).contains("Certificate"));
    let role = given.iter().find(|object| object["kind"] == "Role").unwrap();
    assert!(verbs(role, "", "secrets").is_empty(), "{role}");
}

#[test]
fn pods_have_no_rights_on_their_node() {
    let objects = objects(&both());
    let pod = &find(&objects, "Deployment", "autoscaler").unwrap()["spec"]["template"]["spec"];
    for forbidden in ["hostNetwork", "hostPID", "hostIPC", "volumes"] {
        assert!(pod.get(forbidden).is_none(), "{forbidden}");
    }
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let container = &pod["containers"][0]["securityContext"];
    assert_eq!(container["readOnlyRootFilesystem"], true);
    assert_eq!(container["allowPrivilegeEscalation"], false);
    assert_eq!(container["capabilities"]["drop"], json!(["ALL"]));
}

#[test]
fn what_the_process_puts_in_is_not_taken_away_by_applying_again() {
    for object in objects(&both()) {
        assert!(!object.to_string().contains("caBundle"), "{}", object["kind"]);
    }
}

#[test]
fn the_sample_has_what_the_halves_can_act_on() {
    let with = |mut values: Values| {
        values.sample.enabled = true;
        values.sample.queue_url = "https://sqs.example/1/queue.fifo".to_owned();
        values.sample.region = "eu-west-1".to_owned();
        objects(&values)
    };
    let both = with(both());
    assert!(find(&both, "ScaledObject", "aws-sqs-queue-scaledobject").is_some());
    assert!(find(&both, "NodePool", "default").is_some());
    assert!(find(&both, "KWOKNodeClass", "default").is_some());
    let pods = with(only(Half::Pods));
    assert!(find(&pods, "ScaledObject", "aws-sqs-queue-scaledobject").is_some());
    assert!(!kinds(&pods).contains("NodePool"));
    let nodes = with(only(Half::Nodes));
    assert!(find(&nodes, "Deployment", "sqs-app").is_some());
    assert!(!kinds(&nodes).contains("ScaledObject"));
    let mut ec2 = only(Half::Nodes);
    ec2.provider = Provider::Ec2;
    ec2.sample.cluster_name = "demo".to_owned();
    let ec2 = with(ec2);
    let class = find(&ec2, "EC2NodeClass", "default").unwrap();
    assert_eq!(class["spec"]["role"], "KarpenterNodeRole-demo");
}
