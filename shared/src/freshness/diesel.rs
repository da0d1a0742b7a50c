//! diesel: `migrations/VERSION_NAME/up.sql`; the table holds the version without hyphens, and no sum.

use super::craft::{Craft, Migration, Read, all_ours, folder, name, ran_by_row};

pub(super) const CRAFT: Craft = Craft {
    table: "__diesel_schema_migrations",
    query: "SELECT json_agg(json_build_array(version)) FROM %s",
    is_file,
    migration,
    ran: ran_by_row,
    is_ours: all_ours,
};

fn is_file(path: &str) -> bool {
    name(path) == "up.sql" && name(folder(folder(path))).contains("migrat") && !version(path).is_empty()
}

/// What stands before the first underscore of the folder's name.
fn version(path: &str) -> String {
    name(folder(path)).split('_').next().unwrap_or_default().replace('-', "")
}

fn migration(path: &str, bytes: &[u8], _: Read<'_>) -> Option<Migration> {
    Some(Migration::new(version(path), path, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_folders_without_hyphens() {
        let path = "migrations/2024-01-02-030405_add_due_date/up.sql";
        assert!(is_file(path) && !is_file("migrations/2024_x/down.sql") && !is_file("db/2024_x/up.sql"));
        assert_eq!(migration(path, b"", &|_| None).unwrap().id, "20240102030405");
    }
}
