//! The monitor on a running kernel: opened in the thread that has the capabilities, run in a runtime.

use aya::maps::{Array, HashMap, LpmTrie};
use aya::{Btf, Ebpf};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::attach::Via;
use super::capability::{self, Capabilities};
use super::error::AttachError;
use super::extras;
use super::frame::Frame;
use super::interfaces::Interfaces;
use super::load;
use super::reader::{ReadError, Reader};
use super::settings::Settings;
use super::steering::{Maps, Steering};

/// How to attach.
#[derive(Debug, Clone, Default)]
pub struct AttachOptions {
    /// Where to.
    pub via: Via,
    /// What this thread keeps.
    pub capabilities: Capabilities,
}

/// Loaded, attached and counting. Everything is detached when it is dropped.
pub struct Monitor {
    interfaces: Interfaces,
    reader: Reader,
    steering: Steering,
    notes: Vec<String>,
}

impl Monitor {
    /// Loads the programs, attaches them to every interface and drops the capabilities that are not needed any more.
    ///
    /// Call it before a runtime starts its threads: capabilities belong to a thread, and only those that are made later
    /// have the fewer. It blocks for some ten milliseconds.
    ///
    /// # Errors
    /// What is missing, and what to do about it. Nothing stays attached then, and no capability is dropped.
    pub fn open(settings: &Settings, options: &AttachOptions) -> Result<Self, AttachError> {
        capability::require()?;
        let btf = Btf::from_sys_fs().map_err(AttachError::NoBtf)?;
        let opened = load::open(settings, Some(&btf));
        let mut ebpf = opened.map_err(|error| AttachError::of_object(error, settings.devices))?;
        let steering = steering(&mut ebpf)?;
        steering.set_prefixes(&settings.prefixes).map_err(AttachError::Steer)?;
        let reader = Reader::new(&mut ebpf, steering.clone())?;
        let mut interfaces = Interfaces::open(ebpf, settings, options.via, steering.clone())?;
        let notes = extras::attach(interfaces.ebpf(), &btf);
        if let Capabilities::Only(also) = &options.capabilities {
            capability::keep_only(also).map_err(AttachError::Drop)?;
        }
        Ok(Self { interfaces, reader, steering, notes })
    }

    /// What could not be attached and is not needed for heartbeats; a sentence each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// To tell the running program of cohorts.
    pub fn steering(&self) -> Steering {
        self.steering.clone()
    }

    /// Hands on what the program sees, until the shutdown or until nobody reads; then detaches, and hands on what is
    /// left: the last records, counts and census. Where `frames` is full it waits, and records wait in the kernel's
    /// ring; where that is full too, the program counts what it could not tell ([`Frame::Troubles`]).
    ///
    /// # Errors
    /// The kernel's maps cannot be read any more.
    pub async fn run(self, frames: mpsc::Sender<Frame>, shutdown: CancellationToken) -> Result<(), ReadError> {
        let Self { mut interfaces, reader, .. } = self;
        let mut rounds = reader.start()?;
        let ended = tokio::select! {
            Err(stop) = rounds.go_on(&frames) => Err(stop),
            () = interfaces.watch() => Ok(()),
            () = shutdown.cancelled() => Ok(()),
        };
        // First: so that nothing comes after the last reading.
        drop(interfaces);
        rounds.finish(ended, &frames).await
    }
}

fn steering(ebpf: &mut Ebpf) -> Result<Steering, AttachError> {
    let mut take = |name| ebpf.take_map(name).expect("it is in the object");
    Ok(Steering::new(Maps {
        control: Array::try_from(take("control")).map_err(AttachError::Mismatch)?,
        prefixes: LpmTrie::try_from(take("prefixes")).map_err(AttachError::Mismatch)?,
        assignments: HashMap::try_from(take("assignments")).map_err(AttachError::Mismatch)?,
        in_force: std::collections::HashMap::new(),
    }))
}
