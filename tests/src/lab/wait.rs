//! Owns waiting: the only place of the lab's tests that sleeps.

use std::fmt::Display;
use std::thread;
use std::time::{Duration, Instant};

use crate::lab::error::LabError;

/// How often a condition is asked.
const POLL: Duration = Duration::from_millis(10);

/// Asks until the answer is `Ok`, at least once; `what` says what is waited for, as a sentence.
///
/// # Errors
/// [`LabError::Timeout`] with the last answer, once `deadline` has passed.
pub fn eventually<T, E: Display>(
    deadline: Duration,
    what: impl Into<String>,
    mut ask: impl FnMut() -> Result<T, E>,
) -> Result<T, LabError> {
    let begin = Instant::now();
    loop {
        match ask() {
            Ok(answer) => return Ok(answer),
            Err(last) if begin.elapsed() >= deadline => {
                let (what, last) = (what.into(), last.to_string());
                return Err(LabError::Timeout { what, after: deadline, last });
            }
            Err(_) => thread::sleep(POLL),
        }
    }
}

/// Asks until the condition is true, at least once.
///
/// # Errors
/// As [`eventually`]; a condition whose answer could say more should use that.
pub fn until(
    deadline: Duration,
    what: impl Into<String>,
    mut condition: impl FnMut() -> bool,
) -> Result<(), LabError> {
    eventually(deadline, what, || if condition() { Ok(()) } else { Err("false") })
}

/// Asks again and again for as long as `span` and demands `Ok` every time: "and nothing changes".
///
/// # Errors
/// [`LabError::Timeout`] with the first answer that was not.
pub fn throughout<E: Display>(
    span: Duration,
    what: impl Into<String>,
    mut ask: impl FnMut() -> Result<(), E>,
) -> Result<(), LabError> {
    let begin = Instant::now();
    while begin.elapsed() < span {
        if let Err(broken) = ask() {
            let (what, last) = (what.into(), broken.to_string());
            return Err(LabError::Timeout { what, after: begin.elapsed(), last });
        }
        thread::sleep(POLL);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_answer_is_in_the_error() {
        let mut asked = 0;
        let error = eventually(Duration::from_millis(30), "the lane is up", || {
            asked += 1;
            Err::<(), _>(format!("handshake {asked} unanswered"))
        })
        .unwrap_err()
        .to_string();
        assert!(error.starts_with("the lane is up: not after 30ms"), "{error}");
        assert!(error.ends_with(&format!("handshake {asked} unanswered")), "{error}");
        assert!(asked > 1);
    }

    #[test]
    fn it_asks_once_even_without_time() {
        assert_eq!(eventually(Duration::ZERO, "x", || Ok::<_, String>(7)).unwrap(), 7);
    }
}
