//! Whether a command still holds some time after it was decided.

use std::collections::BTreeSet;

use super::{
    BudgetBook, Candidate, Cluster, Command, Method, Urgency, candidate::unconsolidatable, candidates,
    consolidate::revalidate, methods::facts_by_node,
};

/// The command as it still holds: emptiness keeps the nodes that are still empty; anything else must still hold as a
/// whole, need as many replacements, and find every type that it wants to launch.
///
/// # Errors
/// What changed.
pub fn still_valid(command: &Command, cluster: &Cluster<'_>) -> Result<Command, String> {
    if command.method == Method::Drift {
        return Ok(command.clone());
    }
    let facts = facts_by_node(cluster);
    let (now, refused) = candidates(cluster, Urgency::Graceful);
    let mut book = BudgetBook::new(cluster, command.reason);
    let mut kept: Vec<Candidate> = Vec::new();
    let mut lost = None;
    for before in &command.candidates {
        let found = now.iter().find(|candidate| candidate.claim == before.claim);
        let text = match found {
            None => refused
                .iter()
                .find(|refused| refused.claims.contains(&before.claim))
                .map_or_else(|| "the node is gone".to_owned(), |refused| refused.text.clone()),
            Some(found) if command.method == Method::Emptiness && !found.is_empty() => "pods came".to_owned(),
            Some(found) => {
                match unconsolidatable(cluster, facts[found.node.as_str()], &cluster.pools[&found.pool]) {
                    Some(refused) => refused.text,
                    None if !book.take(&found.pool) => book.refusal(),
                    None => {
                        kept.push(found.clone());
                        continue;
                    }
                }
            }
        };
        lost = Some(format!("node {}: {text}", before.node));
    }
    match lost {
        Some(text) if command.method != Method::Emptiness || kept.is_empty() => return Err(text),
        _ => {}
    }
    if command.method != Method::Emptiness {
        same_replacements(command, &revalidate(cluster, &kept)?)?;
    }
    let savings_per_hour = match command.method {
        Method::Emptiness => kept.iter().filter_map(|candidate| candidate.price).sum(),
        _ => command.savings_per_hour,
    };
    Ok(Command {
        candidates: kept,
        savings_per_hour,
        ..command.clone()
    })
}

fn same_replacements(command: &Command, now: &[crate::schedule::PlannedNode]) -> Result<(), String> {
    if now.len() != command.replacements.len() {
        return Err(format!(
            "{} new nodes are needed now instead of {}",
            now.len(),
            command.replacements.len()
        ));
    }
    for (before, now) in command.replacements.iter().zip(now) {
        let possible: BTreeSet<&str> = now
            .options
            .iter()
            .map(|option| option.instance_type.name.as_str())
            .collect();
        let missing = before
            .options
            .iter()
            .find(|option| !possible.contains(option.instance_type.name.as_str()));
        if let Some(missing) = missing {
            return Err(format!("type {} would no longer do", missing.instance_type.name));
        }
    }
    Ok(())
}
