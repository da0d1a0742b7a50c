use std::sync::Mutex;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::*;
use crate::proxy::Sight;

/// Keeps what it hears.
#[derive(Default)]
struct Ear(Mutex<Vec<TapEvent>>);

impl Tap for Ear {
    fn event(&self, _: SessionId, _: Instant, event: TapEvent) {
        self.0.lock().unwrap().push(event);
    }
}

impl Ear {
    fn heard(&self) -> Vec<TapEvent> {
        self.0.lock().unwrap().clone()
    }
}

fn tapping() -> (Arc<Ear>, Tapping) {
    let ear = Arc::new(Ear::default());
    let tapping = Tapping::new(Arc::clone(&ear) as Arc<dyn Tap>, "LB");
    (ear, tapping)
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    crate::message::with_length(Some(kind), body)
}

fn fields(fields: &[(u8, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (kind, text) in fields {
        body.push(*kind);
        body.extend_from_slice(text.as_bytes());
        body.push(0);
    }
    body.push(0);
    body
}

fn notice(code: &str, text: &str) -> Vec<u8> {
    message(b'N', &fields(&[(b'S', "INFO"), (b'V', "INFO"), (b'C', code), (b'M', text)]))
}

/// What comes out of one direction when its bytes come in pieces of these lengths, over and over; and what was heard.
fn pass(stream: &[u8], pieces: &[usize], up: bool) -> (Vec<u8>, Vec<TapEvent>) {
    let (ear, tapping) = tapping();
    let mut wire = Wire::new(&tapping, "ada", "shop");
    let mut out = Vec::new();
    let mut rest = stream;
    for length in pieces.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at((*length).clamp(1, rest.len()));
        out.extend_from_slice(&if up { wire.up(piece) } else { wire.down(piece) });
        rest = after;
    }
    out.extend(if up { wire.last_up() } else { wire.last_down() });
    drop(wire);
    (out, ear.heard())
}

/// A message of the server, and whether it is a sensor's.
fn of_server() -> impl Strategy<Value = (Vec<u8>, bool)> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..60);
    prop_oneof![
        bytes().prop_map(|body| (message(b'D', &body), false)),
        bytes().prop_map(|body| (message(b'd', &body), false)),
        bytes().prop_map(|body| (message(b'E', &body), false)),
        ("[A-Z ]{0,9}", 0..9_u8).prop_map(|(tag, more)| {
            (message(b'C', format!("{tag}\0{}", "x".repeat(more.into())).as_bytes()), false)
        }),
        "[^\0]{0,30}".prop_map(|text| (notice("LB001", &text), true)),
        "[^\0]{0,30}".prop_map(|text| (notice("01000", &text), false)),
        // One whose code comes too late to wait for.
        "[^\0]{4096,4100}"
            .prop_map(|text| (message(b'N', &fields(&[(b'M', &text), (b'C', "LB001")])), false)),
        proptest::sample::select(b"ITEx".to_vec()).prop_map(|status| (message(b'Z', &[status]), false)),
        Just((message(b's', &[]), false)),
        Just((message(b'I', &[]), false)),
        Just((message(b'K', &[0, 0, 1, 2, 9, 9, 9, 9]), false)),
    ]
}

fn of_client() -> impl Strategy<Value = Vec<u8>> {
    let kinds = proptest::sample::select(b"QPBEFSDCHdcfX".to_vec());
    let body = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..60),
        proptest::collection::vec("[^\0]{0,20}", 0..4)
            .prop_map(|texts| (texts.join("\0") + "\0").into_bytes()),
    ];
    (kinds, body).prop_map(|(kind, body)| message(kind, &body))
}

proptest! {
    #[test]
    fn where_the_servers_stream_is_cut_changes_nothing(
        messages in proptest::collection::vec(of_server(), 0..12),
        pieces in proptest::collection::vec(1..40_usize, 1..8),
    ) {
        let stream: Vec<u8> = messages.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
        let kept: Vec<u8> =
            messages.iter().filter(|(_, sensor)| !sensor).flat_map(|(bytes, _)| bytes.clone()).collect();
        let (whole, heard) = pass(&stream, &[usize::MAX], false);
        prop_assert_eq!(&whole, &kept);
        let sensors = heard.iter().filter(|event| matches!(event, TapEvent::Sensor { .. })).count();
        prop_assert_eq!(sensors, messages.iter().filter(|(_, sensor)| *sensor).count());
        prop_assert_eq!(pass(&stream, &pieces, false), (kept, heard.clone()));
        prop_assert_eq!(pass(&stream, &[1], false).1, heard);
    }

    #[test]
    fn where_the_clients_stream_is_cut_changes_nothing(
        messages in proptest::collection::vec(of_client(), 0..12),
        pieces in proptest::collection::vec(1..40_usize, 1..8),
    ) {
        let stream = messages.concat();
        let (whole, heard) = pass(&stream, &[usize::MAX], true);
        prop_assert_eq!(&whole, &stream);
        prop_assert_eq!(pass(&stream, &pieces, true), (stream, heard));
    }

    #[test]
    fn what_is_no_message_passes_as_it_came(
        bytes in proptest::collection::vec(any::<u8>(), 0..300), piece in 1..50_usize, up in any::<bool>(),
    ) {
        prop_assert_eq!(pass(&bytes, &[piece], up).0, bytes);
    }
}

#[test]
fn both_protocols_are_told() {
    let up = [
        message(b'Q', b"SELECT 1\0"),
        message(b'P', b"s1\0UPDATE t SET a = $1\0\0\0"),
        message(b'B', b"p1\0s1\0\0\0\0\x01\0\0\0\x01x\0\0"),
        message(b'E', b"p1\0\0\0\0\0"),
        message(b'F', &[0, 0, 5, 57, 0, 0, 0, 0, 0, 0]),
        message(b'S', &[]),
        message(b'd', b"row of a copy"),
    ]
    .concat();
    let (out, heard) = pass(&up, &[usize::MAX], true);
    assert_eq!(out, up);
    assert_eq!(
        heard,
        [
            TapEvent::Opened { user: "ada".into(), database: "shop".into(), pid: None },
            TapEvent::Query { text: "SELECT 1".into(), cut: false },
            TapEvent::Parse { statement: "s1".into(), text: "UPDATE t SET a = $1".into(), cut: false },
            TapEvent::Bind { portal: "p1".into(), statement: "s1".into() },
            TapEvent::Execute { portal: "p1".into() },
            TapEvent::FunctionCall { function: 1337 },
            TapEvent::Sync,
            TapEvent::Closed,
        ]
    );
}

#[test]
fn an_error_is_told_without_what_holds_rows() {
    // given an answer of the server with a sensor's notice and an error in it
    let error = fields(&[
        (b'S', "FEHLER"),
        (b'V', "ERROR"),
        (b'C', "23514"),
        (b'M', "check constraint is violated"),
        (b'D', "Failing row contains (secret)."),
        (b'H', "secret"),
        (b'W', "secret"),
        (b'P', "17"),
        (b's', "public"),
        (b't', "orders"),
        (b'n', "orders_check"),
    ]);
    let key = message(b'K', &[0, 0, 0, 42, 1, 2, 3, 4]);
    let idle = message(b'Z', b"I");
    let error = message(b'E', &error);
    let failed = message(b'Z', b"E");
    let down = [&key[..], &idle, &notice("LB007", "{\"locks\":[]}"), &error, &failed].concat();
    // when it passes, then the client gets all but the notice, and the tap all but the row
    let (out, heard) = pass(&down, &[usize::MAX], false);
    assert_eq!(out, [&key[..], &idle, &error, &failed].concat());
    assert!(!format!("{heard:?}").contains("secret"));
    let told = TapError {
        severity: "ERROR".into(),
        sqlstate: "23514".into(),
        message: "check constraint is violated".into(),
        schema: Some("public".into()),
        table: Some("orders".into()),
        column: None,
        constraint: Some("orders_check".into()),
        position: Some(17),
    };
    assert_eq!(
        heard,
        [
            TapEvent::Opened { user: "ada".into(), database: "shop".into(), pid: Some(42) },
            TapEvent::Ready { status: Status::Idle },
            TapEvent::Sensor { sqlstate: "LB007".into(), message: "{\"locks\":[]}".into() },
            TapEvent::Error(told),
            TapEvent::Ready { status: Status::Failed },
            TapEvent::Closed,
        ]
    );
}

#[test]
fn a_long_statement_passes_whole_and_is_told_cut_between_two_characters() {
    let text = format!("x{}", "ä".repeat(MAX_TEXT));
    let up = message(b'Q', format!("{text}\0").as_bytes());
    let (out, heard) = pass(&up, &[65_536], true);
    assert!(out == up);
    let Some(TapEvent::Query { text: told, cut: true }) = heard.get(1) else { panic!("{}", heard.len()) };
    assert!(told.len() >= MAX_TEXT - 1 && told.len() <= MAX_TEXT && text.starts_with(told));
}

#[test]
fn without_a_prefix_every_notice_is_the_clients() {
    let (ear, mut tapping) = tapping();
    tapping.sensor.clear();
    let mut wire = Wire::new(&tapping, "ada", "shop");
    let down = notice("LB001", "x");
    assert_eq!(wire.down(&down), down);
    drop(wire);
    assert_eq!(ear.heard().len(), 2);
}

#[test]
fn a_line_reads_back() {
    let event = TapEvent::Parse { statement: "s".into(), text: "SELECT 'ü'".into(), cut: false };
    let text = serde_json::to_string(&event).unwrap();
    assert_eq!(text, r#"{"event":"parse","statement":"s","text":"SELECT 'ü'"}"#);
    assert_eq!(serde_json::from_str::<TapEvent>(&text).unwrap(), event);
}

#[tokio::test]
async fn a_session_that_is_dropped_is_told_closed_and_keeps_nothing_back() {
    // given a tapped session whose server sends the beginning of a notice and hangs up
    let (ear, tapping) = tapping();
    let (mut client, client_side) = duplex(64);
    let (mut server, server_side) = duplex(64);
    let joined = tokio::spawn(async move { join(client_side, server_side, &tapping, "ada", "shop").await });
    server.write_all(&notice("LB001", "x")[..9]).await.unwrap();
    drop(server);
    // then the client gets what there was, and the last event is the end
    let mut out = Vec::new();
    client.read_to_end(&mut out).await.unwrap();
    assert_eq!(out, notice("LB001", "x")[..9]);
    joined.await.unwrap().unwrap();
    assert_eq!(ear.heard().last(), Some(&TapEvent::Closed));
}
