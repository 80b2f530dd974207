//! What every step is done with: the cluster, and a line for what was done.

use std::{fmt, time::Duration};

use anyhow::{Context as _, bail};
use kube::{
    Client, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions},
    core::DynamicObject,
};
use serde_json::{Value, json};

use super::super::connect::{Kind, label};

/// The cluster, and where it is said what was done.
pub struct Session {
    /// The cluster.
    pub client: Client,
    /// The namespace of the installation.
    pub namespace: String,
    dry_run: bool,
    report: Box<dyn Fn(&str)>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("namespace", &self.namespace)
            .field("dry_run", &self.dry_run)
            .finish_non_exhaustive()
    }
}

impl Session {
    const POLL: Duration = Duration::from_millis(500);

    /// With a `dry_run` nothing is changed; `report` is given a line for every step.
    #[must_use]
    pub fn new(client: Client, namespace: &str, dry_run: bool, report: Box<dyn Fn(&str)>) -> Self {
        Self {
            client,
            namespace: namespace.to_owned(),
            dry_run,
            report,
        }
    }

    /// Says what was done, or would be.
    pub(super) fn say(&self, line: &str) {
        (self.report)(line);
    }

    /// Whether nothing may be changed.
    pub(super) fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    /// An object, if it and its kind are there.
    pub(super) async fn get(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        name: &str,
    ) -> anyhow::Result<Option<DynamicObject>> {
        match kind.api(&self.client, namespace).get(name).await {
            Ok(object) => Ok(Some(object)),
            // Where the kind is unknown, too, which the API server says without a reason.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(error).with_context(|| label(kind.kind, namespace, name)),
        }
    }

    /// Objects; none where the kind is not there.
    pub(super) async fn list(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        selector: &str,
    ) -> anyhow::Result<Vec<DynamicObject>> {
        let params = ListParams::default().labels(selector);
        match kind.api(&self.client, namespace).list(&params).await {
            Ok(list) => Ok(list.items),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(Vec::new()),
            Err(error) => Err(error).with_context(|| format!("{} cannot be listed", kind.plural)),
        }
    }

    /// Deletes an object where it is there.
    pub(super) async fn delete(&self, kind: Kind, namespace: Option<&str>, name: &str) -> anyhow::Result<()> {
        match self.get(kind, namespace, name).await? {
            Some(object) => self.delete_this(kind, &object).await,
            None => Ok(()),
        }
    }

    /// Deletes an object that was read; what it owns goes with it.
    pub(super) async fn delete_this(&self, kind: Kind, object: &DynamicObject) -> anyhow::Result<()> {
        let (namespace, name) = (object.namespace(), object.name_any());
        let label = label(kind.kind, namespace.as_deref(), &name);
        if object.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        if self.dry_run {
            self.say(&format!("{label} would be deleted"));
            return Ok(());
        }
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: object.uid(),
                resource_version: None,
            }),
            ..DeleteParams::background()
        };
        match kind
            .api(&self.client, namespace.as_deref())
            .delete(&name, &params)
            .await
        {
            Ok(_) => self.say(&format!("{label} deleted")),
            // Gone, or another one of the same name by now.
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => {}
            Err(error) => return Err(error).context(label),
        }
        Ok(())
    }

    /// Changes an object that was read, and says what was changed; nothing where `change` has nothing to say. The
    /// object is read again where somebody else changed it meanwhile.
    pub(super) async fn patch(
        &self,
        kind: Kind,
        object: &DynamicObject,
        change: impl Fn(&DynamicObject) -> Option<(Value, String)>,
    ) -> anyhow::Result<()> {
        const TRIES: usize = 5;
        let (namespace, name) = (object.namespace(), object.name_any());
        let label = label(kind.kind, namespace.as_deref(), &name);
        let api = kind.api(&self.client, namespace.as_deref());
        let mut current = object.clone();
        for _ in 0..TRIES {
            let Some((mut patch, what)) = change(&current) else {
                return Ok(());
            };
            if self.dry_run {
                self.say(&format!("{label}: {what} would be removed"));
                return Ok(());
            }
            patch["metadata"]["resourceVersion"] = json!(current.resource_version());
            match api
                .patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
                .await
            {
                Ok(_) => {
                    self.say(&format!("{label}: {what} removed"));
                    return Ok(());
                }
                Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
                Err(kube::Error::Api(status)) if status.code == 409 => {
                    let Some(newer) = self.get(kind, namespace.as_deref(), &name).await? else {
                        return Ok(());
                    };
                    current = newer;
                }
                Err(error) => return Err(error).context(label),
            }
        }
        bail!("{label} is changed by somebody again and again, expected that nobody does any more")
    }

    /// Waits until `remaining` says that nothing is left; its words are what is left.
    pub(super) async fn wait<F>(&self, limit: Duration, mut remaining: F) -> anyhow::Result<()>
    where
        F: AsyncFnMut() -> anyhow::Result<Option<String>>,
    {
        if self.dry_run {
            return Ok(());
        }
        let deadline = tokio::time::Instant::now() + limit;
        while let Some(left) = remaining().await? {
            if tokio::time::Instant::now() >= deadline {
                bail!("after {} s there is still {left}", limit.as_secs());
            }
            tokio::time::sleep(Self::POLL).await;
        }
        Ok(())
    }
}
