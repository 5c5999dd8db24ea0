//! sled's errors, classified and in words.

use std::any::Any;
use std::io;
use std::path::Path;

use crate::store::open_error::{OpenError, is_full};

/// Converts an error. System errors keep their kind; sled also makes I/O errors of its own for content it
/// cannot read.
pub(super) fn from_sled(store: &Path, error: sled::Error) -> OpenError {
    let damaged = |what: &str| OpenError::Damaged(store.into(), what.into());
    if let Some(error) = of_system(&error) {
        return OpenError::Io(store.into(), error);
    }
    match error {
        sled::Error::Io(error) if is_full(&error) => OpenError::Io(store.into(), error),
        sled::Error::Io(error) if error.to_string().starts_with("could not acquire lock") => OpenError::Io(
            store.into(),
            io::Error::new(io::ErrorKind::WouldBlock, "another process holds its log"),
        ),
        sled::Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            damaged("its log ends early")
        }
        sled::Error::Io(error) => damaged(&error.to_string()),
        sled::Error::Corruption { .. } => damaged("a part of its log or its snapshot has a wrong checksum"),
        sled::Error::CollectionNotFound(_) => damaged("a tree is missing"),
        sled::Error::Unsupported(what) | sled::Error::ReportableBug(what) => damaged(&what),
    }
}

/// Converts a panic. sled unwraps I/O errors in some places, its destructors among them: then the disk fails,
/// and the data may be intact.
pub(super) fn from_panic(store: &Path, panic: &(dyn Any + Send)) -> OpenError {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
    match printed(text) {
        Some(error) => OpenError::Io(store.into(), error),
        None => OpenError::Damaged(store.into(), "its log cannot be read".into()),
    }
}

/// The error in words for operators; sled's own texts are for programmers.
pub(super) fn reason(error: &sled::Error) -> String {
    match (of_system(error), error) {
        (Some(error), _) => error.to_string(),
        (None, sled::Error::Io(error)) => error.to_string(),
        (None, sled::Error::Corruption { .. }) => "it is not what was written".into(),
        (None, error) => error.to_string(),
    }
}

/// The system error behind sled's, if any. sled passes on its first error as text in `{:?}` form.
pub(super) fn of_system(error: &sled::Error) -> Option<io::Error> {
    let sled::Error::Io(error) = error else { return None };
    match error.raw_os_error() {
        Some(code) => Some(io::Error::from_raw_os_error(code)),
        None => printed(&error.to_string()),
    }
}

/// Finds a system error printed with `{:?}` in a text.
fn printed(text: &str) -> Option<io::Error> {
    let (_, rest) = text.split_once("Os { code: ")?;
    rest.split(',').next()?.parse().ok().map(io::Error::from_raw_os_error)
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    fn of_panic(panics: impl FnOnce() + std::panic::UnwindSafe) -> OpenError {
        from_panic(Path::new("store"), &*catch_unwind(panics).unwrap_err())
    }

    #[test]
    fn a_system_error_that_sled_kept_as_text_is_recognised() {
        let kept = sled::Error::Io(io::Error::from_raw_os_error(5)).clone();
        assert_eq!(reason(&kept), io::Error::from_raw_os_error(5).to_string());
        let error = from_sled(Path::new("x"), kept);
        assert!(matches!(&error, OpenError::Io(_, error) if error.raw_os_error() == Some(5)), "{error}");
    }

    #[test]
    fn a_disk_that_fails_is_no_damage() {
        for code in [5, 28] {
            let failed = move || Err::<(), _>(io::Error::from_raw_os_error(code));
            for error in [of_panic(move || failed().unwrap()), of_panic(move || failed().expect("synced"))] {
                assert!(
                    matches!(&error, OpenError::Io(_, io) if io.raw_os_error() == Some(code)),
                    "{error:?}"
                );
            }
            let error = from_sled(Path::new("store"), failed().unwrap_err().into());
            assert!(matches!(error, OpenError::Io(..)), "{error:?}");
        }
        for error in [of_panic(|| panic!("duplicate segment")), of_panic(|| panic!("expected {}", 1))] {
            assert!(matches!(error, OpenError::Damaged(..)), "{error:?}");
        }
    }

    #[test]
    fn sleds_errors_are_put_in_words() {
        let made_up = [
            sled::Error::Corruption { at: None, bt: () },
            sled::Error::Io(io::ErrorKind::UnexpectedEof.into()),
            sled::Error::Io(io::Error::other("encountered torn segment")),
            sled::Error::ReportableBug("something odd".into()),
        ];
        for error in made_up {
            let error = from_sled(Path::new("/data/store"), error);
            assert!(matches!(error, OpenError::Damaged(..)), "{error:?}");
            let text = error.to_string();
            assert!(!text.contains("backtrace") && !text.contains('{') && !text.contains("Some("), "{text}");
        }
    }
}
