//! Verdicts of facts made by hand: answer, exit code, sentence, and the line that brings it about.

use jiff::civil::date;
use lakebase_check::facts::{Again, Down, Facts, Queries, Queue};
use lakebase_check::limits::Limits;
use lakebase_check::lock::Mode;
use lakebase_check::lost::Lost;
use lakebase_check::runner::How;
use lakebase_check::verdict::{self, Answer, Grade, Line, Verdict};
use lakebase_check::wire::Failure;

use crate::sample::{self, ORDERS, USERS, clean, hold, judged, judged_on, rich};

fn line<'a>(verdict: &'a Verdict, rule: &str) -> &'a Line {
    verdict.lines.iter().find(|line| line.rule == rule).unwrap()
}

fn failed(sqlstate: &str, message: &str) -> Facts {
    let mut facts = clean();
    let failure = Failure {
        sqlstate: sqlstate.into(),
        message: message.into(),
        schema: Some("public".into()),
        table: Some("orders".into()),
        column: None,
        constraint: None,
    };
    facts.up.ended = Some(How::Code(1));
    facts.up.timeline.statements[1].failure = Some(failure.clone());
    facts.up.failure = Some(failure);
    facts
}

#[test]
fn a_clean_migration_passes_and_nothing_is_found() {
    let verdict = judged(&clean());
    assert_eq!((verdict.answer, verdict.answer.exit_code()), (Answer::Pass, 0));
    assert_eq!(verdict.sentence, "passes");
    assert!(verdict.lines.iter().all(|line| line.grade == Grade::Fine), "{:?}", verdict.lines);
    assert_eq!(verdict.lines.len(), 10);
}

#[test]
fn a_stall_over_its_limit_says_who_is_hurt_where_and_how_long() {
    let verdict = judged(&rich());
    assert_eq!((verdict.answer, verdict.answer.exit_code()), (Answer::Limit, 1));
    assert_eq!(verdict.sentence, "would block writers on `orders` for 42.7 s (limit 2 s)");
    let stall = line(&verdict, "stall");
    assert_eq!(stall.objects, ["orders"]);
    assert!(stall.why.as_ref().unwrap().contains("is not CONCURRENTLY"));
    // At its limit it still passes, a moment longer it does not.
    let mut facts = clean();
    for (to, grade) in [(2_102.0, Grade::Fine), (2_103.0, Grade::Limit)] {
        facts.up.timeline.holds = vec![hold(ORDERS, Mode::AccessExclusive, 102.0, to, 1)];
        facts.measured = None;
        sample::compute(&mut facts);
        assert_eq!(line(&judged(&facts), "stall").grade, grade);
    }
}

#[test]
fn what_was_measured_counts_where_it_is_longer_than_what_was_computed() {
    let mut facts = clean();
    facts.measured = Some(vec![sample::measured(lakebase_check::lock::Client::Row, USERS, 9_000.0)]);
    let verdict = judged(&facts);
    assert_eq!(verdict.sentence, "would block updates of one row on `users` for 9 s (limit 2 s)");
}

#[test]
fn a_failure_says_the_servers_words_and_how_many_rows_offend() {
    let mut facts = failed("23502", "column \"region\" of relation \"orders\" contains null values");
    facts.up.offending = Some((412, "rows have no value".into()));
    let verdict = judged(&facts);
    assert_eq!((verdict.answer, verdict.answer.exit_code()), (Answer::Failed, 2));
    assert_eq!(
        verdict.sentence,
        "fails after 640 ms: column \"region\" of relation \"orders\" contains null values (23502); 412 rows have no value"
    );
    let result = line(&verdict, "result");
    assert_eq!(result.why.as_deref(), Some("`ALTER TABLE orders ADD COLUMN region text` failed"));
    assert!(result.instead.as_ref().unwrap().contains("give these rows a value"));
}

#[test]
fn a_command_that_fails_by_itself_is_quoted_with_its_last_words() {
    let mut facts = clean();
    facts.up.ended = Some(How::Code(7));
    facts.up.tail = "reading env.py\nModuleNotFoundError: psycopg\n\n".into();
    let verdict = judged(&facts);
    assert_eq!(verdict.answer.exit_code(), 2);
    assert_eq!(verdict.sentence, "the command ended with 7 after 640 ms");
    assert_eq!(line(&verdict, "result").why.as_deref(), Some("it said: ModuleNotFoundError: psycopg"));
    facts.up.ended = Some(How::Signal(9));
    assert_eq!(judged(&facts).sentence, "the command was ended by signal 9 after 640 ms");
}

#[test]
fn a_command_that_goes_on_after_a_failure_is_worth_a_thought() {
    let mut facts = failed("42703", "column \"region\" does not exist");
    (facts.up.ended, facts.up.failure) = (Some(How::Code(0)), None);
    let verdict = judged(&facts);
    let result = line(&verdict, "result");
    assert_eq!((verdict.answer, result.grade), (Answer::Pass, Grade::Warning));
    assert!(result.measured.ends_with("but a statement failed"), "{result:?}");
    assert!(result.why.as_ref().unwrap().contains("column \"region\" does not exist (42703)"), "{result:?}");
    // What a tool tries on purpose is not: what is there already, and reading what may not be there.
    let (ddl, code) = (facts.up.timeline.statements[1].clone(), |sqlstate: &str| Failure {
        sqlstate: sqlstate.into(),
        ..facts.up.timeline.statements[1].failure.clone().unwrap()
    });
    let there = lakebase_check::timeline::Statement { failure: Some(code("42P07")), ..ddl.clone() };
    let read = lakebase_check::timeline::Statement { text: "SELECT 1 FROM history".into(), ..ddl };
    for tried in [there, read] {
        facts.up.timeline.statements[1] = tried;
        assert_eq!(line(&judged(&facts), "result").grade, Grade::Fine);
    }
}

#[test]
fn a_way_back_that_says_that_there_is_none_is_a_decision_and_one_that_breaks_is_not() {
    for (words, answer) in [
        (
            "django.db.migrations.exceptions.IrreversibleError: Operation <RunPython> is not reversible",
            Answer::Pass,
        ),
        ("KeyError: 'region'", Answer::Limit),
    ] {
        let mut facts = clean();
        let down = facts.down.as_mut().unwrap();
        (down.ok, down.words, down.refuses) = (false, words.into(), answer == Answer::Pass);
        let verdict = judged(&facts);
        let down = line(&verdict, "down");
        assert_eq!(verdict.answer, answer, "{down:?}");
        assert!(down.why.as_ref().unwrap().ends_with(&format!("it said: {words}")), "{down:?}");
    }
}

#[test]
fn a_stall_that_nobody_looked_for_is_not_none() {
    let mut facts = clean();
    (facts.sensors, facts.measured) = (Vec::new(), None);
    assert_eq!(line(&judged(&facts), "stall").grade, Grade::Unseen);
}

#[test]
fn a_command_that_never_came_to_the_branch_is_no_pass() {
    let mut facts = clean();
    facts.up.timeline = lakebase_check::timeline::Timeline::default();
    sample::compute(&mut facts);
    for ended in [How::Code(0), How::Code(1), How::Deadline] {
        facts.up.ended = Some(ended);
        let verdict = judged(&facts);
        assert_eq!((verdict.answer, verdict.answer.exit_code()), (Answer::Unknown, 3), "{ended:?}");
        assert_eq!(verdict.sentence, "could not judge: the command never came to the branch");
    }
}

#[test]
fn a_command_that_hangs_is_no_pass_and_one_that_works_too_long_exceeds_its_limit() {
    let mut facts = clean();
    (facts.up.ended, facts.up.ms) = (Some(How::Deadline), 600_000.0);
    let verdict = judged(&facts);
    assert_eq!(verdict.answer.exit_code(), 3);
    assert_eq!(verdict.sentence, "could not judge: the command hangs, and nothing runs on the branch");
    // then a statement that runs until the deadline
    facts.up.is_busy = true;
    let verdict = judged(&facts);
    assert_eq!(verdict.answer.exit_code(), 1);
    assert_eq!(verdict.sentence, "not done after 10 min");
    assert_eq!(line(&verdict, "result").limit, "5 min");
}

#[test]
fn a_migration_that_takes_too_long_names_its_longest_statement() {
    let mut facts = clean();
    facts.up.ms = 400_000.0;
    facts.up.timeline.statements[1].to = 390_000.0;
    let verdict = judged(&facts);
    let result = line(&verdict, "result");
    assert_eq!(verdict.answer, Answer::Limit);
    assert_eq!(result.why.as_deref(), Some("`ALTER TABLE orders ADD COLUMN region text` alone takes 6 min"));
}

#[test]
fn each_other_line_says_what_is_too_much_and_decides() {
    let broken = vec![("SELECT area FROM orders".to_owned(), "column \"area\" does not exist".to_owned())];
    type Change = Box<dyn Fn(&mut Facts)>;
    let cases: Vec<(&str, &str, Change)> = vec![
        (
            "queries",
            "1 fails `SELECT area FROM orders`",
            Box::new(move |facts| {
                facts.queries = Some(Queries { worked: 3, broken: broken.clone() });
            }),
        ),
        ("heads", "2: 0042, 0043", Box::new(|facts| facts.heads = Some(vec!["0042".into(), "0043".into()]))),
        ("down", "the way back fails", Box::new(|facts| facts.down.as_mut().unwrap().ok = false)),
        (
            "down",
            "1 object is not as before: column `orders.region` added",
            Box::new(|facts| {
                facts.down.as_mut().unwrap().differs = vec!["column `orders.region` added".into()];
            }),
        ),
        (
            "down",
            "12 rows of `users` are lost",
            Box::new(|facts| {
                facts.down.as_mut().unwrap().lost =
                    vec![Lost { what: "12 rows of `users`".into(), by_down: true }];
            }),
        ),
        (
            "down",
            "up fails after down",
            Box::new(|facts| {
                facts.down = Some(Down {
                    ok: true,
                    words: String::new(),
                    refuses: false,
                    differs: vec![],
                    lost: vec![],
                    up_again: Some(false),
                });
            }),
        ),
        ("down", "the way back fails", Box::new(|facts| facts.down.as_mut().unwrap().ok = false)),
        ("twice", "fails", Box::new(|facts| facts.again = Some(Again { ok: false, changed: vec![] }))),
        (
            "twice",
            "changes 2 objects more, such as a",
            Box::new(|facts| {
                facts.again = Some(Again { ok: true, changed: vec!["a".into(), "b".into()] });
            }),
        ),
        (
            "left",
            "invalid index `orders_i`",
            Box::new(|facts| {
                facts.up.left = vec![lakebase_check::catalog::Left {
                    what: "invalid index".into(),
                    name: "orders_i".into(),
                    why: "never used".into(),
                }];
            }),
        ),
    ];
    for (rule, measured, change) in cases {
        let mut facts = clean();
        change(&mut facts);
        let verdict = judged(&facts);
        let found = line(&verdict, rule);
        assert_eq!((verdict.answer, found.grade), (Answer::Limit, Grade::Limit), "{rule}");
        assert_eq!(found.measured, measured);
        assert_eq!(verdict.sentence, format!("{}: {measured}", found.about.to_lowercase()));
        assert!(found.why.is_some(), "{rule}");
        assert!(!found.limit.is_empty(), "{rule}");
    }
}

#[test]
fn a_queue_warns_and_decides_where_a_limit_is_set() {
    let mut facts = clean();
    let queue =
        |gave_up, readers_ms| Some(vec![Queue { table: "orders".into(), waited: true, readers_ms, gave_up }]);
    let of = |facts: &Facts, queue: Option<f64>| {
        verdict::judge(facts, &Limits { queue, ..Limits::default() }, None)
    };
    facts.queue = queue(false, 5_000.0);
    let warned = of(&facts, None);
    assert_eq!((warned.answer, line(&warned, "queue").grade), (Answer::Pass, Grade::Warning));
    assert!(
        warned.sentence.starts_with("passes, with a warning: behind an open query"),
        "{}",
        warned.sentence
    );
    assert_eq!(of(&facts, Some(100.0)).answer, Answer::Limit);
    // One that gives up is held against the limit by how long its readers waited.
    facts.queue = queue(true, 57.0);
    assert_eq!(of(&facts, Some(100.0)).answer, Answer::Pass);
    assert_eq!(of(&facts, Some(50.0)).answer, Answer::Limit);
    // Who never gives up counts before who takes longer to.
    facts.queue.as_mut().unwrap().push(Queue {
        table: "users".into(),
        waited: true,
        readers_ms: 20.0,
        gave_up: false,
    });
    assert!(
        line(&of(&facts, None), "queue").measured.contains("no lock_timeout: every later read of `users`")
    );
}

#[test]
fn write_ahead_log_counts_where_a_limit_is_set() {
    let facts = rich();
    let of = |wal| verdict::judge(&facts, &Limits { wal, ..Limits::default() }, None);
    assert_eq!(line(&of(None), "written").grade, Grade::Fine);
    let verdict = of(Some(500 << 20));
    let written = line(&verdict, "written");
    assert_eq!((written.grade, written.limit.as_str()), (Grade::Limit, "500 MB"));
    assert_eq!(written.measured, "none · 812 MB · +640 MB");
}

#[test]
fn what_was_not_tried_is_not_seen_and_never_fine() {
    let facts = Facts { again: None, down: None, queue: None, queries: None, ..clean() };
    let verdict = judged(&facts);
    for rule in ["twice", "down", "queue", "queries"] {
        assert_eq!(line(&verdict, rule).grade, Grade::Unseen, "{rule}");
    }
}

#[test]
fn an_excepted_line_shows_its_reason_and_decides_nothing() {
    let mut facts = rich();
    facts.queries = None;
    let today = date(2026, 11, 23);
    let verdict = judged_on(&facts, today, "stall@orders until 2026-11-23: nightly window");
    let stall = line(&verdict, "stall");
    assert_eq!((verdict.answer, stall.grade), (Answer::Pass, Grade::Excepted));
    assert_eq!(stall.beside(), "2 s; excepted until 2026-11-23: nightly window");
    assert!(stall.measured.contains("42.7 s `orders`"), "what it is stays");
    assert_eq!(verdict.notes, [""; 0]);
    // A day later it decides again.
    let late = judged_on(&facts, date(2026, 11, 24), "stall@orders until 2026-11-23: nightly window");
    assert_eq!(late.answer, Answer::Limit);
    assert_eq!(late.notes, ["the exception `stall@orders` ended on 2026-11-23: nightly window"]);
}

#[test]
fn an_exception_for_one_table_does_not_cover_another() {
    let mut facts = rich();
    facts.queries = None;
    facts.up.timeline.holds.push(hold(USERS, Mode::AccessExclusive, 1_000.0, 4_000.0, 2));
    sample::compute(&mut facts);
    let today = date(2026, 11, 23);
    let verdict = judged_on(&facts, today, "stall@orders until 2027-01-31: nightly window");
    assert_eq!(verdict.answer, Answer::Limit);
    assert_eq!(verdict.sentence, "would block readers on `users` for 3 s (limit 2 s)");
    assert_eq!(verdict.notes, [""; 0]);
    // then both of them, or all
    for both in
        ["stall@orders until 2027-01-31: a; stall@users until 2027-01-31: b", "stall until 2027-01-31: a"]
    {
        assert_eq!(judged_on(&facts, today, both).answer, Answer::Pass, "{both}");
    }
}

#[test]
fn an_exception_that_nothing_needed_is_said_and_a_failure_has_none() {
    let today = date(2026, 11, 23);
    let verdict = judged_on(&clean(), today, "heads until 2027-01-31: merged soon");
    assert_eq!((verdict.answer, verdict.sentence.as_str()), (Answer::Pass, "passes"));
    assert_eq!(verdict.notes, ["the exception `heads` was not needed (merged soon): remove it"]);
    // What was not looked at may need it yet.
    let unseen = Facts { heads: None, down: None, ..clean() };
    assert_eq!(judged_on(&unseen, today, "down until 2027-01-31: x").notes, [""; 0]);
    let failed =
        judged_on(&failed("23505", "could not create unique index"), today, "result until 2027-01-31: x");
    assert_eq!(failed.answer, Answer::Failed);
}

#[test]
fn two_runs_that_disagree_are_told_and_the_longer_stall_counts() {
    use lakebase_check::lock::Client;
    let mut facts = clean();
    facts.up.stalls.clear();
    // A tenth of a second may be the machine's.
    facts.measured = Some(vec![sample::measured(Client::Reader, ORDERS, 100.0)]);
    assert!(judged(&facts).notes.is_empty());
    facts.measured = Some(vec![sample::measured(Client::Reader, ORDERS, 9_000.0)]);
    let verdict = judged(&facts);
    assert_eq!(verdict.answer, Answer::Limit);
    assert_eq!(
        verdict.notes,
        [
            "readers of `orders` waited 9 s in the second run, and by the locks of the first under 1 ms: the longer one counts"
        ]
    );
}
