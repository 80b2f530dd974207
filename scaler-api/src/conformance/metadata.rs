//! Cases without any traffic.

use std::collections::{BTreeMap, BTreeSet};

use super::{Harness, Verdict, ensure, parse};
use crate::{Field, MetricSpec, Source, Trigger, TriggerInput, metadata::serde_keys, normalize_name};

pub(super) fn fields_describe_the_struct<H: Harness>(harness: &H) -> Verdict {
    let fields = <H::Trigger as Trigger>::fields();
    let mut names = BTreeSet::new();
    for field in fields {
        check_field(field)?;
        for name in std::iter::once(&field.name).chain(field.aliases) {
            ensure(names.insert(*name), || format!("{name:?} stands for two fields"))?;
        }
    }
    let described: BTreeSet<&str> = fields.iter().map(|field| field.name).collect();
    let asked = serde_keys::<H::Trigger>(&harness.input());
    let aliases: BTreeSet<&str> = fields
        .iter()
        .flat_map(|field| field.aliases.iter().copied())
        .collect();
    let undescribed: Vec<_> = asked
        .difference(&described)
        .filter(|key| !aliases.contains(**key))
        .collect();
    ensure(undescribed.is_empty(), || {
        format!("the struct reads {undescribed:?}, which fields() does not list")
    })?;
    let unread: Vec<_> = described.difference(&asked).collect();
    ensure(unread.is_empty(), || {
        format!("fields() lists {unread:?}, which the struct does not read")
    })?;
    Ok(None)
}

fn check_field(field: &Field) -> Result<(), String> {
    let name = field.name;
    ensure(!field.doc.trim().is_empty(), || {
        format!("{name:?} has no sentence")
    })?;
    ensure(!field.sources.is_empty(), || format!("{name:?} has no source"))?;
    ensure(!(field.required && field.default.is_some()), || {
        format!("{name:?} is required and has a default")
    })?;
    ensure(
        !(field.secret && field.sources.contains(&Source::Metadata) && field.sources.len() == 1),
        || format!("{name:?} is a credential that can only stand in plain metadata"),
    )?;
    if let Some(default) = field.default.filter(|_| !field.allowed.is_empty()) {
        let is_allowed = default
            .split(',')
            .all(|word| field.allowed.contains(&word.trim()));
        ensure(is_allowed, || {
            format!(
                "the default {default:?} of {name:?} is not one of {:?}",
                field.allowed
            )
        })?;
    }
    Ok(())
}

pub(super) fn the_example_parses<H: Harness>(harness: &H) -> Verdict {
    let example: serde_json::Value = serde_saphyr::from_str(<H::Trigger as Trigger>::example())
        .map_err(|error| format!("it is no YAML: {error}"))?;
    let mut metadata = BTreeMap::new();
    for (key, value) in example.as_object().ok_or("it is no map")? {
        let text = value
            .as_str()
            .ok_or_else(|| format!("the value of {key:?} is no string, {value} must be quoted"))?;
        metadata.insert(key.clone(), text.to_owned());
    }
    let input = TriggerInput {
        metadata,
        ..harness.input()
    };
    let (_, warnings) =
        crate::metadata::parse::<H::Trigger>(&input).map_err(|problems| problems.to_string())?;
    ensure(warnings.warnings().is_empty(), || warnings.to_string())?;
    Ok(None)
}

pub(super) async fn metrics_are_stable<H: Harness>(harness: &H) -> Verdict {
    let (first, second) = (parse::<H>(&harness.input())?, parse::<H>(&harness.input())?);
    let metrics = discover(harness, &first).await?;
    ensure(!metrics.is_empty(), || "there are none".to_owned())?;
    for again in [
        discover(harness, &first).await?,
        discover(harness, &second).await?,
    ] {
        ensure(metrics == again, || {
            format!("the same input gives {metrics:?} and {again:?}")
        })?;
    }
    ensure(first.source_key() == second.source_key(), || {
        format!(
            "the same input gives the source keys {:?} and {:?}",
            first.source_key(),
            second.source_key()
        )
    })?;
    let is_the_sources = first.metrics().is_empty();
    let mut names = BTreeSet::new();
    for name in metrics.iter().filter_map(|metric| metric.external_name()) {
        // What a source calls its metrics is its own affair.
        let is_good = is_the_sources || normalize_name(name) == name;
        ensure(!name.is_empty() && is_good, || {
            format!("{name:?} is not normalised")
        })?;
        ensure(names.insert(name), || format!("two metrics are named {name:?}"))?;
    }
    Ok(None)
}

/// The metrics of a trigger whose source is well.
pub(super) async fn discover<H: Harness>(
    harness: &H,
    trigger: &H::Trigger,
) -> Result<Vec<MetricSpec>, String> {
    let context = harness.context();
    let metrics = tokio::time::timeout(harness.deadline(), trigger.discover(&context))
        .await
        .map_err(|_| format!("no metrics within {:?}", harness.deadline()))?;
    metrics.map_err(|error| format!("its metrics are not known: {error}"))
}
