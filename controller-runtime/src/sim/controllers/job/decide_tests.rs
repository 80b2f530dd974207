use serde_json::{Value, json};

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + seconds).unwrap()
}

/// A Job whose pods do as they are told.
struct World {
    job: Job,
    pods: Vec<Pod>,
    seconds: i64,
    created: usize,
    backoff: Backoff,
    events: Vec<&'static str>,
}

impl World {
    fn new(spec: &Value) -> Self {
        let mut job = json!({
            "metadata": {"name": "batch", "namespace": "default", "uid": "u"},
            "spec": {"completions": 1, "parallelism": 1, "template": {"spec": {"restartPolicy": "Never", "containers": []}}},
        });
        json_patch::merge(&mut job, &json!({"spec": spec}));
        let job = serde_json::from_value(job).unwrap();
        Self {
            job,
            pods: Vec::new(),
            seconds: 0,
            created: 0,
            backoff: Backoff::default(),
            events: Vec::new(),
        }
    }

    fn sync(&mut self) -> Plan {
        let pods: Vec<_> = self.pods.iter().cloned().map(Arc::new).collect();
        let plan = plan(&self.job, &pods, &self.backoff, at(self.seconds));
        self.job.status = Some(plan.status.clone());
        self.backoff = plan.backoff.clone();
        for pod in &plan.create {
            let mut pod = pod.clone();
            pod.metadata.uid = Some(format!("pod-{}", self.created));
            self.created += 1;
            self.pods.push(pod);
        }
        let among = |pods: &[Arc<Pod>], pod: &Pod| pods.iter().any(|other| other.uid() == pod.uid());
        for pod in &mut self.pods {
            if among(&plan.release, pod) || among(&plan.discard, pod) {
                pod.finalizers_mut().clear();
            }
            if among(&plan.delete, pod) || among(&plan.discard, pod) {
                pod.metadata.deletion_timestamp = Some(time(at(self.seconds)));
            }
        }
        self.pods
            .retain(|pod| !pods::is_terminating(pod) || !pod.finalizers().is_empty());
        self.events
            .extend(plan.events.iter().map(|(_, reason, _)| *reason));
        plan
    }

    fn settle(&mut self) {
        for _ in 0..5 {
            self.sync();
        }
    }

    fn end_all(&mut self, phase: &str) {
        for pod in self.pods.iter_mut().filter(|pod| pod.status.is_none()) {
            pod.status = serde_json::from_value(json!({"phase": phase, "containerStatuses": [
                {"name": "main", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                 "state": {"terminated": {"exitCode": 0, "finishedAt": at(self.seconds).to_string()}}}]}))
            .unwrap();
        }
    }

    fn status(&self) -> JobStatus {
        self.job.status.clone().unwrap()
    }

    fn conditions(&self) -> Vec<(String, String)> {
        let conditions = self.status().conditions.unwrap_or_default();
        conditions
            .into_iter()
            .map(|one| (one.type_, one.reason.unwrap_or_default()))
            .collect()
    }
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(one, other)| ((*one).to_owned(), (*other).to_owned()))
        .collect()
}

#[test]
fn completions_are_worked_off_in_parallel_and_each_counts_once() {
    let mut world = World::new(&json!({"completions": 5, "parallelism": 2}));
    for _ in 0..3 {
        world.settle();
        world.end_all("Succeeded");
    }
    world.settle();
    assert_eq!(world.created, 5);
    assert_eq!(world.status().succeeded, Some(5));
    assert_eq!(
        world.conditions(),
        pairs(&[
            ("SuccessCriteriaMet", "CompletionsReached"),
            ("Complete", "CompletionsReached")
        ])
    );
    assert!(world.status().completion_time.is_some());
    assert_eq!(world.events, ["Completed"]);
}

#[test]
fn a_deleted_pod_that_was_counted_stays_counted() {
    let mut world = World::new(&json!({"completions": 2}));
    world.settle();
    world.end_all("Succeeded");
    world.settle();
    world.pods.clear();
    world.settle();
    assert_eq!(
        (world.created, world.status().succeeded),
        (3, Some(1)),
        "one more pod in place of the one deleted alive"
    );
}

#[test]
fn failures_back_off_and_end_the_job_at_the_limit() {
    let mut world = World::new(&json!({"backoffLimit": 1}));
    world.settle();
    world.end_all("Failed");
    world.settle();
    assert_eq!(world.created, 1, "waits ten seconds");
    assert_eq!(world.sync().next, Some(at(10)));
    world.seconds = 10;
    world.settle();
    assert_eq!(world.created, 2);
    world.end_all("Failed");
    world.settle();
    assert_eq!(
        world.conditions(),
        pairs(&[
            ("FailureTarget", "BackoffLimitExceeded"),
            ("Failed", "BackoffLimitExceeded")
        ])
    );
    assert_eq!(
        (world.status().failed, world.events.as_slice()),
        (Some(2), &["BackoffLimitExceeded"][..])
    );
}

#[test]
fn a_deadline_ends_the_job_and_its_pods() {
    let mut world = World::new(&json!({"activeDeadlineSeconds": 30}));
    assert_eq!(world.sync().next, Some(at(30)));
    world.seconds = 30;
    world.settle();
    assert!(world.pods.is_empty());
    assert_eq!(
        world.conditions().last(),
        pairs(&[("Failed", "DeadlineExceeded")]).last()
    );
}

#[test]
fn an_indexed_job_retries_the_indexes_that_are_missing() {
    let mut world = World::new(&json!({"completions": 4, "parallelism": 4, "completionMode": "Indexed"}));
    world.settle();
    world.pods.retain(|pod| index(pod) != Some(1));
    world.end_all("Succeeded");
    world.settle();
    assert_eq!(world.status().completed_indexes.as_deref(), Some("0,2,3"));
    world.end_all("Succeeded");
    world.settle();
    assert_eq!(world.status().completed_indexes.as_deref(), Some("0-3"));
    assert_eq!(world.conditions().last().unwrap().0, "Complete");
}

#[test]
fn a_suspended_job_has_no_pods() {
    let mut world = World::new(&json!({"suspend": true}));
    world.settle();
    assert!(world.pods.is_empty());
    world.job.spec.as_mut().unwrap().suspend = Some(false);
    world.settle();
    assert_eq!(
        (world.created, world.events.as_slice()),
        (1, &["Suspended", "Resumed"][..])
    );
}
