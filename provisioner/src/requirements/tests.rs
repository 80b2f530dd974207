use super::*;

fn requirement(operator: Operator, values: &[&str]) -> Requirement {
    Requirement::new("key", operator, values.iter().map(|&value| value.to_owned())).unwrap()
}

use Operator::{DoesNotExist, Exists, Gt, Gte, In, Lt, Lte, NotIn};

type Set = (Operator, &'static [&'static str]);

#[test]
fn intersections_follow_the_algebra() {
    let cases: &[(Set, Set, &str)] = &[
        ((In, &["a", "b"]), (In, &["b", "c"]), "key In [b]"),
        ((In, &["a"]), (In, &["b"]), "key DoesNotExist"),
        ((In, &["a", "b"]), (NotIn, &["a"]), "key In [b]"),
        ((NotIn, &["a"]), (NotIn, &["b"]), "key NotIn [a b]"),
        ((Exists, &[]), (In, &["a"]), "key In [a]"),
        ((Exists, &[]), (NotIn, &["a"]), "key NotIn [a]"),
        ((Exists, &[]), (DoesNotExist, &[]), "key DoesNotExist"),
        ((Gt, &["3"]), (Lt, &["9"]), "key Exists >=4 <=8"),
        ((Gt, &["3"]), (Lt, &["4"]), "key DoesNotExist"),
        ((Gte, &["3"]), (Lte, &["3"]), "key Exists >=3 <=3"),
        ((In, &["1", "5", "x"]), (Gt, &["3"]), "key In [5]"),
        ((NotIn, &["1", "5"]), (Gt, &["3"]), "key NotIn [5] >=4"),
    ];
    for ((left, left_values), (right, right_values), expected) in cases {
        let (left, right) = (requirement(*left, left_values), requirement(*right, right_values));
        assert_eq!(
            left.intersection(&right).to_string(),
            *expected,
            "{left} with {right}"
        );
        assert_eq!(
            right.intersection(&left).to_string(),
            *expected,
            "{right} with {left}"
        );
        let some = !matches!(left.intersection(&right).operator(), DoesNotExist);
        assert_eq!(left.intersects(&right), some, "{left} with {right}");
    }
}

#[test]
fn an_undefined_label_may_only_be_asked_to_be_missing_or_different() {
    let cases: &[(Operator, &[&str], bool)] = &[
        (In, &["a"], false),
        (Exists, &[], false),
        (NotIn, &["a"], true),
        (DoesNotExist, &[], true),
        (Gt, &["1"], false),
    ];
    for (operator, values, compatible) in cases {
        let asked: Requirements = [requirement(*operator, values)].into_iter().collect();
        let answer = Requirements::new().compatible(&asked, AllowUndefined::WellKnown);
        assert_eq!(answer.is_ok(), *compatible, "{asked}");
    }
}

#[test]
fn well_known_labels_may_be_asked_of_a_pool_but_not_of_a_node() {
    let asked: Requirements = [Requirement::one_of(labels::ZONE, ["a"])].into_iter().collect();
    assert!(
        Requirements::new()
            .compatible(&asked, AllowUndefined::WellKnown)
            .is_ok()
    );
    assert!(
        Requirements::new()
            .compatible(&asked, AllowUndefined::Nothing)
            .is_err()
    );
}

#[test]
fn reasons_carry_karpenters_words_and_hints_at_typing_errors() {
    let asked: Requirements = [Requirement::one_of("zone", ["a"])].into_iter().collect();
    let reason = Requirements::new()
        .compatible(&asked, AllowUndefined::WellKnown)
        .unwrap_err();
    assert_eq!(
        reason.to_string(),
        r#"label "zone" does not have known values (typo of "topology.kubernetes.io/zone"?)"#
    );
    let offered: Requirements = [requirement(In, &["b"])].into_iter().collect();
    let asked: Requirements = [requirement(In, &["a"])].into_iter().collect();
    let reason = offered.compatible(&asked, AllowUndefined::WellKnown).unwrap_err();
    assert_eq!(reason.to_string(), "key key, key In [a] not in key In [b]");
}

#[test]
fn two_sides_that_both_allow_absence_meet() {
    let offered: Requirements = [requirement(DoesNotExist, &[])].into_iter().collect();
    let asked: Requirements = [requirement(NotIn, &["a"])].into_iter().collect();
    assert!(offered.intersects(&asked).is_ok());
    let asked: Requirements = [requirement(Exists, &[])].into_iter().collect();
    assert!(offered.intersects(&asked).is_err());
}

#[test]
fn only_a_subset_guarantees() {
    let zones = |values: &[&str]| -> Requirements { [requirement(In, values)].into_iter().collect() };
    assert!(zones(&["a"]).guarantees(&zones(&["a", "b"])));
    assert!(!zones(&["a", "b"]).guarantees(&zones(&["a"])));
    assert!(!Requirements::new().guarantees(&zones(&["a"])));
    assert!(Requirements::new().guarantees(&[requirement(NotIn, &["a"])].into_iter().collect()));
}

#[test]
fn requirements_survive_being_written() {
    let specs = vec![
        RequirementSpec::new("cpu", Gt, ["3"]),
        RequirementSpec::new("cpu", Lt, ["9"]),
        RequirementSpec::new("family", NotIn, ["a", "b"]),
        RequirementSpec {
            min_values: Some(2),
            ..RequirementSpec::new("type", In, ["x", "y"])
        },
    ];
    let requirements = Requirements::from_specs(&specs).unwrap();
    assert_eq!(
        requirements.to_string(),
        "cpu Exists >=4 <=8, family NotIn [a b], type In [x y] minValues 2"
    );
    assert_eq!(
        Requirements::from_specs(&requirements.to_specs()).unwrap(),
        requirements
    );
}

#[test]
fn values_are_made_up_deterministically() {
    assert_eq!(requirement(In, &["b", "a"]).any().as_deref(), Some("a"));
    assert_eq!(requirement(Gt, &["3"]).any().as_deref(), Some("4"));
    assert_eq!(requirement(Exists, &[]).any(), None);
}

#[test]
fn a_bound_that_is_no_integer_is_refused_by_name() {
    let error = Requirement::new("cpu", Gt, ["many".to_owned()])
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        r#"requirement cpu Gt has values {"many"}, expected a single integer"#
    );
}

#[test]
fn two_values_at_once_are_not_satisfied_by_absence() {
    let both = requirement(In, &["a"]).intersection(&requirement(In, &["b"]));
    let asked: Requirements = [both].into_iter().collect();
    let without_the_label = Requirements::new();
    assert!(
        without_the_label
            .compatible(&asked, AllowUndefined::Nothing)
            .is_err()
    );
    let absent: Requirements = [Requirement::absent("key")].into_iter().collect();
    assert!(absent.compatible(&asked, AllowUndefined::Nothing).is_err());
    assert!(
        without_the_label
            .compatible(&absent, AllowUndefined::Nothing)
            .is_ok()
    );
}

#[test]
fn more_than_five_values_are_summarised() {
    let many = requirement(In, &["a", "b", "c", "d", "e", "f", "g"]);
    assert_eq!(many.to_string(), "key In [a b c d e and 2 others]");
}

fn any_requirement() -> impl proptest::strategy::Strategy<Value = Requirement> {
    use proptest::prelude::*;
    let values = proptest::collection::btree_set(0_i64..6, 0..4);
    let operators = prop_oneof![
        Just(In),
        Just(NotIn),
        Just(Exists),
        Just(DoesNotExist),
        Just(Gt),
        Just(Lt),
        Just(Gte),
        Just(Lte)
    ];
    (operators, values, 0_i64..6).prop_map(|(operator, values, bound)| {
        let values: Vec<String> = match operator {
            Gt | Lt | Gte | Lte => vec![bound.to_string()],
            _ => values.iter().map(ToString::to_string).collect(),
        };
        Requirement::new("key", operator, values).unwrap()
    })
}

proptest::proptest! {
    #[test]
    fn an_intersection_has_what_both_have(one in any_requirement(), another in any_requirement()) {
        let both = one.intersection(&another);
        for value in (-1..8).map(|number: i64| number.to_string()) {
            proptest::prop_assert_eq!(both.has(&value), one.has(&value) && another.has(&value), "{} of {} and {}", value, one, another);
        }
        proptest::prop_assert_eq!(both.to_string(), another.intersection(&one).to_string());
        let written = Requirements::from_specs(&both.to_specs()).unwrap();
        proptest::prop_assert_eq!(written.get("key").unwrap().to_string(), both.to_string());
        proptest::prop_assert_eq!(both.allows_absence(), one.allows_absence() && another.allows_absence());
    }

    #[test]
    fn a_subset_stays_itself_when_intersected(one in any_requirement(), another in any_requirement()) {
        if one.is_subset_of(&another) {
            for value in (-1..8).map(|number: i64| number.to_string()) {
                proptest::prop_assert!(!one.has(&value) || another.has(&value), "{} is in {} but not in {}", value, one, another);
            }
        }
    }
}
