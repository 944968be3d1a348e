//! The names that a signal's series are summed by, each kept once and reused from poll to poll.

use std::collections::{HashMap, HashSet};

use crate::sampling::traffic::Name;

/// Index of a group within [`Groups`].
pub(super) type GroupIndex = usize;

/// Service and operation; the total has an empty service.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Group {
    pub(super) service: Name,
    pub(super) operation: Option<Name>,
}

/// Every group that a signal's series belong to. As many as its series at most.
#[derive(Debug, Default)]
pub(super) struct Groups {
    list: Vec<Group>,
    index: HashMap<Group, GroupIndex>,
    names: HashSet<Name>,
}

impl Groups {
    /// The group of these names, made if it is new.
    pub(super) fn index_of(&mut self, service: &str, operation: Option<&str>) -> GroupIndex {
        let group = Group { service: self.name(service), operation: operation.map(|o| self.name(o)) };
        *self.index.entry(group).or_insert_with_key(|group| {
            self.list.push(group.clone());
            self.list.len() - 1
        })
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// The group with this index.
    pub(super) fn get(&self, index: GroupIndex) -> &Group {
        &self.list[index]
    }

    /// Forgets the groups that are not in use and moves the others: returns each one's new index.
    pub(super) fn retain(&mut self, is_used: &[bool]) -> Vec<GroupIndex> {
        let old = std::mem::take(self);
        let moved = |(index, group): (usize, &Group)| {
            if is_used[index] { self.index_of(&group.service, group.operation.as_deref()) } else { GroupIndex::MAX }
        };
        old.list.iter().enumerate().map(moved).collect()
    }

    fn name(&mut self, text: &str) -> Name {
        if let Some(known) = self.names.get(text) {
            return Name::clone(known);
        }
        let name: Name = text.into();
        self.names.insert(Name::clone(&name));
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_once_and_unused_groups_go() {
        let mut groups = Groups::default();
        let (a, b) = (groups.index_of("cart", Some("GET")), groups.index_of("cart", None));
        assert_eq!(groups.index_of("cart", Some("GET")), a);
        assert!(Name::ptr_eq(&groups.get(a).service, &groups.get(b).service));
        let moved = groups.retain(&[false, true]);
        assert_eq!((groups.len(), groups.get(moved[b]).operation.clone()), (1, None));
    }
}
