//! How many rows are in the way of a statement that failed. Counted on the fork; no value of a row is looked at.

use lakebase::sql::Session;

use crate::wire::Failure;

/// How many rows offend, and what they are.
pub async fn count(session: &Session, failure: &Failure, statement: Option<&str>) -> Option<(i64, String)> {
    let (query, words) = query(failure, statement?)?;
    session.run("SET statement_timeout = '60s'").await.ok()?;
    let count: Option<i64> = session.text(&query).await.ok().flatten().and_then(|count| count.parse().ok());
    session.run("RESET statement_timeout").await.ok()?;
    // A value that an UPDATE would have written is in no row.
    count.filter(|count| *count > 0).map(|count| (count, words))
}

/// The query that counts them.
fn query(failure: &Failure, statement: &str) -> Option<(String, String)> {
    let quote = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let table = failure.table.as_deref().map(|table| match &failure.schema {
        Some(schema) => format!("{}.{}", quote(schema), quote(table)),
        None => quote(table),
    });
    match failure.sqlstate.as_str() {
        "23502" => {
            let column = quote(failure.column.as_deref()?);
            // A column that the statement would have added is not there: its name is then that of one without a value, and
            // every row counts.
            let query = format!(
                "SELECT count(*) FROM (SELECT NULL) AS absent({column}), LATERAL (SELECT FROM {} WHERE {column} IS NULL) AS present",
                table?
            );
            Some((query, format!("rows have no {column}").replace('"', "`")))
        }
        "23505" => {
            let columns = in_brackets_after(statement, &["UNIQUE", "PRIMARY KEY"])
                .or_else(|| in_brackets_after(statement, &[" ON "]))?;
            let query = format!(
                "SELECT coalesce(sum(n), 0) FROM (SELECT count(*) AS n FROM {} WHERE ({columns}) IS NOT NULL GROUP BY {columns} HAVING count(*) > 1) AS twice",
                table?
            );
            Some((query, format!("rows share their ({columns})")))
        }
        "23503" => {
            let columns = in_brackets_after(statement, &["FOREIGN KEY"])?;
            let (_, rest) = split_at_word(statement, "REFERENCES")?;
            let other = rest.split([' ', '(', ';', '\n']).find(|word| !word.is_empty())?;
            let keys = rest[rest.find(other)? + other.len()..].trim_start();
            let keys = keys.strip_prefix('(').and_then(|keys| Some(keys[..keys.find(')')?].to_owned()));
            let keys = keys.unwrap_or_else(|| "id".to_owned());
            let pairs: Vec<String> = columns
                .split(',')
                .zip(keys.split(','))
                .map(|(column, key)| format!("a.{} = b.{}", column.trim(), key.trim()))
                .collect();
            let query = format!(
                "SELECT count(*) FROM {} AS a WHERE {} AND NOT EXISTS (SELECT FROM {other} AS b WHERE {})",
                table?,
                columns
                    .split(',')
                    .map(|column| format!("a.{} IS NOT NULL", column.trim()))
                    .collect::<Vec<_>>()
                    .join(" AND "),
                pairs.join(" AND ")
            );
            Some((query, format!("rows have no partner in {other}")))
        }
        "23514" => {
            let (_, rest) = split_at_word(statement, "CHECK")?;
            let condition = balanced(rest.trim_start())?;
            Some((
                format!("SELECT count(*) FROM {} WHERE NOT {condition}", table?),
                "rows break the check".into(),
            ))
        }
        _ => None,
    }
}

/// The text around the first occurrence of a word, whatever its case.
fn split_at_word<'a>(text: &'a str, word: &str) -> Option<(&'a str, &'a str)> {
    let at = text.to_ascii_uppercase().find(word)?;
    Some((&text[..at], &text[at + word.len()..]))
}

/// The list in the brackets that follow one of the words.
fn in_brackets_after(text: &str, words: &[&str]) -> Option<String> {
    let (_, rest) = words.iter().find_map(|word| split_at_word(text, word))?;
    let list = balanced(&rest[rest.find('(')?..])?;
    Some(list[1..list.len() - 1].to_owned())
}

/// The text from a bracket to the one that closes it.
fn balanced(text: &str) -> Option<&str> {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(&text[..=at]);
                }
            }
            _ if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sqlstate: &str, statement: &str) -> Option<String> {
        let failure = Failure {
            sqlstate: sqlstate.into(),
            message: String::new(),
            schema: Some("public".into()),
            table: Some("orders".into()),
            column: Some("region".into()),
            constraint: None,
        };
        query(&failure, statement).map(|(query, _)| query)
    }

    #[test]
    fn the_offending_rows_are_those_that_the_statement_says() {
        assert_eq!(
            of("23502", "ALTER TABLE orders ALTER region SET NOT NULL").unwrap(),
            "SELECT count(*) FROM (SELECT NULL) AS absent(\"region\"), LATERAL (SELECT FROM \"public\".\"orders\" WHERE \"region\" IS NULL) AS present"
        );
        let unique = of("23505", "create unique index i on orders (email, lower(name))").unwrap();
        assert!(unique.contains("GROUP BY email, lower(name)"), "{unique}");
        let foreign =
            of("23503", "ALTER TABLE orders ADD FOREIGN KEY (a, b) REFERENCES users (x, y)").unwrap();
        assert!(foreign.contains("a.a = b.x AND a.b = b.y"), "{foreign}");
        let check = of("23514", "ALTER TABLE orders ADD CONSTRAINT c CHECK ((total > 0) OR free)").unwrap();
        assert!(check.ends_with("WHERE NOT ((total > 0) OR free)"), "{check}");
        assert_eq!(of("23505", "SELECT 1"), None);
        assert_eq!(of("42P01", "SELECT 1"), None);
    }
}
