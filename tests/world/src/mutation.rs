//! An answer changed in one place, by a number: the same number changes the same answer in the same way.

use serde_json::{Map, Value, json};

/// How deep what is nested is nested.
const DEPTH: usize = 10_000;
/// Characters of a text that is too long.
const HUGE: usize = 1_000_000;
/// Ways to change a body, whatever is in it, and ways to change one value of it.
const OF_BODY: u64 = 8;
const OF_VALUE: u64 = 14;

/// A body changed in the way of this number.
pub fn mutated(body: &[u8], seed: u64) -> Vec<u8> {
    let (way, place) = (seed % (OF_BODY + 3 * OF_VALUE), usize::try_from(seed / 7).unwrap_or_default());
    if way < OF_BODY {
        return of_body(body, way);
    }
    match serde_json::from_slice::<Value>(body) {
        Ok(value) => of_value(value, (way - OF_BODY) % OF_VALUE, place),
        Err(_) => of_text(body, (way - OF_BODY) % OF_VALUE, place),
    }
}

fn of_body(body: &[u8], way: u64) -> Vec<u8> {
    match way {
        0 => Vec::new(),
        1 => body.get(..body.len() / 2).unwrap_or_default().to_vec(),
        2 => body.get(..body.len().saturating_sub(1)).unwrap_or_default().to_vec(),
        3 => "[".repeat(DEPTH).into_bytes(),
        4 => nested(DEPTH).into_bytes(),
        5 => [b"\xff\xfe", body].concat(),
        6 => json!("x".repeat(HUGE)).to_string().into_bytes(),
        _ => [body, b"}"].concat(),
    }
}

/// Closed lists in closed objects.
fn nested(depth: usize) -> String {
    format!("{}null{}", "{\"a\":[".repeat(depth / 2), "]}".repeat(depth / 2))
}

/// One value of many becomes another. What is too deep to be a value is put into the text.
fn of_value(mut value: Value, way: u64, place: usize) -> Vec<u8> {
    const DEEP: &str = "\"put something deep here\"";
    let odd = match way {
        0 => Some(Value::Null),
        1 => Some(json!(7)),
        2 => Some(json!("x")),
        3 => Some(json!([])),
        4 => Some(json!({})),
        5 => Some(json!([null])),
        6 => Some(json!(true)),
        7 => Some(json!(-1.5e300)),
        8 => Some(json!("x".repeat(HUGE))),
        9 => Some(json!([[1, "x"], {"id": []}])),
        10 => Some(json!("9999-12-31T23:59:59.999999Z")),
        11 => Some(json!(u64::MAX)),
        12 => Some(json!("put something deep here")),
        _ => None,
    };
    let count = nodes(&value);
    change(&mut value, &mut (place % count), odd);
    value.to_string().replace(DEEP, &nested(DEPTH)).into_bytes()
}

fn nodes(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(nodes).sum(),
        Value::Object(fields) => fields.values().map(nodes).sum::<usize>(),
        _ => 0,
    }
}

/// Puts `odd` in the place of the value to which so many values lead, or takes that away. Says whether it was there.
fn change(value: &mut Value, left: &mut usize, odd: Option<Value>) -> bool {
    if *left == 0 {
        *value = odd.unwrap_or(Value::Null);
        return true;
    }
    *left -= 1;
    match value {
        Value::Array(items) => {
            for item in items {
                if change(item, left, odd.clone()) {
                    return true;
                }
            }
        }
        Value::Object(fields) => return change_field(fields, left, odd.as_ref()),
        _ => {}
    }
    false
}

fn change_field(fields: &mut Map<String, Value>, left: &mut usize, odd: Option<&Value>) -> bool {
    let names: Vec<String> = fields.keys().cloned().collect();
    for name in names {
        if *left == 0 && odd.is_none() {
            fields.shift_remove(&name);
            return true;
        }
        if let Some(value) = fields.get_mut(&name)
            && change(value, left, odd.cloned())
        {
            return true;
        }
    }
    false
}

/// XML, or whatever else is no JSON.
fn of_text(body: &[u8], way: u64, place: usize) -> Vec<u8> {
    let text = String::from_utf8_lossy(body).into_owned();
    let tags: Vec<usize> = text.match_indices('<').map(|(at, _)| at).collect();
    let at = tags.get(place % tags.len().max(1)).copied().unwrap_or_default();
    let (before, after) = text.split_at(at);
    let between = match way {
        0 => String::new(),
        1 => "<a>".repeat(DEPTH),
        2 => format!("{}{}", "<a>".repeat(DEPTH), "</a>".repeat(DEPTH)),
        3 => "x".repeat(HUGE),
        4 => "&#xFFFFFFFF;&nope;".into(),
        5 => "</unopened>".into(),
        6 => "<!DOCTYPE a [<!ENTITY b \"c\">]>&b;".into(),
        7 => "<![CDATA[".into(),
        8 => "<a b=".into(),
        9 => "<?".into(),
        _ => "\0".into(),
    };
    let after = if way == 0 { after.split_once('>').map_or("", |(_, rest)| rest) } else { after };
    format!("{before}{between}{after}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_changes_an_answer_and_the_same_one_in_the_same_way() {
        let bodies = [r#"{"a": [1, {"b": "c"}], "d": null}"#, "<a><b>c</b></a>"];
        for (body, seed) in bodies.into_iter().flat_map(|body| (0..500).map(move |seed| (body, seed))) {
            let changed = mutated(body.as_bytes(), seed);
            assert_eq!(changed, mutated(body.as_bytes(), seed));
        }
        let different: std::collections::BTreeSet<_> =
            (0..500).map(|seed| mutated(bodies[0].as_bytes(), seed)).collect();
        assert!(different.len() > 60, "{}", different.len());
    }
}
