//! Lists in pages and at versions.

use serde_json::{Value, json};

use super::objects::{config_map, create, names};
use crate::harness::{Cluster, cases, contains, same, text};

cases![
    pages_follow_one_another,
    a_limit_that_is_not_reached_has_no_next_page,
    a_selected_page_does_not_count_the_rest,
    pages_show_one_snapshot,
    a_token_goes_with_no_version,
    a_broken_token_is_refused,
    a_list_not_older_than_a_version,
    a_list_at_the_latest_version_exactly,
    a_list_at_an_old_version_exactly,
    a_list_at_a_future_version_times_out,
    a_match_needs_a_version,
    an_exact_match_of_zero_is_refused,
    a_version_must_be_a_number,
    an_unknown_match_is_refused,
];

/// Five labelled config maps, so that what controllers make does not count.
async fn five(c: &Cluster) -> anyhow::Result<Vec<Value>> {
    let mut made = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        made.push(create(c, "v1", "secrets", &json!({"metadata": {"name": name}})).await?);
    }
    Ok(made)
}

async fn pages_follow_one_another(c: &Cluster) -> anyhow::Result<()> {
    five(c).await?;
    let first = c.get(&c.at("v1", "secrets?limit=2")).await?.with_code(200)?;
    same(names(&first), vec!["a", "b"])?;
    contains(&first, json!({"metadata": {"remainingItemCount": 3}}))?;
    let token = text(&first, "/metadata/continue");
    let second = c
        .get(&c.at("v1", &format!("secrets?limit=2&continue={token}")))
        .await?
        .with_code(200)?;
    same(names(&second), vec!["c", "d"])?;
    contains(
        &second,
        json!({"metadata": {"remainingItemCount": 1, "resourceVersion": first["metadata"]["resourceVersion"]}}),
    )?;
    let token = text(&second, "/metadata/continue");
    let third = c
        .get(&c.at("v1", &format!("secrets?limit=2&continue={token}")))
        .await?
        .with_code(200)?;
    same(names(&third), vec!["e"])?;
    contains(
        &third,
        json!({"metadata": {"remainingItemCount": null, "continue": null}}),
    )
}

async fn a_limit_that_is_not_reached_has_no_next_page(c: &Cluster) -> anyhow::Result<()> {
    five(c).await?;
    for limit in [5, 6] {
        let list = c
            .get(&c.at("v1", &format!("secrets?limit={limit}")))
            .await?
            .with_code(200)?;
        same(names(&list).len(), 5)?;
        contains(
            &list,
            json!({"metadata": {"remainingItemCount": null, "continue": null}}),
        )?;
    }
    Ok(())
}

async fn a_selected_page_does_not_count_the_rest(c: &Cluster) -> anyhow::Result<()> {
    for name in ["a", "b", "c", "d"] {
        let labels = if name == "b" {
            json!({})
        } else {
            json!({"on": "yes"})
        };
        create(
            c,
            "v1",
            "secrets",
            &json!({"metadata": {"name": name, "labels": labels}}),
        )
        .await?;
    }
    let first = c
        .get(&c.at("v1", "secrets?limit=2&labelSelector=on=yes"))
        .await?
        .with_code(200)?;
    same(names(&first), vec!["a", "c"])?;
    contains(&first, json!({"metadata": {"remainingItemCount": null}}))?;
    let token = text(&first, "/metadata/continue");
    let rest = c
        .get(&c.at(
            "v1",
            &format!("secrets?limit=2&labelSelector=on=yes&continue={token}"),
        ))
        .await?
        .with_code(200)?;
    same(names(&rest), vec!["d"])
}

async fn pages_show_one_snapshot(c: &Cluster) -> anyhow::Result<()> {
    five(c).await?;
    let first = c.get(&c.at("v1", "secrets?limit=2")).await?.with_code(200)?;
    c.delete(&c.at("v1", "secrets/d")).await?.ok()?;
    create(c, "v1", "secrets", &json!({"metadata": {"name": "cc"}})).await?;
    let token = text(&first, "/metadata/continue");
    let rest = c
        .get(&c.at("v1", &format!("secrets?continue={token}")))
        .await?
        .with_code(200)?;
    same(names(&rest), vec!["c", "d", "e"])?;
    contains(
        &rest,
        json!({"metadata": {"resourceVersion": first["metadata"]["resourceVersion"]}}),
    )
}

async fn a_token_goes_with_no_version(c: &Cluster) -> anyhow::Result<()> {
    five(c).await?;
    let first = c.get(&c.at("v1", "secrets?limit=2")).await?.with_code(200)?;
    let token = text(&first, "/metadata/continue");
    c.get(&c.at(
        "v1",
        &format!("secrets?limit=2&continue={token}&resourceVersion=5"),
    ))
    .await?
    .refused(
        400,
        "BadRequest",
        "specifying resource version is not allowed when using continue",
    )?;
    Ok(())
}

async fn a_broken_token_is_refused(c: &Cluster) -> anyhow::Result<()> {
    c.get(&c.at("v1", "secrets?limit=2&continue=broken!"))
        .await?
        .refused(
            400,
            "BadRequest",
            "invalid continue token: continue key is not valid: illegal base64 data at input byte 6",
        )?;
    Ok(())
}

async fn a_list_not_older_than_a_version(c: &Cluster) -> anyhow::Result<()> {
    let made = five(c).await?;
    let version = text(&made[4], "/metadata/resourceVersion");
    for query in [
        format!("resourceVersion={version}"),
        format!("resourceVersion={version}&resourceVersionMatch=NotOlderThan"),
        "resourceVersion=0".to_owned(),
    ] {
        let list = c
            .get(&c.at("v1", &format!("secrets?{query}")))
            .await?
            .with_code(200)?;
        if query != "resourceVersion=0" {
            same(names(&list), vec!["a", "b", "c", "d", "e"])?;
            anyhow::ensure!(text(&list, "/metadata/resourceVersion").parse::<u64>()? >= version.parse()?);
        }
    }
    Ok(())
}

async fn a_list_at_the_latest_version_exactly(c: &Cluster) -> anyhow::Result<()> {
    five(c).await?;
    let list = c.get(&c.at("v1", "secrets")).await?.with_code(200)?;
    let version = text(&list, "/metadata/resourceVersion");
    let exact = c
        .get(&c.at(
            "v1",
            &format!("secrets?resourceVersion={version}&resourceVersionMatch=Exact"),
        ))
        .await?
        .with_code(200)?;
    same(text(&exact, "/metadata/resourceVersion"), version)?;
    same(names(&exact), names(&list))
}

async fn a_list_at_an_old_version_exactly(c: &Cluster) -> anyhow::Result<()> {
    let made = five(c).await?;
    let version = text(&made[2], "/metadata/resourceVersion");
    c.merge(
        &c.at("v1", "secrets/a"),
        &json!({"metadata": {"labels": {"new": "yes"}}}),
    )
    .await?
    .ok()?;
    c.delete(&c.at("v1", "secrets/b")).await?.ok()?;
    let list = c
        .get(&c.at(
            "v1",
            &format!("secrets?resourceVersion={version}&resourceVersionMatch=Exact"),
        ))
        .await?
        .with_code(200)?;
    same(text(&list, "/metadata/resourceVersion"), version)?;
    same(names(&list), vec!["a", "b", "c"])?;
    contains(&list["items"][0], json!({"metadata": {"labels": null}}))
}

async fn a_list_at_a_future_version_times_out(c: &Cluster) -> anyhow::Result<()> {
    let list = c.get(&c.at("v1", "secrets")).await?.with_code(200)?;
    let version: u64 = text(&list, "/metadata/resourceVersion").parse()?;
    let future = version + 1_000_000;
    let path = c.at(
        "v1",
        &format!("secrets?resourceVersion={future}&resourceVersionMatch=NotOlderThan"),
    );
    let status = c.get(&path).await?.refused_with(
        504,
        "Timeout",
        &format!("Too large resource version: {future}, current: "),
    )?;
    contains(
        &status,
        json!({"details": {"retryAfterSeconds": 1, "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]}}),
    )
}

async fn a_match_needs_a_version(c: &Cluster) -> anyhow::Result<()> {
    c.get(&c.at("v1", "secrets?resourceVersionMatch=Exact")).await?.refused(
        422,
        "Invalid",
        "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
    )?;
    Ok(())
}

async fn an_exact_match_of_zero_is_refused(c: &Cluster) -> anyhow::Result<()> {
    c.get(&c.at("v1", "secrets?resourceVersion=0&resourceVersionMatch=Exact")).await?.refused(
        422,
        "Invalid",
        "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
    )?;
    Ok(())
}

async fn a_version_must_be_a_number(c: &Cluster) -> anyhow::Result<()> {
    c.get(&c.at("v1", "secrets?resourceVersion=latest")).await?.refused(
        400,
        "BadRequest",
        "invalid resource version: resourceVersion: Invalid value: \"latest\": strconv.ParseUint: parsing \"latest\": invalid syntax",
    )?;
    Ok(())
}

async fn an_unknown_match_is_refused(c: &Cluster) -> anyhow::Result<()> {
    create(c, "v1", "configmaps", &config_map("a")).await?;
    c.get(&c.at("v1", "secrets?resourceVersion=5&resourceVersionMatch=Perhaps")).await?.refused(
        422,
        "Invalid",
        "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Unsupported value: \"Perhaps\": supported values: \"Exact\", \"NotOlderThan\", \"\"",
    )?;
    Ok(())
}
