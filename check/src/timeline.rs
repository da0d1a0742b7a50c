//! From what passed the wire to who was kept waiting: statements, transactions, and locks held from when to when. Pure.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use crate::lock::Mode;
use crate::sensor::Message;
use crate::wire::{ABORTED, Failure, Heard, TEXT};
use lakebase_gateway::{Status, TapEvent};

/// A statement of the migration. Times are milliseconds since the run began.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Statement {
    /// Which connection.
    pub session: u64,
    /// Its text, cut. Where it is shown, no value of a row is.
    #[serde(serialize_with = "masked")]
    pub text: String,
    /// When it was sent.
    pub from: f64,
    /// When its answer was there.
    pub to: f64,
    /// When its transaction was over.
    pub until: f64,
    /// Whether a message of the sensor named it: it is DDL.
    pub is_ddl: bool,
    /// `lock_timeout` in force, where the sensor said so; `0` is none.
    pub lock_timeout: Option<String>,
    /// `statement_timeout` in force, where the sensor said so.
    pub statement_timeout: Option<String>,
    /// `search_path` in force, where the sensor said so.
    pub search_path: Option<String>,
    /// The role in force, where the sensor said so.
    pub role: Option<String>,
    /// How it failed.
    pub failure: Option<Failure>,
}

fn masked<S: Serializer>(text: &str, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&crate::text::without_values(text))
}

/// A lock that was held.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hold {
    /// The relation's oid.
    pub relation: u32,
    /// The mode.
    pub mode: Mode,
    /// From when, in milliseconds since the run began.
    pub from: f64,
    /// To the end of the transaction.
    pub to: f64,
    /// The statement that took it, as its place in [`Timeline::statements`].
    pub statement: Option<usize>,
    /// Who saw it.
    pub seen: Seen,
}

/// Who saw a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seen {
    /// The event triggers: exact.
    EventTrigger,
    /// The sampler: up to its interval too short at each end.
    Sampler,
    /// Nobody: the manual says that the statement takes it.
    Manual,
}

/// A table that was written anew.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rewrite {
    /// Its oid.
    pub relation: u32,
    /// Why.
    pub reason: String,
    /// The statement.
    pub statement: Option<usize>,
}

/// An object that went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// `view`, `function` and so on.
    pub kind: String,
    /// As SQL writes it.
    pub name: String,
    /// Whether the statement named it; else it went with what it depended on.
    pub named: bool,
}

/// What a migration did, in the order of time.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Timeline {
    /// The statements.
    pub statements: Vec<Statement>,
    /// How many more there were, each no longer than a moment and of a form that is among them.
    pub left_out: usize,
    /// The locks.
    pub holds: Vec<Hold>,
    /// The rewrites.
    pub rewrites: Vec<Rewrite>,
    /// What was dropped.
    pub dropped: Vec<Dropped>,
    /// Connections that ran a statement.
    pub sessions: usize,
    /// Messages of the sensor.
    pub told: usize,
    /// Messages of the sensor that could not be read: too long, for instance.
    pub garbled: usize,
}

/// What a connection is doing.
#[derive(Default)]
struct Line {
    /// Texts of prepared statements and of portals.
    prepared: BTreeMap<String, String>,
    portals: BTreeMap<String, String>,
    /// Statements whose answer is not there yet.
    waiting: Vec<usize>,
    /// Statements of the transaction.
    transaction: Vec<usize>,
    /// The beginning of the transaction by the server's clock.
    began: Option<f64>,
    /// Locks that it holds: since when, by which statement.
    held: BTreeMap<(u32, Mode), (f64, Option<usize>)>,
    /// When its transaction's last savepoint was made.
    savepoint: Option<f64>,
    /// The statement that the sensor spoke of last.
    current: Option<usize>,
    /// Whether it ran anything.
    is_used: bool,
}

impl Timeline {
    /// Reads what was heard. `skew` is what has to be added to the server's clock, in seconds since 1970, times 1000, to get
    /// milliseconds of the run; see [`skew`]. What is open at its end, at `end`, ends then.
    pub fn read(heard: &[Heard], skew: Option<f64>, end: f64) -> Self {
        let mut timeline = Self::default();
        let mut lines: BTreeMap<u64, Line> = BTreeMap::new();
        for one in heard {
            let line = lines.entry(one.session).or_default();
            timeline.hear(line, one, skew);
        }
        for line in lines.values_mut() {
            timeline.close(line, end);
        }
        timeline.sessions = lines.values().filter(|line| line.is_used).count();
        timeline.holds.sort_by(|one, other| one.from.total_cmp(&other.from));
        timeline
    }

    /// The statement that failed last, and not for what failed before it.
    pub fn failed(&self) -> Option<&Statement> {
        let fails =
            |one: &&Statement| one.failure.as_ref().is_some_and(|failure| failure.sqlstate != ABORTED);
        self.statements
            .iter()
            .rfind(fails)
            .or_else(|| self.statements.iter().rfind(|one| one.failure.is_some()))
    }

    fn hear(&mut self, line: &mut Line, one: &Heard, skew: Option<f64>) {
        let at = one.at;
        match &one.event {
            TapEvent::Opened { .. } | TapEvent::Closed => self.close(line, at),
            TapEvent::Query { text, .. } => self.begin(line, one.session, text, at),
            TapEvent::Parse { statement, text, .. } => {
                line.prepared.insert(statement.clone(), text.clone());
            }
            TapEvent::Bind { portal, statement } => {
                // A statement may be prepared anew under the same name before the portal is run.
                let text = line.prepared.get(statement).cloned().unwrap_or_default();
                line.portals.insert(portal.clone(), text);
            }
            TapEvent::Execute { portal } => {
                let text = line.portals.get(portal).cloned().unwrap_or_default();
                self.begin(line, one.session, &text, at);
            }
            TapEvent::FunctionCall { .. } => self.begin(line, one.session, "a function call", at),
            TapEvent::Sensor { message, .. } => {
                if let Ok(message) = serde_json::from_str::<Message>(message) {
                    self.told += 1;
                    let said = skew.map_or(at, |skew| message.at * 1000.0 + skew);
                    self.told_by(line, one.session, &message, said);
                } else {
                    self.garbled += 1;
                }
            }
            TapEvent::Sync | TapEvent::Suspended => {}
            TapEvent::Complete { .. } => {
                if let Some(index) = line.waiting.first().copied() {
                    self.statements[index].to = at;
                    // A batch is complete once for each of its statements: only the last is followed by Ready.
                    if line.waiting.len() > 1 {
                        line.waiting.remove(0);
                    }
                }
            }
            TapEvent::Error(error) => {
                let failure = Failure::of(error);
                let index = line.current.or_else(|| line.waiting.first().copied());
                if let Some(index) = index.or_else(|| line.transaction.last().copied()) {
                    self.statements[index].failure = Some(failure);
                }
                // The transaction is rolled back at once, to its savepoint if it has one; that its end is missing keeps nobody
                // waiting.
                let since = line.savepoint.unwrap_or(f64::NEG_INFINITY);
                self.let_go_since(line, at, since);
            }
            TapEvent::Ready { status } => {
                for index in std::mem::take(&mut line.waiting) {
                    self.statements[index].to = at;
                }
                line.current = None;
                if *status == Status::Idle {
                    self.end(line, at);
                }
            }
        }
    }

    fn begin(&mut self, line: &mut Line, session: u64, text: &str, at: f64) {
        line.is_used = true;
        if crate::text::begins(text, "SAVEPOINT") {
            line.savepoint = Some(at);
        }
        self.statements.push(Statement {
            session,
            text: text.trim().chars().take(TEXT).collect(),
            from: at,
            to: at,
            until: at,
            ..Statement::default()
        });
        let index = self.statements.len() - 1;
        line.waiting.push(index);
        line.transaction.push(index);
        line.current = None;
    }

    /// A message of the sensor, said at `at`.
    fn told_by(&mut self, line: &mut Line, session: u64, message: &Message, at: f64) {
        if line.began.is_some_and(|began| began < message.transaction) {
            // A batch may hold several transactions; the new one began when the old one was over.
            let over = at - (message.at - message.transaction) * 1000.0;
            self.let_go(line, over);
            line.savepoint = None;
        }
        line.began = Some(message.transaction);
        let before = line.current.or_else(|| line.waiting.first().copied());
        if message.event == "ddl_command_start" {
            // What is new was taken by something that is no DDL, before this.
            self.compare(line, message, at, before.map(|index| self.statements[index].from), before);
            self.name(line, session, message, at);
            return;
        }
        let by = line.current.or(before);
        let since = by.map(|index| self.statements[index].from);
        self.compare(line, message, at, since, by);
        match message.event.as_str() {
            "table_rewrite" => self.rewrites.push(Rewrite {
                relation: message.rewritten.unwrap_or_default(),
                reason: message.reasons(),
                statement: by,
            }),
            "sql_drop" => self.dropped.extend(message.objects.iter().flatten().map(|object| Dropped {
                kind: object.kind.clone(),
                name: object.name.clone(),
                named: object.original,
            })),
            _ => {
                if let Some(index) = by {
                    self.statements[index].to = at;
                }
            }
        }
    }

    /// The statement that a DDL command is: the one that was sent, or one inside of it.
    fn name(&mut self, line: &mut Line, session: u64, message: &Message, at: f64) {
        let sent = line.waiting.first().copied();
        let whole = sent.map(|index| self.statements[index].text.clone()).unwrap_or_default();
        let inner = message.inner().map(str::to_owned);
        let is_alone = inner.is_none() && crate::text::statements(&whole).len() <= 1;
        let index = match sent {
            Some(index) if is_alone => index,
            _ => {
                let text = inner
                    .or_else(|| crate::text::nth_of(&whole, &message.tag, self.named_in(line, &message.tag)))
                    .unwrap_or_else(|| message.tag.clone());
                let waiting = std::mem::take(&mut line.waiting);
                self.begin(line, session, &text, at);
                line.waiting = waiting;
                self.statements.len() - 1
            }
        };
        let statement = &mut self.statements[index];
        statement.is_ddl = true;
        statement.lock_timeout = Some(message.lock_timeout.clone());
        statement.statement_timeout = Some(message.statement_timeout.clone());
        statement.search_path = Some(message.search_path.clone());
        statement.role = Some(message.role.clone());
        line.current = Some(index);
    }

    /// How many commands of that tag the batch has had so far.
    fn named_in(&self, line: &Line, tag: &str) -> usize {
        let Some(first) = line.waiting.first() else { return 0 };
        let inside = self.statements.iter().skip(first + 1).filter(|statement| statement.is_ddl);
        inside.filter(|statement| crate::text::begins(&statement.text, tag)).count()
    }

    /// Holds what the sensor saw against what is known: what is new is held since `since`, what is missing went with a
    /// savepoint.
    fn compare(
        &mut self,
        line: &mut Line,
        message: &Message,
        at: f64,
        since: Option<f64>,
        by: Option<usize>,
    ) {
        let now: Vec<(u32, Mode)> = message.held().collect();
        for key in &now {
            line.held.entry(*key).or_insert((since.unwrap_or(at), by));
        }
        let gone: Vec<_> = line.held.keys().filter(|key| !now.contains(key)).copied().collect();
        for key in gone {
            if let Some((from, statement)) = line.held.remove(&key) {
                self.hold(key, from, at, statement);
            }
        }
    }

    fn hold(&mut self, (relation, mode): (u32, Mode), from: f64, to: f64, statement: Option<usize>) {
        let to = to.max(from);
        self.holds.push(Hold { relation, mode, from, to, statement, seen: Seen::EventTrigger });
    }

    fn let_go(&mut self, line: &mut Line, at: f64) {
        self.let_go_since(line, at, f64::NEG_INFINITY);
    }

    /// The same for what was locked since then.
    fn let_go_since(&mut self, line: &mut Line, at: f64, since: f64) {
        let held = std::mem::take(&mut line.held).into_iter();
        let (gone, kept): (BTreeMap<_, _>, BTreeMap<_, _>) = held.partition(|(_, (from, _))| *from >= since);
        line.held = kept;
        for (key, (from, statement)) in gone {
            self.hold(key, from, at, statement);
        }
    }

    /// The connection ends.
    fn close(&mut self, line: &mut Line, at: f64) {
        for index in std::mem::take(&mut line.waiting) {
            self.statements[index].to = at;
        }
        self.end(line, at);
    }

    /// The transaction ends.
    fn end(&mut self, line: &mut Line, at: f64) {
        self.let_go(line, at);
        for index in std::mem::take(&mut line.transaction) {
            self.statements[index].until = at.max(self.statements[index].to);
        }
        line.began = None;
        line.savepoint = None;
        line.current = None;
    }
}

/// What has to be added to the server's clock to get the run's: the least difference between hearing a message and its
/// being said, which is the two clocks' difference and the shortest way of a message.
pub fn skew(heard: &[Heard]) -> Option<f64> {
    let differences = heard.iter().filter_map(|one| match &one.event {
        TapEvent::Sensor { message, .. } => {
            let message: Message = serde_json::from_str(message).ok()?;
            Some(one.at - message.at * 1000.0)
        }
        _ => None,
    });
    differences.min_by(f64::total_cmp)
}

#[cfg(test)]
mod tests;
