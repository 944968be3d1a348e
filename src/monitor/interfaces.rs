//! Keeps the classifiers where the packets are, also when an interface goes away and comes back, under its old index
//! or another. It looks at what is there, four times a second, instead of following what happened: nothing that was
//! missed stays missed.
//!
//! While nobody watches, a device may have spoken, and its next gap would be a lie. So whatever was last seen before
//! an interface came (back) has an unknown gap; while none is up, that is everything. The mark is one for all
//! interfaces: when one of several comes back, the others' devices lose one gap too. Packets that come through before
//! we see that a link is up again, at most [`LOOK_EVERY`] and only while another one is up, are measured as if it had been up.

use std::time::Duration;

use aya::Ebpf;

use super::attach::{self, Attached, Place, Via};
use super::clock;
use super::error::AttachError;
use super::netlink::{Link, Netlink};
use super::settings::Settings;
use super::steering::{SteerError, Steering};

/// From one look at the interfaces to the next. A question to the kernel each; 4 a second are nothing.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The clocks are read one after the other; a machine that was suspended for less than this was not.
const SLEEP_MIN: Duration = Duration::from_millis(100);

/// The programs, and the interfaces that they are to be at.
pub(super) struct Interfaces {
    watched: Vec<Watched>,
    ports: Vec<u16>,
    via: Via,
    netlink: Netlink,
    steering: Steering,
    slept: Duration,
    // After `watched`: links go before their program.
    ebpf: Ebpf,
}

struct Watched {
    name: String,
    attached: Option<Attached>,
    /// Packets can come, and we would see them.
    is_watching: bool,
    /// What kept it from being attached was said.
    is_refused: bool,
}

impl Interfaces {
    /// Attaches to all, or to none.
    pub(super) fn open(ebpf: Ebpf, settings: &Settings, via: Via, steering: Steering) -> Result<Self, AttachError> {
        let netlink = Netlink::open().map_err(AttachError::Netlink)?;
        let watched = settings.interfaces.iter().map(|name| Watched::new(name)).collect();
        let slept = clock::slept();
        let mut all = Self { watched, ports: settings.ports.clone(), via, netlink, steering, slept, ebpf };
        all.steering.blind().map_err(AttachError::Steer)?;
        for watched in &mut all.watched {
            let link = existing(&all.netlink, &watched.name)?;
            let place = Place { name: &watched.name, link, ports: &all.ports };
            watched.attached = Some(attach::attach(&mut all.ebpf, place, via)?);
            watched.is_watching = link.is_up;
        }
        all.mark().map_err(AttachError::Steer)?;
        Ok(all)
    }

    pub(super) fn ebpf(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    /// Looks, forever.
    pub(super) async fn watch(&mut self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if let Err(error) = self.look() {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "gaps over a time without watching are not marked"
                );
            }
        }
    }

    fn look(&mut self) -> Result<(), SteerError> {
        let slept = clock::slept();
        let has_slept = slept > self.slept + SLEEP_MIN;
        self.slept = slept;
        let was_watching = self.is_watching();
        let mut is_back = false;
        for watched in &mut self.watched {
            // A question that fails has no answer: as it was, until the next look.
            let Ok(link) = self.netlink.link(&watched.name) else { continue };
            watched.follow(link, |place| attach::attach(&mut self.ebpf, place, self.via), &self.ports);
            is_back |= watched.note(watched.attached.is_some() && link.is_some_and(|link| link.is_up));
        }
        if has_slept || is_back || was_watching != self.is_watching() { self.mark() } else { Ok(()) }
    }

    fn is_watching(&self) -> bool {
        self.watched.iter().any(|watched| watched.is_watching)
    }

    /// Tells the program that what was last seen before now has an unknown gap; while nobody watches, everything has.
    fn mark(&self) -> Result<(), SteerError> {
        if self.is_watching() { self.steering.watching_from_here() } else { self.steering.blind() }
    }
}

impl Watched {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), attached: None, is_watching: false, is_refused: false }
    }

    /// Lets go of a link that is gone, and takes hold of one that came.
    fn follow(
        &mut self,
        link: Option<Link>,
        attach: impl FnOnce(Place<'_>) -> Result<Attached, AttachError>,
        ports: &[u16],
    ) {
        let is_other = |attached: &mut Attached| link.is_none_or(|link| link.index != attached.index);
        if self.attached.take_if(is_other).is_some() {
            self.note(false);
        }
        let (None, Some(link)) = (&self.attached, link) else { return };
        match attach(Place { name: &self.name, link, ports }) {
            Ok(attached) => (self.attached, self.is_refused) = (Some(attached), false),
            Err(error) if !self.is_refused => {
                self.is_refused = true;
                let error = &error as &dyn std::error::Error;
                tracing::error!(interface = self.name, error, "the interface is back and cannot be watched: trying on");
            }
            Err(_) => {}
        }
    }

    /// Says what changed, once. `true` if it is watched again.
    fn note(&mut self, is_watching: bool) -> bool {
        let was_watching = std::mem::replace(&mut self.is_watching, is_watching);
        match (was_watching, is_watching) {
            (true, false) => {
                tracing::warn!(interface = self.name, "the interface is gone or down: its devices are not seen")
            }
            (false, true) => tracing::info!(interface = self.name, "the interface is back, and watched"),
            _ => {}
        }
        !was_watching && is_watching
    }
}

fn existing(netlink: &Netlink, name: &str) -> Result<Link, AttachError> {
    netlink.link(name).map_err(AttachError::Netlink)?.ok_or_else(|| {
        let there = nix::net::if_::if_nameindex()
            .map(|all| all.iter().map(|one| one.name().to_string_lossy().into_owned()).collect::<Vec<_>>().join(", "));
        AttachError::NoInterface { name: name.to_owned(), there: there.unwrap_or_default() }
    })
}
