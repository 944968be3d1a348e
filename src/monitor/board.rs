//! Where the rest of the house reads what the monitor sees. One task writes, and swaps the whole.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::view::View;

/// The monitor as it is now.
#[derive(Debug, Default)]
pub enum Watch {
    /// Not configured.
    #[default]
    Off,
    /// Configured, and it sees nothing: it could not attach, or it ended. The text says why.
    Blind(String),
    /// It sees.
    Seeing(Box<View>),
}

/// The one place where the current [`Watch`] is read. Cheap to clone: clones share it.
#[derive(Debug, Clone, Default)]
pub struct Board {
    current: Arc<ArcSwap<Watch>>,
}

impl Board {
    /// The monitor as it is now.
    pub fn read(&self) -> Arc<Watch> {
        self.current.load_full()
    }

    /// Whether it should see and does not.
    pub fn is_blind(&self) -> bool {
        matches!(**self.current.load(), Watch::Blind(_))
    }

    /// Takes the place of what was there.
    pub fn show(&self, watch: Watch) {
        self.current.store(Arc::new(watch));
    }
}
