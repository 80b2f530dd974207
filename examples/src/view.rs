//! What a person sees while a simulation runs: a live view on a terminal, plain lines elsewhere, or nothing.

use std::{
    io::{self, IsTerminal as _, Stdout},
    time::{Duration, Instant},
};

use ratatui::{
    Frame, Terminal, TerminalOptions, Viewport,
    backend::CrosstermBackend,
    layout::{Constraint, Layout, Rect},
    style::{Color, Style, Stylize as _},
    text::Line,
    widgets::{Block, Gauge, Paragraph, Row, Sparkline, Table},
};

use crate::record::{Moment, Record};

/// Height of the live view in lines.
const HEIGHT: u16 = 16;
/// At most this often the live view is drawn.
const FRAME: Duration = Duration::from_millis(50);
/// While anything changes, plain lines come at least this often, in virtual seconds.
const LINE_SECONDS: f64 = 60.0;

/// Prints a line. Nobody reading any more (`| head`) is no reason to end a run, whose record may still be written.
pub fn say(line: &str) {
    use io::Write as _;
    let _unread = writeln!(io::stdout(), "{line}");
}

/// Shows how a run goes on.
pub enum View {
    /// Nothing.
    Quiet,
    /// A line at every change of replicas, nodes or price.
    Lines(Lines),
    /// A live view.
    Live(Box<Live>),
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Quiet => "Quiet",
            Self::Lines(_) => "Lines",
            Self::Live(_) => "Live",
        })
    }
}

impl View {
    /// The live view where stdout is a terminal that can carry it, else plain lines; nothing if `quiet`.
    #[must_use]
    pub fn choose(quiet: bool) -> Self {
        if quiet {
            return Self::Quiet;
        }
        if io::stdout().is_terminal()
            && let Ok(live) = Live::new()
        {
            return Self::Live(Box::new(live));
        }
        Self::Lines(Lines::default())
    }

    /// Shows how things stand. `fraction` is how much of the run is over.
    pub fn update(&mut self, moment: &Moment, record: &Record, fraction: f64) {
        match self {
            Self::Quiet => {}
            Self::Lines(lines) => lines.update(moment),
            Self::Live(live) => live.update(moment, record, fraction, false),
        }
    }

    /// Shows the end.
    pub fn finish(&mut self, record: &Record) {
        if let (Self::Live(live), Some(last)) = (self, record.timeline.last()) {
            live.update(last, record, 1.0, true);
            say("");
        }
    }
}

/// Prints lines.
#[derive(Debug, Default)]
pub struct Lines {
    last: Option<Moment>,
}

impl Lines {
    fn update(&mut self, moment: &Moment) {
        if self.is_due(moment) {
            say(&line(moment));
        }
    }

    fn is_due(&mut self, moment: &Moment) -> bool {
        let due = self.last.as_ref().is_none_or(|last| {
            last.desired != moment.desired
                || last.nodes != moment.nodes
                || (last.pending == 0) != (moment.pending == 0)
                || last.price_per_hour != moment.price_per_hour
                || (moment.t - last.t >= LINE_SECONDS && !last.same(moment))
        });
        if due {
            self.last = Some(moment.clone());
        }
        due
    }
}

/// One line that says how things stand.
#[must_use]
pub fn line(moment: &Moment) -> String {
    format!(
        "{:>7}  queue {:>4}  replicas {:>3} desired {:>3} ready  pending {:>3}  nodes {:>2} ({} bought)  ${:.3}/h",
        clock(moment.t),
        moment.queue,
        moment.desired,
        moment.ready,
        moment.pending,
        moment.nodes,
        moment.bought.values().sum::<usize>(),
        moment.price_per_hour,
    )
}

/// `75.5` seconds as `1:15`, longer than an hour as `2:03:15`.
#[must_use]
pub fn clock(seconds: f64) -> String {
    let whole = seconds as u64;
    let (hours, minutes, seconds) = (whole / 3600, whole / 60 % 60, whole % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

/// Draws a view of a few lines below the prompt.
pub struct Live {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    drawn: Option<Instant>,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Live")
    }
}

impl Live {
    fn new() -> io::Result<Self> {
        let options = TerminalOptions {
            viewport: Viewport::Inline(HEIGHT),
        };
        let terminal = Terminal::with_options(CrosstermBackend::new(io::stdout()), options)?;
        Ok(Self {
            terminal,
            drawn: None,
        })
    }

    fn update(&mut self, moment: &Moment, record: &Record, fraction: f64, last: bool) {
        if !last && self.drawn.is_some_and(|drawn| drawn.elapsed() < FRAME) {
            return;
        }
        self.drawn = Some(Instant::now());
        // A terminal that cannot be drawn on is no reason to end the simulation.
        let _undrawn = self.draw(moment, record, fraction);
    }
}

impl Live {
    /// Draws, and leaves the cursor below the view: whoever interrupts the run finds the prompt there.
    fn draw(&mut self, moment: &Moment, record: &Record, fraction: f64) -> io::Result<()> {
        let below = self
            .terminal
            .draw(|frame| draw(frame, moment, record, fraction))?
            .area
            .bottom()
            .saturating_sub(1);
        self.terminal.set_cursor_position((0, below))?;
        self.terminal.show_cursor()
    }
}

/// Draws everything into the frame.
fn draw(frame: &mut Frame<'_>, moment: &Moment, record: &Record, fraction: f64) {
    let [top, plots, nodes, why] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(5),
        Constraint::Length(5),
        Constraint::Min(4),
    ])
    .areas(frame.area());
    let label = format!("{}  {}", record.scenario, clock(moment.t));
    frame.render_widget(
        Gauge::default()
            .ratio(fraction.clamp(0.0, 1.0))
            .label(label)
            .gauge_style(Color::Blue),
        top,
    );
    draw_plots(frame, plots, moment, record);
    draw_nodes(frame, nodes, moment);
    draw_decisions(frame, why, record);
}

/// What a plot shows of a moment.
type Reading = fn(&Moment) -> u64;

fn draw_plots(frame: &mut Frame<'_>, area: Rect, moment: &Moment, record: &Record) {
    let areas: [Rect; 3] = Layout::horizontal([Constraint::Fill(1); 3]).areas(area);
    let plots: [(String, Reading, Color); 3] = [
        (format!(" queue {} ", moment.queue), |m| m.queue, Color::Blue),
        (
            format!(" replicas {} desired, {} ready ", moment.desired, moment.ready),
            |m| u64::try_from(m.desired).unwrap_or(0),
            Color::Red,
        ),
        (
            format!(" pending {} ", moment.pending),
            |m| m.pending as u64,
            Color::Magenta,
        ),
    ];
    for ((title, value, colour), area) in plots.into_iter().zip(areas) {
        let data = history(
            &record.timeline,
            moment.t,
            usize::from(area.width.saturating_sub(2)),
            value,
        );
        let block = Block::bordered().title(title);
        frame.render_widget(
            Sparkline::default()
                .data(data)
                .style(Style::new().fg(colour))
                .block(block),
            area,
        );
    }
}

/// The values over the whole run so far, one for each column.
fn history(timeline: &[Moment], now: f64, columns: usize, value: Reading) -> Vec<u64> {
    (1..=columns)
        .map(|column| {
            let t = now * column as f64 / columns as f64;
            let next = timeline.partition_point(|moment| moment.t <= t);
            next.checked_sub(1)
                .and_then(|index| timeline.get(index))
                .map_or(0, value)
        })
        .collect()
}

fn draw_nodes(frame: &mut Frame<'_>, area: Rect, moment: &Moment) {
    let bought: usize = moment.bought.values().sum();
    let title = format!(
        " nodes {} ({bought} bought, {:.0} % of their cpu requested), ${:.3} per hour ",
        moment.nodes,
        moment.fill * 100.0,
        moment.price_per_hour
    );
    let rows: Vec<Row<'_>> = std::iter::once(("fixed", moment.nodes.saturating_sub(bought)))
        .chain(moment.bought.iter().map(|(name, count)| (name.as_str(), *count)))
        .map(|(name, count)| Row::new([name.to_owned(), count.to_string(), "■ ".repeat(count.min(30))]))
        .collect();
    let widths = [Constraint::Length(16), Constraint::Length(4), Constraint::Fill(1)];
    frame.render_widget(
        Table::new(rows, widths).block(Block::bordered().title(title)),
        area,
    );
}

fn draw_decisions(frame: &mut Frame<'_>, area: Rect, record: &Record) {
    let room = usize::from(area.height.saturating_sub(2));
    let lines: Vec<Line<'_>> = record
        .decisions
        .iter()
        .rev()
        .take(room)
        .rev()
        .map(|decision| {
            Line::from(vec![
                format!("{} ", decision.object).bold(),
                format!("{} → {}: ", decision.from, decision.to).into(),
                decision.reason.clone().dim(),
            ])
        })
        .collect();
    frame.render_widget(
        Paragraph::new(lines).block(Block::bordered().title(" why ")),
        area,
    );
}

#[cfg(test)]
mod tests {
    use ratatui::backend::TestBackend;

    use super::*;

    fn moment(t: f64, desired: i64) -> Moment {
        Moment {
            t,
            queue: 12,
            desired,
            ready: 3,
            pending: 7,
            nodes: 3,
            bought: [("m5.xlarge".to_owned(), 1)].into(),
            price_per_hour: 0.24,
            ..Moment::default()
        }
    }

    #[test]
    fn a_line_says_everything_that_counts() {
        assert_eq!(
            line(&moment(75.4, 8)),
            "   1:15  queue   12  replicas   8 desired   3 ready  pending   7  nodes  3 (1 bought)  $0.240/h"
        );
    }

    #[test]
    fn lines_come_only_while_something_changes() {
        let mut lines = Lines::default();
        let mut due = |t, desired, ready| {
            let moment = Moment {
                ready,
                ..moment(t, desired)
            };
            lines.is_due(&moment)
        };
        assert!(due(0.0, 1, 1));
        assert!(!due(3000.0, 1, 1), "nothing changed");
        assert!(due(3001.0, 2, 1));
        assert!(!due(3002.0, 2, 2), "it can wait");
        assert!(due(3100.0, 2, 2));
    }

    #[test]
    fn after_an_hour_the_clock_has_hours() {
        assert_eq!(
            (clock(3599.9), clock(52_110.0)),
            ("59:59".into(), "14:28:30".into())
        );
    }

    #[test]
    fn the_live_view_shows_queue_replicas_pending_pods_nodes_and_cost() {
        let record = Record {
            scenario: "story".to_owned(),
            timeline: vec![moment(10.0, 8)],
            ..Record::default()
        };
        let mut terminal = Terminal::new(TestBackend::new(120, HEIGHT)).unwrap();
        terminal
            .draw(|frame| draw(frame, &moment(75.0, 8), &record, 0.5))
            .unwrap();
        let text = terminal.backend().to_string();
        for expected in [
            "story  1:15",
            "queue 12",
            "8 desired, 3 ready",
            "pending 7",
            "nodes 3 (1 bought",
            "m5.xlarge",
            "$0.240 per hour",
        ] {
            assert!(text.contains(expected), "{expected} is missing in\n{text}");
        }
    }

    #[test]
    fn history_holds_each_value_until_the_next() {
        let timeline = [moment(0.0, 1), moment(50.0, 5)];
        let values = history(&timeline, 100.0, 4, |m| u64::try_from(m.desired).unwrap());
        assert_eq!(values, [1, 5, 5, 5]);
    }
}
