//! `TestCalculateRequests` of `replica_calculator_test.go`.

use std::collections::BTreeMap;

use super::test_config;
use crate::hpa::{
    Config,
    pods::{Container, InitContainer, Pod, requests},
};

fn cpu(millis: i64) -> BTreeMap<String, i64> {
    BTreeMap::from([("cpu".to_owned(), millis)])
}

fn container(name: &str, requests: BTreeMap<String, i64>) -> Container {
    Container {
        name: name.to_owned(),
        requests,
    }
}

fn pod(containers: Vec<Container>) -> Pod {
    Pod {
        name: "test-pod".to_owned(),
        containers,
        ..Pod::default()
    }
}

fn init(name: &str, millis: i64, restartable: bool) -> InitContainer {
    InitContainer {
        container: container(name, cpu(millis)),
        restartable,
    }
}

#[test]
fn the_request_of_a_pod_is_found_where_kubernetes_looks() {
    let two = pod(vec![
        container("container1", cpu(100)),
        container("container2", cpu(50)),
    ]);
    let partly = pod(vec![
        container("container1", BTreeMap::new()),
        container("container2", cpu(50)),
    ]);
    let own = |pod: &Pod| Pod {
        pod_requests: cpu(800),
        ..pod.clone()
    };
    let sidecar = Pod {
        init_containers: vec![
            init("init-container1", 20, false),
            init("restartable-container1", 50, true),
        ],
        ..pod(vec![container("container1", cpu(100))])
    };
    let memory = BTreeMap::from([("memory".to_owned(), 1)]);
    let rows = [
        ("sum of containers, gate off", own(&two), None, false, Ok(150)),
        (
            "sum of containers, nothing at pod level",
            two.clone(),
            None,
            true,
            Ok(150),
        ),
        ("the pod's own overrides", own(&two), None, true, Ok(800)),
        (
            "a container without",
            partly.clone(),
            None,
            false,
            Err("missing request for cpu in container container1 of Pod test-pod"),
        ),
        ("the pod's own stands in", own(&partly), None, true, Ok(800)),
        ("one container", two.clone(), Some("container1"), false, Ok(100)),
        (
            "one container, whatever the pod's own",
            own(&two),
            Some("container1"),
            true,
            Ok(100),
        ),
        (
            "restartable init containers count",
            sidecar.clone(),
            None,
            false,
            Ok(150),
        ),
        (
            "no such container",
            two.clone(),
            Some("non-existent-container"),
            true,
            Err("container non-existent-container not found in Pod test-pod"),
        ),
        (
            "the pod requests other things only: its containers count",
            Pod {
                pod_requests: memory.clone(),
                ..two
            },
            None,
            true,
            Ok(150),
        ),
        (
            "the same with sidecars, where starting needs less than running",
            Pod {
                pod_requests: memory.clone(),
                ..sidecar
            },
            None,
            true,
            Ok(150),
        ),
        (
            "nobody requests it",
            Pod {
                pod_requests: memory,
                ..pod(vec![container("container1", BTreeMap::new())])
            },
            None,
            true,
            Err("missing pod-level request for cpu in Pod test-pod"),
        ),
    ];
    for (case, pod, container, gate, expected) in rows {
        let config = Config {
            pod_level_resources: gate,
            ..test_config()
        };
        let got = requests(&[pod], "cpu", container, &config);
        let got = got
            .map(|requests| requests["test-pod"])
            .map_err(|error| error.to_string());
        assert_eq!(got, expected.map_err(str::to_owned), "{case}");
    }
    assert_eq!(
        requests(&[], "cpu", None, &test_config()),
        Ok(BTreeMap::new()),
        "void"
    );
}
