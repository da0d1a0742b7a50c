//! What of production's data is gone when a migration has been run and undone. Pure.
//!
//! From the catalogs and the server's own counts of rows, so that it costs nothing on a table of any size. Sources: the
//! PostgreSQL manual, 28.2.15 "pg_stat_all_tables", 53.7 "pg_attribute".

use serde::Serialize;

use crate::catalog::{Relation, Snapshot};

/// Something that is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// What it is, such as ``12 rows of `users` ``.
    pub what: String,
    /// Whether the way back took it; else the migration did, and the way back does not bring it again.
    pub by_down: bool,
}

/// Rows that were inserted and deleted in between, and whether rows were changed.
struct Counted {
    inserted: i64,
    deleted: i64,
    updated: bool,
}

/// `None` where somebody reset the counts.
fn counted(from: &Relation, to: &Relation) -> Option<Counted> {
    let since = |of: fn(&Relation) -> i64| Some(of(to) - of(from)).filter(|count| *count >= 0);
    Some(Counted {
        inserted: since(|one| one.inserted)?,
        deleted: since(|one| one.deleted)?,
        updated: since(|one| one.updated)? > 0,
    })
}

/// Of the tables that stood there at the start and held rows.
pub fn lost(start: &Snapshot, up: &Snapshot, down: &Snapshot) -> Vec<Lost> {
    let mut all = Vec::new();
    let tables = start.relations.iter().filter(|(_, one)| one.kind == 'r' && one.bytes > 0);
    for (oid, was) in tables {
        match (up.relations.get(oid), down.relations.get(oid)) {
            (Some(between), Some(now)) => all.extend(lost_of(was, between, now)),
            _ => {
                let again = down.relations.values().find(|now| now.name == was.name && now.kind == 'r');
                if again.is_some_and(|now| now.inserted == 0) {
                    let what = format!("the rows of `{}`", was.short());
                    all.push(Lost { what, by_down: up.relations.contains_key(oid) });
                }
            }
        }
    }
    all
}

fn lost_of(was: &Relation, between: &Relation, now: &Relation) -> Vec<Lost> {
    // TRUNCATE is counted nowhere.
    if now.bytes == 0 {
        return vec![Lost { what: format!("the rows of `{}`", was.short()), by_down: between.bytes > 0 }];
    }
    let (Some(up), Some(down)) = (counted(was, between), counted(between, now)) else { return Vec::new() };
    let mut all = Vec::new();
    let gone = up.deleted + down.deleted - up.inserted - down.inserted;
    if gone > 0 {
        let what = format!("{gone} rows of `{}`", was.short());
        all.push(Lost { what, by_down: down.deleted > up.inserted });
    }
    // A column with its old name and another number was dropped and made anew.
    let anew = was
        .columns
        .iter()
        .filter(|(name, number)| now.columns.get(*name).is_some_and(|now| now != *number) && !down.updated);
    all.extend(anew.map(|(name, number)| Lost {
        what: format!("the values of `{}.{name}`", was.short()),
        by_down: between.columns.get(name) == Some(number),
    }));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::tests::{snapshot, table};

    fn with(change: impl FnOnce(&mut Relation)) -> Snapshot {
        let mut users = table("public.users", "app", &[]);
        users.columns = [("id".to_owned(), 1), ("email".to_owned(), 2)].into();
        change(&mut users);
        snapshot(vec![users])
    }

    fn said(up: &Snapshot, down: &Snapshot) -> Vec<String> {
        let all = lost(&with(|_| ()), up, down).into_iter();
        all.map(|one| format!("{}{}", one.what, if one.by_down { " by down" } else { "" })).collect()
    }

    #[test]
    fn what_comes_and_goes_again_is_not_lost() {
        // as the row of the tool's own history, and a column that the migration brought
        let up = || with(|users| (users.inserted, users.columns) = (1, [("new".to_owned(), 3)].into()));
        assert_eq!(said(&up(), &with(|users| (users.inserted, users.deleted) = (1, 1))), [""; 0]);
        assert_eq!(said(&with(|_| ()), &with(|_| ())), [""; 0]);
    }

    #[test]
    fn rows_that_nobody_brings_again_are_lost() {
        let up = || with(|users| users.deleted = 7);
        assert_eq!(said(&up(), &up()), ["7 rows of `users`"]);
        assert_eq!(said(&with(|_| ()), &with(|users| users.deleted = 2)), ["2 rows of `users` by down"]);
        assert_eq!(said(&up(), &with(|users| (users.deleted, users.inserted) = (7, 7))), [""; 0]);
        assert_eq!(said(&with(|_| ()), &with(|users| users.bytes = 0)), ["the rows of `users` by down"]);
        // Counts that were reset say nothing.
        assert_eq!(said(&with(|users| users.deleted = 9), &with(|_| ())), [""; 0]);
    }

    #[test]
    fn a_column_that_is_made_anew_is_empty_unless_the_way_back_fills_it() {
        let up = || with(|users| users.columns.retain(|name, _| name != "email"));
        let anew = |users: &mut Relation| users.columns.extend([("email".to_owned(), 3)]);
        assert_eq!(said(&up(), &with(anew)), ["the values of `users.email`"]);
        let filled = |users: &mut Relation| {
            anew(users);
            users.updated = 10;
        };
        assert_eq!(said(&up(), &with(filled)), [""; 0]);
    }

    #[test]
    fn a_table_that_is_made_anew_is_empty_unless_rows_were_put_into_it() {
        let anew = |inserted| {
            let mut down = snapshot(vec![]);
            down.relations.insert(20000, Relation { inserted, ..table("public.users", "app", &[]) });
            down
        };
        assert_eq!(said(&snapshot(vec![]), &anew(0)), ["the rows of `users`"]);
        assert_eq!(said(&snapshot(vec![]), &anew(9)), [""; 0]);
    }
}
