//! What was asked of the API server and by whom, from its audit log; and which rights that took.

use std::{collections::BTreeSet, fmt, fs, path::Path};

use k8s_openapi::api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};
use kube::{Api, Client, ResourceExt as _, api::ListParams};
use serde_json::Value;

/// What the API server writes down: everything that the process asks, and what HPAs ask about metrics.
pub(crate) fn policy(namespace: &str) -> String {
    format!(
        "apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  userGroups: ['system:serviceaccounts:{namespace}']
- level: Metadata
  resources: [{{group: external.metrics.k8s.io}}]
- level: None
"
    )
}

/// A request as RBAC sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Request {
    pub(crate) verb: String,
    pub(crate) group: String,
    /// With the subresource, as `pods/eviction`.
    pub(crate) resource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) code: u64,
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            verb,
            group,
            resource,
            namespace,
            name,
            code,
        } = self;
        write!(f, "{verb} {resource}.{group} {namespace}/{name}: {code}")
    }
}

/// Every request of `user` about a resource that the log has, each once.
pub(crate) fn requests(log: &Path, user: &str) -> BTreeSet<Request> {
    let log = fs::read_to_string(log).unwrap();
    // The last line may be half written.
    let events = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let theirs = events.filter(|event| event["user"]["username"] == user && event["objectRef"].is_object());
    theirs
        .map(|event| {
            let object = &event["objectRef"];
            let text = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
            let resource = match text("subresource") {
                none if none.is_empty() => text("resource"),
                subresource => format!("{}/{subresource}", text("resource")),
            };
            Request {
                verb: event["verb"].as_str().unwrap_or_default().to_owned(),
                group: text("apiGroup"),
                resource,
                namespace: text("namespace"),
                name: text("name"),
                code: event["responseStatus"]["code"].as_u64().unwrap_or_default(),
            }
        })
        .collect()
}

/// One verb on one resource that somebody may.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Right {
    pub(crate) role: String,
    /// Where; everywhere if it is empty.
    pub(crate) namespace: String,
    pub(crate) group: String,
    pub(crate) resource: String,
    /// Of which name; of any if it is empty.
    pub(crate) name: String,
    pub(crate) verb: String,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            role,
            namespace,
            group,
            resource,
            name,
            verb,
        } = self;
        write!(f, "{role}: {verb} {resource}.{group} {namespace}/{name}")
    }
}

impl Right {
    /// Whether a request needs it, as RBAC matches.
    pub(crate) fn allows(&self, request: &Request) -> bool {
        let any = |given: &str, asked: &str| given.is_empty() || given == asked;
        let all = |given: &str, asked: &str| given == "*" || given == asked;
        let resource = match self.resource.strip_prefix("*/") {
            Some(subresource) => request.resource.split('/').nth(1) == Some(subresource),
            None => all(&self.resource, &request.resource),
        };
        resource
            && self.verb == request.verb
            && all(&self.group, &request.group)
            && any(&self.namespace, &request.namespace)
            && any(&self.name, &request.name)
    }
}

/// Whose rights.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Account<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
}

impl Account<'_> {
    pub(crate) fn user(self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.name)
    }

    fn is_among(self, subjects: Option<&Vec<Subject>>) -> bool {
        subjects.into_iter().flatten().any(|subject| {
            subject.kind == "ServiceAccount"
                && subject.name == self.name
                && subject.namespace.as_deref() == Some(self.namespace)
        })
    }
}

/// Everything that the bindings of the cluster grant to an account by name.
pub(crate) async fn granted(client: &Client, account: Account<'_>) -> BTreeSet<Right> {
    let all = ListParams::default();
    let mut rights = BTreeSet::new();
    let bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
    for binding in bindings.list(&all).await.unwrap() {
        if account.is_among(binding.subjects.as_ref()) {
            rights.extend(of_role(client, "", &binding.role_ref).await);
        }
    }
    let bindings: Api<RoleBinding> = Api::all(client.clone());
    for binding in bindings.list(&all).await.unwrap() {
        if account.is_among(binding.subjects.as_ref()) {
            let namespace = binding.namespace().unwrap();
            rights.extend(of_role(client, &namespace, &binding.role_ref).await);
        }
    }
    rights
}

async fn of_role(client: &Client, namespace: &str, role: &RoleRef) -> Vec<Right> {
    let rules: Option<Vec<PolicyRule>> = match role.kind.as_str() {
        "ClusterRole" => {
            let roles: Api<ClusterRole> = Api::all(client.clone());
            roles.get(&role.name).await.unwrap().rules
        }
        _ => {
            let roles: Api<Role> = Api::namespaced(client.clone(), namespace);
            roles.get(&role.name).await.unwrap().rules
        }
    };
    let mut rights = Vec::new();
    for rule in rules.into_iter().flatten() {
        let names = match rule.resource_names.unwrap_or_default() {
            none if none.is_empty() => vec![String::new()],
            names => names,
        };
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                for name in &names {
                    rights.extend(rule.verbs.iter().map(|verb| Right {
                        role: role.name.clone(),
                        namespace: namespace.to_owned(),
                        group: group.clone(),
                        resource: resource.clone(),
                        name: name.clone(),
                        verb: verb.clone(),
                    }));
                }
            }
        }
    }
    rights
}
