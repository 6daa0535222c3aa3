//! Seeded chance: the same seed gives the same bytes and the same choices. SplitMix64.

/// See the module header.
#[derive(Debug, Clone)]
pub struct Noise(u64);

impl Noise {
    /// Chance from a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A seed from `HOLDFAST_TEST_SEED`, or a fresh one. It is printed, so that a failure can be had again.
    pub fn seeded(what: &str) -> Self {
        Self::seeded_as(what).0
    }

    /// The same, and the seed.
    pub fn seeded_as(what: &str) -> (Self, u64) {
        let given = std::env::var("HOLDFAST_TEST_SEED").ok();
        let seed = given.map_or_else(
            || {
                let random = std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap();
                u64::from_str_radix(&random[..8], 16).unwrap()
            },
            |text| text.parse().unwrap(),
        );
        println!("{what}: HOLDFAST_TEST_SEED={seed}");
        (Self(seed), seed)
    }

    /// A number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number() % end
    }

    /// Bytes that nothing compresses.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.number().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }

    /// Text that compresses.
    pub fn text(&mut self, len: usize) -> Vec<u8> {
        let words = [
            "snapshot", "of", "the", "vault", "is", "kept", "for", "ever",
        ];
        let mut text = Vec::with_capacity(len + 16);
        while text.len() < len {
            let word = words[self.below(words.len() as u64) as usize];
            text.extend_from_slice(word.as_bytes());
            text.push(b' ');
        }
        text.truncate(len);
        text
    }
}
