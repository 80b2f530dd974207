#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "aws-base")]
#[cfg_attr(
    not(feature = "aws-clients"),
    allow(dead_code, unused_imports, reason = "some only sign with it")
)]
pub mod aws;
#[cfg(feature = "aws-cloudwatch")]
pub mod aws_cloudwatch;
#[cfg(feature = "aws-dynamodb")]
pub mod aws_dynamodb;
#[cfg(feature = "aws-dynamodb-streams")]
pub mod aws_dynamodb_streams;
#[cfg(feature = "aws-kinesis-stream")]
pub mod aws_kinesis_stream;
#[cfg(feature = "aws-secret-manager")]
pub mod aws_secret_manager;
#[cfg(any(feature = "azure-key-vault", feature = "azure-identity"))]
#[cfg_attr(
    not(all(feature = "azure-queue", feature = "azure-servicebus")),
    allow(dead_code, unused_imports, reason = "some only log in with it")
)]
pub mod azure;
#[cfg(feature = "azure-key-vault")]
pub mod azure_key_vault;
#[cfg(feature = "azure-queue")]
pub mod azure_queue;
#[cfg(feature = "azure-servicebus")]
pub mod azure_servicebus;
mod catalogue;
#[cfg(feature = "cron")]
pub mod cron;
#[cfg(feature = "elasticsearch")]
pub mod elasticsearch;
#[cfg(feature = "etcd")]
pub mod etcd;
#[cfg(feature = "external")]
pub mod external;
#[cfg(any(
    feature = "gcp-pubsub",
    feature = "gcp-secret-manager",
    feature = "prometheus"
))]
#[cfg_attr(
    not(feature = "gcp-pubsub"),
    allow(dead_code, reason = "some only log in with it")
)]
pub mod gcp;
#[cfg(feature = "gcp-pubsub")]
pub mod gcp_pubsub;
#[cfg(feature = "gcp-secret-manager")]
pub mod gcp_secret_manager;
#[cfg(feature = "http-base")]
pub mod http;
#[cfg(any(feature = "metrics-api", feature = "elasticsearch"))]
mod json_path;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(feature = "kubernetes-workload")]
pub mod kubernetes_workload;
#[cfg(any(
    feature = "azure-key-vault",
    feature = "azure-identity",
    feature = "gcp-pubsub",
    feature = "gcp-secret-manager"
))]
mod logins;
#[cfg(feature = "loki")]
pub mod loki;
#[cfg(feature = "metrics-api")]
pub mod metrics_api;
#[cfg(feature = "mongodb")]
pub mod mongodb;
#[cfg(feature = "mysql")]
pub mod mysql;
#[cfg(feature = "nats-jetstream")]
pub mod nats_jetstream;
#[cfg(any(
    feature = "azure-identity",
    feature = "azure-key-vault",
    feature = "gcp-pubsub",
    feature = "gcp-secret-manager",
    feature = "http-scalers",
    feature = "kafka",
    feature = "rabbitmq"
))]
#[cfg_attr(
    not(any(feature = "http-scalers", feature = "rabbitmq")),
    allow(dead_code, reason = "logins read tokens with it, and ask for them otherwise")
)]
mod oauth2;
#[cfg(feature = "postgresql")]
pub mod postgresql;
#[cfg(feature = "key-passwords")]
#[cfg_attr(
    not(feature = "redis"),
    allow(dead_code, reason = "not everybody opens keys at once and checks them first")
)]
mod private_key;
#[cfg(feature = "prometheus")]
pub mod prometheus;
#[cfg(feature = "rabbitmq")]
pub mod rabbitmq;
#[cfg(feature = "redis")]
pub mod redis;
pub mod resource;
#[cfg(feature = "sqs")]
pub mod sqs;
#[cfg(any(
    feature = "aws-scalers",
    feature = "azure-queue",
    feature = "azure-servicebus",
    feature = "gcp-pubsub",
    feature = "cron",
    feature = "elasticsearch",
    feature = "etcd",
    feature = "kafka",
    feature = "external",
    feature = "kubernetes-workload",
    feature = "loki",
    feature = "metrics-api",
    feature = "mongodb",
    feature = "mysql",
    feature = "nats-jetstream",
    feature = "postgresql",
    feature = "prometheus",
    feature = "rabbitmq",
    feature = "redis"
))]
mod target;
#[cfg(feature = "tcp-base")]
mod tcp;
#[cfg(feature = "vault")]
pub mod vault;
#[cfg(any(feature = "loki", feature = "prometheus"))]
mod vector;

use scaler_api::Registry;

pub use self::catalogue::feature;

/// Registers every scaler whose feature is on, and names every other trigger type of KEDA together with what it needs.
pub fn register_all(registry: &mut Registry) {
    catalogue::register_unavailable(registry);
    registry.register::<resource::CpuTrigger>();
    registry.register::<resource::MemoryTrigger>();
    #[cfg(feature = "aws-cloudwatch")]
    registry.register::<aws_cloudwatch::CloudwatchTrigger>();
    #[cfg(feature = "aws-dynamodb")]
    registry.register::<aws_dynamodb::DynamodbTrigger>();
    #[cfg(feature = "aws-dynamodb-streams")]
    registry.register::<aws_dynamodb_streams::DynamodbStreamsTrigger>();
    #[cfg(feature = "aws-kinesis-stream")]
    registry.register::<aws_kinesis_stream::KinesisTrigger>();
    #[cfg(feature = "azure-queue")]
    registry.register::<azure_queue::AzureQueueTrigger>();
    #[cfg(feature = "azure-servicebus")]
    registry.register::<azure_servicebus::ServiceBusTrigger>();
    #[cfg(feature = "gcp-pubsub")]
    registry.register::<gcp_pubsub::PubSubTrigger>();
    #[cfg(feature = "cron")]
    registry.register::<cron::CronTrigger>();
    #[cfg(feature = "kubernetes-workload")]
    registry.register::<kubernetes_workload::WorkloadTrigger>();
    #[cfg(feature = "metrics-api")]
    registry.register::<metrics_api::MetricsApiTrigger>();
    #[cfg(feature = "etcd")]
    registry.register::<etcd::EtcdTrigger>();
    #[cfg(feature = "kafka")]
    {
        registry.register::<kafka::KafkaTrigger>();
        registry.register::<kafka::ApacheKafkaTrigger>();
    }
    #[cfg(feature = "elasticsearch")]
    registry.register::<elasticsearch::ElasticsearchTrigger>();
    #[cfg(feature = "loki")]
    registry.register::<loki::LokiTrigger>();
    #[cfg(feature = "external")]
    {
        registry.register::<external::ExternalTrigger>();
        registry.register::<external::ExternalPushTrigger>();
    }
    #[cfg(feature = "mongodb")]
    registry.register::<mongodb::MongodbTrigger>();
    #[cfg(feature = "mysql")]
    registry.register::<mysql::MysqlTrigger>();
    #[cfg(feature = "nats-jetstream")]
    registry.register::<nats_jetstream::NatsJetStreamTrigger>();
    #[cfg(feature = "postgresql")]
    registry.register::<postgresql::PostgresqlTrigger>();
    #[cfg(feature = "prometheus")]
    registry.register::<prometheus::PrometheusTrigger>();
    #[cfg(feature = "rabbitmq")]
    registry.register::<rabbitmq::RabbitmqTrigger>();
    #[cfg(feature = "redis")]
    {
        registry.register::<redis::RedisTrigger>();
        registry.register::<redis::RedisClusterTrigger>();
        registry.register::<redis::RedisSentinelTrigger>();
        registry.register::<redis::RedisStreamsTrigger>();
        registry.register::<redis::RedisClusterStreamsTrigger>();
        registry.register::<redis::RedisSentinelStreamsTrigger>();
    }
    #[cfg(feature = "sqs")]
    registry.register::<sqs::SqsTrigger>();
    register_secret_stores(registry);
}

/// Registers every store of secrets whose feature is on, as the environment of the process has it.
fn register_secret_stores(registry: &mut Registry) {
    let _stores = registry.secret_stores_mut();
    #[cfg(feature = "vault")]
    _stores.register(vault::VaultStore::from_environment());
    #[cfg(feature = "azure-key-vault")]
    _stores.register(azure_key_vault::AzureKeyVaultStore::from_environment());
    #[cfg(feature = "gcp-secret-manager")]
    _stores.register(gcp_secret_manager::GcpSecretManagerStore::from_environment());
    #[cfg(feature = "aws-secret-manager")]
    _stores.register(aws_secret_manager::AwsSecretManagerStore::from_environment());
}
