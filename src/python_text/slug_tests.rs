#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::{slug, tag_slug};
use proptest::prelude::*;

/// What `python-slugify` (5.0.2 and 7.0.0) makes of these with a maximum of 247.
const CASES: [(&str, &str); 22] = [
    ("", ""),
    ("🚀 !!!", ""),
    ("My Flow: ETL / v2", "my-flow-etl-v2"),
    ("c's it’s", "c-s-its"),
    ("1,000 and 1, 2", "1000-and-1-2"),
    ("Ünïcødé — наука 数据", "unicode-nauka-shu-ju"),
    ("caf&eacute;s R&amp;D", "cafe-s-r-d"),
    ("&frac12; &sup2;", "1-2-2"),
    ("&#39;a&#x42;&#67;", "abc"),
    ("a&#99999999;b&#67;", "a-99999999-b-67"),
    ("&apos;a&AMP;b", "apos-a-amp-b"),
    ("&amp;#65;", "a"),
    ("№ ™ ﬁ Ⅷ ½", "tm-fi-viii-1-2"),
    ("\u{80}a\u{99}b", "ab"),
    ("a\u{2e5}b\u{3f7}c", "ab-c"),
    ("x\u{25f4}y\u{30ff}z\u{33ff}", "x-y-z"),
    ("ﷺ", ""),
    ("a__b--c..d", "a-b-c-d"),
    ("ß Æ Œ Þ", "ss-ae-oe-th"),
    ("İstanbul", "istanbul"),
    ("a\tb\nc", "a-b-c"),
    ("'quoted'", "quoted"),
];

#[test]
fn slugs_are_those_of_python_slugify() {
    for (text, expected) in CASES {
        assert_eq!(slug(text, 247), expected, "slug of {text:?}");
    }
}

#[test]
fn long_texts_are_cut_between_words() {
    assert_eq!(slug("aaa bbb ccc", 8), "aaa-bbb");
    assert_eq!(slug("aaa bbb ccc", 7), "aaa-bbb");
    assert_eq!(slug("aaa bbb ccc", 6), "aaa");
    assert_eq!(slug("aaaa bbbbbb c", 6), "aaaa", "no later word is taken");
    assert_eq!(slug("aaaaaaaa bb", 6), "aaaaaa", "the first word is cut");
    assert_eq!(slug("aaaaaaaa", 8), "aaaaaaaa");
    assert_eq!(slug("aaaaaaaaa", 8), "aaaaaaaa");
}

proptest! {
    #[test]
    fn a_slug_is_a_part_of_a_family_name(text in ".{0,400}", max in 1_usize..300) {
        let slug = slug(&text, max);
        prop_assert!(slug.len() <= max, "{} characters", slug.len());
        prop_assert!(slug.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'), "{slug}");
        prop_assert!(!slug.starts_with('-') && !slug.ends_with('-') && !slug.contains("--"), "{slug}");
    }

    #[test]
    fn a_slug_of_a_slug_is_itself(text in ".{0,400}") {
        let once = slug(&text, 247);
        prop_assert_eq!(slug(&once, 247), once);
    }

    #[test]
    fn short_words_only_change_their_separators(words in proptest::collection::vec("[a-z0-9]{1,9}", 1..10)) {
        prop_assert_eq!(slug(&words.join(" / "), 247), words.join("-"));
    }
}

#[test]
fn tags_keep_case_and_what_ecs_allows() {
    for (text, expected) in [
        ("My Flow: ETL / v2", "My-Flow:-ETL-/-v2"),
        ("it's c''d", "it-s-c-d"),
        ("1,000 and 1, 2", "1000-and-1-2"),
        ("--a--b--", "a-b"),
        ("ⅷ ﬁ ½", "viii-fi-1-2"),
        ("&#65;&#x42;&eacute;&amp;", "AB"),
        ("a_b.c=d+e@f", "a_b.c=d+e@f"),
        ("🚀", ""),
    ] {
        assert_eq!(tag_slug(text), expected, "{text}");
    }
}
