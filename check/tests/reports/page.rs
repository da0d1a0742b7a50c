//! The page in a browser: on a phone and on a desk, light and dark.

use std::path::{Path, PathBuf};

use lakebase_check::facts::Facts;
use lakebase_check::lock::Mode;
use lakebase_check::lost::Lost;
use lakebase_check::report::Format;
use serde_json::{Value, json};

use crate::browser::Browser;
use crate::sample::{self, ORDERS, hold, relation, statement};

const PHONE: (u32, u32) = (360, 800);
const DESK: (u32, u32) = (1280, 800);
/// A name that would be markup, leave an attribute, and run.
const EVIL: &str = "x</title></style></script><img src=x onerror=alert(1)>\"'><b onclick=alert(1)>`${1}`";

/// The page as a file, which stays for whoever wants to look at it: `tmp/NAME.html` of the target folder.
fn page(name: &str, facts: &Facts) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.html"));
    std::fs::write(&path, sample::in_form(facts, Format::Html)).unwrap();
    path
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

/// Nothing is wider than the screen: neither the page, nor an element outside of a box that scrolls.
fn assert_fits(browser: &mut Browser, (width, _): (u32, u32)) {
    let wide = browser.value(
        "[document.documentElement.scrollWidth, ...[...document.querySelectorAll('body *')].map(e => e.getBoundingClientRect().right)]",
    );
    let widest = numbers(&wide).into_iter().fold(0.0, f64::max);
    assert!(widest <= f64::from(width) + 0.5, "something ends at {widest} of {width}");
}

#[test]
fn every_table_lock_stall_and_statement_is_to_be_seen_on_a_phone_and_on_a_desk() {
    let facts = sample::rich();
    let path = page("rich", &facts);
    let mut browser = Browser::start();
    for (screen, scheme) in [(PHONE, "light"), (PHONE, "dark"), (DESK, "light"), (DESK, "dark")] {
        browser.open(&path, screen, scheme);
        assert_fits(&mut browser, screen);
        let tables =
            browser.value("[...document.querySelectorAll('[data-table]')].map(e => e.dataset.table)");
        assert_eq!(tables, json!(["orders", "users"]));
        let count = |browser: &mut Browser, selector: &str| {
            browser.value(&format!("document.querySelectorAll({selector:?}).length")).as_u64().unwrap()
        };
        let locks = count(&mut browser, ".row .bar.all, .row .bar.write, .row .bar.weak");
        assert_eq!(locks, facts.up.timeline.holds.len() as u64);
        assert_eq!(count(&mut browser, ".row .bar.stall"), facts.up.stalls.len() as u64);
        let statements = facts.up.timeline.statements.len() as u64;
        assert_eq!(count(&mut browser, ".row .bar.statement"), statements);
        assert_eq!(count(&mut browser, "ol.statements > li"), statements);
        assert_eq!(count(&mut browser, ".lines tbody tr"), sample::judged(&facts).lines.len() as u64);
        // A bar is as long as what it stands for, and no shorter than can be seen.
        let bar = "[...document.querySelectorAll('[data-table=orders] .bar.write')].map(e => e.getBoundingClientRect().width \
                   / e.parentElement.getBoundingClientRect().width)";
        let longest = numbers(&browser.value(bar)).into_iter().fold(0.0, f64::max);
        assert!((longest - 42.7 / 43.1).abs() < 0.01, "{longest}");
        let thin = browser.value("[...document.querySelectorAll('.row .bar')].map(e => Math.min(e.getBoundingClientRect().width, e.getBoundingClientRect().height))");
        assert!(numbers(&thin).into_iter().all(|pixels| pixels >= 3.0), "{thin}");
        // The words on the ground can be read.
        let ground = browser.value("getComputedStyle(document.body).backgroundColor");
        assert_eq!(ground == "rgb(255, 255, 255)", scheme == "light", "{ground}");
    }
    assert_eq!(browser.complaints, [""; 0]);
}

#[test]
fn names_and_texts_from_elsewhere_are_text() {
    let mut facts = sample::rich();
    facts.name = EVIL.into();
    facts.up.before.relations.insert(ORDERS, relation(EVIL, 1, 1.0));
    for one in &mut facts.up.timeline.statements {
        one.text = format!("{} -- {EVIL}", one.text);
        one.search_path = Some(EVIL.into());
        one.role = Some(EVIL.into());
        one.failure = Some(lakebase_check::wire::Failure {
            sqlstate: "XX000".into(),
            message: EVIL.into(),
            schema: None,
            table: None,
            column: None,
            constraint: None,
        });
    }
    facts.up.left[0].name = EVIL.into();
    facts.up.left[0].why = EVIL.into();
    for (text, why) in &mut facts.queries.as_mut().unwrap().broken {
        *text = EVIL.into();
        *why = EVIL.into();
    }
    facts.down.as_mut().unwrap().differs = vec![EVIL.into()];
    facts.down.as_mut().unwrap().lost = vec![Lost { what: EVIL.into(), by_down: true }];
    facts.again.as_mut().unwrap().changed = vec![EVIL.into()];
    facts.queue.as_mut().unwrap()[0].table = EVIL.into();
    facts.unseen = vec![EVIL.into()];
    let path = page("evil", &facts);
    let mut browser = Browser::start();
    for screen in [PHONE, DESK] {
        browser.open(&path, screen, "light");
        let foreign = browser.value("document.querySelectorAll('img, script, iframe, link, object, form, [onerror], [onclick]').length");
        assert_eq!(foreign, 0);
        let names = browser.value("[...document.querySelectorAll('[data-table]')].map(e => e.dataset.table)");
        assert!(names.as_array().unwrap().contains(&json!(EVIL)), "{names}");
        assert_fits(&mut browser, screen);
    }
    assert_eq!(browser.complaints, [""; 0]);
}

#[test]
fn the_policy_stops_what_is_no_style_of_the_page() {
    let path = page("policy", &sample::clean());
    let text = std::fs::read_to_string(&path).unwrap();
    let slipped =
        "<script>document.title = 'ran'</script><img src=\"x\" onerror=\"document.title = 'ran'\"></body>";
    std::fs::write(&path, text.replace("</body>", slipped)).unwrap();
    let mut browser = Browser::start();
    browser.open(&path, DESK, "light");
    let title = browser.value("document.title");
    assert!(title.as_str().unwrap().contains("Migration check"), "{title}");
    assert!(
        browser.complaints.iter().any(|one| one.contains("Content Security Policy")),
        "{:?}",
        browser.complaints
    );
}

#[test]
fn ten_thousand_statements_and_tables_make_no_huge_page_and_the_rest_is_said() {
    let mut facts = sample::rich();
    let long = "SELECT ".repeat(300);
    for place in 0..10_000_u32 {
        let at = f64::from(place);
        let index = facts.up.timeline.statements.len();
        facts.up.timeline.statements.push(statement(&long, at, at + 0.5, at + 1.0));
        facts.up.before.relations.insert(30_000 + place, relation(&format!("part_{place}"), 8192, -1.0));
        facts.up.timeline.holds.push(hold(30_000 + place, Mode::AccessExclusive, at, at + 1.0, index));
        facts.up.timeline.holds.push(hold(ORDERS, Mode::RowExclusive, at, at + 1.0, index));
    }
    sample::compute(&mut facts);
    let path = page("many", &facts);
    let bytes = std::fs::metadata(&path).unwrap().len();
    assert!(bytes < 1 << 20, "{bytes} bytes");
    let mut browser = Browser::start();
    browser.open(&path, PHONE, "light");
    assert_fits(&mut browser, PHONE);
    let said =
        browser.value("[...document.querySelectorAll('.rest')].map(e => e.textContent.trim())").to_string();
    for words in ["9962 more tables are not shown", "9805 more statements are not shown"] {
        assert!(said.contains(words), "{said}");
    }
    // What matters is among those that are shown.
    let kept = browser.value("['s2', 's3', 's4'].filter(id => document.getElementById(id) !== null)");
    assert_eq!(kept, json!(["s2", "s3", "s4"]));
    assert_eq!(browser.complaints, [""; 0]);
}
