//! What YAML 1.1 makes of a bare word, as `PyYAML` reads it: with it Prefect's agents read their documents. Pure.

/// What a bare word means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Reading {
    Null,
    Bool(bool),
    /// `None`: longer than anybody counts.
    Int(Option<i128>),
    Float(f64),
    Text,
    /// A date, or something that `PyYAML` takes for a value and then cannot read.
    Other,
}

/// Reads a bare word.
pub(super) fn read(word: &str) -> Reading {
    match word {
        "" | "~" | "null" | "Null" | "NULL" => return Reading::Null,
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Reading::Bool(true),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => return Reading::Bool(false),
        "=" | "<<" => return Reading::Other,
        _ => {}
    }
    float(word).or_else(|| int(word)).unwrap_or(if is_date(word) { Reading::Other } else { Reading::Text })
}

fn float(word: &str) -> Option<Reading> {
    let (negative, rest) = signed(word);
    let sign = if negative { -1.0 } else { 1.0 };
    match rest {
        ".inf" | ".Inf" | ".INF" => return Some(Reading::Float(sign * f64::INFINITY)),
        ".nan" | ".NaN" | ".NAN" if rest == word => return Some(Reading::Float(f64::NAN)),
        _ => {}
    }
    let (whole, fraction) = rest.split_once('.')?;
    if whole.contains(':') {
        let seconds = sexagesimal(whole, digits)?;
        // Its value is of no interest: no other reader takes it for a number.
        return fraction.bytes().all(is_digit_or_underscore).then_some(Reading::Float(sign * to_f64(seconds)));
    }
    let (mantissa, exponent) = match fraction.find(['e', 'E']) {
        Some(at) => (fraction.get(..at)?, fraction.get(at + 1..)?),
        None => (fraction, ""),
    };
    let has_exponent = mantissa.len() < fraction.len();
    let exponent_is_signed = exponent.strip_prefix(['+', '-']).is_some_and(digits);
    // Without a digit before the point there is no sign, and a digit after it.
    let is_number = if whole.is_empty() {
        rest == word && mantissa.starts_with(|c: char| c.is_ascii_digit())
    } else {
        starts_with_digit(whole)
    };
    let fits = is_number
        && whole.bytes().all(is_digit_or_underscore)
        && mantissa.bytes().all(is_digit_or_underscore)
        && (!has_exponent || exponent_is_signed);
    if !fits {
        return None;
    }
    // Python's `float` takes what is left; `5.` and `.5` too.
    rest.replace('_', "").parse::<f64>().ok().map(|number| Reading::Float(sign * number))
}

fn int(word: &str) -> Option<Reading> {
    let (negative, rest) = signed(word);
    let of = |text: &str, radix: u32| {
        let digits = text.replace('_', "");
        if digits.is_empty() {
            return Reading::Other;
        }
        let number = i128::from_str_radix(&digits, radix).ok();
        Reading::Int(number.map(|number| if negative { -number } else { number }))
    };
    let made_of =
        |text: &str, allowed: fn(u8) -> bool| !text.is_empty() && text.bytes().all(|b| b == b'_' || allowed(b));
    if let Some(binary) = rest.strip_prefix("0b").filter(|text| made_of(text, |b| matches!(b, b'0' | b'1'))) {
        return Some(of(binary, 2));
    }
    if let Some(hexadecimal) = rest.strip_prefix("0x").filter(|text| made_of(text, |b| b.is_ascii_hexdigit())) {
        return Some(of(hexadecimal, 16));
    }
    if rest == "0" {
        return Some(Reading::Int(Some(0)));
    }
    if let Some(octal) = rest.strip_prefix('0').filter(|text| made_of(text, |b| matches!(b, b'0'..=b'7'))) {
        return Some(if octal.bytes().all(|b| b == b'_') { Reading::Int(Some(0)) } else { of(octal, 8) });
    }
    if !rest.starts_with(|c: char| matches!(c, '1'..='9')) {
        return None;
    }
    if rest.contains(':') {
        let number = sexagesimal(rest, starts_with_digit)?;
        return Some(Reading::Int(number.map(|number| if negative { -number } else { number })));
    }
    made_of(rest, |b| b.is_ascii_digit()).then(|| of(rest, 10))
}

/// `1:30` is 90. `None`: it is no such number; its value is unknown where it is too large.
#[allow(clippy::option_option)] // Whether it is one, and which.
fn sexagesimal(text: &str, first_fits: impl Fn(&str) -> bool) -> Option<Option<i128>> {
    let mut parts = text.split(':');
    let first = parts.next()?;
    if !first_fits(first) || !first.bytes().all(is_digit_or_underscore) {
        return None;
    }
    let mut number = first.replace('_', "").parse::<i128>().ok();
    for part in parts {
        let fits = matches!(part.as_bytes(), [b'0'..=b'9'] | [b'0'..=b'5', b'0'..=b'9']);
        let part = part.parse::<i128>().ok().filter(|_| fits)?;
        number = number.and_then(|number| number.checked_mul(60)?.checked_add(part));
    }
    Some(number)
}

fn to_f64(seconds: Option<i128>) -> f64 {
    seconds.and_then(|seconds| seconds.to_string().parse().ok()).unwrap_or(f64::INFINITY)
}

/// `2026-11-30`, with or without a time.
fn is_date(word: &str) -> bool {
    let (date, time) = match word.find(['T', 't', ' ', '\t']) {
        Some(at) => (word.get(..at).unwrap_or_default(), word.get(at + 1..)),
        None => (word, None),
    };
    let parts: Vec<&str> = date.split('-').collect();
    let [year, month, day] = parts.as_slice() else { return false };
    let all_digits = [year, month, day].iter().all(|part| digits(part));
    let lengths = (year.len(), month.len(), day.len());
    match time {
        None => all_digits && lengths == (4, 2, 2),
        Some(time) => {
            let hour = time.trim_start().split(':').next().unwrap_or_default();
            all_digits && matches!(lengths, (4, 1..=2, 1..=2)) && digits(hour) && time.matches(':').count() >= 2
        }
    }
}

fn signed(word: &str) -> (bool, &str) {
    match word.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, word.strip_prefix('+').unwrap_or(word)),
    }
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_digit())
}

fn starts_with_digit(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
}

fn is_digit_or_underscore(b: u8) -> bool {
    b.is_ascii_digit() || b == b'_'
}
