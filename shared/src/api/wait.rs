//! Waiting: how long between two looks, how often to try again, and when to give up.

use std::time::{Duration, Instant};

use super::error::ApiError;
use crate::error::{Error, Kind};

/// A moment after which waiting ends in an error.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    at: Instant,
    allowed: Duration,
}

impl Deadline {
    /// The moment `allowed` from now.
    pub fn after(allowed: Duration) -> Self {
        Self { at: Instant::now() + allowed, allowed }
    }

    /// # Errors
    /// [`Kind::Unreachable`] once the moment has passed.
    fn check(self) -> Result<(), Error> {
        if Instant::now() < self.at {
            return Ok(());
        }
        let message = format!("the Lakebase API was not done within {} s", self.allowed.as_secs());
        Err(Error::new(Kind::Unreachable, message).hint("run the same command again: it goes on from there"))
    }
}

/// Pauses between two looks at an operation: short at first, a fifth longer each time, so that waiting
/// adds little to what the server takes and long work is not asked for too often.
pub struct Pause {
    next: Duration,
    until: Deadline,
}

impl Pause {
    /// Starts at 20 ms.
    pub fn new(until: Deadline) -> Self {
        Self { next: Duration::from_millis(20), until }
    }

    /// Waits once.
    ///
    /// # Errors
    /// [`Kind::Unreachable`] when the deadline has passed.
    pub async fn wait(&mut self) -> Result<(), Error> {
        self.until.check()?;
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 6 / 5).min(Duration::from_secs(2));
        Ok(())
    }
}

/// Tries again after a passing fault: up to three times, after 0.2, 0.8 and 3.2 s, or when the server says.
pub(super) struct Retries {
    left: u32,
    next: Duration,
}

impl Retries {
    pub(super) fn new() -> Self {
        Self { left: 3, next: Duration::from_millis(200) }
    }

    /// Waits before the next try, or gives the fault back when there is none left.
    pub(super) async fn wait(&mut self, fault: ApiError) -> Result<(), ApiError> {
        const LONGEST: u64 = 30;
        let asked = match &fault {
            // Nothing listens there: a program that is not running does not come back by waiting.
            ApiError::Transport { sent: false, .. } => return Err(fault),
            ApiError::Refused { retry_after: Some(seconds), .. } if *seconds > LONGEST => return Err(fault),
            ApiError::Refused { retry_after, .. } => retry_after.map(Duration::from_secs),
            _ => None,
        };
        if self.left == 0 {
            return Err(fault);
        }
        self.left -= 1;
        tokio::time::sleep(asked.unwrap_or(self.next)).await;
        self.next *= 4;
        Ok(())
    }
}
