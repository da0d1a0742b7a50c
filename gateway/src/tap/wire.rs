//! From messages to events.

use std::borrow::Cow;
use std::time::Instant;

use super::{MAX_TEXT, Status, TapError, TapEvent, Tapping};
use crate::frames::{Bytes, Fields, Frames, Reader, Strings, Verdict};
use crate::proxy::Sight;

/// Longest name that is told, in bytes. PostgreSQL's own have 63; those of statements and portals have no limit.
const MAX_NAME: usize = 1024;
/// The fields of an error that are told: severity, code, message, schema, table, column, constraint, position.
const OF_ERRORS: &[u8] = b"SVCMstcnP";
/// Longest beginning of a notice that waits for its code, in bytes. PostgreSQL sends little before it.
const MAX_HELD: usize = 4096;
/// Those of a sensor's notice.
const OF_SENSORS: &[u8] = b"CM";

/// A session as it is listened to.
pub(super) struct Wire<'a> {
    up: Frames,
    down: Frames,
    client: Client,
    server: Server<'a>,
    teller: Teller<'a>,
}

impl<'a> Wire<'a> {
    /// Of the session that `tapping` names.
    pub(super) fn new(tapping: &'a Tapping, user: &'a str, database: &'a str) -> Self {
        Self {
            up: Frames::default(),
            down: Frames::default(),
            client: Client::default(),
            server: Server { sensor: tapping.sensor.as_bytes(), in_hand: Said::Other },
            teller: Teller { tapping, user, database, pid: None, opened: false },
        }
    }
}

impl Sight for Wire<'_> {
    fn up<'a>(&mut self, chunk: &'a [u8]) -> Cow<'a, [u8]> {
        let mut reader = At { reader: &mut self.client, teller: &mut self.teller, at: Instant::now() };
        self.up.scan(chunk, &mut reader).0
    }

    fn down<'a>(&mut self, chunk: &'a [u8]) -> Cow<'a, [u8]> {
        let mut reader = At { reader: &mut self.server, teller: &mut self.teller, at: Instant::now() };
        self.down.scan(chunk, &mut reader).0
    }

    fn last_up(&mut self) -> Vec<u8> {
        self.up.rest()
    }

    fn last_down(&mut self) -> Vec<u8> {
        self.down.rest()
    }
}

impl Drop for Wire<'_> {
    fn drop(&mut self) {
        self.teller.tell(Instant::now(), TapEvent::Closed);
    }
}

/// Tells events, the opening first.
struct Teller<'a> {
    tapping: &'a Tapping,
    user: &'a str,
    database: &'a str,
    pid: Option<u32>,
    opened: bool,
}

impl Teller<'_> {
    fn open(&mut self, at: Instant) {
        if !self.opened {
            self.opened = true;
            let opened = TapEvent::Opened {
                user: self.user.to_owned(),
                database: self.database.to_owned(),
                pid: self.pid,
            };
            self.tapping.tap.event(self.tapping.session, at, opened);
        }
    }

    fn tell(&mut self, at: Instant, event: TapEvent) {
        self.open(at);
        self.tapping.tap.event(self.tapping.session, at, event);
    }
}

/// One side's reader while it looks at what was read at one time.
struct At<'a, 't, R> {
    reader: &'a mut R,
    teller: &'a mut Teller<'t>,
    at: Instant,
}

impl Reader for At<'_, '_, Client> {
    fn begin(&mut self, kind: u8, _: usize) -> Verdict {
        self.reader.begin(kind);
        Verdict::Pass
    }

    fn part(&mut self, part: &[u8]) -> Verdict {
        self.reader.part(part);
        Verdict::Pass
    }

    fn end(&mut self) -> Verdict {
        if let Some(event) = self.reader.end() {
            self.teller.tell(self.at, event);
        }
        Verdict::Pass
    }
}

impl Reader for At<'_, '_, Server<'_>> {
    fn begin(&mut self, kind: u8, _: usize) -> Verdict {
        self.reader.begin(kind)
    }

    fn part(&mut self, part: &[u8]) -> Verdict {
        self.reader.part(part)
    }

    fn end(&mut self) -> Verdict {
        match self.reader.end() {
            Ended::Nothing => Verdict::Pass,
            Ended::Pid(pid) => {
                self.teller.pid = Some(pid);
                self.teller.open(self.at);
                Verdict::Pass
            }
            Ended::Event(event) => {
                let verdict =
                    if matches!(event, TapEvent::Sensor { .. }) { Verdict::Strip } else { Verdict::Pass };
                self.teller.tell(self.at, event);
                verdict
            }
        }
    }
}

/// What the client says.
#[derive(Default)]
enum Client {
    Query(Strings),
    Parse(Strings),
    Bind(Strings),
    Execute(Strings),
    FunctionCall(Bytes<4>),
    Sync,
    #[default]
    Other,
}

impl Client {
    fn begin(&mut self, kind: u8) {
        *self = match kind {
            b'Q' => Self::Query(Strings::new(1, MAX_TEXT)),
            b'P' => Self::Parse(Strings::new(2, MAX_TEXT)),
            b'B' => Self::Bind(Strings::new(2, MAX_NAME)),
            b'E' => Self::Execute(Strings::new(1, MAX_NAME)),
            b'F' => Self::FunctionCall(Bytes::default()),
            b'S' => Self::Sync,
            _ => Self::Other,
        };
    }

    fn part(&mut self, part: &[u8]) {
        match self {
            Self::Query(strings) | Self::Parse(strings) | Self::Bind(strings) | Self::Execute(strings) => {
                strings.push(part);
            }
            Self::FunctionCall(bytes) => bytes.push(part),
            Self::Sync | Self::Other => {}
        }
    }

    fn end(&mut self) -> Option<TapEvent> {
        Some(match std::mem::take(self) {
            Self::Query(strings) => {
                let [text] = strings.finish();
                TapEvent::Query { cut: text.cut, text: text.into_text() }
            }
            Self::Parse(strings) => {
                let [statement, text] = strings.finish();
                TapEvent::Parse { statement: statement.into_text(), cut: text.cut, text: text.into_text() }
            }
            Self::Bind(strings) => {
                let [portal, statement] = strings.finish();
                TapEvent::Bind { portal: portal.into_text(), statement: statement.into_text() }
            }
            Self::Execute(strings) => {
                let [portal] = strings.finish();
                TapEvent::Execute { portal: portal.into_text() }
            }
            Self::FunctionCall(bytes) => {
                TapEvent::FunctionCall { function: u32::from_be_bytes(bytes.get()?) }
            }
            Self::Sync => TapEvent::Sync,
            Self::Other => return None,
        })
    }
}

/// What the server says.
struct Server<'a> {
    /// What the SQLSTATE of a sensor begins with.
    sensor: &'a [u8],
    in_hand: Said,
}

/// The message of the server that is in hand.
enum Said {
    Key(Bytes<4>),
    Notice { fields: Fields, seen: usize, ours: bool },
    Error(Fields),
    Complete(Strings),
    Empty,
    Suspended,
    Ready(Bytes<1>),
    Other,
}

/// What a message of the server was.
enum Ended {
    Nothing,
    Pid(u32),
    Event(TapEvent),
}

impl Server<'_> {
    fn begin(&mut self, kind: u8) -> Verdict {
        self.in_hand = match kind {
            b'K' => Said::Key(Bytes::default()),
            b'N' if !self.sensor.is_empty() => {
                self.in_hand =
                    Said::Notice { fields: Fields::new(OF_SENSORS, MAX_TEXT), seen: 0, ours: false };
                return Verdict::Hold;
            }
            b'E' => Said::Error(Fields::new(OF_ERRORS, MAX_TEXT)),
            b'C' => Said::Complete(Strings::new(1, MAX_NAME)),
            b'I' => Said::Empty,
            b's' => Said::Suspended,
            b'Z' => Said::Ready(Bytes::default()),
            _ => Said::Other,
        };
        Verdict::Pass
    }

    fn part(&mut self, part: &[u8]) -> Verdict {
        match &mut self.in_hand {
            Said::Key(bytes) => bytes.push(part),
            Said::Error(fields) => fields.push(part),
            Said::Complete(strings) => strings.push(part),
            Said::Ready(bytes) => bytes.push(part),
            Said::Notice { fields, ours: true, .. } => fields.push(part),
            Said::Notice { fields, seen, ours } => {
                // No further than that, so that it does not matter where the stream was cut.
                let (first, more) = part.split_at(part.len().min(MAX_HELD - *seen));
                fields.push(first);
                *seen += first.len();
                match fields.peek(b'C') {
                    Some(code) if code.starts_with(self.sensor) => {
                        *ours = true;
                        fields.push(more);
                        return Verdict::Strip;
                    }
                    None if *seen < MAX_HELD => return Verdict::Hold,
                    _ => self.in_hand = Said::Other,
                }
            }
            Said::Empty | Said::Suspended | Said::Other => {}
        }
        Verdict::Pass
    }

    fn end(&mut self) -> Ended {
        Ended::Event(match std::mem::replace(&mut self.in_hand, Said::Other) {
            Said::Key(bytes) => {
                return bytes.get().map_or(Ended::Nothing, |pid| Ended::Pid(u32::from_be_bytes(pid)));
            }
            Said::Notice { mut fields, ours: true, .. } => TapEvent::Sensor {
                sqlstate: text(&mut fields, b'C').unwrap_or_default(),
                message: text(&mut fields, b'M').unwrap_or_default(),
            },
            Said::Error(fields) => TapEvent::Error(error(fields)),
            Said::Complete(strings) => {
                let [tag] = strings.finish();
                TapEvent::Complete { tag: tag.into_text() }
            }
            Said::Empty => TapEvent::Complete { tag: String::new() },
            Said::Suspended => TapEvent::Suspended,
            Said::Ready(bytes) => {
                let status = match bytes.get() {
                    Some([b'T']) => Status::InTransaction,
                    Some([b'E']) => Status::Failed,
                    _ => Status::Idle,
                };
                TapEvent::Ready { status }
            }
            Said::Notice { .. } | Said::Other => return Ended::Nothing,
        })
    }
}

fn text(fields: &mut Fields, kind: u8) -> Option<String> {
    fields.take(kind).map(crate::frames::Clip::into_text)
}

fn error(mut fields: Fields) -> TapError {
    let fields = &mut fields;
    // The second is the first in the language of nobody; servers before 9.6 have the first alone.
    let localized = text(fields, b'S');
    TapError {
        severity: text(fields, b'V').or(localized).unwrap_or_default(),
        sqlstate: text(fields, b'C').unwrap_or_default(),
        message: text(fields, b'M').unwrap_or_default(),
        schema: text(fields, b's'),
        table: text(fields, b't'),
        column: text(fields, b'c'),
        constraint: text(fields, b'n'),
        position: text(fields, b'P').and_then(|position| position.parse().ok()),
    }
}
