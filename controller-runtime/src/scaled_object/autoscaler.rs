//! Keeps the HPA of a ScaledObject as it shall be.

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, PostParams},
    core::{ApiResource, DynamicObject, TypeMeta},
};
use scaler_api::keda::ScaledObject;
use serde_json::json;

use super::{
    controller::Core,
    hpa::{self, Autoscaler, TargetReference},
    plan::Plan,
    prepare::Refusal,
    state::Turn,
};
use crate::store::ObjectKey;

impl Core {
    fn autoscalers(&self, namespace: &str) -> Api<DynamicObject> {
        let resource = ApiResource::erase::<HorizontalPodAutoscaler>(&());
        Api::namespaced_with(self.runtime.client.clone(), namespace, &resource)
    }

    /// Creates, updates or renames the HPA; whether there was none.
    pub(super) async fn ensure_autoscaler(
        &self,
        key: &ObjectKey,
        object: &ScaledObject,
        plan: &Plan,
        turn: &mut Turn,
    ) -> Result<bool, Refusal> {
        let target = TargetReference {
            api_version: &plan.target.resource.api_version,
            kind: &plan.target.resource.kind,
            name: &plan.target.key.name,
        };
        let desired =
            hpa::desired(object, target, &plan.metrics(), &self.config.keda_version).map_err(|error| {
                Refusal::Wrong(format!(
                    "Failed to ensure HPA is correctly created for ScaledObject: {error}"
                ))
            })?;
        let hpa_key = ObjectKey::new(&key.namespace, desired.name_any());
        if let Some(old) = turn.status.hpa_name.clone().filter(|old| *old != hpa_key.name) {
            self.delete_autoscaler(&ObjectKey::new(&key.namespace, &old))
                .await?;
            self.record(
                key,
                format!("HPA {old}"),
                format!("HPA {}", hpa_key.name),
                "the HPA's name has changed",
            );
        }
        let made = match self.hpas.get(&hpa_key) {
            Some(current) => {
                self.update_autoscaler(key, &hpa_key, &current.read(), &desired)
                    .await?;
                false
            }
            None => self.create_autoscaler(key, &hpa_key, &desired, turn).await?,
        };
        turn.status.hpa_name = Some(hpa_key.name);
        Ok(made)
    }

    async fn create_autoscaler(
        &self,
        key: &ObjectKey,
        hpa_key: &ObjectKey,
        desired: &Autoscaler,
        turn: &Turn,
    ) -> Result<bool, Refusal> {
        let api = self.autoscalers(&hpa_key.namespace);
        match api.create(&PostParams::default(), &dynamic(desired)).await {
            Ok(_) => {
                let reason = match turn.status.hpa_name.as_deref() == Some(hpa_key.name.as_str()) {
                    true => "the HPA was gone",
                    false => "the ScaledObject has no HPA yet",
                };
                self.record(key, "", format!("HPA {}", hpa_key.name), reason);
                Ok(true)
            }
            // The store has not heard of it yet.
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                let current = api.get(&hpa_key.name).await?;
                let current = Autoscaler {
                    metadata: current.metadata,
                    spec: current.data["spec"].clone(),
                    status: current.data["status"].clone(),
                };
                self.update_autoscaler(key, hpa_key, &current, desired).await?;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn update_autoscaler(
        &self,
        key: &ObjectKey,
        hpa_key: &ObjectKey,
        current: &Autoscaler,
        desired: &Autoscaler,
    ) -> Result<(), Refusal> {
        if !hpa::needs_update(current, desired) {
            return Ok(());
        }
        let api = self.autoscalers(&hpa_key.namespace);
        api.replace(&hpa_key.name, &PostParams::default(), &dynamic(desired))
            .await?;
        let name = format!("HPA {}", hpa_key.name);
        self.record(key, &name, &name, "the HPA was not as the ScaledObject wants it");
        Ok(())
    }

    /// Deletes an HPA if it is there.
    pub(super) async fn delete_autoscaler(&self, hpa_key: &ObjectKey) -> Result<(), Refusal> {
        if self.hpas.get(hpa_key).is_none() {
            return Ok(());
        }
        let api = self.autoscalers(&hpa_key.namespace);
        match api.delete(&hpa_key.name, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            result => result.map(|_| ()).map_err(Refusal::from),
        }
    }
}

fn dynamic(hpa: &Autoscaler) -> DynamicObject {
    DynamicObject {
        types: Some(TypeMeta::resource::<HorizontalPodAutoscaler>()),
        metadata: hpa.metadata.clone(),
        data: json!({"spec": hpa.spec}),
    }
}
