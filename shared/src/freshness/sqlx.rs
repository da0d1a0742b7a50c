//! sqlx: `migrations/VERSION_DESCRIPTION.sql`, or `.up.sql`; the table holds SHA-384 of each.

use super::craft::{Craft, Migration, Read, all_ours, folder, name, ran_by_row};
use super::sums;

pub(super) const CRAFT: Craft = Craft {
    table: "_sqlx_migrations",
    query: "SELECT json_agg(json_build_array(version::text, encode(checksum, 'hex'))) FROM %s WHERE success",
    is_file,
    migration,
    ran: ran_by_row,
    is_ours: all_ours,
};

fn is_file(path: &str) -> bool {
    name(folder(path)).contains("migrat") && version(path).is_some()
}

/// The version as sqlx reads it: a number, so that leading zeros count for nothing.
fn version(path: &str) -> Option<i64> {
    let (version, rest) = name(path).split_once('_')?;
    let is_up = rest.ends_with(".sql") && !rest.ends_with(".down.sql");
    version.parse().ok().filter(|_| is_up)
}

fn migration(path: &str, bytes: &[u8], _: Read<'_>) -> Option<Migration> {
    let sums = sums::with_any_line_ends(bytes).iter().map(|text| sums::sha384(text)).collect();
    Some(Migration { sums, ..Migration::new(version(path)?.to_string(), path, bytes) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_version_and_the_sum_that_sqlx_stores() {
        let found = migration("db/migrations/0002_add.up.sql", b"SELECT 1;\n", &|_| None).unwrap();
        assert_eq!(found.id, "2");
        // printf 'SELECT 1;\n' | sha384sum
        assert_eq!(
            found.sums[0],
            "24454095d8d7876ca8e842f34296ca645c83e0f7b50f048c99db4b2ff4da659267afc4ef3e994f3d74e18c741165d931"
        );
        assert!(is_file("migrations/20240101000000_x.sql") && is_file("my_migrations/1_x.sql"));
        for other in ["migrations/1_x.down.sql", "migrations/V1__x.sql", "seeds/1_x.sql", "migrations/1.sql"]
        {
            assert!(!is_file(other), "{other}");
        }
    }
}
