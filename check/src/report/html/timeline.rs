//! The timeline: a row for each table that stood there before, its locks and whom they kept waiting, against the statements.
//! Bars are placed in hundredths of the run, so that they fit any screen; what a bar says also stands beside it in words.

use std::collections::BTreeMap;

use super::{inert, moment};
use crate::facts::Facts;
use crate::lock::{Client, Mode};
use crate::stall::Stall;
use crate::timeline::Hold;
use crate::verdict::{size, span};

/// Tables that are shown.
const TABLES: usize = 40;
/// Bars in one lane.
const BARS: usize = 100;
/// Connections that have a lane of statements.
const SESSIONS: usize = 8;
/// Ticks of the axis, about.
const TICKS: f64 = 5.0;

/// The section.
pub fn section(facts: &Facts, shown: &[usize]) -> String {
    let all = tables(facts);
    let whole = whole(facts);
    let step = step(whole);
    let mut rows: String = all.iter().take(TABLES).map(|table| table.row(facts, whole)).collect();
    if let Some(first) = all.get(TABLES) {
        rows.push_str(&format!(
            "<p class=\"small rest\">{} more tables are not shown; none of them kept anybody waiting for longer than {}.</p>\n",
            all.len() - TABLES,
            span(first.worst)
        ));
    }
    if all.is_empty() {
        rows.push_str("<p class=\"small rest\">No table that stood there before was locked.</p>\n");
    }
    format!(
        "<section>\n<h2>Timeline</h2>\n{LEGEND}<div class=\"timeline\" style=\"--step:{:.4}%\">\n{}{}{rows}</div>\n</section>\n",
        step / whole * 100.0,
        axis(whole, step),
        statements(facts, shown, whole),
    )
}

const LEGEND: &str = "<ul class=\"legend\">\
    <li><i class=\"bar statement\"></i> statement</li>\
    <li><i class=\"bar weak\"></i> lock that keeps nobody waiting</li>\
    <li><i class=\"bar write\"></i> keeps writers out</li>\
    <li><i class=\"bar all\"></i> keeps readers out, too</li>\
    <li><i class=\"bar stall\"></i> clients wait</li></ul>\n";

/// All about one table.
struct Table<'a> {
    oid: u32,
    holds: BTreeMap<Mode, Vec<&'a Hold>>,
    stalls: Vec<&'a Stall>,
    worst: f64,
}

fn tables(facts: &Facts) -> Vec<Table<'_>> {
    let up = &facts.up;
    let mut all: BTreeMap<u32, Table<'_>> = BTreeMap::new();
    let empty = |oid: u32| Table { oid, holds: BTreeMap::new(), stalls: Vec::new(), worst: 0.0 };
    for hold in &up.timeline.holds {
        let Some(relation) = up.before.relations.get(&hold.relation) else { continue };
        let oid = relation.of_table.unwrap_or(hold.relation);
        all.entry(oid).or_insert_with(|| empty(oid)).holds.entry(hold.mode).or_default().push(hold);
    }
    for stall in &up.stalls {
        let table = all.entry(stall.table).or_insert_with(|| empty(stall.table));
        table.worst = table.worst.max(stall.ms);
        table.stalls.push(stall);
    }
    let mut all: Vec<Table<'_>> = all.into_values().collect();
    let strongest = |table: &Table<'_>| table.holds.keys().next_back().copied();
    all.sort_by(|one, other| {
        let by_worst = other.worst.total_cmp(&one.worst);
        by_worst.then(strongest(other).cmp(&strongest(one))).then(one.oid.cmp(&other.oid))
    });
    all
}

impl Table<'_> {
    fn row(&self, facts: &Facts, whole: f64) -> String {
        let relation = facts.up.before.relations.get(&self.oid);
        let name = inert(facts.up.table(self.oid));
        let about = relation.map_or_else(String::new, |relation| {
            format!(" <span class=\"small\">{}{}</span>", size(relation.bytes), rows(relation.rows))
        });
        let mut lanes = String::new();
        for (mode, holds) in self.holds.iter().rev() {
            let class = match mode {
                mode if mode.blocks(Client::Reader) => "all",
                mode if mode.blocks(Client::Writer) => "write",
                _ => "weak",
            };
            let longest = holds.iter().map(|hold| hold.to - hold.from).fold(0.0, f64::max);
            let times = if holds.len() > 1 { format!(", {} times", holds.len()) } else { String::new() };
            let spans: Vec<Bar> = holds.iter().map(|hold| Bar::of_hold(hold, *mode)).collect();
            lanes.push_str(&lane(&format!("{mode} <b>{}</b>{times}", span(longest)), class, spans, whole));
        }
        for stall in &self.stalls {
            let measured = facts.measured.iter().flatten();
            let measured = measured
                .filter(|one| one.table == stall.table && one.client == stall.client)
                .map(|one| format!("; measured {}", span(one.ms)))
                .next()
                .unwrap_or_default();
            let what = format!("{} wait <b>{}</b>{measured}", stall.client.name(), span(stall.ms));
            let words =
                format!("{} wait from {} for {}", stall.client.name(), moment(stall.from), span(stall.ms));
            let bar = Bar { from: stall.from, to: stall.from + stall.ms, words, statement: stall.statement };
            lanes.push_str(&lane(&what, "stall", vec![bar], whole));
        }
        format!(
            "<section class=\"row\" data-table=\"{name}\">\n<h3><code>{name}</code>{about}</h3>\n{lanes}</section>\n"
        )
    }
}

/// The rows as the planner estimates them: `, about 10,000,000 rows`; nothing where nobody counted.
fn rows(count: f64) -> String {
    if count < 0.0 {
        return String::new();
    }
    let digits = format!("{count:.0}");
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!(", about {grouped} rows")
}

/// A stretch of time in a lane.
struct Bar {
    from: f64,
    to: f64,
    words: String,
    statement: Option<usize>,
}

impl Bar {
    fn of_hold(hold: &Hold, mode: Mode) -> Self {
        let by = hold.statement.map_or_else(String::new, |index| format!(", by statement {}", index + 1));
        let words = format!("{mode} from {} for {}{by}", moment(hold.from), span(hold.to - hold.from));
        Self { from: hold.from, to: hold.to, words, statement: hold.statement }
    }
}

/// A lane: what it is in words, and its bars; the longest, where there are too many.
fn lane(what: &str, class: &str, mut bars: Vec<Bar>, whole: f64) -> String {
    let rest = bars.len().saturating_sub(BARS);
    if rest > 0 {
        bars.sort_by(|one, other| (other.to - other.from).total_cmp(&(one.to - one.from)));
        bars.truncate(BARS);
        bars.sort_by(|one, other| one.from.total_cmp(&other.from));
    }
    let rest = if rest > 0 {
        format!(" <span class=\"small\">(the longest {BARS} drawn)</span>")
    } else {
        String::new()
    };
    let bars: String = bars.iter().map(|bar| drawn(bar, class, "", whole)).collect();
    format!(
        "<div class=\"lane\"><div class=\"what\">{what}{rest}</div><div class=\"track\">{bars}</div></div>\n"
    )
}

fn drawn(bar: &Bar, class: &str, label: &str, whole: f64) -> String {
    let at = |ms: f64| (ms / whole * 100.0).clamp(0.0, 100.0);
    let (from, to) = (at(bar.from), at(bar.to));
    let number = bar.statement.map_or_else(String::new, |index| format!(" data-statement=\"{}\"", index + 1));
    format!(
        "<i class=\"bar {class}\"{number} style=\"left:{from:.3}%;width:{:.3}%\" title=\"{}\">{label}</i>",
        (to - from).max(0.0),
        inert(&bar.words)
    )
}

/// A lane for each connection with the statements that are shown.
fn statements(facts: &Facts, shown: &[usize], whole: f64) -> String {
    let mut sessions: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for index in shown {
        if let Some(statement) = facts.up.timeline.statements.get(*index) {
            sessions.entry(statement.session).or_default().push(*index);
        }
    }
    let count = sessions.len();
    let mut lanes = String::new();
    for (place, indexes) in sessions.values().take(SESSIONS).enumerate() {
        let bars: String = indexes
            .iter()
            .filter_map(|index| Some((*index, facts.up.timeline.statements.get(*index)?)))
            .map(|(index, one)| {
                let took = span(one.to - one.from);
                let words = format!("statement {} from {} for {took}", index + 1, moment(one.from));
                let class = if one.failure.is_some() { "statement failed" } else { "statement" };
                let bar = Bar { from: one.from, to: one.to, words, statement: Some(index) };
                drawn(&bar, class, &format!("<a href=\"#s{0}\">{0}</a>", index + 1), whole)
            })
            .collect();
        let which = if count > 1 { format!(" of connection {}", place + 1) } else { String::new() };
        lanes.push_str(&format!(
            "<div class=\"lane\"><div class=\"what\">statements{which}</div><div class=\"track tall\">{bars}</div></div>\n"
        ));
    }
    if count > SESSIONS {
        lanes.push_str(&format!(
            "<p class=\"small rest\">{} more connections are not shown.</p>\n",
            count - SESSIONS
        ));
    }
    if lanes.is_empty() {
        lanes.push_str("<p class=\"small rest\">No statement came to the branch.</p>\n");
    }
    format!(
        "<section class=\"row statements\">\n<h3>The migration <span class=\"small\">{}</span></h3>\n{lanes}</section>\n",
        span(facts.up.ms)
    )
}

/// The time from the beginning to the end of everything.
fn whole(facts: &Facts) -> f64 {
    let holds = facts.up.timeline.holds.iter().map(|hold| hold.to);
    let statements = facts.up.timeline.statements.iter().map(|one| one.until.max(one.to));
    holds.chain(statements).fold(facts.up.ms, f64::max).max(1.0)
}

/// The time between two ticks: 1, 2 or 5 of something.
fn step(whole: f64) -> f64 {
    let rough = whole / TICKS;
    let power = 10_f64.powf(rough.log10().floor());
    let unit = [1.0, 2.0, 5.0, 10.0].into_iter().find(|unit| unit * power >= rough).unwrap_or(10.0);
    unit * power
}

fn axis(whole: f64, step: f64) -> String {
    let mut ticks = String::new();
    let mut at = 0.0;
    // Words at the very end would not fit.
    while at <= whole * 0.9 {
        let place = at / whole * 100.0;
        ticks.push_str(&format!("<span style=\"left:{place:.3}%\">{}</span>", tick(at, step)));
        at += step;
    }
    format!(
        "<div class=\"lane axis\"><div class=\"what\">time since the beginning</div><div class=\"track\">{ticks}</div></div>\n"
    )
}

/// The words of a tick: all of an axis in one unit.
fn tick(ms: f64, step: f64) -> String {
    match step {
        step if step >= 60_000.0 => format!("{:.1} min", ms / 60_000.0),
        step if step >= 1_000.0 => format!("{:.0} s", ms / 1_000.0),
        step if step >= 100.0 => format!("{:.1} s", ms / 1_000.0),
        step if step >= 1.0 => format!("{ms:.0} ms"),
        _ => format!("{ms:.1} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_has_some_ticks_of_round_numbers_whatever_the_length() {
        for whole in [1.0, 7.3, 43_100.0, 299.0, 86_400_000.0] {
            let step = step(whole);
            let count = axis(whole, step).matches("left:").count();
            assert!((2..=5).contains(&count), "{whole}: {count} of {step}");
        }
        assert_eq!(step(43_100.0), 10_000.0);
    }

    #[test]
    fn rows_are_grouped_by_thousands() {
        assert_eq!([rows(-1.0), rows(0.0), rows(999.0)], ["", ", about 0 rows", ", about 999 rows"]);
        assert_eq!([rows(1_000.0), rows(12_345_678.0)], [", about 1,000 rows", ", about 12,345,678 rows"]);
    }
}
