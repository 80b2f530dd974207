//! keda.md §7, row by row, under the reasons that KEDA's webhook counts refusals by. Of what is wrong in a row one rule
//! alone is broken: switched off, the object would be taken, and the row fails.
#![allow(
    clippy::needless_pass_by_value,
    clippy::too_many_lines,
    reason = "tables, whose rows are values"
)]

use async_trait::async_trait;
use scaler_api::{Context, Error, Field, MetricSpec, Registry, Sample, Scaler, SourceKey, Trigger, keda};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Severity, offline, surroundings, surroundings::Surroundings};

#[derive(Debug)]
struct Silent;

#[async_trait]
impl Scaler for Silent {
    async fn sample(&self) -> Result<Sample, Error> {
        Err(Error::unavailable("nothing is asked here"))
    }
}

macro_rules! trigger_types {
    ($($name:ident $word:literal),*) => {$(
        #[derive(Debug, Deserialize)]
        struct $name {}

        impl Trigger for $name {
            const TYPE: &'static str = $word;
            type Scaler = Silent;

            fn fields() -> &'static [Field] {
                const { &[Field::new("containerName", "a container"), Field::new("value", "a target")] }
            }

            fn example() -> &'static str {
                "{}\n"
            }

            fn metrics(&self) -> Vec<MetricSpec> {
                Vec::new()
            }

            fn source_key(&self) -> SourceKey {
                SourceKey::new($word)
            }

            async fn connect(self, _: &Context) -> Result<Silent, Error> {
                Ok(Silent)
            }
        }
    )*};
}

trigger_types!(Cpu "cpu", Memory "memory", Cron "cron", Queue "queue");

fn registry() -> Registry {
    let mut registry = Registry::new();
    registry
        .register::<Cpu>()
        .register::<Memory>()
        .register::<Cron>()
        .register::<Queue>();
    registry
}

/// One rule: an object beside others, what is said of it, and the change that makes it right.
struct Row {
    section: &'static str,
    reason: &'static str,
    field: &'static str,
    wrong: Value,
    beside: Vec<Value>,
    right: Value,
}

fn row(
    section: &'static str,
    reason: &'static str,
    field: &'static str,
    wrong: Value,
    beside: Vec<Value>,
    change: Value,
) -> Row {
    let mut right = wrong.clone();
    merge(&mut right, change);
    Row {
        section,
        reason,
        field,
        wrong,
        beside,
        right,
    }
}

/// As a JSON merge patch does.
fn merge(object: &mut Value, change: Value) {
    match change {
        Value::Object(fields) => {
            if !object.is_object() {
                *object = json!({});
            }
            for (name, value) in fields {
                if value.is_null() {
                    object.as_object_mut().unwrap().remove(&name);
                } else {
                    merge(&mut object[name], value);
                }
            }
        }
        other => *object = other,
    }
}

fn object(kind: &str, spec: Value) -> Value {
    let group = match kind {
        "CloudEventSource" | "ClusterCloudEventSource" => "eventing.keda.sh",
        _ => "keda.sh",
    };
    json!({
        "apiVersion": format!("{group}/v1alpha1"), "kind": kind,
        "metadata": {"name": "web", "namespace": "shop"}, "spec": spec,
    })
}

/// A ScaledObject of the Deployment `web` that is right but for `spec`.
fn scaled_object(spec: Value) -> Value {
    let mut object = object(
        "ScaledObject",
        json!({"scaleTargetRef": {"name": "web"}, "triggers": [{"type": "queue", "metadata": {}}]}),
    );
    merge(&mut object["spec"], spec);
    object
}

fn named(name: &str, mut object: Value) -> Value {
    object["metadata"]["name"] = name.into();
    object
}

fn cpu() -> Value {
    json!({"type": "cpu", "metricType": "Utilization", "metadata": {"value": "50"}})
}

fn queue(name: &str) -> Value {
    json!({"type": "queue", "name": name, "metadata": {}})
}

fn hpa(metadata: Value) -> Value {
    let mut hpa = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "theirs", "namespace": "shop"},
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}},
    });
    merge(&mut hpa["metadata"], metadata);
    hpa
}

fn workload(kind: &str, resources: Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"template": {"spec": {"containers": [{"name": "app", "resources": resources}]}}},
    })
}

fn modifiers(formula: &str, more: Value) -> Value {
    let mut spec = json!({
        "advanced": {"scalingModifiers": {"formula": formula, "target": "2"}},
        "triggers": [queue("a"), queue("b")],
    });
    merge(&mut spec, more);
    scaled_object(spec)
}

fn across_objects() -> Vec<Row> {
    let target = "spec.scaleTargetRef";
    let hpa_name = "spec.advanced.horizontalPodAutoscalerConfig.name";
    let named_hpa = |name: &str| json!({"advanced": {"horizontalPodAutoscalerConfig": {"name": name}}});
    let adopting = || {
        let mut object = scaled_object(json!({}));
        object["metadata"]["annotations"] = json!({keda::TRANSFER_HPA_OWNERSHIP_ANNOTATION: "true"});
        object
    };
    let other = || named("other", scaled_object(json!({})));
    let elsewhere = || {
        named(
            "other",
            scaled_object(json!({"scaleTargetRef": {"name": "else"}})),
        )
    };
    let sized = || scaled_object(json!({"triggers": [cpu()], "minReplicaCount": 1}));
    vec![
        row(
            "§7 row 1",
            "other-scaled-object",
            target,
            scaled_object(json!({})),
            vec![other()],
            json!({"spec": {"scaleTargetRef": {"kind": "StatefulSet"}}}),
        ),
        row(
            "§7 row 1: another version of the group",
            "other-scaled-object",
            target,
            scaled_object(json!({"scaleTargetRef": {"apiVersion": "apps/v1beta2"}})),
            vec![other()],
            json!({"metadata": {"namespace": "elsewhere"}}),
        ),
        row(
            "§7 row 2",
            "other-scaled-object-hpa",
            hpa_name,
            scaled_object(named_hpa("keda-hpa-other")),
            vec![elsewhere()],
            json!({"spec": {"advanced": null}}),
        ),
        row(
            "§7 row 3",
            "other-hpa",
            target,
            scaled_object(json!({})),
            vec![hpa(json!({}))],
            json!({"spec": {"scaleTargetRef": {"name": "else"}}}),
        ),
        row(
            "§7 row 3: the annotation says true",
            "other-hpa",
            target,
            scaled_object(json!({})),
            vec![hpa(
                json!({"annotations": {keda::VALIDATIONS_HPA_OWNERSHIP_ANNOTATION: "true"}}),
            )],
            json!({"metadata": {"namespace": "elsewhere"}}),
        ),
        row(
            "§7 row 3: of another ScaledObject",
            "other-hpa",
            target,
            scaled_object(json!({})),
            vec![hpa(json!({"ownerReferences": [{
                "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "gone", "uid": "u",
                "controller": true,
            }]}))],
            json!({"metadata": {"name": "gone"}}),
        ),
        row(
            "§7 row 3: does not adopt",
            "other-hpa",
            target,
            {
                let mut object = adopting();
                merge(&mut object["spec"], named_hpa("theirs"));
                object["metadata"]["annotations"][keda::TRANSFER_HPA_OWNERSHIP_ANNOTATION] = json!("false");
                object
            },
            vec![hpa(json!({}))],
            json!({"metadata": {"annotations": {keda::TRANSFER_HPA_OWNERSHIP_ANNOTATION: "true"}}}),
        ),
        row(
            "§7 row 3: adopts",
            "transfer-ownership-missing-hpa-name",
            hpa_name,
            adopting(),
            vec![hpa(json!({}))],
            json!({"spec": named_hpa("theirs")}),
        ),
        row(
            "§7 row 4",
            "missing-requests",
            "spec.triggers[0]",
            sized(),
            vec![workload("Deployment", json!({}))],
            json!({"spec": {"scaleTargetRef": {"name": "else"}}}),
        ),
        row(
            "§7 row 4: StatefulSet",
            "missing-requests",
            "spec.triggers[0]",
            scaled_object(json!({
                "scaleTargetRef": {"kind": "StatefulSet"}, "triggers": [cpu()], "minReplicaCount": 1,
            })),
            vec![workload("StatefulSet", json!({"requests": {"memory": "1Gi"}}))],
            json!({"spec": {"triggers": [{"type": "memory", "metadata": {"value": "50"}}]}}),
        ),
    ]
}

fn numbers() -> Vec<Row> {
    let fallback = json!({"failureThreshold": 3, "replicas": 2});
    vec![
        row(
            "§7 row 5",
            "scale-to-zero-requirements-not-met",
            "spec.minReplicaCount",
            scaled_object(json!({"triggers": [cpu()]})),
            vec![],
            json!({"spec": {"minReplicaCount": 1}}),
        ),
        row(
            "§7 row 5: 0 written out",
            "scale-to-zero-requirements-not-met",
            "spec.minReplicaCount",
            scaled_object(json!({"triggers": [cpu()], "minReplicaCount": 0})),
            vec![],
            json!({"spec": {"triggers": [cpu(), queue("a")]}}),
        ),
        row(
            "§0: of other targets nobody knows",
            "scale-to-zero-requirements-not-met",
            "spec.minReplicaCount",
            scaled_object(json!({"triggers": [cpu()]})),
            vec![],
            json!({"spec": {"scaleTargetRef": {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout"}}}),
        ),
        row(
            "§7 row 6, design §7: idle = min is odd only",
            "incorrect-replicas",
            "spec.idleReplicaCount",
            scaled_object(json!({"idleReplicaCount": 3, "minReplicaCount": 2})),
            vec![],
            json!({"spec": {"idleReplicaCount": 2}}),
        ),
        row(
            "§7 row 6",
            "incorrect-replicas",
            "spec.minReplicaCount",
            scaled_object(json!({"minReplicaCount": 3, "maxReplicaCount": 2})),
            vec![],
            json!({"spec": {"minReplicaCount": 2}}),
        ),
        row(
            "§7 row 6: max unset is 100",
            "incorrect-replicas",
            "spec.minReplicaCount",
            scaled_object(json!({"minReplicaCount": 101})),
            vec![],
            json!({"spec": {"maxReplicaCount": 101}}),
        ),
        row(
            "§7 row 7",
            "incorrect-fallback",
            "spec.fallback.replicas",
            scaled_object(json!({"fallback": fallback})),
            vec![],
            json!({}),
        )
        .with(json!({"spec": {"fallback": {"replicas": -1}}})),
        row(
            "§7 row 7",
            "incorrect-fallback",
            "spec.fallback.failureThreshold",
            scaled_object(json!({"fallback": fallback})),
            vec![],
            json!({}),
        )
        .with(json!({"spec": {"fallback": {"failureThreshold": -1}}})),
        row(
            "§7 row 7: all of them cpu or memory",
            "incorrect-fallback",
            "spec.fallback",
            scaled_object(json!({"triggers": [cpu()], "minReplicaCount": 1, "fallback": fallback})),
            vec![],
            json!({"spec": {"triggers": [cpu(), queue("a")]}}),
        ),
        row(
            "§7 row 8",
            "name-too-long",
            "metadata.name",
            named(
                &"x".repeat(64),
                scaled_object(json!({"advanced": {"horizontalPodAutoscalerConfig": {"name": "short"}}})),
            ),
            vec![],
            json!({"metadata": {"name": "x".repeat(63)}}),
        ),
        row(
            "§7 row 8",
            "hpa-name-too-long",
            "spec.advanced.horizontalPodAutoscalerConfig.name",
            named(&"x".repeat(55), scaled_object(json!({}))),
            vec![],
            json!({"metadata": {"name": "x".repeat(54)}}),
        ),
    ]
}

fn triggers() -> Vec<Row> {
    let cached = |kind: &str| json!([queue("a"), {"type": kind, "metadata": {}, "useCachedMetrics": true}]);
    let job = |triggers: Value| {
        object(
            "ScaledJob",
            json!({"jobTargetRef": {"template": {}}, "triggers": triggers}),
        )
    };
    let mut rows = vec![
        row(
            "§7 row 9",
            "incorrect-triggers",
            "spec.triggers",
            scaled_object(json!({"triggers": []})),
            vec![],
            json!({"spec": {"triggers": [queue("a")]}}),
        ),
        row(
            "§7 row 9",
            "incorrect-triggers",
            "spec.triggers[1].name",
            scaled_object(json!({"triggers": [queue("a"), queue("a")]})),
            vec![],
            json!({"spec": {"triggers": [queue("a"), queue("b")]}}),
        ),
        row(
            "§1.1: unknown type",
            "incorrect-triggers",
            "spec.triggers[0].type",
            scaled_object(json!({"triggers": [{"type": "queues", "metadata": {}}]})),
            vec![],
            json!({"spec": {"triggers": [queue("a")]}}),
        ),
        row(
            "§1.1: Utilization is for cpu and memory",
            "incorrect-triggers",
            "spec.triggers[0].metricType",
            scaled_object(
                json!({"triggers": [{"type": "queue", "metadata": {}, "metricType": "Utilization"}]}),
            ),
            vec![],
            json!({"spec": {"triggers": [queue("a")]}}),
        ),
        row(
            "§7 last paragraph: ScaledJob",
            "incorrect-triggers",
            "spec.triggers",
            job(json!([])),
            vec![],
            json!({"spec": {"triggers": [queue("a")]}}),
        ),
        row(
            "§7 last paragraph: ScaledJob",
            "incorrect-triggers",
            "spec.triggers[1].name",
            job(json!([queue("a"), queue("a")])),
            vec![],
            json!({"spec": {"triggers": [queue("a"), queue("b")]}}),
        ),
        row(
            "§1.2: ScaledJob",
            "incorrect-triggers",
            "spec.triggers[0].metricType",
            job(json!([{"type": "queue", "metadata": {}, "metricType": "Value"}])),
            vec![],
            json!({"spec": {"triggers": [queue("a")]}}),
        ),
    ];
    for kind in ["cpu", "memory", "cron"] {
        rows.push(row(
            "§7 row 9",
            "incorrect-triggers",
            "spec.triggers[1].useCachedMetrics",
            scaled_object(json!({"triggers": cached(kind)})),
            vec![],
            json!({"spec": {"triggers": [{"type": "queue", "metadata": {}, "useCachedMetrics": true}]}}),
        ));
    }
    rows
}

fn formulas() -> Vec<Row> {
    let modified = |field: &str, value: &str| json!({"advanced": {"scalingModifiers": {field: value}}});
    let field = "spec.advanced.scalingModifiers.target";
    let right = json!({"spec": modified("target", "2.5")});
    vec![
        row(
            "§7 row 10: does not compile",
            "scaling-modifiers",
            "spec.advanced.scalingModifiers.formula",
            modifiers("a +", json!({})),
            vec![],
            json!({"spec": modified("formula", "a + b")}),
        ),
        row(
            "§7 row 10: not above zero",
            "scaling-modifiers",
            field,
            modifiers("a", modified("target", "0")),
            vec![],
            right.clone(),
        ),
        row(
            "§7 row 10: no number",
            "scaling-modifiers",
            field,
            modifiers("a", modified("target", "two")),
            vec![],
            right,
        ),
        row(
            "§7 row 10: Utilization",
            "scaling-modifiers",
            "spec.advanced.scalingModifiers.metricType",
            modifiers("a", modified("metricType", "Utilization")),
            vec![],
            json!({"spec": modified("metricType", "Value")}),
        ),
        row(
            "§7 row 10: unnamed",
            "scaling-modifiers",
            "spec.triggers[1].name",
            modifiers(
                "a",
                json!({"triggers": [queue("a"), {"type": "queue", "metadata": {}}]}),
            ),
            vec![],
            json!({"spec": {"triggers": [queue("a"), queue("b")]}}),
        ),
        row(
            "§7 row 10: falls back on a formula that is not there",
            "scaling-modifiers-fallback",
            "spec.fallback.behavior",
            scaled_object(json!({
                "fallback": {"failureThreshold": 3, "replicas": 2, "behavior": "scalingModifiers"},
            })),
            vec![],
            json!({"spec": {
                "triggers": [queue("a")], "advanced": {"scalingModifiers": {"formula": "a", "target": "2"}},
            }}),
        ),
    ]
}

fn authentications() -> Vec<Row> {
    let mut rows = Vec::new();
    for kind in ["TriggerAuthentication", "ClusterTriggerAuthentication"] {
        let identity = |provider: &str, more: Value| {
            let mut identity = json!({"provider": provider});
            merge(&mut identity, more);
            object(kind, json!({"podIdentity": identity}))
        };
        let oauth2 = |client: &str, url: &str| {
            object(
                kind,
                json!({"oauth2": {"type": "clientCredentials", "clientId": client, "tokenUrl": url}}),
            )
        };
        let azure = |more: Value| identity("azure-workload", more);
        let aws = |more: Value| identity("aws", more);
        let changed = |more: Value| json!({"spec": {"podIdentity": more}});
        let class = "incorrect-authentication";
        let section = "§7 last paragraph: authentications";
        rows.extend([
            row(
                section,
                class,
                "spec.podIdentity.identityId",
                azure(json!({"identityId": ""})),
                vec![],
                changed(json!({"identityId": null})),
            ),
            row(
                section,
                class,
                "spec.podIdentity.identityTenantId",
                azure(json!({"identityAuthorityHost": "https://login"})),
                vec![],
                changed(json!({"identityTenantId": "tenant"})),
            ),
            row(
                section,
                class,
                "spec.podIdentity.roleArn",
                aws(json!({"roleArn": "arn", "identityOwner": "workload"})),
                vec![],
                changed(json!({"identityOwner": "keda"})),
            ),
            row(
                section,
                class,
                "spec.podIdentity.roleArn",
                aws(json!({"externalID": "x"})),
                vec![],
                changed(json!({"roleArn": "arn"})),
            ),
            row(
                section,
                class,
                "spec.oauth2.clientId",
                oauth2("", "https://issuer/token"),
                vec![],
                json!({"spec": {"oauth2": {"clientId": "me"}}}),
            ),
            row(
                section,
                class,
                "spec.oauth2.tokenUrl",
                oauth2("me", "ftp://issuer/token"),
                vec![],
                json!({"spec": {"oauth2": {"tokenUrl": "http://issuer/token"}}}),
            ),
        ]);
    }
    rows
}

fn event_sources() -> Vec<Row> {
    let mut rows = Vec::new();
    for kind in ["CloudEventSource", "ClusterCloudEventSource"] {
        let subscribed = |subscription: Value| {
            let destination = json!({"http": {"uri": "http://sink"}});
            object(
                kind,
                json!({"destination": destination, "eventSubscription": subscription}),
            )
        };
        let ready = "keda.scaledobject.ready.v1";
        let failed = "keda.scaledobject.failed.v1";
        let (section, class) = ("§7 last paragraph: event sources", "incorrect-event-source");
        rows.push(row(
            section,
            class,
            "spec.eventSubscription",
            subscribed(json!({"includedEventTypes": [ready], "excludedEventTypes": [failed]})),
            vec![],
            json!({"spec": {"eventSubscription": {"excludedEventTypes": null}}}),
        ));
        for (list, field) in [
            (
                "includedEventTypes",
                "spec.eventSubscription.includedEventTypes[1]",
            ),
            (
                "excludedEventTypes",
                "spec.eventSubscription.excludedEventTypes[1]",
            ),
        ] {
            rows.push(row(
                section,
                class,
                field,
                subscribed(json!({list: [ready, "keda.scaledobject.steady.v1"]})),
                vec![],
                json!({"spec": {"eventSubscription": {list: [ready, failed]}}}),
            ));
        }
    }
    rows
}

impl Row {
    /// The row, with what was written down as the right one and `change` made wrong.
    fn with(mut self, change: Value) -> Self {
        merge(&mut self.wrong, change);
        self
    }
}

/// What is refused of the first of the objects: classes and fields.
fn refusals(object: &Value, beside: &[Value]) -> Vec<(&'static str, String)> {
    let mut objects = vec![object.clone()];
    objects.extend(beside.iter().cloned());
    let found = offline::check(&objects, &registry());
    let refusing = found
        .into_iter()
        .filter(|(index, finding)| *index == 0 && finding.severity >= Severity::AdmissionError);
    refusing
        .map(|(_, finding)| (finding.reason, finding.field))
        .collect()
}

#[test]
fn every_row_of_section_7_refuses_what_breaks_it_and_nothing_else() {
    let tables = [
        across_objects(),
        numbers(),
        triggers(),
        formulas(),
        authentications(),
        event_sources(),
    ];
    for row in tables.into_iter().flatten() {
        let about = format!("{} ({})", row.section, row.reason);
        let wrong = refusals(&row.wrong, &row.beside);
        assert_eq!(
            wrong,
            [(row.reason, row.field.to_owned())],
            "{about}: {}",
            row.wrong
        );
        assert_eq!(refusals(&row.right, &row.beside), [], "{about}: {}", row.right);
    }
}

#[test]
fn section_7_limit_ranges_and_requests_satisfy_a_trigger_on_cpu() {
    let object = scaled_object(json!({"triggers": [cpu()], "minReplicaCount": 1}));
    let range = |namespace: &str| {
        json!({
            "apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "defaults", "namespace": namespace},
            "spec": {"limits": [{"type": "Container", "defaultRequest": {"cpu": "100m"}}]},
        })
    };
    let bare = workload("Deployment", json!({}));
    assert_eq!(refusals(&object, &[bare.clone(), range("shop")]), []);
    assert_eq!(refusals(&object, &[bare, range("else")]).len(), 1);
    assert_eq!(
        refusals(
            &object,
            &[workload("Deployment", json!({"requests": {"cpu": "1"}}))]
        ),
        []
    );
}

#[test]
fn section_7_an_hpa_that_says_so_is_not_looked_at() {
    let unchecked = json!({"annotations": {keda::VALIDATIONS_HPA_OWNERSHIP_ANNOTATION: "false"}});
    assert_eq!(refusals(&scaled_object(json!({})), &[hpa(unchecked)]), []);
}

/// keda.md §0, and §7's row missing-requests.
#[test]
fn section_7_a_dry_run_looks_at_no_target() {
    let object = serde_json::from_value(scaled_object(json!({"triggers": [cpu()]}))).unwrap();
    let containers = [serde_json::from_value(json!({"name": "app"})).unwrap()];
    let reasons = |dry_run: bool| {
        let around = Surroundings {
            containers: Some((&containers, &[])),
            dry_run,
            ..Surroundings::default()
        };
        let findings = surroundings::check(&object, &registry(), &around);
        findings
            .all()
            .iter()
            .map(|finding| finding.reason)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        reasons(false),
        ["scale-to-zero-requirements-not-met", "missing-requests"]
    );
    assert_eq!(reasons(true), [""; 0]);
}

/// keda.md §7: warnings.
#[test]
fn section_7_settings_without_effect_are_warned_of_and_refuse_nothing() {
    let warnings = |spec: Value| {
        let found = offline::check(&[scaled_object(spec)], &registry());
        assert!(
            found
                .iter()
                .all(|(_, finding)| finding.severity == Severity::Warning)
        );
        found
            .into_iter()
            .map(|(_, finding)| finding.field)
            .collect::<Vec<_>>()
    };
    let (polling, cooldown) = ("spec.pollingInterval", "spec.cooldownPeriod");
    let cached = json!([{"type": "queue", "metadata": {}, "useCachedMetrics": true}]);
    let both = |more: Value| {
        let mut spec = json!({"pollingInterval": 5, "cooldownPeriod": 5});
        merge(&mut spec, more);
        spec
    };
    let cases = [
        (both(json!({"minReplicaCount": 1})), vec![polling, cooldown]),
        (
            both(json!({"minReplicaCount": 1, "triggers": cached})),
            vec![cooldown],
        ),
        (both(json!({"minReplicaCount": 1, "idleReplicaCount": 0})), vec![]),
        (both(json!({})), vec![]),
        (json!({"minReplicaCount": 1}), vec![]),
    ];
    for (spec, expected) in cases {
        assert_eq!(warnings(spec.clone()), expected, "{spec}");
    }
}
