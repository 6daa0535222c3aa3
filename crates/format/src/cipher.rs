//! Ciphers: what a data key seals with.
//!
//! Both suites take a nonce of 24 random bytes and derive from it a key for that one frame, so that no number of frames
//! under one data key makes a nonce come twice. A data key brings its suite along: it stands beside the secret in the
//! key object, sealed, and whoever opens that knows how to go on.
//!
//! | suite | frame's key | then |
//! |---|---|---|
//! | 1, XChaCha20-Poly1305 | HChaCha20 of the data key and the nonce's first 16 bytes (draft-irtf-cfrg-xchacha-03) | ChaCha20-Poly1305 (RFC 8439), nonce: 4 zero bytes and the nonce's last 8 |
//! | 2, AES-256-GCM | BLAKE3 keyed with the data key, over the nonce's 24 bytes | AES-256-GCM (NIST SP 800-38D), nonce: 12 zero bytes |
//!
//! The work is done by `ring`, whose ChaCha20-Poly1305 is 1.7 times as fast as the crate `chacha20poly1305`, against which it is
//! tested.

use chacha20::hchacha;
use ring::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::error::{Error, Result};

/// Length of a nonce, bytes.
pub(crate) const NONCE: usize = 24;

/// Length of a tag, bytes.
pub(crate) const TAG: usize = 16;

/// How a data key seals. A byte beside the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// XChaCha20-Poly1305: fast on every processor.
    XChaCha20Poly1305,
    /// AES-256-GCM under a key of its own for each frame: three times as fast where the processor computes it, slow elsewhere.
    Aes256Gcm,
}

impl Suite {
    /// The byte that stands for it.
    pub fn byte(self) -> u8 {
        match self {
            Self::XChaCha20Poly1305 => 1,
            Self::Aes256Gcm => 2,
        }
    }

    /// Reads the byte, which stands in `what`.
    pub fn from_byte(what: &str, byte: u8) -> Result<Self> {
        match byte {
            1 => Ok(Self::XChaCha20Poly1305),
            2 => Ok(Self::Aes256Gcm),
            other => Err(Error::too_new(
                what,
                format!("cipher suite {other} is unknown"),
            )),
        }
    }

    /// The fastest on this processor.
    pub fn fastest() -> Self {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("vaes")
            && std::arch::is_x86_feature_detected!("vpclmulqdq")
            && std::arch::is_x86_feature_detected!("avx2")
        {
            return Self::Aes256Gcm;
        }
        Self::XChaCha20Poly1305
    }
}

/// The secret key of one session's frames, with the suite that it seals with.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct DataKey {
    #[zeroize(skip)]
    suite: Suite,
    secret: [u8; 32],
}

impl std::fmt::Debug for DataKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DataKey({:?}, secret)", self.suite)
    }
}

impl DataKey {
    /// Takes 32 random bytes as a key.
    pub fn new(suite: Suite, secret: [u8; 32]) -> Self {
        Self { suite, secret }
    }

    /// What it seals with.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    pub(crate) fn secret(&self) -> &[u8; 32] {
        &self.secret
    }

    /// Encrypts in place; gives the tag. The nonce is random, and never used twice.
    pub(crate) fn seal(
        &self,
        nonce: &[u8; NONCE],
        aad: &[u8],
        body: &mut [u8],
    ) -> Result<[u8; TAG]> {
        let (key, nonce) = self.frame_key(nonce);
        let tag = key
            .seal_in_place_separate_tag(nonce, Aad::from(aad), body)
            .map_err(|_| Error::invalid("a frame", "it is too large for the cipher"))?;
        let mut bytes = [0; TAG];
        bytes.copy_from_slice(tag.as_ref());
        Ok(bytes)
    }

    /// Decrypts in place what ends with its tag; gives the length of the plaintext, or none if it was not sealed so.
    pub(crate) fn open(&self, nonce: &[u8; NONCE], aad: &[u8], body: &mut [u8]) -> Option<usize> {
        let (key, nonce) = self.frame_key(nonce);
        let plain = key.open_in_place(nonce, Aad::from(aad), body).ok()?;
        Some(plain.len())
    }

    fn frame_key(&self, nonce: &[u8; NONCE]) -> (LessSafeKey, Nonce) {
        let mut inner = [0; 12];
        let (algorithm, secret): (_, Zeroizing<[u8; 32]>) = match self.suite {
            Suite::XChaCha20Poly1305 => {
                let mut first = chacha20::cipher::array::Array::default();
                first.copy_from_slice(&nonce[..16]);
                inner[4..].copy_from_slice(&nonce[16..]);
                let secret = hchacha::<chacha20::R20>(&self.secret.into(), &first);
                (&CHACHA20_POLY1305, Zeroizing::new(secret.into()))
            }
            Suite::Aes256Gcm => {
                let secret = blake3::keyed_hash(&self.secret, nonce);
                (&AES_256_GCM, Zeroizing::new(*secret.as_bytes()))
            }
        };
        let key = UnboundKey::new(algorithm, &*secret).expect("both take keys of 32 bytes");
        (LessSafeKey::new(key), Nonce::assume_unique_for_key(inner))
    }
}

#[cfg(test)]
mod tests {
    use chacha20poly1305::aead::{AeadInOut, KeyInit};
    use chacha20poly1305::{XChaCha20Poly1305, XNonce};

    use super::*;

    /// Test vector of draft-irtf-cfrg-xchacha-03, A.3.1, and another implementation at many lengths.
    #[test]
    fn suite_1_is_xchacha20_poly1305() {
        for len in [0, 1, 15, 16, 63, 64, 65, 1000, 4096, 70_001] {
            let secret: [u8; 32] = std::array::from_fn(|n| (n * 7 + len) as u8);
            let nonce: [u8; NONCE] = std::array::from_fn(|n| (n * 11 + len) as u8);
            let plain: Vec<u8> = (0..len).map(|n| (n / 3) as u8).collect();
            let mut want = plain.clone();
            let tag = XChaCha20Poly1305::new(&secret.into())
                .encrypt_inout_detached(&XNonce::from(nonce), b"aad", want.as_mut_slice().into())
                .unwrap();
            let key = DataKey::new(Suite::XChaCha20Poly1305, secret);
            let mut got = plain.clone();
            let got_tag = key.seal(&nonce, b"aad", &mut got).unwrap();
            assert_eq!((&got, &got_tag[..]), (&want, &tag[..]), "{len} bytes");
            got.extend_from_slice(&got_tag);
            assert_eq!(key.open(&nonce, b"aad", &mut got), Some(len));
            assert_eq!(got[..len], plain);
        }
    }

    #[test]
    fn a_suite_opens_nothing_of_the_other() {
        let suites = [Suite::XChaCha20Poly1305, Suite::Aes256Gcm];
        for (one, other) in [(0, 1), (1, 0)] {
            let key = DataKey::new(suites[one], [1; 32]);
            let mut body = b"hello".to_vec();
            let tag = key.seal(&[2; NONCE], b"", &mut body).unwrap();
            body.extend_from_slice(&tag);
            let wrong = DataKey::new(suites[other], [1; 32]);
            assert_eq!(wrong.open(&[2; NONCE], b"", &mut body.clone()), None);
            assert_eq!(key.open(&[3; NONCE], b"", &mut body.clone()), None);
            assert_eq!(key.open(&[2; NONCE], b"x", &mut body.clone()), None);
            assert_eq!(key.open(&[2; NONCE], b"", &mut body), Some(5));
            assert_eq!(&body[..5], b"hello");
        }
    }

    #[test]
    fn nothing_shorter_than_a_tag_opens() {
        let key = DataKey::new(Suite::Aes256Gcm, [1; 32]);
        for len in 0..TAG {
            assert_eq!(key.open(&[2; NONCE], b"", &mut vec![0; len]), None);
        }
    }
}
