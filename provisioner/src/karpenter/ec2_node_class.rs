//! EC2NodeClass: how instances of EC2 are set up.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Condition, condition, hash, schema};
use crate::{ClassStatus, NodeClass};

/// Version of the hash in `karpenter.k8s.aws/ec2nodeclass-hash`.
pub const HASH_VERSION: &str = "v6";

/// Desired state of an EC2NodeClass.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "karpenter.k8s.aws",
    version = "v1",
    kind = "EC2NodeClass",
    root = "Ec2NodeClass",
    plural = "ec2nodeclasses",
    category = "karpenter",
    shortname = "ec2nc",
    shortname = "ec2ncs",
    status = "Ec2NodeClassStatus",
    derive = "PartialEq",
    doc = "EC2NodeClass holds how instances of EC2 are set up",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Role", type_ = "string", json_path = ".spec.role", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.role) != has(self.instanceProfile)").message("must specify exactly one of ['role', 'instanceProfile']"),
    validation = Rule::new("!has(self.amiFamily) || !self.amiSelectorTerms.exists(x, has(x.alias) && x.alias.find('^[^@]+') == 'al2') || self.amiFamily in ['Custom', 'AL2']").message("if set, amiFamily must be 'AL2' or 'Custom' when using an AL2 alias"),
    validation = Rule::new("!has(self.amiFamily) || !self.amiSelectorTerms.exists(x, has(x.alias) && x.alias.find('^[^@]+') == 'al2023') || self.amiFamily in ['Custom', 'AL2023']").message("if set, amiFamily must be 'AL2023' or 'Custom' when using an AL2023 alias"),
    validation = Rule::new("!has(self.amiFamily) || !self.amiSelectorTerms.exists(x, has(x.alias) && x.alias.find('^[^@]+') == 'bottlerocket') || self.amiFamily in ['Custom', 'Bottlerocket']").message("if set, amiFamily must be 'Bottlerocket' or 'Custom' when using an Bottlerocket alias"),
    validation = Rule::new("!has(self.amiFamily) || !self.amiSelectorTerms.exists(x, has(x.alias) && x.alias.find('^[^@]+') == 'windows2019') || self.amiFamily in ['Custom', 'Windows2019']").message("if set, amiFamily must be 'Windows2019' or 'Custom' when using an Windows2019 alias"),
    validation = Rule::new("!has(self.amiFamily) || !self.amiSelectorTerms.exists(x, has(x.alias) && x.alias.find('^[^@]+') == 'windows2022') || self.amiFamily in ['Custom', 'Windows2022']").message("if set, amiFamily must be 'Windows2022' or 'Custom' when using an Windows2022 alias"),
    validation = Rule::new("!has(self.amiFamily) || !self.amiSelectorTerms.exists(x, has(x.alias) && x.alias.find('^[^@]+') == 'windows2025') || self.amiFamily in ['Custom', 'Windows2025']").message("if set, amiFamily must be 'Windows2025' or 'Custom' when using an Windows2025 alias"),
    validation = Rule::new("has(self.amiFamily) || self.amiSelectorTerms.exists(x, has(x.alias))").message("must specify amiFamily if amiSelectorTerms does not contain an alias")
)]
pub struct Ec2NodeClassSpec {
    /// Which subnets instances may be in.
    #[x_kube(
        validation = Rule::new("self.all(x, has(x.tags) || has(x.id))").message("expected at least one, got none, ['tags', 'id']"),
        validation = Rule::new("!self.all(x, has(x.id) && has(x.tags))").message("'id' is mutually exclusive, cannot be set with a combination of other fields in a subnet selector term")
    )]
    #[schemars(length(min = 1, max = 30))]
    pub subnet_selector_terms: Vec<SubnetSelectorTerm>,
    /// Which security groups they get.
    #[x_kube(
        validation = Rule::new("self.all(x, has(x.tags) || has(x.id) || has(x.name))").message("expected at least one, got none, ['tags', 'id', 'name']"),
        validation = Rule::new("!self.all(x, has(x.id) && (has(x.tags) || has(x.name)))").message("'id' is mutually exclusive, cannot be set with a combination of other fields in a security group selector term"),
        validation = Rule::new("!self.all(x, has(x.name) && (has(x.tags) || has(x.id)))").message("'name' is mutually exclusive, cannot be set with a combination of other fields in a security group selector term")
    )]
    #[schemars(length(min = 1, max = 30))]
    pub security_group_selector_terms: Vec<SecurityGroupSelectorTerm>,
    /// Which capacity reservations they may draw on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(
        validation = Rule::new("self.all(x, has(x.tags) || has(x.id) || has(x.instanceMatchCriteria))").message("expected at least one, got none, ['tags', 'id', 'instanceMatchCriteria']"),
        validation = Rule::new("!self.all(x, has(x.id) && (has(x.tags) || has(x.ownerID) || has(x.instanceMatchCriteria)))").message("'id' is mutually exclusive, cannot be set along with other fields in a capacity reservation selector term")
    )]
    #[schemars(length(max = 30))]
    pub capacity_reservation_selector_terms: Vec<CapacityReservationSelectorTerm>,
    /// In which placement group they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement_group_selector: Option<PlacementGroupSelector>,
    /// Which images they may run.
    #[x_kube(validation = Rule::new("!self.exists(x, has(x.alias)) || self.size() == 1").message("'alias' is mutually exclusive, cannot be set with a combination of other amiSelectorTerms"))]
    #[schemars(length(min = 1, max = 30))]
    pub ami_selector_terms: Vec<AmiSelectorTerm>,
    /// How user data is made; required unless an alias says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ami_family: Option<AmiFamily>,
    /// The role of the nodes; an instance profile is made for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub role: Option<String>,
    /// An instance profile that exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub instance_profile: Option<String>,
    /// Merged with the family's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data: Option<String>,
    /// Tags of instances, volumes and launch templates.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[x_kube(
        validation = Rule::new("self.all(k, k != '')").message("empty tag keys aren't supported"),
        validation = Rule::new("self.all(k, !k.startsWith('kubernetes.io/cluster') && !(k in ['eks:eks-cluster-name', 'karpenter.sh/nodepool', 'karpenter.sh/nodeclaim', 'karpenter.k8s.aws/ec2nodeclass']))").message("tag contains a restricted tag key")
    )]
    pub tags: BTreeMap<String, String>,
    /// Disks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(validation = Rule::new("self.filter(x, has(x.rootVolume) && x.rootVolume).size() <= 1").message("must have only one blockDeviceMappings with rootVolume"))]
    #[schemars(length(max = 50))]
    pub block_device_mappings: Vec<BlockDeviceMapping>,
    /// What happens to local disks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_store_policy: Option<InstanceStorePolicy>,
    /// The instance metadata service.
    #[serde(default)]
    pub metadata_options: MetadataOptions,
    /// Detailed monitoring by CloudWatch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detailed_monitoring: Option<bool>,
    /// Whether they get public addresses; absent for what the subnet says.
    #[serde(
        default,
        rename = "associatePublicIPAddress",
        skip_serializing_if = "Option::is_none"
    )]
    pub associate_public_ip_address: Option<bool>,
    /// Prefixes delegated to the primary interface.
    #[serde(default, rename = "ipPrefixCount", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub ip_prefix_count: Option<i32>,
    /// The context of CreateFleet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Settings of the kubelet, as in its configuration file; checked by the provisioner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::open_object")]
    pub kubelet: Option<Value>,
    /// Network interfaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(
        validation = Rule::new("self.size() == 0 || self.exists(x, x.deviceIndex == 0 && x.networkCardIndex == 0 && x.interfaceType == 'interface')").message("networkInterfaces must include a primary interface with interfaceType='interface'"),
        validation = Rule::new("self.all(x, self.filter(y, x.networkCardIndex == y.networkCardIndex && x.deviceIndex == y.deviceIndex).size() == 1 && (x.interfaceType != 'efa-only' || self.filter(y, x.networkCardIndex == y.networkCardIndex && y.interfaceType == 'efa-only').size() == 1))").message("networkInterfaces must not have duplicate networkCardIndex and deviceIndex pairs, and can have at most one efa device per network card")
    )]
    #[schemars(length(max = 150))]
    pub network_interfaces: Vec<NetworkInterface>,
    /// Time-outs of tracked connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_tracking: Option<ConnectionTracking>,
    /// Settings of the processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_options: Option<CpuOptions>,
    /// Nitro Enclaves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enclave_options: Option<EnclaveOptions>,
}

/// Selects subnets.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SubnetSelectorTerm {
    /// All of these tags, `*` for any value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[x_kube(validation = Rule::new("self.all(k, k != '' && self[k] != '')").message("empty tag keys or values aren't supported"))]
    #[schemars(extend("maxProperties" = 20))]
    pub tags: BTreeMap<String, String>,
    /// This one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"subnet-[0-9a-z]+"))]
    pub id: Option<String>,
}

/// Selects security groups.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SecurityGroupSelectorTerm {
    /// All of these tags, `*` for any value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[x_kube(validation = Rule::new("self.all(k, k != '' && self[k] != '')").message("empty tag keys or values aren't supported"))]
    #[schemars(extend("maxProperties" = 20))]
    pub tags: BTreeMap<String, String>,
    /// This one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"sg-[0-9a-z]+"))]
    pub id: Option<String>,
    /// By the name field, not the `Name` tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Selects capacity reservations.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CapacityReservationSelectorTerm {
    /// All of these tags, `*` for any value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[x_kube(validation = Rule::new("self.all(k, k != '' && self[k] != '')").message("empty tag keys or values aren't supported"))]
    #[schemars(extend("maxProperties" = 20))]
    pub tags: BTreeMap<String, String>,
    /// This one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^cr-[0-9a-z]+$"))]
    pub id: Option<String>,
    /// Of this account.
    #[serde(default, rename = "ownerID", skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9]{12}$"))]
    pub owner_id: Option<String>,
    /// `open` or `targeted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^(open|targeted)$"))]
    pub instance_match_criteria: Option<String>,
}

/// Selects a placement group.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("has(self.name) != has(self.id)").message("must specify exactly one of ['name', 'id']"))]
pub struct PlacementGroupSelector {
    /// By name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// This one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^pg-[0-9a-z]+$"))]
    pub id: Option<String>,
}

/// Selects images.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.alias) || has(self.tags) || has(self.id) || has(self.name) || has(self.ssmParameter)").message("expected at least one, got none, ['alias', 'tags', 'id', 'name', 'ssmParameter']"),
    validation = Rule::new("!(has(self.alias) && (has(self.tags) || has(self.id) || has(self.name) || has(self.owner)))").message("'alias' is mutually exclusive, cannot be set with a combination of other fields in amiSelectorTerms"),
    validation = Rule::new("!(has(self.id) && (has(self.alias) || has(self.tags) || has(self.name) || has(self.owner)))").message("'id' is mutually exclusive, cannot be set with a combination of other fields in amiSelectorTerms")
)]
pub struct AmiSelectorTerm {
    /// `family@version`, such as `al2023@latest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-zA-Z0-9]+@.+$')").message("'alias' is improperly formatted, must match the format 'family@version'"),
        validation = Rule::new("self.split('@')[0] in ['al2', 'al2023', 'bottlerocket', 'windows2019', 'windows2022', 'windows2025']").message("family is not supported, must be one of the following: 'al2', 'al2023', 'bottlerocket', 'windows2019', 'windows2022', 'windows2025'"),
        validation = Rule::new("self.split('@')[0] in ['windows2019', 'windows2022', 'windows2025'] ? self.split('@')[1] == 'latest' : true").message("windows families may only specify version 'latest'")
    )]
    #[schemars(length(max = 30))]
    pub alias: Option<String>,
    /// All of these tags, `*` for any value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[x_kube(validation = Rule::new("self.all(k, k != '' && self[k] != '')").message("empty tag keys or values aren't supported"))]
    #[schemars(extend("maxProperties" = 20))]
    pub tags: BTreeMap<String, String>,
    /// This one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"ami-[0-9a-z]+"))]
    pub id: Option<String>,
    /// By the name field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Of this account, `self`, or `amazon`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Named by a parameter of the Systems Manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssm_parameter: Option<String>,
}

/// How user data is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "the names of the families say all there is to say")]
pub enum AmiFamily {
    AL2,
    AL2023,
    Bottlerocket,
    Custom,
    Windows2019,
    Windows2022,
    Windows2025,
}

/// What happens to local disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum InstanceStorePolicy {
    /// They become one volume for pods.
    RAID0,
}

/// A disk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BlockDeviceMapping {
    /// Its device, e.g. `/dev/xvda`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_name: Option<String>,
    /// Its volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ebs: Option<BlockDevice>,
    /// Whether pods' ephemeral storage is on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_volume: Option<bool>,
}

/// A volume.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.snapshotID) || has(self.volumeSize)").message("snapshotID or volumeSize must be defined"),
    validation = Rule::new("!has(self.volumeInitializationRate) || has(self.snapshotID)").message("snapshotID must be set when volumeInitializationRate is set")
)]
pub struct BlockDevice {
    /// Whether it goes with the instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_on_termination: Option<bool>,
    /// Whether it is encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encrypted: Option<bool>,
    /// Operations per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iops: Option<i64>,
    /// The key.
    #[serde(default, rename = "kmsKeyID", skip_serializing_if = "Option::is_none")]
    pub kms_key_id: Option<String>,
    /// The snapshot.
    #[serde(default, rename = "snapshotID", skip_serializing_if = "Option::is_none")]
    pub snapshot_id: Option<String>,
    /// MiB per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throughput: Option<i64>,
    /// MiB per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 100, max = 300))]
    pub volume_initialization_rate: Option<i32>,
    /// Size, e.g. `100Gi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(
        pattern = r"^([1-9][0-9]{0,4}Gi?|([1-9]|[1-5][0-9]|6[0-4])T|([1-9]|[1-4][0-9]|5[0-8])Ti)$"
    ))]
    pub volume_size: Option<String>,
    /// `gp3`, `io2`, ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^(standard|io1|io2|gp2|sc1|st1|gp3)$"))]
    pub volume_type: Option<String>,
}

/// The instance metadata service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MetadataOptions {
    /// `enabled` or `disabled`.
    #[schemars(regex(pattern = r"^(enabled|disabled)$"))]
    pub http_endpoint: String,
    /// `enabled` or `disabled`.
    #[serde(rename = "httpProtocolIPv6")]
    #[schemars(regex(pattern = r"^(enabled|disabled)$"))]
    pub http_protocol_ipv6: String,
    /// How far answers travel.
    #[schemars(range(min = 1, max = 64))]
    pub http_put_response_hop_limit: i64,
    /// `required` or `optional`.
    #[schemars(regex(pattern = r"^(required|optional)$"))]
    pub http_tokens: String,
}

impl Default for MetadataOptions {
    fn default() -> Self {
        Self {
            http_endpoint: "enabled".to_owned(),
            http_protocol_ipv6: "disabled".to_owned(),
            http_put_response_hop_limit: 1,
            http_tokens: "required".to_owned(),
        }
    }
}

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkInterface {
    /// The card.
    #[schemars(range(min = 0))]
    pub network_card_index: i32,
    /// The device on the card.
    #[schemars(range(min = 0))]
    pub device_index: i32,
    /// `interface` or `efa-only`.
    #[schemars(regex(pattern = r"^(interface|efa-only)$"))]
    pub interface_type: String,
}

/// Time-outs of tracked connections.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.tcpEstablishedTimeout) || has(self.udpStreamTimeout) || has(self.udpTimeout)").message("at least one of tcpEstablishedTimeout, udpStreamTimeout, or udpTimeout must be set"))]
pub struct ConnectionTracking {
    /// Seconds after which an idle established TCP connection is forgotten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 60, max = 432_000))]
    pub tcp_established_timeout: Option<i32>,
    /// Seconds after which an idle UDP flow that went both ways is forgotten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 60, max = 180))]
    pub udp_stream_timeout: Option<i32>,
    /// Seconds after which any other idle UDP flow is forgotten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 30, max = 60))]
    pub udp_timeout: Option<i32>,
}

/// Nitro Enclaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EnclaveOptions {
    /// Whether instances can have them.
    pub enabled: bool,
}

/// Settings of the processor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CpuOptions {
    /// `enabled` or `disabled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^(enabled|disabled)$"))]
    pub nested_virtualization: Option<String>,
}

/// Observed state of an EC2NodeClass.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ec2NodeClassStatus {
    /// What the subnet terms found: `id`, `zone`, `zoneID`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subnets: Vec<BTreeMap<String, String>>,
    /// What the security-group terms found: `id`, `name`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub security_groups: Vec<BTreeMap<String, String>>,
    /// What the reservation terms found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "open_objects")]
    pub capacity_reservations: Vec<Value>,
    /// What the image terms found: `id`, `name`, `deprecated`, `requirements`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "open_objects")]
    pub amis: Vec<Value>,
    /// The instance profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_profile: Option<String>,
    /// `AMIsReady`, `SubnetsReady`, `SecurityGroupsReady`, `InstanceProfileReady`, `ValidationSucceeded`, `Ready`, ...
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::schema::conditions")]
    pub conditions: Vec<Condition>,
}

fn open_objects(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "array", "items": schema::open_object(generator) })
}

impl NodeClass for Ec2NodeClass {
    fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map_or(&[], |status| &status.conditions)
    }

    fn status_json(&self, status: &ClassStatus) -> Value {
        let mut json: Map<String, Value> = status.resolved.clone().into_iter().collect();
        let conditions = condition::merge(self.conditions(), &status.conditions, self.metadata.generation);
        json.insert("conditions".to_owned(), json!(conditions));
        Value::Object(json)
    }

    /// Of everything but the selector terms, which drift by what they find, and what changes no instance.
    fn drift_hash(&self) -> (String, &'static str) {
        let mut spec = json!(self.spec);
        if let Value::Object(fields) = &mut spec {
            let ignored = [
                "subnetSelectorTerms",
                "securityGroupSelectorTerms",
                "capacityReservationSelectorTerms",
                "amiSelectorTerms",
                "ipPrefixCount",
                "amiFamily",
            ];
            fields.retain(|field, _| !ignored.contains(&field.as_str()));
            fields.insert("resolvedAmiFamily".to_owned(), json!(self.resolved_ami_family()));
        }
        (hash::structural(&spec), HASH_VERSION)
    }
}

impl Ec2NodeClass {
    /// The family in force: `amiFamily`, else the alias's, in lower case.
    #[must_use]
    pub fn resolved_ami_family(&self) -> Option<String> {
        let of_alias = || {
            let alias = self
                .spec
                .ami_selector_terms
                .iter()
                .find_map(|term| term.alias.as_deref())?;
            Some(alias.split('@').next().unwrap_or(alias).to_lowercase())
        };
        let given = self
            .spec
            .ami_family
            .map(|family| format!("{family:?}").to_lowercase());
        given.or_else(of_alias)
    }
}
