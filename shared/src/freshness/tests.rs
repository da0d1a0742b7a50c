use proptest::prelude::*;

use super::*;

/// A file without a tool's sum; `text` decides its digest.
fn file(id: &str, needs: &[&str], text: &str) -> Migration {
    let needs = needs.iter().map(|id| (*id).to_owned()).collect();
    Migration { needs, ..Migration::new(id, &format!("versions/{id}.py"), text.as_bytes()) }
}

/// A file with one.
fn summed(id: &str, sum: &str) -> Migration {
    Migration {
        sums: vec![sum.to_owned()],
        ..Migration::new(id, &format!("migrations/{id}_x.sql"), sum.as_bytes())
    }
}

fn rows(rows: &[(&str, &str)]) -> Vec<Row> {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    rows.iter().map(|(id, sum)| Row(vec![text(id), text(sum)])).collect()
}

fn born(tool: Tool, rows: Vec<Row>) -> Known {
    Known { born: Some([(tool, rows)].into()), ..Known::default() }
}

fn compared(tool: Tool, files: &[Migration], rows: &[Row], known: &Known) -> Freshness {
    compare(Evidence { tool, files, rows, parent: None, known }).unwrap()
}

fn ids(items: &[Item]) -> Vec<&str> {
    items.iter().map(|item| item.id.as_str()).collect()
}

#[test]
fn what_the_files_have_more_is_the_normal_case() {
    let files = [file("1", &[], ""), file("2", &["1"], ""), file("3", &["2"], "")];
    let found = compared(Tool::Alembic, &files, &rows(&[("1", "")]), &Known::default());
    assert_eq!((found.state(), ids(&found.behind)), (State::Behind, vec!["2", "3"]));
    assert!(!found.is_stale());
    let level = compared(Tool::Alembic, &files, &rows(&[("3", "")]), &Known::default());
    assert_eq!(level.state(), State::Level);
}

#[test]
fn nothing_is_said_without_files() {
    let known = Known::default();
    let all = rows(&[("1", "")]);
    assert!(
        compare(Evidence { tool: Tool::Rails, files: &[], rows: &all, parent: None, known: &known })
            .is_none()
    );
}

#[test]
fn what_another_git_branch_ran_is_ahead_and_named_by_its_old_file() {
    let before = [file("1", &[], ""), file("2", &["1"], "")];
    let mut known = born(Tool::Alembic, rows(&[("1", "")]));
    known.note(Tool::Alembic, &before, &rows(&[("1", "")]));
    let found = compared(Tool::Alembic, &before[..1], &rows(&[("2", "")]), &known);
    assert_eq!(found.state(), State::Ahead);
    assert_eq!(found.ahead[0].to_string(), "versions/2.py");
    // What is below an unknown head is unknown.
    assert!(found.behind.is_empty());

    known.keep(&found, &before[..1]);
    assert_eq!(compared(Tool::Alembic, &before[..1], &rows(&[("2", "")]), &known).state(), State::Level);
}

#[test]
fn what_production_itself_had_run_is_no_reason_for_another_fork() {
    let files = [summed("1", "a")];
    let known = born(Tool::Sqlx, rows(&[("1", "b"), ("2", "c")]));
    let found = compared(Tool::Sqlx, &files, &rows(&[("1", "b"), ("2", "c")]), &known);
    assert_eq!((ids(&found.missing), ids(&found.settled)), (vec!["2"], vec!["1"]));
    assert!(!found.is_stale());
    assert_eq!(found.state(), State::ParentAhead);
    // The same without knowing what the fork was made with is taken for the worst, unless production says otherwise.
    let history = rows(&[("1", "b"), ("2", "c")]);
    let unknown = Known::default();
    let evidence =
        Evidence { tool: Tool::Sqlx, files: &files, rows: &history, parent: None, known: &unknown };
    let found = compare(evidence).unwrap();
    assert_eq!((ids(&found.ahead), ids(&found.edited)), (vec!["2"], vec!["1"]));
    assert!(!compare(Evidence { parent: Some(&history), ..evidence }).unwrap().is_stale());
}

#[test]
fn an_edit_shows_by_the_tools_own_sum() {
    let known = born(Tool::Prisma, Vec::new());
    let found = compared(Tool::Prisma, &[summed("1", "new")], &rows(&[("1", "old")]), &known);
    assert_eq!((found.state(), ids(&found.edited)), (State::Edited, vec!["1"]));
    // One of two files of that version is the one that ran.
    let two = [summed("1", "new"), summed("1", "old")];
    assert_eq!(compared(Tool::Prisma, &two, &rows(&[("1", "old")]), &known).state(), State::Level);
}

#[test]
fn an_edit_shows_by_what_was_noted_before_it_ran_or_when_it_was_first_seen() {
    let old = [file("1", &[], "old")];
    let new = [file("1", &[], "new")];
    let ran = rows(&[("1", "")]);
    for seen_first in [Vec::new(), ran.clone()] {
        let mut known = born(Tool::Alembic, Vec::new());
        known.note(Tool::Alembic, &old, &seen_first);
        assert_eq!(compared(Tool::Alembic, &old, &ran, &known).state(), State::Level);
        let found = compared(Tool::Alembic, &new, &ran, &known);
        assert_eq!((found.state(), ids(&found.edited)), (State::Edited, vec!["1"]));
        // Looking again does not forget it; deciding to go on does.
        known.note(Tool::Alembic, &new, &ran);
        assert_eq!(compared(Tool::Alembic, &new, &ran, &known).state(), State::Edited);
        known.keep(&found, &new);
        assert_eq!(compared(Tool::Alembic, &new, &ran, &known).state(), State::Level);
        let newer = [file("1", &[], "newer")];
        assert_eq!(compared(Tool::Alembic, &newer, &ran, &known).state(), State::Edited);
    }
}

#[test]
fn a_migration_that_failed_may_be_edited_until_it_runs() {
    let mut known = born(Tool::Alembic, Vec::new());
    known.note(Tool::Alembic, &[file("1", &[], "fails")], &[]);
    known.note(Tool::Alembic, &[file("1", &[], "better")], &[]);
    let found = compared(Tool::Alembic, &[file("1", &[], "better")], &rows(&[("1", "")]), &known);
    assert_eq!(found.state(), State::Level);
}

#[test]
fn a_repeatable_one_that_changed_is_behind() {
    let file = Migration { repeatable: true, ..summed("R__views", "7") };
    let history = |sum: &str| {
        vec![Row(vec![None, Some("SQL".into()), Some("R__views.sql".into()), Some(sum.to_owned())])]
    };
    let known = Known::default();
    let files = [file];
    assert_eq!(compared(Tool::Flyway, &files, &history("8"), &known).state(), State::Behind);
    assert_eq!(compared(Tool::Flyway, &files, &history("7"), &known).state(), State::Level);
}

#[test]
fn a_parent_that_moved_on_is_seen_over_chains() {
    let files = [file("1", &[], ""), file("2", &["1"], ""), file("3", &["2"], "")];
    let known = born(Tool::Alembic, rows(&[("1", "")]));
    let at = |fork: &str, parent: &str| {
        let (fork, parent) = (rows(&[(fork, "")]), rows(&[(parent, "")]));
        let evidence = Evidence {
            tool: Tool::Alembic,
            files: &files,
            rows: &fork,
            parent: Some(&parent),
            known: &known,
        };
        compare(evidence).unwrap()
    };
    assert_eq!(ids(&at("1", "2").parent_ahead), ["2"]);
    assert_eq!(at("1", "2").state(), State::ParentAhead);
    assert!(at("3", "2").parent_ahead.is_empty());
    assert_eq!(ids(&at("2", "of a colleague").parent_ahead), ["of a colleague"]);
    assert!(!at("2", "of a colleague").is_stale());
}

#[test]
fn apps_of_packages_are_left_alone_and_a_squash_covers_what_it_stands_for() {
    let squashed = Migration {
        replaces: vec!["shop.1".into(), "shop.2".into()],
        ..Migration::new("shop.1_all", "shop/migrations/1_all.py", b"")
    };
    let history = rows(&[("auth", "1"), ("shop", "1"), ("shop", "2"), ("orders", "1")]);
    let mut known = born(Tool::Django, Vec::new());
    assert_eq!(
        compared(Tool::Django, std::slice::from_ref(&squashed), &history, &known).state(),
        State::Level
    );
    // An app that was the project's once is known.
    known.note(Tool::Django, &[Migration::new("orders.1", "orders/migrations/1.py", b"")], &[]);
    let found = compared(Tool::Django, &[squashed], &history, &known);
    assert_eq!(ids(&found.ahead), ["orders.1"]);
}

/// Files and rows of a few names, with sums that may or may not fit.
fn evidence() -> impl Strategy<Value = (Vec<Migration>, Vec<Row>, Vec<Row>, Option<Vec<Row>>)> {
    let name = || (0_u8..6).prop_map(|id| id.to_string());
    let history = move || {
        proptest::collection::vec((name(), 0_u8..3), 0..6).prop_map(|all| {
            all.into_iter().map(|(id, sum)| Row(vec![Some(id), Some(sum.to_string())])).collect::<Vec<_>>()
        })
    };
    let files = proptest::collection::vec((name(), 0_u8..3), 0..6)
        .prop_map(|all| all.into_iter().map(|(id, sum)| summed(&id, &sum.to_string())).collect::<Vec<_>>());
    (files, history(), history(), proptest::option::of(history()))
}

proptest! {
    /// Each migration is said one thing about, whatever the histories look like.
    #[test]
    fn no_migration_is_two_things_at_once((files, rows, born_with, parent) in evidence()) {
        for tool in Tool::ALL {
            let known = born(tool, born_with.clone());
            let evidence = Evidence { tool, files: &files, rows: &rows, parent: parent.as_deref(), known: &known };
            let Some(found) = compare(evidence) else {
                prop_assert!(files.is_empty());
                continue;
            };
            let all: Vec<&Item> = [&found.behind, &found.ahead, &found.edited, &found.missing, &found.settled]
                .into_iter()
                .flatten()
                .collect();
            let names: BTreeSet<&str> = all.iter().map(|item| item.id.as_str()).collect();
            prop_assert_eq!(names.len(), all.len());
        }
    }

    /// A fork that was just made is never stale: another one would be the same.
    #[test]
    fn a_new_fork_is_never_stale((files, rows, _, parent) in evidence()) {
        for tool in Tool::ALL {
            let known = born(tool, rows.clone());
            let evidence = Evidence { tool, files: &files, rows: &rows, parent: parent.as_deref(), known: &known };
            prop_assert!(compare(evidence).is_none_or(|found| !found.is_stale()));
        }
    }

    /// Going on with what is stale settles it, once and for all.
    #[test]
    fn what_is_kept_is_not_said_again((files, rows, born_with, parent) in evidence()) {
        for tool in Tool::ALL {
            let mut known = born(tool, born_with.clone());
            let parent = parent.as_deref();
            let Some(found) = compare(Evidence { tool, files: &files, rows: &rows, parent, known: &known }) else { continue };
            known.keep(&found, &files);
            let again = compare(Evidence { tool, files: &files, rows: &rows, parent, known: &known });
            prop_assert!(again.is_some_and(|found| !found.is_stale()));
        }
    }

    /// Whatever is in a database and in a folder, there is an answer.
    #[test]
    fn any_file_and_any_row_is_taken(path in "[a-zA-Z0-9_./-]{0,40}", bytes in any::<Vec<u8>>(), row in proptest::collection::vec(proptest::option::of(".{0,20}"), 0..5)) {
        for tool in Tool::ALL {
            let _ = (tool.craft().is_file)(&path);
            let file = (tool.craft().migration)(&path, &bytes, &|_| Some(bytes.clone()));
            let files: Vec<Migration> = file.into_iter().collect();
            let rows = [Row(row.clone())];
            let _ = compare(Evidence { tool, files: &files, rows: &rows, parent: Some(&rows), known: &Known::default() });
        }
    }
}
