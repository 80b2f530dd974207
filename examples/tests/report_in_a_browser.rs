//! The report in a real browser: what a person sees, reads and types.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "an unexpected answer fails the test"
)]

#[path = "support/browser.rs"]
mod browser;

use browser::{Browser, available};
use examples::record::{DecisionEntry, Moment, Record, Replicas};

fn record() -> Record {
    let moment = |t: f64, queue: u64, desired: i64, bought: usize| Moment {
        t,
        queue,
        desired,
        ready: desired,
        nodes: 2 + bought,
        bought: [("m5.xlarge".to_owned(), bought)].into(),
        price_per_hour: 0.192 + 0.24 * bought as f64,
        ..Moment::default()
    };
    let decision = |t: u64, controller: &str, reason: &str| DecisionEntry {
        t,
        controller: controller.to_owned(),
        object: "Deployment keda-test/sqs-app".to_owned(),
        from: "1".to_owned(),
        to: "4".to_owned(),
        reason: reason.to_owned(),
    };
    Record {
        scenario: "browser".to_owned(),
        virtual_seconds: 600.0,
        replicas: Replicas {
            initial: 1,
            peak: 4,
            last: 1,
        },
        timeline: vec![
            moment(0.0, 0, 1, 0),
            moment(200.0, 40, 4, 2),
            moment(500.0, 0, 1, 0),
        ],
        decisions: vec![
            decision(
                200_000,
                "horizontal-pod-autoscaler",
                "external metric above target",
            ),
            decision(210_000, "provisioning", "2 pods found no node"),
            decision(500_000, "disruption", "the node is empty"),
        ],
        ..Record::default()
    }
}

#[tokio::test]
async fn a_person_sees_the_plots_reads_values_and_filters_decisions() {
    if !available("chromedriver") {
        return;
    }
    rustls::crypto::ring::default_provider().install_default().ok();
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("report.html");
    std::fs::write(&page, examples::report::html(&record())).unwrap();

    let browser = Browser::start().await;
    browser.open(&page).await;
    assert_eq!(browser.evaluate("document.title").await, "autoscaler: browser");
    assert_eq!(
        browser
            .evaluate("document.querySelectorAll('figure svg').length")
            .await,
        5
    );
    let widths = "[...document.querySelectorAll('figure svg')].every((svg) => svg.getBoundingClientRect().width > 500)";
    assert_eq!(browser.evaluate(widths).await, true);

    browser.hover("#queue svg").await;
    let tip = browser
        .evaluate("document.querySelector('#queue .tip').textContent")
        .await;
    assert!(tip.as_str().unwrap().contains("messages 40"), "{tip}");
    let tip = browser
        .evaluate("document.querySelector('#nodes .tip').textContent")
        .await;
    assert!(tip.as_str().unwrap().contains("m5.xlarge 2"), "{tip}");

    browser.type_into("#filter", "provisioning node").await;
    assert_eq!(
        browser
            .evaluate("document.getElementById('shown').textContent")
            .await,
        "1"
    );
    let visible = "[...document.querySelectorAll('#decisions tbody tr')].filter((row) => !row.hidden).length";
    assert_eq!(browser.evaluate(visible).await, 1);
    browser.close().await;
}
