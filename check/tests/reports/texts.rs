//! The whole of each report in words, for the migration of the reference page.

use jiff::civil::date;
use lakebase_check::report::Format;
use serde_json::Value;

use crate::sample::{in_form, in_form_on, rich};

#[test]
fn the_terminal_gets_a_line_each() {
    let wanted = "\
✗ Migration check: 0042_orders_region · would block writers on `orders` for 42.7 s (limit 2 s)
  Result on a copy of production              ok, 3 statements, 43.1 s  (limit 5 min)
✗ Longest stall: readers / writers / one row  212 ms `orders` / 42.7 s `orders` / 42.7 s `orders`  (limit 2 s)
  Strongest lock per table                    `orders` SHARE 42.7 s · `orders` SHARE ROW EXCLUSIVE 1.6 s · `users` SHARE ROW EXCLUSIVE 1.6 s · `orders` ACCESS EXCLUSIVE 200 ms
  Rewrites / WAL / size                       none · 812 MB · +640 MB
! Behind an open query of a touched table     no lock_timeout: every later read of `orders` queues for as long as the query lasts (here 5 s)  (wanted: lock_timeout set)
! Left behind                                 constraint not validated `orders_user_fk on orders`  (limit 0)
✗ Old application: 318 queries                2 fail, such as `SELECT id, area FROM orders WHERE area = $1`  (limit 0)
  Heads of the history                        1
  Down and up again                           clean
  The same command twice                      does nothing
Why: `CREATE INDEX orders_region_idx ON orders (region)` is not CONCURRENTLY: it keeps writers out while it reads the table
Try: `CREATE INDEX CONCURRENTLY`, outside of a transaction
Sensors: event trigger, sampler 10 ms, probes. Not seen: nothing.
";
    assert_eq!(in_form(&rich(), Format::Text), wanted.trim_end());
}

#[test]
fn a_comment_gets_a_table_that_the_next_run_finds_again() {
    let wanted = "\
<!-- lakebase check -->
### ✗ Migration check: 0042_orders_region · would block writers on `orders` for 42.7 s (limit 2 s)

| | measured | limit |
|---|---|---|
|   Result on a copy of production | ok, 3 statements, 43.1 s | 5 min |
| ✗ Longest stall: readers / writers / one row | **212 ms `orders` / 42.7 s `orders` / 42.7 s `orders`** | 2 s |
|   Strongest lock per table | `orders` SHARE 42.7 s · `orders` SHARE ROW EXCLUSIVE 1.6 s · `users` SHARE ROW EXCLUSIVE 1.6 s · `orders` ACCESS EXCLUSIVE 200 ms |  |
|   Rewrites / WAL / size | none · 812 MB · +640 MB |  |
| ! Behind an open query of a touched table | no lock_timeout: every later read of `orders` queues for as long as the query lasts (here 5 s) | lock_timeout set |
| ! Left behind | constraint not validated `orders_user_fk on orders` | 0 |
| ✗ Old application: 318 queries | **2 fail, such as `SELECT id, area FROM orders WHERE area = $1`** | 0 |
|   Heads of the history | 1 | 1 |
|   Down and up again | clean | clean |
|   The same command twice | does nothing | does nothing |

**Why**: `CREATE INDEX orders_region_idx ON orders (region)` is not CONCURRENTLY: it keeps writers out while it reads the table

**Try**: `CREATE INDEX CONCURRENTLY`, outside of a transaction

Sensors: event trigger, sampler 10 ms, probes. Not seen: nothing.
";
    let text = in_form(&rich(), Format::Markdown);
    assert_eq!(text.trim_end(), wanted.trim_end());
    // The recipes look for the same words.
    let mark = text.lines().next().unwrap();
    let readme = include_str!("../../../README.md");
    assert_eq!(readme.matches(&format!("mark='{mark}'")).count(), 2);
}

#[test]
fn a_step_of_github_gets_an_annotation_for_what_is_worth_one() {
    let text = in_form_on(&rich(), Format::Github, date(2026, 11, 23), "queries until 2026-01-01: x");
    let wanted = "\
::error title=Migration check%3A 0042_orders_region::✗ would block writers on `orders` for 42.7 s (limit 2 s)%0AWhy: `CREATE INDEX orders_region_idx ON orders (region)` is not CONCURRENTLY: it keeps writers out while it reads the table%0ATry: `CREATE INDEX CONCURRENTLY`, outside of a transaction
::error title=Longest stall%3A readers / writers / one row::212 ms `orders` / 42.7 s `orders` / 42.7 s `orders` (limit 2 s)
::warning title=Behind an open query of a touched table::no lock_timeout: every later read of `orders` queues for as long as the query lasts (here 5 s) (wanted: lock_timeout set)
::warning title=Left behind::constraint not validated `orders_user_fk on orders` (limit 0)
::error title=Old application%3A 318 queries::2 fail, such as `SELECT id, area FROM orders WHERE area = $1` (limit 0)
::warning title=Migration check%3A note::the exception `queries` ended on 2026-01-01: x
";
    assert_eq!(text, wanted.trim_end());
}

#[test]
fn machines_get_the_rule_the_objects_and_the_exception_of_each_line() {
    let text =
        in_form_on(&rich(), Format::Json, date(2026, 11, 23), "stall@orders until 2027-01-31: at night");
    let json: Value = serde_json::from_str(&text).unwrap();
    let stall = json["lines"].as_array().unwrap().iter().find(|line| line["rule"] == "stall").unwrap();
    assert_eq!((&stall["grade"], &stall["objects"][0]), (&Value::from("excepted"), &Value::from("orders")));
    assert_eq!(stall["excepted"]["until"], "2027-01-31");
    assert_eq!((&json["answer"], &json["exit_code"]), (&Value::from("limit"), &Value::from(1)));
}

#[test]
fn the_recipes_are_yaml_and_run_the_check() {
    let readme = include_str!("../../../README.md");
    let blocks: Vec<&str> =
        readme.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let checks: Vec<&&str> = blocks.iter().filter(|block| block.contains("cargo lakebase check")).collect();
    assert_eq!(checks.len(), 2);
    for block in checks {
        let value: Result<Value, _> = serde_yaml::from_str(block);
        assert!(value.is_ok(), "{value:?}");
    }
}
