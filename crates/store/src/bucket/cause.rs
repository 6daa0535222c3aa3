//! Why no connection could be made, in words that a person can act on.

use std::error::Error;
use std::io;

use object_store::client::HttpError;

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum Cause {
    /// The server's certificate was not accepted.
    Certificate(String),
    /// All else: no such name, nobody listens, no way there.
    Other(String),
}

/// Looks through all that an error was caused by.
pub(super) fn of(error: &HttpError) -> Cause {
    let (mut why, mut is_name) = (String::new(), false);
    let mut next: Option<&(dyn Error + 'static)> = error.source();
    while let Some(error) = next {
        if let Some(refused) = certificate(error) {
            return Cause::Certificate(refused);
        }
        let text = error.to_string();
        is_name |= text.contains("dns error");
        // The innermost one says it best.
        why = text;
        next = error.source();
    }
    if is_name {
        why = format!("the server's name could not be resolved ({why})");
    }
    Cause::Other(why)
}

fn certificate(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(refused @ rustls::Error::InvalidCertificate(_)) = error.downcast_ref() {
        return Some(refused.to_string());
    }
    // An I/O error hands on the source of what it holds, not that itself; and one may hold another.
    certificate(error.downcast_ref::<io::Error>()?.get_ref()?)
}
