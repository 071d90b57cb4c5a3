//! Patterns of what is allowed: `*` stands for any characters, `?` for one, everything else for itself, byte by byte.

/// A pattern. One that begins with `arn:` has the six parts of an ARN, and no `*` reaches from one of the first five into
/// the next, as in IAM's policies: else `arn:aws:secretsmanager:*:*:secret:a` would match a secret of any name that is
/// asked for with a version called like that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(String);

/// Patterns, of which one has to match.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Globs(Vec<Glob>);

/// What names without an account mean, which ARNs say in full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ArnKind {
    /// The third part of the ARN.
    pub(super) service: &'static str,
    /// What the sixth part begins with.
    pub(super) prefix: &'static str,
    /// A name means one thing in an account, so that a pattern of names also allows ARNs.
    pub(super) is_named_once: bool,
}

/// Roles: a name is unique in its account, whatever its path.
pub(super) const ROLE: ArnKind = ArnKind { service: "iam", prefix: "role/", is_named_once: true };
/// Clusters.
pub(super) const CLUSTER: ArnKind = ArnKind { service: "ecs", prefix: "cluster/", is_named_once: true };
/// Parameters, which other accounts may share: their names do not stand for ARNs.
pub(super) const PARAMETER: ArnKind = ArnKind { service: "ssm", prefix: "parameter/", is_named_once: false };

impl Glob {
    /// A pattern, or what may be written instead.
    pub fn new(text: &str) -> Result<Self, &'static str> {
        if !is_plain(text) {
            return Err("a pattern of ASCII characters without blanks: * stands for any characters, ? for one");
        }
        if text.starts_with("arn:") && arn(text).is_none() {
            return Err("an ARN with all of its six parts (arn:aws:iam::123456789012:role/flows-*)");
        }
        Ok(Self(text.to_owned()))
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn is_all(&self) -> bool {
        self.0.bytes().all(|byte| byte == b'*')
    }

    /// An image as it is written. Into the name of its registry, and out of it, no `*` reaches: else
    /// `1.dkr.ecr.*.amazonaws.com/flows/*` would stand for `1.dkr.ecr.evil.io/x.amazonaws.com/flows/y`.
    fn allows_image(&self, name: &str, has_registry: bool) -> bool {
        let is_any = |part: &str| part.bytes().all(|byte| byte == b'*');
        match (self.0.split_once('/'), name.split_once('/')) {
            (Some((pattern, rest)), Some((registry, repository))) if has_registry && !is_any(pattern) => {
                matches(pattern, registry) && matches(rest, repository)
            }
            // Of a registry it says nothing, unless it begins with any.
            (None, _) if has_registry && !self.0.starts_with('*') => false,
            _ => matches(&self.0, name),
        }
    }

    /// A name or ARN of this kind. `names_are_ours`: names mean what they mean in the agent's own account.
    fn allows(&self, value: &str, kind: ArnKind, names_are_ours: bool) -> bool {
        match (arn(&self.0), arn(value)) {
            (Some(pattern), Some(value)) => pattern.iter().zip(value).all(|(pattern, part)| matches(pattern, part)),
            (Some([_, _, service, _, _, resource]), None) => {
                let resource_of_name = format!("{}{}", kind.prefix, value.trim_start_matches('/'));
                names_are_ours && matches(service, kind.service) && matches(resource, &resource_of_name)
            }
            (None, Some([_, _, service, _, _, resource])) => {
                let name = resource.strip_prefix(kind.prefix).filter(|_| service == kind.service && kind.is_named_once);
                name.and_then(|name| name.rsplit('/').next()).is_some_and(|name| matches(&self.0, name))
            }
            (None, None) => matches(&self.0, value),
        }
    }
}

impl Globs {
    /// These patterns.
    pub fn new(globs: Vec<Glob>) -> Self {
        Self(globs)
    }

    /// As they were written, for people.
    pub fn shown(&self) -> String {
        let all: Vec<&str> = self.0.iter().map(Glob::as_str).collect();
        if all.is_empty() { "none".to_owned() } else { all.join(", ") }
    }

    /// As they were written.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(Glob::as_str)
    }

    /// Whether a text is allowed. What has other characters than the visible ones of ASCII is not: no name of AWS has them,
    /// and some look like others.
    pub fn allow(&self, text: &str) -> bool {
        is_plain(text) && self.0.iter().any(|glob| matches(&glob.0, text))
    }

    /// Whether an image is allowed. `has_registry`: the first part of its name is one.
    pub(super) fn allow_image(&self, name: &str, has_registry: bool) -> bool {
        is_plain(name) && self.0.iter().any(|glob| glob.allows_image(name, has_registry))
    }

    /// Whether a name or ARN is allowed.
    pub(super) fn allow_named(&self, value: &str, kind: ArnKind, names_are_ours: bool) -> bool {
        is_plain(value) && self.0.iter().any(|glob| glob.is_all() || glob.allows(value, kind, names_are_ours))
    }

    /// Whether a name is denied, in upper or lower case: Windows reads them alike, and whoever denies means all.
    pub fn deny(&self, name: &str) -> bool {
        let name = name.trim().to_ascii_lowercase();
        self.0.iter().any(|glob| matches(&glob.0.to_ascii_lowercase(), &name))
    }
}

/// Visible characters of ASCII, at least one.
pub(super) fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The six parts of an ARN.
fn arn(text: &str) -> Option<[&str; 6]> {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    <[&str; 6]>::try_from(parts).ok().filter(|[scheme, ..]| *scheme == "arn")
}

/// Whether a text is what a pattern stands for. Takes at most as many steps as the product of their lengths.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut read) = (0, 0);
    // Where the last `*` stands, and how much of the text it took.
    let mut star: Option<(usize, usize)> = None;
    while let Some(byte) = text.get(read) {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, read));
                at += 1;
            }
            Some(expected) if expected == byte || *expected == b'?' => {
                at += 1;
                read += 1;
            }
            _ => match &mut star {
                Some((stands, took)) => {
                    *took += 1;
                    (at, read) = (*stands + 1, *took);
                }
                None => return false,
            },
        }
    }
    pattern.get(at..).is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn globs(texts: &[&str]) -> Globs {
        Globs::new(texts.iter().map(|text| Glob::new(text).unwrap()).collect())
    }

    #[test]
    fn a_pattern_stands_for_whole_texts() {
        for (pattern, text, expected) in [
            ("*", "anything", true),
            ("a*", "a", true),
            ("a*c", "abbc", true),
            ("a*c", "abbcd", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*aab", "aaab", true),
            ("abc", "ABC", false),
            ("abc", "abc ", false),
            ("a*", "aé", false),
            ("a*", "a\n", false),
            ("[ab]", "a", false),
        ] {
            assert_eq!(globs(&[pattern]).allow(text), expected, "{pattern} {text:?}");
        }
        assert!(!globs(&[]).allow("a"));
    }

    #[test]
    fn no_star_reaches_from_a_registry_into_what_lies_in_it() {
        for (pattern, image, expected) in [
            ("1.dkr.ecr.*.amazonaws.com/flows/*", "1.dkr.ecr.eu-west-1.amazonaws.com/flows/a:1", true),
            ("1.dkr.ecr.*.amazonaws.com/flows/*", "1.dkr.ecr.evil.io/x.amazonaws.com/flows/a:1", false),
            ("*.amazonaws.com/*", "evil.io/x.amazonaws.com/y", false),
            ("python:*", "python:5000/evil:1", false),
            ("python*", "python.evil.io/x", false),
            ("ghcr.io*", "ghcr.io.evil.io/x", false),
            ("*/flows/*", "any.io/team/flows/a", true),
            ("*@sha256:*", "any.io/flows@sha256:aa", true),
            ("*", "any.io/flows", true),
        ] {
            assert_eq!(globs(&[pattern]).allow_image(image, true), expected, "{pattern} {image}");
        }
        assert!(globs(&["python:*"]).allow_image("python:3", false));
        assert!(globs(&["company/*"]).allow_image("company/flows:1", false));
    }

    #[test]
    fn parts_of_an_arn_are_matched_one_by_one() {
        let secrets = globs(&["arn:aws:secretsmanager:*:*:secret:flows/*"]);
        let allow = |value: &str| secrets.allow_named(value, PARAMETER, true);
        assert!(allow("arn:aws:secretsmanager:eu-west-1:1:secret:flows/db-AbCdEf:key::"));
        assert!(!allow("arn:aws:secretsmanager:eu-west-1:1:secret:other:secret:flows/x"));
        assert!(!allow("flows/db"));
        assert!(Glob::new("arn:aws:iam").is_err());
        assert!(Glob::new("a b").is_err() && Glob::new("é").is_err() && Glob::new("").is_err());
    }

    #[test]
    fn names_and_arns_of_one_thing_are_alike_in_the_agents_own_account() {
        let arn = "arn:aws:iam::123456789012:role/team/flow-a";
        for (pattern, value, ours, expected) in [
            ("flow-*", "flow-a", true, true),
            ("flow-*", arn, true, true),
            ("team/*", arn, true, false),
            ("arn:aws:iam::123456789012:role/flow-*", "flow-a", true, true),
            ("arn:aws:iam::123456789012:role/flow-*", "flow-a", false, false),
            ("arn:aws:iam::123456789012:role/*", arn, false, true),
            ("arn:aws:iam::123456789012:role/flow-*", arn, true, false),
            ("arn:aws:ecs:*:*:cluster/flow-a", "flow-a", true, false),
            ("flow-*", "arn:aws:sts::123456789012:assumed-role/x/flow-a", true, false),
            ("*", arn, false, true),
        ] {
            assert_eq!(globs(&[pattern]).allow_named(value, ROLE, ours), expected, "{pattern} {value}");
        }
        let parameters = globs(&["/flows/*"]);
        assert!(parameters.allow_named("/flows/key", PARAMETER, true));
        assert!(!parameters.allow_named("arn:aws:ssm:eu-west-1:999999999999:parameter/flows/key", PARAMETER, true));
        let by_arn = globs(&["arn:aws:ssm:*:1:parameter/flows/*"]);
        assert!(by_arn.allow_named("/flows/key", PARAMETER, true) && by_arn.allow_named("flows/key", PARAMETER, true));
    }

    #[test]
    fn what_is_denied_is_denied_in_any_case() {
        let denied = globs(&["AWS_*", "LD_PRELOAD"]);
        for name in ["AWS_PROFILE", "aws_profile", " AWS_PROFILE", "LD_preload", "AWS_é"] {
            assert!(denied.deny(name), "{name}");
        }
        assert!(!denied.deny("MY_AWS_PROFILE") && !denied.deny("LD_PRELOADED"));
    }

    proptest! {
        #[test]
        fn a_text_matches_itself_and_what_stands_around_a_star(before in "[a-z/:.]{0,8}", middle in "[!-~]{0,8}", after in "[a-z]{0,8}") {
            let (pattern, text) = (format!("{before}*{after}"), format!("{before}{middle}{after}"));
            prop_assert!(matches(&pattern, &text));
            prop_assert!(matches(&before, &before));
        }

        #[test]
        fn no_text_makes_it_panic(pattern in any::<String>(), text in any::<String>()) {
            matches(&pattern, &text);
            globs(&["*"]).allow_named(&text, ROLE, true);
            globs(&["arn:a:b:c:d:e"]).allow_named(&text, ROLE, true);
        }
    }
}
