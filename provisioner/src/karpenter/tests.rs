use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinitionVersion;
use kube::Resource as _;

use super::*;
use crate::NodeClass as _;

/// The pool and class of the published walk-through, in their v1 form.
const WALK_THROUGH: [&str; 2] = [
    r#"
apiVersion: karpenter.sh/v1
kind: NodePool
metadata: {name: default}
spec:
  template:
    spec:
      requirements:
      - {key: karpenter.sh/capacity-type, operator: NotIn, values: ["spot"]}
      - {key: node.kubernetes.io/instance-type, operator: In, values: ["m5.xlarge", "m5.2xlarge"]}
      nodeClassRef: {group: karpenter.k8s.aws, kind: EC2NodeClass, name: default}
      expireAfter: 720h
  limits: {cpu: 1000}
  disruption: {consolidationPolicy: WhenEmptyOrUnderutilized, consolidateAfter: 0s}
"#,
    r"
apiVersion: karpenter.k8s.aws/v1
kind: EC2NodeClass
metadata: {name: default}
spec:
  amiFamily: AL2
  amiSelectorTerms: [{alias: al2@latest}]
  role: KarpenterNodeRole-eks-demo-scale
  subnetSelectorTerms: [{tags: {karpenter.sh/discovery: eks-demo-scale}}]
  securityGroupSelectorTerms: [{tags: {karpenter.sh/discovery: eks-demo-scale}}]
",
];

fn pool(yaml: &str) -> NodePool {
    serde_saphyr::from_str(yaml).unwrap()
}

fn version(crd: &CustomResourceDefinition) -> &CustomResourceDefinitionVersion {
    &crd.spec.versions[0]
}

fn columns(crd: &CustomResourceDefinition) -> Vec<String> {
    let columns = version(crd).additional_printer_columns.iter().flatten();
    columns
        .map(|column| {
            format!(
                "{}{}",
                column.name,
                if column.priority == Some(1) { "+" } else { "" }
            )
        })
        .collect()
}

/// The schema below a path of property names, as JSON.
fn schema_at(crd: &CustomResourceDefinition, path: &[&str]) -> serde_json::Value {
    let schema = version(crd)
        .schema
        .as_ref()
        .unwrap()
        .open_api_v3_schema
        .as_ref()
        .unwrap();
    let mut json = serde_json::to_value(schema).unwrap();
    for name in path {
        json = match *name {
            "[]" => json["items"].take(),
            name => json["properties"][name].take(),
        };
    }
    json
}

#[test]
fn the_walk_through_parses() {
    let pool = pool(WALK_THROUGH[0]);
    assert_eq!(pool.spec.limits.as_ref().unwrap().get("cpu").value(), 1000);
    assert_eq!(pool.spec.disruption.budgets, vec![Budget::default()]);
    assert_eq!(
        pool.spec.disruption.consolidation_policy,
        ConsolidationPolicy::WhenEmptyOrUnderutilized
    );
    assert!(validate::node_pool(&pool).is_empty());
    let class: Ec2NodeClass = serde_saphyr::from_str(WALK_THROUGH[1]).unwrap();
    assert_eq!(
        class.spec.role.as_deref(),
        Some("KarpenterNodeRole-eks-demo-scale")
    );
    assert_eq!(class.spec.metadata_options, Default::default());
    assert_eq!(class.resolved_ami_family().as_deref(), Some("al2"));
}

#[test]
fn what_is_left_out_gets_karpenters_defaults() {
    let minimal = "
metadata: {name: p}
spec: {template: {spec: {requirements: [], nodeClassRef: {group: g, kind: K, name: n}}}}
";
    let pool = pool(&format!("apiVersion: karpenter.sh/v1\nkind: NodePool{minimal}"));
    assert_eq!(pool.spec.template.spec.expire_after.to_string(), "720h");
    assert_eq!(pool.spec.disruption, Disruption::default());
    assert_eq!(
        pool.spec.disruption.consolidate_after.get(),
        Some(std::time::Duration::ZERO)
    );
    assert_eq!(pool.weight(), 0);
}

#[test]
fn definitions_have_the_columns_one_knows() {
    let of = |index: usize| columns(&crds()[index]);
    assert_eq!(
        of(0),
        ["NodeClass", "Nodes", "Ready", "Age", "Weight+", "CPU+", "Memory+"]
    );
    let claim = [
        "Type",
        "Capacity",
        "Zone",
        "Node",
        "Ready",
        "Age",
        "ImageID+",
        "ID+",
        "NodePool+",
        "NodeClass+",
        "Drifted+",
    ];
    assert_eq!(of(1), claim);
    assert_eq!(of(2), ["Ready", "Age", "Weight+"]);
    assert_eq!(of(3), ["Ready", "Age", "Role+"]);
}

#[test]
fn definitions_have_names_scope_and_subresources() {
    for crd in crds() {
        assert_eq!(crd.spec.scope, "Cluster");
        assert!(
            version(&crd).subresources.as_ref().unwrap().status.is_some(),
            "{:?}",
            crd.metadata.name
        );
        let names = &crd.spec.names;
        assert_eq!(names.categories.as_deref(), Some(&["karpenter".to_owned()][..]));
        assert_eq!(
            crd.metadata.name,
            Some(format!("{}.{}", names.plural, crd.spec.group))
        );
    }
    let shorts = |index: usize| crds()[index].spec.names.short_names.clone().unwrap_or_default();
    assert_eq!(shorts(2), ["overlays"]);
    assert_eq!(shorts(3), ["ec2nc", "ec2ncs"]);
    assert_eq!(crds()[3].spec.names.kind, "EC2NodeClass");
    assert_eq!(crds()[4].spec.names.kind, "KWOKNodeClass");
    assert_eq!(shorts(4), ["kwoknc", "kwokncs"]);
    assert_eq!(Ec2NodeClass::kind(&()), "EC2NodeClass");
    let pool = &crds()[0];
    let scale = version(pool)
        .subresources
        .as_ref()
        .unwrap()
        .scale
        .clone()
        .unwrap();
    assert_eq!(
        (
            scale.spec_replicas_path.as_str(),
            scale.status_replicas_path.as_str()
        ),
        (".spec.replicas", ".status.nodes")
    );
}

#[test]
fn definitions_carry_defaults_and_rules() {
    let pool = &crds()[0];
    let disruption = schema_at(pool, &["spec", "disruption"]);
    assert_eq!(disruption["default"]["consolidateAfter"], "0s");
    assert_eq!(
        disruption["properties"]["budgets"]["default"],
        serde_json::json!([{ "nodes": "10%" }])
    );
    let policy = &disruption["properties"]["consolidationPolicy"];
    assert_eq!(
        policy["enum"],
        serde_json::json!(["WhenEmpty", "WhenEmptyOrUnderutilized", "Balanced"])
    );
    let expire = schema_at(pool, &["spec", "template", "spec", "expireAfter"]);
    assert_eq!(
        (expire["default"].as_str(), expire["type"].as_str()),
        (Some("720h"), Some("string"))
    );
    let weight = schema_at(pool, &["spec", "weight"]);
    assert_eq!(
        (weight["minimum"].as_f64(), weight["maximum"].as_f64()),
        (Some(1.0), Some(100.0))
    );
    assert!(
        schema_at(pool, &["spec", "limits"])
            .to_string()
            .contains("x-kubernetes-int-or-string")
    );
    let key = schema_at(pool, &["spec", "template", "spec", "requirements", "[]", "key"]);
    assert!(
        key["x-kubernetes-validations"]
            .to_string()
            .contains("karpenter.sh/nodepool"),
        "{key}"
    );
    let rules = schema_at(pool, &["spec", "disruption", "budgets", "[]"]);
    assert!(
        rules["x-kubernetes-validations"].to_string().contains("schedule"),
        "{rules}"
    );
    assert!(
        schema_at(&crds()[1], &["spec"])["x-kubernetes-validations"]
            .to_string()
            .contains("immutable")
    );
    let class = &crds()[3];
    assert_eq!(
        schema_at(class, &["spec", "kubelet"])["x-kubernetes-preserve-unknown-fields"],
        true
    );
    let options = schema_at(class, &["spec", "metadataOptions"]);
    assert_eq!(
        options["properties"]["httpTokens"]["default"], "required",
        "{options}"
    );
}

#[test]
fn a_kwok_class_may_do_without_a_spec() {
    let class: KwokNodeClass = serde_saphyr::from_str(
        "{apiVersion: karpenter.kwok.sh/v1alpha1, kind: KWOKNodeClass, metadata: {name: x}}",
    )
    .unwrap();
    assert_eq!(class.spec, KwokNodeClassSpec::default());
    let delayed: KwokNodeClass =
        serde_saphyr::from_str("{metadata: {name: x}, spec: {nodeRegistrationDelay: 30s}}").unwrap();
    assert_eq!(delayed.spec.node_registration_delay, Some("30s".parse().unwrap()));
    let required = version(&crds()[4])
        .schema
        .as_ref()
        .unwrap()
        .open_api_v3_schema
        .as_ref()
        .unwrap()
        .required
        .clone();
    assert!(!required.unwrap_or_default().contains(&"spec".to_owned()));
}

/// What an API server refuses in a definition whatever else is right with it.
#[test]
fn schemas_are_structural() {
    fn check(path: &str, schema: &serde_json::Value) {
        let Some(fields) = schema.as_object() else { return };
        assert!(!fields.contains_key("$ref"), "{path} has a reference");
        let typed = [
            "type",
            "x-kubernetes-int-or-string",
            "x-kubernetes-preserve-unknown-fields",
        ];
        assert!(
            typed.iter().any(|name| fields.contains_key(*name)),
            "{path} has no type: {schema}"
        );
        for (name, property) in fields
            .get("properties")
            .and_then(|p| p.as_object())
            .into_iter()
            .flatten()
        {
            check(&format!("{path}.{name}"), property);
        }
        for name in ["items", "additionalProperties"] {
            fields
                .get(name)
                .into_iter()
                .for_each(|inner| check(&format!("{path}.{name}"), inner));
        }
    }
    for crd in crds() {
        check(&crd.spec.names.kind, &schema_at(&crd, &[]));
    }
}

#[test]
fn the_hash_covers_the_template_but_not_what_may_change_freely() {
    let base = pool(WALK_THROUGH[0]);
    let hash = |change: &dyn Fn(&mut NodePool)| {
        let mut changed = base.clone();
        change(&mut changed);
        hash::node_pool(&changed) != hash::node_pool(&base)
    };
    let labels = |pool: &mut NodePool| {
        pool.spec
            .template
            .metadata
            .labels
            .insert("team".into(), "a".into());
    };
    assert!(hash(&labels));
    assert!(hash(
        &|pool| pool.spec.template.spec.expire_after = NillableDuration::NEVER
    ));
    assert!(hash(
        &|pool| pool.spec.template.spec.node_class_ref.name = "other".into()
    ));
    assert!(hash(
        &|pool| pool.spec.template.spec.termination_grace_period = Some("1h".parse().unwrap())
    ));
    assert!(hash(&|pool| pool
        .spec
        .template
        .spec
        .taints
        .push(labels::disrupted_taint())));
    assert!(!hash(
        &|pool| pool.spec.template.spec.expire_after = "720h0m0s".parse().unwrap()
    ));
    assert!(!hash(&|pool| pool.spec.template.spec.requirements.clear()));
    assert!(!hash(&|pool| pool.spec.limits = None));
    assert!(!hash(&|pool| pool.spec.weight = Some(7)));
    assert!(!hash(&|pool| pool.spec.disruption.budgets.clear()));
}

#[test]
fn a_class_drifts_with_its_settings_but_not_with_its_selectors() {
    let base: Ec2NodeClass = serde_saphyr::from_str(WALK_THROUGH[1]).unwrap();
    let mut changed = base.clone();
    changed.spec.subnet_selector_terms[0].tags.clear();
    changed.spec.ip_prefix_count = Some(3);
    assert_eq!(changed.drift_hash(), base.drift_hash());
    changed.spec.user_data = Some("echo".into());
    assert_ne!(changed.drift_hash(), base.drift_hash());
    assert_eq!(base.drift_hash().1, "v6");
}

#[test]
fn every_problem_of_a_pool_is_named() {
    let bad = r#"
apiVersion: karpenter.sh/v1
kind: NodePool
metadata: {name: bad}
spec:
  template:
    metadata: {labels: {kubernetes.io/hostname: x, ok: "not a value!"}}
    spec:
      taints: [{key: a, effect: NoSchedule}]
      startupTaints: [{key: a, effect: NoSchedule}]
      requirements:
      - {key: karpenter.sh/capacity-type, operator: In, values: ["cheap"]}
      - {key: karpenter.k8s.aws/instance-cpu, operator: Gt, values: ["many"]}
      - {key: team, operator: In, values: []}
      nodeClassRef: {group: g, kind: K, name: n}
  disruption: {budgets: [{nodes: "10%", schedule: "never"}]}
"#;
    let problems: Vec<String> = validate::node_pool(&pool(bad))
        .iter()
        .map(ToString::to_string)
        .collect();
    let expected = [
        "labels[kubernetes.io/hostname]: label kubernetes.io/hostname is restricted",
        "\"not a value!\" is no label value",
        "startupTaints[0]: duplicate taint Key/Effect pair a:NoSchedule",
        "requirements[0]: values [\"cheap\"] name no capacity type",
        "requirements[1]: key karpenter.k8s.aws/instance-cpu with operator Gt has values [\"many\"]",
        "requirements[2]: key team with operator In must have a value defined",
        "budgets[0]: 'schedule' must be set with 'duration'",
        "budgets[0]: schedule \"never\" is neither cron",
    ];
    for text in expected {
        assert!(
            problems.iter().any(|problem| problem.contains(text)),
            "{text} is missing in {problems:#?}"
        );
    }
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
}
