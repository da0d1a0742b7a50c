//! Rails: `db/migrate/VERSION_name.rb`; the table holds the versions, and no sum.

use super::craft::{Craft, Migration, Read, all_ours, name, ran_by_row};

pub(super) const CRAFT: Craft = Craft {
    table: "schema_migrations",
    query: "SELECT json_agg(json_build_array(version::text)) FROM %s",
    is_file,
    migration,
    ran: ran_by_row,
    is_ours: all_ours,
};

/// `db/migrate`, and `db/animals_migrate` of a second database.
fn is_file(path: &str) -> bool {
    let folders: Vec<&str> = path.split('/').collect();
    let is_in_place = folders.windows(2).any(|pair| pair[0] == "db" && pair[1].ends_with("migrate"));
    is_in_place && path.ends_with(".rb") && version(path).is_some()
}

fn version(path: &str) -> Option<&str> {
    let (version, _) = name(path).split_once('_')?;
    (!version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit())).then_some(version)
}

/// Rails compares versions as numbers, and writes them without the zeros in front.
fn migration(path: &str, bytes: &[u8], _: Read<'_>) -> Option<Migration> {
    Some(Migration::new(version(path)?.trim_start_matches('0'), path, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_number_in_front() {
        let path = "db/migrate/20240102030405_add_due_date.rb";
        assert_eq!(migration(path, b"", &|_| None).unwrap().id, "20240102030405");
        assert_eq!(migration("db/migrate/001_start.rb", b"", &|_| None).unwrap().id, "1");
        assert!(is_file(path) && is_file("api/db/animals_migrate/1_x.rb"));
        assert!(!is_file("db/migrate/concerns.rb") && !is_file("lib/migrate/1_x.rb"));
    }
}
