use proptest::prelude::*;

use super::*;

/// What is wrong with a fleet, by code that shares nothing with what made it.
fn fault(problem: &Problem, fleet: &[PatternNode], unplaceable: &[usize]) -> Option<String> {
    let mut placed = vec![0_u64; problem.classes.len()];
    for node in fleet {
        let column = &problem.columns[node.column];
        if column.copies.is_some() {
            return Some(format!("a limited column is used: {node:?}"));
        }
        for (resource, capacity) in column.allocatable.iter().enumerate() {
            let amount = |(class, number): &(usize, u32)| {
                let requests = &problem.classes[*class].requests;
                i128::from(requests.get(resource).copied().unwrap_or(0).max(0)) * i128::from(*number)
            };
            if node.pods.iter().map(amount).sum::<i128>() > i128::from((*capacity).max(0)) {
                return Some(format!("resource {resource} is exceeded: {node:?}"));
            }
        }
        let pods_of = |classes: &[usize]| -> u32 {
            let mine = node.pods.iter().filter(|(class, _)| classes.contains(class));
            mine.map(|(_, number)| number).sum()
        };
        for rule in &problem.rules {
            if pods_of(&rule.holders) > 0 && pods_of(&rule.counted) > rule.most {
                return Some(format!("{rule:?} is broken: {node:?}"));
            }
        }
        for (class, number) in &node.pods {
            if !problem.classes[*class].fits.contains(node.column) {
                return Some(format!("class {class} does not fit: {node:?}"));
            }
            placed[*class] += u64::from(*number) * u64::from(node.copies);
        }
    }
    for (class, placed) in placed.into_iter().enumerate() {
        let wanted = if unplaceable.contains(&class) {
            0
        } else {
            problem.classes[class].count
        };
        if placed != u64::from(wanted) {
            return Some(format!("{placed} of {wanted} pods of class {class} are placed"));
        }
    }
    None
}

#[track_caller]
fn best(problem: &Problem) -> Candidate {
    let mut budget = Budget::unlimited();
    let bound = bound(problem, &mut budget);
    let candidates = fleets(problem, bound.lower_bound, 0.0, &mut budget);
    for candidate in &candidates {
        assert_eq!(fault(problem, &candidate.fleet, &bound.unplaceable), None);
        assert!(candidate.price >= bound.lower_bound, "{candidate:?} {bound:?}");
    }
    candidates.into_iter().next().unwrap()
}

#[test]
fn one_pod_gets_the_cheapest_node_that_holds_it() {
    let columns = vec![column(9.0, &[20]), column(7.0, &[10]), column(1.0, &[4])];
    let best = best(&problem(vec![class(1, &[5])], columns));
    let node = PatternNode {
        column: 1,
        pods: vec![(0, 1)],
        copies: 1,
    };
    assert_eq!(best.fleet, [node]);
}

#[test]
fn two_kinds_of_pods_share_nodes_that_either_alone_would_waste() {
    let classes = vec![class(40, &[3, 1]), class(40, &[1, 3])];
    let best = best(&problem(classes, vec![column(4.0, &[8, 8])]));
    assert!((best.price - 80.0).abs() < 1e-9, "{best:?}");
}

#[test]
fn the_last_node_is_no_larger_than_it_need_be() {
    let columns = vec![column(10.0, &[100]), column(2.0, &[10])];
    let best = best(&problem(vec![class(105, &[1])], columns));
    assert!((best.price - 12.0).abs() < 1e-9, "{best:?}");
}

#[test]
fn pods_that_keep_apart_take_others_along() {
    let mut problem = problem(
        vec![class(4, &[1]), class(12, &[1])],
        vec![column(4.0, &[4]), column(2.5, &[2])],
    );
    problem.rules.push(Rule {
        holders: vec![0],
        counted: vec![0],
        most: 1,
    });
    assert!((best(&problem).price - 16.0).abs() < 1e-9);
}

#[test]
fn classes_that_exclude_each_other_share_no_node() {
    let mut problem = problem(vec![class(3, &[1]), class(3, &[1])], vec![column(4.0, &[10])]);
    problem.rules.push(Rule {
        holders: vec![0],
        counted: vec![1],
        most: 0,
    });
    assert!((best(&problem).price - 8.0).abs() < 1e-9);
}

#[test]
fn a_wasteful_fleet_is_polished() {
    let problem = problem(vec![class(4, &[1])], vec![column(10.0, &[10]), column(3.0, &[4])]);
    let wasteful = [PatternNode {
        column: 0,
        pods: vec![(0, 1)],
        copies: 4,
    }];
    let polished = polish(&problem, &wasteful, 0.0, &mut Budget::unlimited());
    assert_eq!(
        polished,
        [PatternNode {
            column: 1,
            pods: vec![(0, 4)],
            copies: 1
        }]
    );
}

#[test]
fn the_same_question_has_the_same_answer() {
    let classes: Vec<Class> = (1..30)
        .map(|size| class(20, &[size % 7 + 1, size % 5 + 1]))
        .collect();
    let columns: Vec<Column> = (1..20)
        .map(|size| {
            column(
                f64::from(size) * 1.01,
                &[i64::from(size) * 9, i64::from(size) * 7],
            )
        })
        .collect();
    let problem = problem(classes, columns);
    let ask = || fleets(&problem, 0.0, 0.0, &mut Budget::auto(580));
    assert_eq!(ask(), ask());
}

#[test]
fn no_budget_still_places_all() {
    let classes: Vec<Class> = (1..30)
        .map(|size| class(20, &[size % 7 + 1, size % 5 + 1]))
        .collect();
    let problem = problem(classes, vec![column(3.0, &[16, 16])]);
    let candidates = fleets(&problem, 0.0, 0.0, &mut Budget::units(0));
    assert_eq!(fault(&problem, &candidates[0].fleet, &[]), None);
}

prop_compose! {
    fn any_problem()(
        columns in 1_usize..6,
        classes in 1_usize..7,
    )(
        columns in prop::collection::vec((0_u32..40, prop::collection::vec(0_i64..60, 3), prop::bool::weighted(0.1)), columns),
        sets in prop::collection::vec(prop::collection::vec(prop::bool::weighted(0.8), columns), classes),
        pods in prop::collection::vec((0_u32..25, prop::collection::vec(0_i64..20, 3)), classes),
        rules in prop::collection::vec((prop::collection::vec(0..classes, 0..4), prop::collection::vec(0..classes, 0..4), 0_u32..3), 0..3),
    ) -> Problem {
        let columns = columns.into_iter().map(|(price, allocatable, limited)| Column {
            allocatable,
            price: f64::from(price) / 4.0,
            copies: limited.then_some(2),
        });
        let classes = pods.into_iter().zip(sets).map(|((count, requests), set)| Class {
            count,
            requests,
            fits: (0..set.len()).filter(|column| set[*column]).collect(),
        });
        let rules = rules.into_iter().map(|(holders, counted, most)| Rule { holders, counted, most });
        Problem { classes: classes.collect(), columns: columns.collect(), rules: rules.collect() }
    }
}

/// Without what is limited, which no strategy uses.
fn endless(mut problem: Problem) -> Problem {
    let limited = problem
        .columns
        .iter_mut()
        .filter(|column| column.copies.is_some());
    limited.for_each(|column| column.copies = Some(0));
    problem
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn fleets_are_valid_and_no_cheaper_than_the_bound(problem in any_problem()) {
        let with_nodes = bound(&problem, &mut Budget::unlimited());
        let problem = endless(problem);
        let bound = bound(&problem, &mut Budget::unlimited());
        if with_nodes.unplaceable == bound.unplaceable {
            prop_assert!(with_nodes.lower_bound <= bound.lower_bound * (1.0 + 1e-7) + 1e-7, "{with_nodes:?} {bound:?}");
        }
        for units in [0, 20_000, u64::MAX] {
            for candidate in fleets(&problem, bound.lower_bound, 0.0, &mut Budget::units(units)) {
                prop_assert_eq!(fault(&problem, &candidate.fleet, &bound.unplaceable), None);
                prop_assert!(candidate.price >= bound.lower_bound, "{:?} {:?}", candidate, bound);
                prop_assert!((candidate.price - price_of(&problem, &candidate.fleet)).abs() < 1e-6);
                let polished = polish(&problem, &candidate.fleet, bound.lower_bound, &mut Budget::units(units));
                prop_assert_eq!(fault(&problem, &polished, &bound.unplaceable), None);
                prop_assert!(price_of(&problem, &polished) <= candidate.price + 1e-9);
            }
        }
    }

    #[test]
    fn more_pods_never_lower_the_bound(problem in any_problem(), class in 0_usize..7, more in 1_u32..9) {
        let problem = endless(problem);
        let before = bound(&problem, &mut Budget::unlimited());
        let mut greater = problem;
        let class = class % greater.classes.len();
        greater.classes[class].count += more;
        let after = bound(&greater, &mut Budget::unlimited());
        prop_assert!(before.converged && after.converged);
        prop_assert!(after.lower_bound >= before.lower_bound * (1.0 - 1e-7) - 1e-7, "{before:?} {after:?}");
    }

    #[test]
    fn a_spent_budget_only_loosens_the_bound(problem in any_problem(), units in 0_u64..40_000) {
        let whole = bound(&problem, &mut Budget::unlimited());
        let part = bound(&problem, &mut Budget::units(units));
        prop_assert!(part.lower_bound <= whole.lower_bound * (1.0 + 1e-7) + 1e-7);
    }
}
