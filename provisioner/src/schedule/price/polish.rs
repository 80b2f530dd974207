//! Local search: the same pods on a cheaper fleet.

use super::{
    Budget, PatternNode, Problem,
    dive::dive,
    model::Model,
    packing::{Node, Packing, fold, unfold},
    realise::realise,
};

/// How many nodes are taken down together.
const WINDOW: usize = 6;

/// After so many attempts without success a search ends.
const MOST_VAIN: usize = 40;

/// Every so many attempts the price must have come down by this part of it.
const ROUNDS: usize = 16;
const WORTHWHILE: f64 = 0.0005;

/// A fleet of the same pods that costs no more, from any fleet that obeys the rules. The search ends at `target`, per hour.
#[must_use]
pub fn polish(
    problem: &Problem,
    fleet: &[PatternNode],
    target: f64,
    budget: &mut Budget,
) -> Vec<PatternNode> {
    let packing = Packing::new(problem);
    let model = Model::endless(problem);
    let group_of = group_of_class(&packing, &model);
    let ours = |node: &Node| {
        let endless = problem.columns[node.column].copies.is_none();
        endless
            && node
                .pods
                .iter()
                .all(|(class, _)| group_of[*class] < model.groups.len())
    };
    let (mut nodes, others): (Vec<Node>, Vec<Node>) = unfold(&packing, fleet).into_iter().partition(ours);
    let target = target - packing.price_of(&others);
    polish_nodes(&packing, &model, &mut nodes, target, budget);
    nodes.extend(others);
    fold(&packing, nodes)
}

/// Gives every node the cheapest column that holds its pods.
pub(super) fn downsize_all(packing: &Packing<'_>, nodes: &mut [Node], budget: &mut Budget) {
    let columns = by_price(packing);
    nodes
        .iter_mut()
        .for_each(|node| downsize(packing, &columns, node, budget));
}

/// Makes nodes cheaper, until they cost no more than `target` or the budget is spent.
pub(super) fn polish_nodes(
    packing: &Packing<'_>,
    model: &Model,
    nodes: &mut Vec<Node>,
    target: f64,
    budget: &mut Budget,
) {
    let columns = by_price(packing);
    nodes
        .iter_mut()
        .for_each(|node| downsize(packing, &columns, node, budget));
    let close = |nodes: &[Node]| packing.price_of(nodes) <= target;
    if !close(nodes) {
        spread_out(packing, &columns, nodes, budget);
    }
    nodes.retain(|node| !node.pods.is_empty());
    rebuild(packing, model, &columns, nodes, target, budget);
}

/// Takes pods off nodes that are used least for their price, where others have room, if that makes the node cheaper.
fn spread_out(packing: &Packing<'_>, columns: &[usize], nodes: &mut [Node], budget: &mut Budget) {
    let mut order: Vec<usize> = (0..nodes.len()).collect();
    let slack = |node: &Node| idle(packing, node) * packing.price(node.column);
    order.sort_by(|&a, &b| slack(&nodes[b]).total_cmp(&slack(&nodes[a])).then(a.cmp(&b)));
    for victim in order {
        if budget.is_spent() {
            break;
        }
        let mut smaller = nodes[victim].clone();
        let mut moves: Vec<(usize, usize, u32)> = Vec::new();
        for (class, number) in nodes[victim].pods.clone() {
            let mut wanted = number;
            budget.spend(nodes.len() * 4);
            for other in (0..nodes.len()).filter(|other| *other != victim) {
                let moved = packing.room(&nodes[other], class, wanted);
                if moved > 0 {
                    packing.put(&mut nodes[other], class, moved);
                    packing.take(&mut smaller, class, moved);
                    moves.push((other, class, moved));
                    wanted -= moved;
                }
                if wanted == 0 {
                    break;
                }
            }
        }
        downsize(packing, columns, &mut smaller, budget);
        if smaller.pods.is_empty() || smaller.column != nodes[victim].column {
            nodes[victim] = smaller;
        } else {
            for (other, class, moved) in moves {
                packing.take(&mut nodes[other], class, moved);
            }
        }
    }
}

/// The part of a node that is idle, of the resource that it has least of.
#[allow(clippy::cast_precision_loss, reason = "an order")]
fn idle(packing: &Packing<'_>, node: &Node) -> f64 {
    let amounts = node.used.iter().zip(packing.capacity(node.column));
    let shares = amounts.filter(|(_, capacity)| **capacity > 0);
    1.0 - shares
        .map(|(used, capacity)| *used as f64 / *capacity as f64)
        .fold(0.0, f64::max)
}

/// Large neighbourhood search (Shaw 1998): a few nodes, those with most idle and some beside them, are taken down and
/// what was on them is packed anew.
fn rebuild(
    packing: &Packing<'_>,
    model: &Model,
    columns: &[usize],
    nodes: &mut Vec<Node>,
    target: f64,
    budget: &mut Budget,
) {
    let group_of = group_of_class(packing, model);
    let mut vain = 0;
    let mut round = 0;
    let mut before = packing.price_of(nodes);
    while !budget.is_spent() && nodes.len() > 1 && packing.price_of(nodes) > target {
        nodes.sort_by(|a, b| {
            let loss = |node: &Node| idle(packing, node) * packing.price(node.column);
            loss(b)
                .total_cmp(&loss(a))
                .then_with(|| (a.column, &a.pods).cmp(&(b.column, &b.pods)))
        });
        let window = (WINDOW + round % 3 * WINDOW / 2).min(nodes.len());
        let places = nodes.len().div_ceil(window / 2 + 1).max(1);
        if vain > places.min(MOST_VAIN) {
            break;
        }
        if round > 0 && round % ROUNDS == 0 {
            let now = packing.price_of(nodes);
            if now > before * (1.0 - WORTHWHILE) {
                break;
            }
            before = now;
        }
        let start = (round % places) * (window / 2 + 1);
        let picked: Vec<usize> = (start..start + window).map(|place| place % nodes.len()).collect();
        round += 1;
        let mut left = vec![0; packing.problem.classes.len()];
        let mut counts = vec![0; model.groups.len()];
        let mut price = 0.0;
        for &place in &picked {
            price += packing.price(nodes[place].column);
            for (class, number) in &nodes[place].pods {
                left[*class] += number;
                counts[group_of[*class]] += number;
            }
        }
        let mut share = budget.share(8);
        let bought = dive(model, &counts, &mut share);
        budget.give_back(share);
        let mut anew = realise(packing, model, bought, &mut left, budget);
        anew.iter_mut()
            .for_each(|node| downsize(packing, columns, node, budget));
        budget.spend(10_000);
        if left.iter().all(|left| *left == 0) && packing.price_of(&anew) < price * (1.0 - 1e-9) {
            let mut place = 0;
            nodes.retain(|_| {
                place += 1;
                !picked.contains(&(place - 1))
            });
            nodes.extend(anew);
            vain = 0;
        } else {
            vain += 1;
        }
    }
}

/// The group of every class; of those that have none, none that exists.
fn group_of_class(packing: &Packing<'_>, model: &Model) -> Vec<usize> {
    let mut group_of = vec![usize::MAX; packing.problem.classes.len()];
    for (index, group) in model.groups.iter().enumerate() {
        group.members.iter().for_each(|class| group_of[*class] = index);
    }
    group_of
}

/// The columns without limit, cheapest first.
fn by_price(packing: &Packing<'_>) -> Vec<usize> {
    let mut columns: Vec<usize> = (0..packing.problem.columns.len())
        .filter(|column| {
            let column = &packing.problem.columns[*column];
            column.copies.is_none() && column.price.is_finite()
        })
        .collect();
    columns.sort_by(|&a, &b| packing.price(a).total_cmp(&packing.price(b)).then(a.cmp(&b)));
    columns
}

/// Gives a node the cheapest column that holds its pods.
fn downsize(packing: &Packing<'_>, columns: &[usize], node: &mut Node, budget: &mut Budget) {
    let price = packing.price(node.column);
    let cheaper = columns
        .iter()
        .take_while(|column| packing.price(**column) < price);
    let mut work = 0;
    for &column in cheaper {
        work += 4;
        if packing.suits(node, column) {
            node.column = column;
            break;
        }
    }
    budget.spend(work);
}
