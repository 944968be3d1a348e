//! What became of the pushes of a phase, and the table that is printed.

use std::time::Duration;

use flyball_sdk::device::id::DeviceId;

use crate::bound::clopper_pearson;
use flyball::chaos::pushes::Push;

/// Pushes of one phase to one fleet.
pub(crate) struct Row {
    name: &'static str,
    pub(crate) sent: u32,
    pub(crate) lost: u32,
    /// Those that arrived though older than a binding is kept, and those that did not though younger.
    odd: u32,
}

impl Row {
    /// `kept` is how long a device's NAT keeps what a beat and its ack make.
    pub(crate) fn new(name: &'static str, pushes: Vec<Push>, kept: impl Fn(DeviceId) -> Duration) -> Self {
        let count = |is: &dyn Fn(&Push) -> bool| {
            u32::try_from(pushes.iter().filter(|push| is(push)).count()).expect("some ten thousand")
        };
        let sent = count(&|_| true);
        let odd = count(&|push| push.has_arrived != (push.age < kept(push.device)));
        Self { name, sent, lost: count(&|push| !push.has_arrived), odd }
    }

    /// Share that was lost.
    pub(crate) fn share(&self) -> f64 {
        f64::from(self.lost) / f64::from(self.sent.max(1))
    }

    /// Share that met another fate than its age says.
    pub(crate) fn odd_share(&self) -> f64 {
        f64::from(self.odd) / f64::from(self.sent.max(1))
    }

    fn print(&self, when: &str) {
        let (low, high) = clopper_pearson(self.lost, self.sent);
        let Self { name, sent, lost, .. } = self;
        let [share, low, high] = [self.share(), low, high].map(|share| 100.0 * share);
        println!("{name:<28} {when:<8} {sent:>8} {lost:>7} {share:>9.3} %   {low:.4} % to {high:.4} %");
    }
}

/// Prints what was seen.
pub(crate) fn report(before: &[Row; 2], after: &[Row; 2], learning: Duration, cohorts: &[serde_json::Value]) {
    println!("                                       pushes    lost              share lost, 99 % confidence");
    for (before, after) in before.iter().zip(after) {
        before.print("before");
        after.print("after");
    }
    let (odd, sent) = before.iter().fold((0, 0), |(odd, sent), row| (odd + row.odd, sent + row.sent));
    println!("before, {} of {sent} pushes met the fate that their age says", sent - odd);
    println!("learnt within {:.0} s", learning.as_secs_f64());
    for row in cohorts {
        println!(
            "{} {} bound {} s interval {} s: {} devices, {}",
            row["cohort"], row["verdict"], row["lower_bound_s"], row["interval_s"], row["devices"], row["reason"]
        );
    }
}
