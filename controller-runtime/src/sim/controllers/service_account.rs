//! Every namespace has a ServiceAccount `default`.

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{Api, ResourceExt as _, api::PostParams};

use super::{Informers, work};
use crate::{
    queue::{Action, WorkQueue},
    runtime::Runtime,
    store::{Change, ObjectKey},
};

const DEFAULT: &str = "default";

/// The controller as a task. Its keys are namespaces.
pub(crate) fn controller(cx: &Runtime, informers: &mut Informers) -> BoxFuture<'static, ()> {
    let queue = WorkQueue::new();
    let stores = informers.stores();
    let adding = queue.clone();
    informers
        .namespaces
        .subscribe(move |change| adding.add(ObjectKey::of(&**change.object())));
    let adding = queue.clone();
    informers.service_accounts.subscribe(move |change| {
        if let Change::Deleted(account) = change
            && account.name_any() == DEFAULT
        {
            adding.add(ObjectKey::cluster(account.namespace().unwrap_or_default()));
        }
    });
    let (cx, known) = (cx.named("service-account-controller"), stores.clone());
    work(stores, queue, move |key| {
        let (cx, stores) = (cx.clone(), known.clone());
        async move {
            let active = stores
                .namespaces
                .get(&key)
                .is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_none());
            let account = ObjectKey::new(key.name.clone(), DEFAULT);
            if !active || stores.service_accounts.get(&account).is_some() {
                return Ok(Action::Await);
            }
            let mut account = ServiceAccount::default();
            account.metadata.name = Some(DEFAULT.to_owned());
            let api: Api<ServiceAccount> = Api::namespaced(cx.client.clone(), &key.name);
            match api.create(&PostParams::default(), &account).await {
                Err(kube::Error::Api(status)) if status.is_already_exists() || status.is_not_found() => {}
                created => drop(created?),
            }
            Ok(Action::Await)
        }
    })
}
