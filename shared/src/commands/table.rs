//! Rows of text in aligned columns.

use crate::ui::visible;

/// The rows, each one line: every column as wide as its widest cell, two spaces between them, nothing at the end of a
/// line. A control character in a cell is shown, not obeyed.
pub fn lines<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    let rows: Vec<[String; N]> =
        rows.iter().map(|row| std::array::from_fn(|column| inert(&row[column]))).collect();
    let widths: [usize; N] = std::array::from_fn(|column| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    });
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// The text as one line that drives no terminal.
pub fn inert(text: &str) -> String {
    visible(text).replace('\n', "\\n").replace('\t', "\\t")
}

/// A number of bytes in the unit that fits it: `512 B`, `31.5 MB`.
pub fn size(bytes: i64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes.abs() < 1000 {
        return format!("{bytes} B");
    }
    let mut size = bytes as f64 / 1000.0;
    let mut unit = 0;
    // What would be rounded to a thousand is one of the next unit.
    while size.abs() >= 999.95 && unit + 1 < UNITS.len() {
        size /= 1000.0;
        unit += 1;
    }
    format!("{size:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_end_where_the_text_does() {
        let rows = [["a", "b", "c"], ["long", "", "é"], ["é", "x", ""]].map(|row| row.map(str::to_owned));
        assert_eq!(lines(&rows), ["a     b  c", "long     é", "é     x"]);
    }

    #[test]
    fn a_cell_is_one_line_and_drives_nothing() {
        let rows = [["a\nb".to_owned(), "\u{1b}[31m\tc".to_owned()]];
        assert_eq!(lines(&rows), ["a\\nb  \\u{1b}[31m\\tc"]);
    }

    #[test]
    fn sizes_are_in_the_unit_that_fits() {
        let read = [0, 999, 1000, 31_457_280, 999_949_999, 999_950_000, 8_796_093_022_208].map(size);
        assert_eq!(read, ["0 B", "999 B", "1.0 kB", "31.5 MB", "999.9 MB", "1.0 GB", "8.8 TB"]);
    }
}
