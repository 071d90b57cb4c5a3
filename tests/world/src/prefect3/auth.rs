//! Who is asking.

use super::{
    Auth, Switches,
    answer::{Outcome, detail, exception},
};
use axum::http::{HeaderMap, Method, header};

/// Refuses callers who may not ask. Health and readiness are told to everybody.
pub(super) fn check(switches: &Switches, method: &Method, path: &str, headers: &HeaderMap) -> Outcome<()> {
    if *method == Method::GET && matches!(path, "/health" | "/ready") {
        return Ok(());
    }
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (scheme, credentials) = authorization.split_once(' ').unwrap_or_default();
    match &switches.auth {
        Auth::None => Ok(()),
        Auth::Basic { auth_string } if scheme == "Basic" && credentials.trim() == base64(auth_string) => Ok(()),
        Auth::Basic { .. } => Err(exception(401, "Unauthorized")),
        Auth::Keys { keys } if scheme == "Bearer" && keys.iter().any(|key| key == credentials.trim()) => Ok(()),
        Auth::Keys { .. } => Err(detail(401, "Invalid authentication credentials")),
    }
}

/// Base64 with padding.
fn base64(text: &str) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut encoded = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let mut bits = 0_u32;
        for index in 0..3 {
            bits = bits << 8 | chunk.get(index).copied().map_or(0, u32::from);
        }
        for index in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * index) & 63) as usize];
            encoded.push(if index <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    encoded
}
