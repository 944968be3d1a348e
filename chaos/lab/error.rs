//! What can go wrong in a lab: what was tried, what was said, what to do.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

/// A step of the lab failed, maybe half way: what was made by then goes with the lab.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The kernel refused to make or enter a namespace, or to start the thread for it.
    #[error("cannot {step} the network namespace `{namespace}`: run as root, with CAP_SYS_ADMIN and CAP_NET_ADMIN")]
    Namespace {
        /// `make`, `hold` or `enter`.
        step: &'static str,
        /// Whose namespace.
        namespace: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A tool could not be started.
    #[error("cannot run `{tool}`: install the package {package}")]
    Tool {
        /// Its name.
        tool: &'static str,
        /// Debian's package of it.
        package: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A tool refused what it was told.
    #[error(
        "`{command}` failed in the namespace `{namespace}` ({status}): {said}. Needed are CAP_NET_ADMIN and a kernel with \
         veth, nf_tables, conntrack and masquerading. It was told: {input}"
    )]
    Refused {
        /// Program and arguments.
        command: String,
        /// In whose namespace.
        namespace: String,
        /// Its exit status.
        status: ExitStatus,
        /// Its stderr, on one line.
        said: String,
        /// Its stdin, on one line.
        input: String,
    },
    /// A kernel setting could not be written.
    #[error(
        "cannot set {path} to {value} in the namespace `{namespace}`: is /proc/sys writable, and conntrack in the kernel?"
    )]
    Setting {
        /// The file under `/proc/sys`.
        path: String,
        /// What was to be written.
        value: String,
        /// In whose namespace.
        namespace: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A socket could not be made.
    #[error(
        "cannot bind a UDP socket to {address} in the namespace `{namespace}`: is the address its own, the port free?"
    )]
    Socket {
        /// Where.
        address: std::net::SocketAddr,
        /// In whose namespace.
        namespace: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A child process could not be started.
    #[error("cannot run {program} in the namespace `{namespace}`")]
    Child {
        /// The program.
        program: String,
        /// In whose namespace.
        namespace: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The kernel counts these timeouts in whole seconds.
    #[error("{timeout:?} is no timeout of a NAT: conntrack counts whole seconds, from 1 s to 2,000,000 s")]
    Timeout {
        /// What was asked for.
        timeout: Duration,
    },
    /// A port range that holds no port, or the port 0.
    #[error("{first}-{last} is no range of ports: give two from 1 to 65535, the smaller first")]
    PortRange {
        /// The first.
        first: u16,
        /// The last.
        last: u16,
    },
    /// Netem cannot do this.
    #[error("netem cannot do this: {mistake}")]
    Netem {
        /// What, and why not.
        mistake: String,
    },
    /// A change of a link that no lab made was refused, before anything was changed.
    #[error("the link `{link}` in the namespace `{namespace}` is left alone: it does not carry the lab's label")]
    Foreign {
        /// Its name.
        link: String,
        /// Where it is.
        namespace: String,
    },
    /// The kernel refused a request over netlink.
    #[error(
        "cannot {step} the link `{link}` in the namespace `{namespace}`: is there such a link, and netem in the kernel?"
    )]
    Link {
        /// What was tried.
        step: &'static str,
        /// Its name.
        link: String,
        /// Where it is.
        namespace: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The kernel took something else than it was told.
    #[error("the link `{link}` in the namespace `{namespace}` has another netem than it was told: {shown}")]
    Untrue {
        /// Its name.
        link: String,
        /// Where it is.
        namespace: String,
        /// What it has.
        shown: String,
    },
    /// No number is left.
    #[error("a lab has at most {max} {what}, those that left included: start another lab")]
    Full {
        /// `carriers` or `devices`.
        what: &'static str,
        /// How many.
        max: u32,
    },
}
