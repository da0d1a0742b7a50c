//! Facts made by hand: a shop with orders and users, and migrations of it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::{Date, date};
use lakebase_check::catalog::{Left, Relation, Snapshot};
use lakebase_check::exceptions::Exceptions;
use lakebase_check::facts::{Again, Down, Facts, Queries, Queue, Up};
use lakebase_check::limits::Limits;
use lakebase_check::lock::{Client, Mode};
use lakebase_check::report::{Format, Report};
use lakebase_check::runner::How;
use lakebase_check::stall::{self, Stall};
use lakebase_check::timeline::{Hold, Rewrite, Seen, Statement, Timeline};
use lakebase_check::verdict::{self, Verdict};

pub const ORDERS: u32 = 20_001;
pub const USERS: u32 = 20_002;

pub fn relation(name: &str, bytes: i64, rows: f64) -> Relation {
    Relation {
        schema: "public".into(),
        name: format!("public.{name}"),
        kind: 'r',
        owner: "app".into(),
        file: 1,
        bytes,
        rows,
        populated: true,
        of_table: None,
        valid: true,
        grants: BTreeSet::new(),
        primary_key: vec!["id".into()],
        columns: BTreeMap::new(),
        inserted: 0,
        updated: 0,
        deleted: 0,
        scans: 0,
    }
}

pub fn shop() -> Snapshot {
    let relations = [
        (ORDERS, relation("orders", 2_400_000_000, 10_000_000.0)),
        (USERS, relation("users", 48_000_000, 200_000.0)),
    ];
    Snapshot { relations: BTreeMap::from(relations), wal: Some(0), ..Snapshot::default() }
}

pub fn statement(text: &str, from: f64, to: f64, until: f64) -> Statement {
    Statement { session: 1, text: text.into(), from, to, until, ..Statement::default() }
}

pub fn ddl(text: &str, from: f64, to: f64, until: f64) -> Statement {
    Statement {
        is_ddl: true,
        lock_timeout: Some("0".into()),
        statement_timeout: Some("5min".into()),
        search_path: Some("\"$user\", public".into()),
        role: Some("app".into()),
        ..statement(text, from, to, until)
    }
}

pub fn hold(relation: u32, mode: Mode, from: f64, to: f64, statement: usize) -> Hold {
    Hold { relation, mode, from, to, statement: Some(statement), seen: Seen::EventTrigger }
}

/// A clean migration: one column more, everything tried, nothing found.
pub fn clean() -> Facts {
    let statements = vec![
        statement("BEGIN", 100.0, 100.2, 130.0),
        ddl("ALTER TABLE orders ADD COLUMN region text", 101.0, 105.0, 130.0),
        statement("COMMIT", 129.0, 130.0, 130.0),
    ];
    let timeline = Timeline {
        statements,
        holds: vec![hold(ORDERS, Mode::AccessExclusive, 102.0, 130.0, 1)],
        sessions: 1,
        ..Timeline::default()
    };
    let mut after = shop();
    after.wal = Some(9_000);
    let mut facts = Facts {
        name: "0042_orders_region".into(),
        heads: Some(vec!["0042".into()]),
        up: Up { ended: Some(How::Code(0)), ms: 640.0, timeline, before: shop(), after, ..Up::default() },
        again: Some(Again { ok: true, changed: Vec::new() }),
        down: Some(Down {
            ok: true,
            words: String::new(),
            refuses: false,
            differs: Vec::new(),
            lost: Vec::new(),
            up_again: Some(true),
        }),
        measured: Some(vec![measured(Client::Reader, ORDERS, 26.0)]),
        queue: Some(vec![Queue { table: "orders".into(), waited: true, readers_ms: 0.0, gave_up: true }]),
        queries: Some(Queries { worked: 318, broken: Vec::new() }),
        sensors: vec!["event trigger", "sampler 10 ms", "probes"],
        ..Facts::default()
    };
    compute(&mut facts);
    facts
}

/// The migration of the reference page: an index that keeps writers out, a constraint that is not validated, a column renamed.
pub fn rich() -> Facts {
    let mut facts = clean();
    let up = &mut facts.up;
    up.ms = 43_100.0;
    up.timeline.statements = vec![
        statement("BEGIN", 200.0, 200.2, 43_000.0),
        ddl("CREATE INDEX orders_region_idx\n    ON orders (region)", 300.0, 41_300.0, 43_000.0),
        ddl(
            "ALTER TABLE orders ADD CONSTRAINT orders_user_fk FOREIGN KEY (user_id) REFERENCES users NOT VALID",
            41_400.0,
            41_600.0,
            43_000.0,
        ),
        ddl("ALTER TABLE orders RENAME area TO region_code", 42_800.0, 42_810.0, 43_000.0),
        statement("COMMIT", 42_990.0, 43_000.0, 43_000.0),
    ];
    up.timeline.holds = vec![
        hold(ORDERS, Mode::Share, 300.0, 43_000.0, 1),
        hold(ORDERS, Mode::ShareRowExclusive, 41_400.0, 43_000.0, 2),
        hold(USERS, Mode::ShareRowExclusive, 41_400.0, 43_000.0, 2),
        hold(ORDERS, Mode::AccessExclusive, 42_800.0, 43_000.0, 3),
    ];
    up.timeline.rewrites = Vec::<Rewrite>::new();
    up.after.wal = Some(812 << 20);
    up.after.bytes = 640 << 20;
    up.left = vec![Left {
        what: "constraint not validated".into(),
        name: "orders_user_fk on orders".into(),
        why: "rows from before may break it: run `VALIDATE CONSTRAINT`".into(),
    }];
    facts.queries = Some(Queries {
        worked: 318,
        broken: vec![
            ("SELECT id, area FROM orders WHERE area = $1".into(), "column \"area\" does not exist".into()),
            (
                "UPDATE orders SET area = $1 WHERE id = $2".into(),
                "column \"area\" of relation \"orders\" does not exist".into(),
            ),
        ],
    });
    facts.queue =
        Some(vec![Queue { table: "orders".into(), waited: true, readers_ms: 5_000.0, gave_up: false }]);
    facts.measured = Some(vec![
        measured(Client::Reader, ORDERS, 212.0),
        measured(Client::Writer, ORDERS, 41_200.0),
        measured(Client::Row, ORDERS, 41_180.0),
        measured(Client::Writer, USERS, 1_500.0),
    ]);
    compute(&mut facts);
    facts
}

pub fn measured(client: Client, table: u32, ms: f64) -> Stall {
    Stall { client, table, ms, from: 0.0, mode: client.needs(), statement: None }
}

/// Fills in what follows from the locks.
pub fn compute(facts: &mut Facts) {
    let up = &mut facts.up;
    up.stalls = stall::computed(&up.timeline.holds, &up.timeline.statements, &up.before);
}

pub fn judged(facts: &Facts) -> Verdict {
    verdict::judge(facts, &Limits::default(), facts.tool)
}

/// The verdict with exceptions, on a day.
pub fn judged_on(facts: &Facts, day: Date, exceptions: &str) -> Verdict {
    verdict::judge(facts, &excepting(day, exceptions), facts.tool)
}

fn excepting(day: Date, exceptions: &str) -> Limits {
    Limits { exceptions: Exceptions::parse(exceptions, day).unwrap(), ..Limits::default() }
}

pub fn in_form(facts: &Facts, format: Format) -> String {
    in_form_on(facts, format, date(2026, 11, 23), "")
}

pub fn in_form_on(facts: &Facts, format: Format, day: Date, exceptions: &str) -> String {
    let limits = excepting(day, exceptions);
    let verdict = verdict::judge(facts, &limits, facts.tool);
    Report { facts, limits: &limits, verdict: &verdict }.in_form(format)
}
