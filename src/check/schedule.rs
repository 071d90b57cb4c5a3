//! How far apart the polls of a schedule are, by its expression in the language of `EventBridge` Scheduler. Pure.

use std::time::Duration;
use time::{Date, Month};

/// Days that are looked at: every weekday meets every day of a month, and a leap day comes in them.
const DAYS: u32 = 8 * 366;

const MONTHS: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];

/// Weeks of schedules begin with Sunday, which is 1.
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// `CloudWatch` looks back for so many minutes at most.
const MOST_SILENCE: u64 = 1440;

/// The period of a `rate(…)`; `None`: the schedule has none that is always the same.
pub(super) fn rate(expression: &str) -> Option<Duration> {
    let (number, unit) = inside(expression, "rate(")?.split_once(' ')?;
    let seconds = match unit.trim().trim_end_matches('s') {
        "minute" => 60,
        "hour" => 3600,
        "day" => 86_400,
        _ => return None,
    };
    Some(Duration::from_secs(number.parse::<u64>().ok()?.checked_mul(seconds)?))
}

/// The longest time between two polls that follow each other, to the minute; `None` where a schedule ends some day, or is
/// not understood. A change to or from summer time may add an hour.
pub fn longest_gap(expression: &str) -> Option<Duration> {
    match inside(expression, "cron(") {
        Some(fields) => Cron::read(fields)?.longest_gap(),
        None => rate(expression),
    }
}

/// How long the alarm of silence must wait, in minutes, where polls are so far apart; 0: there can be no such alarm.
/// A poll begins anywhere within its minute, and another minute passes until its metric is there.
pub fn silence_after(gap: Duration) -> u64 {
    let minutes = gap.as_secs().div_ceil(60).saturating_add(2);
    if minutes > MOST_SILENCE { 0 } else { minutes }
}

fn inside<'e>(expression: &'e str, kind: &str) -> Option<&'e str> {
    Some(expression.trim().strip_prefix(kind)?.strip_suffix(')')?.trim())
}

/// When a `cron(…)` starts something.
struct Cron<'e> {
    /// Minutes since midnight, in order.
    minutes: Vec<u16>,
    months: Vec<u16>,
    day_of_month: &'e str,
    day_of_week: &'e str,
}

impl<'e> Cron<'e> {
    fn read(fields: &'e str) -> Option<Self> {
        let fields: Vec<_> = fields.split_whitespace().collect();
        let [minute, hour, day_of_month, month, day_of_week, "*"] = fields.as_slice() else { return None };
        let (minutes, hours) = (values(minute, (0, 59), &[])?, values(hour, (0, 23), &[])?);
        let of_hour = |hour: &u16| minutes.iter().map(|minute| *hour * 60 + minute).collect::<Vec<_>>();
        Some(Self {
            minutes: hours.iter().flat_map(of_hour).collect(),
            months: values(month, (1, 12), &MONTHS)?,
            day_of_month,
            day_of_week,
        })
    }

    fn longest_gap(&self) -> Option<Duration> {
        let within_a_day = self.minutes.iter().zip(self.minutes.iter().skip(1)).map(|(one, next)| next - one).max();
        let overnight = u32::from(1440 + self.minutes.first()? - self.minutes.last()?);
        let (mut between_days, mut last, mut day) = (None, None, first_day()?);
        for number in 0..DAYS {
            if self.has(day)? {
                between_days = between_days.max(last.map(|last| (number - last - 1) * 1440 + overnight));
                last = Some(number);
            }
            day = day.next_day()?;
        }
        // Nothing is known of days that come once in all these years, or never.
        let longest = between_days?.max(u32::from(within_a_day.unwrap_or_default()));
        Some(Duration::from_secs(u64::from(longest) * 60))
    }

    /// Whether a day is one of its days; `None`: that is not understood.
    fn has(&self, day: Date) -> Option<bool> {
        let is_day = is_day_of_month(self.day_of_month, day)? && is_day_of_week(self.day_of_week, day)?;
        Some(is_day && self.months.contains(&u16::from(u8::from(day.month()))))
    }
}

/// A leap year's.
fn first_day() -> Option<Date> {
    Date::from_calendar_date(2024, Month::January, 1).ok()
}

/// `L` is the last day, `LW` the last from Monday to Friday, `15W` the one of those that is nearest to the 15th.
fn is_day_of_month(field: &str, day: Date) -> Option<bool> {
    let last = u16::from(day.month().length(day.year()));
    let number = u16::from(day.day());
    if field == "L" {
        return Some(number == last);
    }
    if let Some(near) = field.strip_suffix('W') {
        let near = if near == "L" { last } else { near.parse().ok().filter(|near| (1..=31).contains(near))? };
        return Some(is_nearest_weekday(near, day, last));
    }
    Some(values(field, (1, 31), &[])?.contains(&number))
}

/// It stays within the month.
fn is_nearest_weekday(near: u16, day: Date, last: u16) -> bool {
    let number = u16::from(day.day());
    match weekday(day) {
        _ if near > last => false,
        1 | 7 => false,
        2 => number == near || number == near + 1 || (number == 3 && near == 1),
        6 => number == near || number + 1 == near || (number + 2 == near && near == last),
        _ => number == near,
    }
}

/// `6L` is the last Friday of the month, `6#2` the second.
fn is_day_of_week(field: &str, day: Date) -> Option<bool> {
    let is = |name: &str| Some(one(name, &WEEKDAYS).filter(|day| (1..=7).contains(day))? == weekday(day));
    if let Some(name) = field.strip_suffix('L') {
        let is_in_last_week = day.day() + 7 > day.month().length(day.year());
        return if name.is_empty() { Some(weekday(day) == 7) } else { Some(is(name)? && is_in_last_week) };
    }
    if let Some((name, which)) = field.split_once('#') {
        let which = which.parse::<u8>().ok().filter(|which| (1..=5).contains(which))?;
        return Some(is(name)? && day.day().div_ceil(7) == which);
    }
    Some(values(field, (1, 7), &WEEKDAYS)?.contains(&weekday(day)))
}

fn weekday(day: Date) -> u16 {
    u16::from(day.weekday().number_from_sunday())
}

/// The values of a field, in order: lists of values, ranges and steps; `*` and `?` are all of them.
fn values(field: &str, (least, most): (u16, u16), names: &[&str]) -> Option<Vec<u16>> {
    let mut all = Vec::new();
    for part in field.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step.parse::<u16>().ok().filter(|step| *step > 0)?)),
            None => (part, None),
        };
        let (from, to) = match (range, range.split_once('-')) {
            ("*" | "?", _) => (least, most),
            (_, Some((from, to))) => (one(from, names)?, one(to, names)?),
            // `5/15` goes on to the end.
            (_, None) => (one(range, names)?, if step.is_some() { most } else { one(range, names)? }),
        };
        if ![from, to].iter().all(|value| (least..=most).contains(value)) {
            return None;
        }
        let step = usize::from(step.unwrap_or(1));
        // `FRI-MON` goes over the end of the week.
        if from <= to {
            all.extend((from..=to).step_by(step));
        } else {
            all.extend((from..=most).chain(least..=to).step_by(step));
        }
    }
    all.sort_unstable();
    all.dedup();
    Some(all)
}

fn one(text: &str, names: &[&str]) -> Option<u16> {
    match names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
        Some(place) => u16::try_from(place + 1).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_durations() {
        for (expression, seconds) in [
            ("rate(1 minute)", Some(60)),
            ("rate(2 hours)", Some(7200)),
            (" rate(1 day) ", Some(86_400)),
            ("rate(x minutes)", None),
            ("rate(99999999999999999999 days)", None),
            ("at(2026-01-01)", None),
        ] {
            assert_eq!(rate(expression), seconds.map(Duration::from_secs), "{expression}");
        }
    }

    #[test]
    fn the_longest_gap_is_that_of_nights_weekends_and_months() {
        const DAY: u64 = 24 * 60;
        for (expression, minutes) in [
            ("rate(5 minutes)", Some(5)),
            ("cron(* * * * ? *)", Some(1)),
            ("cron(*/5 * * * ? *)", Some(5)),
            // From 56 past to 0.
            ("cron(0/7 * * * ? *)", Some(7)),
            ("cron(0/40 * * * ? *)", Some(40)),
            ("cron(5,6,50 * ? * * *)", Some(44)),
            // From 18:55 to 8:00.
            ("cron(0/5 8-18 * * ? *)", Some(13 * 60 + 5)),
            ("cron(0/5 8-18 ? * MON-FRI *)", Some(2 * DAY + 13 * 60 + 5)),
            ("cron(0/5 8-18 ? * 2-6 *)", Some(2 * DAY + 13 * 60 + 5)),
            ("cron(0 22-4 * * ? *)", Some(18 * 60)),
            ("cron(0 12 ? * fri-mon *)", Some(4 * DAY)),
            ("cron(0 12 1 * ? *)", Some(31 * DAY)),
            ("cron(0 12 L * ? *)", Some(31 * DAY)),
            ("cron(0 12 31 * ? *)", Some(61 * DAY)),
            ("cron(0 12 ? * 6L *)", Some(35 * DAY)),
            ("cron(0 12 ? * L *)", Some(7 * DAY)),
            ("cron(0 12 ? * TUE#2 *)", Some(35 * DAY)),
            // From the 1st, a Friday, to the 3rd, a Monday for the 1st of a weekend.
            ("cron(0 12 1W * ? *)", Some(33 * DAY)),
            ("cron(0 12 LW * ? *)", Some(33 * DAY)),
            ("cron(0 12 ? JAN,MAR ? *)", Some(276 * DAY)),
            ("cron(0 12 29 2 ? *)", Some((4 * 365 + 1) * DAY)),
            ("cron(0 12 30 2 ? *)", None),
            ("cron(0 12 * * ? 2027)", None),
            ("cron(61 12 * * ? *)", None),
            ("cron(0 12 * * FUN *)", None),
            ("cron(0 200-4 * * ? *)", None),
            ("cron(0 12 ? 5-0 ? *)", None),
            ("cron(0 12 * *)", None),
            ("cron(*/0 * * * ? *)", None),
            ("at(2026-12-01T00:00:00)", None),
        ] {
            assert_eq!(longest_gap(expression).map(|gap| gap.as_secs() / 60), minutes, "{expression}");
        }
    }

    #[test]
    fn the_alarm_of_silence_waits_longer_than_the_longest_gap_or_there_is_none() {
        for (minutes, silence) in [(1, 3), (5, 7), (1438, 1440), (1439, 0), (44_640, 0)] {
            assert_eq!(silence_after(Duration::from_secs(minutes * 60)), silence, "{minutes}");
        }
    }
}
