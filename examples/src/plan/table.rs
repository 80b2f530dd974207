//! A plan for people: what is bought, by type, and what it costs; what stays as it is; what has no place.

use std::{collections::BTreeMap, fmt::Write as _};

use provisioner::{ResourceList, schedule::PlannedNode};

use super::Planned;

/// How many pods with the same reason are named.
const NAMED: usize = 3;

/// Nodes that are bought alike.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Kind<'a> {
    pool: &'a str,
    instance_type: &'a str,
    capacity_type: &'a str,
    zone: &'a str,
}

/// The plan as a table.
#[must_use]
pub(super) fn of(planned: &Planned) -> String {
    let mut text = String::new();
    text.push_str(&bought(&planned.plan.new));
    let report = &planned.report;
    if !report.existing.is_empty() {
        let mut rows = vec![["NODE", "PODS"].map(str::to_owned).to_vec()];
        for node in &report.existing {
            rows.push(vec![node.node.clone(), node.pods.len().to_string()]);
        }
        text.push_str(&columns(&rows));
        text.push('\n');
    }
    let placed: usize = report.nodes.iter().map(|node| node.pods.len()).sum();
    let kept: usize = report.existing.iter().map(|node| node.pods.len()).sum();
    let mut line = |name: &str, value: String| {
        let _written = writeln!(text, "{name:<12}{value}");
    };
    line(
        "pods",
        format!(
            "{placed} on {} new nodes, {kept} on {} that are there, {} without a place",
            report.nodes.len(),
            report.existing.len(),
            report.unschedulable.len()
        ),
    );
    line(
        "price",
        format!(
            "{:.4} an hour, {:.0} a month; no plan is below {:.4} (gap {:.2} %)",
            report.price_per_hour,
            report.price_per_hour * 730.0,
            report.lower_bound_per_hour,
            report.gap_percent
        ),
    );
    line(
        "strategy",
        format!("{}, {:.1} ms", report.strategy, report.solve_seconds * 1000.0),
    );
    text.push_str(&without_a_place(planned));
    text
}

fn bought(nodes: &[PlannedNode]) -> String {
    if nodes.is_empty() {
        return String::new();
    }
    let mut kinds: BTreeMap<Kind<'_>, Vec<&PlannedNode>> = BTreeMap::new();
    for node in nodes {
        let kind = Kind {
            pool: &node.pool,
            instance_type: &node.choice.instance_type,
            capacity_type: node.choice.capacity_type.as_str(),
            zone: &node.choice.zone,
        };
        kinds.entry(kind).or_default().push(node);
    }
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    let cost = |nodes: &[&PlannedNode]| nodes.iter().map(|node| node.price()).sum::<f64>();
    kinds.sort_by(|one, other| cost(&other.1).total_cmp(&cost(&one.1)));
    let header = [
        "NODES", "TYPE", "CAPACITY", "ZONE", "POOL", "PODS", "CPU", "MEMORY", "EACH/H", "ALL/H",
    ];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for (kind, nodes) in &kinds {
        let pods: usize = nodes.iter().map(|node| node.pods.len()).sum();
        rows.push(vec![
            nodes.len().to_string(),
            kind.instance_type.to_owned(),
            kind.capacity_type.to_owned(),
            kind.zone.to_owned(),
            kind.pool.to_owned(),
            pods.to_string(),
            used(nodes, "cpu"),
            used(nodes, "memory"),
            format!(
                "{:.4}",
                cost(nodes) / f64::from(u32::try_from(nodes.len()).unwrap_or(u32::MAX))
            ),
            format!("{:.4}", cost(nodes)),
        ]);
    }
    columns(&rows) + "\n"
}

/// How much of a resource is asked for, of all that pods and daemons can use.
fn used(nodes: &[&PlannedNode], resource: &str) -> String {
    let (mut asked, mut there) = (ResourceList::default(), ResourceList::default());
    for node in nodes {
        asked.add(&node.requests);
        let chosen = node
            .options
            .iter()
            .find(|option| option.instance_type.name == node.choice.instance_type);
        if let Some(option) = chosen {
            there.add(&option.instance_type.allocatable());
        }
    }
    let share = asked.get(resource).as_f64() / there.get(resource).as_f64() * 100.0;
    if share.is_finite() {
        format!("{share:.0} %")
    } else {
        "-".to_owned()
    }
}

fn without_a_place(planned: &Planned) -> String {
    let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for entry in &planned.report.unschedulable {
        by_reason.entry(&entry.reason).or_default().push(&entry.pod);
    }
    let mut reasons: Vec<_> = by_reason.into_iter().collect();
    reasons.sort_by_key(|(_, pods)| std::cmp::Reverse(pods.len()));
    let mut text = String::new();
    for (reason, pods) in reasons {
        let named = pods.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
        let more = pods.len().saturating_sub(NAMED);
        let more = if more == 0 {
            String::new()
        } else {
            format!(" and {more} more")
        };
        let _written = writeln!(text, "\nno place for {named}{more}:\n  {reason}");
    }
    text
}

/// Rows with columns as wide as they need; numbers stand on the right.
fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let is_number = |text: &str| text.starts_with(|first: char| first.is_ascii_digit());
    let on_the_right: Vec<bool> = (0..count)
        .map(|column| rows.iter().skip(1).all(|row| is_number(&row[column])))
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            let _written = if on_the_right[column] {
                write!(line, "{cell:>width$}  ")
            } else {
                write!(line, "{cell:<width$}  ")
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
