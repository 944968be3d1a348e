//! The process itself, under the names that every exporter uses. From /proc; elsewhere only the start is shown.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::exposition::single;
use crate::time::{Clock, MonoTime, WallTime};

/// Reads /proc/self when asked.
#[derive(Debug)]
pub(super) struct ProcessCollector {
    started_at: WallTime,
}

impl ProcessCollector {
    pub(super) fn new(clock: Clock) -> Self {
        Self { started_at: started_at(clock) }
    }
}

/// When the process's clock was started, on the wall.
pub(super) fn started_at(clock: Clock) -> WallTime {
    let now = clock.now();
    now.wall.minus(now.mono.since(MonoTime::default()))
}

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let start = ("process_start_time_seconds", "When the process started, since the Unix epoch");
        single(&mut encoder, start, self.started_at.unix_ms() as f64 / 1000.0)?;
        if let Some(bytes) = resident_bytes() {
            single(&mut encoder, ("process_resident_memory_bytes", "Resident memory"), bytes)?;
        }
        if let Some(count) = open_fds() {
            single(&mut encoder, ("process_open_fds", "Open file descriptors"), count)?;
        }
        Ok(())
    }
}

fn resident_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024.0)
}

fn open_fds() -> Option<f64> {
    // One of them is the descriptor that this listing itself opens.
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn linux_tells_memory_and_descriptors() {
        assert!(resident_bytes().is_some_and(|bytes| bytes > 1e6));
        assert!(open_fds().is_some_and(|count| count >= 3.0));
    }
}
