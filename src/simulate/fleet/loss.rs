//! What a direction of a device's way loses.

use rand::RngExt;
use rand_pcg::Pcg64Mcg;

use super::scenario::LossModel;

/// One direction.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Direction {
    is_bad: bool,
}

impl Direction {
    /// Whether the next packet is lost.
    pub(super) fn loses(&mut self, model: LossModel, random: &mut Pcg64Mcg) -> bool {
        let ratio = match model {
            LossModel::Plain(ratio) => ratio,
            LossModel::GilbertElliott { to_bad, to_good, lost_bad, lost_good } => {
                let turns = random.random::<f64>() < if self.is_bad { to_good } else { to_bad };
                self.is_bad ^= turns;
                if self.is_bad { lost_bad } else { lost_good }
            }
        };
        random.random::<f64>() < ratio
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    /// The chain is bad for p / (p + r) = 1.64 % of the packets, which makes 1.18 % lost.
    #[test]
    fn bursts_lose_what_their_chain_says() {
        let model = LossModel::GilbertElliott { to_bad: 0.005, to_good: 0.3, lost_bad: 0.6, lost_good: 0.002 };
        let (mut random, mut direction) = (Pcg64Mcg::seed_from_u64(1), Direction::default());
        let lost = (0..1_000_000).filter(|_| direction.loses(model, &mut random)).count();
        assert!((11_300..12_300).contains(&lost), "{lost}");
    }
}
