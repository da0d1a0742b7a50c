//! Two tables that a migration locks in an order in which it and an `INSERT` can wait for each other for ever. Pure.
//!
//! Sources: the PostgreSQL manual, 13.3.4 "Deadlocks"; a foreign key is checked by `SELECT … FOR KEY SHARE` of the row that
//! is referenced, which takes ROW SHARE ("CREATE TABLE", Notes; 13.3.2).

use serde::Serialize;

use crate::catalog::Snapshot;
use crate::lock::Mode;
use crate::timeline::{Hold, Statement};

/// Two tables in the order in which a migration locks them; an `INSERT` into the second locks them in the other one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Crossing {
    /// The table that the migration locks first, which the other one references.
    pub parent: u32,
    /// The table that it locks then.
    pub child: u32,
    /// The statement that wants the second lock.
    pub statement: usize,
}

/// Those of the tables that existed before, by the foreign keys that they had.
pub fn crossings(holds: &[Hold], statements: &[Statement], before: &Snapshot) -> Vec<Crossing> {
    let of = |table: u32, wanted: Mode| {
        holds.iter().filter(move |hold| hold.relation == table && hold.mode.conflicts(wanted))
    };
    let session = |hold: &Hold| Some(statements.get(hold.statement?)?.session);
    let mut all = Vec::new();
    for (child, parent) in before.references.iter().copied() {
        // What an INSERT holds of the child keeps the migration waiting, and what the migration holds of the parent the INSERT.
        let crossed = of(parent, Mode::RowShare).find_map(|first| {
            let is_open = |then: &&Hold| first.from < then.from && then.from < first.to;
            let then = of(child, Mode::RowExclusive).find(is_open)?;
            // Who holds the child first keeps an INSERT from its first step.
            let held = |hold: &Hold| hold.from <= first.from && first.from < hold.to;
            let is_safe = of(child, Mode::RowExclusive).any(held);
            let is_one = first.statement == then.statement || session(first) != session(then);
            (!is_safe && !is_one).then_some(then.statement?)
        });
        all.extend(crossed.map(|statement| Crossing { parent, child, statement }));
    }
    all.sort();
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::tests::{snapshot, table};
    use crate::timeline::Seen;

    const PARENT: u32 = 16384;
    const CHILD: u32 = 16385;

    /// Locks, each with its beginning; held to the end of one transaction. Each is of a statement of its own.
    fn crossed(locks: &[(u32, Mode, f64)]) -> usize {
        let mut before =
            snapshot(vec![table("public.users", "app", &[]), table("public.orders", "app", &[])]);
        before.references.insert((CHILD, PARENT));
        let statements = vec![Statement::default(); locks.len()];
        let hold = |(place, (relation, mode, from)): (usize, &(u32, Mode, f64))| Hold {
            relation: *relation,
            mode: *mode,
            from: *from,
            to: 100.0,
            statement: Some(place),
            seen: Seen::EventTrigger,
        };
        let holds: Vec<Hold> = locks.iter().enumerate().map(hold).collect();
        crossings(&holds, &statements, &before).len()
    }

    #[test]
    fn the_referenced_table_before_the_one_that_references_it_crosses_an_insert() {
        use Mode::{AccessExclusive, Share, ShareUpdateExclusive};
        assert_eq!(crossed(&[(PARENT, AccessExclusive, 1.0), (CHILD, AccessExclusive, 2.0)]), 1);
        assert_eq!(crossed(&[(PARENT, AccessExclusive, 1.0), (CHILD, Share, 2.0)]), 1);
        // The order of an INSERT itself, locks that it does not wait for, and locks of two transactions do not.
        assert_eq!(crossed(&[(CHILD, AccessExclusive, 1.0), (PARENT, AccessExclusive, 2.0)]), 0);
        assert_eq!(crossed(&[(PARENT, AccessExclusive, 1.0), (CHILD, ShareUpdateExclusive, 2.0)]), 0);
        assert_eq!(crossed(&[(PARENT, Share, 1.0), (CHILD, AccessExclusive, 2.0)]), 0);
        assert_eq!(crossed(&[(PARENT, AccessExclusive, 1.0), (CHILD, AccessExclusive, 200.0)]), 0);
        // Nor does what takes the child first, weak enough for readers and strong enough for an INSERT.
        let locks = [(CHILD, Share, 1.0), (PARENT, AccessExclusive, 2.0), (CHILD, AccessExclusive, 3.0)];
        assert_eq!(crossed(&locks), 0);
    }
}
