//! The lines of the verdict: what was measured, beside its limit, and for what is not fine why and what to do.

use lakebase::freshness::Tool;

use super::words::{is_small_talk, last_words, names};
use super::{Grade, Line, size, span};
use crate::advice;
use crate::facts::{Facts, Queue, Up};
use crate::limits::Limits;
use crate::lock::{Client, Mode};
use crate::runner::How;
use crate::stall::Stall;
use crate::timeline::Statement;

/// The lines.
pub struct Lines<'a> {
    /// What was measured.
    pub facts: &'a Facts,
    /// What is too much.
    pub limits: &'a Limits,
    /// Whose words to use.
    pub tool: Option<Tool>,
}

impl Lines<'_> {
    pub(super) fn line(
        &self,
        rule: &'static str,
        about: &str,
        measured: String,
        limit: String,
        grade: Grade,
    ) -> Line {
        Line {
            rule,
            about: about.into(),
            measured,
            limit,
            grade,
            why: None,
            instead: None,
            objects: Vec::new(),
            excepted: None,
        }
    }

    pub(super) fn up(&self) -> &Up {
        &self.facts.up
    }

    /// How the migration itself went.
    pub fn result(&self) -> Line {
        let up = self.up();
        let kept = up.timeline.statements.iter().filter(|one| !is_small_talk(&one.text)).count();
        let count = kept + up.timeline.left_out;
        let took = span(up.ms);
        let about = "Result on a copy of production";
        let limit = span(self.limits.duration);
        let broken = |measured: String| self.line("result", about, measured, limit.clone(), Grade::Failed);
        match (up.ended, &up.failure) {
            (Some(How::Code(0)), _) => {
                let is_long = up.ms > self.limits.duration;
                let statements =
                    if count == 1 { "1 statement".into() } else { format!("{count} statements") };
                let grade = if is_long { Grade::Limit } else { Grade::Fine };
                let mut line = self.line("result", about, format!("ok, {statements}, {took}"), limit, grade);
                if let Some(longest) = self.longest().filter(|_| is_long) {
                    let alone = span(longest.to - longest.from);
                    line.why = Some(format!("`{}` alone takes {alone}", advice::quoted(&longest.text)));
                    line.instead =
                        Some("split the slow work off, or allow it more with `--max-duration`".into());
                }
                if let Some(failed) = self.gone_over().filter(|_| !is_long) {
                    line.grade = Grade::Warning;
                    line.measured += ", but a statement failed";
                    line.why = failed.failure.as_ref().map(|failure| {
                        format!(
                            "`{}` failed, and the command went on: {} ({})",
                            advice::quoted(&failed.text),
                            failure.message,
                            failure.sqlstate
                        )
                    });
                    line.instead = Some("stop at the first error (`psql -v ON_ERROR_STOP=1`)".into());
                }
                if up.timeline.sessions == 0 {
                    line.grade = Grade::Unseen;
                    line.measured =
                        format!("the command ended well after {took}, and nothing touched the branch");
                    line.why = Some("it connects to another database, or does nothing".into());
                    line.instead = Some(
                        "let the command take its database from `DATABASE_URL` or the `PG*` variables".into(),
                    );
                }
                line
            }
            (Some(How::Deadline), _) => {
                let mut line =
                    self.line("result", about, format!("not done after {took}"), limit, Grade::Limit);
                line.why = up
                    .timeline
                    .statements
                    .last()
                    .map(|last| format!("the last statement is `{}`", advice::quoted(&last.text)));
                line
            }
            (_, Some(failure)) => {
                let failed = up.timeline.failed();
                let offending = up
                    .offending
                    .as_ref()
                    .map_or(String::new(), |(count, words)| format!("; {count} {words}"));
                let mut line = broken(format!(
                    "fails after {took}: {} ({}){offending}",
                    failure.message, failure.sqlstate
                ));
                line.why = failed.map(|one| format!("`{}` failed", advice::quoted(&one.text)));
                line.instead = advice::of_failure(&failure.sqlstate).map(str::to_owned);
                line
            }
            (ended, None) => {
                let how = match ended {
                    Some(How::Code(code)) => format!("the command ended with {code} after {took}"),
                    Some(How::Signal(signal)) => {
                        format!("the command was ended by signal {signal} after {took}")
                    }
                    _ => "the command did not run".into(),
                };
                let mut line = broken(how);
                line.why = last_words(&up.tail).map(|words| format!("it said: {words}"));
                line
            }
        }
    }

    /// A statement that changes something, and failed for nothing that a tool tries on purpose: it is not there already, and a
    /// lock that was not to be had is asked for again.
    fn gone_over(&self) -> Option<&Statement> {
        const MEANT: [&str; 8] = ["42P04", "42P06", "42P07", "42701", "42710", "55P03", "40P01", "40001"];
        self.up().timeline.statements.iter().find(|one| {
            let first = crate::text::words(&one.text).next().unwrap_or_default().to_uppercase();
            !matches!(first.as_str(), "SELECT" | "WITH" | "TABLE" | "VALUES")
                && !is_small_talk(&one.text)
                && one.failure.as_ref().is_some_and(|one| !MEANT.contains(&one.sqlstate.as_str()))
        })
    }

    /// Who waits, and how long.
    pub fn stall(&self) -> Line {
        let stalls = self.facts.stalls();
        let of = |client: Client| {
            let worst = stalls.iter().find(|stall| stall.client == client);
            worst.map_or_else(
                || "none".into(),
                |stall| format!("{} `{}`", span(stall.ms), self.up().table(stall.table)),
            )
        };
        let measured = Client::ALL.map(of).join(" / ");
        let about = "Longest stall: readers / writers / one row";
        let worst = self.worst_stall();
        let is_long = worst.as_ref().is_some_and(|stall| stall.ms > self.limits.stall);
        let is_seen = !self.facts.sensors.is_empty();
        let grade = match is_long {
            true => Grade::Limit,
            false if is_seen => Grade::Fine,
            false => Grade::Unseen,
        };
        let mut line = self.line("stall", about, measured, span(self.limits.stall), grade);
        let long = stalls.iter().filter(|stall| stall.ms > self.limits.stall);
        line.objects = names(long.map(|stall| self.up().table(stall.table)));
        if let Some(stall) = worst.filter(|_| is_long) {
            let index = stall.statement.or_else(|| self.longest_statement());
            if let Some(statement) = index.and_then(|index| self.up().timeline.statements.get(index)) {
                let rewrites = self.up().rewritten().iter().any(|(oid, _)| *oid == stall.table);
                if let Some(advice) = advice::of_stall(&statement.text, rewrites, self.tool) {
                    line.why = Some(advice.why);
                    line.instead = Some(advice.instead);
                }
            }
        }
        line
    }

    /// The stall that counts: the longest; one that is not excepted before those that are.
    pub fn worst_stall(&self) -> Option<Stall> {
        let stalls = self.facts.stalls();
        let is_open = |stall: &&Stall| {
            stall.ms > self.limits.stall
                && !self.limits.exceptions.cover("stall", self.up().table(stall.table))
        };
        stalls.iter().find(is_open).or_else(|| stalls.first()).cloned()
    }

    fn longest(&self) -> Option<&Statement> {
        self.up().timeline.statements.get(self.longest_statement()?)
    }

    fn longest_statement(&self) -> Option<usize> {
        let all = self.up().timeline.statements.iter().enumerate();
        all.max_by(|(_, one), (_, other)| (one.to - one.from).total_cmp(&(other.to - other.from)))
            .map(|(index, _)| index)
    }

    /// What was locked.
    pub fn locks(&self) -> Line {
        let locks = self.up().strongest_locks();
        let scanned = self.up().scanned();
        let shown = |(oid, mode, ms): &(u32, Mode, f64)| {
            let whole = if *mode >= Mode::Share && scanned.contains(oid) { ", all rows read" } else { "" };
            format!("`{}` {mode} {}{whole}", self.up().table(*oid), span(*ms))
        };
        let shown: Vec<String> = locks.iter().take(4).map(shown).collect();
        let rest = if locks.len() > 4 { format!(" · {} more", locks.len() - 4) } else { String::new() };
        let measured = if shown.is_empty() {
            "none that keeps anybody waiting".into()
        } else {
            shown.join(" · ") + &rest
        };
        let about = "Strongest lock per table";
        let Some(crossing) = self.up().crossings.first() else {
            return self.line("locks", about, measured, String::new(), Grade::Fine);
        };
        let (parent, child) = (self.up().table(crossing.parent), self.up().table(crossing.child));
        let measured = format!("{measured} · `{parent}` before `{child}` can deadlock");
        let mut line = self.line("locks", about, measured, String::new(), Grade::Warning);
        line.objects = names(self.up().crossings.iter().map(|one| self.up().table(one.child)));
        let advice = advice::of_deadlock(parent, child);
        (line.why, line.instead) = (Some(advice.why), Some(advice.instead));
        line
    }

    /// What was written.
    pub fn written(&self) -> Line {
        let up = self.up();
        let rewrites: Vec<String> = up
            .rewritten()
            .into_iter()
            .map(|(_, table)| format!("`{}` {}", table.short(), size(table.bytes)))
            .collect();
        let rewrites = if rewrites.is_empty() { "none".into() } else { rewrites.join(", ") };
        let wal = up.wal().map_or_else(|| "WAL unknown".into(), size);
        let growth = up.growth();
        let sign = if growth < 0 { "" } else { "+" };
        let mut measured = format!("{rewrites} · {wal} · {sign}{}", size(growth));
        if up.temporary() > 0 {
            measured += &format!(" · {} of temporary files", size(up.temporary()));
        }
        let is_much = self.limits.wal.zip(up.wal()).is_some_and(|(most, wal)| wal > most);
        let limit = self.limits.wal.map_or_else(String::new, size);
        let grade = if is_much { Grade::Limit } else { Grade::Fine };
        let mut line = self.line("written", "Rewrites / WAL / size", measured, limit, grade);
        if is_much {
            line.why =
                Some("replicas and backups have to take every byte of it, and lag behind meanwhile".into());
            line.instead = Some("change the rows in batches, with time between them".into());
        }
        line
    }

    /// What happens behind somebody who does not end a transaction.
    pub fn queue(&self) -> Line {
        let about = "Behind an open query of a touched table";
        let limit = self.limits.queue.map_or_else(|| "lock_timeout set".into(), span);
        let Some(queue) = &self.facts.queue else {
            return self.line("queue", about, "not tried".into(), limit, Grade::Unseen);
        };
        let queued: Vec<_> = queue.iter().filter(|one| one.waited).collect();
        // Who never gives up is worse than who takes long to, where somebody queues behind it.
        let rank = |one: &Queue| (!one.gave_up && one.readers_ms >= 1.0, one.readers_ms);
        let Some(worst) = queued.iter().max_by(|one, other| {
            let ((one, ms), (other, others)) = (rank(one), rank(other));
            one.cmp(&other).then(ms.total_cmp(&others))
        }) else {
            return self.line("queue", about, "waits for nobody".into(), limit, Grade::Fine);
        };
        if worst.gave_up {
            let measured = format!("gives up; readers of `{}` wait {}", worst.table, span(worst.readers_ms));
            let too_long = |one: &Queue| self.limits.queue.is_some_and(|most| one.readers_ms > most);
            let is_long = too_long(worst);
            let grade = if is_long { Grade::Limit } else { Grade::Fine };
            let mut line = self.line("queue", about, measured, limit, grade);
            if is_long {
                let long = queued.iter().filter(|one| too_long(one));
                line.objects = names(long.map(|one| one.table.as_str()));
                line.why = Some(format!("readers of `{}` queue until it gives up", worst.table));
                line.instead = Some("a shorter `lock_timeout`, and more tries".into());
            }
            return line;
        }
        if worst.readers_ms < 1.0 {
            let measured = format!("waits for the query on `{}`; nobody queues behind it", worst.table);
            return self.line("queue", about, measured, limit, Grade::Fine);
        }
        let grade = if self.limits.queue.is_some() { Grade::Limit } else { Grade::Warning };
        let measured = format!(
            "no lock_timeout: every later read of `{}` queues for as long as the query lasts (here {})",
            worst.table,
            span(worst.readers_ms)
        );
        let mut line = self.line("queue", about, measured, limit, grade);
        let endless = queued.iter().filter(|one| !one.gave_up && one.readers_ms >= 1.0);
        line.objects = names(endless.map(|one| one.table.as_str()));
        line.why = Some(format!(
            "the migration waits for the query, and everybody else for the migration, on `{}`",
            worst.table
        ));
        line.instead =
            Some("`SET lock_timeout = '2s'` at its beginning, and try again when it gives up".into());
        line
    }
}
