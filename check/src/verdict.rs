//! From facts to a verdict: what was found, beside its limit. Pure.

mod after;
mod lines;
pub mod words;

use std::collections::BTreeMap;
use std::ops::Bound;

use jiff::SignedDuration;
use serde::Serialize;

use crate::exceptions::Exception;
use crate::facts::{Facts, Up};
use crate::limits::Limits;
use crate::lock::Mode;
use crate::runner::How;
use crate::stall::Stall;
use lakebase::freshness::Tool;

/// A difference between two runs that is no more than this, in milliseconds, is the machine's.
const APART: f64 = 100.0;

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// It works, within the limits.
    Pass,
    /// A limit is exceeded; a run that was still at work at its deadline counts as that.
    Limit,
    /// It fails.
    Failed,
    /// Nobody can tell.
    Unknown,
}

impl Answer {
    /// The process's exit code.
    pub fn exit_code(self) -> u8 {
        self as u8
    }
}

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// As it should be.
    Fine,
    /// Not looked at, or not to be seen.
    Unseen,
    /// Over a limit, or worth a thought, and excepted.
    Excepted,
    /// Worth a thought; no limit.
    Warning,
    /// Over a limit.
    Limit,
    /// A failure.
    Failed,
}

/// One line of the verdict: what was measured, beside its limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// A word for machines and for exceptions.
    pub rule: &'static str,
    /// What it is about.
    pub about: String,
    /// What was measured.
    pub measured: String,
    /// What it may be.
    pub limit: String,
    /// How grave that is.
    pub grade: Grade,
    /// Why, and what to do; for what is not fine.
    pub why: Option<String>,
    /// What to write instead.
    pub instead: Option<String>,
    /// What is too much, where it has names, such as tables.
    pub objects: Vec<String>,
    /// Why it does not decide.
    pub excepted: Option<Exception>,
}

impl Line {
    /// What stands beside the measured: its limit, and why that does not decide.
    pub fn beside(&self) -> String {
        let Some(one) = &self.excepted else { return self.limit.clone() };
        let said = format!("excepted until {}: {}", one.until, one.reason);
        if self.limit.is_empty() { said } else { format!("{}; {said}", self.limit) }
    }
}

/// The verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The answer.
    pub answer: Answer,
    /// The answer in a sentence: who is hurt, where, how long.
    pub sentence: String,
    /// What was measured.
    pub lines: Vec<Line>,
    /// What to say beside the lines: about the exceptions, and where what was computed is not what was measured.
    pub notes: Vec<String>,
}

impl Verdict {
    /// The gravest line, if one is worth a word.
    pub fn worst(&self) -> Option<&Line> {
        // Of equals the first: lines stand in the order of what matters.
        let grave = self.lines.iter().filter(|line| line.grade >= Grade::Warning);
        grave.rev().max_by_key(|line| line.grade)
    }
}

/// A duration as people say it: `12 ms`, `41.2 s`, `12 min`.
pub fn span(ms: f64) -> String {
    match ms {
        ms if ms < 1.0 => "under 1 ms".into(),
        ms if ms < 1_000.0 => format!("{ms:.0} ms"),
        ms if ms < 120_000.0 => {
            let seconds = format!("{:.1}", ms / 1_000.0);
            format!("{} s", seconds.strip_suffix(".0").unwrap_or(&seconds))
        }
        ms => lakebase::ui::duration(SignedDuration::from_secs_f64(ms / 1_000.0)),
    }
}

/// A size as people say it.
pub fn size(bytes: i64) -> String {
    let (mut value, sign) = (bytes.unsigned_abs() as f64, if bytes < 0 { "-" } else { "" });
    let mut units = ["B", "kB", "MB", "GB", "TB"].into_iter().peekable();
    while value >= 1024.0
        && let Some(unit) = units.next()
        && units.peek().is_some()
    {
        let _ = unit;
        value /= 1024.0;
    }
    let unit = units.next().unwrap_or("TB");
    if unit == "B" || value >= 100.0 {
        format!("{sign}{value:.0} {unit}")
    } else {
        format!("{sign}{value:.1} {unit}")
    }
}

/// Judges.
pub fn judge(facts: &Facts, limits: &Limits, tool: Option<Tool>) -> Verdict {
    let line = lines::Lines { facts, limits, tool };
    let mut lines = vec![line.result(), line.stall(), line.locks(), line.written()];
    lines.push(line.queue());
    lines.push(line.left());
    lines.push(line.queries());
    lines.extend(line.history());
    lines.push(line.down());
    lines.push(line.again());
    let mut notes = facts.disagreements();
    // What was ended is not known to its end: that decides, whatever is excepted.
    let is_cut = facts.up.ended == Some(How::Deadline);
    let cut = is_cut.then(|| lines.remove(0));
    notes.extend(limits.exceptions.apply(&mut lines));
    if let Some(result) = cut {
        lines.insert(0, result);
    }
    let worst = lines.iter().map(|line| line.grade).max().unwrap_or(Grade::Fine);
    let answer = match (facts.up.ended, worst) {
        _ if facts.up.timeline.sessions == 0 => Answer::Unknown,
        (Some(How::Deadline), _) if !facts.up.is_busy => Answer::Unknown,
        (_, Grade::Failed) => Answer::Failed,
        (_, Grade::Limit) => Answer::Limit,
        _ => Answer::Pass,
    };
    if is_cut || matches!(answer, Answer::Failed | Answer::Unknown) {
        // What was not reached needs no exception yet.
        notes.clear();
    }
    let mut verdict = Verdict { answer, sentence: String::new(), lines, notes };
    verdict.sentence = sentence(&verdict, &line);
    verdict
}

fn sentence(verdict: &Verdict, lines: &lines::Lines<'_>) -> String {
    let (facts, worst) = (lines.facts, verdict.worst());
    let excepted = verdict.lines.iter().find_map(|line| Some((line, line.excepted.as_ref()?)));
    match verdict.answer {
        Answer::Unknown if facts.up.timeline.sessions == 0 => {
            "could not judge: the command never came to the branch".into()
        }
        Answer::Unknown => "could not judge: the command hangs, and nothing runs on the branch".into(),
        Answer::Pass => match worst {
            Some(line) => format!("passes, with a warning: {}, {}", line.about.to_lowercase(), line.measured),
            None => match excepted {
                Some((line, by)) => format!(
                    "passes by exception until {}: {}, {}",
                    by.until,
                    line.about.to_lowercase(),
                    line.measured
                ),
                None => "passes".into(),
            },
        },
        Answer::Limit | Answer::Failed => match worst {
            Some(line) if line.rule == "stall" => {
                let stall = lines.worst_stall();
                let (who, table, ms) = stall.map_or(("clients", "?", 0.0), |stall| {
                    (stall.client.name(), facts.up.table(stall.table), stall.ms)
                });
                format!("would block {who} on `{table}` for {} (limit {})", span(ms), line.limit)
            }
            Some(line) if line.rule == "result" => line.measured.clone(),
            Some(line) => format!("{}: {}", line.about.to_lowercase(), line.measured),
            None => "fails".into(),
        },
    }
}

impl Facts {
    /// Where the stall that the locks give and the one that clients felt in the second run are far apart: more than half of the
    /// longer one, and more than a tenth of a second.
    fn disagreements(&self) -> Vec<String> {
        let measured = self.measured.iter().flatten();
        let apart = measured.filter_map(|felt| {
            let given =
                self.up.stalls.iter().find(|one| one.table == felt.table && one.client == felt.client);
            let given = given.map_or(0.0, |one| one.ms);
            let apart = (felt.ms - given).abs();
            (apart > APART && apart > felt.ms.max(given) / 2.0).then_some((felt, given))
        });
        let note = |(felt, given): (&Stall, f64)| {
            let (who, table) = (felt.client.name(), self.up.table(felt.table));
            let (given, felt) = (span(given), span(felt.ms));
            format!(
                "{who} of `{table}` waited {felt} in the second run, and by the locks of the first {given}: the longer one counts"
            )
        };
        apart.map(note).collect()
    }

    /// The stalls that count: the longer one of what was computed and what was measured, for each table and client.
    pub fn stalls(&self) -> Vec<Stall> {
        let mut all = self.up.stalls.clone();
        for measured in self.measured.iter().flatten() {
            match all.iter_mut().find(|one| one.table == measured.table && one.client == measured.client) {
                Some(one) if one.ms < measured.ms => one.ms = measured.ms,
                Some(_) => {}
                None => all.push(measured.clone()),
            }
        }
        all.sort_by(|one, other| other.ms.total_cmp(&one.ms));
        all
    }
}

impl Up {
    /// The locks that each table had, where they keep somebody waiting and no stronger one was held as long; the longest first.
    pub fn strongest_locks(&self) -> Vec<(u32, Mode, f64)> {
        let mut longest: BTreeMap<(u32, Mode), f64> = BTreeMap::new();
        for hold in &self.timeline.holds {
            let relation = self.before.relations.get(&hold.relation);
            if hold.mode >= Mode::ShareUpdateExclusive
                && relation.is_some_and(|one| !matches!(one.kind, 'i' | 'I'))
            {
                let ms = longest.entry((hold.relation, hold.mode)).or_default();
                *ms = ms.max(hold.to - hold.from);
            }
        }
        let is_covered = |(oid, mode): &(u32, Mode), ms: f64| {
            let stronger = (Bound::Excluded((*oid, *mode)), Bound::Included((*oid, Mode::AccessExclusive)));
            *mode < Mode::AccessExclusive && longest.range(stronger).any(|(_, longer)| *longer >= ms)
        };
        let shown = longest.iter().filter(|(key, ms)| !is_covered(key, **ms));
        let mut all: Vec<_> = shown.map(|((oid, mode), ms)| (*oid, *mode, *ms)).collect();
        all.sort_by(|one, other| other.2.total_cmp(&one.2));
        all
    }
}
