//! What is too much.

use clap::Args;
use serde::Serialize;

/// The stall that most of the field takes for too long, in milliseconds: its recommended `lock_timeout`.
pub const STALL: f64 = 2_000.0;
/// The longest migration, in milliseconds.
pub const DURATION: f64 = 300_000.0;

/// Limits as flags; they win over the configuration.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitArgs {
    /// Longest time that readers, writers or an update of one row may wait, such as 2s or 500ms
    #[arg(long, value_name = "DURATION", value_parser = milliseconds)]
    max_stall: Option<f64>,
    /// Longest time that the migration may take
    #[arg(long, value_name = "DURATION", value_parser = milliseconds)]
    max_duration: Option<f64>,
    /// Most write-ahead log that it may write, such as 1GB
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    max_wal: Option<i64>,
    /// Longest time that later readers may queue behind a migration which waits for one slow query itself
    #[arg(long, value_name = "DURATION", value_parser = milliseconds)]
    max_queue: Option<f64>,
}

/// Limits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Limits {
    /// Of a stall, in milliseconds.
    pub stall: f64,
    /// Of the whole, in milliseconds.
    pub duration: f64,
    /// Of write-ahead log, in bytes; none unless somebody sets it.
    pub wal: Option<i64>,
    /// Of the queue behind a waiting migration, in milliseconds; a warning alone unless somebody sets it.
    pub queue: Option<f64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { stall: STALL, duration: DURATION, wal: None, queue: None }
    }
}

impl Limits {
    /// The limits of a call.
    pub fn of(args: &LimitArgs) -> Self {
        let default = Self::default();
        Self {
            stall: args.max_stall.unwrap_or(default.stall),
            duration: args.max_duration.unwrap_or(default.duration),
            wal: args.max_wal,
            queue: args.max_queue,
        }
    }
}

/// A duration such as `2s`, `500ms`, `5m`, in milliseconds.
fn milliseconds(text: &str) -> Result<f64, String> {
    let span: Result<jiff::SignedDuration, _> = text.parse();
    match span {
        Ok(span) if !span.is_negative() => Ok(span.as_secs_f64() * 1000.0),
        _ => Err("write a duration such as 2s, 500ms or 5m".into()),
    }
}

/// A size such as `500MB`, as PostgreSQL reads it: a kB has 1024 bytes.
fn bytes(text: &str) -> Result<i64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let power = match unit.trim().to_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" => 1,
        "m" | "mb" => 2,
        "g" | "gb" => 3,
        "t" | "tb" => 4,
        _ => return Err("write a size such as 500MB or 2GB".into()),
    };
    let number: Option<i64> = number.parse().ok();
    number
        .and_then(|number| number.checked_mul(1024_i64.pow(power)))
        .ok_or_else(|| "write a size such as 500MB".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_people_write_them() {
        assert_eq!(milliseconds("500ms"), Ok(500.0));
        assert_eq!(milliseconds("5m"), Ok(300_000.0));
        assert!(milliseconds("-1s").is_err() && milliseconds("soon").is_err());
        assert_eq!(bytes("2GB"), Ok(2_147_483_648));
        assert_eq!(bytes("10"), Ok(10));
        assert!(bytes("GB").is_err() && bytes("99999999999TB").is_err());
    }
}
