//! A machine with its key and its labels: what it puts out as bytes, and bytes that arrived as what it takes.

use std::time::Duration;

use super::id::DeviceId;
use super::key::MacKey;
use super::labels::DeviceLabels;
use super::machine::{Flow, Machine, Message, Output};
use super::wire::{Answer, Hello, Malformed};

/// A device that speaks in datagrams.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// What decides.
    pub machine: Machine,
    key: MacKey,
    device: DeviceId,
    labels: Box<str>,
}

impl Endpoint {
    /// A machine that speaks with this key, and tells these labels where it is asked.
    pub fn new(machine: Machine, key: MacKey, labels: &DeviceLabels) -> Self {
        Self { device: machine.settings().device, machine, key, labels: labels.to_lines().into() }
    }

    /// The bytes to send.
    pub fn seal(&self, message: &Message, bytes: &mut Vec<u8>) {
        bytes.clear();
        match message {
            Message::Request(request) => bytes.extend_from_slice(&request.sealed(&self.key)),
            Message::Hello(head) => *bytes = Hello { head: *head, labels: &self.labels }.sealed(&self.key),
        }
    }

    /// Takes a datagram that arrived on a flow.
    ///
    /// # Errors
    /// It is none of ours, or (`None` within) not authentic; it changed nothing.
    pub fn receive(
        &mut self,
        now: Duration,
        flow: Flow,
        bytes: &[u8],
        out: &mut Vec<Output>,
    ) -> Result<(), Option<Malformed>> {
        let (answer, mac) = Answer::read(bytes, &self.key, self.device, self.machine.boot())?;
        self.machine.handle(now, flow, &answer, &mac, out);
        Ok(())
    }
}
