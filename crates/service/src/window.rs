//! Windows: the calendar periods, in UTC, that budgets are counted in.
//!
//! All of a reservation's windows follow from one [`Day`], so that what was held in a window is settled in it, however late.

pub use claude_code_api_wire::Period;
use time::{Date, Duration, OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

/// A moment: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub i64);

impl Moment {
    /// The system's clock. Only stores ask it: what the time is, the ledger hears from them.
    pub fn of_system() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// The day it falls in, UTC.
    pub fn day(self) -> Day {
        Day(i32::try_from(self.0.div_euclid(MS_PER_DAY)).expect("a moment within millions of years of 1970"))
    }

    /// Whole seconds since 1970.
    pub fn unix_seconds(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// The moment as in `2026-11-23T00:00:00Z`.
    pub fn rfc3339(self) -> String {
        let nanos = i128::from(self.0) * 1_000_000;
        let at = OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        at.to_offset(UtcOffset::UTC).format(&Rfc3339).expect("a moment in UTC has this form")
    }

    /// Reads what [`Moment::rfc3339`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        i64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok().map(Self)
    }
}

const MS_PER_DAY: i64 = 86_400_000;

/// A day of the calendar, UTC: days since 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub i32);

/// Every period, in the order in which counters are kept.
pub const PERIODS: [Period; 3] = [Period::Day, Period::Week, Period::Month];

impl Day {
    /// First day of the window of this length that the day lies in.
    #[must_use]
    pub fn start_of(self, period: Period) -> Self {
        match period {
            Period::Day => self,
            // 1970-01-01 was a Thursday.
            Period::Week => Self(self.0 - (self.0 + 3).rem_euclid(7)),
            Period::Month => Self(self.0 - i32::from(self.date().day()) + 1),
        }
    }

    /// First day after the window of this length that the day lies in.
    #[must_use]
    pub fn end_of(self, period: Period) -> Self {
        let start = self.start_of(period);
        match period {
            Period::Day => Self(start.0 + 1),
            Period::Week => Self(start.0 + 7),
            Period::Month => Self(start.0 + i32::from(start.date().month().length(start.date().year()))),
        }
    }

    /// Its first moment.
    pub fn begins_at(self) -> Moment {
        Moment(i64::from(self.0) * MS_PER_DAY)
    }

    fn date(self) -> Date {
        OffsetDateTime::UNIX_EPOCH.date() + Duration::days(i64::from(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> Day {
        Moment::parse(&format!("{text}T12:00:00Z")).expect("a moment").day()
    }

    fn name(day: Day) -> String {
        day.begins_at().rfc3339()[..10].to_owned()
    }

    #[test]
    fn windows_are_those_of_the_calendar() {
        let cases = [
            ("2026-11-23", "2026-11-23", "2026-11-30", "2026-11-01", "2026-12-01"),
            ("2026-11-22", "2026-11-16", "2026-11-23", "2026-11-01", "2026-12-01"),
            // ISO week 53 of 2026 reaches into 2027.
            ("2026-12-31", "2026-12-28", "2027-01-04", "2026-12-01", "2027-01-01"),
            ("2027-01-03", "2026-12-28", "2027-01-04", "2027-01-01", "2027-02-01"),
            ("2028-02-29", "2028-02-28", "2028-03-06", "2028-02-01", "2028-03-01"),
            ("1969-12-31", "1969-12-29", "1970-01-05", "1969-12-01", "1970-01-01"),
        ];
        for (at, week, week_end, month, month_end) in cases {
            let at = day(at);
            let windows =
                [Period::Week, Period::Month].map(|period| (name(at.start_of(period)), name(at.end_of(period))));
            assert_eq!(windows, [(week.into(), week_end.into()), (month.into(), month_end.into())], "{}", name(at));
            assert_eq!((at.start_of(Period::Day), at.end_of(Period::Day)), (at, Day(at.0 + 1)));
        }
    }

    #[test]
    fn the_last_millisecond_of_a_day_is_of_that_day() {
        let midnight = day("2026-11-23").begins_at();
        assert_eq!((Moment(midnight.0 - 1).day(), midnight.day()), (day("2026-11-22"), day("2026-11-23")));
        assert_eq!(midnight.rfc3339(), "2026-11-23T00:00:00Z");
    }
}
