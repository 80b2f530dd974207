//! Garbled inputs: whatever stands in a file, there is a world or a list of problems, and no panic.
#![allow(clippy::unwrap_used, reason = "this is a test")]

use proptest::{collection::vec, prelude::*, sample::select};
use provisioner::{
    offline::{Collector, Problem, Role, documents},
    schedule::{Budget, Overlay, Prepared},
};

const ROLES: [Role; 7] = [
    Role::Pods,
    Role::NodePools,
    Role::InstanceTypes,
    Role::Nodes,
    Role::DaemonSets,
    Role::Namespaces,
    Role::Surroundings,
];

/// One good document for each role.
fn good(role: Role) -> &'static str {
    match role {
        Role::Pods => {
            r#"{"kind":"Pod","metadata":{"name":"a","namespace":"default","labels":{"app":"a"}},"spec":{"nodeSelector":{"kubernetes.io/arch":"amd64"},"tolerations":[{"key":"k","operator":"Exists"}],"topologySpreadConstraints":[{"maxSkew":1,"topologyKey":"topology.kubernetes.io/zone","whenUnsatisfiable":"DoNotSchedule","labelSelector":{"matchLabels":{"app":"a"}}}],"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"cpu","operator":"Gt","values":["4"]}]}]}},"podAntiAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":[{"topologyKey":"kubernetes.io/hostname","labelSelector":{"matchLabels":{"app":"a"}}}]}},"containers":[{"name":"a","ports":[{"containerPort":1,"hostPort":80}],"resources":{"requests":{"cpu":"100m","memory":"64Mi"},"limits":{"cpu":"200m"}}}]}}"#
        }
        Role::NodePools => {
            r#"{"apiVersion":"karpenter.sh/v1","kind":"NodePool","metadata":{"name":"p"},"spec":{"weight":10,"limits":{"cpu":"100","nodes":5},"template":{"metadata":{"labels":{"team":"a"}},"spec":{"taints":[{"key":"k","effect":"NoSchedule"}],"requirements":[{"key":"karpenter.sh/capacity-type","operator":"In","values":["spot"],"minValues":1},{"key":"cpu","operator":"Lt","values":["64"]}],"nodeClassRef":{"group":"g","kind":"k","name":"n"}}}}}"#
        }
        Role::InstanceTypes => {
            r#"{"name":"m","requirements":[{"key":"cpu","operator":"In","values":["8"]},{"key":"kubernetes.io/arch","operator":"In","values":["amd64"]}],"capacity":{"cpu":"8","memory":"16Gi","pods":"20"},"allocatable":{"cpu":"7900m","memory":"15Gi","pods":"20"},"offerings":[{"price":0.5,"available":true,"requirements":[{"key":"karpenter.sh/capacity-type","operator":"In","values":["spot"]},{"key":"topology.kubernetes.io/zone","operator":"In","values":["a"]}]}]}"#
        }
        Role::Nodes => {
            r#"{"kind":"Node","metadata":{"name":"n-1","labels":{"topology.kubernetes.io/zone":"a"}},"spec":{"unschedulable":false,"taints":[]},"status":{"capacity":{"cpu":"4"},"allocatable":{"cpu":"3","memory":"1Gi","pods":"10"}}}"#
        }
        Role::DaemonSets => {
            r#"{"kind":"DaemonSet","metadata":{"name":"d","namespace":"default"},"spec":{"selector":{"matchLabels":{"d":"d"}},"template":{"metadata":{"labels":{"d":"d"}},"spec":{"containers":[{"name":"d","resources":{"requests":{"cpu":"10m"}}}]}}}}"#
        }
        Role::Surroundings => {
            r#"{"kind":"PersistentVolume","metadata":{"name":"v"},"spec":{"csi":{"driver":"csi","volumeHandle":"h"},"nodeAffinity":{"required":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"topology.kubernetes.io/zone","operator":"In","values":["a"]}]}]}}}}"#
        }
        Role::Namespaces => r#"{"kind":"Namespace","metadata":{"name":"default","labels":{"a":"b"}}}"#,
    }
}

/// What stands in the place of something else.
fn odd() -> impl Strategy<Value = String> {
    let words = select(vec![
        "null",
        "true",
        "[]",
        "{}",
        "[[[]]]",
        "-1",
        "0",
        "1e400",
        "-0.0",
        "9223372036854775808",
        "\"\"",
        "\"-5\"",
        "\"9e99\"",
        "\"1e-999999999999\"",
        "\"0.0000000000000001\"",
        "\"5M\"",
        "\"1.5.5Gi\"",
        "\"Ki\"",
        "\"\\u0000\"",
        "\"NaN\"",
        "\"99999999999999999999999999999999999999999Ei\"",
        "\"+\"",
        "{\"a\":{\"b\":[1]}}",
        "[null]",
        "\"In\"",
        "\"spot\"",
    ]);
    prop_oneof![
        words.prop_map(str::to_owned),
        "\\PC{0,12}".prop_map(|text| serde_json::Value::from(text).to_string())
    ]
}

/// A role's document in which some values are something else.
fn mutated(role: Role) -> impl Strategy<Value = String> {
    let values = good(role).split('"').count();
    vec((0..values, odd()), 0..3).prop_map(move |changes| {
        let mut document: serde_json::Value = serde_json::from_str(good(role)).unwrap();
        for (at, value) in changes {
            let value = serde_json::from_str(&value).unwrap_or_default();
            let mut left = at;
            replace(&mut document, &mut left, &value);
        }
        document.to_string()
    })
}

/// Puts `value` in the place of the so-many-th value below this one.
fn replace(at: &mut serde_json::Value, left: &mut usize, value: &serde_json::Value) -> bool {
    let below: Box<dyn Iterator<Item = &mut serde_json::Value>> = match at {
        serde_json::Value::Object(map) => Box::new(map.values_mut()),
        serde_json::Value::Array(list) => Box::new(list.iter_mut()),
        _ => return false,
    };
    for child in below {
        if *left == 0 {
            *child = value.clone();
            return true;
        }
        *left -= 1;
        if replace(child, left, value) {
            return true;
        }
    }
    false
}

/// Builds a world, plans for it where there is one; every problem must say where it is.
fn plan(texts: &[(Role, Vec<u8>)]) -> Result<(), TestCaseError> {
    let mut inputs = Collector::default();
    let mut all: Vec<Problem> = Vec::new();
    for (role, text) in texts {
        let (found, problems) = documents("f", text);
        inputs.add(*role, found);
        all.extend(problems);
    }
    match inputs.build() {
        Ok(inputs) => {
            let prepared = Prepared::new(inputs.world);
            let plan = prepared.solve(&inputs.pods, &Overlay::default(), Budget::auto(inputs.pods.len()));
            let placed: usize = plan.new.iter().map(|node| node.pods.len()).sum();
            let kept: usize = plan.existing.iter().map(|(_, pods)| pods.len()).sum();
            prop_assert_eq!(placed + kept + plan.unschedulable.len(), inputs.pods.len());
        }
        Err(problems) => {
            prop_assert!(!problems.is_empty());
            all.extend(problems);
        }
    }
    for problem in all {
        prop_assert_eq!(&problem.file, "f");
        prop_assert!(!problem.message.is_empty());
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_bytes_are_a_world_or_problems(role in select(ROLES.to_vec()), bytes in vec(any::<u8>(), 0..200)) {
        plan(&[(role, bytes)])?;
    }

    #[test]
    fn any_text_in_the_syntax_of_yaml_is_a_world_or_problems(role in select(ROLES.to_vec()), text in "[-a-z0-9:{}\\[\\],&*!|>'\"#% \n.]{0,120}") {
        plan(&[(role, text.into_bytes())])?;
    }

    #[test]
    fn documents_with_odd_values_are_a_world_or_problems(
        pods in mutated(Role::Pods),
        pools in mutated(Role::NodePools),
        types in mutated(Role::InstanceTypes),
        nodes in mutated(Role::Nodes),
        daemons in mutated(Role::DaemonSets),
    ) {
        plan(&[
            (Role::Pods, pods.into_bytes()),
            (Role::NodePools, pools.into_bytes()),
            (Role::InstanceTypes, types.into_bytes()),
            (Role::Nodes, nodes.into_bytes()),
            (Role::DaemonSets, daemons.into_bytes()),
        ])?;
    }

    #[test]
    fn documents_that_are_cut_or_have_bytes_of_their_own_are_a_world_or_problems(
        role in select(ROLES.to_vec()),
        cut in 0_usize..800,
        changes in vec((0_usize..800, any::<u8>()), 0..4),
    ) {
        let mut bytes = good(role).as_bytes().to_vec();
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        if cut < bytes.len() {
            bytes.truncate(cut);
        }
        plan(&[(role, bytes)])?;
    }
}

#[test]
fn the_good_documents_are_a_world() {
    let mut inputs = Collector::default();
    for role in ROLES {
        let (found, problems) = documents("f", good(role).as_bytes());
        assert_eq!(problems, Vec::new());
        inputs.add(role, found);
    }
    let inputs = inputs.build().unwrap();
    assert_eq!(
        (
            inputs.pods.len(),
            inputs.world.nodes.len(),
            inputs.world.daemons.len()
        ),
        (1, 1, 1)
    );
}

/// What is said of the good document of a role with one text in the place of another.
fn said(role: Role, from: &str, to: &str) -> Vec<String> {
    let text = good(role).replacen(from, to, 1);
    assert_ne!(text, good(role), "{from} stands in the document");
    problems(role, &text)
}

fn problems(role: Role, text: &str) -> Vec<String> {
    let (found, mut problems) = documents("f", text.as_bytes());
    let mut inputs = Collector::default();
    inputs.add(role, found);
    problems.extend(inputs.build().err().unwrap_or_default());
    problems.iter().map(ToString::to_string).collect()
}

/// Role, what stands in its document, what stands there instead, and what is said of it.
const ODD_AMOUNTS: &str = r#"
    Pods          | "cpu":"100m"    | "cpu":"-1"         | spec.containers[0].resources.requests.cpu: is -1,
    Pods          | "memory":"64Mi" | "memory":"9e30"    | spec.containers[0].resources.requests.memory: is 9e30,
    Pods          | "memory":"64Mi" | "memory":"64"      | spec.containers[0].resources.requests.memory: is 64,
    Pods          | "cpu":"200m"    | "cpu":"50m"        | spec.containers[0].resources.requests.cpu: is 100m,
    Pods          | "cpu":"100m"    | "cpu":"1.0.0"      | spec.containers[0].resources.requests.cpu: is "1.0.0",
    NodePools     | "cpu":"100"     | "cpu":"-100"       | spec.limits.cpu: is "-100",
    NodePools     | "nodes":5       | "nodes":-5         | spec.limits.nodes: is "-5",
    NodePools     | "cpu":"100"     | "cpu":"many"       | spec.limits.cpu: is "many",
    InstanceTypes | "cpu":"8"       | "cpu":"-8"         | capacity.cpu: is -8,
    InstanceTypes | "cpu":"8"       | "cpu":"0"          | cpu: is
    InstanceTypes | "memory":"16Gi" | "memory":"16000Ei" | capacity.memory: is 16000Ei,
    InstanceTypes | "memory":"16Gi" | "memory":"16"      | capacity.memory: is 16,
    InstanceTypes | "cpu":"7900m"   | "cpu":"9"          | allocatable.cpu: is 9,
    InstanceTypes | "price":0.5     | "price":-0.5       | price: is -0.5,
    Nodes         | "cpu":"3"       | "cpu":"-3"         | status.allocatable.cpu: is -3,
    Nodes         | "cpu":"3"       | "cpu":"5"          | status.allocatable.cpu: is 5,
    Nodes         | "memory":"1Gi"  | "memory":"9e30"    | status.allocatable.memory: is 9e30,
    Nodes         | "memory":"1Gi"  | "memory":"1"       | status.allocatable.memory: is 1,
    DaemonSets    | "cpu":"10m"     | "cpu":"-10m"       | spec.containers[0].resources.requests.cpu: is -10m,
"#;

#[test]
fn amounts_that_cannot_be_meant_are_named_with_field_value_and_what_was_expected() {
    let mut wrong = Vec::new();
    for line in ODD_AMOUNTS.trim().lines() {
        let [role, from, to, expected] = *line.split('|').map(str::trim).collect::<Vec<_>>() else {
            panic!("{line}");
        };
        let role = ROLES
            .into_iter()
            .find(|known| format!("{known:?}") == role)
            .unwrap();
        let said = said(role, from, to);
        let is_named = |problem: &String| problem.contains(expected) && problem.contains("expected ");
        if !said.iter().any(is_named) {
            wrong.push(format!("{line}: {said:?}"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn names_that_stand_twice_are_named_with_both_places() {
    for role in ROLES {
        let twice = format!("{}\n---\n{}", good(role), good(role));
        let said = problems(role, &twice);
        assert!(
            said.iter()
                .any(|problem| problem.starts_with("f:2: ") && problem.contains("which f:1 has")),
            "{role:?}: {said:#?}"
        );
    }
}

#[test]
fn files_with_nothing_in_them_are_named() {
    for role in ROLES {
        for text in ["", " \n", "# nothing\n", "---\n", "---\n---\n"] {
            let said = problems(role, text);
            assert!(
                said.iter()
                    .any(|problem| problem.contains("is empty, expected at least one object")),
                "{role:?} from {text:?}: {said:#?}"
            );
        }
    }
}
