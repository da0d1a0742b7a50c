//! Waiting awake for bytes that are about to come.
//!
//! Falling asleep and being woken takes longer than moving a message. So where the next bytes have been coming at once, the
//! thread asks the system for a moment whether they are there before it sleeps, and between two questions lets whoever wants
//! its processor go first: often those that are about to send. Where all processors are busy it then finds the bytes of many
//! sessions at one time, and nobody had to wake it.
//!
//! A gap is counted for the way that the bytes before it went, because a server's answer and a client's next question have
//! nothing to do with each other. After a long one there is no waiting awake until many short ones came: not for a server
//! that is far away, not for a client that thinks, and never while no bytes move.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// Longest time awake after bytes were moved. A gap that is shorter is a short one.
const WINDOW: Duration = Duration::from_micros(150);
/// A way's highest score. A short gap adds one, a long one takes two.
const BEST: u8 = 16;
/// A way's score from which on the next bytes are waited for awake.
const WORTH: u8 = 8;

/// Where bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To a server, whose answer comes next.
    Up,
    /// To a client, which may ask again.
    Down,
}

/// What is known of the bytes that a thread moves.
#[derive(Debug, Default)]
struct Traffic {
    /// When bytes were last moved, and where to.
    last: Option<(Instant, Way)>,
    /// How short the gaps after either way are.
    scores: [u8; 2],
}

impl Traffic {
    fn note(&mut self, now: Instant, way: Way) {
        if let Some((then, before)) = self.last.replace((now, way)) {
            let score = &mut self.scores[before as usize];
            let short = now.duration_since(then) < WINDOW;
            *score = if short { BEST.min(*score + 1) } else { score.saturating_sub(2) };
        }
    }

    /// Whether the next bytes are to be waited for awake.
    fn is_worth(&self, now: Instant) -> bool {
        self.last.is_some_and(|(then, way)| {
            self.scores[way as usize] >= WORTH && now.duration_since(then) < WINDOW
        })
    }
}

thread_local! {
    static TRAFFIC: RefCell<Traffic> = RefCell::default();
    /// Who waits awake, while there is nothing to wait for.
    static WATCH: Cell<Option<Waker>> = const { Cell::new(None) };
}

/// Says that bytes were moved on this thread.
pub fn moved(way: Way) {
    let now = Instant::now();
    let worth = TRAFFIC.with_borrow_mut(|traffic| {
        traffic.note(now, way);
        traffic.is_worth(now)
    });
    if worth && let Some(watch) = WATCH.take() {
        watch.wake();
    }
}

/// Keeps this thread's runtime, a current-thread one, awake when it is worth it. Never ends.
pub async fn watch() {
    loop {
        poll_fn(|cx| {
            if TRAFFIC.with_borrow(|traffic| traffic.is_worth(Instant::now())) {
                return Poll::Ready(());
            }
            WATCH.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
        std::thread::yield_now();
        // The runtime takes what has come, without waiting for it, before it is our turn again.
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Wake};

    const SHORT: Duration = Duration::from_micros(50);
    const LONG: Duration = Duration::from_millis(5);

    /// Questions and answers: `answer` passes before each answer, `question` before each question.
    fn talk(answer: Duration, question: Duration) -> (Traffic, Instant) {
        let (mut traffic, mut now) = (Traffic::default(), Instant::now());
        for _ in 0..100 {
            traffic.note(now, Way::Up);
            now += answer;
            traffic.note(now, Way::Down);
            now += question;
        }
        (traffic, now)
    }

    #[test]
    fn only_what_has_been_coming_at_once_is_waited_for() {
        // a server nearby, a client that thinks
        let (mut traffic, mut now) = talk(SHORT, LONG);
        traffic.note(now, Way::Up);
        assert!(traffic.is_worth(now + SHORT));
        now += SHORT;
        traffic.note(now, Way::Down);
        assert!(!traffic.is_worth(now));
        // a server far away, a client in a hurry
        let (mut traffic, mut now) = talk(LONG, SHORT);
        traffic.note(now, Way::Up);
        assert!(!traffic.is_worth(now));
        now += LONG;
        traffic.note(now, Way::Down);
        assert!(traffic.is_worth(now));
    }

    #[test]
    fn a_wait_ends_with_its_window_and_a_server_that_became_slow_is_not_waited_for() {
        // given a server that always answered at once
        let (mut traffic, mut now) = talk(SHORT, SHORT);
        traffic.note(now, Way::Up);
        assert!(traffic.is_worth(now));
        // when this answer takes its time, nobody waits awake for it
        assert!(!traffic.is_worth(now + WINDOW));
        // and after some more like it, not for the next ones either
        for _ in 0..BEST {
            now += LONG;
            traffic.note(now, Way::Down);
            now += SHORT;
            traffic.note(now, Way::Up);
        }
        assert!(!traffic.is_worth(now));
    }

    #[test]
    fn nobody_is_awake_where_nothing_moves() {
        struct Count(AtomicUsize);
        impl Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&count));
        let mut watch = std::pin::pin!(watch());
        assert!(watch.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        // a single message is no sign of more
        moved(Way::Up);
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
    }
}
