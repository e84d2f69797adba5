//! Dates as letters and mailboxes write them: always UTC, English, no locale.

use alloc::format;
use alloc::string::String;

use base::time::Moment;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

/// A moment in the parts a calendar and a clock show (proleptic Gregorian, UTC).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// The year, 1970 and later.
    pub year: u64,
    /// The month, 1 to 12.
    pub month: u32,
    /// The day of the month, 1 to 31.
    pub day: u32,
    /// The hour, 0 to 23.
    pub hour: u32,
    /// The minute, 0 to 59.
    pub minute: u32,
    /// The second, 0 to 59.
    pub second: u32,
    /// Days since the last Thursday (1970-01-01 was one), 0 to 6.
    weekday: u32,
}

impl Civil {
    /// Takes a moment apart. A [`Moment`] ends in the year 586524, so nothing here overflows.
    pub fn of(moment: Moment) -> Self {
        let (days, rest) = (moment.secs() / 86_400, moment.secs() % 86_400);
        // Days are counted from 1 March of year 0, so that the leap day ends a year; 400 years
        // (an era) have 146,097 days.
        let shifted = days + 719_468;
        let (era, day) = (shifted / 146_097, shifted % 146_097);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let (month_from_1, turn) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        Self {
            year: year + era * 400 + turn,
            month: month_from_1 as u32,
            day: (day - (153 * month + 2) / 5 + 1) as u32,
            hour: (rest / 3_600) as u32,
            minute: (rest / 60 % 60) as u32,
            second: (rest % 60) as u32,
            weekday: (days % 7) as u32,
        }
    }

    fn month_name(&self) -> &'static str {
        MONTHS.get(self.month.saturating_sub(1) as usize).copied().unwrap_or("Jan")
    }

    fn day_name(&self) -> &'static str {
        DAYS.get(self.weekday as usize).copied().unwrap_or("Thu")
    }
}

/// The date of a `Date` or `Received` field: `26 Sep 1995 04:46:54 -0000` (RFC 5322 §3.3; `-0000`
/// says that UTC tells nothing about where the writer is).
pub fn rfc822(moment: Moment) -> String {
    let c = Civil::of(moment);
    let (month, year) = (c.month_name(), c.year);
    format!("{} {month} {year} {:02}:{:02}:{:02} -0000", c.day, c.hour, c.minute, c.second)
}

/// The date of a `Date` field in a zone `east` minutes east of UTC: `26 Sep 1995 05:46:54 +0100`.
pub fn local(moment: Moment, east: i32) -> String {
    let shifted = moment.secs().saturating_add_signed(i64::from(east).saturating_mul(60));
    let utc = rfc822(Moment::from_secs(shifted));
    let clock = utc.strip_suffix(" -0000").unwrap_or(&utc);
    let (sign, minutes) = (if east < 0 { '-' } else { '+' }, east.unsigned_abs());
    format!("{clock} {sign}{:02}{:02}", minutes / 60, minutes % 60)
}

/// The date of an mbox `From ` line: `Sun Nov 22 13:46:39 2026`, the day with two digits.
pub fn from_line(moment: Moment) -> String {
    let c = Civil::of(moment);
    let (name, month, year) = (c.day_name(), c.month_name(), c.year);
    format!("{name} {month} {:02} {:02}:{:02}:{:02} {year}", c.day, c.hour, c.minute, c.second)
}

/// The digits a `Message-ID` begins with: `20261122134639`.
pub fn digits(moment: Moment) -> String {
    let c = Civil::of(moment);
    let year = c.year;
    format!("{year:04}{:02}{:02}{:02}{:02}{:02}", c.month, c.day, c.hour, c.minute, c.second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_read_as_stock_qmail_writes_them() {
        let m = Moment::from_secs(812_090_814);
        assert_eq!(rfc822(m), "26 Sep 1995 04:46:54 -0000");
        let m = Moment::from_secs(1_795_355_199);
        assert_eq!(from_line(m), "Sun Nov 22 13:46:39 2026");
        assert_eq!(digits(m), "20261122134639");
        assert_eq!(from_line(Moment::from_secs(0)), "Thu Jan 01 00:00:00 1970");
    }

    #[test]
    fn a_local_date_shows_the_clock_on_the_wall_and_where_it_hangs() {
        let m = Moment::from_secs(812_090_814);
        assert_eq!(local(m, 0), "26 Sep 1995 04:46:54 +0000");
        assert_eq!(local(m, 330), "26 Sep 1995 10:16:54 +0530");
        assert_eq!(local(m, -300), "25 Sep 1995 23:46:54 -0500");
        assert_eq!(local(Moment::default(), -60), "1 Jan 1970 00:00:00 -0100");
    }

    #[test]
    fn leap_days_and_the_end_of_time_are_dates() {
        assert_eq!(rfc822(Moment::from_secs(951_782_400)), "29 Feb 2000 00:00:00 -0000");
        assert_eq!(rfc822(Moment::from_secs(4_107_542_400)), "1 Mar 2100 00:00:00 -0000");
        assert_eq!(rfc822(Moment::from_secs(1_735_689_599)), "31 Dec 2024 23:59:59 -0000");
        assert!(rfc822(Moment::from_micros(u64::MAX)).contains(" 586524 "));
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut before = Civil::of(Moment::from_secs(0));
        for day in 1..200_000u64 {
            let c = Civil::of(Moment::from_secs(day * 86_400));
            let next = c.day == before.day + 1 && c.month == before.month && c.year == before.year;
            let first = c.day == 1 && (28..=31).contains(&before.day);
            assert!(next || first, "{c:?}");
            before = c;
        }
    }
}
