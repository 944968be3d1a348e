//! The texts that tell series apart, each kept once, in the order in which answers bring them.
//!
//! An answer of 100,000 series brings the same texts as the one before, in nearly the same order. So each text remembers
//! which one came after it: in the steady state a series is recognised by comparing the bytes that are there with the
//! bytes that are expected, without looking for where its labels end and without a hash.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// Index of a text within [`Keys`].
pub(super) type KeyIndex = usize;

/// Texts, told apart by index. As many as its owner puts in.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// All of them, one behind the other.
    text: String,
    ends: Vec<usize>,
    /// What came after each; the first element is what came first.
    successors: Vec<u32>,
    index: HashTable<u32>,
    hasher: RandomState,
}

impl Keys {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The text with this index.
    pub(super) fn get(&self, key: KeyIndex) -> &str {
        slice(&self.text, &self.ends, key)
    }

    /// Where `text` is. `before` is the key that the answer brought before this one: a hint that may be wrong.
    pub(super) fn find(&self, text: &str, before: Option<KeyIndex>) -> Option<KeyIndex> {
        let expected = self.expected(before).filter(|expected| self.get(*expected) == text);
        expected.or_else(|| self.look_up(text))
    }

    /// The key that usually follows `before`.
    pub(super) fn expected(&self, before: Option<KeyIndex>) -> Option<KeyIndex> {
        let successor = *self.successors.get(before.map_or(0, |before| before + 1))? as usize;
        (successor < self.len()).then_some(successor)
    }

    /// Remembers that `key` followed `before`.
    pub(super) fn follow(&mut self, before: Option<KeyIndex>, key: KeyIndex) {
        if let Some(successor) = self.successors.get_mut(before.map_or(0, |before| before + 1)) {
            *successor = u32::try_from(key).unwrap_or(u32::MAX);
        }
    }

    /// Adds a text that is not there yet.
    pub(super) fn insert(&mut self, text: &str) -> KeyIndex {
        let key = self.len();
        let number = u32::try_from(key).expect("the owner bounds its series");
        self.text.push_str(text);
        self.ends.push(self.text.len());
        self.successors.resize(key + 2, u32::MAX);
        let hash = self.hasher.hash_one(text);
        let Self { index, hasher, text, ends, .. } = self;
        index.insert_unique(hash, number, |other| hasher.hash_one(slice(text, ends, *other as usize)));
        key
    }

    /// Forgets the texts that are not to be kept; the others move together, in their order.
    pub(super) fn retain(&mut self, mut is_kept: impl FnMut(KeyIndex) -> bool) {
        let old = std::mem::take(self);
        let mut before = None;
        for key in (0..old.len()).filter(|key| is_kept(*key)) {
            let moved = self.insert(old.get(key));
            self.follow(before, moved);
            before = Some(moved);
        }
    }

    fn look_up(&self, text: &str) -> Option<KeyIndex> {
        let found = self.index.find(self.hasher.hash_one(text), |other| self.get(*other as usize) == text);
        found.map(|key| *key as usize)
    }
}

fn slice<'a>(text: &'a str, ends: &[usize], key: usize) -> &'a str {
    &text[key.checked_sub(1).map_or(0, |before| ends[before])..ends[key]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_with_any_hint_and_after_others_left() {
        let mut keys = Keys::default();
        let mut before = None;
        for text in ["a", "bb", "", "c"] {
            assert_eq!(keys.find(text, before), None);
            let key = keys.insert(text);
            keys.follow(before, key);
            before = Some(key);
        }
        assert_eq!((keys.expected(None), keys.expected(Some(1)), keys.expected(Some(3))), (Some(0), Some(2), None));
        for hint in [None, Some(0), Some(3), Some(99)] {
            assert_eq!((keys.find("bb", hint), keys.find("", hint), keys.find("x", hint)), (Some(1), Some(2), None));
        }
        keys.retain(|key| key != 1);
        assert_eq!((keys.len(), keys.find("bb", None), keys.find("c", None), keys.get(1)), (3, None, Some(2), ""));
        assert_eq!(keys.expected(Some(0)), Some(1));
    }
}
