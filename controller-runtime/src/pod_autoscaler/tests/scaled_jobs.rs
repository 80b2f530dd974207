//! keda.md §1.2, §3.7, §9: from a queue to Jobs.

mod doubt;
mod objects;
#[cfg(all(feature = "envtest", unix))]
mod real;
mod strategies;

use super::*;

const OBJECT: &str = "/apis/keda.sh/v1alpha1/namespaces/default/scaledjobs/work";

fn job_path(name: &str) -> String {
    format!("/apis/batch/v1/namespaces/default/jobs/{name}")
}

fn name_of(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap().to_owned()
}

impl World {
    /// The ScaledJob `work`, fed by the queue `orders`, one Job for each message.
    pub(super) fn scaled_job(&self, spec: &Value) {
        let mut object = json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledJob",
            "metadata": {"name": "work", "namespace": "default"},
            "spec": {
                "pollingInterval": 5, "maxReplicaCount": 10,
                "jobTargetRef": {"template": {"spec": {"containers": [{"name": "work", "image": "worker"}]}}},
                "triggers": [{"type": "test", "metadata": {"queue": "orders", "target": "1"}}],
            },
        });
        for (key, value) in spec.as_object().unwrap() {
            object["spec"][key] = value.clone();
        }
        self.apply(object);
    }

    /// The same with a strategy.
    fn scaled_job_by(&self, strategy: &str) {
        self.scaled_job(&json!({"scalingStrategy": {"strategy": strategy}}));
    }

    /// Its Jobs, by generation and name.
    pub(super) fn jobs(&self) -> Vec<Value> {
        let mut jobs: Vec<_> = self.server.objects("batch", "jobs", Some("default"));
        jobs.sort_by_key(|job| {
            let revision = job["metadata"]["annotations"]["scaledjob.keda.sh/generation"].clone();
            (revision.to_string(), name_of(job))
        });
        jobs.iter().map(|job| (**job).clone()).collect()
    }

    fn job_names(&self) -> Vec<String> {
        self.jobs().iter().map(name_of).collect()
    }

    /// Gives every Job that runs and has none a pod in this phase.
    async fn run_pods(&self, phase: &str) {
        for job in self.jobs() {
            let (name, uid) = (name_of(&job), &job["metadata"]["uid"]);
            let running = job["status"]["conditions"].is_null();
            if !running || self.object("", "pods", &name).is_some() {
                continue;
            }
            self.apply(json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {
                    "name": name, "namespace": "default",
                    "labels": job["spec"]["template"]["metadata"]["labels"],
                    "ownerReferences": [{
                        "apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": uid, "controller": true,
                    }],
                },
                "spec": {"containers": [{"name": "work", "image": "worker"}]},
            }));
            let path = format!("/api/v1/namespaces/default/pods/{name}/status");
            self.patch(&path, &json!({"status": {"phase": phase}})).await;
        }
    }

    /// Ends a Job, a second after the last one.
    async fn end(&self, job: &str, condition: &str) {
        self.pass(1).await;
        let now = self.clock.now().to_string();
        let mut status = json!({
            "startTime": now,
            "conditions": [{"type": condition, "status": "True", "lastTransitionTime": now, "lastProbeTime": now}],
        });
        if condition == "Complete" {
            status["completionTime"] = json!(now);
        }
        let path = format!("{}/status", job_path(job));
        self.patch(&path, &json!({"status": status})).await;
    }

    fn job_status(&self) -> Value {
        self.object("keda.sh", "scaledjobs", "work").unwrap()["status"].clone()
    }

    /// A condition of it as `status reason`.
    pub(super) fn job_condition(&self, type_: &str) -> String {
        let status = self.job_status();
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.iter().find(|condition| condition["type"] == type_);
        found.map_or_else(String::new, |found| {
            let reason = found["reason"].as_str().unwrap_or_default();
            format!("{} {reason}", found["status"].as_str().unwrap())
        })
    }

    /// Decisions about how many Jobs there are, as `from->to: why`.
    fn job_decisions(&self) -> Vec<String> {
        let decisions = self.decisions.recent();
        let about = decisions
            .iter()
            .filter(|decision| decision.controller == "scaled-job");
        let numbers = about.filter(|decision| decision.to.parse::<i64>().is_ok() || decision.to.is_empty());
        numbers
            .map(|decision| format!("{}->{}: {}", decision.from, decision.to, decision.reason))
            .collect()
    }
}
