//! refinery: `V1__name.sql` or `.rs`; the table holds a SipHash of name, version and SQL.

use std::hash::{Hash, Hasher};

use siphasher::sip::SipHasher13;

use super::craft::{Craft, Migration, Read, all_ours, name, ran_by_row};

pub(super) const CRAFT: Craft = Craft {
    table: "refinery_schema_history",
    query: "SELECT json_agg(json_build_array(version::text, checksum)) FROM %s",
    is_file,
    migration,
    ran: ran_by_row,
    is_ours: all_ours,
};

fn is_file(path: &str) -> bool {
    parts(path).is_some()
}

/// Version and name: `V` or `U`, digits, two underscores, word characters.
fn parts(path: &str) -> Option<(i64, &str)> {
    let name = name(path);
    let stem = name.strip_suffix(".sql").or_else(|| name.strip_suffix(".rs"))?;
    let (version, title) = stem.strip_prefix(['V', 'U'])?.split_once("__")?;
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let is_number = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && !title.is_empty() && title.chars().all(is_word)).then_some(())?;
    Some((version.parse().ok()?, title))
}

fn migration(path: &str, bytes: &[u8], _: Read<'_>) -> Option<Migration> {
    let (version, title) = parts(path)?;
    // What a `.rs` file runs is known only when it has been compiled.
    let sums = match std::str::from_utf8(bytes) {
        Ok(sql) if path.ends_with(".sql") => sums(title, version, sql),
        _ => Vec::new(),
    };
    Some(Migration { sums, ..Migration::new(version.to_string(), path, bytes) })
}

/// The sum that refinery stores; a version is 32 bits wide, or 64 with its feature `int8-versions`.
fn sums(title: &str, version: i64, sql: &str) -> Vec<String> {
    let sum = |version: &dyn Fn(&mut SipHasher13)| {
        let mut hasher = SipHasher13::new();
        title.hash(&mut hasher);
        version(&mut hasher);
        sql.hash(&mut hasher);
        hasher.finish().to_string()
    };
    let wide = sum(&|hasher| version.hash(hasher));
    let narrow = i32::try_from(version).ok().map(|version| sum(&|hasher| version.hash(hasher)));
    narrow.into_iter().chain([wide]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_as_refinery_takes_them() {
        assert_eq!(parts("src/migrations/V12__add_due_date.sql"), Some((12, "add_due_date")));
        assert_eq!(parts("V1__initial.rs"), Some((1, "initial")));
        for other in [
            "V1_initial.sql",
            "V__initial.sql",
            "V1__a-b.sql",
            "v1__initial.sql",
            "V1__initial.txt",
            "V1__.sql",
        ] {
            assert_eq!(parts(other), None, "{other}");
        }
    }

    #[test]
    fn the_sum_is_the_one_that_refinery_stores() {
        let sums = |path: &str, sql: &str| migration(path, sql.as_bytes(), &|_| None).unwrap().sums;
        // Printed by refinery-core 0.9.2, without and with its feature `int8-versions`.
        assert_eq!(
            sums("V1__initial.sql", "CREATE TABLE persons (id int);\n"),
            ["1091441964215326441", "17850160248500988789"]
        );
        assert_eq!(
            sums("V20240102__add_cars_table.sql", "SELECT 'é';\r\nSELECT 2;"),
            ["12482384069736977387", "8629329455845148028"]
        );
        assert!(sums("V1__initial.rs", "pub fn migration() -> String { todo() }").is_empty());
    }
}
