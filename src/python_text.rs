//! Texts as Python writes them: `str` and `repr` of JSON values, which Prefect writes into labels, tags and messages,
//! and times.
//!
//! And what `python-slugify` makes of names: as parts of a task definition's family, and as tags.

use crate::clock::that_can_be_shown;
use crate::model::RunRefusal;
use serde_json::{Number, Value};
use std::fmt::{Display, Write};
use time::format_description::well_known::{Iso8601, Rfc3339};
use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};
use unicode_normalization::UnicodeNormalization;

/// `str(value)`.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => repr(other),
    }
}

/// `repr(value)`.
pub(crate) fn repr(value: &Value) -> String {
    match value {
        Value::Null => "None".into(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::Number(number) => number_repr(number),
        Value::String(text) => text_repr(text),
        Value::Array(items) => list_repr(items.iter().map(repr)),
        Value::Object(map) => {
            let pairs: Vec<_> = map.iter().map(|(key, value)| format!("{}: {}", text_repr(key), repr(value))).collect();
            format!("{{{}}}", pairs.join(", "))
        }
    }
}

/// `str(list_of_texts)`, e.g. `['a', "it's"]`.
pub(crate) fn list_text(texts: &[String]) -> String {
    list_repr(texts.iter().map(|text| text_repr(text)))
}

/// `repr(text)`: single quotes unless that needs escapes, everything that cannot be printed escaped.
pub(crate) fn text_repr(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for character in text.chars() {
        match character {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == '\\' || c == quote => out.extend(['\\', c]),
            c if is_printable(c) => out.push(c),
            c => push_escape(&mut out, c),
        }
    }
    out.push(quote);
    out
}

/// The name of the Python type that `value` has.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "NoneType",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "str",
        Value::Array(_) => "list",
        Value::Object(_) => "dict",
    }
}

/// `bool(value)`.
pub(crate) fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// A refusal where Python fails by accident: what is wrong, then the text Python gives, which people search for.
pub(crate) fn accident(wrong: impl Display, python: impl Display) -> RunRefusal {
    RunRefusal(format!("{wrong}: {python}"))
}

fn list_repr(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

/// Rust changes to exponents at the same magnitudes as Python, but writes `1e-5` for `1e-05` and `1e16` for `1e+16`.
fn number_repr(number: &Number) -> String {
    let Some(float) = number.as_f64().filter(|_| number.is_f64()) else {
        return number.to_string();
    };
    let text = format!("{float:?}");
    match text.split_once('e') {
        None => text,
        Some((mantissa, exponent)) => {
            let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
            format!("{mantissa}e{sign}{digits:0>2}")
        }
    }
}

/// `str.isprintable`. Rust's own escaping has the same rule (categories C and Z except space) once a preceding
/// character keeps it from escaping combining marks too.
fn is_printable(character: char) -> bool {
    !['a', character].iter().collect::<String>().escape_debug().any(|c| c == '{' && character != '{')
        && character != '\0'
}

fn push_escape(out: &mut String, character: char) {
    let code = u32::from(character);
    let _ = match code {
        0..=0xff => write!(out, "\\x{code:02x}"),
        0x100..=0xffff => write!(out, "\\u{code:04x}"),
        _ => write!(out, "\\U{code:08x}"),
    };
}

// Prefect's times: ISO 8601 as Python writes it, in many shapes; written in one.

/// Reads a time: `T` or a space, any fraction, `Z`, `+00:00`, `+0000` or no offset at all (UTC, as in Python). Only what
/// can be shown is a time.
pub(crate) fn parse_time(text: &str) -> Option<OffsetDateTime> {
    let text = text.trim();
    let text = if text.as_bytes().get(10) == Some(&b' ') { text.replacen(' ', "T", 1) } else { text.to_owned() };
    OffsetDateTime::parse(&text, &Rfc3339)
        .or_else(|_| OffsetDateTime::parse(&text, &Iso8601::DEFAULT))
        .or_else(|_| OffsetDateTime::parse(&format!("{text}Z"), &Rfc3339))
        .ok()
        .and_then(that_can_be_shown)
}

/// Writes a time as Python's `isoformat` does: UTC, six digits, `+00:00`.
pub(crate) fn iso_time(time: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]+00:00");
    // Formatting fails for years beyond 9999 only, which no clock here shows.
    time.checked_to_offset(UtcOffset::UTC).and_then(|time| time.format(&format).ok()).unwrap_or_default()
}

/// A slug of lower-case letters, digits and single dashes, at most `max_length` characters, cut between words.
///
/// Empty for a text without letters or digits.
pub(crate) fn slug(text: &str, max_length: usize) -> String {
    let text = replace_runs(text, |c| c == '\'', "-");
    let text = transliterate(&text);
    let text = decode_entities(&text);
    let text: String = text.nfkd().collect::<String>().to_lowercase().replace('\'', "");
    let text = without_digit_commas(&text);
    let text = replace_runs(&text, |c| !c.is_ascii_lowercase() && !c.is_ascii_digit(), "-");
    truncate(text.trim_matches('-'), max_length)
}

/// A text as key or value of a tag: what ECS does not allow becomes single dashes, none of them at the ends. Not cut.
pub(crate) fn tag_slug(text: &str) -> String {
    let text = replace_runs(text, |c| c == '\'', "-");
    let text = decode_entities(&text.nfkc().collect::<String>());
    let text = text.nfkc().collect::<String>().replace('\'', "");
    let text = without_digit_commas(&text);
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "_./=+:@-".contains(c);
    let text: String = text.chars().map(|c| if is_allowed(c) { c } else { '-' }).collect();
    replace_runs(&text, |c| c == '-', "-").trim_matches('-').into()
}

/// ASCII spelling of every character, as `text-unidecode` 1.3 has it: an older table than the `unidecode` crate's.
fn transliterate(text: &str) -> String {
    text.chars().map(|c| older_spelling(c).unwrap_or_else(|| spelling(c))).collect()
}

/// Where the two tables differ in more than punctuation.
fn older_spelling(character: char) -> Option<&'static str> {
    Some(match character {
        '\u{80}'..='\u{9f}' | '\u{2e5}'..='\u{2eb}' | '\u{fdf0}'..='\u{fdfb}' => "",
        '\u{2ef}'
        | '\u{2f3}'
        | '\u{3f4}'..='\u{3f9}'
        | '\u{3fc}'..='\u{3ff}'
        | '\u{6ff}'
        | '\u{af1}'
        | '\u{af9}'
        | '\u{13f5}'
        | '\u{13f8}'..='\u{13fd}'
        | '\u{1efa}'..='\u{1eff}'
        | '\u{30ff}'
        | '\u{33ff}'
        | '\u{fdfc}'
        | '\u{fdfd}' => "[?]",
        '\u{25f4}'..='\u{25f7}' => "#",
        _ => return None,
    })
}

/// The text with `by` for every run of characters that are to be replaced.
pub(crate) fn replace_runs(text: &str, is_replaced: impl Fn(char) -> bool, by: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_run = false;
    for character in text.chars() {
        let replaced = is_replaced(character);
        if !replaced {
            out.push(character);
        } else if !in_run {
            out.push_str(by);
        }
        in_run = replaced;
    }
    out
}

/// `1,000` is `1000`.
fn without_digit_commas(text: &str) -> String {
    let bytes = text.as_bytes();
    let is_digit = |index: Option<usize>| index.and_then(|i| bytes.get(i)).is_some_and(u8::is_ascii_digit);
    text.char_indices()
        .filter(|&(at, c)| c != ',' || !(is_digit(at.checked_sub(1)) && is_digit(Some(at + 1))))
        .map(|(_, c)| c)
        .collect()
}

/// Whole words in order, while there is room; the first word is cut if it alone is too long. ASCII only.
fn truncate(text: &str, max_length: usize) -> String {
    if text.len() < max_length {
        return text.into();
    }
    let mut out = String::new();
    for word in text.split('-') {
        let length = out.len() + word.len();
        if length > max_length {
            break;
        }
        out.push_str(word);
        if length == max_length {
            break;
        }
        out.push('-');
    }
    if out.is_empty() {
        out.push_str(text.get(..max_length).unwrap_or(text));
    }
    out.trim_matches('-').into()
}

// HTML character references: a flow named `R&amp;D` is meant to be `R&D`.

/// The entities of HTML 4 and their code points; those of HTML 5 (`&apos;`) stay as they are written.
const ENTITIES: &str = "\
    AElig=c6 Aacute=c1 Acirc=c2 Agrave=c0 Alpha=391 Aring=c5 Atilde=c3 Auml=c4 Beta=392 Ccedil=c7 Chi=3a7 \
    Dagger=2021 Delta=394 ETH=d0 Eacute=c9 Ecirc=ca Egrave=c8 Epsilon=395 Eta=397 Euml=cb Gamma=393 Iacute=cd \
    Icirc=ce Igrave=cc Iota=399 Iuml=cf Kappa=39a Lambda=39b Mu=39c Ntilde=d1 Nu=39d OElig=152 Oacute=d3 Ocirc=d4 \
    Ograve=d2 Omega=3a9 Omicron=39f Oslash=d8 Otilde=d5 Ouml=d6 Phi=3a6 Pi=3a0 Prime=2033 Psi=3a8 Rho=3a1 \
    Scaron=160 Sigma=3a3 THORN=de Tau=3a4 Theta=398 Uacute=da Ucirc=db Ugrave=d9 Upsilon=3a5 Uuml=dc Xi=39e \
    Yacute=dd Yuml=178 Zeta=396 aacute=e1 acirc=e2 acute=b4 aelig=e6 agrave=e0 alefsym=2135 alpha=3b1 amp=26 \
    and=2227 ang=2220 aring=e5 asymp=2248 atilde=e3 auml=e4 bdquo=201e beta=3b2 brvbar=a6 bull=2022 cap=2229 \
    ccedil=e7 cedil=b8 cent=a2 chi=3c7 circ=2c6 clubs=2663 cong=2245 copy=a9 crarr=21b5 cup=222a curren=a4 \
    dArr=21d3 dagger=2020 darr=2193 deg=b0 delta=3b4 diams=2666 divide=f7 eacute=e9 ecirc=ea egrave=e8 empty=2205 \
    emsp=2003 ensp=2002 epsilon=3b5 equiv=2261 eta=3b7 eth=f0 euml=eb euro=20ac exist=2203 fnof=192 forall=2200 \
    frac12=bd frac14=bc frac34=be frasl=2044 gamma=3b3 ge=2265 gt=3e hArr=21d4 harr=2194 hearts=2665 hellip=2026 \
    iacute=ed icirc=ee iexcl=a1 igrave=ec image=2111 infin=221e int=222b iota=3b9 iquest=bf isin=2208 iuml=ef \
    kappa=3ba lArr=21d0 lambda=3bb lang=2329 laquo=ab larr=2190 lceil=2308 ldquo=201c le=2264 lfloor=230a \
    lowast=2217 loz=25ca lrm=200e lsaquo=2039 lsquo=2018 lt=3c macr=af mdash=2014 micro=b5 middot=b7 minus=2212 \
    mu=3bc nabla=2207 nbsp=a0 ndash=2013 ne=2260 ni=220b not=ac notin=2209 nsub=2284 ntilde=f1 nu=3bd oacute=f3 \
    ocirc=f4 oelig=153 ograve=f2 oline=203e omega=3c9 omicron=3bf oplus=2295 or=2228 ordf=aa ordm=ba oslash=f8 \
    otilde=f5 otimes=2297 ouml=f6 para=b6 part=2202 permil=2030 perp=22a5 phi=3c6 pi=3c0 piv=3d6 plusmn=b1 \
    pound=a3 prime=2032 prod=220f prop=221d psi=3c8 quot=22 rArr=21d2 radic=221a rang=232a raquo=bb rarr=2192 \
    rceil=2309 rdquo=201d real=211c reg=ae rfloor=230b rho=3c1 rlm=200f rsaquo=203a rsquo=2019 sbquo=201a \
    scaron=161 sdot=22c5 sect=a7 shy=ad sigma=3c3 sigmaf=3c2 sim=223c spades=2660 sub=2282 sube=2286 sum=2211 \
    sup=2283 sup1=b9 sup2=b2 sup3=b3 supe=2287 szlig=df tau=3c4 there4=2234 theta=3b8 thetasym=3d1 thinsp=2009 \
    thorn=fe tilde=2dc times=d7 trade=2122 uArr=21d1 uacute=fa uarr=2191 ucirc=fb ugrave=f9 uml=a8 upsih=3d2 \
    upsilon=3c5 uuml=fc weierp=2118 xi=3be yacute=fd yen=a5 yuml=ff zeta=3b6 zwj=200d zwnj=200c";

/// Decodes named, then decimal, then hexadecimal references. One impossible number leaves all of its kind undecoded.
fn decode_entities(text: &str) -> String {
    let text = replace(text, "&", named).unwrap_or_else(|| text.to_owned());
    let text = replace(&text, "&#", |digits| numeric(digits, 10)).unwrap_or(text);
    replace(&text, "&#x", |digits| numeric(digits, 16)).unwrap_or(text)
}

/// What a reference stands for.
enum Meaning {
    Character(char),
    /// It is none.
    Nothing,
    /// A number that no character has.
    Impossible,
}

/// Replaces each `<start>…;` that stands for a character; `None` if one is impossible.
fn replace(text: &str, start: &str, meaning: impl Fn(&str) -> Meaning) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(start) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        rest = &from[start.len()..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        match after.strip_prefix(';').map(|after| (meaning(name), after)) {
            Some((Meaning::Character(character), after)) => {
                out.push(character);
                rest = after;
            }
            Some((Meaning::Impossible, _)) => return None,
            Some((Meaning::Nothing, _)) | None => out.push_str(start),
        }
    }
    out.push_str(rest);
    Some(out)
}

fn named(name: &str) -> Meaning {
    ENTITIES
        .split_ascii_whitespace()
        .find_map(|entity| entity.strip_prefix(name)?.strip_prefix('='))
        .and_then(|code| char::from_u32(u32::from_str_radix(code, 16).ok()?))
        .map_or(Meaning::Nothing, Meaning::Character)
}

fn numeric(digits: &str, radix: u32) -> Meaning {
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return Meaning::Nothing;
    }
    match u32::from_str_radix(digits, radix) {
        // Python has surrogates as characters; like U+FFFD they have no place in a slug.
        Ok(code @ 0..=0x10_ffff) => Meaning::Character(char::from_u32(code).unwrap_or('\u{fffd}')),
        _ => Meaning::Impossible,
    }
}

// ASCII spellings of characters: the table of the `unidecode` crate, packed by the build script.

/// All spellings, one after the other.
static TEXT: &str = include_str!(concat!(env!("OUT_DIR"), "/spellings.txt"));
/// Length of each character's spelling, by code point.
static LENGTHS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/spelling_lengths.bin"));
/// Where in the text each block of 256 characters begins: little-endian, four bytes.
static STARTS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/spelling_starts.bin"));

/// Characters of a block.
const BLOCK: usize = 256;

/// The spelling of a character; empty beyond the Basic Multilingual Plane.
fn spelling(character: char) -> &'static str {
    find_spelling(character as usize).unwrap_or_default()
}

fn find_spelling(point: usize) -> Option<&'static str> {
    let block = point / BLOCK;
    let length = usize::from(*LENGTHS.get(point)?);
    let start: [u8; 4] = STARTS.get(block * 4..)?.first_chunk().copied()?;
    let before: usize = LENGTHS.get(block * BLOCK..point)?.iter().map(|length| usize::from(*length)).sum();
    let start = usize::try_from(u32::from_le_bytes(start)).ok()? + before;
    TEXT.get(start..start + length)
}

#[cfg(test)]
mod slug_tests;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use time::macros::datetime;

    #[test]
    fn reads_every_shape_that_python_and_postgres_write() {
        for (text, expected) in [
            ("2026-11-22T16:41:02.881859+00:00", datetime!(2026-11-22 16:41:02.881859 UTC)),
            ("2026-11-22T16:41:02Z", datetime!(2026-11-22 16:41:02 UTC)),
            ("2026-11-22T16:41:02.5Z", datetime!(2026-11-22 16:41:02.5 UTC)),
            ("2026-11-22T18:41:02+02:00", datetime!(2026-11-22 16:41:02 UTC)),
            ("2026-11-22T11:11:02.000001-05:30", datetime!(2026-11-22 16:41:02.000001 UTC)),
            ("2026-11-22 16:41:02+00:00", datetime!(2026-11-22 16:41:02 UTC)),
            ("2026-11-22T16:41:02", datetime!(2026-11-22 16:41:02 UTC)),
            ("2026-11-22T16:41:02.123456", datetime!(2026-11-22 16:41:02.123456 UTC)),
            ("2026-11-22T16:41:02+0000", datetime!(2026-11-22 16:41:02 UTC)),
        ] {
            assert_eq!(parse_time(text), Some(expected), "{text}");
        }
        for text in ["", "now", "2026-11-22", "22.11.2026 16:41"] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }

    #[test]
    fn a_time_that_cannot_be_shown_in_utc_is_none() {
        for text in [
            "9999-12-31T23:59:59-01:00",
            "9999-12-31 23:59:59-0100",
            "-009999-01-01T00:00:00+01:00",
            "0000-01-01T00:00:00+00:01",
            "-000001-06-01T00:00:00Z",
        ] {
            assert_eq!(parse_time(text), None, "{text}");
        }
        for text in ["9999-12-31T23:59:59Z", "0000-01-01T00:00:00Z", "9999-12-31T23:59:59+01:00"] {
            let read = parse_time(text).unwrap();
            assert!(!iso_time(read).is_empty() && read.format(&Rfc3339).is_ok(), "{text}");
        }
        assert_eq!(parse_time("2026-11-22T18:41:02+02:00").unwrap().offset().whole_hours(), 2, "the offset is kept");
    }

    #[test]
    fn writes_utc_with_six_digits() {
        assert_eq!(iso_time(datetime!(2026-11-22 18:41:15.118061 +2)), "2026-11-22T16:41:15.118061+00:00");
        assert_eq!(iso_time(datetime!(2026-11-22 16:41:15 UTC)), "2026-11-22T16:41:15.000000+00:00");
    }
}

#[cfg(test)]
mod spelling_tests {
    #[test]
    fn every_character_is_spelt_as_by_the_crate() {
        for character in '\0'..=char::MAX {
            assert_eq!(super::spelling(character), unidecode::unidecode_char(character), "{character:?}");
        }
    }
}
