//! How long clients of production would have waited: from locks held to the longest stall of each table. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::catalog::Snapshot;
use crate::lock::{Client, Mode};
use crate::text;
use crate::timeline::{Hold, Statement};

/// Between two locks with less than this between them, in milliseconds, a queue does not drain.
const GAP: f64 = 1.0;

/// How statements begin that lock tables, and no rows of theirs.
const OF_DDL: [&str; 12] = [
    "ALTER", "ANALYZE", "CLUSTER", "COMMENT", "CREATE", "DROP", "GRANT", "LOCK", "REFRESH", "REINDEX",
    "REVOKE", "VACUUM",
];

/// The longest time that one kind of client waits at one table without a pause.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stall {
    /// Who waits.
    pub client: Client,
    /// The table's oid.
    pub table: u32,
    /// How long, in milliseconds.
    pub ms: f64,
    /// When it begins, in milliseconds since the run began.
    pub from: f64,
    /// The mode that keeps it waiting most of the time.
    pub mode: Mode,
    /// The statement that took this lock.
    pub statement: Option<usize>,
}

/// The longest stall of each client at each table that existed before, the longest first.
pub fn computed(holds: &[Hold], statements: &[Statement], before: &Snapshot) -> Vec<Stall> {
    let mut blocking: BTreeMap<(u32, Client), Vec<&Hold>> = BTreeMap::new();
    for hold in holds {
        let Some(relation) = before.relations.get(&hold.relation) else { continue };
        // Whoever plans a query of a table locks its indexes, too.
        let table = relation.of_table.unwrap_or(hold.relation);
        for client in Client::ALL {
            if hold.mode.blocks(client) || (client == Client::Row && changes_rows(hold, statements)) {
                blocking.entry((table, client)).or_default().push(hold);
            }
        }
    }
    let mut stalls: Vec<Stall> = blocking
        .into_iter()
        .filter_map(|((table, client), mut holds)| {
            holds.sort_by(|one, other| one.from.total_cmp(&other.from));
            longest(&holds).map(|(from, ms, worst)| Stall {
                client,
                table,
                ms,
                from,
                mode: worst.mode,
                statement: worst.statement,
            })
        })
        .collect();
    stalls.sort_by(|one, other| other.ms.total_cmp(&one.ms));
    stalls
}

/// The longest time that is covered by `holds`, which stand in the order of their beginning: from when, how long, and the
/// longest lock in it.
fn longest<'a>(holds: &[&'a Hold]) -> Option<(f64, f64, &'a Hold)> {
    let mut best: Option<(f64, f64, &Hold)> = None;
    let mut current: Option<(f64, f64, &Hold)> = None;
    for hold in holds {
        current = Some(match current {
            Some((from, to, worst)) if hold.from <= to + GAP => {
                let is_longer = hold.to - hold.from > worst.to - worst.from;
                (from, to.max(hold.to), if is_longer { hold } else { worst })
            }
            _ => (hold.from, hold.to, hold),
        });
        if let Some((from, to, worst)) = current
            && best.is_none_or(|(_, ms, _)| to - from > ms)
        {
            best = Some((from, to - from, worst));
        }
    }
    best
}

/// Whether a lock is that of a statement which changes rows that were there: they are locked to the end of its transaction.
fn changes_rows(hold: &Hold, statements: &[Statement]) -> bool {
    let Some(statement) = hold.statement.and_then(|index| statements.get(index)) else { return false };
    let words: Vec<String> = text::words(&statement.text).map(str::to_uppercase).collect();
    let first = words.first().map(String::as_str).unwrap_or_default();
    // DDL locks rows of nobody but the catalogs; without event triggers only its first word tells it.
    if statement.is_ddl || OF_DDL.contains(&first) {
        return false;
    }
    match hold.mode {
        // New rows are nobody's yet.
        Mode::RowExclusive => {
            first != "COPY" && (first != "INSERT" || words.iter().any(|word| word == "CONFLICT"))
        }
        Mode::RowShare => words.windows(2).any(|pair| {
            pair[0] == "FOR"
                && (pair[1].starts_with("UPDATE") || pair[1] == "NO" || pair[1].starts_with("SHARE"))
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Relation;
    use crate::catalog::tests::{snapshot, table};
    use crate::timeline::Seen;

    fn hold(relation: u32, mode: Mode, from: f64, to: f64, statement: Option<usize>) -> Hold {
        Hold { relation, mode, from, to, statement, seen: Seen::EventTrigger }
    }

    fn before() -> Snapshot {
        let index = Relation { kind: 'i', of_table: Some(16384), ..table("public.a_i", "app", &[]) };
        snapshot(vec![table("public.a", "app", &[]), index, table("public.b", "app", &[])])
    }

    fn ms(stalls: &[Stall], table: u32, client: Client) -> f64 {
        stalls
            .iter()
            .find(|stall| stall.table == table && stall.client == client)
            .map_or(0.0, |stall| stall.ms)
    }

    #[test]
    fn each_client_waits_for_what_conflicts_with_it() {
        let holds = [
            hold(16384, Mode::AccessExclusive, 0.0, 5.0, None),
            hold(16384, Mode::Share, 2.0, 40.0, None),
            hold(16386, Mode::ShareUpdateExclusive, 0.0, 900.0, None),
        ];
        let stalls = computed(&holds, &[], &before());
        assert_eq!(ms(&stalls, 16384, Client::Reader), 5.0);
        assert_eq!(ms(&stalls, 16384, Client::Writer), 40.0);
        assert_eq!(ms(&stalls, 16384, Client::Row), 40.0);
        assert_eq!(ms(&stalls, 16386, Client::Writer), 0.0);
    }

    #[test]
    fn an_index_keeps_those_waiting_who_read_its_table() {
        let stalls = computed(&[hold(16385, Mode::AccessExclusive, 1.0, 8.0, None)], &[], &before());
        assert_eq!(ms(&stalls, 16384, Client::Reader), 7.0);
    }

    #[test]
    fn a_new_table_keeps_nobody_waiting() {
        assert_eq!(computed(&[hold(99999, Mode::AccessExclusive, 0.0, 9e6, None)], &[], &before()), []);
    }

    #[test]
    fn stalls_with_time_between_them_are_not_added() {
        let both = |gap: f64| {
            let next = 10.0 + gap;
            let holds = [
                hold(16384, Mode::AccessExclusive, 0.0, 10.0, None),
                hold(16384, Mode::AccessExclusive, next, next + 7.0, None),
            ];
            ms(&computed(&holds, &[], &before()), 16384, Client::Reader)
        };
        assert_eq!((both(0.5), both(20.0)), (17.5, 10.0));
    }

    #[test]
    fn changed_rows_stay_locked_and_new_ones_are_nobodys() {
        let of = |text: &str| {
            let statement =
                Statement { text: text.into(), from: 0.0, to: 9.0, until: 30.0, ..Statement::default() };
            let holds = [hold(16384, Mode::RowExclusive, 0.0, 30.0, Some(0))];
            let stalls = computed(&holds, &[statement], &before());
            (ms(&stalls, 16384, Client::Writer), ms(&stalls, 16384, Client::Row))
        };
        assert_eq!(of("update a set x = 1"), (0.0, 30.0));
        assert_eq!(of("INSERT INTO a VALUES (1)"), (0.0, 0.0));
        assert_eq!(of("create index on a (x)"), (0.0, 0.0));
        assert_eq!(of("INSERT INTO a VALUES (1) ON CONFLICT (id) DO UPDATE SET x = 1"), (0.0, 30.0));
        assert_eq!(
            of("WITH moved AS (DELETE FROM a RETURNING *) INSERT INTO b SELECT * FROM moved"),
            (0.0, 30.0)
        );
    }
}
