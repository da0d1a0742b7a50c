//! Tokens without a gateway around them, on a clock that the test moves.

use super::*;
use std::sync::Arc;

const PATIENCE: Duration = Duration::from_secs(20);

fn credential(token: &str) -> Credential {
    Credential { token: Secret::new(token), user: None }
}

fn in_seconds(seconds: i64) -> Timestamp {
    Timestamp::now().saturating_add(SignedDuration::from_secs(seconds)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn however_many_wait_the_feed_is_asked_once_and_all_go_on() {
    // given a feed and fifty clients that wait
    let tokens = Arc::new(Tokens::default());
    let (wants, mut asked) = mpsc::unbounded_channel();
    tokens.attach(wants);
    let waiting: Vec<_> = (0..50)
        .map(|_| {
            let tokens = Arc::clone(&tokens);
            tokio::spawn(async move { tokens.get(PATIENCE).await })
        })
        .collect();
    asked.recv().await.unwrap();
    tokio::task::yield_now().await;
    // when the token comes
    tokens.offer(credential("one"), in_seconds(3600));
    // then each has it, and nobody asked again
    for client in waiting {
        assert_eq!(client.await.unwrap().unwrap(), credential("one"));
    }
    assert!(asked.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_failure_reaches_those_who_wait_and_the_next_client_asks_again() {
    let tokens = Arc::new(Tokens::default());
    let (wants, mut asked) = mpsc::unbounded_channel();
    tokens.attach(wants);
    let client = tokio::spawn({
        let tokens = Arc::clone(&tokens);
        async move { tokens.get(PATIENCE).await }
    });
    asked.recv().await.unwrap();
    tokio::task::yield_now().await;
    tokens.fail("the workspace is away".into());
    assert_eq!(client.await.unwrap(), Err(NoToken("the workspace is away".into())));
    // one that comes right after gets the same words, one that comes later a new try
    assert_eq!(tokens.get(PATIENCE).await, Err(NoToken("the workspace is away".into())));
    tokio::time::advance(FAILURE_STANDS).await;
    let client = tokio::spawn({
        let tokens = Arc::clone(&tokens);
        async move { tokens.get(PATIENCE).await }
    });
    asked.recv().await.unwrap();
    tokens.offer(credential("two"), in_seconds(60));
    assert_eq!(client.await.unwrap().unwrap(), credential("two"));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_the_deadline() {
    let tokens = Tokens::default();
    let began = Instant::now();
    let NoToken(words) = tokens.get(PATIENCE).await.unwrap_err();
    assert_eq!(words, "nothing on the host hands over logins");
    assert_eq!(began.elapsed(), PATIENCE);
    // a feed that is silent
    let (wants, _asked) = mpsc::unbounded_channel();
    tokens.attach(wants);
    let NoToken(words) = tokens.get(PATIENCE).await.unwrap_err();
    assert_eq!(words, "the host did not answer within 20 s");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_came_before_the_feed_is_served_when_one_attaches() {
    let tokens = Arc::new(Tokens::default());
    let client = tokio::spawn({
        let tokens = Arc::clone(&tokens);
        async move { tokens.get(PATIENCE).await }
    });
    tokio::task::yield_now().await;
    let (wants, mut asked) = mpsc::unbounded_channel();
    tokens.attach(wants);
    asked.recv().await.unwrap();
    tokens.offer(credential("late"), in_seconds(60));
    assert_eq!(client.await.unwrap().unwrap(), credential("late"));
}

#[test]
fn a_token_is_given_up_a_little_before_its_end_and_replaced_before_that() {
    let now = Timestamp::now();
    let after = |seconds| now.saturating_add(SignedDuration::from_secs(seconds)).unwrap();
    for (life, replace, stale) in [(3600, 3300, 3570), (10, 6, 8), (300, 180, 270)] {
        let tokens = Tokens::default();
        assert_eq!(tokens.offer_at(credential("x"), after(life), now), Freshness::Fresh);
        let state = tokens.lock();
        assert_eq!(state.held.as_ref().unwrap().replace, Some(after(replace)));
        assert!(state.usable(after(stale - 1)).is_some() && state.usable(after(stale)).is_none(), "{life}");
    }
}

#[test]
fn a_token_that_ended_before_it_came_is_tried_for_a_moment() {
    let tokens = Tokens::default();
    assert_eq!(tokens.offer(credential("x"), in_seconds(-7200)), Freshness::Ended);
    let state = tokens.lock();
    assert!(state.usable(Timestamp::now()).is_some() && state.usable(in_seconds(31)).is_none());
}

#[tokio::test]
async fn a_refused_token_is_not_given_again_and_a_newer_one_is_not_refused_with_it() {
    let tokens = Tokens::default();
    tokens.offer(credential("old"), in_seconds(3600));
    tokens.refuse(&Secret::new("old"));
    assert_eq!(tokens.health(), Err(NoToken("the branch refused the login".into())));
    tokens.offer(credential("new"), in_seconds(3600));
    tokens.refuse(&Secret::new("old"));
    assert_eq!(tokens.get(PATIENCE).await.unwrap(), credential("new"));
}

#[tokio::test]
async fn the_last_feed_is_asked_and_one_that_ended_before_is_forgotten() {
    let tokens = Tokens::default();
    let (first, mut first_asked) = mpsc::unbounded_channel();
    let (second, mut second_asked) = mpsc::unbounded_channel();
    let id = tokens.attach(first);
    assert!(first_asked.try_recv().is_ok());
    tokens.attach(second);
    // the second takes over what the first had not answered, and stays when the first ends
    assert!(second_asked.try_recv().is_ok());
    tokens.detach(id);
    assert!(!tokens.lock().feeds.is_empty());
    assert!(first_asked.try_recv().is_err());
}

#[tokio::test]
async fn a_feed_that_comes_and_goes_leaves_the_one_before_it_in_its_place() {
    // given a feed, and a visitor that takes its turn and ends without a token
    let tokens = Tokens::default();
    let (stays, mut asked) = mpsc::unbounded_channel();
    let (goes, mut visitor_asked) = mpsc::unbounded_channel();
    tokens.attach(stays);
    assert!(asked.try_recv().is_ok());
    let visitor = tokens.attach(goes);
    assert!(visitor_asked.try_recv().is_ok());
    // when the visitor goes, then the feed is asked again, and what it hands over is taken
    tokens.detach(visitor);
    assert!(asked.try_recv().is_ok());
    tokens.offer(credential("x"), in_seconds(3600));
    assert_eq!(tokens.get(PATIENCE).await.unwrap(), credential("x"));
}

#[tokio::test(start_paused = true)]
async fn last_words_end_the_waiting_and_stand_until_another_feed_comes() {
    let tokens = Arc::new(Tokens::default());
    let (wants, mut asked) = mpsc::unbounded_channel();
    let id = tokens.attach(wants);
    tokens.offer(credential("old"), in_seconds(3600));
    tokens.refuse(&Secret::new("old"));
    let client = tokio::spawn({
        let tokens = Arc::clone(&tokens);
        async move { tokens.get(PATIENCE).await }
    });
    for _ in 0..2 {
        asked.recv().await.unwrap();
    }
    // given a feed in the place of another, when that one has a last word, then it is not heard
    tokens.close(id + 1, "not mine".into());
    assert_eq!(tokens.closed(), None);
    // when the feed itself has one, then it is the answer to all, and is not asked for more
    let gone = Err(NoToken("the branch is gone".into()));
    tokens.close(id, "the branch is gone".into());
    assert_eq!(client.await.unwrap(), gone);
    tokens.detach(id);
    tokio::time::advance(PATIENCE * 100).await;
    assert_eq!(tokens.get(PATIENCE).await, gone);
    tokens.doubt();
    assert!(asked.try_recv().is_err());
    assert_eq!(tokens.health(), Err(NoToken("the branch is gone".into())));
    // when another comes, then it is asked
    let (wants, mut asked) = mpsc::unbounded_channel();
    tokens.attach(wants);
    asked.recv().await.unwrap();
    tokens.offer(credential("new"), in_seconds(3600));
    assert_eq!(tokens.get(PATIENCE).await.unwrap(), credential("new"));
}

#[tokio::test(start_paused = true)]
async fn doubt_asks_though_a_token_is_held_but_not_for_every_client() {
    let tokens = Tokens::default();
    let (wants, mut asked) = mpsc::unbounded_channel();
    tokens.attach(wants);
    asked.recv().await.unwrap();
    tokens.offer(credential("x"), in_seconds(3600));
    for _ in 0..2 {
        for _ in 0..100 {
            tokens.doubt();
        }
        asked.recv().await.unwrap();
        assert!(asked.try_recv().is_err());
        tokens.offer(credential("x"), in_seconds(3600));
        tokio::time::advance(ASK_AGAIN).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_fails_is_asked_ever_more_rarely_and_by_a_client_at_once() {
    let tokens = Arc::new(Tokens::default());
    let (wants, mut asked) = mpsc::unbounded_channel();
    tokens.attach(wants);
    tokio::spawn({
        let tokens = Arc::clone(&tokens);
        async move { tokens.keep_fresh().await }
    });
    asked.recv().await.unwrap();
    let mut pauses = Vec::new();
    for _ in 0..9 {
        tokens.fail("away".into());
        let began = Instant::now();
        asked.recv().await.unwrap();
        pauses.push(began.elapsed().as_secs() / 10 * 10);
    }
    assert_eq!(pauses, [10, 20, 40, 80, 160, 300, 300, 300, 300]);
    // when a client comes, then it waits for no such pause
    tokens.fail("away".into());
    tokio::time::advance(FAILURE_STANDS).await;
    let began = Instant::now();
    let client = tokio::spawn({
        let tokens = Arc::clone(&tokens);
        async move { tokens.get(PATIENCE).await }
    });
    asked.recv().await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
    tokens.offer(credential("back"), in_seconds(3600));
    assert_eq!(client.await.unwrap().unwrap(), credential("back"));
}
