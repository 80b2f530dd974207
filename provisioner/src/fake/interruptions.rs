//! The stream of interruptions: each is said again until it is acknowledged.

use std::{sync::Arc, time::Duration};

use futures::stream::{self, BoxStream, StreamExt as _};
use tokio::time::Instant;

use super::Shared;
use crate::{Interruption, provider::Acknowledge};

/// After this an interruption that was not acknowledged is said again.
const VISIBILITY: Duration = Duration::from_secs(20);

pub(super) fn stream(shared: &Arc<Shared>) -> BoxStream<'static, Interruption> {
    stream::unfold(Arc::clone(shared), |shared| async move {
        let next = next(&shared).await;
        Some((next, shared))
    })
    .boxed()
}

async fn next(shared: &Arc<Shared>) -> Interruption {
    loop {
        // Registered before looking, so that nothing is missed in between.
        let changed = shared.changed.notified();
        let visible = {
            let mut cloud = shared.cloud();
            let now = Instant::now();
            let waiting = cloud.announced.iter().map(|announced| announced.visible_at).min();
            match cloud
                .announced
                .iter_mut()
                .find(|announced| announced.visible_at <= now)
            {
                Some(announced) => {
                    announced.visible_at = now + VISIBILITY;
                    Ok(announced.clone())
                }
                None => Err(waiting),
            }
        };
        match visible {
            Ok(announced) => {
                let shared = Arc::clone(shared);
                let acknowledge = Acknowledge::new(move || {
                    shared
                        .cloud()
                        .announced
                        .retain(|other| other.number != announced.number);
                });
                return Interruption {
                    instance: announced.instance,
                    kind: announced.kind,
                    acknowledge,
                };
            }
            Err(waiting) => super::provisioner::changed_or(changed, waiting).await,
        }
    }
}
