//! `tc-netem` on the lab's links: set, changed in place, read back, removed, over netlink.
//!
//! What a link shall do is [`Netem`], the same values as in the simulator. Nothing here can reach a link that no lab
//! made: a link is named by a [`Namespace`], which only a lab makes, and each change first asks the kernel for the
//! link's alias, which says that a lab made it; a `uplink` that somebody moved in is left alone.
//!
//! After each change the kernel is asked what it has, and a difference is an error. Two things it does not tell: the
//! distribution's table, and (before 6.6) the seed, which it does not take either.

mod qdisc;
mod wire;

use std::io;

use super::error::LabError;
use super::namespace::Namespace;
use crate::error_chain::chain;
pub use crate::simulate::netem::{Chance, Direction, Distribution, Loss, Netem, Rate, Reorder};

/// The alias of each link that a lab makes.
pub(super) const LABEL: &str = "flyball-lab";
/// What to do where the kernel has no netem.
const WITHOUT: &str = "this kernel has no netem (sch_netem): load it with `modprobe sch_netem`, boot a kernel that has it \
                       (Debian: linux-image-amd64), or run the scenario in a throw-away VM with --vm";

/// What the kernel says that it does to the packets of one direction of a link.
#[derive(Debug, Clone, PartialEq)]
pub struct Impaired {
    /// How many packets are held at once: what was given, or chosen.
    pub limit: u32,
    /// The seed of what is drawn, drawn itself where none was given. `None`: the kernel is older than 6.6, takes none,
    /// and no two runs are alike.
    pub seed: Option<u64>,
    /// Packets that were dropped, as losses or for the limit.
    pub dropped: u32,
    /// Packets that are held now.
    pub held: u32,
}

/// One direction of a link: netem acts where packets leave.
#[derive(Debug, Clone, Copy)]
pub struct End<'a> {
    pub(super) namespace: &'a Namespace,
    pub(super) link: &'a str,
}

/// A link of the lab that can be impaired, each way by itself: a device's, until it moves, a carrier's between its NAT and
/// the internet, and the lab's own, the server's.
pub trait Impair {
    /// Where packets leave that go this way.
    fn end(&self, direction: Direction) -> End<'_>;

    /// The link, this way, is so from now on.
    ///
    /// # Errors
    /// The kernel has no netem, refuses it, or has something else afterwards.
    fn impair(&self, direction: Direction, netem: &Netem) -> Result<Impaired, LabError> {
        self.end(direction).impair(netem)
    }

    /// The opposite, also where nothing was set.
    ///
    /// # Errors
    /// The link is not the lab's, or cannot be changed.
    fn unimpair(&self, direction: Direction) -> Result<(), LabError> {
        self.end(direction).unimpair()
    }

    /// What the kernel does to the packets of the link; `None` = nothing.
    ///
    /// # Errors
    /// The kernel does not tell.
    fn impaired(&self, direction: Direction) -> Result<Option<Impaired>, LabError> {
        self.end(direction).impaired()
    }
}

impl Netem {
    /// What this kernel lacks for it, and what to do about that; `None` if it lacks nothing. Found out by trying, in a
    /// namespace of its own.
    pub fn missing() -> Option<String> {
        let tried = Namespace::host("netem trial").and_then(|namespace| {
            let netem = Self { seed: Some(1), ..Self::default() };
            // A loopback that nobody else can know of needs no label.
            namespace.enter(|| qdisc::replace("lo", None, &wire::encode(&netem)))
        });
        match tried {
            Ok(Ok(())) => None,
            Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Some(WITHOUT.to_owned()),
            Ok(Err(error)) => Some(format!("{WITHOUT}: {error}")),
            Err(error) => Some(chain(&error)),
        }
    }
}

impl End<'_> {
    /// From now on this. Packets that are held stay, and leave when they would have.
    fn impair(self, netem: &Netem) -> Result<Impaired, LabError> {
        if let Some(mistake) = netem.mistake() {
            return Err(LabError::Netem { mistake });
        }
        let options = wire::encode(netem);
        let shown = self.ask("set netem on", || {
            qdisc::replace(self.link, Some(LABEL), &options)?;
            qdisc::read(self.link)
        })?;
        let shown = shown.ok_or_else(|| self.untrue("nothing".to_owned()))?;
        if let Some(difference) = wire::difference(&options, &shown.options) {
            return Err(self.untrue(difference));
        }
        Ok(shown.impaired())
    }

    /// As a cable again; what was held is gone. Also where nothing was set.
    fn unimpair(self) -> Result<(), LabError> {
        self.ask("take netem from", || qdisc::remove(self.link, Some(LABEL)))
    }

    /// What the kernel has; `None` where nothing is set.
    fn impaired(self) -> Result<Option<Impaired>, LabError> {
        Ok(self.ask("read netem of", || qdisc::read(self.link))?.map(|shown| shown.impaired()))
    }

    fn ask<T: Send>(self, step: &'static str, work: impl FnOnce() -> io::Result<T> + Send) -> Result<T, LabError> {
        let (link, namespace) = (self.link.to_owned(), self.namespace.name().to_owned());
        self.namespace.enter(work)?.map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied if qdisc::is_foreign(&source) => LabError::Foreign { link, namespace },
            _ => LabError::Link { step, link, namespace, source },
        })
    }

    fn untrue(self, shown: String) -> LabError {
        LabError::Untrue { link: self.link.to_owned(), namespace: self.namespace.name().to_owned(), shown }
    }
}

impl qdisc::Shown {
    fn impaired(&self) -> Impaired {
        let (limit, seed) = wire::limit_and_seed(&self.options);
        Impaired { limit, seed, dropped: self.dropped, held: self.held }
    }
}
