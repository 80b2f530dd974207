//! What clouds announce about their machines, acted on before it happens.

use futures::StreamExt as _;
use kube::ResourceExt as _;
use provisioner::{InterruptionKind, ProviderId, Provisioner};

use crate::{
    events::EventType,
    node_autoscaler::Context,
    node_claim::{self, Error},
};

/// Acts on announcements until dropped.
pub(crate) async fn run<P: Provisioner>(cx: Context<P>) {
    let Some(mut announcements) = cx.provisioner.interruptions() else {
        return;
    };
    while let Some(announcement) = announcements.next().await {
        match act(&cx, &announcement.instance, announcement.kind).await {
            Ok(()) => announcement.acknowledge.acknowledge(),
            // Not acknowledged: the cloud says it again.
            Err(error) => {
                tracing::warn!(%error, instance = %announcement.instance, "interruption was not handled")
            }
        }
    }
}

/// What an announcement means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Meaning {
    reason: &'static str,
    message: &'static str,
    drain: bool,
}

fn meaning(kind: InterruptionKind) -> Meaning {
    let (reason, message, drain) = match kind {
        InterruptionKind::SpotInterrupted => {
            ("SpotInterrupted", "Spot interruption warning was triggered", true)
        }
        InterruptionKind::RebalanceRecommendation => (
            "SpotRebalanceRecommendation",
            "Spot rebalance recommendation was triggered",
            false,
        ),
        InterruptionKind::ScheduledChange => ("Unhealthy", "A scheduled change was announced", true),
        InterruptionKind::Stopped => ("InstanceStopping", "Instance is stopping", true),
        InterruptionKind::Terminated => ("InstanceTerminating", "Instance is terminating", true),
        _ => ("Unhealthy", "Instance failed its health checks", true),
    };
    Meaning {
        reason,
        message,
        drain,
    }
}

/// Deletes the claim where the machine is going, so that it is drained in the time that is left.
async fn act<P: Provisioner>(
    cx: &Context<P>,
    instance: &ProviderId,
    kind: InterruptionKind,
) -> Result<(), Error> {
    let claim = cx
        .cluster
        .with(|state| state.claim_of_provider(instance.as_str()));
    let Some(claim) = claim else { return Ok(()) };
    let Meaning {
        reason,
        message,
        drain,
    } = meaning(kind);
    let node = cx.cluster.with(|state| state.nodes_of(&claim).into_iter().next());
    cx.announce(&*claim, EventType::Warning, reason, message);
    if let Some(node) = &node {
        cx.announce(&**node, EventType::Warning, reason, message);
    }
    if !drain || claim.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    let terminating = "Interruption triggered termination for the NodeClaim/Node";
    cx.announce(
        &*claim,
        EventType::Warning,
        "TerminatingOnInterruption",
        terminating,
    );
    let object = format!("NodeClaim/{}", claim.name_any());
    cx.runtime
        .decisions
        .record("interruption", object, "", "deleted", message);
    node_claim::remove(cx, &claim).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_recommendation_does_not_drain() {
        for kind in [
            InterruptionKind::SpotInterrupted,
            InterruptionKind::ScheduledChange,
            InterruptionKind::Stopped,
            InterruptionKind::Terminated,
            InterruptionKind::Unhealthy,
        ] {
            assert!(meaning(kind).drain, "{kind:?}");
        }
        assert!(!meaning(InterruptionKind::RebalanceRecommendation).drain);
    }
}
