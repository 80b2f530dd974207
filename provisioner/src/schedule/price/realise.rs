//! From so many pods of a group to pods of its classes, by all rules.

use super::{
    Budget,
    dive::Purchase,
    greedy::{by_size, greedy},
    model::Model,
    packing::{Node, Packing},
};

/// Nodes as bought, with the `left` pods of each group's classes as the rules admit them. What the rules keep off goes where there is
/// room, and then has nodes of its own.
pub(super) fn realise(
    packing: &Packing<'_>,
    model: &Model,
    mut bought: Vec<Purchase>,
    left: &mut [u32],
    budget: &mut Budget,
) -> Vec<Node> {
    let mut nodes = Vec::new();
    loop {
        let before = nodes.len();
        place(packing, model, &bought, &mut nodes, left, budget);
        fill(packing, model, &mut nodes, left, budget);
        let mut counts: Vec<u32> = model
            .groups
            .iter()
            .map(|group| group.members.iter().map(|class| left[*class]).sum())
            .collect();
        if counts.iter().all(|count| *count == 0) || (nodes.len() == before && !bought.is_empty()) {
            return nodes;
        }
        bought = greedy(model, &mut counts, budget);
        if bought.is_empty() {
            return nodes;
        }
    }
}

fn place(
    packing: &Packing<'_>,
    model: &Model,
    bought: &[Purchase],
    nodes: &mut Vec<Node>,
    left: &mut [u32],
    budget: &mut Budget,
) {
    for purchase in bought {
        for _ in 0..purchase.copies {
            let mut node = packing.open(model.columns[purchase.column]);
            for (group, amount) in &purchase.content {
                let mut wanted = *amount;
                for &class in &model.groups[*group].members {
                    if left[class] > 0 && wanted > 0 {
                        let number = packing.room(&node, class, wanted.min(left[class]));
                        packing.put(&mut node, class, number);
                        left[class] -= number;
                        wanted -= number;
                    }
                }
                budget.spend(model.groups[*group].members.len() + 10);
            }
            if !node.pods.is_empty() {
                nodes.push(node);
            }
        }
    }
}

/// Puts pods that are left on nodes that have room, greatest pods first, first fit.
fn fill(packing: &Packing<'_>, model: &Model, nodes: &mut [Node], left: &mut [u32], budget: &mut Budget) {
    for group in by_size(model, &vec![1; model.groups.len()]) {
        for &class in &model.groups[group].members {
            if left[class] == 0 {
                continue;
            }
            budget.spend(nodes.len() * 4);
            for node in nodes.iter_mut() {
                let number = packing.room(node, class, left[class]);
                packing.put(node, class, number);
                left[class] -= number;
                if left[class] == 0 {
                    break;
                }
            }
        }
    }
}
