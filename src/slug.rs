//! What `python-slugify` makes of names: as parts of a task definition's family, and as tags.

mod entities;
mod spelling;

use unicode_normalization::UnicodeNormalization;

/// A slug of lower-case letters, digits and single dashes, at most `max_length` characters, cut between words.
///
/// Empty for a text without letters or digits.
pub(crate) fn slug(text: &str, max_length: usize) -> String {
    let text = replace_runs(text, |c| c == '\'', "-");
    let text = transliterate(&text);
    let text = entities::decode(&text);
    let text: String = text.nfkd().collect::<String>().to_lowercase().replace('\'', "");
    let text = without_digit_commas(&text);
    let text = replace_runs(&text, |c| !c.is_ascii_lowercase() && !c.is_ascii_digit(), "-");
    truncate(text.trim_matches('-'), max_length)
}

/// A text as key or value of a tag: what ECS does not allow becomes single dashes, none of them at the ends. Not cut.
pub(crate) fn tag_slug(text: &str) -> String {
    let text = replace_runs(text, |c| c == '\'', "-");
    let text = entities::decode(&text.nfkc().collect::<String>());
    let text = text.nfkc().collect::<String>().replace('\'', "");
    let text = without_digit_commas(&text);
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "_./=+:@-".contains(c);
    let text: String = text.chars().map(|c| if is_allowed(c) { c } else { '-' }).collect();
    replace_runs(&text, |c| c == '-', "-").trim_matches('-').into()
}

/// ASCII spelling of every character, as `text-unidecode` 1.3 has it: an older table than the `unidecode` crate's.
fn transliterate(text: &str) -> String {
    text.chars().map(|c| older_spelling(c).unwrap_or_else(|| spelling::spelling(c))).collect()
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

#[cfg(test)]
mod tests;
