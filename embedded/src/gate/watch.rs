//! Finds, in what a client and its PostgreSQL say to each other, the moment at which the gate may run a statement itself.
//!
//! That moment is when everything before the statement has been answered and no transaction is open. Until then the client
//! is not read any further. A statement of the simple protocol is kept back whole. One of the extended protocol is prepared
//! and bound by PostgreSQL as any other; only its execution is kept back, with a `Sync` of ours in its place, so that what
//! belongs before it is answered.

mod readers;

use std::borrow::Cow;
use std::collections::HashMap;

use lakebase_gateway::frames::{Bytes, Frames, Strings};
use lakebase_gateway::message::with_length;
use lakebase_gateway::proxy::Sight;

use super::statement::{About, Wanted};
use readers::{Client, Server};

/// Longest statement that is looked at, in bytes; a longer one is PostgreSQL's to refuse.
const MAX_STATEMENT: usize = 64 * 1024;
/// PostgreSQL's word for "no transaction".
const IDLE: u8 = b'I';
const SYNC: [u8; 5] = [b'S', 0, 0, 0, 4];

/// Asked whether a statement about this may be run at all.
pub(super) type Allowed = Box<dyn Fn(About) -> bool + Send>;

/// What goes on in a session, as far as it matters here.
pub(super) struct Watch {
    up: Frames,
    down: Frames,
    talk: Talk,
}

struct Talk {
    allowed: Allowed,
    phase: Phase,
    /// What the client sent after the statement that is kept back.
    tail: Vec<u8>,
    /// The message of the client that is in hand.
    said: Said,
    /// Prepared statements of the kind that is wanted, and portals of them.
    statements: HashMap<String, Wanted>,
    portals: HashMap<String, String>,
    /// Whether the client has sent anything since its last `Sync` or query.
    unsynced: bool,
    /// Whether that held an execution.
    executed: bool,
    /// Whether the client's messages are passed over until its next `Sync`, as PostgreSQL does after an error.
    skipping: bool,
    /// The message of the server that is in hand.
    heard: Heard,
    /// What the server will say that it is ready for.
    outstanding: usize,
    status: u8,
    /// Whether an error came since it last was.
    errored: bool,
    /// Whether the server waits for the data of a copy.
    copying: bool,
    /// Whether a `Sync` of ours is among what is outstanding: the last.
    inserted: bool,
    /// Whether the next answer to a `Bind` is to one of ours.
    rebound: bool,
    answer: Vec<u8>,
}

/// What becomes of a statement.
enum Phase {
    /// There is none.
    Watching,
    /// It waits for the answers to what came before it.
    Held(Held),
    /// PostgreSQL is asked a question of ours about the session.
    Asking(Held),
    /// The answer, the body of a row; empty where there was none.
    Answered(Held, Vec<u8>),
}

/// A statement that is kept back.
pub(super) struct Held {
    /// What it is.
    pub wanted: Wanted,
    how: How,
}

enum How {
    /// By the simple protocol; the message's body.
    Query(Vec<u8>),
    /// By the extended one; the message's body, and the names of portal and statement.
    Execute { body: Vec<u8>, portal: String, statement: String },
}

enum Said {
    Query(Vec<u8>),
    Parse(Strings),
    Bind(Strings),
    Execute(Vec<u8>),
    Close(Strings),
    Other,
}

enum Heard {
    Ready(Bytes<1>),
    Answer,
    Other,
}

/// Where a session stands when nothing more moves.
pub(super) enum Stand {
    /// It is over.
    Over,
    /// PostgreSQL is to be asked about the session before this statement runs.
    Ask(Held),
    /// It answered: the body of a row, empty where there was none.
    Run(Held, Vec<u8>),
    /// This goes to PostgreSQL after all.
    Leave(Held),
    /// What came before the statement has failed, so it is passed over.
    PassOver,
}

impl Watch {
    /// Of a session that begins.
    pub(super) fn new(allowed: Allowed) -> Self {
        let talk = Talk {
            allowed,
            phase: Phase::Watching,
            tail: Vec::new(),
            said: Said::Other,
            statements: HashMap::new(),
            portals: HashMap::new(),
            unsynced: false,
            executed: false,
            skipping: false,
            heard: Heard::Other,
            // The server says once of itself that it is ready.
            outstanding: 1,
            status: IDLE,
            errored: false,
            copying: false,
            inserted: false,
            rebound: false,
            answer: Vec::new(),
        };
        Self { up: Frames::default(), down: Frames::default(), talk }
    }

    /// What is to be done, when nothing more moves.
    pub(super) fn stand(&mut self) -> Stand {
        let talk = &mut self.talk;
        match std::mem::replace(&mut talk.phase, Phase::Watching) {
            Phase::Watching | Phase::Asking(_) => Stand::Over,
            Phase::Held(_) if talk.inserted => Stand::Over,
            Phase::Held(Held { how: How::Execute { .. }, .. }) if talk.errored => {
                talk.errored = false;
                talk.skipping = true;
                Stand::PassOver
            }
            Phase::Held(held) if talk.outstanding > 0 || talk.status != IDLE => Stand::Leave(held),
            Phase::Held(held) => Stand::Ask(held),
            Phase::Answered(held, answer) => Stand::Run(held, answer),
        }
    }

    /// The bytes that put a question of ours to PostgreSQL: by the extended protocol, for the simple one forgets the client's
    /// unnamed statement.
    pub(super) fn ask(&mut self, held: Held, question: &str) -> Vec<u8> {
        self.talk.phase = Phase::Asking(held);
        self.talk.outstanding += 1;
        self.talk.answer = Vec::new();
        let name = b"lakebase_embedded\0".as_slice();
        let parse = [name, question.as_bytes(), &[0; 3]].concat();
        // Portal and statement; no formats, no parameters, no formats of results. Then any number of rows.
        let bind = [name, name, &[0; 6]].concat();
        let execute = [name, &[0; 4]].concat();
        let close = [b"S", name].concat();
        let messages = [(b'P', parse), (b'B', bind), (b'E', execute), (b'C', close), (b'S', Vec::new())];
        messages.into_iter().flat_map(|(kind, body)| with_length(Some(kind), &body)).collect()
    }

    /// The bytes by which PostgreSQL gets a statement after all.
    pub(super) fn leave(&mut self, held: Held) -> Vec<u8> {
        let talk = &mut self.talk;
        match held.how {
            How::Query(body) => {
                talk.outstanding += 1;
                with_length(Some(b'Q'), &body)
            }
            How::Execute { body, portal, statement } => {
                talk.unsynced = true;
                talk.executed = true;
                let execute = with_length(Some(b'E'), &body);
                if talk.status != IDLE {
                    return execute;
                }
                // The `Sync` that stood in its place took the portal with it.
                talk.rebound = true;
                let mut bind = portal.into_bytes();
                bind.push(0);
                bind.extend(statement.into_bytes());
                // No formats, no parameters, no formats of results.
                bind.extend([0; 7]);
                [with_length(Some(b'B'), &bind), execute].concat()
            }
        }
    }

    /// The bytes that tell the client how its statement ended: well, or with the body of an error.
    pub(super) fn end(&mut self, held: &Held, outcome: Result<(), &[u8]>) -> Vec<u8> {
        let is_query = matches!(held.how, How::Query(_));
        let mut bytes = match &outcome {
            Ok(()) => with_length(Some(b'C'), format!("{}\0", held.wanted.tag).as_bytes()),
            Err(error) => with_length(Some(b'E'), error),
        };
        if is_query {
            bytes.extend(with_length(Some(b'Z'), &[IDLE]));
        } else {
            self.talk.skipping = outcome.is_err();
        }
        bytes
    }

    /// What goes to the server of that which the client sent after a statement that is dealt with.
    pub(super) fn go_on(&mut self) -> Vec<u8> {
        let tail = std::mem::take(&mut self.talk.tail);
        self.up(&tail).into_owned()
    }
}

impl Sight for Watch {
    fn up<'a>(&mut self, chunk: &'a [u8]) -> Cow<'a, [u8]> {
        let (mut out, taken) = self.up.scan(chunk, &mut Client(&mut self.talk));
        self.talk.tail.extend_from_slice(&chunk[taken..]);
        if let Phase::Held(Held { how: How::Execute { .. }, .. }) = &self.talk.phase {
            out.to_mut().extend(SYNC);
            self.talk.outstanding += 1;
            self.talk.inserted = true;
            self.talk.unsynced = false;
        }
        out
    }

    fn down<'a>(&mut self, chunk: &'a [u8]) -> Cow<'a, [u8]> {
        self.down.scan(chunk, &mut Server(&mut self.talk)).0
    }

    fn last_up(&mut self) -> Vec<u8> {
        self.up.rest()
    }

    fn last_down(&mut self) -> Vec<u8> {
        self.down.rest()
    }

    fn hears_client(&self) -> bool {
        matches!(self.talk.phase, Phase::Watching)
    }

    fn pauses(&self) -> bool {
        match self.talk.phase {
            Phase::Watching | Phase::Asking(_) => false,
            Phase::Held(_) => self.talk.outstanding == 0 || self.talk.copying,
            Phase::Answered(..) => true,
        }
    }
}

#[cfg(test)]
mod tests;
