//! The README's table of settings is what the code has: every setting with its default, and nothing else.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use jiff::civil::Date;
use lakebase::config::{Key, Layer, Settings};
use lakebase::env_vars::Env;
use lakebase_check::limits::{LimitArgs, Limits};

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");

/// A row: the setting's name in Cargo.toml, and its default.
type Row = (String, Option<String>);

/// The value between the backticks of a cell that is nothing else.
fn code(cell: &str) -> Option<String> {
    let inside = cell.strip_prefix('`')?.strip_suffix('`')?;
    (!inside.contains('`')).then(|| inside.to_owned())
}

/// The rows of the one table that has Cargo.toml in its head. A default in words is found by the code when it runs.
fn rows(readme: &str) -> Vec<(String, Row)> {
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let table = readme.lines().skip_while(|line| !(line.starts_with('|') && line.contains("Cargo.toml")));
    let rows = table.skip(2).take_while(|line| line.starts_with('|')).map(cells);
    rows.map(|cells| {
        let [variable, name, default, _] = cells.as_slice() else { panic!("{cells:?} is no row of four") };
        (code(variable).expect("a variable"), (code(name).expect("a name"), code(default)))
    })
    .collect()
}

/// What holds where nobody says anything.
fn default(key: Key) -> Option<String> {
    let settings = Settings::layered(Layer::new(), &Env::default(), None);
    let limits = Limits::of(&LimitArgs::default(), &settings, Date::ZERO).expect("limits");
    let time = |milliseconds: f64| format!("{:#}", SignedDuration::from_secs_f64(milliseconds / 1000.0));
    match key {
        Key::RequireMask => Some(settings.require_mask().expect("a default").to_string()),
        Key::CheckMaxStall => Some(time(limits.stall)),
        Key::CheckMaxDuration => Some(time(limits.duration)),
        Key::CheckMaxQueue => limits.queue.map(time),
        Key::CheckMaxWal => limits.wal.map(|bytes| bytes.to_string()),
        key => settings.text(key).map(str::to_owned),
    }
}

#[test]
fn every_setting_stands_in_the_readme_with_its_default_and_no_other_does() {
    let rows = rows(&std::fs::read_to_string(README).unwrap());
    let written: BTreeMap<_, _> = rows.iter().cloned().collect();
    assert_eq!(written.len(), rows.len(), "a setting stands there twice");
    let real: BTreeMap<_, _> =
        Key::ALL.into_iter().map(|key| (key.variable(), (key.name().to_owned(), default(key)))).collect();
    assert_eq!(written, real);
}
