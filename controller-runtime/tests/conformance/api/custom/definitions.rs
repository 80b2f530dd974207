//! CustomResourceDefinitions: names, versions, discovery, columns.

use serde_json::json;

use super::{Kind, LIMIT, anything, fields};
use crate::{
    api::objects::names,
    harness::{Cluster, cases, contains, same},
};

cases![
    a_definition_is_established,
    a_definition_is_discovered,
    a_definition_must_be_named_after_its_resource,
    a_definition_needs_a_structural_schema,
    a_definition_needs_one_storage_version,
    taken_names_are_not_accepted,
    a_deleted_definition_takes_its_objects_along,
    additional_columns_are_printed,
    versions_share_their_objects,
    a_version_that_is_not_served_is_not_found,
    selectable_fields_select,
];

async fn a_definition_is_established(c: &Cluster) -> anyhow::Result<()> {
    let kind = Kind::new(c, anything()).establish(c).await?;
    let definition = c.get(&kind.definition_path()).await?.ok()?;
    contains(
        &definition,
        json!({"metadata": {"generation": 1}, "spec": {"conversion": {"strategy": "None"}},
            "status": {"acceptedNames": {"plural": "gadgets", "singular": "gadget", "kind": "Gadget", "listKind": "GadgetList", "shortNames": ["gg"]}, "storedVersions": ["v1"]}}),
    )?;
    let conditions = definition["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    for (kind, reason, message) in [
        ("NamesAccepted", "NoConflicts", "no conflicts found"),
        (
            "Established",
            "InitialNamesAccepted",
            "the initial names have been accepted",
        ),
    ] {
        let found = conditions
            .iter()
            .find(|one| one["type"] == kind)
            .cloned()
            .unwrap_or_default();
        contains(
            &found,
            json!({"status": "True", "reason": reason, "message": message}),
        )?;
    }
    Ok(())
}

async fn a_definition_is_discovered(c: &Cluster) -> anyhow::Result<()> {
    let kind = Kind::new(c, anything())
        .with("subresources", json!({"status": {}}))
        .establish(c)
        .await?;
    let path = format!("/apis/{}/v1", kind.group);
    let list = c
        .wait_object("it is discovered", LIMIT, &path, |list| {
            list["resources"].as_array().is_some_and(|all| all.len() == 2)
        })
        .await?;
    contains(
        &list,
        json!({"groupVersion": kind.version(), "resources": [
            {"name": "gadgets", "singularName": "gadget", "namespaced": true, "kind": "Gadget", "shortNames": ["gg"], "categories": ["toys"],
                "verbs": ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"]},
            {"name": "gadgets/status", "kind": "Gadget", "verbs": ["get", "patch", "update"]},
        ]}),
    )?;
    let group = c.get(&format!("/apis/{}", kind.group)).await?.with_code(200)?;
    contains(
        &group,
        json!({"kind": "APIGroup", "name": kind.group, "preferredVersion": {"version": "v1"}}),
    )
}

async fn a_definition_must_be_named_after_its_resource(c: &Cluster) -> anyhow::Result<()> {
    let mut kind = Kind::new(c, anything());
    let wrong = format!("things.{}", kind.group);
    kind.definition["metadata"]["name"] = json!(wrong);
    c.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &kind.definition).await?.refused(
        422,
        "Invalid",
        &format!(
            "CustomResourceDefinition.apiextensions.k8s.io \"{wrong}\" is invalid: metadata.name: Invalid value: \"{wrong}\": must be spec.names.plural+\".\"+spec.group"
        ),
    )?;
    Ok(())
}

async fn a_definition_needs_a_structural_schema(c: &Cluster) -> anyhow::Result<()> {
    let mut kind = Kind::new(c, anything());
    if let Some(version) = kind.definition["spec"]["versions"][0].as_object_mut() {
        version.remove("schema");
    }
    c.post(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        &kind.definition,
    )
    .await?
    .refused_with(
        422,
        "Invalid",
        "spec.versions[0].schema.openAPIV3Schema: Required value",
    )?;
    Ok(())
}

async fn a_definition_needs_one_storage_version(c: &Cluster) -> anyhow::Result<()> {
    let mut kind = Kind::new(c, anything());
    kind.definition["spec"]["versions"][0]["storage"] = json!(false);
    c.post(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        &kind.definition,
    )
    .await?
    .refused_with(
        422,
        "Invalid",
        "must have exactly one version marked as storage version",
    )?;
    Ok(())
}

async fn taken_names_are_not_accepted(c: &Cluster) -> anyhow::Result<()> {
    let kind = Kind::new(c, anything()).establish(c).await?;
    let mut second = kind.definition.clone();
    second["metadata"]["name"] = json!(format!("things.{}", kind.group));
    second["spec"]["names"] =
        json!({"plural": "things", "singular": "thing", "kind": "Gadget", "listKind": "ThingList"});
    c.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &second)
        .await?
        .with_code(201)?;
    let path = format!(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/things.{}",
        kind.group
    );
    c.delete_at_end(path.clone());
    let found = c
        .wait_object("the names are looked at", LIMIT, &path, |definition| {
            definition["status"]["conditions"]
                .as_array()
                .is_some_and(|all| all.iter().any(|one| one["type"] == "NamesAccepted"))
        })
        .await?;
    let conditions = found["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let of = |kind: &str| {
        conditions
            .iter()
            .find(|one| one["type"] == kind)
            .cloned()
            .unwrap_or_default()
    };
    contains(
        &of("NamesAccepted"),
        json!({"status": "False", "reason": "KindConflict", "message": "\"Gadget\" is already in use"}),
    )?;
    contains(
        &of("Established"),
        json!({"status": "False", "reason": "NotAccepted", "message": "not all names are accepted"}),
    )
}

async fn a_deleted_definition_takes_its_objects_along(c: &Cluster) -> anyhow::Result<()> {
    let kind = Kind::new(c, anything()).establish(c).await?;
    kind.create(c, "a", json!({"x": 1})).await?;
    c.delete(&kind.definition_path()).await?.with_code(200)?;
    c.wait_gone(LIMIT, &kind.definition_path()).await?;
    let path = kind.path(c, "gadgets");
    c.wait_until("its objects are not served", LIMIT, async || {
        Ok(c.get(&path).await?.code == 404)
    })
    .await?;
    let kind = kind.establish(c).await?;
    same(names(&c.get(&kind.path(c, "gadgets")).await?.ok()?), vec![])
}

async fn additional_columns_are_printed(c: &Cluster) -> anyhow::Result<()> {
    let columns = json!([
        {"name": "Size", "type": "integer", "jsonPath": ".spec.size", "description": "how big"},
        {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status", "priority": 1},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]);
    let kind = Kind::new(c, anything())
        .with("additionalPrinterColumns", columns)
        .establish(c)
        .await?;
    let mut object = kind.object("a", json!({"size": 3}));
    object["status"] =
        json!({"conditions": [{"type": "Other", "status": "False"}, {"type": "Ready", "status": "True"}]});
    c.post(&kind.path(c, "gadgets"), &object).await?.with_code(201)?;
    let accept = [("accept", "application/json;as=Table;g=meta.k8s.io;v=v1")];
    let table = c
        .ask("GET", &kind.path(c, "gadgets"), &accept, String::new())
        .await?
        .with_code(200)?;
    contains(
        &table,
        json!({"columnDefinitions": [
            {"name": "Name", "type": "string", "format": "name", "priority": 0},
            {"name": "Size", "type": "integer", "priority": 0, "description": "how big"},
            {"name": "Ready", "type": "string", "priority": 1},
            {"name": "Age", "type": "date", "priority": 0},
        ]}),
    )?;
    let cells = &table["rows"][0]["cells"];
    contains(cells, json!(["a", 3, "True", cells[3]]))?;
    let plain = Kind {
        group: kind.group.clone(),
        definition: kind.definition.clone(),
    };
    c.merge(&plain.definition_path(), &json!({"spec": {"versions": [{"name": "v1", "served": true, "storage": true, "schema": kind.definition["spec"]["versions"][0]["schema"]}]}})).await?.with_code(200)?;
    let path = kind.path(c, "gadgets");
    c.wait_until("the columns are the usual ones", LIMIT, async || {
        let table = c.ask("GET", &path, &accept, String::new()).await?.body;
        Ok(table["columnDefinitions"].as_array().map_or(0, Vec::len) == 2
            && table["columnDefinitions"][1]["name"] == "Age")
    })
    .await
}

async fn versions_share_their_objects(c: &Cluster) -> anyhow::Result<()> {
    let mut kind = Kind::new(c, anything());
    let mut beta = kind.definition["spec"]["versions"][0].clone();
    beta["name"] = json!("v1beta1");
    beta["storage"] = json!(false);
    beta["deprecated"] = json!(true);
    kind.add_version(beta);
    let kind = kind.establish(c).await?;
    let made = kind.create(c, "a", json!({"x": 1})).await?;
    let path = c.at(&format!("{}/v1beta1", kind.group), "gadgets/a");
    let answer = c.get(&path).await?;
    same(
        answer.warnings(),
        vec![format!(
            "{}/v1beta1 Gadget is deprecated; use {}/v1 Gadget",
            kind.group, kind.group
        )],
    )?;
    let old = answer.with_code(200)?;
    contains(
        &old,
        json!({"apiVersion": format!("{}/v1beta1", kind.group), "metadata": {"uid": made["metadata"]["uid"]}, "spec": {"x": 1}}),
    )?;
    let after = c.merge(&path, &json!({"spec": {"y": 2}})).await?.with_code(200)?;
    contains(&after, json!({"apiVersion": format!("{}/v1beta1", kind.group)}))?;
    let new = c.get(&kind.path(c, "gadgets/a")).await?.ok()?;
    contains(
        &new,
        json!({"apiVersion": kind.version(), "spec": {"x": 1, "y": 2}}),
    )?;
    let group_path = format!("/apis/{}", kind.group);
    let group = c
        .wait_object("both are discovered", LIMIT, &group_path, |group| {
            group["versions"].as_array().is_some_and(|all| all.len() == 2)
        })
        .await?;
    contains(
        &group,
        json!({"versions": [{"version": "v1"}, {"version": "v1beta1"}], "preferredVersion": {"version": "v1"}}),
    )
}

async fn a_version_that_is_not_served_is_not_found(c: &Cluster) -> anyhow::Result<()> {
    let mut kind = Kind::new(c, anything());
    let mut old = kind.definition["spec"]["versions"][0].clone();
    old["name"] = json!("v1alpha1");
    old["storage"] = json!(false);
    old["served"] = json!(false);
    kind.add_version(old);
    let kind = kind.establish(c).await?;
    same(
        c.get(&c.at(&format!("{}/v1alpha1", kind.group), "gadgets"))
            .await?
            .with_code(404)?,
        json!("404 page not found\n"),
    )?;
    same(
        c.get(&c.at(&kind.version(), "widgets")).await?.with_code(404)?,
        json!("404 page not found\n"),
    )
}

async fn selectable_fields_select(c: &Cluster) -> anyhow::Result<()> {
    let kind = Kind::new(
        c,
        fields(json!({"color": {"type": "string"}, "size": {"type": "integer"}})),
    )
    .with("selectableFields", json!([{"jsonPath": ".spec.color"}]))
    .establish(c)
    .await?;
    kind.create(c, "a", json!({"color": "red"})).await?;
    kind.create(c, "b", json!({"color": "blue"})).await?;
    let list = c
        .get(&kind.path(c, "gadgets?fieldSelector=spec.color=blue"))
        .await?
        .with_code(200)?;
    same(names(&list), vec!["b"])?;
    c.get(&kind.path(c, "gadgets?fieldSelector=spec.size=1"))
        .await?
        .refused(400, "BadRequest", "field label not supported: spec.size")?;
    same(
        names(
            &c.get(&kind.path(c, "gadgets?fieldSelector=metadata.name=a"))
                .await?
                .ok()?,
        ),
        vec!["a"],
    )
}
