//! From facts to a verdict: what was found, beside its limit. Pure.

use jiff::SignedDuration;
use serde::Serialize;

use crate::advice;
use crate::facts::{Facts, Up};
use crate::limits::Limits;
use crate::lock::{Client, Mode};
use crate::runner::How;
use crate::stall::Stall;
use lakebase::freshness::Tool;

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// It works, within the limits.
    Pass,
    /// It works, and a limit is exceeded.
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
        ms if ms < 120_000.0 => format!("{:.1} s", ms / 1_000.0),
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
    if unit == "B" || value >= 100.0 { format!("{sign}{value:.0} {unit}") } else { format!("{sign}{value:.1} {unit}") }
}

/// Judges.
pub fn judge(facts: &Facts, limits: &Limits, tool: Option<Tool>) -> Verdict {
    let line = Lines { facts, limits, tool };
    let mut lines = vec![line.result(), line.stall(), line.locks(), line.written()];
    lines.push(line.queue());
    lines.push(line.left());
    lines.push(line.queries());
    lines.extend(line.history());
    lines.push(line.down());
    lines.push(line.again());
    let worst = lines.iter().map(|line| line.grade).max().unwrap_or(Grade::Fine);
    let answer = match (facts.up.ended, worst) {
        _ if facts.up.timeline.sessions == 0 => Answer::Unknown,
        (Some(How::Deadline), _) if !facts.is_busy_to_the_end() => Answer::Unknown,
        (_, Grade::Failed) => Answer::Failed,
        (_, Grade::Limit) => Answer::Limit,
        _ => Answer::Pass,
    };
    let sentence = sentence(answer, facts, &lines);
    Verdict { answer, sentence, lines }
}

fn sentence(answer: Answer, facts: &Facts, lines: &[Line]) -> String {
    let worst = Verdict { answer, sentence: String::new(), lines: lines.to_vec() }.worst().cloned();
    match answer {
        Answer::Unknown if facts.up.timeline.sessions == 0 => {
            "could not judge: the command never came to the branch".into()
        }
        Answer::Unknown => "could not judge: the command hangs, and nothing runs on the branch".into(),
        Answer::Pass => match worst {
            Some(line) => format!("passes, with a warning: {}, {}", line.about.to_lowercase(), line.measured),
            None => "passes".into(),
        },
        Answer::Limit | Answer::Failed => match worst {
            Some(line) if line.rule == "stall" => {
                let stall = facts.worst_stall();
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

    fn worst_stall(&self) -> Option<Stall> {
        self.stalls().into_iter().next()
    }

    /// Whether a statement was running when the deadline came.
    fn is_busy_to_the_end(&self) -> bool {
        self.up.timeline.statements.last().is_some_and(|last| last.until >= self.up.ms - 1_000.0)
    }
}

/// The lines.
struct Lines<'a> {
    facts: &'a Facts,
    limits: &'a Limits,
    tool: Option<Tool>,
}

impl Lines<'_> {
    fn line(&self, rule: &'static str, about: &str, measured: String, limit: String, grade: Grade) -> Line {
        Line { rule, about: about.into(), measured, limit, grade, why: None, instead: None }
    }

    fn up(&self) -> &Up {
        &self.facts.up
    }

    fn result(&self) -> Line {
        let up = self.up();
        let count = up.timeline.statements.iter().filter(|one| !is_small_talk(&one.text)).count();
        let took = span(up.ms);
        let about = "Result on a copy of production";
        let limit = span(self.limits.duration);
        let broken = |measured: String| self.line("result", about, measured, limit.clone(), Grade::Failed);
        match (up.ended, &up.failure) {
            (Some(How::Code(0)), _) => {
                let is_long = up.ms > self.limits.duration;
                let statements = if count == 1 { "1 statement".into() } else { format!("{count} statements") };
                let grade = if is_long { Grade::Limit } else { Grade::Fine };
                let mut line = self.line("result", about, format!("ok, {statements}, {took}"), limit, grade);
                if up.timeline.sessions == 0 {
                    line.grade = Grade::Unseen;
                    line.measured = format!("the command ended well after {took}, and nothing touched the branch");
                    line.why = Some("it connects to another database, or does nothing".into());
                    line.instead = Some("let the command take its database from `DATABASE_URL` or the `PG*` variables".into());
                }
                line
            }
            (Some(How::Deadline), _) => {
                let mut line = self.line("result", about, format!("not done after {took}"), limit, Grade::Limit);
                line.why = up.timeline.statements.last().map(|last| format!("the last statement is `{}`", advice::quoted(&last.text)));
                line
            }
            (_, Some(failure)) => {
                let failed = up.timeline.statements.iter().find(|one| one.failure.is_some());
                let offending = up.offending.as_ref().map_or(String::new(), |(count, words)| format!("; {count} {words}"));
                let mut line = broken(format!("fails after {took}: {} ({}){offending}", failure.message, failure.sqlstate));
                line.why = failed.map(|one| format!("`{}` failed", advice::quoted(&one.text)));
                line.instead = advice::of_failure(&failure.sqlstate).map(str::to_owned);
                line
            }
            (ended, None) => {
                let how = match ended {
                    Some(How::Code(code)) => format!("the command ended with {code} after {took}"),
                    Some(How::Signal(signal)) => format!("the command was ended by signal {signal} after {took}"),
                    _ => "the command did not run".into(),
                };
                let mut line = broken(how);
                line.why = up.tail.lines().rev().find(|line| !line.trim().is_empty()).map(|line| format!("it said: {}", line.trim()));
                line
            }
        }
    }

    fn stall(&self) -> Line {
        let stalls = self.facts.stalls();
        let of = |client: Client| {
            let worst = stalls.iter().find(|stall| stall.client == client);
            worst.map_or_else(|| "none".into(), |stall| format!("{} `{}`", span(stall.ms), self.up().table(stall.table)))
        };
        let measured = Client::ALL.map(of).join(" / ");
        let about = "Longest stall: readers / writers / one row";
        let worst = stalls.first();
        let is_long = worst.is_some_and(|stall| stall.ms > self.limits.stall);
        let grade = if is_long { Grade::Limit } else { Grade::Fine };
        let mut line = self.line("stall", about, measured, span(self.limits.stall), grade);
        if let Some(stall) = worst.filter(|_| is_long) {
            let index = stall.statement.or_else(|| self.longest_statement());
            if let Some(statement) = index.and_then(|index| self.up().timeline.statements.get(index)) {
                let rewrites = self.up().timeline.rewrites.iter().any(|rewrite| rewrite.statement == index);
                if let Some(advice) = advice::of_stall(&statement.text, rewrites, self.tool) {
                    line.why = Some(advice.why);
                    line.instead = Some(advice.instead);
                }
            }
        }
        line
    }

    fn longest_statement(&self) -> Option<usize> {
        let all = self.up().timeline.statements.iter().enumerate();
        all.max_by(|(_, one), (_, other)| (one.to - one.from).total_cmp(&(other.to - other.from))).map(|(index, _)| index)
    }

    fn locks(&self) -> Line {
        let locks = self.up().strongest_locks();
        let shown: Vec<String> = locks
            .iter()
            .take(4)
            .map(|(table, mode, ms)| format!("`{table}` {mode} {}", span(*ms)))
            .collect();
        let rest = if locks.len() > 4 { format!(" · {} more", locks.len() - 4) } else { String::new() };
        let measured = if shown.is_empty() { "none that keeps anybody waiting".into() } else { shown.join(" · ") + &rest };
        self.line("locks", "Strongest lock per table", measured, String::new(), Grade::Fine)
    }

    fn written(&self) -> Line {
        let up = self.up();
        let rewrites: Vec<String> = crate::catalog::rewritten(&up.before, &up.after)
            .into_iter()
            .map(|(_, table)| format!("`{}` {}", table.short(), size(table.bytes)))
            .collect();
        let rewrites = if rewrites.is_empty() { "none".into() } else { rewrites.join(", ") };
        let wal = up.wal().map_or_else(|| "WAL unknown".into(), size);
        let growth = up.growth();
        let sign = if growth < 0 { "" } else { "+" };
        let measured = format!("{rewrites} · {wal} · {sign}{}", size(growth));
        let is_much = self.limits.wal.zip(up.wal()).is_some_and(|(most, wal)| wal > most);
        let limit = self.limits.wal.map_or_else(String::new, size);
        let grade = if is_much { Grade::Limit } else { Grade::Fine };
        self.line("written", "Rewrites / WAL / size", measured, limit, grade)
    }

    fn queue(&self) -> Line {
        let about = "Behind an open query of a touched table";
        let limit = self.limits.queue.map_or_else(|| "lock_timeout set".into(), span);
        let Some(queue) = &self.facts.queue else {
            return self.line("queue", about, "not tried".into(), limit, Grade::Unseen);
        };
        let queued: Vec<_> = queue.iter().filter(|one| one.waited).collect();
        let Some(worst) = queued.iter().max_by(|one, other| one.readers_ms.total_cmp(&other.readers_ms)) else {
            return self.line("queue", about, "waits for nobody".into(), limit, Grade::Fine);
        };
        if worst.gave_up {
            let measured = format!("gives up; readers of `{}` wait {}", worst.table, span(worst.readers_ms));
            let is_long = self.limits.queue.is_some_and(|most| worst.readers_ms > most);
            return self.line("queue", about, measured, limit, if is_long { Grade::Limit } else { Grade::Fine });
        }
        if worst.readers_ms < 1.0 {
            let measured = format!("waits on `{}`, and readers do not", worst.table);
            return self.line("queue", about, measured, limit, Grade::Fine);
        }
        let grade = if self.limits.queue.is_some() { Grade::Limit } else { Grade::Warning };
        let measured = format!("no lock_timeout: every later read of `{}` queues", worst.table);
        let mut line = self.line("queue", about, measured, limit, grade);
        line.why = Some(format!("the migration waits for the query, and everybody else for the migration, on `{}`", worst.table));
        line.instead = Some("`SET lock_timeout = '2s'` at its beginning, and try again when it gives up".into());
        line
    }

    fn left(&self) -> Line {
        let up = self.up();
        let about = "Left behind";
        let gone: Vec<String> = up
            .timeline
            .dropped
            .iter()
            .filter(|one| !one.named && matches!(one.kind.as_str(), "view" | "materialized view" | "function" | "procedure" | "trigger" | "policy"))
            .filter(|one| up.changes.iter().any(|change| change.word() == "removed" && change.object().is_some_and(|object| one.name.ends_with(&object.name))))
            .map(|one| format!("{} `{}` gone by CASCADE", one.kind, one.name))
            .collect();
        let grave = |what: &str| matches!(what, "invalid index" | "broken function" | "empty materialized view");
        let mut shown = gone.clone();
        shown.extend(up.left.iter().map(|left| format!("{} `{}`", left.what, left.name)));
        if shown.is_empty() {
            return self.line("left", about, "nothing".into(), "0".into(), Grade::Fine);
        }
        let is_grave = !gone.is_empty() || up.left.iter().any(|left| grave(&left.what));
        let grade = if is_grave { Grade::Limit } else { Grade::Warning };
        let mut line = self.line("left", about, shown.join(", "), "0".into(), grade);
        line.why = up.left.first().map(|left| format!("{} `{}`: {}", left.what, left.name, left.why));
        if !gone.is_empty() {
            line.why = Some(format!("{}: something that nobody named went with what it depends on", gone.join(", ")));
            line.instead = Some("drop it by its name, and make it again on the new schema".into());
        }
        line
    }

    fn queries(&self) -> Line {
        let Some(queries) = &self.facts.queries else {
            return self.line("queries", "Old application", "not tried".into(), "0".into(), Grade::Unseen);
        };
        let about = format!("Old application: {} queries", queries.worked);
        let Some((text, why)) = queries.broken.first() else {
            return self.line("queries", &about, "all work".into(), "0".into(), Grade::Fine);
        };
        let measured = format!("{} fail", queries.broken.len());
        let mut line = self.line("queries", &about, measured, "0".into(), Grade::Limit);
        line.why = Some(format!("`{}`: {why}", advice::quoted(text)));
        line.instead = Some("expand first, contract when no old application runs: keep the old name until then, as a column or a view".into());
        line
    }

    fn history(&self) -> Option<Line> {
        let heads = self.facts.heads.as_ref()?;
        let about = "Heads of the history";
        let grade = if heads.len() > 1 { Grade::Limit } else { Grade::Fine };
        let mut line = self.line("heads", about, heads.len().to_string(), "1".into(), grade);
        if heads.len() > 1 {
            line.why = Some(format!("the history forks: {}", heads.join(", ")));
            line.instead = Some("make one follow the other, or merge them: which runs first must not be left to chance".into());
        }
        Some(line)
    }

    fn down(&self) -> Line {
        let about = "Down and up again";
        let Some(down) = &self.facts.down else {
            return self.line("down", about, "not tried".into(), "clean".into(), Grade::Unseen);
        };
        let trouble = if !down.ok {
            Some("the way back fails".to_owned())
        } else if let Some(first) = down.differs.first() {
            Some(format!("{} differ, such as {first}", down.differs.len()))
        } else if let Some((table, rows)) = down.lost.first() {
            Some(format!("{rows} rows of `{table}` are lost"))
        } else if down.up_again == Some(false) {
            Some("up fails the second time".to_owned())
        } else {
            None
        };
        match trouble {
            None => self.line("down", about, "clean".into(), "clean".into(), Grade::Fine),
            Some(trouble) => {
                let mut line = self.line("down", about, trouble, "clean".into(), Grade::Limit);
                line.why = Some("after down the schema is not what it was".into());
                line.instead = Some("write the downgrade, or say in it that there is none".into());
                line
            }
        }
    }

    fn again(&self) -> Line {
        let about = "The same command twice";
        let Some(again) = &self.facts.again else {
            return self.line("twice", about, "not tried".into(), "does nothing".into(), Grade::Unseen);
        };
        let measured = match (again.ok, again.changed.first()) {
            (true, None) => return self.line("twice", about, "does nothing".into(), "does nothing".into(), Grade::Fine),
            (false, _) => "fails".to_owned(),
            (true, Some(first)) => format!("changes {} more, such as {first}", again.changed.len()),
        };
        self.line("twice", about, measured, "does nothing".into(), Grade::Limit)
    }
}

impl Up {
    /// The strongest lock that each table had, where it is one that keeps a client waiting, and how long; the longest first.
    pub fn strongest_locks(&self) -> Vec<(String, Mode, f64)> {
        let mut strongest: std::collections::BTreeMap<u32, (Mode, f64)> = std::collections::BTreeMap::new();
        for hold in &self.timeline.holds {
            let Some(relation) = self.before.relations.get(&hold.relation) else { continue };
            if hold.mode < Mode::ShareUpdateExclusive || relation.kind == 'i' || relation.kind == 'I' {
                continue;
            }
            let ms = hold.to - hold.from;
            let one = strongest.entry(hold.relation).or_insert((hold.mode, ms));
            if hold.mode > one.0 {
                *one = (hold.mode, ms);
            } else if hold.mode == one.0 {
                one.1 = one.1.max(ms);
            }
        }
        let mut all: Vec<_> =
            strongest.into_iter().map(|(oid, (mode, ms))| (self.table(oid).to_owned(), mode, ms)).collect();
        all.sort_by(|one, other| other.2.total_cmp(&one.2));
        all
    }
}

/// What every driver says before and between: no statement of a migration.
fn is_small_talk(text: &str) -> bool {
    let first = crate::text::words(text).next().unwrap_or_default().to_uppercase();
    matches!(
        first.trim_end_matches(';'),
        "" | "BEGIN" | "COMMIT" | "ROLLBACK" | "START" | "SET" | "SHOW" | "RESET" | "SAVEPOINT" | "RELEASE" | "DEALLOCATE" | "DISCARD"
    )
}
