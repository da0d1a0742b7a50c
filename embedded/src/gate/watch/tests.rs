use proptest::prelude::*;

use super::*;

const CREATE: &[u8] = b"CREATE EVENT TRIGGER x ON sql_drop EXECUTE FUNCTION f()\0";

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    with_length(Some(kind), body)
}

fn watch() -> Watch {
    let mut watch = Watch::new(Box::new(|_| true));
    let greeting = [message(b'R', &[0; 4]), message(b'Z', b"I")].concat();
    assert_eq!(watch.down(&greeting), greeting);
    watch
}

/// What goes on of the client's bytes when they come in pieces of this length, up to where it is not read any more.
fn up(watch: &mut Watch, bytes: &[u8], piece: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in bytes.chunks(piece) {
        if watch.hears_client() {
            out.extend_from_slice(&watch.up(piece));
        } else {
            watch.talk.tail.extend_from_slice(piece);
        }
    }
    out
}

fn harmless() -> impl Strategy<Value = Vec<u8>> {
    let kinds = proptest::sample::select(b"QPBEDHSCFdcfX".to_vec());
    let texts = proptest::sample::select(vec!["SELECT 1", "", "  CREATE TABLE t ()", "-- x", "s", "DROP"]);
    (kinds, proptest::collection::vec(texts, 0..4))
        .prop_map(|(kind, texts)| message(kind, (texts.join("\0") + "\0").as_bytes()))
}

proptest! {
    #[test]
    fn whatever_is_not_wanted_passes_as_it_came(
        messages in proptest::collection::vec(harmless(), 0..10), piece in 1..50_usize,
    ) {
        let mut watch = watch();
        let bytes = messages.concat();
        let mut out = up(&mut watch, &bytes, piece);
        out.extend(watch.last_up());
        prop_assert_eq!(out, bytes);
        prop_assert!(watch.hears_client());
    }

    #[test]
    fn bytes_that_are_no_messages_pass_as_they_came(
        bytes in proptest::collection::vec(any::<u8>(), 0..200), piece in 1..50_usize,
    ) {
        let mut watch = watch();
        let mut out = up(&mut watch, &bytes, piece);
        out.extend(watch.last_up());
        prop_assert_eq!(out, bytes);
    }

    #[test]
    fn a_query_waits_for_its_turn_wherever_the_stream_is_cut(piece in 1..200_usize) {
        // given a query, one that is wanted, and another one, sent at once
        let mut watch = watch();
        let (first, last) = (message(b'Q', b"SELECT 1\0"), message(b'Q', b"SELECT 2\0"));
        let bytes = [&first[..], &message(b'Q', CREATE), &last].concat();
        // then only what stands before it passes, and it waits for the answer to that
        prop_assert_eq!(up(&mut watch, &bytes, piece), first);
        prop_assert!(!watch.pauses());
        let answer = [message(b'C', b"SELECT 1\0"), message(b'Z', b"I")].concat();
        prop_assert_eq!(watch.down(&answer).into_owned(), answer);
        prop_assert!(watch.pauses());
        let Stand::Ask(held) = watch.stand() else { panic!("it is not asked for") };
        watch.ask(held, "SELECT 'context'");
        // the answer to a question of ours is ours, but for what comes at any time
        let notification = message(b'A', b"\0\0\0\0x\0\0");
        let answer = [message(b'2', b""), message(b'D', b"row"), notification.clone(), message(b'Z', b"I")];
        let seen: Vec<u8> =
            answer.concat().chunks(piece).flat_map(|piece| watch.down(piece).into_owned()).collect();
        prop_assert_eq!(seen, notification);
        let Stand::Run(held, row) = watch.stand() else { panic!("it is not run") };
        prop_assert_eq!(row, b"row");
        let end = [message(b'C', b"CREATE EVENT TRIGGER\0"), message(b'Z', b"I")].concat();
        prop_assert_eq!(watch.end(&held, Ok(())), end);
        // and what came after it goes on
        prop_assert_eq!(watch.go_on(), last);
    }
}

/// A client that prepares, binds, and runs the statement, and what goes on of it.
fn executed(watch: &mut Watch) -> Vec<u8> {
    let bytes = [
        message(b'P', &[b"s\0", CREATE, &[0; 2]].concat()),
        message(b'B', b"\0s\0\0\0\0\0\0\0"),
        message(b'E', &[0; 5]),
        message(b'C', b"Ss\0"),
        message(b'S', b""),
    ];
    let out = up(watch, &bytes.concat(), 7);
    assert_eq!(out, [&bytes[0][..], &bytes[1], &SYNC].concat());
    out
}

#[test]
fn an_execution_is_replaced_by_a_sync_whose_answer_nobody_hears() {
    let mut watch = watch();
    executed(&mut watch);
    let answers = [message(b'1', b""), message(b'2', b"")].concat();
    assert_eq!(watch.down(&[&answers[..], &message(b'Z', b"I")].concat()), answers);
    assert!(matches!(watch.stand(), Stand::Ask(_)));
}

#[test]
fn after_an_error_the_rest_is_passed_over_up_to_the_clients_own_sync() {
    let mut watch = watch();
    executed(&mut watch);
    let error = message(b'E', b"SERROR\0\0");
    assert_eq!(watch.down(&[&error[..], &message(b'Z', b"I")].concat()), error);
    assert!(matches!(watch.stand(), Stand::PassOver));
    assert_eq!(watch.go_on(), SYNC);
}

#[test]
fn in_a_transaction_postgresql_gets_it_as_it_was() {
    let mut watch = watch();
    executed(&mut watch);
    watch.down(&message(b'Z', b"T"));
    let Stand::Leave(held) = watch.stand() else { panic!("it is taken") };
    assert_eq!(watch.leave(held), message(b'E', &[0; 5]));
    // and outside of one, where it is not ours after all, bound anew
    let mut watch = self::watch();
    executed(&mut watch);
    watch.down(&message(b'Z', b"I"));
    let Stand::Ask(held) = watch.stand() else { panic!("it is not asked for") };
    let bind = message(b'B', b"\0s\0\0\0\0\0\0\0");
    assert_eq!(watch.leave(held), [&bind[..], &message(b'E', &[0; 5])].concat());
    assert_eq!(watch.down(&message(b'2', b"")), b"".as_slice());
}

#[test]
fn a_server_that_waits_for_the_data_of_a_copy_is_not_waited_for() {
    let mut watch = watch();
    up(&mut watch, &[message(b'Q', b"COPY t FROM STDIN\0"), message(b'Q', CREATE)].concat(), 1000);
    assert!(!watch.pauses());
    watch.down(&message(b'G', &[0, 0, 0]));
    assert!(watch.pauses());
    assert!(matches!(watch.stand(), Stand::Leave(_)));
}
