//! Pure: who sees the page. A browser can neither sign for IAM nor send a bearer token, so whoever knows the page's token
//! gets a cookie for twelve hours.

use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use std::time::Duration;
use subtle::ConstantTimeEq;
use time::OffsetDateTime;

/// A cookie is good for so long.
pub const SESSION: Duration = Duration::from_hours(12);

/// A token that is shorter opens nothing: whoever has a cookie could find it by trying, without asking anybody.
pub const SHORTEST_TOKEN: usize = 16;

/// Browsers only take a cookie of this name from HTTPS, for this host and all its paths.
const NAME: &str = "__Host-psa-page";

/// A cookie that was shown, read but not believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownCookie {
    expires: i64,
    tag: Vec<u8>,
}

impl ShownCookie {
    /// The page's among the cookies of a request (`name=value` each), unless it is over or nothing that was ever given:
    /// then nobody needs to look the token up.
    pub fn among<'a>(cookies: impl IntoIterator<Item = &'a str>, now: OffsetDateTime) -> Option<Self> {
        let value = cookies.into_iter().find_map(|cookie| {
            let (name, value) = cookie.trim().split_once('=')?;
            (name == NAME).then_some(value)
        })?;
        let (expires, tag) = value.split_once('.')?;
        let (expires, tag) = (expires.parse::<i64>().ok()?, hex::decode(tag).ok()?);
        let latest = now.unix_timestamp().saturating_add_unsigned(SESSION.as_secs());
        (tag.len() == 32 && now.unix_timestamp() < expires && expires <= latest).then_some(Self { expires, tag })
    }

    /// Whether it was given to somebody who knew this token, here. In constant time.
    pub fn is_of(&self, token: &SecretString, root: &str) -> bool {
        is_usable(token) && mac(token, root, self.expires).is_some_and(|mac| mac.verify_slice(&self.tag).is_ok())
    }
}

/// The `Set-Cookie` for whoever knows the token.
pub fn cookie(token: &SecretString, root: &str, now: OffsetDateTime) -> Option<String> {
    let expires = now.unix_timestamp().saturating_add_unsigned(SESSION.as_secs());
    let tag = hex::encode(mac(token, root, expires)?.finalize().into_bytes());
    Some(set_cookie(&format!("{expires}.{tag}"), SESSION))
}

/// The `Set-Cookie` that takes it away.
pub fn no_cookie() -> String {
    set_cookie("", Duration::ZERO)
}

fn set_cookie(value: &str, age: Duration) -> String {
    format!("{NAME}={value}; Path=/; Max-Age={}; HttpOnly; Secure; SameSite=Strict", age.as_secs())
}

/// Under the token, so that another token ends all sessions; of this deployment, should another have the same.
fn mac(token: &SecretString, root: &str, expires: i64) -> Option<Hmac<Sha256>> {
    let mac = Hmac::<Sha256>::new_from_slice(token.expose_secret().as_bytes()).ok()?;
    Some(mac.chain_update(format!("prefect-serverless-agent page\n{root}\n{expires}")))
}

/// Whether a token is long enough to open anything.
pub fn is_usable(token: &SecretString) -> bool {
    token.expose_secret().len() >= SHORTEST_TOKEN
}

/// Whether this is the token: in constant time, how long a comparison takes must not tell how much was right.
pub fn is_token(shown: &SecretString, token: &SecretString) -> bool {
    is_usable(token) && bool::from(shown.expose_secret().as_bytes().ct_eq(token.expose_secret().as_bytes()))
}

/// What a form was sent with.
#[derive(Debug)]
pub enum Sent {
    /// A token.
    Token(SecretString),
    /// Whoever had a cookie gives it back.
    SignOut,
    /// Something else.
    Nothing,
}

/// The largest form that is read, bytes.
const FORM: usize = 4096;

impl Sent {
    /// Reads a form (`application/x-www-form-urlencoded`).
    pub fn read(body: &[u8]) -> Self {
        let Some(form) = std::str::from_utf8(body).ok().filter(|form| form.len() <= FORM) else { return Self::Nothing };
        let field = |wanted: &str| {
            form.split('&')
                .find_map(|pair| pair.split_once('=').filter(|(name, _)| *name == wanted))
                .map(|(_, value)| value)
        };
        if field("sign-out").is_some() {
            return Self::SignOut;
        }
        let token = field("token").and_then(|token| {
            let token = token.replace('+', " ");
            percent_decode_str(&token).decode_utf8().ok().map(|token| token.trim().to_owned())
        });
        token.filter(|token| !token.is_empty()).map_or(Self::Nothing, |token| Self::Token(SecretString::from(token)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-30 22:00 UTC);
    const ROOT: &str = "/psa/prod";

    fn token() -> SecretString {
        SecretString::from("0123456789abcdef")
    }

    /// What a browser sends back.
    fn given(set: &str) -> &str {
        set.split(';').next().unwrap()
    }

    #[test]
    fn a_cookie_opens_the_page_for_twelve_hours_here_and_with_this_token() {
        let set = cookie(&token(), ROOT, NOW).unwrap();
        for attribute in ["; Path=/;", "; Max-Age=43200;", "; HttpOnly;", "; Secure;", "; SameSite=Strict"] {
            assert!(set.contains(attribute), "{set}");
        }
        assert!(!set.contains("0123456789abcdef"), "{set}");
        let shown = |at| ShownCookie::among(["other=1", given(&set)], at);
        let cookie = shown(NOW).unwrap();
        assert!(cookie.is_of(&token(), ROOT) && shown(NOW + time::Duration::hours(11)).unwrap() == cookie);
        assert!(!cookie.is_of(&SecretString::from("0123456789abcdeX"), ROOT), "another token");
        assert!(!cookie.is_of(&token(), "/psa/other"), "another deployment");
        assert_eq!(shown(NOW + time::Duration::hours(12)), None, "it is over");
    }

    #[test]
    fn a_cookie_that_was_changed_opens_nothing() {
        let set = cookie(&token(), ROOT, NOW).unwrap();
        let (expires, tag) = given(&set).split_once('=').unwrap().1.split_once('.').unwrap();
        let later = expires.parse::<i64>().unwrap() - 1;
        let changed = ShownCookie::among([format!("{NAME}={later}.{tag}").as_str()], NOW).unwrap();
        assert!(!changed.is_of(&token(), ROOT));
        let too_late = NOW.unix_timestamp() + 43_201;
        for odd in [
            String::new(),
            expires.to_owned(),
            format!("{expires}."),
            format!("{expires}.00"),
            format!("{too_late}.{tag}"),
            format!("-1.{tag}"),
            format!("{expires}.{}", "zz".repeat(32)),
        ] {
            assert_eq!(ShownCookie::among([format!("{NAME}={odd}").as_str()], NOW), None, "{odd}");
        }
    }

    #[test]
    fn a_short_token_opens_nothing() {
        let short = SecretString::from("0123456789abcde");
        let set = cookie(&short, ROOT, NOW).unwrap();
        assert!(!ShownCookie::among([given(&set)], NOW).unwrap().is_of(&short, ROOT));
        assert!(!is_token(&short, &short) && !is_token(&SecretString::from(""), &SecretString::from("")));
        assert!(is_token(&token(), &token()) && !is_token(&short, &token()));
    }

    #[test]
    fn forms_are_read_as_browsers_send_them() {
        let read = |form: &str| match Sent::read(form.as_bytes()) {
            Sent::Token(token) => token.expose_secret().to_owned(),
            Sent::SignOut => "sign out".to_owned(),
            Sent::Nothing => "nothing".to_owned(),
        };
        assert_eq!(read("token=a%2Bb+c%26%C3%A9"), "a+b c&é");
        assert_eq!(read("x=1&token=+abc%0D%0A"), "abc");
        assert_eq!(read("sign-out=1"), "sign out");
        for nothing in ["", "token", "token=", "tokens=a", "token=%FF", &format!("token={}", "a".repeat(FORM))] {
            assert_eq!(read(nothing), "nothing", "{nothing:.20}");
        }
    }
}
