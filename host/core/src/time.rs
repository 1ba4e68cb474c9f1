//! Instants as numbers, because time is passed in.

use std::ops::{Add, Sub};
use std::time::Duration;

/// Milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

impl Millis {
    /// The time from `earlier` to `self`; zero when the clock went back.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Millis {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(rhs.as_millis()).unwrap_or(u64::MAX)),
        )
    }
}

impl Sub<Duration> for Millis {
    type Output = Self;

    fn sub(self, rhs: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(u64::try_from(rhs.as_millis()).unwrap_or(u64::MAX)),
        )
    }
}

impl Millis {
    /// This instant as RFC 3339 in UTC with milliseconds, for example `1997-01-01T00:00:00.000Z`.
    ///
    /// The days are turned into a date by Howard Hinnant's `civil_from_days`
    /// (<https://howardhinnant.github.io/date_algorithms.html>).
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        let (days, millis) = (self.0 / 86_400_000, self.0 % 86_400_000);
        let z = days + 719_468;
        let (era, day_of_era) = (z / 146_097, z % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 {
            shifted_month + 3
        } else {
            shifted_month - 9
        };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        let seconds = millis / 1_000;
        let fields = [
            // The format ends there, and so do the years that anybody means.
            (year.min(9_999), 0..4),
            (month, 5..7),
            (day, 8..10),
            (seconds / 3_600, 11..13),
            (seconds / 60 % 60, 14..16),
            (seconds % 60, 17..19),
            (millis % 1_000, 20..23),
        ];
        // Each emission has one; the formatter takes many times as long.
        let mut text = *b"0000-00-00T00:00:00.000Z";
        for (mut value, places) in fields {
            for digit in text[places].iter_mut().rev() {
                *digit += u8::try_from(value % 10).unwrap_or_default();
                value /= 10;
            }
        }
        str::from_utf8(&text).unwrap_or_default().to_owned()
    }

    /// What [`Millis::to_rfc3339`] wrote, and nothing else: the years of four digits from 1970 on.
    #[must_use]
    pub fn from_rfc3339(text: &str) -> Option<Self> {
        let number = |from: usize, end: usize| text.get(from..end)?.parse::<u64>().ok();
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let hours = number(11, 13)? * 60 + number(14, 16)?;
        let seconds = hours * 60 + number(17, 19)?;
        // `days_from_civil` of the same source.
        let shifted_year = year.checked_sub(u64::from(month <= 2))?;
        let (era, year_of_era) = (shifted_year / 400, shifted_year % 400);
        let shifted_month = (month + 9) % 12;
        let day_of_year = (153 * shifted_month + 2) / 5 + day.checked_sub(1)?;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = (era * 146_097 + day_of_era).checked_sub(719_468)?;
        let millis = (days * 86_400 + seconds) * 1_000 + number(20, 23)?;
        // Whatever is written in another way is another text.
        let found = Self(millis);
        (found.to_rfc3339() == text).then_some(found)
    }
}

#[cfg(test)]
mod tests;
