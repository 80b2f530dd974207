//! What somebody does to the cluster at given times.

use anyhow::Context as _;
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, Patch, PatchParams},
    core::{ApiResource, GroupVersionKind},
    discovery::{self, Scope},
};
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use crate::scenario::{ObjectName, Step};

/// The field manager of steps.
const MANAGER: &str = "scenario";

/// Does every step at its time; a step that the cluster refuses ends the run.
pub(super) async fn play(
    client: Client,
    mut steps: Vec<Step>,
    log: controller_runtime::decisions::DecisionLog,
) -> anyhow::Result<()> {
    steps.sort_by_key(|step| step.at);
    let start = Instant::now();
    for step in steps {
        sleep_until(start + step.at.0).await;
        perform(&client, &step, &log)
            .await
            .with_context(|| format!("the step at {} was refused", step.at))?;
    }
    Ok(())
}

async fn perform(
    client: &Client,
    step: &Step,
    log: &controller_runtime::decisions::DecisionLog,
) -> anyhow::Result<()> {
    let record = |target: &ObjectName, verb: &str| {
        let object = match &target.namespace {
            Some(namespace) => format!("{} {namespace}/{}", target.kind, target.name),
            None => format!("{} {}", target.kind, target.name),
        };
        log.record("scenario", object, "", verb, step.comment.clone());
    };
    if let Some(object) = &step.apply {
        let target = name_of(object);
        let api = api(client, &target).await?;
        api.patch(
            &target.name,
            &PatchParams::apply(MANAGER).force(),
            &Patch::Apply(object),
        )
        .await?;
        record(&target, "applied");
    }
    if let Some(patch) = &step.patch {
        let target = patch.target();
        let api = api(client, &target).await?;
        api.patch(&target.name, &PatchParams::default(), &Patch::Merge(&patch.merge))
            .await?;
        record(&target, &format!("patched with {}", patch.merge));
    }
    if let Some(target) = &step.delete {
        api(client, target)
            .await?
            .delete(&target.name, &DeleteParams::default())
            .await?;
        record(target, "deleted");
    }
    Ok(())
}

fn name_of(object: &Value) -> ObjectName {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    ObjectName {
        api_version: text(&object["apiVersion"]),
        kind: text(&object["kind"]),
        namespace: object["metadata"]["namespace"].as_str().map(str::to_owned),
        name: text(&object["metadata"]["name"]),
    }
}

async fn api(client: &Client, target: &ObjectName) -> anyhow::Result<Api<DynamicObject>> {
    let (group, version) = target
        .api_version
        .split_once('/')
        .unwrap_or(("", &target.api_version));
    let kind = GroupVersionKind::gvk(group, version, &target.kind);
    let (resource, capabilities): (ApiResource, _) = discovery::pinned_kind(client, &kind)
        .await
        .with_context(|| format!("the cluster knows no {} {}", target.api_version, target.kind))?;
    Ok(match capabilities.scope {
        Scope::Cluster => Api::all_with(client.clone(), &resource),
        Scope::Namespaced => Api::namespaced_with(
            client.clone(),
            target.namespace.as_deref().unwrap_or("default"),
            &resource,
        ),
    })
}
