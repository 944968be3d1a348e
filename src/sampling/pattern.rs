//! Glob patterns over names of services and operations, with the one question that a glob library does not answer:
//! can two patterns match the same name? Two policies must not claim one service, and that is refused at load, before
//! such a service exists.
//!
//! `*` matches any run of characters, also none and also `/`; `?` matches exactly one; everything else is itself.

use std::fmt;

/// A glob over names. At most [`Pattern::LENGTH_MAX`] bytes, so that [`Pattern::intersects`] stays cheap.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pattern {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Part {
    Literal(char),
    AnyOne,
    AnyRun,
}

impl Pattern {
    /// Longest pattern in bytes, the same as the longest service name that is answered.
    pub const LENGTH_MAX: usize = 256;

    /// `None` if `text` is empty or longer than [`Pattern::LENGTH_MAX`] bytes.
    pub fn new(text: &str) -> Option<Self> {
        if text.is_empty() || text.len() > Self::LENGTH_MAX {
            return None;
        }
        let mut parts = Vec::with_capacity(text.len());
        for c in text.chars() {
            match c {
                '*' if parts.last() == Some(&Part::AnyRun) => {}
                '*' => parts.push(Part::AnyRun),
                '?' => parts.push(Part::AnyOne),
                c => parts.push(Part::Literal(c)),
            }
        }
        Some(Self { text: text.to_owned(), parts })
    }

    /// The pattern that matches every name.
    pub fn everything() -> Self {
        Self { text: "*".to_owned(), parts: vec![Part::AnyRun] }
    }

    /// The one name that it matches, where it has neither `*` nor `?`.
    pub fn as_literal(&self) -> Option<&str> {
        let is_literal = self.parts.iter().all(|part| matches!(part, Part::Literal(_)));
        is_literal.then_some(&*self.text)
    }

    /// Whether the whole of `name` matches. Linear in `name` for each `*`.
    pub fn matches(&self, name: &str) -> bool {
        let (mut part, mut rest) = (0, name.chars());
        let mut retry: Option<(usize, std::str::Chars<'_>)> = None;
        loop {
            let before = rest.clone();
            match (self.parts.get(part), rest.next()) {
                (None, None) => return true,
                (Some(Part::AnyRun), _) => {
                    // A run matches nothing at first; on a mismatch later it takes one character more.
                    retry = Some((part, before.clone()));
                    rest = before;
                    part += 1;
                    continue;
                }
                (Some(Part::AnyOne), Some(_)) => {
                    part += 1;
                    continue;
                }
                (Some(Part::Literal(want)), Some(got)) if *want == got => {
                    part += 1;
                    continue;
                }
                _ => {}
            }
            let Some((run, mut from)) = retry.take() else { return false };
            if from.next().is_none() {
                return false;
            }
            retry = Some((run, from.clone()));
            (part, rest) = (run + 1, from);
        }
    }

    /// Whether some name matches both patterns. Product of the two lengths in time.
    pub fn intersects(&self, other: &Self) -> bool {
        // reach[j]: some prefix is matched by the parts before `i` of self and the parts before `j` of other.
        let mut reach = vec![false; other.parts.len() + 1];
        reach[0] = true;
        close_over_runs(&mut reach, &other.parts);
        for mine in &self.parts {
            let mut next = match mine {
                // A run may match nothing, or swallow any number of the other's characters.
                Part::AnyRun => {
                    let first = reach.iter().position(|r| *r);
                    (0..reach.len()).map(|j| first.is_some_and(|f| j >= f)).collect()
                }
                _ => step(&reach, *mine, &other.parts),
            };
            close_over_runs(&mut next, &other.parts);
            reach = next;
        }
        reach.last().copied().unwrap_or(false)
    }
}

fn step(reach: &[bool], mine: Part, theirs: &[Part]) -> Vec<bool> {
    let mut next = vec![false; reach.len()];
    for (j, part) in theirs.iter().enumerate().filter(|(j, _)| reach[*j]) {
        match (mine, part) {
            (_, Part::AnyRun) => next[j] = true,
            (Part::Literal(a), Part::Literal(b)) if a != *b => {}
            _ => next[j + 1] = true,
        }
    }
    next
}

fn close_over_runs(reach: &mut [bool], parts: &[Part]) {
    for (j, part) in parts.iter().enumerate() {
        if reach[j] && *part == Part::AnyRun {
            reach[j + 1] = true;
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::new(text).expect("a valid pattern")
    }

    #[test]
    fn globs_match_whole_names() {
        let table = [
            ("checkout*", "checkout", true),
            ("checkout*", "checkout-eu", true),
            ("checkout*", "my-checkout", false),
            ("*check*out*", "a-check-b-out", true),
            ("*check*out*", "out-check", false),
            ("GET /health", "GET /health", true),
            ("GET /health", "GET /healthz", false),
            ("GET /*/items", "GET /a/b/items", true),
            ("?", "é", true),
            ("?", "", false),
            ("*", "", true),
            ("a*a*b", "aaaaaaaaab", true),
            ("a*a*b", "aaaaaaaaac", false),
        ];
        for (glob, name, expected) in table {
            assert_eq!(pattern(glob).matches(name), expected, "{glob:?} on {name:?}");
        }
    }

    #[test]
    fn intersection_is_seen_before_a_name_exists() {
        let table = [
            ("checkout*", "*-eu", true),
            ("checkout*", "cart*", false),
            ("a?c", "ab*", true),
            ("a?", "abc", false),
            ("*", "anything", true),
            ("*x", "*y", false),
            ("x*", "*y", true),
            ("a*b*c", "ac", false),
            ("a*c", "ac", true),
            ("batch", "batch", true),
        ];
        for (a, b, expected) in table {
            assert_eq!(pattern(a).intersects(&pattern(b)), expected, "{a:?} and {b:?}");
            assert_eq!(pattern(b).intersects(&pattern(a)), expected, "{b:?} and {a:?}");
        }
    }

    #[test]
    fn empty_and_oversized_patterns_are_refused() {
        assert_eq!(Pattern::new(""), None);
        assert_eq!(Pattern::new(&"x".repeat(Pattern::LENGTH_MAX + 1)), None);
    }

    proptest! {
        #[test]
        fn a_name_matched_by_both_proves_that_they_intersect(a in "[ab*?]{1,6}", b in "[ab*?]{1,6}", name in "[ab]{0,6}") {
            let (a, b) = (pattern(&a), pattern(&b));
            if a.matches(&name) && b.matches(&name) {
                prop_assert!(a.intersects(&b));
            }
        }

        #[test]
        fn disjoint_patterns_share_no_short_name(a in "[ab*?]{1,4}", b in "[ab*?]{1,4}") {
            let (a, b) = (pattern(&a), pattern(&b));
            // Names over {a, b} up to 8 characters are enough to witness patterns of 4 parts.
            let witness = (0..=8u32).any(|n| (0..1u32 << n).any(|bits| {
                let name: String = (0..n).map(|i| if bits >> i & 1 == 1 { 'b' } else { 'a' }).collect();
                a.matches(&name) && b.matches(&name)
            }));
            prop_assert_eq!(a.intersects(&b), witness);
        }
    }
}
