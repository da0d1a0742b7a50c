//! What is too much.

use clap::Args;
use jiff::civil::Date;
use lakebase::config::{Key, Settings};
use lakebase::error::{Error, Result};
use serde::Serialize;

use crate::exceptions::{BETWEEN, Exceptions};

/// The stall that most of the field takes for too long, in milliseconds: its recommended `lock_timeout`.
pub const STALL: f64 = 2_000.0;
/// The longest migration, in milliseconds.
pub const DURATION: f64 = 300_000.0;

/// Limits as flags; they win over the configuration.
#[derive(Debug, Clone, Default, Args)]
pub struct LimitArgs {
    /// Longest time that readers, writers or an update of one row may wait, such as 2s or 500ms
    #[arg(long, help_heading = "Limits", value_name = "DURATION", value_parser = milliseconds)]
    max_stall: Option<f64>,
    /// Longest time that the migration may take
    #[arg(long, help_heading = "Limits", value_name = "DURATION", value_parser = milliseconds)]
    max_duration: Option<f64>,
    /// Most write-ahead log that it may write, such as 1GB
    #[arg(long, help_heading = "Limits", value_name = "SIZE", value_parser = bytes)]
    max_wal: Option<i64>,
    /// Longest time that later readers may queue behind a migration which waits for one slow query itself
    #[arg(long, help_heading = "Limits", value_name = "DURATION", value_parser = milliseconds)]
    max_queue: Option<f64>,
}

/// Limits.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Limits {
    /// Of a stall, in milliseconds.
    pub stall: f64,
    /// Of the whole, in milliseconds.
    pub duration: f64,
    /// Of write-ahead log, in bytes; none unless somebody sets it.
    pub wal: Option<i64>,
    /// Of the queue behind a waiting migration, in milliseconds; a warning alone unless somebody sets it.
    pub queue: Option<f64>,
    /// What does not decide though it is too much.
    pub exceptions: Exceptions,
}

impl Default for Limits {
    fn default() -> Self {
        Self { stall: STALL, duration: DURATION, wal: None, queue: None, exceptions: Exceptions::default() }
    }
}

impl Limits {
    /// The limits of a call on a day: flags, then the configuration, then what most of the field takes.
    ///
    /// # Errors
    /// [`lakebase::error::Kind::BadConfig`] for a limit or an exception that can't be read.
    pub fn of(args: &LimitArgs, settings: &Settings, today: Date) -> Result<Self> {
        let default = Self::default();
        let (stall, duration) = (time(settings, Key::CheckMaxStall)?, time(settings, Key::CheckMaxDuration)?);
        let (wal, queue) = (size(settings, Key::CheckMaxWal)?, time(settings, Key::CheckMaxQueue)?);
        let exceptions = exceptions(settings, today)?;
        Ok(Self {
            stall: args.max_stall.or(stall).unwrap_or(default.stall),
            duration: args.max_duration.or(duration).unwrap_or(default.duration),
            wal: args.max_wal.or(wal),
            queue: args.max_queue.or(queue),
            exceptions,
        })
    }
}

/// How a duration and a size are written.
const DURATION_FORM: &str = "a duration such as 2s, 500ms or 5m";
const SIZE_FORM: &str = "a size such as 500MB or 2GB";

/// What is wrong with a setting that is `check`'s own.
pub fn problem(key: Key, settings: &Settings) -> Option<Error> {
    match key {
        Key::CheckMaxStall | Key::CheckMaxDuration | Key::CheckMaxQueue => time(settings, key).err(),
        Key::CheckMaxWal => size(settings, key).err(),
        // Whether one has passed is the report's to say.
        Key::CheckExcept => exceptions(settings, Date::ZERO).err(),
        _ => None,
    }
}

fn time(settings: &Settings, key: Key) -> Result<Option<f64>> {
    read(settings, key, milliseconds, DURATION_FORM)
}

fn size(settings: &Settings, key: Key) -> Result<Option<i64>> {
    read(settings, key, bytes, SIZE_FORM)
}

/// The exceptions as they stand on a day.
fn exceptions(settings: &Settings, today: Date) -> Result<Exceptions> {
    let Some(text) = settings.text(Key::CheckExcept) else {
        return Ok(Exceptions { today, ..Exceptions::default() });
    };
    Exceptions::parse(text, today).map_err(|why| {
        let form =
            format!("`stall@orders until 2027-01-31: the reason`, several with `{BETWEEN}` between them");
        settings.bad(Key::CheckExcept, &form).because_of(why)
    })
}

/// A limit of the configuration, if there is one.
fn read<T>(
    settings: &Settings,
    key: Key,
    parse: fn(&str) -> std::result::Result<T, String>,
    form: &str,
) -> Result<Option<T>> {
    settings.text(key).map(|text| parse(text).map_err(|_| settings.bad(key, form))).transpose()
}

/// A duration such as `2s`, `500ms`, `5m`, in milliseconds.
fn milliseconds(text: &str) -> std::result::Result<f64, String> {
    let span: std::result::Result<jiff::SignedDuration, _> = text.parse();
    match span {
        Ok(span) if !span.is_negative() => Ok(span.as_secs_f64() * 1000.0),
        _ => Err(format!("write {DURATION_FORM}")),
    }
}

/// A size such as `500MB`, as PostgreSQL reads it: a kB has 1024 bytes.
fn bytes(text: &str) -> std::result::Result<i64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let power = match unit.trim().to_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" => 1,
        "m" | "mb" => 2,
        "g" | "gb" => 3,
        "t" | "tb" => 4,
        _ => return Err(format!("write {SIZE_FORM}")),
    };
    let number: Option<i64> = number.parse().ok();
    number
        .and_then(|number| number.checked_mul(1024_i64.pow(power)))
        .ok_or_else(|| format!("write {SIZE_FORM}"))
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use lakebase::config::Layer;
    use lakebase::env_vars::Env;
    use lakebase::error::Kind;

    use super::*;

    fn of(args: &LimitArgs, pairs: &[(Key, &str)]) -> Result<Limits> {
        let layer: Layer = pairs.iter().map(|(key, text)| (*key, (*text).to_owned())).collect();
        let settings =
            Settings::layered(Layer::new(), &Env::default(), Some(("lakebase.config".into(), layer)));
        Limits::of(args, &settings, date(2026, 11, 23))
    }

    #[test]
    fn a_flag_wins_over_the_configuration_and_that_over_the_default() {
        let file = [
            (Key::CheckMaxStall, "500ms"),
            (Key::CheckMaxDuration, "10m"),
            (Key::CheckMaxWal, "2GB"),
            (Key::CheckMaxQueue, "1s"),
            (Key::CheckExcept, "heads until 2026-12-24: merged soon"),
        ];
        let args = LimitArgs { max_stall: Some(100.0), ..LimitArgs::default() };
        let limits = of(&args, &file).unwrap();
        assert_eq!((limits.stall, limits.duration), (100.0, 600_000.0));
        assert_eq!((limits.wal, limits.queue), (Some(2_147_483_648), Some(1_000.0)));
        assert_eq!(limits.exceptions.all.len(), 1);
        let default = of(&LimitArgs::default(), &[]).unwrap();
        assert_eq!(
            (default.stall, default.duration, default.wal, default.queue),
            (STALL, DURATION, None, None)
        );
    }

    #[test]
    fn a_limit_that_can_not_be_read_names_its_origin() {
        for (key, text) in [
            (Key::CheckMaxStall, "fast"),
            (Key::CheckMaxDuration, "-5m"),
            (Key::CheckMaxWal, "1XB"),
            (Key::CheckMaxQueue, "2"),
            (Key::CheckExcept, "stall: because"),
        ] {
            let error = of(&LimitArgs::default(), &[(key, text)]).unwrap_err();
            assert_eq!(error.kind, Kind::BadConfig);
            assert_eq!(error.causes[0], "it comes from lakebase.config");
        }
    }

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
