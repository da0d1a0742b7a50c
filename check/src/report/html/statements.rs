//! The statements of the migration with their texts, what was in force, and how long each took.

use std::collections::BTreeMap;

use super::{inert, moment};
use crate::facts::Facts;
use crate::text::without_values;
use crate::timeline::Statement;
use crate::verdict::span;

/// Statements that are shown: those that failed, those that somebody waited for, then the longest.
const MOST: usize = 200;

/// The places of the statements that are shown, in the order of time.
pub fn chosen(facts: &Facts) -> Vec<usize> {
    let all = &facts.up.timeline.statements;
    let mut places: Vec<usize> = (0..all.len()).collect();
    if places.len() <= MOST {
        return places;
    }
    // Stalls stand in the order of their length.
    let mut waited = BTreeMap::new();
    for (rank, statement) in facts.up.stalls.iter().filter_map(|stall| stall.statement).enumerate() {
        waited.entry(statement).or_insert(rank);
    }
    places.sort_by(|one, other| {
        let rank =
            |place: &usize| (all[*place].failure.is_none(), waited.get(place).copied().unwrap_or(usize::MAX));
        let took = |place: &usize| all[*place].to - all[*place].from;
        rank(one).cmp(&rank(other)).then(took(other).total_cmp(&took(one)))
    });
    places.truncate(MOST);
    places.sort_unstable();
    places
}

/// The section.
pub fn section(facts: &Facts, shown: &[usize]) -> String {
    let all = &facts.up.timeline.statements;
    if all.is_empty() {
        return String::new();
    }
    let items: String =
        shown.iter().filter_map(|place| Some(item(facts, *place, all.get(*place)?))).collect();
    let rest = all.len() - shown.len();
    let rest = if rest > 0 {
        let left_out = (0..all.len()).filter(|place| shown.binary_search(place).is_err());
        let longest = left_out.map(|place| all[place].to - all[place].from).fold(0.0, f64::max);
        format!(
            "<p class=\"small rest\">{rest} more statements are not shown; the longest of them took {}. They are in the JSON \
             report.</p>\n",
            span(longest)
        )
    } else {
        String::new()
    };
    format!("<section>\n<h2>Statements</h2>\n{rest}<ol class=\"statements\">\n{items}</ol>\n</section>\n")
}

fn item(facts: &Facts, place: usize, one: &Statement) -> String {
    let number = place + 1;
    let held = if one.until > one.to {
        format!(", its transaction ended {} later", span(one.until - one.to))
    } else {
        String::new()
    };
    let locks = locks(facts, place);
    let failure = one.failure.as_ref().map_or_else(String::new, |failure| {
        format!("<p class=\"failure\">✗ {} ({})</p>", inert(&failure.message), inert(&failure.sqlstate))
    });
    format!(
        "<li id=\"s{number}\"><p><b>#{number}</b> · <span class=\"took\">{}</span> <span class=\"small\">from {}{held}</span></p>\n\
         <pre>{}</pre>{failure}{locks}{}</li>\n",
        span(one.to - one.from),
        moment(one.from),
        inert(&without_values(&one.text)),
        settings(one),
    )
}

/// The locks that it took on tables that stood there before.
fn locks(facts: &Facts, place: usize) -> String {
    const LOCKS: usize = 20;
    let up = &facts.up;
    let mut all: Vec<String> = Vec::new();
    for hold in up.timeline.holds.iter().filter(|hold| hold.statement == Some(place)) {
        let Some(relation) = up.before.relations.get(&hold.relation) else { continue };
        let text = format!(
            "<code>{}</code> {} for {}",
            inert(relation.short()),
            hold.mode,
            span(hold.to - hold.from)
        );
        all.push(text);
    }
    if all.is_empty() {
        return String::new();
    }
    let rest = all.len().saturating_sub(LOCKS);
    all.truncate(LOCKS);
    let rest = if rest > 0 { format!(" · {rest} more") } else { String::new() };
    format!("<p class=\"small\">Locks: {}{rest}</p>", all.join(" · "))
}

/// What was in force, where the sensor said so.
fn settings(one: &Statement) -> String {
    let limit = |value: &Option<String>| {
        value.as_ref().map(|value| if value == "0" { "none".to_owned() } else { inert(value) })
    };
    let quoted = |value: &Option<String>| value.as_ref().map(|value| inert(value));
    let pairs = [
        ("lock_timeout", limit(&one.lock_timeout)),
        ("statement_timeout", limit(&one.statement_timeout)),
        ("search_path", quoted(&one.search_path)),
        ("role", quoted(&one.role)),
    ];
    let said: Vec<String> = pairs
        .into_iter()
        .filter_map(|(name, value)| Some(format!("{name} <code>{}</code>", value?)))
        .collect();
    if said.is_empty() {
        String::new()
    } else {
        format!("<p class=\"small\">In force: {}</p>", said.join(" · "))
    }
}
