//! `diff`: the branch's schema against its parent's, as a reviewer of a migration reads it.

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};

use super::session::{Session, SettingArgs, World};
use super::table::inert;
use crate::api::{Branch, BranchPath, Client, Deadline};
use crate::branch::ResourceId;
use crate::ensure::{self, READY_WITHIN, Target};
use crate::error::{Error, Kind, Result};
use crate::probe::{self, Door};
use crate::schema::{self, Change, Edit, Object};

/// Arguments of `diff`.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    /// Compare owners and grants too
    #[arg(long)]
    all: bool,
    /// End with code 1 where the schemas differ
    #[arg(long)]
    exit_code: bool,
    #[command(flatten)]
    settings: SettingArgs,
}

/// Reads both schemas and prints what differs; changes nothing on either side. Gives the exit code.
///
/// # Errors
/// Those of the session, of [`ensure::observe`] and of [`schema::read`]; [`Kind::NoBranch`] where there is none to compare.
pub async fn run(args: Args, world: &mut World<'_>) -> Result<u8> {
    let session = Session::open(args.settings, world)?;
    let client = session.client().await?;
    let seen = ensure::observe(&client, &session.target).await?;
    let branch = comparable(seen.branch, &session.target)?;
    let parent = parent(&branch, &session.target);
    let there = Side { session: &session, client: &client, user: &seen.user };
    let (before, after) =
        tokio::try_join!(there.objects(&parent, args.all), there.objects(&session.target.path, args.all))?;
    let changes = schema::compare(before, after);
    let count = |sign: char| changes.iter().filter(|change| change.sign() == sign).count();
    let (added, removed, changed) = (count('+'), count('-'), count('~'));
    if args.json {
        world.ui.json(&json!({
            "branch": session.target.path.to_string(),
            "parent": parent.to_string(),
            "database": session.project.settings.database(),
            "added": added,
            "removed": removed,
            "changed": changed,
            "changes": changes.iter().filter_map(document).collect::<Vec<_>>(),
        }));
    } else {
        for line in lines(&changes) {
            world.ui.data(&line);
        }
        let (id, parent) = (&session.id, &parent.branch);
        world.ui.note(&match changes.len() {
            0 => format!("The schema of {id} is the one that {parent} has now"),
            _ => format!(
                "{id} beside {parent} as it is now: {added} added, {removed} removed, {changed} changed"
            ),
        });
    }
    Ok(u8::from(args.exit_code && !changes.is_empty()))
}

/// The branch, if it can be read.
fn comparable(branch: Option<Branch>, target: &Target) -> Result<Branch> {
    let missing = || {
        Error::new(Kind::NoBranch, format!("there is no branch `{}` to compare", target.path.branch))
            .hint("run `docker compose lakebase up` first: it makes the branch and migrates it")
    };
    let branch = branch.ok_or_else(missing)?;
    match branch.state.as_str() {
        "READY" | "INIT" => Ok(branch),
        state => Err(missing().because_of(format!("it is in the state {state}"))),
    }
}

/// What the branch is a copy of, as the service says; the configured one where that can't be told.
fn parent(branch: &Branch, target: &Target) -> BranchPath {
    let project = &target.parent.project;
    let prefix = format!("projects/{project}/branches/");
    let id = branch.parent.as_ref().and_then(|name| ResourceId::parse(name.strip_prefix(&prefix)?));
    id.map_or_else(|| target.parent.clone(), |branch| BranchPath { project: project.clone(), branch })
}

/// What both sides are read with.
struct Side<'a> {
    session: &'a Session,
    client: &'a Client,
    user: &'a str,
}

impl Side<'_> {
    /// Every object of a branch's database.
    async fn objects(&self, path: &BranchPath, all: bool) -> Result<Vec<Object>> {
        let Self { session, client, user } = self;
        let found = ensure::ready(client, path, Deadline::after(READY_WITHIN)).await?;
        let target = Target { path: path.clone(), ..session.target.clone() };
        let mut live = ensure::login_to(client, &target, found, (*user).to_owned()).await?;
        // The catalogs are for everybody: no role is needed.
        let door = Door {
            database: session.project.settings.database(),
            role: None,
            ca: session.auth.ca.as_deref(),
        };
        let entered = probe::probe(client, &target, door, &mut live, &mut |_| {}).await?;
        schema::read(entered, all).await
    }
}

fn document(change: &Change) -> Option<Value> {
    let object = change.object()?;
    Some(json!({
        "change": change.word(),
        "kind": object.kind,
        "schema": object.schema,
        "relation": object.relation,
        "name": object.name,
        "before": change.before.as_ref().map(Object::definition),
        "after": change.after.as_ref().map(Object::definition),
    }))
}

/// The changes as lines. What came with its table stands below it, and what went with it is not said again.
fn lines(changes: &[Change]) -> Vec<String> {
    let follows = Change::follow(changes);
    let mut lines = Vec::new();
    for change in changes {
        let Some(object) = change.object() else { continue };
        match (follows(change), change.sign()) {
            (true, '+') => {
                let relation = object.relation.as_deref().unwrap_or_default();
                let short = object.name.strip_prefix(&format!("{relation}.")).unwrap_or(&object.name);
                entry(
                    &mut lines,
                    &format!("    {} {}", object.kind, inert(short)),
                    &object.definition(),
                    "        ",
                );
            }
            (true, _) => {}
            (false, sign) => {
                let head = format!("{} {}{}", signed(sign), object.kind, of(&object.kind));
                let head = format!("{head}{}", inert(&object.qualified()));
                match sign {
                    '+' => entry(&mut lines, &head, &object.definition(), "    "),
                    '-' => lines.push(head),
                    _ => changed(&mut lines, &head, change),
                }
            }
        }
    }
    lines
}

/// What stands between kind and name.
fn of(kind: &str) -> &'static str {
    match kind {
        "owner" => " of ",
        "grant" => " on ",
        _ => " ",
    }
}

/// A head and what it is: behind it where that is one line, else below it.
fn entry(lines: &mut Vec<String>, head: &str, definition: &str, indent: &str) {
    if definition.is_empty() {
        lines.push(head.to_owned());
    } else if definition.contains('\n') {
        lines.push(head.to_owned());
        lines.extend(definition.lines().map(|line| format!("{indent}{}", inert(line))));
    } else {
        lines.push(format!("{head}: {}", inert(definition)));
    }
}

fn changed(lines: &mut Vec<String>, head: &str, change: &Change) {
    let definition = |side: &Option<Object>| side.as_ref().map(Object::definition).unwrap_or_default();
    let (before, after) = (definition(&change.before), definition(&change.after));
    if !before.contains('\n') && !after.contains('\n') {
        lines.push(format!("{head}: {}", inert(&change.clauses().join(", "))));
        return;
    }
    lines.push(head.to_owned());
    for edit in schema::edits(&before, &after) {
        lines.push(match edit {
            Edit::Same(line) => format!("      {}", inert(line)),
            Edit::Out(line) => format!("    {} {}", signed('-'), inert(line)),
            Edit::In(line) => format!("    {} {}", signed('+'), inert(line)),
            Edit::Skipped => "      …".to_owned(),
        });
    }
}

/// The sign in its colour, which goes where nobody sees it.
fn signed(sign: char) -> String {
    let colour = match sign {
        '+' => AnsiColor::Green,
        '-' => AnsiColor::Red,
        _ => AnsiColor::Yellow,
    };
    let style: Style = colour.on_default();
    format!("{style}{sign}{style:#}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(kind: &str, relation: Option<&str>, name: &str, clauses: &[&str]) -> Object {
        Object {
            kind: kind.into(),
            schema: "public".into(),
            relation: relation.map(str::to_owned),
            name: name.into(),
            clauses: clauses.iter().map(|text| Some((*text).to_owned())).collect(),
        }
    }

    fn printed(before: Vec<Object>, after: Vec<Object>) -> Vec<String> {
        let lines = lines(&schema::compare(before, after));
        lines.iter().map(|line| anstream::adapter::strip_str(line).to_string()).collect()
    }

    #[test]
    fn changes_are_read_as_a_reviewer_reads_them() {
        let before = vec![
            object("column", Some("todos"), "todos.title", &["varchar(100)", "not null"]),
            object("table", None, "old", &[]),
            object("column", Some("old"), "old.id", &["integer"]),
            object("function", None, "f()", &["begin\n  a;\nend"]),
            object("owner", None, "table public.todos", &["ada"]),
        ];
        let after = vec![
            object("column", Some("todos"), "todos.title", &["varchar(50)", "not null"]),
            object("table", None, "tags", &[]),
            object("column", Some("tags"), "tags.id", &["integer", "not null"]),
            object("function", None, "f()", &["begin\n  b;\nend"]),
            object("owner", None, "table public.todos", &["team"]),
        ];
        assert_eq!(
            printed(before, after),
            [
                "- table public.old",
                "+ table public.tags",
                "    column id: integer not null",
                "~ column public.todos.title: varchar(100) -> varchar(50)",
                "~ function public.f()",
                "      begin",
                "    -   a;",
                "    +   b;",
                "      end",
                "~ owner of table public.todos: ada -> team",
            ]
        );
    }

    #[test]
    fn a_hostile_name_drives_nothing() {
        let evil = object("table", None, "\"a\u{1b}[2J\nb\"", &[]);
        let line = lines(&schema::compare(Vec::new(), vec![evil])).concat();
        assert!(line.contains("a\\u{1b}[2J\\nb") && !line.contains("\u{1b}[2J"), "{line:?}");
    }
}
