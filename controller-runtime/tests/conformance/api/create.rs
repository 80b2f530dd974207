//! Creation: names, refusals, and what a body must say.

use serde_json::{Value, json};

use crate::harness::{Cluster, cases, contains, same, text};

cases![
    an_object_gets_its_metadata,
    generate_name_gets_a_suffix,
    a_second_object_of_a_name_already_exists,
    an_invalid_name_is_refused,
    an_object_needs_a_name,
    invalid_labels_are_refused,
    a_missing_namespace_is_not_found,
    the_body_may_not_name_another_namespace,
    the_body_must_be_of_the_kind,
    unknown_fields_are_warned_of_refused_or_ignored,
];

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": "v"}})
}

async fn an_object_gets_its_metadata(c: &Cluster) -> anyhow::Result<()> {
    let made = c
        .post(&c.at("v1", "configmaps"), &config_map("a"))
        .await?
        .with_code(201)?;
    contains(
        &made,
        json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"k": "v"},
            "metadata": {"name": "a", "namespace": c.namespace(), "generation": null, "selfLink": null}}),
    )?;
    same(text(&made, "/metadata/uid").len(), 36)?;
    anyhow::ensure!(text(&made, "/metadata/resourceVersion").parse::<u64>()? > 0);
    anyhow::ensure!(text(&made, "/metadata/creationTimestamp").ends_with('Z'));
    let read = c.get(&c.at("v1", "configmaps/a")).await?.with_code(200)?;
    same(read, made)
}

async fn generate_name_gets_a_suffix(c: &Cluster) -> anyhow::Result<()> {
    let body = json!({"metadata": {"generateName": "job-"}});
    let first = c.post(&c.at("v1", "configmaps"), &body).await?.with_code(201)?;
    let second = c.post(&c.at("v1", "configmaps"), &body).await?.with_code(201)?;
    for made in [&first, &second] {
        contains(made, json!({"metadata": {"generateName": "job-"}}))?;
        let name = text(made, "/metadata/name");
        anyhow::ensure!(name.starts_with("job-") && name.len() == 9, "{name}");
        anyhow::ensure!(
            name[4..]
                .chars()
                .all(|letter| "bcdfghjklmnpqrstvwxz2456789".contains(letter)),
            "{name}"
        );
    }
    anyhow::ensure!(text(&first, "/metadata/name") != text(&second, "/metadata/name"));
    Ok(())
}

async fn a_second_object_of_a_name_already_exists(c: &Cluster) -> anyhow::Result<()> {
    c.post(&c.at("v1", "configmaps"), &config_map("a"))
        .await?
        .with_code(201)?;
    let status = c
        .post(&c.at("v1", "configmaps"), &config_map("a"))
        .await?
        .refused(409, "AlreadyExists", "configmaps \"a\" already exists")?;
    contains(
        &status,
        json!({"metadata": {}, "details": {"name": "a", "kind": "configmaps"}}),
    )
}

async fn an_invalid_name_is_refused(c: &Cluster) -> anyhow::Result<()> {
    let rule = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must \
                start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
                '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
    let status = c
        .post(&c.at("v1", "configmaps"), &config_map("No_Name"))
        .await?
        .refused(
            422,
            "Invalid",
            &format!("ConfigMap \"No_Name\" is invalid: metadata.name: Invalid value: \"No_Name\": {rule}"),
        )?;
    contains(
        &status,
        json!({"details": {"name": "No_Name", "kind": "ConfigMap",
            "causes": [{"reason": "FieldValueInvalid", "field": "metadata.name"}]}}),
    )
}

async fn an_object_needs_a_name(c: &Cluster) -> anyhow::Result<()> {
    c.post(&c.at("v1", "configmaps"), &json!({"metadata": {}}))
        .await?
        .refused(
            422,
            "Invalid",
            "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required",
        )?;
    Ok(())
}

async fn invalid_labels_are_refused(c: &Cluster) -> anyhow::Result<()> {
    let mut body = config_map("a");
    body["metadata"]["labels"] = json!({"app": "not valid!"});
    c.post(&c.at("v1", "configmaps"), &body).await?.refused(
        422,
        "Invalid",
        "ConfigMap \"a\" is invalid: metadata.labels: Invalid value: \"not valid!\": a valid label must be an empty \
         string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric \
         character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is \
         '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
    )?;
    let mut body = config_map("a");
    body["metadata"]["labels"] = json!({"-app": "x"});
    c.post(&c.at("v1", "configmaps"), &body).await?.refused(
        422,
        "Invalid",
        "ConfigMap \"a\" is invalid: metadata.labels: Invalid value: \"-app\": name part must consist of alphanumeric \
         characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or \
         'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
    )?;
    Ok(())
}

async fn a_missing_namespace_is_not_found(c: &Cluster) -> anyhow::Result<()> {
    let status = c
        .post("/api/v1/namespaces/nowhere/configmaps", &config_map("a"))
        .await?
        .refused(404, "NotFound", "namespaces \"nowhere\" not found")?;
    contains(
        &status,
        json!({"details": {"name": "nowhere", "kind": "namespaces"}}),
    )
}

async fn the_body_may_not_name_another_namespace(c: &Cluster) -> anyhow::Result<()> {
    let mut body = config_map("a");
    body["metadata"]["namespace"] = json!("default");
    c.post(&c.at("v1", "configmaps"), &body).await?.refused(
        400,
        "BadRequest",
        "the namespace of the provided object does not match the namespace sent on the request",
    )?;
    Ok(())
}

async fn the_body_must_be_of_the_kind(c: &Cluster) -> anyhow::Result<()> {
    let body = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}});
    c.post(&c.at("v1", "configmaps"), &body).await?.refused(
        400,
        "BadRequest",
        "Secret in version \"v1\" cannot be handled as a ConfigMap: converting (v1.Secret) to (core.ConfigMap): unknown conversion",
    )?;
    let mut body = config_map("a");
    body["apiVersion"] = json!("apps/v1");
    c.post(&c.at("v1", "configmaps"), &body).await?.refused_with(
        400,
        "BadRequest",
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: no kind \"ConfigMap\" is registered for version \"apps/v1\"",
    )?;
    Ok(())
}

async fn unknown_fields_are_warned_of_refused_or_ignored(c: &Cluster) -> anyhow::Result<()> {
    let path = c.at("v1", "configmaps");
    let body = |name: &str| json!({"metadata": {"name": name, "labls": {}}, "dat": 1});
    let answer = c.post(&path, &body("a")).await?;
    same(
        answer.warnings(),
        vec![
            "unknown field \"dat\"".to_owned(),
            "unknown field \"metadata.labls\"".to_owned(),
        ],
    )?;
    let made = answer.with_code(201)?;
    contains(&made, json!({"dat": null, "metadata": {"labls": null}}))?;
    c.post(&format!("{path}?fieldValidation=Strict"), &body("b")).await?.refused(
        400,
        "BadRequest",
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \"dat\", unknown field \"metadata.labls\"",
    )?;
    let answer = c
        .post(&format!("{path}?fieldValidation=Ignore"), &body("c"))
        .await?;
    same(answer.warnings(), Vec::new())?;
    answer.with_code(201)?;
    c.post(&format!("{path}?fieldValidation=Perhaps"), &body("d"))
        .await?
        .refused_with(422, "Invalid", "fieldValidation: Unsupported value: \"Perhaps\"")?;
    Ok(())
}
