//! What the process may do: enough to watch, and no more once it watches.
//!
//! Capabilities belong to a thread, and a new thread has those of the one that made it. They must be dropped before a
//! runtime starts its workers: a worker that was there before keeps all it had.

use caps::{CapSet, Capability, CapsHashSet, errors::CapsError};

use super::error::AttachError;

/// What watching takes; also later, when an interface comes back.
const NEEDED: [Capability; 2] = [Capability::CAP_BPF, Capability::CAP_NET_ADMIN];

/// What this thread keeps once it watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Capabilities {
    /// CAP_BPF, CAP_NET_ADMIN and these; for good, in every set.
    Only(Vec<Capability>),
    /// All it has.
    AsTheyAre,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self::Only(Vec::new())
    }
}

/// Whether this thread may do it now.
pub(super) fn has(capability: Capability) -> bool {
    caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false)
}

/// Tells the first that is missing: the kernel itself says only "operation not permitted".
pub(super) fn require() -> Result<(), AttachError> {
    let missing = NEEDED.into_iter().find(|capability| !has(*capability));
    missing.map_or(Ok(()), |capability| Err(AttachError::Capability(capability)))
}

/// Drops every capability of this thread but those needed and `also`.
pub(super) fn keep_only(also: &[Capability]) -> Result<(), CapsError> {
    let permitted = caps::read(None, CapSet::Permitted)?;
    let wanted = NEEDED.iter().chain(also).copied();
    let kept: CapsHashSet = wanted.filter(|capability| permitted.contains(capability)).collect();
    // The bounding set first: what lets us change it goes with the others.
    if has(Capability::CAP_SETPCAP) {
        for capability in caps::read(None, CapSet::Bounding)?.difference(&kept) {
            caps::drop(None, CapSet::Bounding, *capability)?;
        }
    }
    caps::clear(None, CapSet::Ambient)?;
    caps::clear(None, CapSet::Inheritable)?;
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)
}
