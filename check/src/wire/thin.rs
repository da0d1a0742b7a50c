//! Leaves out of very many events those that tell nothing new: a migration of millions of statements must not take all of
//! this machine's memory. Pure.
//!
//! What stays: whatever the sensor or an error spoke of, whatever takes more than a moment, whatever may lock more than rows,
//! and of the rest the first of each form in its transaction, which holds the locks for all of them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use lakebase_gateway::{Status, TapEvent};

use super::Heard;
use crate::text;

/// A statement of so many milliseconds kept nobody waiting.
pub const MOMENT: f64 = 10.0;
/// Transactions of one form, each shorter than a moment, that are kept.
const SAMPLES: usize = 20;
/// How statements begin that lock rows, and no table against its readers and writers.
const QUIET: [&str; 8] = ["INSERT", "UPDATE", "DELETE", "SELECT", "WITH", "MERGE", "VALUES", "EXECUTE"];
/// How those begin that do nothing by themselves.
const SMALL: [&str; 8] = ["BEGIN", "START", "COMMIT", "END", "SAVEPOINT", "RELEASE", "SHOW", "DEALLOCATE"];

/// Leaves out what tells nothing new. Gives how many statements are gone.
pub fn thin(heard: &mut Vec<Heard>) -> usize {
    let mut pass = Pass { keeps: vec![true; heard.len()], ..Pass::default() };
    let mut sessions: BTreeMap<u64, Line> = BTreeMap::new();
    for (place, one) in heard.iter().enumerate() {
        pass.see(sessions.entry(one.session).or_default(), place, heard);
    }
    for line in sessions.values_mut() {
        // What is still open may go on as it is.
        pass.within(line, None, heard);
        pass.leave_out(&line.transaction);
        pass.needed.extend(line.parsed.values());
        pass.needed.extend(line.bound.values().flat_map(|(bind, parse)| [Some(*bind), *parse]).flatten());
    }
    pass.keep_what_is_used(heard);
    let mut keeps = pass.keeps.into_iter();
    heard.retain(|_| keeps.next().unwrap_or(true));
    pass.left_out
}

/// Words that are values.
const NO_NAMES: [&str; 4] = ["NULL", "TRUE", "FALSE", "DEFAULT"];

/// One pass over all events.
#[derive(Default)]
struct Pass {
    /// Whether each event stays.
    keeps: Vec<bool>,
    /// How many short transactions of a form there were.
    forms: HashMap<u64, usize>,
    /// Events that prepare something which may be run again.
    needed: HashSet<usize>,
    /// What each run of a portal needs: its `Bind` and its `Parse`.
    uses: BTreeMap<usize, [Option<usize>; 2]>,
    left_out: usize,
}

/// A connection.
#[derive(Default)]
struct Line {
    in_transaction: bool,
    /// The latest `Parse` of each statement, the latest `Bind` of each portal with what it was of.
    parsed: BTreeMap<String, usize>,
    bound: BTreeMap<String, (usize, Option<usize>)>,
    exchange: Exchange,
    transaction: Transaction,
}

/// What was said from one `Ready` to the next.
#[derive(Default)]
struct Exchange {
    begins: Vec<Begin>,
    completes: Vec<usize>,
    /// Its other events.
    others: Vec<usize>,
    /// Whether there is more to it than statements that end well.
    is_loud: bool,
    /// Whether it is one message of the simple protocol.
    is_simple: bool,
}

/// A statement that was begun.
struct Begin {
    place: usize,
    /// What it is apart from its values; none where it has to stay.
    form: Option<u64>,
    /// Whether it is more than small talk.
    counts: bool,
}

/// From one idle moment to the next.
#[derive(Default)]
struct Transaction {
    from: Option<f64>,
    is_loud: bool,
    /// Its forms, in order, and as a set.
    forms: Vec<u64>,
    seen: HashSet<u64>,
    /// Its events, and how many statements they are.
    places: Vec<usize>,
    /// Those of them that go, and how many.
    gone: Vec<usize>,
    gone_count: usize,
    count: usize,
}

impl Pass {
    fn see(&mut self, line: &mut Line, place: usize, heard: &[Heard]) {
        let one = &heard[place];
        let exchange = &mut line.exchange;
        match &one.event {
            TapEvent::Parse { statement, .. } => {
                line.parsed.insert(statement.clone(), place);
                return;
            }
            TapEvent::Bind { portal, statement } => {
                line.bound.insert(portal.clone(), (place, line.parsed.get(statement).copied()));
                return;
            }
            TapEvent::Query { text, .. } => {
                exchange.is_loud |= !exchange.begins.is_empty();
                exchange.is_simple = true;
                exchange.begins.push(Begin::of(place, text));
            }
            TapEvent::Execute { portal } => {
                exchange.is_loud |= exchange.is_simple;
                let (bind, parse) =
                    line.bound.get(portal).map_or((None, None), |(bind, parse)| (Some(*bind), *parse));
                self.uses.insert(place, [bind, parse]);
                let text = parse.and_then(|parse| match &heard[parse].event {
                    TapEvent::Parse { text, .. } => Some(text.as_str()),
                    _ => None,
                });
                exchange.begins.push(Begin::of(place, text.unwrap_or_default()));
            }
            TapEvent::Complete { .. } => exchange.completes.push(place),
            TapEvent::Sync => exchange.others.push(place),
            TapEvent::Ready { status } => {
                exchange.others.push(place);
                self.within(line, Some(*status), heard);
                self.ready(line, *status, one.at);
                return;
            }
            TapEvent::Opened { .. } | TapEvent::Closed => {
                self.within(line, None, heard);
                self.leave_out(&line.transaction);
                *line = Line::default();
                return;
            }
            TapEvent::Sensor { .. }
            | TapEvent::Error(_)
            | TapEvent::FunctionCall { .. }
            | TapEvent::Suspended => exchange.is_loud = true,
        }
        line.transaction.from.get_or_insert(one.at);
    }

    /// Looks for statements of the exchange that are nothing new in their transaction.
    fn within(&mut self, line: &mut Line, status: Option<Status>, heard: &[Heard]) {
        let (exchange, transaction) = (&line.exchange, &mut line.transaction);
        if exchange.is_loud || exchange.begins.is_empty() {
            transaction.is_loud |= exchange.is_loud;
            return;
        }
        let stays_open = line.in_transaction && status == Some(Status::InTransaction);
        let at = |place: usize| heard[place].at;
        let mut all_gone = true;
        if exchange.is_simple {
            let begin = &exchange.begins[0];
            let end = exchange.others.last().copied().unwrap_or(begin.place);
            let is_new = begin.form.is_none_or(|form| transaction.seen.insert(form));
            all_gone = stays_open && !is_new && at(end) - at(begin.place) < MOMENT;
            if all_gone {
                transaction.gone.push(begin.place);
                transaction.gone.extend(&exchange.completes);
                transaction.gone_count += usize::from(begin.counts);
            }
        } else {
            let mut before = at(exchange.begins[0].place);
            for (index, begin) in exchange.begins.iter().enumerate() {
                let complete = exchange.completes.get(index).copied();
                let took = complete.map(|complete| at(complete) - before.max(at(begin.place)));
                before = complete.map_or(before, at);
                let is_new = begin.form.is_none_or(|form| transaction.seen.insert(form));
                match complete.filter(|_| !is_new && took.is_some_and(|took| took < MOMENT)) {
                    Some(complete) => {
                        transaction.gone.extend([begin.place, complete]);
                        transaction.gone_count += usize::from(begin.counts);
                    }
                    None => all_gone = false,
                }
            }
        }
        if all_gone && stays_open {
            transaction.gone.extend(&exchange.others);
        }
        transaction.is_loud |= exchange.begins.iter().any(|begin| begin.form.is_none());
        transaction.forms.extend(exchange.begins.iter().filter_map(|begin| begin.form));
        transaction.count += exchange.begins.iter().filter(|begin| begin.counts).count();
    }

    /// The server waits for the next word.
    fn ready(&mut self, line: &mut Line, status: Status, at: f64) {
        let exchange = std::mem::take(&mut line.exchange);
        let transaction = &mut line.transaction;
        transaction.places.extend(exchange.begins.iter().map(|begin| begin.place));
        transaction.places.extend(exchange.completes.iter().chain(&exchange.others));
        line.in_transaction = status != Status::Idle;
        if line.in_transaction {
            return;
        }
        let mut transaction = std::mem::take(transaction);
        let from = transaction.from.unwrap_or(at);
        let is_short = at - from < MOMENT && !transaction.is_loud && transaction.count > 0;
        if is_short {
            let of_form = self.forms.entry(hash(&transaction.forms)).or_default();
            *of_form += 1;
            if *of_form > SAMPLES {
                (transaction.gone, transaction.gone_count) = (transaction.places, transaction.count);
                transaction.places = Vec::new();
            }
        }
        self.leave_out(&transaction);
    }

    fn leave_out(&mut self, transaction: &Transaction) {
        for place in &transaction.gone {
            self.keeps[*place] = false;
        }
        self.left_out += transaction.gone_count;
    }

    /// Of what prepares something, that stays which is used by what stays, or may be used yet.
    fn keep_what_is_used(&mut self, heard: &[Heard]) {
        for (place, uses) in &self.uses {
            if self.keeps[*place] {
                self.needed.extend(uses.iter().flatten());
            }
        }
        for (place, one) in heard.iter().enumerate() {
            if matches!(one.event, TapEvent::Parse { .. } | TapEvent::Bind { .. }) {
                self.keeps[place] = self.needed.contains(&place);
            }
        }
    }
}

impl Begin {
    fn of(place: usize, text: &str) -> Self {
        let first =
            |one: &str| one.split(|c: char| !c.is_alphabetic()).next().unwrap_or_default().to_uppercase();
        let words: Vec<String> = text::statements(text).into_iter().map(first).collect();
        let is_small = |word: &String| SMALL.contains(&word.as_str());
        let is_quiet = words.iter().all(|word| is_small(word) || QUIET.contains(&word.as_str()));
        let counts = !words.iter().all(is_small);
        // The name of a savepoint says nothing.
        let form = || if counts { form(text) } else { hash(&words) };
        Self { place, form: (is_quiet && !words.is_empty()).then(form), counts }
    }
}

/// A statement without its values, however many they are.
fn form(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    let is_start = |c: char| c.is_alphabetic() || c == '_';
    let mut rest = text;
    let mut was_value = false;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            // The two of a doubled quote are the end of one text and the beginning of the next.
            '\'' => rest[1..].find('\'').map_or(rest.len(), |end| end + 2),
            _ if is_start(first) => {
                rest.find(|c: char| !is_start(c) && !c.is_ascii_digit()).unwrap_or(rest.len())
            }
            _ => first.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        let is_value = !is_start(first) || NO_NAMES.iter().any(|word| token.eq_ignore_ascii_case(word));
        if !(is_value && was_value) {
            if is_value { "?" } else { token }.hash(&mut hasher);
        }
        (was_value, rest) = (is_value, after);
    }
    hasher.finish()
}

fn hash<T: Hash>(forms: &[T]) -> u64 {
    let mut hasher = DefaultHasher::new();
    forms.hash(&mut hasher);
    hasher.finish()
}
