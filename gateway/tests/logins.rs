//! Who gets in at the seat, how, and what the branch makes of it.
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected ends there")]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;

use common::{Branch, IDENTITY, PASSWORD, Seat};
use tokio_postgres::NoTls;

#[test]
fn the_local_login_opens_a_session_of_the_branchs_identity() {
    let branch = Branch::start();
    let (seat, _feed) = Seat::fed(&branch);
    let who = "SELECT current_user || ' ' || current_database()";
    let expected = format!("{IDENTITY} branchdb");
    // in the clear, over TLS that was asked for, bound to the certificate or not
    for more in
        ["sslmode=disable", "sslmode=require", "sslmode=prefer", "sslmode=require channel_binding=disable"]
    {
        assert_eq!(seat.query(more, who), expected, "{more}");
    }
    assert_eq!(seat.query("sslmode=require channel_binding=require", who), expected);
    // every other database is the branch's of that name
    assert_eq!(seat.query("dbname=postgres", "SELECT current_database()"), "postgres");
    assert!(seat.failure("dbname=nowhere").contains("database \"nowhere\" does not exist"));
    // start-up parameters and options pass
    assert_eq!(
        seat.query(
            "application_name=probe options='-c work_mem=7MB'",
            "SELECT current_setting('application_name') || current_setting('work_mem')"
        ),
        "probe7MB"
    );
    // IPv6 is another door to the same house
    assert_eq!(seat.query("host=::1", who), expected);
}

#[test]
fn a_wrong_login_gets_postgresqls_words_and_a_hint() {
    let branch = Branch::start();
    let (seat, _feed) = Seat::fed(&branch);
    for more in [
        "password=wrong",
        "password=token-1",
        "user=shop2",
        "user=ada@example.org password=token-1",
        "user=boss",
    ] {
        for ssl in ["disable", "require"] {
            let said = seat.failure(&format!("{more} sslmode={ssl}"));
            let user = more.strip_prefix("user=").map_or("shop", |rest| rest.split(' ').next().unwrap());
            assert!(
                said.contains(&format!("FATAL:  password authentication failed for user \"{user}\"")),
                "{said}"
            );
            assert!(
                said.contains(
                    "HINT:  what counts here is the local service's POSTGRES_USER and POSTGRES_PASSWORD"
                ),
                "{said}"
            );
        }
    }
    assert!(seat.failure("replication=database").contains("replication connections are not supported"));
    // nothing secret was logged
    let log = seat.log();
    assert!(
        log.contains("password authentication failed")
            && !log.contains(common::TOKEN)
            && !log.contains(PASSWORD),
        "{log}"
    );
}

#[test]
fn a_password_may_hold_any_character() {
    let branch = Branch::start();
    // composed, decomposed, a ligature that SASLprep takes apart, one that it leaves alone, a character that it prohibits
    for password in ["pässwörd 密码 🐘", "pa\u{308}ss", "ﬁsh\u{a0}net", "a\u{7}b", "\\'\"=$"] {
        let seat = Seat::with(&branch, &[("POSTGRES_PASSWORD", password)]);
        let mut feed = seat.feed();
        feed.token(common::TOKEN, 3600);
        seat.ready();
        let output = seat.psql("", "SELECT 1").env("PGPASSWORD", password).output().unwrap();
        assert!(output.status.success(), "{password}: {output:?}");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut target = seat.target();
            let (client, connection) = target.password(password).connect(NoTls).await.unwrap();
            tokio::spawn(connection);
            client.simple_query("SELECT 1").await.unwrap();
        });
        let mut wrong = seat.psql("", "SELECT 1");
        assert!(!wrong.env("PGPASSWORD", format!("{password}x")).output().unwrap().status.success());
    }
}

#[test]
fn trust_asks_for_no_password_and_knows_one_user() {
    let branch = Branch::start();
    let seat = Seat::with(&branch, &[("POSTGRES_HOST_AUTH_METHOD", "trust"), ("POSTGRES_PASSWORD", "")]);
    let mut feed = seat.feed();
    feed.token(common::TOKEN, 3600);
    let mut psql = seat.psql("", "SELECT current_user");
    assert_eq!(psql.env_remove("PGPASSWORD").output().unwrap().stdout, format!("{IDENTITY}\n").as_bytes());
    assert!(seat.failure("user=other").contains("role \"other\" does not exist"));
}

#[test]
fn sessions_start_as_the_role_and_the_clients_options_stay() {
    let branch = Branch::start();
    let role = "the team\\s -c work_mem=1MB";
    branch.sql(&format!("CREATE ROLE \"{role}\""));
    branch.sql(&format!("GRANT \"{role}\" TO \"{IDENTITY}\""));
    let seat = Seat::with(&branch, &[("LAKEBASE_ROLE", role)]);
    let mut feed = seat.feed();
    feed.token(common::TOKEN, 3600);
    assert_eq!(
        seat.query(
            "options='-c work_mem=7MB'",
            "SELECT current_user || '|' || session_user || '|' || current_setting('work_mem')"
        ),
        format!("{role}|{IDENTITY}|7MB")
    );
    assert_eq!(seat.query("", "SELECT current_user"), role);
}

/// What a client without a password, which starts with these parameters, is answered to this question.
fn raw_answer(seat: &Seat, parameters: &[(&str, &str)], sql: &str) -> String {
    let mut startup = vec![0, 3, 0, 0];
    for (name, value) in [("user", "shop")].iter().chain(parameters) {
        startup.extend([name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
    }
    startup.push(0);
    let length = |bytes: &[u8]| u32::try_from(bytes.len() + 4).unwrap().to_be_bytes();
    let query = [sql.as_bytes(), b"\0"].concat();
    let mut stream = TcpStream::connect(("127.0.0.1", seat.port)).unwrap();
    stream
        .write_all(&[&length(&startup)[..], &startup, b"Q", &length(&query), &query, b"X\0\0\0\x04"].concat())
        .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn nothing_that_a_client_starts_with_is_stronger_than_the_role() {
    // Given a role, and another that the identity is a member of as well.
    let branch = Branch::start();
    for role in ["the team", "others"] {
        branch.sql(&format!("CREATE ROLE \"{role}\""));
        branch.sql(&format!("GRANT \"{role}\" TO \"{IDENTITY}\""));
    }
    let trust = [("POSTGRES_HOST_AUTH_METHOD", "trust"), ("LAKEBASE_ROLE", "the team")];
    let seat = Seat::with(&branch, &trust);
    let mut feed = seat.feed();
    feed.token(common::TOKEN, 3600);
    // When a client names the other in every way there is, or ends its options with a backslash.
    for parameters in [
        vec![],
        vec![("options", "-c role=others")],
        vec![("options", "--role=others")],
        vec![("role", "others")],
        vec![("ROLE", "others"), ("options", "-c ROLE=others")],
        vec![("role", "none")],
        vec![("options", r"-c work_mem=7MB\")],
        vec![("options", r"-c role=others\")],
        vec![("options", r"-c application_name=a\\")],
        vec![("options", r"-c application_name=a\\\")],
        vec![("options", r"\")],
    ] {
        // Then the session is the role's, and the rest of its options holds.
        let sql = "SELECT '<' || current_user || '|' || current_setting('work_mem') || '|' || current_setting('application_name') || '>'";
        let said = raw_answer(&seat, &parameters, sql);
        let options = parameters.iter().map(|(_, value)| *value).collect::<String>();
        let memory = if options.contains("work_mem") { "7MB" } else { "4MB" };
        let name = if options.contains("application_name") { r"a\" } else { "" };
        assert!(said.contains(&format!("<the team|{memory}|{name}>")), "{parameters:?}: {said:?}");
    }
}

#[test]
fn another_certificate_than_the_branchs_is_not_trusted() {
    let branch = Branch::start();
    for more in [[("LAKEBASE_CA", "")], [("LAKEBASE_CA", &Branch::start().certificate)]] {
        let seat = Seat::with(&branch, &more);
        let mut feed = seat.feed();
        feed.token(common::TOKEN, 3600);
        let said = seat.failure("");
        assert!(said.contains("the database's certificate can't be verified"), "{said}");
    }
    // nor is the right one under another name
    let upstream = format!("127.0.0.2:{}", branch.port);
    let seat = Seat::with(&branch, &[("LAKEBASE_UPSTREAM", &upstream)]);
    let mut feed = seat.feed();
    feed.token(common::TOKEN, 3600);
    let said = seat.failure("");
    assert!(said.contains("the database's certificate can't be verified"), "{said}");
    assert!(said.contains("is not the Lakebase branch"), "{said}");
}

#[test]
fn hostile_bytes_are_answered_or_dropped_and_the_door_stays_open() {
    let branch = Branch::start();
    let (seat, _feed) = Seat::fed(&branch);
    let startup: &[u8] = &[0, 0, 0, 19, 0, 3, 0, 0, b'u', b's', b'e', b'r', 0, b's', b'h', b'o', b'p', 0, 0];
    let then = |rest: &[u8]| [startup, rest].concat();
    let packets = [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0xff; 64],
        vec![0, 0, 0, 4],
        vec![0, 0, 0, 8, 4, 210, 22, 47, 0x16, 0x03],
        then(b"p\xff\xff\xff\xff"),
        then(b"p\0\0\0\x08abc\0"),
        then(b"p\0\0\0\x1aSCRAM-SHA-256\0\0\0\0\x03n,,"),
        then(b"Q\0\0\0\x0eSELECT 1;\0"),
    ];
    for packet in packets {
        let mut stream = TcpStream::connect(("127.0.0.1", seat.port)).unwrap();
        stream.write_all(&packet).unwrap();
        let _ = stream.shutdown(std::net::Shutdown::Write);
        // An answer or a hang-up, and in time.
        stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        let mut answer = Vec::new();
        if let Err(error) = stream.read_to_end(&mut answer) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{packet:?}");
        }
    }
    assert_eq!(seat.query("", "SELECT 1"), "1");
}
