use super::*;

fn bound_of(problem: &Problem) -> f64 {
    let bound = bound(problem, &mut Budget::unlimited());
    assert!(bound.converged);
    bound.lower_bound
}

#[track_caller]
fn assert_near(value: f64, expected: f64) {
    assert!((value - expected).abs() < 1e-6, "{value} is not {expected}");
}

#[test]
fn one_pod_needs_a_whole_node() {
    let problem = problem(vec![class(1, &[1])], vec![column(7.0, &[10]), column(9.0, &[20])]);
    assert_near(bound_of(&problem), 7.0);
}

#[test]
fn many_pods_cost_their_share_of_the_best_price() {
    let problem = problem(
        vec![class(100, &[1])],
        vec![column(3.0, &[2]), column(10.0, &[10])],
    );
    assert_near(bound_of(&problem), 100.0);
}

#[test]
fn the_scarcer_resource_decides() {
    // Both fill memory, 4 a node; processors are idle.
    let problem = problem(
        vec![class(8, &[1, 2]), class(8, &[2, 2])],
        vec![column(5.0, &[100, 8])],
    );
    assert_near(bound_of(&problem), 20.0);
}

#[test]
fn two_kinds_of_nodes_balance_two_resources() {
    let columns = vec![column(10.0, &[12, 4]), column(10.0, &[4, 12])];
    let problem = problem(vec![class(40, &[3, 1]), class(40, &[1, 3])], columns);
    assert_near(bound_of(&problem), 200.0);
}

#[test]
fn pods_that_keep_apart_need_a_node_each() {
    let mut problem = problem(vec![class(6, &[1]), class(4, &[1])], vec![column(2.0, &[10])]);
    problem.rules.push(Rule {
        holders: vec![0],
        counted: vec![0],
        most: 1,
    });
    assert_near(bound_of(&problem), 12.0);
}

#[test]
fn a_rule_about_others_alone_does_not_raise_the_bound() {
    let mut problem = problem(vec![class(5, &[1]), class(5, &[1])], vec![column(2.0, &[10])]);
    problem.rules.push(Rule {
        holders: vec![0],
        counted: vec![1],
        most: 0,
    });
    assert!(bound_of(&problem) <= 4.0 + 1e-9);
}

#[test]
fn room_that_is_there_already_is_taken_off() {
    let mut there = column(0.0, &[30]);
    there.copies = Some(1);
    let problem = problem(vec![class(100, &[1])], vec![there, column(10.0, &[10])]);
    assert_near(bound_of(&problem), 70.0);
}

#[test]
fn room_that_is_there_already_may_be_on_several_nodes() {
    let mut there = column(0.0, &[30]);
    there.copies = Some(1);
    let mut problem = problem(vec![class(8, &[10])], vec![there, column(10.0, &[10])]);
    problem.rules.push(Rule {
        holders: vec![0],
        counted: vec![0],
        most: 1,
    });
    assert_near(bound_of(&problem), 50.0);
}

#[test]
fn pods_that_fit_nowhere_are_named() {
    let mut nowhere = class(3, &[1]);
    nowhere.fits = ColumnSet::default();
    let classes = vec![class(2, &[100]), nowhere, class(1, &[1])];
    let bound = bound(
        &problem(classes, vec![column(2.0, &[10])]),
        &mut Budget::unlimited(),
    );
    assert_eq!(bound.unplaceable, [0, 1]);
    assert_near(bound.lower_bound, 2.0);
}

#[test]
fn odd_input_is_no_reason_to_panic() {
    let odd = [
        problem(vec![], vec![]),
        problem(vec![class(3, &[1])], vec![]),
        problem(vec![class(0, &[1])], vec![column(1.0, &[1])]),
        problem(vec![class(7, &[])], vec![column(1.0, &[])]),
        problem(vec![class(7, &[0, 0])], vec![column(1.0, &[1, 1])]),
        problem(vec![class(7, &[-5, 1])], vec![column(1.0, &[-1, 1])]),
        problem(
            vec![class(u32::MAX, &[i64::MAX])],
            vec![column(f64::MAX, &[i64::MAX])],
        ),
        problem(
            vec![class(u32::MAX, &[1]), class(u32::MAX, &[1])],
            vec![column(1e-300, &[i64::MAX])],
        ),
        problem(
            vec![class(3, &[1])],
            vec![column(f64::NAN, &[9]), column(f64::INFINITY, &[9])],
        ),
        problem(vec![class(3, &[1])], vec![column(-1.0, &[9]), column(0.0, &[9])]),
    ];
    for problem in odd {
        let bound = bound(&problem, &mut Budget::units(10_000_000));
        assert!(
            bound.lower_bound >= 0.0 || bound.lower_bound.is_nan(),
            "{problem:?}"
        );
        assert!(!bound.lower_bound.is_nan(), "{problem:?}");
    }
}

#[test]
fn a_column_that_another_beats_changes_nothing() {
    let classes = vec![class(40, &[3, 1]), class(10, &[1, 4])];
    let columns = vec![column(5.0, &[16, 16]), column(9.0, &[32, 32])];
    let plain = bound_of(&problem(classes.clone(), columns.clone()));
    let mut more = columns;
    more.push(column(6.0, &[16, 15]));
    assert_near(bound_of(&problem(classes, more)), plain);
}
