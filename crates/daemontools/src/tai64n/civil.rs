//! Days and dates of the Gregorian calendar, by arithmetic alone.

/// A second on the calendar, without zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Civil {
    /// Year, never negative here.
    pub(super) year: i64,
    /// 1 to 12.
    pub(super) month: i64,
    /// 1 to 31.
    pub(super) day: i64,
    /// Seconds since midnight.
    pub(super) second: i64,
}

/// Days from 1970-01-01 to a date; years count in 400-year cycles of 146,097 days that begin in
/// March, so that the leap day is the last of its year.
pub(super) fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let cycle = year.div_euclid(400);
    let of_cycle = year.rem_euclid(400);
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    cycle * 146_097 + of_cycle * 365 + of_cycle / 4 - of_cycle / 100 + of_year - 719_468
}

/// The date of a second since the epoch; none before the year 0 or beyond what C's `int` year
/// holds.
pub(super) fn civil(unix: i64) -> Option<Civil> {
    let day = unix.div_euclid(86_400).checked_add(719_468)?;
    let cycle = day.div_euclid(146_097);
    let of_cycle = day.rem_euclid(146_097);
    let year = (of_cycle - of_cycle / 1_460 + of_cycle / 36_524 - of_cycle / 146_096) / 365;
    let of_year = of_cycle - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year + cycle * 400 + i64::from(month <= 2);
    (0..=i64::from(i32::MAX)).contains(&year).then_some(Civil {
        year,
        month,
        day: of_year - (153 * shifted + 2) / 5 + 1,
        second: unix.rem_euclid(86_400),
    })
}

/// Whether February has 29 days.
pub(super) fn leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// The weekday of a day since the epoch, Sunday being 0.
pub(super) fn weekday(days: i64) -> i64 {
    (days + 4).rem_euclid(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_days_are_each_others_inverse() {
        for day in (-719_000..3_000_000).step_by(13) {
            let date = civil(day * 86_400).unwrap();
            assert_eq!(days(date.year, date.month, date.day), day);
        }
    }

    #[test]
    fn known_days_have_their_dates() {
        let date = civil(935_467_445).unwrap();
        assert_eq!((date.year, date.month, date.day, date.second), (1999, 8, 24, 14_645));
        assert_eq!(weekday(days(2024, 2, 29)), 4);
        assert!(leap(2000) && !leap(1900) && leap(2024));
        assert_eq!(civil(i64::MAX), None);
        assert_eq!(civil(i64::MIN), None);
    }
}
