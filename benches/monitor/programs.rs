//! The monitor's programs, loaded for measuring.

use std::time::Duration;

use aya::Ebpf;
use aya::programs::links::LinkOrder;
use aya::programs::tc::TcAttachOptions;
use aya::programs::{SchedClassifier, TcAttachType, TestRun, TestRunOptions};
use flyball::monitor::key::Key;
use flyball::monitor::load;
use flyball::monitor::prefixes::Prefixes;
use flyball::monitor::settings::Settings;

use crate::packets::PORT;

/// Runs of one packet through `BPF_PROG_TEST_RUN`: a third of a second.
const REPEAT: u32 = 2_000_000;

/// What everything is measured above.
pub(crate) const EMPTY: &str = "flyball_empty";
/// Packets from devices.
pub(crate) const FROM: &str = "flyball_from";
/// Packets to devices.
pub(crate) const TO: &str = "flyball_to";

pub(crate) struct Programs(Ebpf);

impl Programs {
    /// All three, with a map for `devices`.
    pub(crate) fn load(devices: u32) -> Self {
        let settings = Settings {
            interfaces: Vec::new(),
            key: Key::Heartbeat,
            ports: vec![PORT],
            gap: Duration::from_secs(30),
            devices,
            prefixes: Prefixes::default(),
        };
        let btf = aya::Btf::from_sys_fs().expect("the kernel's BTF");
        let mut programs = Self(load::open(&settings, Some(&btf)).expect("the object (are you root?)"));
        for name in [EMPTY, FROM, TO] {
            programs.program(name).load().expect("a program that the verifier accepts");
        }
        programs
    }

    fn program(&mut self, name: &str) -> &mut SchedClassifier {
        self.0.program_mut(name).expect("in the object").try_into().expect("a classifier")
    }

    /// Mean time of the program for this frame.
    pub(crate) fn time(&mut self, name: &str, frame: &[u8]) -> f64 {
        let mut out = vec![0; frame.len() + 64];
        let (data_in, data_out) = (Some(frame), Some(&mut out[..]));
        let options = TestRunOptions { data_in, data_out, repeat: REPEAT, ..TestRunOptions::default() };
        self.program(name).test_run(options).expect("a test run").duration.as_nanos() as f64
    }

    /// Attaches at ingress of an interface of this thread's namespace, behind those before it.
    pub(crate) fn attach(&mut self, name: &str, interface: &str) {
        let options = TcAttachOptions::TcxOrder(LinkOrder::last());
        let link = self.program(name).attach_with_options(interface, TcAttachType::Ingress, options);
        link.expect("tcx");
    }

    /// Time and packets of the program since it was loaded, by the kernel's own statistics.
    pub(crate) fn run(&mut self, name: &str) -> (Duration, u64) {
        let info = self.program(name).info().expect("its statistics");
        (info.run_time(), info.run_count())
    }
}
