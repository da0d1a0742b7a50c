//! The lines of the verdict: what was measured, beside its limit, and for what is not fine why and what to do.

use lakebase::freshness::Tool;

use super::{Grade, Line, size, span};
use crate::advice;
use crate::facts::{Facts, Up};
use crate::limits::Limits;
use crate::lock::Client;
use crate::runner::How;

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
    fn line(&self, rule: &'static str, about: &str, measured: String, limit: String, grade: Grade) -> Line {
        Line { rule, about: about.into(), measured, limit, grade, why: None, instead: None }
    }

    fn up(&self) -> &Up {
        &self.facts.up
    }

    /// How the migration itself went.
    pub fn result(&self) -> Line {
        let up = self.up();
        let count = up.timeline.statements.iter().filter(|one| !is_small_talk(&one.text)).count();
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
                let failed = up.timeline.statements.iter().find(|one| one.failure.is_some());
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
                line.why = up
                    .tail
                    .lines()
                    .rev()
                    .find(|line| !line.trim().is_empty())
                    .map(|line| format!("it said: {}", line.trim()));
                line
            }
        }
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
        let worst = stalls.first();
        let is_long = worst.is_some_and(|stall| stall.ms > self.limits.stall);
        let grade = if is_long { Grade::Limit } else { Grade::Fine };
        let mut line = self.line("stall", about, measured, span(self.limits.stall), grade);
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

    fn longest_statement(&self) -> Option<usize> {
        let all = self.up().timeline.statements.iter().enumerate();
        all.max_by(|(_, one), (_, other)| (one.to - one.from).total_cmp(&(other.to - other.from)))
            .map(|(index, _)| index)
    }

    /// What was locked.
    pub fn locks(&self) -> Line {
        let locks = self.up().strongest_locks();
        let shown: Vec<String> =
            locks.iter().take(4).map(|(table, mode, ms)| format!("`{table}` {mode} {}", span(*ms))).collect();
        let rest = if locks.len() > 4 { format!(" · {} more", locks.len() - 4) } else { String::new() };
        let measured = if shown.is_empty() {
            "none that keeps anybody waiting".into()
        } else {
            shown.join(" · ") + &rest
        };
        self.line("locks", "Strongest lock per table", measured, String::new(), Grade::Fine)
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
        let measured = format!("{rewrites} · {wal} · {sign}{}", size(growth));
        let is_much = self.limits.wal.zip(up.wal()).is_some_and(|(most, wal)| wal > most);
        let limit = self.limits.wal.map_or_else(String::new, size);
        let grade = if is_much { Grade::Limit } else { Grade::Fine };
        self.line("written", "Rewrites / WAL / size", measured, limit, grade)
    }

    /// What happens behind somebody who does not end a transaction.
    pub fn queue(&self) -> Line {
        let about = "Behind an open query of a touched table";
        let limit = self.limits.queue.map_or_else(|| "lock_timeout set".into(), span);
        let Some(queue) = &self.facts.queue else {
            return self.line("queue", about, "not tried".into(), limit, Grade::Unseen);
        };
        let queued: Vec<_> = queue.iter().filter(|one| one.waited).collect();
        let Some(worst) = queued.iter().max_by(|one, other| one.readers_ms.total_cmp(&other.readers_ms))
        else {
            return self.line("queue", about, "waits for nobody".into(), limit, Grade::Fine);
        };
        if worst.gave_up {
            let measured = format!("gives up; readers of `{}` wait {}", worst.table, span(worst.readers_ms));
            let is_long = self.limits.queue.is_some_and(|most| worst.readers_ms > most);
            return self.line(
                "queue",
                about,
                measured,
                limit,
                if is_long { Grade::Limit } else { Grade::Fine },
            );
        }
        if worst.readers_ms < 1.0 {
            let measured = format!("waits on `{}`, and readers do not", worst.table);
            return self.line("queue", about, measured, limit, Grade::Fine);
        }
        let grade = if self.limits.queue.is_some() { Grade::Limit } else { Grade::Warning };
        let measured = format!("no lock_timeout: every later read of `{}` queues", worst.table);
        let mut line = self.line("queue", about, measured, limit, grade);
        line.why = Some(format!(
            "the migration waits for the query, and everybody else for the migration, on `{}`",
            worst.table
        ));
        line.instead =
            Some("`SET lock_timeout = '2s'` at its beginning, and try again when it gives up".into());
        line
    }

    /// What nobody wants and is there now.
    pub fn left(&self) -> Line {
        let up = self.up();
        let about = "Left behind";
        let gone = up.gone_unnamed();
        let grave =
            |what: &str| matches!(what, "invalid index" | "broken function" | "empty materialized view");
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
            line.why = Some(format!(
                "{}: something that nobody named went with what it depends on",
                gone.join(", ")
            ));
            line.instead = Some("drop it by its name, and make it again on the new schema".into());
        }
        line
    }

    /// Whether the old application still works.
    pub fn queries(&self) -> Line {
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

    /// Whether the history is one line.
    pub fn history(&self) -> Option<Line> {
        let heads = self.facts.heads.as_ref()?;
        let about = "Heads of the history";
        let grade = if heads.len() > 1 { Grade::Limit } else { Grade::Fine };
        let mut line = self.line("heads", about, heads.len().to_string(), "1".into(), grade);
        if heads.len() > 1 {
            line.why = Some(format!("the history forks: {}", heads.join(", ")));
            line.instead = Some(
                "make one follow the other, or merge them: which runs first must not be left to chance"
                    .into(),
            );
        }
        Some(line)
    }

    /// Whether the way back leads back.
    pub fn down(&self) -> Line {
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

    /// Whether a second run does nothing.
    pub fn again(&self) -> Line {
        let about = "The same command twice";
        let Some(again) = &self.facts.again else {
            let why =
                if self.tool.is_none() { "no migration tool that keeps a history" } else { "not tried" };
            return self.line("twice", about, why.into(), "does nothing".into(), Grade::Unseen);
        };
        let measured = match (again.ok, again.changed.first()) {
            (true, None) => {
                return self.line("twice", about, "does nothing".into(), "does nothing".into(), Grade::Fine);
            }
            (false, _) => "fails".to_owned(),
            (true, Some(first)) => format!("changes {} more, such as {first}", again.changed.len()),
        };
        self.line("twice", about, measured, "does nothing".into(), Grade::Limit)
    }
}

/// What every driver says before and between: no statement of a migration.
fn is_small_talk(text: &str) -> bool {
    let first = crate::text::words(text).next().unwrap_or_default().to_uppercase();
    matches!(
        first.trim_end_matches(';'),
        "" | "BEGIN"
            | "COMMIT"
            | "ROLLBACK"
            | "START"
            | "SET"
            | "SHOW"
            | "RESET"
            | "SAVEPOINT"
            | "RELEASE"
            | "DEALLOCATE"
            | "DISCARD"
    )
}
