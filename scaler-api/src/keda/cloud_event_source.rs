//! CloudEventSource and ClusterCloudEventSource, `eventing.keda.sh/v1alpha1`: where KEDA's events go as CloudEvents.
#![allow(
    unreachable_pub,
    reason = "the schema derive repeats the struct inside a function"
)]

use std::borrow::Cow;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    CustomResource, CustomResourceExt, KubeSchema, Resource,
    core::{ApiResource, ClusterResourceScope, ObjectMeta},
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer, ser::SerializeStruct as _};

use super::common::{AuthenticationRef, Condition, Unknown};

/// The API group of CloudEventSources.
pub const EVENTING_GROUP: &str = "eventing.keda.sh";

/// Every type of event that can be subscribed to.
pub const CLOUD_EVENT_TYPES: [&str; 19] = [
    "keda.scaledobject.ready.v1",
    "keda.scaledobject.failed.v1",
    "keda.scaledobject.removed.v1",
    "keda.scaledobject.paused.v1",
    "keda.scaledobject.unpaused.v1",
    "keda.scaledjob.ready.v1",
    "keda.scaledjob.failed.v1",
    "keda.scaledjob.removed.v1",
    "keda.scaledjob.paused.v1",
    "keda.scaledjob.unpaused.v1",
    "keda.scaledjob.rolloutcleanup.started.v1",
    "keda.scaledjob.rolloutcleanup.completed.v1",
    "keda.scaledjob.rolloutcleanup.failed.v1",
    "keda.authentication.triggerauthentication.created.v1",
    "keda.authentication.triggerauthentication.updated.v1",
    "keda.authentication.triggerauthentication.removed.v1",
    "keda.authentication.clustertriggerauthentication.created.v1",
    "keda.authentication.clustertriggerauthentication.updated.v1",
    "keda.authentication.clustertriggerauthentication.removed.v1",
];

/// Which events go where.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "eventing.keda.sh",
    version = "v1alpha1",
    kind = "CloudEventSource",
    plural = "cloudeventsources",
    namespaced,
    status = "CloudEventSourceStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "CloudEventSource tells where the events of a namespace go.",
    printcolumn(
        name = "Active",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Active\")].status"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct CloudEventSourceSpec {
    /// The cluster's name in the events' source; that of the process by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_name: Option<String>,
    /// Where the events go.
    pub destination: Destination,
    /// Where the credentials for the destination come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication_ref: Option<AuthenticationRef>,
    /// Which events; all of them where missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_subscription: Option<EventSubscription>,
    /// Fields of other versions.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

/// Where events go: one of these.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Destination {
    /// Posted to an HTTP endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<CloudEventHttp>,
    /// A topic of Azure Event Grid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub azure_event_grid_topic: Option<AzureEventGridTopic>,
}

/// An HTTP endpoint that takes CloudEvents.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CloudEventHttp {
    /// Its URI.
    pub uri: String,
}

/// A topic of Azure Event Grid.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AzureEventGridTopic {
    /// Its endpoint.
    pub endpoint: String,
}

/// Which events are sent: those of one list, or those that are not on the other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventSubscription {
    /// Only these types.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "event_types")]
    pub included_event_types: Option<Vec<String>>,
    /// All but these types.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "event_types")]
    pub excluded_event_types: Option<Vec<String>>,
}

fn event_types(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "nullable": true,
        "items": {"type": "string", "enum": CLOUD_EVENT_TYPES},
    })
}

/// Whether events are sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CloudEventSourceStatus {
    /// `Active`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditions: Option<Vec<Condition>>,
}

/// A [`CloudEventSource`] for all namespaces.
///
/// Written out rather than derived, because a derive would want a second type for the same spec.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct ClusterCloudEventSource {
    /// Name, labels, annotations.
    pub metadata: ObjectMeta,
    /// Which events go where.
    pub spec: CloudEventSourceSpec,
    /// Whether they are sent.
    #[serde(default)]
    pub status: Option<CloudEventSourceStatus>,
}

impl ClusterCloudEventSource {
    /// A source with a name.
    #[must_use]
    pub fn new(name: &str, spec: CloudEventSourceSpec) -> Self {
        let metadata = ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        };
        Self {
            metadata,
            spec,
            status: None,
        }
    }
}

impl Resource for ClusterCloudEventSource {
    type DynamicType = ();
    type Scope = ClusterResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "ClusterCloudEventSource".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        EVENTING_GROUP.into()
    }

    fn version((): &()) -> Cow<'_, str> {
        super::VERSION.into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "clustercloudeventsources".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl Serialize for ClusterCloudEventSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("ClusterCloudEventSource", 5)?;
        object.serialize_field("apiVersion", &Self::api_version(&()))?;
        object.serialize_field("kind", &Self::kind(&()))?;
        object.serialize_field("metadata", &self.metadata)?;
        object.serialize_field("spec", &self.spec)?;
        match &self.status {
            Some(status) => object.serialize_field("status", status)?,
            None => object.skip_field("status")?,
        }
        object.end()
    }
}

impl CustomResourceExt for ClusterCloudEventSource {
    fn crd() -> CustomResourceDefinition {
        let mut crd = CloudEventSource::crd();
        crd.metadata.name = Some(Self::crd_name().to_owned());
        crd.spec.scope = "Cluster".to_owned();
        let names = &mut crd.spec.names;
        names.kind = Self::kind(&()).into_owned();
        names.plural = Self::plural(&()).into_owned();
        names.singular = Some("clustercloudeventsource".to_owned());
        let schemas = crd
            .spec
            .versions
            .iter_mut()
            .filter_map(|version| version.schema.as_mut()?.open_api_v3_schema.as_mut());
        for schema in schemas {
            schema.title = Some(names.kind.clone());
            schema.description =
                Some("ClusterCloudEventSource tells where the events of all namespaces go.".to_owned());
        }
        crd
    }

    fn crd_name() -> &'static str {
        "clustercloudeventsources.eventing.keda.sh"
    }

    fn api_resource() -> ApiResource {
        ApiResource::erase::<Self>(&())
    }

    fn shortnames() -> &'static [&'static str] {
        &[]
    }
}
