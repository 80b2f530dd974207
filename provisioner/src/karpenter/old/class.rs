//! AWSNodeTemplates, and EC2NodeClasses of `v1beta1`.

use super::*;

/// The families whose newest image has an alias, and the alias.
const ALIASES: [(&str, &str); 5] = [
    ("AL2", "al2@latest"),
    ("AL2023", "al2023@latest"),
    ("Bottlerocket", "bottlerocket@latest"),
    ("Windows2019", "windows2019@latest"),
    ("Windows2022", "windows2022@latest"),
];
/// Stands for what nobody but the cluster's owner knows.
const PLACEHOLDER_IMAGE: &str = "ami-placeholder";
const PLACEHOLDER_ROLE: &str = "KarpenterNodeRole-CLUSTER";
/// How many terms a selector may have.
const MOST_TERMS: usize = 30;

pub(super) fn from_template(old: &Value, beside: &[Value]) -> Converted {
    template(old, &old["spec"], "spec", beside)
}

/// The class of a Provisioner that has its provider inline.
pub(super) fn from_inline(provisioner: &Value, inline: &Value, beside: &[Value]) -> Converted {
    let bare = json!({"metadata": {"name": name(provisioner)}});
    let mut inline = inline.clone();
    if let Some(fields) = inline.as_object_mut() {
        for field in ["apiVersion", "kind"] {
            fields.remove(field);
        }
    }
    let mut given = beside.to_vec();
    if !beside.contains(provisioner) {
        given.push(provisioner.clone());
    }
    template(&bare, &inline, "spec.provider", &given)
}

fn template(old: &Value, spec: &Value, path: &str, beside: &[Value]) -> Converted {
    let mut notes = Vec::new();
    let mut fields = Fields::of(spec, path, &mut notes);
    for (selector, terms) in [
        ("subnetSelector", "subnetSelectorTerms"),
        ("securityGroupSelector", "securityGroupSelectorTerms"),
    ] {
        let tags = fields.take(selector);
        if tags.is_none() {
            fields.note(
                selector,
                format!("was missing, but {terms} are required: fill them in"),
            );
        }
        let found = selector_terms(&tags.unwrap_or_default(), selector, &mut fields);
        fields.set(terms, found);
    }
    if let Some(selector) = fields.take("amiSelector") {
        let terms = image_terms(&selector, &mut fields);
        fields.set("amiSelectorTerms", terms);
    }
    fields.keep(&[
        "userData",
        "instanceProfile",
        "tags",
        "metadataOptions",
        "blockDeviceMappings",
        "detailedMonitoring",
        "context",
        "amiFamily",
    ]);
    for launch in ["launchTemplate", "launchTemplateName"] {
        fields.drop(
            launch,
            "launch templates of one's own have no counterpart: use userData, tags and the like",
        );
    }
    let spec = fields.finish();
    complete(old, spec, beside, notes)
}

pub(super) fn from_node_class(old: &Value, beside: &[Value]) -> Converted {
    let mut notes = Vec::new();
    let mut fields = Fields::of(&old["spec"], "spec", &mut notes);
    fields.keep(&[
        "subnetSelectorTerms",
        "securityGroupSelectorTerms",
        "amiSelectorTerms",
        "amiFamily",
        "userData",
        "role",
        "instanceProfile",
        "tags",
        "blockDeviceMappings",
        "instanceStorePolicy",
        "detailedMonitoring",
        "metadataOptions",
        "associatePublicIPAddress",
        "context",
        "kubelet",
    ]);
    let spec = fields.finish();
    complete(old, spec, beside, notes)
}

/// Adds what both old kinds leave unsaid.
fn complete(old: &Value, mut spec: Value, beside: &[Value], mut notes: Vec<Note>) -> Converted {
    let found = kubelets(name(old), beside);
    if let Some((pool, first)) = found.first() {
        spec["kubelet"] = kubelet(first, &format!("kubelet of {pool:?}"), &mut notes);
        for (other, settings) in found.iter().filter(|(_, settings)| settings != first) {
            let message = format!(
                "is that of {pool:?}; {other:?} has other settings, {settings}, and needs a node class of its own"
            );
            notes.push(Note::new("spec.kubelet", message));
        }
    }
    images(&mut spec, &mut notes);
    if spec["role"].is_null() && spec["instanceProfile"].is_null() {
        spec["role"] = PLACEHOLDER_ROLE.into();
        let message = format!(
            "was a setting of the cluster, but is required: put the nodes' role in place of {PLACEHOLDER_ROLE}"
        );
        notes.push(Note::new("spec.instanceProfile", message));
    }
    hops(&mut spec, &mut notes);
    Converted {
        object: object(AWS_GROUP, "EC2NodeClass", old, &spec),
        notes,
    }
}

/// Images have to be selected; the newest of a family was taken where nothing was said.
fn images(spec: &mut Value, notes: &mut Vec<Note>) {
    let family = spec["amiFamily"].as_str().unwrap_or("AL2").to_owned();
    let is_selected = spec["amiSelectorTerms"]
        .as_array()
        .is_some_and(|terms| !terms.is_empty());
    let alias = ALIASES.iter().find(|(known, _)| *known == family);
    match alias {
        Some((_, alias)) if !is_selected => spec["amiSelectorTerms"] = json!([{"alias": alias}]),
        Some(_) => {}
        None => {
            if !is_selected {
                spec["amiSelectorTerms"] = json!([{"id": PLACEHOLDER_IMAGE}]);
                let message = format!(
                    "says nothing, and {family} has no images of its own: put yours in place of {PLACEHOLDER_IMAGE}"
                );
                notes.push(Note::new("spec.amiSelectorTerms", message));
            }
            if family != "Custom" {
                let message = format!(
                    "was {family}, which is no more: AL2 makes the same user data; say in blockDeviceMappings where the root disk is"
                );
                notes.push(Note::new("spec.amiFamily", message));
                spec["amiFamily"] = "AL2".into();
                return;
            }
        }
    }
    spec["amiFamily"] = family.into();
}

/// The default was two hops, which let pods ask the instance metadata service.
fn hops(spec: &mut Value, notes: &mut Vec<Note>) {
    if spec["metadataOptions"]["httpPutResponseHopLimit"].is_null() {
        let mut options = json!({
            "httpEndpoint": "enabled", "httpProtocolIPv6": "disabled", "httpTokens": "required",
        });
        for (name, value) in spec["metadataOptions"].as_object().into_iter().flatten() {
            options[name] = value.clone();
        }
        options["httpPutResponseHopLimit"] = 2.into();
        spec["metadataOptions"] = options;
        let message = "was missing and meant 2, which is written out; today's default is 1";
        notes.push(Note::new("spec.metadataOptions.httpPutResponseHopLimit", message));
    }
}

/// A selector of tags and ids: values were lists of alternatives, parted by commas.
fn selector_terms(selector: &Value, name: &str, fields: &mut Fields<'_>) -> Value {
    let mut tags: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut ids = Vec::new();
    for (key, value) in selector.as_object().into_iter().flatten() {
        let values = alternatives(value);
        match key.as_str() {
            "aws-ids" | "aws::ids" => ids.extend(values),
            key => tags.push((key, values)),
        }
    }
    if !ids.is_empty() && !tags.is_empty() {
        let message = "asked for ids and tags at once; a term has one or the other, so the tags are left out";
        fields.note(name, message);
        tags.clear();
    }
    let by_id = ids.into_iter().map(|id| json!({"id": id}));
    let by_tags = combinations(&tags).into_iter().map(|tags| json!({"tags": tags}));
    limited(
        by_id
            .chain(by_tags.filter(|term| term["tags"] != json!({})))
            .collect(),
        name,
        fields,
    )
}

/// A selector of images: ids, or names and owners and tags.
fn image_terms(selector: &Value, fields: &mut Fields<'_>) -> Value {
    const NAME: &str = "amiSelector";
    let mut parts: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut ids = Vec::new();
    for (key, value) in selector.as_object().into_iter().flatten() {
        match key.as_str() {
            "aws-ids" | "aws::ids" => ids.extend(alternatives(value)),
            key => parts.push((key, alternatives(value))),
        }
    }
    if !ids.is_empty() && !parts.is_empty() {
        let message =
            "asked for ids and more at once; a term with an id has nothing else, so the rest is left out";
        fields.note(NAME, message);
        parts.clear();
    }
    let by_id = ids.into_iter().map(|id| json!({"id": id}));
    let mut terms: Vec<Value> = by_id.collect();
    if !parts.is_empty() {
        terms.extend(combinations(&parts).into_iter().map(|parts| {
            let mut term = json!({});
            for (key, value) in parts.as_object().into_iter().flatten() {
                match key.as_str() {
                    "aws::name" => term["name"] = value.clone(),
                    "aws::owners" => term["owner"] = value.clone(),
                    key => term["tags"][key] = value.clone(),
                }
            }
            term
        }));
    }
    limited(terms, NAME, fields)
}

fn alternatives(value: &Value) -> Vec<&str> {
    value
        .as_str()
        .unwrap_or_default()
        .split(',')
        .map(str::trim)
        .collect()
}

/// Every choice of one value for each key.
fn combinations(keys: &[(&str, Vec<&str>)]) -> Vec<Value> {
    let mut all = vec![json!({})];
    for (key, values) in keys {
        let extended = all.iter().flat_map(|chosen| {
            values.iter().map(move |value| {
                let mut chosen = chosen.clone();
                chosen[*key] = (*value).into();
                chosen
            })
        });
        // More than can be used are not needed, and could be very many.
        all = extended.take(MOST_TERMS + 1).collect();
    }
    all
}

fn limited(mut terms: Vec<Value>, name: &str, fields: &mut Fields<'_>) -> Value {
    if terms.len() > MOST_TERMS {
        terms.truncate(MOST_TERMS);
        fields.note(
            name,
            format!("comes to more than {MOST_TERMS} terms, of which the first are kept"),
        );
    }
    Value::Array(terms)
}
