//! The record of a run as one self-contained HTML page.
//!
//! The plots are drawn here, so that the page shows everything without scripts and without a network; a small script
//! adds a crosshair over all plots and a filter over the decisions.

mod chart;

use std::{collections::BTreeSet, fmt::Write as _};

use chart::{Chart, Series, Shape};

use crate::{
    record::{EventEntry, Moment, Record},
    view::clock,
};

/// Colours of instance types, from the most to the least bought; distinguishable without colour vision.
const TYPE_COLOURS: [&str; 6] = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00"];

/// Renders the page.
#[must_use]
pub fn html(record: &Record) -> String {
    let mut page = String::with_capacity(256 * 1024);
    let title = format!("autoscaler: {}", record.scenario);
    push(
        &mut page,
        format_args!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n<title>{}</title>\n<style>{}</style>\n</head>\n<body>\n",
            escape(&title),
            include_str!("page.css")
        ),
    );
    header(&mut page, record);
    page.push_str("<main>\n<section id=\"plots\">\n");
    for chart in charts(record) {
        chart.render(&mut page, record.virtual_seconds);
    }
    page.push_str("</section>\n");
    decisions(&mut page, record);
    events(&mut page, record);
    page.push_str("</main>\n");
    push(
        &mut page,
        format_args!("<script>{}</script>\n</body>\n</html>\n", include_str!("page.js")),
    );
    page
}

fn push(page: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _infallible = page.write_fmt(text);
}

fn header(page: &mut String, record: &Record) {
    push(
        page,
        format_args!(
            "<header>\n<h1>{}</h1>\n<dl id=\"summary\">\n",
            escape(&record.scenario)
        ),
    );
    let mut item = |name: &str, value: String| {
        push(
            page,
            format_args!("<div><dt>{name}</dt><dd>{}</dd></div>\n", escape(&value)),
        );
    };
    let replicas = record.replicas;
    item(
        "replicas",
        format!("{} → {} → {}", replicas.initial, replicas.peak, replicas.last),
    );
    let nodes = record.nodes;
    item(
        "nodes",
        format!(
            "{} fixed, up to {} bought, {} at the end",
            nodes.initial, nodes.peak_bought, nodes.final_bought
        ),
    );
    item("pending pods, at most", record.peak_pending_pods.to_string());
    if record.messages.sent > 0 {
        let messages = record.messages;
        item(
            "messages",
            format!(
                "{} sent, {} written, {} lost",
                messages.sent, messages.processed, messages.lost
            ),
        );
    }
    item(
        "cost",
        format!("{:.2} {}", record.cost.total, record.cost.currency),
    );
    item(
        "time",
        format!(
            "{} virtual in {:.2} s",
            duration(record.virtual_seconds),
            record.wall_seconds
        ),
    );
    item("seed", record.seed.to_string());
    page.push_str("</dl>\n</header>\n");
}

fn charts(record: &Record) -> Vec<Chart> {
    let line = |name: &str, colour: &'static str, value: fn(&Moment) -> f64| Series {
        name: name.to_owned(),
        colour: colour.to_owned(),
        points: record
            .timeline
            .iter()
            .map(|moment| (moment.t, value(moment)))
            .collect(),
    };
    let mut charts = Vec::new();
    if record.timeline.iter().any(|moment| moment.queue > 0) {
        charts.push(Chart {
            id: "queue",
            title: "Messages in queues",
            shape: Shape::Area,
            series: vec![line("messages", "#0072b2", |moment| moment.queue as f64)],
            unit: "",
        });
    }
    charts.push(Chart {
        id: "replicas",
        title: "Replicas of the first workload",
        shape: Shape::Lines,
        series: vec![
            line("desired", "#d55e00", |moment| moment.desired as f64),
            line("ready", "#0072b2", |moment| moment.ready as f64),
        ],
        unit: "",
    });
    charts.push(Chart {
        id: "pending",
        title: "Pods that find no node",
        shape: Shape::Area,
        series: vec![line("pending", "#cc79a7", |moment| moment.pending as f64)],
        unit: "",
    });
    charts.push(Chart {
        id: "nodes",
        title: "Nodes by type",
        shape: Shape::Stack,
        series: node_series(record),
        unit: "",
    });
    charts.push(Chart {
        id: "price",
        title: "Price per hour",
        shape: Shape::Area,
        series: vec![line("price", "#009e73", |moment| moment.price_per_hour)],
        unit: "$",
    });
    charts
}

fn node_series(record: &Record) -> Vec<Series> {
    let types: BTreeSet<&String> = record
        .timeline
        .iter()
        .flat_map(|moment| moment.bought.keys())
        .collect();
    let points = |value: &dyn Fn(&Moment) -> usize| -> Vec<(f64, f64)> {
        record
            .timeline
            .iter()
            .map(|moment| (moment.t, value(moment) as f64))
            .collect()
    };
    let mut series = vec![Series {
        name: "fixed".to_owned(),
        colour: "#8a8f98".to_owned(),
        points: points(&|moment| moment.nodes.saturating_sub(moment.bought.values().sum())),
    }];
    for (index, name) in types.into_iter().enumerate() {
        series.push(Series {
            name: name.clone(),
            colour: TYPE_COLOURS[index % TYPE_COLOURS.len()].to_owned(),
            points: points(&|moment| moment.bought.get(name).copied().unwrap_or(0)),
        });
    }
    series
}

fn decisions(page: &mut String, record: &Record) {
    push(
        page,
        format_args!(
            "<section id=\"decisions\">\n<h2>Decisions <small><span id=\"shown\">{0}</span> of {0}</small></h2>\n<input id=\"filter\" type=\"search\" placeholder=\"filter by controller, object or reason\" aria-label=\"filter decisions\">\n<table>\n<thead><tr><th>time</th><th>controller</th><th>object</th><th>change</th><th>why</th></tr></thead>\n<tbody>\n",
            record.decisions.len()
        ),
    );
    for decision in &record.decisions {
        let t = crate::record::to_seconds(decision.t);
        let change = if decision.from.is_empty() {
            escape(&decision.to)
        } else {
            format!("{} → {}", escape(&decision.from), escape(&decision.to))
        };
        push(
            page,
            format_args!(
                "<tr data-t=\"{t}\"><td>{}</td><td>{}</td><td>{}</td><td>{change}</td><td>{}</td></tr>\n",
                clock(t),
                escape(&decision.controller),
                escape(&decision.object),
                escape(&decision.reason)
            ),
        );
    }
    page.push_str("</tbody>\n</table>\n</section>\n");
}

fn events(page: &mut String, record: &Record) {
    push(
        page,
        format_args!(
            "<section id=\"events\">\n<details>\n<summary>Kubernetes events ({})</summary>\n<table>\n<thead><tr><th>time</th><th>type</th><th>reason</th><th>object</th><th>message</th></tr></thead>\n<tbody>\n",
            record.events.len()
        ),
    );
    for event in &record.events {
        push(
            page,
            format_args!(
                "<tr class=\"{}\"><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}{}</td></tr>\n",
                escape(&event.event_type.to_lowercase()),
                clock(crate::record::to_seconds(event.t)),
                escape(&event.event_type),
                escape(&event.reason),
                escape(&event.object),
                escape(&event.message),
                again(event)
            ),
        );
    }
    page.push_str("</tbody>\n</table>\n</details>\n</section>\n");
}

/// How often an event was said, if more than once.
fn again(event: &EventEntry) -> String {
    if event.count < 2 {
        return String::new();
    }
    format!(
        " ({} times, last at {})",
        event.count,
        clock(crate::record::to_seconds(event.last))
    )
}

fn duration(seconds: f64) -> String {
    let whole = seconds as u64;
    match (whole / 3600, whole / 60 % 60) {
        (0, minutes) => format!("{minutes} min {} s", whole % 60),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

/// Text for HTML, in content and in quoted attributes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::DecisionEntry;

    fn record() -> Record {
        let moment = |t: f64, desired: i64, nodes: usize| Moment {
            t,
            desired,
            nodes,
            bought: (nodes > 1)
                .then(|| ("m5.xlarge".to_owned(), nodes - 1))
                .into_iter()
                .collect(),
            ..Moment::default()
        };
        Record {
            scenario: "<story>".to_owned(),
            virtual_seconds: 100.0,
            timeline: vec![moment(0.0, 1, 1), moment(40.0, 5, 3), moment(80.0, 1, 1)],
            decisions: vec![DecisionEntry {
                t: 40_000,
                controller: "horizontal-pod-autoscaler".to_owned(),
                object: "Deployment a/web".to_owned(),
                from: "1".to_owned(),
                to: "5".to_owned(),
                reason: "s0-x above target & <b>".to_owned(),
            }],
            ..Record::default()
        }
    }

    #[test]
    fn the_page_holds_every_plot_every_decision_and_nothing_from_outside() {
        let page = html(&record());
        for id in ["replicas", "pending", "nodes", "price"] {
            assert!(page.contains(&format!("<figure id=\"{id}\"")), "{id}");
        }
        assert!(page.contains("s0-x above target &amp; &lt;b&gt;"));
        assert!(page.contains("&lt;story&gt;") && !page.contains("<story>"));
        assert!(
            !page.contains("http://") && !page.contains("https://"),
            "a self-contained page asks nobody"
        );
    }

    #[test]
    fn times_read_as_minutes_and_hours() {
        assert_eq!(
            (clock(75.9).as_str(), clock(7395.0).as_str()),
            ("1:15", "2:03:15")
        );
    }
}
