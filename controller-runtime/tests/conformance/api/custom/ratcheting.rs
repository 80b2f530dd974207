//! A schema that becomes stricter, and the objects from before: what does not change is not refused.

use serde_json::{Value, json};

use super::{Kind, LIMIT, fields};
use crate::harness::{Cluster, cases, same};

cases![
    what_does_not_change_is_not_refused,
    a_rule_is_not_broken_by_what_does_not_change,
    items_are_told_apart_by_their_keys,
];

/// An object `a` from before the schema of its spec became `strict`, by which `refused` is refused.
async fn made_before(
    c: &Cluster,
    loose: Value,
    spec: Value,
    strict: Value,
    refused: Value,
) -> anyhow::Result<Kind> {
    let kind = Kind::new(c, loose).establish(c).await?;
    kind.create(c, "a", spec).await?;
    let mut definition = kind.definition.clone();
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"] = strict;
    let patch = json!({"spec": definition["spec"]});
    c.merge(&kind.definition_path(), &patch).await?.with_code(200)?;
    let path = format!("{}?dryRun=All", kind.path(c, "gadgets"));
    c.wait_until("the schema is stricter", LIMIT, async || {
        Ok(c.post(&path, &kind.object("probe", refused.clone())).await?.code == 422)
    })
    .await?;
    Ok(kind)
}

async fn change(c: &Cluster, kind: &Kind, spec: Value) -> anyhow::Result<u16> {
    Ok(c.merge(&kind.path(c, "gadgets/a"), &json!({"spec": spec}))
        .await?
        .code)
}

async fn what_does_not_change_is_not_refused(c: &Cluster) -> anyhow::Result<()> {
    let loose = fields(json!({"name": {"type": "string"}, "size": {"type": "integer"}}));
    let strict = fields(json!({"name": {"type": "string", "maxLength": 3}, "size": {"type": "integer"}}));
    let kind = made_before(c, loose, json!({"name": "long"}), strict, json!({"name": "long"})).await?;
    same(change(c, &kind, json!({"size": 1})).await?, 200)?;
    same(change(c, &kind, json!({"name": "longer"})).await?, 422)?;
    same(change(c, &kind, json!({"name": "ok"})).await?, 200)?;
    same(change(c, &kind, json!({"name": "long"})).await?, 422)
}

async fn a_rule_is_not_broken_by_what_does_not_change(c: &Cluster) -> anyhow::Result<()> {
    let rules = |rule: &str| json!([{"rule": rule}]);
    let loose = fields(json!({"name": {"type": "string"}, "size": {"type": "integer"}}));
    let strict = fields(json!({
        "name": {"type": "string", "x-kubernetes-validations": rules("self.startsWith('x')")},
        "size": {"type": "integer", "x-kubernetes-validations": rules("self >= oldSelf")},
    }));
    let kind = made_before(
        c,
        loose,
        json!({"name": "a", "size": 1}),
        strict,
        json!({"name": "a"}),
    )
    .await?;
    same(change(c, &kind, json!({"size": 2})).await?, 200)?;
    same(change(c, &kind, json!({"size": 1})).await?, 422)?;
    same(change(c, &kind, json!({"name": "b"})).await?, 422)?;
    same(change(c, &kind, json!({"name": "xa", "size": 3})).await?, 200)
}

async fn items_are_told_apart_by_their_keys(c: &Cluster) -> anyhow::Result<()> {
    let list = |size: Value| {
        let item = json!({"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "size": size}});
        fields(json!({
            "parts": {"type": "array", "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
            "plain": {"type": "array", "items": item},
        }))
    };
    let (loose, strict) = (
        json!({"type": "integer"}),
        json!({"type": "integer", "maximum": 9}),
    );
    let big = json!([{"name": "a", "size": 10}]);
    let before = json!({"parts": big, "plain": big});
    let kind = made_before(c, list(loose), before, list(strict), json!({"parts": big})).await?;
    let more = |size: i64| json!([{"name": "b", "size": size}, {"name": "a", "size": 10}]);
    same(change(c, &kind, json!({"parts": more(1)})).await?, 200)?;
    same(change(c, &kind, json!({"parts": more(10)})).await?, 422)?;
    same(change(c, &kind, json!({"plain": more(1)})).await?, 422)
}
