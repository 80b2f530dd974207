//! `replica_calculator_test.go`: CPU utilisation and custom metrics of pods.

use jiff::{SignedDuration, Timestamp};

use super::{Pods, now, test_config, usage};
use crate::hpa::{
    pods::{PodSample, PodSamples, requests, resource_samples},
    replicas::{PodContext, Tolerances, UtilizationProposal, by_pod_average, by_utilization},
};

const DEFAULT: Tolerances = Tolerances::both(0.1);
const ONE: &[i64] = &[1000; 7];
const ODD: &[i64] = &[900, 1000, 1100];

/// What the containers of each pod use.
#[derive(Clone, Copy, Debug)]
enum Usage {
    /// Both containers the same.
    Both(&'static [i64]),
    /// Each its own.
    Each(&'static [&'static [i64]]),
}

use Usage::{Both, Each};

struct Cpu {
    case: &'static str,
    current: i32,
    pods: Pods,
    usage: Usage,
    container: Option<&'static str>,
    target: i32,
    tolerances: Tolerances,
    /// Replicas, percent, thousandths per pod.
    expect: (i32, i32, i64),
}

const CPU: Cpu = Cpu {
    case: "",
    current: 0,
    pods: Pods {
        count: 0,
        ready: "",
        start: "",
        phases: "",
        deleting: "",
        requests: ONE,
    },
    usage: Both(&[]),
    container: None,
    target: 0,
    tolerances: DEFAULT,
    expect: (0, 0, 0),
};

const PODS: Pods = CPU.pods;

impl Cpu {
    fn check(&self) {
        let mut pods = self.pods;
        pods.count = pods.count.max(usize::try_from(self.current).unwrap());
        let pods = pods.build();
        let per_pod = match self.usage {
            Both(levels) => levels
                .iter()
                .map(|level| vec![*level, *level])
                .collect::<Vec<_>>(),
            Each(levels) => levels.iter().map(|level| level.to_vec()).collect(),
        };
        let usage: Vec<_> = per_pod
            .iter()
            .enumerate()
            .map(|(index, containers)| usage(index, containers, Timestamp::UNIX_EPOCH))
            .collect();
        let samples = resource_samples(&usage, "cpu", self.container);
        let config = test_config();
        let context = PodContext {
            pods: &pods,
            tolerances: self.tolerances,
            config: &config,
            now: now(),
        };
        let requests = || requests(&pods, "cpu", self.container, &config);
        let proposal = by_utilization(self.current, &samples, requests, self.target, true, &context);
        let (replicas, utilization, usage) = self.expect;
        assert_eq!(
            proposal,
            Ok(UtilizationProposal {
                replicas,
                utilization,
                usage
            }),
            "case {}",
            self.case
        );
    }
}

#[test]
fn utilisation_scales_up_as_in_kubernetes() {
    let hot = Pods { start: "hcc", ..PODS };
    let failed = Pods {
        ready: "TTFF",
        phases: "RRFF",
        ..PODS
    };
    let deleted = Pods {
        ready: "TTFF",
        phases: "RRRR",
        deleting: "--DD",
        ..PODS
    };
    let second = Some("container2");
    let up = |case, pods, usage, expect| Cpu {
        case,
        current: 3,
        pods,
        usage,
        target: 30,
        expect,
        ..CPU
    };
    let rows = [
        up("1", PODS, Both(&[300, 500, 700]), (5, 50, 1000)),
        Cpu {
            container: second,
            ..up(
                "2",
                PODS,
                Each(&[&[1000, 300], &[1000, 500], &[1000, 700]]),
                (5, 50, 500),
            )
        },
        up(
            "3",
            Pods { ready: "FTT", ..PODS },
            Both(&[300, 500, 700]),
            (4, 60, 1200),
        ),
        up("4", hot, Both(&[300, 500, 700]), (4, 60, 1200)),
        Cpu {
            container: second,
            ..up(
                "4 container",
                hot,
                Each(&[&[0, 300], &[0, 500], &[0, 700]]),
                (4, 60, 600),
            )
        },
        up(
            "5",
            Pods { ready: "TFF", ..PODS },
            Both(&[400, 500, 700]),
            (3, 40, 800),
        ),
        up(
            "5 hot",
            Pods {
                ready: "TFF",
                start: "chh",
                ..PODS
            },
            Both(&[400, 500, 700]),
            (3, 40, 800),
        ),
        Cpu {
            current: 2,
            ..up("6", failed, Both(&[500, 700]), (4, 60, 1200))
        },
        Cpu {
            current: 2,
            container: second,
            ..up(
                "6 container",
                failed,
                Each(&[&[1000, 500], &[9000, 700]]),
                (4, 60, 600),
            )
        },
        Cpu {
            current: 2,
            container: second,
            ..up(
                "6 missing container",
                failed,
                Each(&[&[1000, 500], &[9000, 700], &[1000], &[9000]]),
                (4, 60, 600),
            )
        },
        Cpu {
            current: 2,
            ..up("7", deleted, Both(&[500, 700]), (4, 60, 1200))
        },
        Cpu {
            current: 2,
            container: Some("container1"),
            ..up("7 container", deleted, Both(&[500, 700]), (4, 60, 600))
        },
    ];
    rows.iter().for_each(Cpu::check);
}

#[test]
fn utilisation_scales_down_as_in_kubernetes() {
    const LEVELS: &[i64] = &[100, 300, 500, 250, 250];
    const SECOND: &[&[i64]] = &[
        &[1000, 100],
        &[1000, 300],
        &[1000, 500],
        &[1000, 250],
        &[1000, 250],
    ];
    let hot = Pods {
        start: "ccchh",
        ..PODS
    };
    let unready = Pods {
        ready: "TTTFF",
        ..PODS
    };
    let pending = Pods {
        ready: "TFFFF",
        phases: "RPPPP",
        ..PODS
    };
    let failed = Pods {
        ready: "TTTTTFF",
        phases: "RRRRRFF",
        ..PODS
    };
    let deleted = Pods {
        ready: "TTTTTFF",
        phases: "RRRRRRR",
        deleting: "-----DD",
        ..PODS
    };
    let down = |case, pods, expect| Cpu {
        case,
        current: 5,
        pods,
        usage: Both(LEVELS),
        target: 50,
        expect,
        ..CPU
    };
    let second = |case, pods, expect| Cpu {
        usage: Each(SECOND),
        container: Some("container2"),
        ..down(case, pods, expect)
    };
    let rows = [
        down("16", PODS, (3, 28, 560)),
        second("16 container", PODS, (3, 28, 280)),
        down("21", unready, (2, 30, 600)),
        second("21 container", unready, (2, 30, 300)),
        down("21 hot", hot, (2, 30, 600)),
        second("21 hot container", hot, (2, 30, 300)),
        Cpu {
            usage: Both(&[100]),
            ..down("22", pending, (1, 10, 200))
        },
        second("22 container", pending, (1, 10, 100)),
        down("23 failed", failed, (3, 28, 560)),
        second("23 failed container", failed, (3, 28, 280)),
        down("23 deleted", deleted, (3, 28, 560)),
        second("23 deleted container", deleted, (3, 28, 280)),
    ];
    rows.iter().for_each(Cpu::check);
}

#[test]
fn tolerances_hold_utilisation_as_in_kubernetes() {
    let rule = |case, usage, (down, up), expect| Cpu {
        case,
        current: 3,
        pods: Pods {
            requests: ODD,
            ..PODS
        },
        usage,
        target: 100,
        tolerances: Tolerances {
            scale_down: down,
            scale_up: up,
        },
        expect,
        ..CPU
    };
    let rows = [
        rule("24", Both(&[1010, 1030, 1020]), (0.1, 0.1), (3, 102, 2040)),
        rule("27", Both(&[909, 1010, 1111]), (0.0, 0.0), (4, 101, 2020)),
        rule("28", Both(&[1890, 1910, 1900]), (0.1, 2.0), (3, 190, 3800)),
        rule("29", Both(&[1100, 1080, 1090]), (2.0, 0.08), (4, 109, 2180)),
        rule("30 within", Both(&[660, 640, 650]), (0.36, 0.1), (3, 65, 1300)),
        rule("30 outside", Both(&[660, 640, 650]), (0.34, 0.1), (2, 65, 1300)),
    ];
    rows.iter().for_each(Cpu::check);
}

#[test]
fn missing_and_superfluous_samples_dampen_utilisation_as_in_kubernetes() {
    let rule = |case, current, target, usage, expect| Cpu {
        case,
        current,
        usage,
        target,
        expect,
        ..CPU
    };
    let unready = Pods { ready: "FTT", ..PODS };
    let hot = Pods { start: "hcc", ..PODS };
    let rows = [
        Cpu {
            pods: Pods {
                requests: &[1000; 4],
                ..PODS
            },
            ..rule(
                "32",
                4,
                100,
                Both(&[4000, 9500, 3000, 7000, 3200, 2000]),
                (24, 587, 11750),
            )
        },
        rule("33", 4, 100, Both(&[400, 95]), (3, 24, 495)),
        rule("34 at target", 2, 100, Both(&[1000]), (2, 100, 2000)),
        rule("34 above", 2, 100, Both(&[1900]), (2, 190, 3800)),
        rule("34 below", 2, 100, Both(&[600]), (2, 60, 1200)),
        Cpu {
            pods: unready,
            ..rule("35", 3, 50, Both(&[100, 450]), (3, 45, 900))
        },
        Cpu {
            pods: hot,
            ..rule("35 hot", 3, 50, Both(&[100, 450]), (3, 45, 900))
        },
        Cpu {
            pods: unready,
            ..rule("36", 3, 50, Both(&[100, 2000]), (4, 200, 4000))
        },
        Cpu {
            pods: Pods { ready: "FTT", ..hot },
            ..rule("36 hot", 3, 50, Both(&[100, 2000]), (4, 200, 4000))
        },
        Cpu {
            pods: Pods {
                ready: "FTTT",
                ..PODS
            },
            ..rule("37", 4, 50, Both(&[100; 3]), (3, 10, 200))
        },
        Cpu {
            pods: Pods {
                ready: "FTTT",
                requests: &[1000, 1000, 2000, 2000],
                ..PODS
            },
            ..rule("38", 4, 300, Both(&[200, 100, 100]), (2, 6, 200))
        },
        Cpu {
            pods: Pods {
                phases: "RRR",
                ..PODS
            },
            ..rule("39", 2, 50, Both(&[100, 100]), (2, 10, 200))
        },
    ];
    rows.iter().for_each(Cpu::check);
}

/// `TestReplicaCalcComputedToleranceAlgImplementation`: ten pods use half of what they request; a target just outside
/// the tolerance scales down, one just inside does not.
#[test]
fn the_edge_of_the_tolerance_is_where_kubernetes_has_it() {
    const REQUESTS: &[i64] = &[400, 200, 310, 290, 302, 298, 301, 299, 300, 300];
    let rule = |case, target, expect| Cpu {
        case,
        current: 10,
        pods: Pods {
            requests: REQUESTS,
            ..PODS
        },
        usage: Both(&[150; 10]),
        target,
        expect,
        ..CPU
    };
    rule("computed tolerance: outside", 56, (9, 50, 300)).check();
    rule("computed tolerance: inside", 55, (10, 50, 300)).check();
}

struct Plain {
    case: &'static str,
    current: i32,
    pods: Pods,
    levels: &'static [i64],
    target: i64,
    tolerances: Tolerances,
    /// Replicas, average.
    expect: (i32, i64),
}

#[test]
fn custom_metrics_of_pods_scale_as_in_kubernetes() {
    let rule = |case, current, levels, target, expect| Plain {
        case,
        current,
        pods: PODS,
        levels,
        target,
        tolerances: DEFAULT,
        expect,
    };
    let rows = [
        rule("8", 3, &[20000, 10000, 30000], 15000, (4, 20000)),
        Plain {
            pods: Pods {
                ready: "TTF",
                start: "cch",
                ..PODS
            },
            ..rule("9", 3, &[50000, 10000, 30000], 15000, (6, 30000))
        },
        Plain {
            pods: Pods {
                ready: "FTF",
                start: "hch",
                ..PODS
            },
            ..rule("10", 3, &[50000, 15000, 30000], 15000, (7, 31666))
        },
        rule("17", 5, &[12000; 5], 20000, (3, 12000)),
        rule("25", 3, &[20000, 21000, 21000], 20000, (3, 20666)),
        Plain {
            tolerances: Tolerances {
                scale_down: 0.1,
                scale_up: 0.01,
            },
            ..rule("31", 3, &[20000, 21000, 21000], 20000, (4, 20666))
        },
        Plain {
            pods: Pods {
                phases: "RRR",
                ..PODS
            },
            ..rule("39", 2, &[10000; 2], 17000, (2, 10000))
        },
        rule("one pod", 1, &[8600], 4400, (2, 8600)),
        rule(
            "two of five missing",
            5,
            &[20000, 19000, 21000],
            20000,
            (5, 20000),
        ),
    ];
    for Plain {
        case,
        current,
        mut pods,
        levels,
        target,
        tolerances,
        expect,
    } in rows
    {
        pods.count = usize::try_from(current).unwrap();
        let pods = pods.build();
        let sample = |value| PodSample {
            value,
            timestamp: Timestamp::UNIX_EPOCH,
            window: SignedDuration::from_mins(1),
        };
        let samples: PodSamples = levels
            .iter()
            .enumerate()
            .map(|(index, level)| (format!("test-pod-{index}"), sample(*level)))
            .collect();
        let config = test_config();
        let context = PodContext {
            pods: &pods,
            tolerances,
            config: &config,
            now: now(),
        };
        let proposal = by_pod_average(current, &samples, target, false, &context).unwrap();
        assert_eq!((proposal.replicas, proposal.usage), expect, "case {case}");
    }
}
