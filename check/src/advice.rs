//! Why a finding came about, and what to write instead, in the words of the migration tool at hand. Pure.
//!
//! Sources: the PostgreSQL manual ("ALTER TABLE", Notes; "CREATE INDEX", Building Indexes Concurrently), and the manuals of
//! Alembic, Django, Rails and sqlx for how each leaves its transaction.

use lakebase::freshness::Tool;

use crate::text;

/// What to say about one statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// Why it hurts.
    pub why: String,
    /// What to write instead.
    pub instead: String,
}

fn advice(why: impl Into<String>, instead: impl Into<String>) -> Option<Advice> {
    Some(Advice { why: why.into(), instead: instead.into() })
}

/// The statement as a report quotes it: one line, not too long, and no value of a row in it.
pub fn quoted(statement: &str) -> String {
    let flat = text::without_values(statement);
    let flat = flat.split_whitespace().collect::<Vec<_>>().join(" ");
    if flat.chars().count() <= 80 {
        flat
    } else {
        format!("{}…", flat.chars().take(79).collect::<String>())
    }
}

/// What to do where `parent` is locked before `child`, which references it.
pub fn of_deadlock(parent: &str, child: &str) -> Advice {
    Advice {
        why: format!(
            "an INSERT into `{child}` locks `{child}` and then `{parent}`, which it references; the migration locks `{parent}` first, and where they meet PostgreSQL ends one of them (40P01)"
        ),
        instead: format!("change `{child}` first, or each of them in a transaction of its own"),
    }
}

/// What to do about a statement that keeps clients waiting.
pub fn of_stall(statement: &str, rewrites: bool, tool: Option<Tool>) -> Option<Advice> {
    let flat = format!(" {} ", statement.split_whitespace().collect::<Vec<_>>().join(" ").to_uppercase());
    let has = |words: &str| flat.contains(&format!(" {words} "));
    let shown = quoted(statement);
    if has("CREATE INDEX") || has("CREATE UNIQUE INDEX") {
        return advice(
            format!("`{shown}` is not CONCURRENTLY: it keeps writers out while it reads the table"),
            concurrently(tool),
        );
    }
    if has("REINDEX") || has("DROP INDEX") {
        return advice(
            format!("`{shown}` is not CONCURRENTLY"),
            "add CONCURRENTLY, outside of a transaction",
        );
    }
    if has("ADD CONSTRAINT")
        || has("ADD FOREIGN KEY")
        || has("ADD CHECK")
        || has("ADD UNIQUE")
        || has("ADD PRIMARY KEY")
    {
        if has("FOREIGN KEY") || flat.contains(" CHECK ") {
            return advice(
                format!("`{shown}` reads every row while it holds its lock"),
                "add it NOT VALID, and `VALIDATE CONSTRAINT` in a later transaction: that keeps nobody waiting",
            );
        }
        return advice(
            format!("`{shown}` builds its index while nobody may read or write"),
            "`CREATE UNIQUE INDEX CONCURRENTLY` first, then `ADD CONSTRAINT … USING INDEX`",
        );
    }
    if has("SET NOT NULL") {
        return advice(
            format!("`{shown}` reads every row while nobody may read or write"),
            "`ADD CONSTRAINT … CHECK (… IS NOT NULL) NOT VALID`, `VALIDATE CONSTRAINT`, then `SET NOT NULL`, which trusts it",
        );
    }
    if rewrites {
        let instead = if has("TYPE") {
            "add a column of the new type, fill it in batches while a trigger keeps it, then swap the names"
        } else {
            "add the column without the default, fill it in batches, then set default and NOT NULL"
        };
        return advice(format!("`{shown}` writes the whole table anew"), instead);
    }
    if has("VACUUM FULL") || has("CLUSTER") {
        return advice(
            format!("`{shown}` writes the whole table anew"),
            "use pg_repack, or leave it to autovacuum",
        );
    }
    if has("REFRESH MATERIALIZED VIEW") {
        return advice(
            format!("`{shown}` keeps readers out"),
            "add CONCURRENTLY, with a unique index on the view",
        );
    }
    if has("UPDATE") || has("DELETE FROM") || has("DELETE") || has("MERGE INTO") {
        return advice(
            format!("`{shown}` keeps every row that it changes locked to the end of its transaction"),
            "change some thousand rows at a time, each batch in a transaction of its own",
        );
    }
    advice(
        format!("`{shown}` holds its lock to the end of a long transaction"),
        "put it into a transaction of its own, after the slow work",
    )
}

fn concurrently(tool: Option<Tool>) -> String {
    match tool {
        Some(Tool::Alembic) => {
            "`with op.get_context().autocommit_block(): op.create_index(…, postgresql_concurrently=True)`".into()
        }
        Some(Tool::Django) => {
            "`AddIndexConcurrently` of `django.contrib.postgres.operations`, in a migration with `atomic = False`".into()
        }
        Some(Tool::Rails) => "`disable_ddl_transaction!` and `add_index …, algorithm: :concurrently`".into(),
        Some(Tool::Sqlx) => "`CREATE INDEX CONCURRENTLY` in a file of its own that begins with `-- no-transaction`".into(),
        Some(Tool::Diesel) => {
            "`CREATE INDEX CONCURRENTLY` in a migration of its own with `run_in_transaction = false` in its metadata.toml".into()
        }
        Some(Tool::Flyway) => "`CREATE INDEX CONCURRENTLY` in a script of its own, with `executeInTransaction=false`".into(),
        Some(Tool::Prisma) => "`CREATE INDEX CONCURRENTLY` as the only statement of its migration".into(),
        Some(Tool::Refinery) => "`CREATE INDEX CONCURRENTLY` in a runner with `set_grouped(false)`, alone in its file".into(),
        None => "`CREATE INDEX CONCURRENTLY`, outside of a transaction".into(),
    }
}

/// What to do about a failure, by its SQLSTATE (the manual's appendix "PostgreSQL Error Codes").
pub fn of_failure(sqlstate: &str) -> Option<&'static str> {
    Some(match sqlstate {
        "23502" => "give these rows a value in an earlier migration, or the column a default",
        "23503" => {
            "mend or delete the rows whose partner is gone first; `NOT VALID` lets new rows be checked already"
        }
        "23505" => "merge or delete the duplicates first",
        "23514" => "mend the rows that break the check first, or add it `NOT VALID`",
        "22P02" | "22003" | "22007" | "22008" | "22001" => {
            "mend these values first, or convert them in the `USING` clause"
        }
        "42804" => "say how the values are converted: `ALTER COLUMN … TYPE … USING …`",
        "2BP01" => {
            "something depends on it: change or drop that first, by its name; CASCADE would take it away silently"
        }
        "0A000" => "drop what uses the column, change the column, and make it again",
        "40P01" => "take the locks in the order that the application does, or in transactions of their own",
        "55P03" => "it gave up waiting for a lock: run it again, and make it wait no longer than now",
        "57014" => "it ran into `statement_timeout`: work in batches, or raise it for this migration alone",
        "42501" => "run `doctor`: it names the tables that this user may not alter, and what to grant",
        "42P07" | "42701" | "42710" => {
            "production has it already: somebody made it by hand, or the history differs"
        }
        "42P01" | "42703" | "42704" => {
            "production does not have it: the history differs, or an earlier step is missing"
        }
        "25001" => "this statement must not run inside a transaction: give it a migration without one",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(statement: &str) -> Advice {
        of_stall(statement, false, None).unwrap()
    }

    #[test]
    fn each_tool_is_told_in_its_own_words() {
        let index = "CREATE INDEX orders_region_idx ON orders (region)";
        let words = Tool::ALL.map(|tool| of_stall(index, false, Some(tool)).unwrap().instead);
        assert!(words.iter().collect::<std::collections::BTreeSet<_>>().len() == words.len(), "{words:?}");
        assert!(words[0].contains("postgresql_concurrently=True"));
    }

    #[test]
    fn the_advice_fits_the_statement() {
        assert!(of("create unique  index i on t (a)").instead.contains("CONCURRENTLY"));
        assert!(
            of("ALTER TABLE t ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES b").instead.contains("NOT VALID")
        );
        assert!(of("ALTER TABLE t ADD CONSTRAINT u UNIQUE (a)").instead.contains("USING INDEX"));
        assert!(of("ALTER TABLE t ALTER a SET NOT NULL").instead.contains("trusts it"));
        assert!(of("update t set a = 1").instead.contains("at a time"));
        let rewrite = of_stall("ALTER TABLE t ALTER COLUMN a TYPE bigint", true, None).unwrap();
        assert!(rewrite.instead.contains("new type"));
    }
}
