//! The master keys while the process runs: a reload reads their file again, and the last good ones stay.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::config::KeyFile;
use crate::document::problem::Problems;
use crate::fleet::grpc::GatewayHandle;
use crate::fleet::heartbeat::handle::Handle;
use crate::fleet::keys::MasterKeys;

/// Keys in force, and who is told of others. Cheap to clone: clones share them.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    file: Arc<KeyFile>,
    current: Arc<ArcSwap<MasterKeys>>,
    heartbeats: Option<Handle>,
    gateways: Option<GatewayHandle>,
}

impl Keys {
    pub(super) fn new(file: KeyFile, heartbeats: Option<Handle>, gateways: Option<GatewayHandle>) -> Self {
        let current = Arc::new(ArcSwap::new(Arc::clone(&file.keys)));
        Self { file: Arc::new(file), current, heartbeats, gateways }
    }

    /// Reads the file again; whether it says something else.
    pub(super) fn reload(&self) -> Result<bool, Problems> {
        let keys = Arc::new(MasterKeys::read(&self.file.path)?);
        if *keys == **self.current.load() {
            return Ok(false);
        }
        let ids: Vec<u16> = keys.ids().collect();
        tracing::info!(?ids, "other master keys are in force");
        self.current.store(Arc::clone(&keys));
        self.heartbeats.iter().for_each(|handle| handle.set_keys(Arc::clone(&keys)));
        self.gateways.iter().for_each(|handle| handle.set_keys(Arc::clone(&keys)));
        Ok(true)
    }
}
