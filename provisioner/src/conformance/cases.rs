//! The cases. Each answers `Ok(true)` if it passed, `Ok(false)` if it could not be brought about, or what went wrong.

use std::{collections::BTreeSet, time::Duration};

use scaler_api::Quantity;

use super::{Bench, CaseOutcome, Shortage, small_requests};
use crate::{
    ErrorKind, Instance, InstanceState, Offering, ProviderId, Provisioner, Termination,
    karpenter::{Operator, RequirementSpec, labels},
};

type Answer = Result<bool, String>;

/// In the order in which they run.
pub(super) const NAMES: &[&str] = &[
    "resolve_gives_conditions",
    "catalog_makes_sense",
    "catalog_is_stable",
    "a_launched_instance_is_listed_and_got",
    "a_launched_instance_comes_up",
    "launch_is_idempotent_by_token",
    "launch_respects_requirements",
    "launch_respects_requests",
    "a_dropped_launch_neither_leaks_nor_doubles",
    "terminate_is_requested_then_gone",
    "an_unknown_instance_is_a_value",
    "what_nobody_sells_is_insufficient_capacity",
    "another_offering_is_used_when_one_is_short",
    "no_capacity_is_an_error_of_its_kind",
    "a_fresh_instance_has_not_drifted",
];

pub(super) async fn run<P: Provisioner>(name: &str, bench: &Bench<'_, P>) -> CaseOutcome {
    let answer = match name {
        "resolve_gives_conditions" => resolve_gives_conditions(bench).await,
        "catalog_makes_sense" => catalog_makes_sense(bench).await,
        "catalog_is_stable" => catalog_is_stable(bench).await,
        "a_launched_instance_is_listed_and_got" => listed_and_got(bench).await,
        "a_launched_instance_comes_up" => comes_up(bench).await,
        "launch_is_idempotent_by_token" => idempotent(bench).await,
        "launch_respects_requirements" => respects_requirements(bench).await,
        "launch_respects_requests" => respects_requests(bench).await,
        "a_dropped_launch_neither_leaks_nor_doubles" => dropped_launch(bench).await,
        "terminate_is_requested_then_gone" => requested_then_gone(bench).await,
        "an_unknown_instance_is_a_value" => unknown_is_a_value(bench).await,
        "what_nobody_sells_is_insufficient_capacity" => nobody_sells(bench).await,
        "another_offering_is_used_when_one_is_short" => another_offering(bench).await,
        "no_capacity_is_an_error_of_its_kind" => no_capacity(bench).await,
        "a_fresh_instance_has_not_drifted" => not_drifted(bench).await,
        other => Err(format!("there is no case {other}")),
    };
    match answer {
        Ok(true) => CaseOutcome::Passed,
        Ok(false) => CaseOutcome::Skipped,
        Err(why) => CaseOutcome::Failed(why),
    }
}

fn check(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

async fn resolve_gives_conditions<P: Provisioner>(bench: &Bench<'_, P>) -> Answer {
    let resolve = || bench.provisioner.resolve(bench.class());
    let status = resolve()
        .await
        .map_err(|error| format!("resolve failed: {error}"))?;
    let mut kinds = BTreeSet::new();
    for condition in &status.conditions {
        let kind = &condition.type_;
        check(kind != "Ready", || {
            "Ready is the conjunction of the others and made by the caller".to_owned()
        })?;
        check(kinds.insert(kind), || format!("condition {kind} is there twice"))?;
        let known = matches!(condition.status.as_str(), "True" | "False" | "Unknown");
        check(known, || {
            format!(
                "status {:?} of {kind} is not True, False or Unknown",
                condition.status
            )
        })?;
        check(!condition.reason.is_empty(), || {
            format!("condition {kind} has no reason")
        })?;
        check(condition.status == "True", || {
            format!(
                "{kind} is not True but {}: {}",
                condition.status, condition.message
            )
        })?;
    }
    let again = resolve()
        .await
        .map_err(|error| format!("resolve failed the second time: {error}"))?;
    check(again.resolved == status.resolved, || {
        "two resolutions in a row differ".to_owned()
    })?;
    Ok(true)
}

async fn catalog_makes_sense<P: Provisioner>(bench: &Bench<'_, P>) -> Answer {
    let catalog = bench.catalog().await?;
    check(!catalog.instance_types.is_empty(), || {
        "nothing is sold".to_owned()
    })?;
    let mut names = BTreeSet::new();
    for it in &catalog.instance_types {
        let name = &it.name;
        check(names.insert(name), || format!("type {name} is there twice"))?;
        let own = it
            .requirements
            .get(labels::INSTANCE_TYPE)
            .and_then(|requirement| requirement.single());
        check(own == Some(name), || {
            format!("type {name} does not carry its own label")
        })?;
        for resource in ["cpu", "memory", "pods"] {
            let usable = it.allocatable().get(resource);
            check(usable > Quantity::ZERO, || {
                format!("type {name} has no {resource} for pods")
            })?;
        }
        for offering in &it.offerings {
            check(offering.price.is_finite() && offering.price >= 0.0, || {
                format!("price of {name} is {}", offering.price)
            })?;
            let allowed = it.requirements.allows_offering(offering);
            check(allowed, || {
                format!("type {name} excludes its own offering in {}", offering.zone)
            })?;
        }
    }
    Ok(true)
}

async fn catalog_is_stable<P: Provisioner>(bench: &Bench<'_, P>) -> Answer {
    let (one, another) = (bench.catalog().await?, bench.catalog().await?);
    let same = one.instance_types.len() == another.instance_types.len()
        && one
            .instance_types
            .iter()
            .zip(&another.instance_types)
            .all(|(a, b)| {
                a.name == b.name
                    && a.offerings == b.offerings
                    && a.capacity == b.capacity
                    && a.overhead == b.overhead
            });
    check(one.version != another.version || same, || {
        format!("two catalogues of version {} differ", one.version)
    })?;
    Ok(true)
}

async fn listed_and_got<P: Provisioner>(bench: &Bench<'_, P>) -> Answer {
    let instance = bench.buy(1).await?;
    let name = bench.claim_name(1);
    check(instance.claim.as_ref() == Some(&name), || {
        format!("claim is {:?} instead of {name}", instance.claim)
    })?;
    let label = |key: &str| instance.labels.get(key).cloned().unwrap_or_default();
    check(label(labels::INSTANCE_TYPE) == instance.instance_type, || {
        "the label of the type is another".to_owned()
    })?;
    check(label(labels::ZONE) == instance.zone, || {
        "the label of the zone is another".to_owned()
    })?;
    let capacity_type = instance.capacity_type.as_str();
    check(label(labels::CAPACITY_TYPE) == capacity_type, || {
        "the label of the capacity type is another".to_owned()
    })?;
    let got = bench
        .provisioner
        .get(&instance.id)
        .await
        .map_err(|error| format!("get failed: {error}"))?;
    check(got.is_some_and(|got| got.id == instance.id), || {
        "get does not find it".to_owned()
    })?;
    let listed = bench.own().await?;
    check(listed.len() == 1 && listed[0].id == instance.id, || {
        format!("list has {} of it", listed.len())
    })?;
    Ok(true)
}

async fn comes_up<P: Provisioner>(bench: &Bench<'_, P>) -> Answer {
    let instance = bench.buy(1).await?;
    let wait = async {
        loop {
            let state = bench
                .provisioner
                .get(&instance.id)
                .await
                .ok()
                .flatten()
                .map(|instance| instance.state);
            if state == Some(InstanceState::Running) {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let patience = bench.suite.patience;
    let up = tokio::time::timeout(patience, wait).await;
    up.map(|()| true)
        .map_err(|_| format!("instance {} does not run after {patience:?}", instance.id))
}

async fn idempotent<P: Provisioner>(bench: &Bench<'_, P>) -> Answer {
    let (first, second) = (bench.buy(1).await?, bench.buy(1).await?);
    check(first.id == second.id, || {
        format!("one token bought {} and {}", first.id, second.id)
    })?;
    let other = bench.buy(2).await?;
    check(other.id != first.id, || {
        "two tokens bought one instance".to_owned()
    })?;
    let listed = bench.own().await?.len();
    check(listed == 2, || format!("{listed} instances for two tokens"))?;
    Ok(true)
}

fn exactly(instance_type: &str, offering: &Offering) -> Vec<RequirementSpec> {
    vec![
        RequirementSpec::new(labels::INSTANCE_TYPE, Operator::In, [instance_type]),
        RequirementSpec::new(labels::ZONE, Operator::In, [offering.zone.as_str()]),
        RequirementSpec::new(
            labels::CAPACITY_TYPE,
            Operator::In,
            [offering.capacity_type.as_str()],
        ),
    ]
}

fn is(instance: &Instance, instance_type: &str, offering: &Offering) -> bool {
    instance.instance_type == instance_type
        && instance.zone == offering.zone
        && instance.capacity_type == offering.capacity_type
}

async fn respects_requirements<P: Provisioner>(bench: &Bench<'_, P>) -> Answer {
    let offerings = bench.offerings().await?;
    // Not the cheapest, which would be bought anyway.
    let Some((instance_type, offering)) = offerings.get(offerings.len() / 2) else {
        return Ok(false);
    };
    let claim = bench.claim(1, exactly(instance_type, offering), small_requests());
    let instance = bench
        .launch(&claim)
        .await
        .map_err(|error| format!("launch failed: {error}"))?;
    check(is(&instance, instance_type, offering), || {
        format!(
            "asked for {instance_type} in {} by {}, got {instance:?}",
            offering.zone, offering.capacity_type
        )
    })?;
    Ok(true)
}

async fn respects_requests<P: Provisioner>(bench: &Bench<'_, P>) -> Answer {
    let catalog = bench.catalog().await?;
    let mut sizes: Vec<Quantity> = catalog
        .instance_types
        .iter()
        .map(|it| it.allocatable().get("cpu"))
        .collect();
    sizes.sort();
    let Some(middle) = sizes.get(sizes.len() / 2) else {
        return Ok(false);
    };
    let claim = bench.claim(1, Vec::new(), small_requests().with("cpu", *middle));
    let instance = bench
        .launch(&claim)
        .await
        .map_err(|error| format!("launch failed: {error}"))?;
    let got = instance.allocatable.get("cpu");
    check(got >= *middle, || {
        format!(
            "asked for {middle} cpu, got {} with {got}",
            instance.instance_type
        )
    })?;
    Ok(true)
}

async fn dropped_launch<P: Provisioner>(bench: &Bench<'_, P>) -> Answer {
    for (number, after) in [(1, 0), (2, 1), (3, 100), (4, 1_000)] {
        let claim = bench.claim(number, Vec::new(), small_requests());
        let dropped = tokio::time::timeout(Duration::from_millis(after), bench.launch(&claim)).await;
        drop(dropped);
        let instance = bench
            .launch(&claim)
            .await
            .map_err(|error| format!("launch after a drop failed: {error}"))?;
        let own = bench.own().await?;
        let of_claim: Vec<&Instance> = own
            .iter()
            .filter(|other| other.claim == claim.metadata.name)
            .collect();
        check(of_claim.len() == 1 && of_claim[0].id == instance.id, || {
            format!(
                "{} instances for a claim whose launch was dropped after {after} ms",
                of_claim.len()
            )
        })?;
    }
    Ok(true)
}

async fn requested_then_gone<P: Provisioner>(bench: &Bench<'_, P>) -> Answer {
    let instance = bench.buy(1).await?;
    let first = bench
        .provisioner
        .terminate(&instance.id)
        .await
        .map_err(|error| format!("terminate failed: {error}"))?;
    check(first == Termination::Requested, || {
        "the first terminate says that it is gone already".to_owned()
    })?;
    bench.until_gone(&instance.id).await?;
    let got = bench
        .provisioner
        .get(&instance.id)
        .await
        .map_err(|error| format!("get failed: {error}"))?;
    check(
        got.is_none_or(|got| got.state == InstanceState::Terminated),
        || "get still finds it".to_owned(),
    )?;
    let listed = bench.own().await?.len();
    check(listed == 0, || "list still has it".to_owned())?;
    Ok(true)
}

async fn unknown_is_a_value<P: Provisioner>(bench: &Bench<'_, P>) -> Answer {
    let known = bench.buy(1).await?.id;
    // Of the provider's own form, so that it is looked up rather than refused.
    let (place, name) = known.as_str().rsplit_once('/').unwrap_or(("", known.as_str()));
    let (prefix, digits) = if name.starts_with("i-") {
        ("i-", name.len() - 2)
    } else {
        ("", name.len())
    };
    let unknown = ProviderId(format!("{place}/{prefix}{}", "0".repeat(digits)));
    let got = bench
        .provisioner
        .get(&unknown)
        .await
        .map_err(|error| format!("get of {unknown} failed: {error}"))?;
    check(got.is_none(), || format!("get finds {unknown}"))?;
    let gone = bench.provisioner.terminate(&unknown).await;
    check(matches!(gone, Ok(Termination::Gone)), || {
        format!("terminate of {unknown} says {gone:?}")
    })?;
    Ok(true)
}

async fn nobody_sells<P: Provisioner>(bench: &Bench<'_, P>) -> Answer {
    let nothing = RequirementSpec::new(labels::INSTANCE_TYPE, Operator::In, ["no-such-type"]);
    let claim = bench.claim(1, vec![nothing], small_requests());
    refused(bench, &claim).await
}

async fn refused<P: Provisioner>(bench: &Bench<'_, P>, claim: &crate::karpenter::NodeClaim) -> Answer {
    match bench.launch(claim).await {
        Ok(instance) => Err(format!(
            "bought {} where nothing could be had",
            instance.instance_type
        )),
        Err(error) if error.kind() == ErrorKind::InsufficientCapacity => Ok(true),
        Err(error) => Err(format!(
            "the error is {:?} instead of InsufficientCapacity: {error}",
            error.kind()
        )),
    }
}

async fn another_offering<P: Provisioner>(bench: &Bench<'_, P>) -> Answer {
    let Some(short) = &bench.suite.shortage else {
        return Ok(false);
    };
    // What it buys when nothing is short.
    let cheapest = bench.buy(1).await?;
    let shortage = Shortage::Offering {
        instance_type: cheapest.instance_type.clone(),
        zone: cheapest.zone.clone(),
        capacity_type: cheapest.capacity_type.to_string(),
    };
    short(&bench.provisioner, &shortage);
    let other = bench.buy(2).await?;
    let moved = other.instance_type != cheapest.instance_type
        || other.zone != cheapest.zone
        || other.capacity_type != cheapest.capacity_type;
    check(moved, || {
        format!(
            "bought {} in {} although it is short",
            other.instance_type, other.zone
        )
    })?;
    let marked = bench.catalog().await?.instance_types.iter().any(|it| {
        it.name == cheapest.instance_type
            && it.offerings.iter().any(|offering| {
                offering.zone == cheapest.zone
                    && offering.capacity_type == cheapest.capacity_type
                    && !offering.available
            })
    });
    check(marked, || {
        "the offering that was short is not marked as unavailable".to_owned()
    })?;
    Ok(true)
}

async fn no_capacity<P: Provisioner>(bench: &Bench<'_, P>) -> Answer {
    let Some(short) = &bench.suite.shortage else {
        return Ok(false);
    };
    short(&bench.provisioner, &Shortage::Everything);
    let claim = bench.claim(1, Vec::new(), small_requests());
    refused(bench, &claim).await?;
    let listed = bench.own().await?.len();
    check(listed == 0, || "a launch that failed left an instance".to_owned())?;
    Ok(true)
}

async fn not_drifted<P: Provisioner>(bench: &Bench<'_, P>) -> Answer {
    let instance = bench.buy(1).await?;
    let drift = bench
        .provisioner
        .drift(&instance, bench.class())
        .await
        .map_err(|error| format!("drift failed: {error}"))?;
    check(drift.is_none(), || format!("it drifted already: {drift:?}"))?;
    Ok(true)
}
