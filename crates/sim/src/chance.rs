//! Chance that depends on a seed and on what is asked, never on the order in which tasks run.
//!
//! A draw is a hash of the seed, of words that say what it is for, and of how often it was asked for these words. So a
//! history from which a step was taken out has the same luck in the steps that are left: that is what makes shrinking work.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// See the module.
#[derive(Debug, Clone)]
pub struct Chance {
    seed: u64,
    asked: Arc<Mutex<HashMap<u64, u64>>>,
}

impl Chance {
    /// Chance under a seed.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            asked: Arc::default(),
        }
    }

    /// The next number drawn for these words.
    pub fn draw(&self, words: &[&str]) -> u64 {
        let what = mix(self.seed, words, 0);
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let count = asked.entry(what).or_default();
        *count += 1;
        mix(what, words, *count)
    }

    /// A number below `bound`; 0 if that is 0.
    pub fn below(&self, bound: u64, words: &[&str]) -> u64 {
        match bound {
            0 => 0,
            bound => self.draw(words) % bound,
        }
    }

    /// True in so many of a thousand cases.
    pub fn strikes(&self, per_mille: u32, words: &[&str]) -> bool {
        self.below(1000, words) < u64::from(per_mille)
    }

    /// One of several.
    pub fn pick<'a, T>(&self, from: &'a [T], words: &[&str]) -> Option<&'a T> {
        from.get(self.below(from.len() as u64, words) as usize)
    }
}

fn mix(seed: u64, words: &[&str], count: u64) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(&count.to_le_bytes());
    for word in words {
        hasher.update(&(word.len() as u64).to_le_bytes());
        hasher.update(word.as_bytes());
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_questions_do_not_change_an_answer() {
        let (one, two) = (Chance::new(7), Chance::new(7));
        two.draw(&["something", "else"]);
        assert_eq!(one.draw(&["a"]), two.draw(&["a"]));
        assert_ne!(one.draw(&["a"]), one.draw(&["b"]));
        assert_ne!(Chance::new(8).draw(&["a"]), Chance::new(7).draw(&["a"]));
    }
}
