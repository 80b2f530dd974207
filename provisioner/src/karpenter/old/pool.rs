//! Provisioners, and NodePools and NodeClaims of `v1beta1`.

use super::*;

/// What Karpenter asked for where a Provisioner said nothing about these keys.
const DEFAULT_REQUIREMENTS: [(&[&str], &str, &str, &[&str]); 4] = [
    (&["kubernetes.io/os"], "kubernetes.io/os", "In", &["linux"]),
    (&["kubernetes.io/arch"], "kubernetes.io/arch", "In", &["amd64"]),
    (
        &["karpenter.sh/capacity-type"],
        "karpenter.sh/capacity-type",
        "In",
        &["on-demand"],
    ),
    (
        INSTANCES,
        "karpenter.k8s.aws/instance-category",
        "In",
        &["c", "m", "r"],
    ),
];
/// Any of these said which instances are meant.
const INSTANCES: &[&str] = &[
    "node.kubernetes.io/instance-type",
    "karpenter.k8s.aws/instance-family",
    "karpenter.k8s.aws/instance-category",
    "karpenter.k8s.aws/instance-generation",
];
const KUBELET_MOVED: &str = "the kubelet's settings stand in the node class today";

/// The node class that a Provisioner names; one with a provider inline has its own, which is called as it is.
pub(super) fn class_of_provisioner(old: &Value) -> &str {
    let spec = &old["spec"];
    match (spec["providerRef"]["name"].as_str(), spec["provider"].is_object()) {
        (Some(named), _) => named,
        (None, true) => name(old),
        (None, false) => "default",
    }
}

pub(super) fn from_provisioner(old: &Value, beside: &[Value]) -> Vec<Converted> {
    let mut notes = Vec::new();
    let class = class_of_provisioner(old).to_owned();
    let mut fields = Fields::of(&old["spec"], "spec", &mut notes);
    let mut metadata = json!({});
    for part in ["labels", "annotations"] {
        if let Some(value) = fields.take(part) {
            metadata[part] = value;
        }
    }
    let requirements = fields.take("requirements").unwrap_or_else(|| json!([]));
    let requirements = with_defaults(requirements, fields.notes());
    let mut spec = json!({
        "requirements": requirements,
        "nodeClassRef": {"group": AWS_GROUP, "kind": "EC2NodeClass", "name": class},
        "expireAfter": fields.take("ttlSecondsUntilExpired").map_or("Never".into(), |age| seconds(&age)),
    });
    for part in ["taints", "startupTaints"] {
        if let Some(value) = fields.take(part) {
            spec[part] = value;
        }
    }
    let reference = fields.take("providerRef");
    let inline = fields.take("provider");
    if reference.is_none() && inline.is_none() {
        let message = "was missing: the NodePool names the EC2NodeClass \"default\", which has to be there";
        fields.note("providerRef", message);
    }
    if let Some(kubelet) = fields.take("kubeletConfiguration") {
        let is_moved = inline.is_some() || is_converted(&class, beside);
        note_kubelet(&mut fields, "kubeletConfiguration", &class, &kubelet, is_moved);
    }
    fields.keep(&["weight"]);
    if let Some(limits) = fields
        .take("limits")
        .and_then(|mut limits| Some(limits.get_mut("resources")?.take()))
    {
        fields.set("limits", limits);
    }
    let disruption = disruption_of_provisioner(&mut fields);
    fields.set("disruption", disruption);
    let mut template = json!({"spec": spec});
    if metadata != json!({}) {
        template["metadata"] = metadata;
    }
    fields.set("template", template);
    let spec = fields.finish();
    let pool = Converted {
        object: object(GROUP, "NodePool", old, &spec),
        notes,
    };
    let class = inline.map(|inline| class::from_inline(old, &inline, beside));
    std::iter::once(pool).chain(class).collect()
}

/// Consolidation, or the removal of empty nodes; a Provisioner with neither kept its nodes.
fn disruption_of_provisioner(fields: &mut Fields<'_>) -> Value {
    let empty = fields.take("ttlSecondsAfterEmpty");
    let consolidation = fields.take("consolidation").unwrap_or_default();
    let (policy, after) = match empty {
        _ if consolidation["enabled"] == true => ("WhenEmptyOrUnderutilized", "0s".into()),
        Some(age) => ("WhenEmpty", seconds(&age)),
        None => ("WhenEmpty", "Never".into()),
    };
    json!({"consolidationPolicy": policy, "consolidateAfter": after})
}

/// Requirements under today's keys, and those that Karpenter added by itself.
fn with_defaults(requirements: Value, notes: &mut Vec<Note>) -> Value {
    let mut requirements = renamed(requirements);
    let Some(list) = requirements.as_array_mut() else {
        return requirements;
    };
    let named: Vec<String> = list
        .iter()
        .filter_map(|requirement| requirement["key"].as_str().map(str::to_owned))
        .collect();
    for (keys, key, operator, values) in DEFAULT_REQUIREMENTS {
        if named.iter().any(|named| keys.contains(&named.as_str())) {
            continue;
        }
        let words = values.join(", ");
        notes.push(Note::new(
            "spec.requirements",
            format!("said nothing about {key}, which meant {words}; that is written out"),
        ));
        list.push(json!({"key": key, "operator": operator, "values": values}));
        if keys == INSTANCES {
            list.push(
                json!({"key": "karpenter.k8s.aws/instance-generation", "operator": "Gt", "values": ["2"]}),
            );
        }
    }
    requirements
}

fn renamed(mut requirements: Value) -> Value {
    for requirement in requirements.as_array_mut().into_iter().flatten() {
        if requirement["key"] == PROVISIONER_NAME {
            requirement["key"] = super::super::labels::NODEPOOL.into();
        }
    }
    requirements
}

fn note_kubelet(fields: &mut Fields<'_>, name: &str, class: &str, kubelet: &Value, is_moved: bool) {
    let message = if is_moved {
        format!("{KUBELET_MOVED}: moved to the EC2NodeClass {class:?}")
    } else {
        format!(
            "{KUBELET_MOVED}, and {class:?} is not among the objects: put {kubelet} into its spec.kubelet"
        )
    };
    fields.note(name, message);
}

pub(super) fn from_node_pool(old: &Value, beside: &[Value]) -> Converted {
    let mut notes = Vec::new();
    let spec = &old["spec"];
    let mut fields = Fields::of(spec, "spec", &mut notes);
    let mut template = fields.take("template").unwrap_or_else(|| json!({}));
    let mut disruption = fields.take("disruption").unwrap_or_else(|| json!({}));
    let expire_after = disruption
        .as_object_mut()
        .and_then(|disruption| disruption.remove("expireAfter"));
    let policy = disruption["consolidationPolicy"]
        .as_str()
        .unwrap_or("WhenUnderutilized");
    if policy == "WhenUnderutilized" {
        disruption["consolidationPolicy"] = "WhenEmptyOrUnderutilized".into();
        if disruption.get("consolidateAfter").is_none() {
            disruption["consolidateAfter"] = "0s".into();
        }
    }
    let inner = template["spec"].take();
    let mut inner = node(&inner, "spec.template.spec", beside, fields.notes());
    if let Some(age) = expire_after {
        inner["expireAfter"] = age;
    }
    template["spec"] = inner;
    fields.set("template", template);
    fields.set("disruption", disruption);
    fields.keep(&["limits", "weight"]);
    let spec = fields.finish();
    Converted {
        object: object(GROUP, "NodePool", old, &spec),
        notes,
    }
}

pub(super) fn from_node_claim(old: &Value, beside: &[Value]) -> Converted {
    let mut notes = Vec::new();
    let mut spec = node(&old["spec"], "spec", beside, &mut notes);
    if let Some(resources) = old["spec"].get("resources") {
        spec["resources"] = resources.clone();
    }
    let pool = &old["metadata"]["labels"][super::super::labels::NODEPOOL];
    let age = beside.iter().find_map(|object| {
        let is_its = Old::of(object) == Some(Old::NodePool) && object["metadata"]["name"] == *pool;
        is_its.then(|| object["spec"]["disruption"]["expireAfter"].as_str())?
    });
    match age {
        Some(age) => spec["expireAfter"] = age.into(),
        None => {
            let message = "was a matter of the NodePool, which says nothing of it here: the default is 720h";
            notes.push(Note::new("spec.expireAfter", message));
        }
    }
    Converted {
        object: object(GROUP, "NodeClaim", old, &spec),
        notes,
    }
}

/// What pools and claims say of a node.
fn node(old: &Value, path: &str, beside: &[Value], notes: &mut Vec<Note>) -> Value {
    let mut fields = Fields::of(old, path, notes);
    let reference = fields.take("nodeClassRef").unwrap_or_default();
    let class = reference["name"].as_str().unwrap_or_default().to_owned();
    let group = reference["apiVersion"]
        .as_str()
        .and_then(|version| version.split_once('/'));
    fields.set(
        "nodeClassRef",
        json!({
            "group": group.map_or(AWS_GROUP, |(group, _)| group),
            "kind": reference["kind"].as_str().unwrap_or("EC2NodeClass"),
            "name": class,
        }),
    );
    let requirements = renamed(fields.take("requirements").unwrap_or_else(|| json!([])));
    fields.set("requirements", requirements);
    fields.keep(&["taints", "startupTaints", "terminationGracePeriod"]);
    if let Some(kubelet) = fields.take("kubelet") {
        let is_moved = is_converted(&class, beside);
        note_kubelet(&mut fields, "kubelet", &class, &kubelet, is_moved);
    }
    // A claim's own; a pool has none.
    fields.take("resources");
    fields.finish()
}
