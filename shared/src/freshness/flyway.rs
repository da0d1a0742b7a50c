//! Flyway: `V1__name.sql`, and `R__name.sql` that runs again when it changes; the table holds CRC-32 of the lines.

use super::craft::{Craft, Migration, Ran, Read, Row, all_ours, name};

pub(super) const CRAFT: Craft = Craft {
    table: "flyway_schema_history",
    query: "SELECT json_agg(json_build_array(version, type, script, checksum::text) ORDER BY installed_rank) \
            FROM %s WHERE success",
    is_file,
    migration,
    ran,
    is_ours: all_ours,
};

fn is_file(path: &str) -> bool {
    id_of_script(name(path)).is_some()
}

/// What a script is called here: its version as Flyway compares it, or the whole name of a repeatable one.
fn id_of_script(script: &str) -> Option<String> {
    let stem = script.strip_suffix(".sql")?;
    if let Some(title) = stem.strip_prefix("R__") {
        return Some(format!("R__{title}"));
    }
    let (version, _) = stem.strip_prefix('V')?.split_once("__")?;
    is_version(version).then(|| normal(version))
}

fn is_version(version: &str) -> bool {
    version.starts_with(|c: char| c.is_ascii_digit())
        && version.chars().all(|c| c.is_ascii_digit() || c == '.' || c == '_')
}

/// `1_02`, `1.2` and `1.2.0` are one version.
fn normal(version: &str) -> String {
    let mut parts: Vec<&str> = version.split(['.', '_']).map(|part| part.trim_start_matches('0')).collect();
    while parts.last().is_some_and(|part| part.is_empty()) {
        parts.pop();
    }
    let parts: Vec<&str> = parts.into_iter().map(|part| if part.is_empty() { "0" } else { part }).collect();
    if parts.is_empty() { "0".to_owned() } else { parts.join(".") }
}

/// In the order of numbers, whatever their length.
fn is_above(version: &str, other: &str) -> bool {
    let key = |version: &str| -> Vec<(usize, String)> {
        version.split('.').map(|part| (part.len(), part.to_owned())).collect()
    };
    key(version) > key(other)
}

fn migration(path: &str, bytes: &[u8], _: Read<'_>) -> Option<Migration> {
    let id = id_of_script(name(path))?;
    let repeatable = id.starts_with("R__");
    // A file in another encoding is summed up as what its letters would be in UTF-8, which we can't know.
    let sums = std::str::from_utf8(bytes).map(|text| vec![sum(text).to_string()]).unwrap_or_default();
    Some(Migration { sums, repeatable, ..Migration::new(id, path, bytes) })
}

/// CRC-32 of all lines without their ends, as Java has numbers.
fn sum(text: &str) -> i32 {
    let mut crc = !0_u32;
    for byte in
        text.strip_prefix('\u{feff}').unwrap_or(text).bytes().filter(|byte| !matches!(byte, b'\r' | b'\n'))
    {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
        }
    }
    (!crc).cast_signed()
}

fn ran(rows: &[Row], files: &[Migration]) -> Ran {
    let mut ran = Ran::default();
    for row in rows {
        let Some(kind) = row.at(1) else { continue };
        let id = match row.at(0) {
            Some(version) => Some(normal(version)),
            None => row.at(2).and_then(|script| id_of_script(name(script))),
        };
        let Some(id) = id else { continue };
        match kind {
            "SQL" => {
                ran.by_id.insert(id, row.at(3).map(str::to_owned));
            }
            // Everything up to there counts as run, by whatever it was.
            "BASELINE" | "SQL_BASELINE" => {
                let below = files.iter().filter(|file| !file.repeatable && !is_above(&file.id, &id));
                ran.by_id.extend(below.map(|file| (file.id.clone(), None)));
            }
            // `undo`, and what `repair` found to be missing.
            _ if kind.starts_with("UNDO") || kind == "DELETE" => {
                ran.by_id.remove(&id);
            }
            // Of Java and the like, which are no SQL files.
            _ => {}
        }
    }
    ran
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(columns: [&str; 4]) -> Row {
        Row(columns.map(|text| (!text.is_empty()).then(|| text.to_owned())).to_vec())
    }

    #[test]
    fn versions_are_compared_as_flyway_does() {
        let id = |script| id_of_script(script);
        assert_eq!(id("V1_02__add.sql").as_deref(), Some("1.2"));
        assert_eq!(id("V1.2.0__add.sql"), id("V1_02__add.sql"));
        assert_eq!(id("V0__start.sql").as_deref(), Some("0"));
        assert_eq!(id("R__views.sql").as_deref(), Some("R__views"));
        for other in ["V__x.sql", "Vx__y.sql", "V1_x.sql", "U1__x.sql", "V1__x.java"] {
            assert_eq!(id(other), None, "{other}");
        }
        assert!(is_above("10", "9") && is_above("1.10", "1.9") && !is_above("1", "1"));
    }

    #[test]
    fn undone_and_deleted_ones_have_not_run_and_a_baseline_covers_what_is_below() {
        let file = |id: &str| Migration::new(id, "x.sql", b"");
        let rows = [
            row(["2", "BASELINE", "<< Flyway Baseline >>", ""]),
            row(["3", "SQL", "V3__x.sql", "7"]),
            row(["4", "SQL", "V4__x.sql", "8"]),
            row(["4", "UNDO_SQL", "U4__x.sql", ""]),
            row(["5", "JDBC", "db.migration.V5__x", ""]),
            row(["", "SQL", "R__views.sql", "9"]),
            row(["", "SQL", "R__views.sql", "-9"]),
        ];
        let ran = ran(&rows, &[file("1"), file("2"), file("10")]).by_id;
        let ran: Vec<(&str, Option<&str>)> =
            ran.iter().map(|(id, sum)| (id.as_str(), sum.as_deref())).collect();
        assert_eq!(ran, [("1", None), ("2", None), ("3", Some("7")), ("R__views", Some("-9"))]);
    }

    #[test]
    fn the_sum_is_of_the_lines_without_their_ends() {
        // By Python's zlib.crc32 over the lines of each text.
        assert_eq!(sum("CREATE TABLE persons (id int);\n"), 720_324_465);
        assert_eq!(sum("SELECT 1;\r\n\r\nSELECT 'é';"), 98_625_550);
        assert_eq!(sum("\u{feff}SELECT 1;\n\nSELECT 'é';\n"), 98_625_550);
        assert_eq!(sum(""), 0);
    }
}
