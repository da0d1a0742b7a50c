//! Tokens: who is asked, who waits, and what a client hears when there is none.
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected ends there")]

mod common;

use std::process::Output;

use common::{Branch, Seat, TOKEN};

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn an_engine_hears_of_a_change_at_once_without_asking_all_the_time() {
    let branch = Branch::start();
    let seat = Seat::start(&branch);
    // given somebody who waits for the gateway to be healthy, and one who gave up
    let mut gone = seat.healthy_when_news();
    gone.kill().unwrap();
    gone.wait().unwrap();
    let waiting = seat.healthy_when_news();
    // when the token comes, then it is told
    let mut feed = seat.feed();
    feed.wanted();
    feed.token(TOKEN, 2);
    assert_eq!(waiting.wait_with_output().unwrap().status.code(), Some(0));
    // when it ends and no other comes, then the next to wait is told that
    let output = seat.healthy_when_news().wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).starts_with("the login has expired"), "{output:?}");
}

#[test]
fn clients_wait_for_the_first_token_and_all_go_on_when_it_comes() {
    let branch = Branch::start();
    let seat = Seat::start(&branch);
    // given no token yet: not healthy, and the feed is asked when it attaches
    let health = seat.healthy();
    assert_eq!(
        (health.status.code(), said(&health).as_str()),
        (Some(1), "nothing on the host hands over logins\n")
    );
    let waiting: Vec<_> = (0..5).map(|_| seat.psql("", "SELECT 1").spawn().unwrap()).collect();
    let mut feed = seat.feed();
    feed.wanted();
    assert_eq!(said(&seat.healthy()), "the first login has not come yet\n");
    // when the token comes
    feed.token(TOKEN, 3600);
    // then all of them are let in, and the feed was asked once
    for client in waiting {
        let output = client.wait_with_output().unwrap();
        assert_eq!(output.stdout, b"1\n", "{output:?}");
    }
    assert!(feed.silent());
    assert_eq!(seat.healthy().status.code(), Some(0));
    // the feed may go: the token stays
    assert_eq!(feed.end().code(), Some(0));
    assert_eq!(seat.query("", "SELECT 1"), "1");
}

#[test]
fn without_a_token_a_client_hears_what_to_run() {
    let branch = Branch::start();
    let seat = Seat::with(&branch, &[("LAKEBASE_TOKEN_WAIT", "1")]);
    let heard = seat.failure("");
    assert!(heard.contains("FATAL:  no login for the Lakebase branch could be had"), "{heard}");
    assert!(heard.contains("DETAIL:  nothing on the host hands over logins"), "{heard}");
    assert!(heard.contains("HINT:  run `docker compose lakebase up`"), "{heard}");
    // the host's own words reach the client that waits for them
    let seat = Seat::start(&branch);
    let mut feed = seat.feed();
    feed.wanted();
    let client = seat.psql("", "SELECT 1").spawn().unwrap();
    feed.say(r#"{"error":"the workspace said 403: ask for CAN USE"}"#);
    let output = client.wait_with_output().unwrap();
    assert!(said(&output).contains("DETAIL:  the workspace said 403: ask for CAN USE"), "{output:?}");
    assert_eq!(said(&seat.healthy()), "the workspace said 403: ask for CAN USE\n");
}

#[test]
fn a_token_is_replaced_ahead_of_its_end_and_not_used_after() {
    let branch = Branch::start();
    let seat = Seat::start(&branch);
    let mut feed = seat.feed();
    feed.wanted();
    // given a token of a few seconds, the next one is asked for before it ends
    feed.token(TOKEN, 4);
    assert_eq!(seat.query("", "SELECT 1"), "1");
    feed.wanted();
    branch.accept("token-2");
    feed.token("token-2", 4);
    assert_eq!(seat.query("", "SELECT 1"), "1");
    // one that has ended is not tried: the client waits for the next
    feed.wanted();
    common::wait("the token to end", || (!seat.healthy().status.success()).then_some(()));
    branch.accept("token-3");
    let client = seat.psql("", "SELECT 1").spawn().unwrap();
    feed.token("token-3", 3600);
    assert_eq!(client.wait_with_output().unwrap().stdout, b"1\n");
}

#[test]
fn a_token_that_the_branch_refuses_is_replaced_under_the_waiting_client() {
    let branch = Branch::start();
    let seat = Seat::start(&branch);
    let mut feed = seat.feed();
    feed.wanted();
    // given a token that ended on the server though not here
    feed.token(TOKEN, 3600);
    seat.ready();
    branch.accept("token-2");
    // when a client comes, then the feed is asked and the client sees nothing of it
    let client = seat.psql("", "SELECT 1").spawn().unwrap();
    feed.wanted();
    feed.token("token-2", 3600);
    assert_eq!(client.wait_with_output().unwrap().stdout, b"1\n");
    // refused again and again, it is the server's own error with a hint
    branch.accept("token-3");
    let client = seat.psql("", "SELECT 1").spawn().unwrap();
    for token in ["wrong-1", "wrong-2"] {
        feed.wanted();
        feed.token(token, 3600);
    }
    let output = client.wait_with_output().unwrap();
    let heard = said(&output);
    assert!(
        heard.contains(&format!("password authentication failed for user \"{}\"", common::IDENTITY)),
        "{heard}"
    );
    assert!(heard.contains("HINT:  run `docker compose lakebase up`"), "{heard}");
    let log = seat.log();
    assert!(!log.contains("token-") && !log.contains("wrong-"), "{log}");
}

#[test]
fn a_bad_line_is_answered_and_a_good_one_after_it_counts() {
    let branch = Branch::start();
    let seat = Seat::start(&branch);
    let mut feed = seat.feed();
    feed.wanted();
    for line in ["", "hello", "{}", r#"{"token":"secret-1","expires":"soon"}"#, r#"{"token":7}"#] {
        feed.say(line);
        let heard = feed.hear();
        assert!(heard.starts_with("{\"problem\":"), "{line}: {heard}");
        assert!(!heard.contains("secret-1"));
    }
    // a clock that is two hours off is said, and the token tried all the same
    feed.token(TOKEN, -7200);
    assert!(feed.hear().contains("one of the clocks is wrong"));
    assert_eq!(seat.query("", "SELECT 1"), "1");
    // a token may be another identity's
    branch.sql("CREATE ROLE bot LOGIN PASSWORD 'bot-token'");
    let expires = "2100-01-01T00:00:00Z";
    feed.say(&format!(r#"{{"token":"bot-token","expires":"{expires}","user":"bot"}}"#));
    common::wait("the bot", || (seat.query("", "SELECT current_user") == "bot").then_some(()));
    assert!(!seat.log().contains("secret-1"));
    // a line without an end is not read to its end
    feed.flood(200_000);
    feed.end();
    common::wait("the line to be refused", || seat.log().contains("a line is too long").then_some(()));
}

#[test]
fn the_last_feed_is_the_one_that_counts() {
    let branch = Branch::start();
    let seat = Seat::start(&branch);
    let mut first = seat.feed();
    first.wanted();
    let mut second = seat.feed();
    second.wanted();
    // the end of the first takes nothing from the second
    first.end();
    second.token(TOKEN, 3600);
    seat.ready();
    branch.accept("token-2");
    let client = seat.psql("", "SELECT 1").spawn().unwrap();
    second.wanted();
    second.token("token-2", 3600);
    assert_eq!(client.wait_with_output().unwrap().stdout, b"1\n");
}

#[test]
fn last_words_reach_every_client_and_outlive_the_feed() {
    // Given a branch that is gone while its login is still good.
    let mut branch = Branch::start();
    let (seat, mut feed) = Seat::fed(&branch);
    feed.wanted();
    branch.stop();
    // When a client comes, then the host is asked what became of it, and its words end the waiting.
    let client = seat.psql("", "SELECT 1").spawn().unwrap();
    feed.wanted();
    feed.say(r#"{"error":"the branch `dev-ada` does not exist any more; run `docker compose lakebase up`","final":true}"#);
    let output = client.wait_with_output().unwrap();
    let words = "FATAL:  the branch `dev-ada` does not exist any more; run `docker compose lakebase up`\n";
    assert!(said(&output).ends_with(words), "{output:?}");
    // And the feed is ended, its words stay, and nobody is asked.
    assert_eq!(feed.ended().code(), Some(0));
    assert!(seat.failure("").ends_with(words));
    assert!(said(&seat.healthy()).starts_with("the branch `dev-ada` does not exist any more"));
    // When the branch is made anew and another feed comes, then its clients are let in.
    branch.run();
    let mut feed = seat.feed();
    feed.wanted();
    feed.token(TOKEN, 3600);
    seat.ready();
    assert_eq!(seat.query("", "SELECT 1"), "1");
}

#[test]
fn a_host_that_asks_whether_anybody_is_there_is_answered() {
    let branch = Branch::start();
    let seat = Seat::start(&branch);
    let mut feed = seat.feed();
    feed.wanted();
    feed.say(r#"{"ping":true}"#);
    assert_eq!(feed.hear(), "{\"pong\":true}");
    assert_eq!(seat.log().matches("feed").count(), 0);
}

#[test]
fn the_token_is_in_no_file_no_environment_and_no_command_line() {
    let branch = Branch::start();
    let (seat, mut feed) = Seat::fed(&branch);
    feed.say(r#"{"token":"needle-in-a-haystack","expires":"2100-01-01T00:00:00Z"}"#);
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        for file in ["cmdline", "environ"] {
            let bytes = std::fs::read(process.path().join(file)).unwrap_or_default();
            assert!(!bytes.windows(20).any(|bytes| bytes == b"needle-in-a-haystack"), "{:?}", process.path());
        }
    }
    assert!(!seat.log().contains("needle"));
    // and the socket it came by is its owner's alone
    assert_eq!(seat.control_mode() & 0o777, 0o600);
}
