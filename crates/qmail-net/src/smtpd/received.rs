//! The `Received` line this program writes on top of a letter.

use base::time::Moment;

use super::circumstances::Circumstances;

/// `Received: from … by … with SMTP; date`, two lines (stock `qmail-smtpd`).
pub(crate) fn line(about: &Circumstances, helo: Option<&[u8]>, now: Moment) -> Vec<u8> {
    let unknown = || b"unknown".to_vec();
    let host = about.get("TCPREMOTEHOST").unwrap_or_else(unknown);
    let address = about.get("TCPREMOTEIP").unwrap_or_else(unknown);
    let local = about.get("TCPLOCALHOST").or_else(|| about.get("TCPLOCALIP"));
    let mut line = b"Received: from ".to_vec();
    line.extend(safe(&host));
    if let Some(helo) = helo.filter(|helo| !helo.eq_ignore_ascii_case(&host)) {
        line.extend_from_slice(b" (HELO ");
        line.extend(safe(helo));
        line.push(b')');
    }
    line.extend_from_slice(b" (");
    if let Some(info) = about.get("TCPREMOTEINFO") {
        line.extend(safe(&info));
        line.push(b'@');
    }
    line.extend(safe(&address));
    line.extend_from_slice(b")\n  by ");
    line.extend(safe(&local.unwrap_or_else(unknown)));
    line.extend_from_slice(b" with SMTP; ");
    line.extend_from_slice(date(now).as_bytes());
    line.push(b'\n');
    line
}

/// Text from outside in a header: whatever might mean something there becomes `?`.
fn safe(text: &[u8]) -> impl Iterator<Item = u8> {
    let harmless = |c: u8| c.is_ascii_alphanumeric() || b".@%+/=:-[]".contains(&c);
    text.iter().map(move |&c| if harmless(c) { c } else { b'?' })
}

/// `22 Jan 2008 11:00:09 -0000` (RFC 5322 §3.3), the day not padded.
fn date(now: Moment) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (days, secs) = (now.secs() / 86_400, now.secs() % 86_400);
    let (year, month, day) = civil(days);
    let month = usize::try_from(month).ok().and_then(|m| MONTHS.get(m)).unwrap_or(&"Jan");
    let (hour, minute, second) = (secs / 3_600, secs / 60 % 60, secs % 60);
    format!("{day} {month} {year} {hour:02}:{minute:02}:{second:02} -0000")
}

/// Year, month from 0, day from 1, of a day counted from 1970-01-01, by the Gregorian calendar
/// (years that begin in March, eras of 400 years).
const fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days.saturating_add(719_468);
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march + 2) / 5 + 1;
    let month = (march + 2) % 12;
    let january = if month < 2 { 1 } else { 0 };
    (era.saturating_mul(400).saturating_add(year).saturating_add(january), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(block: &[u8], helo: Option<&[u8]>) -> String {
        let now = Moment::from_secs(1_200_999_609);
        String::from_utf8(line(&Circumstances::of_handover(block), helo, now)).unwrap()
    }

    #[test]
    fn the_line_says_who_and_when() {
        let block = b"TCPREMOTEHOST=localhost\0TCPREMOTEIP=127.0.0.1\0TCPLOCALHOST=here.example\0";
        assert_eq!(
            said(block, Some(b"")),
            "Received: from localhost (HELO ) (127.0.0.1)\n  by here.example with SMTP; \
             22 Jan 2008 11:00:09 -0000\n"
        );
        assert!(said(block, Some(b"LOCALHOST")).starts_with("Received: from localhost (127"));
        assert!(said(b"", None).starts_with("Received: from unknown (unknown)\n  by unknown with"));
    }

    #[test]
    fn nothing_from_outside_can_end_the_line() {
        let block = b"TCPREMOTEHOST=a\nb\0TCPREMOTEINFO=(x)\0TCPREMOTEIP=::1\0TCPLOCALIP=[::2]\0";
        let want = "Received: from a?b (HELO ??[1]) (?x?@::1)\n  by [::2] with SMTP; ";
        assert!(said(block, Some(b";\t[1]")).starts_with(want));
    }

    #[test]
    fn dates_are_right_around_leap_days() {
        for (secs, want) in [
            (0, "1 Jan 1970 00:00:00 -0000"),
            (951_782_399, "28 Feb 2000 23:59:59 -0000"),
            (951_782_400, "29 Feb 2000 00:00:00 -0000"),
            (4_107_542_400, "1 Mar 2100 00:00:00 -0000"),
            (1_735_689_599, "31 Dec 2024 23:59:59 -0000"),
        ] {
            assert_eq!(date(Moment::from_secs(secs)), want);
        }
    }
}
