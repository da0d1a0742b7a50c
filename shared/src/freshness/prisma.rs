//! Prisma Migrate: `migrations/NAME/migration.sql`; the table holds SHA-256 of each.

use super::craft::{Craft, Migration, Read, all_ours, folder, name, ran_by_row};
use super::sums;

pub(super) const CRAFT: Craft = Craft {
    table: "_prisma_migrations",
    query: "SELECT json_agg(json_build_array(migration_name, checksum)) FROM %s \
            WHERE finished_at IS NOT NULL AND rolled_back_at IS NULL",
    is_file,
    migration,
    ran: ran_by_row,
    is_ours: all_ours,
};

fn is_file(path: &str) -> bool {
    name(path) == "migration.sql" && name(folder(folder(path))).contains("migrat")
}

fn migration(path: &str, bytes: &[u8], _: Read<'_>) -> Option<Migration> {
    let sums = sums::with_any_line_ends(bytes).iter().map(|text| sums::sha256(text)).collect();
    Some(Migration { sums, ..Migration::new(name(folder(path)), path, bytes) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_migration_is_called_as_its_folder() {
        let path = "prisma/migrations/20240102030405_add/migration.sql";
        assert!(is_file(path) && !is_file("prisma/migrations/migration_lock.toml"));
        let found = migration(path, b"SELECT 1;\n", &|_| None).unwrap();
        assert_eq!(found.id, "20240102030405_add");
        // printf 'SELECT 1;\n' | sha256sum, and of 'SELECT 1;\r\n'
        assert_eq!(
            found.sums,
            [
                "b4e0497804e46e0a0b0b8c31975b062152d551bac49c3c2e80932567b4085dcd",
                "d3cd5042f97738960d802ad6b3a548dfa18152215118ba18f04493bc6944b0e4"
            ]
        );
    }
}
