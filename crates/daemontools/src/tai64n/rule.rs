//! The POSIX time zone rule: `PST8PDT,M3.2.0,M11.1.0` and the like (POSIX.1 §8.3, and the footer
//! of RFC 8536 §3.3).

use super::civil::{civil, days, leap, weekday};

/// Standard time, and summer time if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// Seconds east of UTC.
    standard: i64,
    /// Seconds east in summer, its first and its last moment.
    summer: Option<(i64, Change, Change)>,
}

/// When the clock changes each year.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Change {
    day: Day,
    /// Seconds after midnight, by the clock that is about to change; may be negative.
    second: i64,
}

/// A day of the year.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Day {
    /// 1 to 365, 29 February never counted.
    Julian(i64),
    /// 0 to 365, 29 February counted.
    Ordinal(i64),
    /// The n-th such weekday (5: the last) of a month.
    Month { month: i64, week: i64, weekday: i64 },
}

impl Rule {
    /// UTC.
    pub(super) const UTC: Rule = Rule { standard: 0, summer: None };

    /// Reads a rule; summer time without dates follows the habit of the United States.
    pub(super) fn parse(text: &[u8]) -> Option<Rule> {
        let mut text = Text(text);
        text.name()?;
        let standard = -text.time(24)?;
        if text.0.is_empty() {
            return Some(Rule { standard, summer: None });
        }
        text.name()?;
        let summer = match text.0.first() {
            None | Some(b',') => standard + 3600,
            Some(_) => -text.time(24)?,
        };
        if text.0.is_empty() {
            text = Text(b",M3.2.0,M11.1.0");
        }
        let (start, end) = (text.change()?, text.change()?);
        text.0.is_empty().then_some(Rule { standard, summer: Some((summer, start, end)) })
    }

    /// Seconds east of UTC at a moment.
    pub(super) fn offset(&self, unix: i64) -> i64 {
        let Some((summer, start, end)) = self.summer else { return self.standard };
        let Some(date) = unix.checked_add(self.standard).and_then(civil) else {
            return self.standard;
        };
        let start = start.moment(date.year) - self.standard;
        let end = end.moment(date.year) - summer;
        let warm =
            if start < end { (start..end).contains(&unix) } else { !(end..start).contains(&unix) };
        if warm { summer } else { self.standard }
    }
}

impl Change {
    /// The moment in a year as if the clock showed UTC.
    fn moment(self, year: i64) -> i64 {
        let day = match self.day {
            Day::Julian(n) => days(year, 1, 1) + n - 1 + i64::from(leap(year) && n >= 60),
            Day::Ordinal(n) => days(year, 1, 1) + n,
            Day::Month { month, week, weekday: wanted } => {
                let first = days(year, month, 1);
                let next =
                    if month == 12 { days(year + 1, 1, 1) } else { days(year, month + 1, 1) };
                let mut day = first + (wanted - weekday(first)).rem_euclid(7) + (week - 1) * 7;
                while day >= next {
                    day -= 7;
                }
                day
            }
        };
        day * 86_400 + self.second
    }
}

/// What is left to read of a rule.
struct Text<'a>(&'a [u8]);

impl Text<'_> {
    fn take(&mut self, byte: u8) -> bool {
        match self.0.split_first() {
            Some((&first, rest)) if first == byte => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    /// A zone's name: letters, or anything in angle brackets.
    fn name(&mut self) -> Option<()> {
        let end = if self.0.first() == Some(&b'<') {
            self.0.iter().position(|&byte| byte == b'>')? + 1
        } else {
            self.0.iter().position(|byte| !byte.is_ascii_alphabetic()).unwrap_or(self.0.len())
        };
        self.0 = self.0.get(end..)?;
        (end >= 3).then_some(())
    }

    fn number(&mut self, max: i64) -> Option<i64> {
        let mut value = None;
        while let Some((digit, rest)) = self.0.split_first().filter(|(b, _)| b.is_ascii_digit()) {
            let sum = value.unwrap_or(0) * 10 + i64::from(digit - b'0');
            value = Some(sum).filter(|&sum| sum <= max);
            value?;
            self.0 = rest;
        }
        value
    }

    /// `[+-]hh[:mm[:ss]]` in seconds.
    fn time(&mut self, hours: i64) -> Option<i64> {
        let sign = if self.take(b'-') { -1 } else { 1 };
        if sign == 1 {
            self.take(b'+');
        }
        let mut seconds = self.number(hours)? * 3600;
        if self.take(b':') {
            seconds += self.number(59)? * 60;
            if self.take(b':') {
                seconds += self.number(59)?;
            }
        }
        Some(sign * seconds)
    }

    /// `,date[/time]`.
    fn change(&mut self) -> Option<Change> {
        if !self.take(b',') {
            return None;
        }
        let day = self.day()?;
        // RFC 8536 §3.3.1 lets the time go a week to either side.
        let second = if self.take(b'/') { self.time(167)? } else { 7200 };
        Some(Change { day, second })
    }

    fn day(&mut self) -> Option<Day> {
        if self.take(b'J') {
            return self.number(365).filter(|&n| n >= 1).map(Day::Julian);
        }
        if !self.take(b'M') {
            return self.number(365).map(Day::Ordinal);
        }
        let month = self.number(12).filter(|&n| n >= 1)?;
        let week = self.take(b'.').then(|| self.number(5)).flatten().filter(|&n| n >= 1)?;
        let weekday = self.take(b'.').then(|| self.number(6)).flatten()?;
        Some(Day::Month { month, week, weekday })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summer_begins_and_ends_at_the_second() {
        let rule = Rule::parse(b"CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        // 2024-03-31 01:00:00 UTC and 2024-10-27 01:00:00 UTC.
        assert_eq!(rule.offset(1_711_846_799), 3600);
        assert_eq!(rule.offset(1_711_846_800), 7200);
        assert_eq!(rule.offset(1_729_990_799), 7200);
        assert_eq!(rule.offset(1_729_990_800), 3600);
    }

    #[test]
    fn the_southern_summer_spans_the_new_year() {
        let rule = Rule::parse(b"AEST-10AEDT,M10.1.0,M4.1.0/3").unwrap();
        assert_eq!(rule.offset(1_704_067_200), 11 * 3600);
        assert_eq!(rule.offset(1_719_792_000), 10 * 3600);
    }

    #[test]
    fn rules_without_summer_and_with_odd_names_are_read() {
        assert_eq!(Rule::parse(b"UTC0"), Some(Rule::UTC));
        assert_eq!(Rule::parse(b"<+0530>-5:30").map(|rule| rule.offset(0)), Some(19_800));
        assert_eq!(Rule::parse(b"PST8PDT").map(|rule| rule.offset(935_467_445)), Some(-25_200));
        for wrong in [&b"UTC"[..], b"", b"A1", b"ABC99", b"ABC1DEF,M13.1.0,M1.1.0", b"ABC1x"] {
            assert_eq!(Rule::parse(wrong), None);
        }
    }
}
