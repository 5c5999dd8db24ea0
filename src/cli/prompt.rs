//! Asking at a terminal for what it is not to show.

use std::io::{self, Read, Write};
use std::sync::mpsc::channel;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread;

use rustix::process::{Signal, getpid, kill_process};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::CommandError;
use crate::signals::Signals;

/// A terminal gives no longer lines. (As much as standard input reads at once, so that it keeps none of it.)
const LINE_MAX: usize = 8 * 1024;

/// Asks for a line, of which nothing is seen. Ctrl-C ends the process, as it does anywhere else.
///
/// # Errors
/// When the terminal fails, or where the process outlives the signal.
pub(super) fn unseen(question: &str) -> Result<Zeroizing<Vec<u8>>, CommandError> {
    let terminal = io::stdin();
    let before = tcgetattr(&terminal).map_err(io::Error::from)?;
    let interrupt = before.special_codes[SpecialCodeIndex::VINTR];
    let mut modes = before.clone();
    modes.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
    modes.special_codes[SpecialCodeIndex::VEOL] = interrupt; // ends the line, and not us with the terminal like this
    WATCH.call_once(watch);
    *hidden() = Some(before.clone());
    tcsetattr(&terminal, OptionalActions::Now, &modes).map_err(io::Error::from)?;
    let line = ask(question);
    tcsetattr(&terminal, OptionalActions::Now, &before).map_err(io::Error::from)?;
    *hidden() = None;
    let _ = writeln!(io::stderr()); // the end of the line was not seen either
    let mut line = line?;
    if line.last() == Some(&interrupt) {
        kill_process(getpid(), Signal::INT).map_err(io::Error::from)?;
        // Whoever has started us may have had it ignored.
        return Err(CommandError::NotConfirmed);
    }
    // What would have been a signal elsewhere, Ctrl-Z and the like, nobody means to be part of it.
    let signals = [SpecialCodeIndex::VSUSP, SpecialCodeIndex::VQUIT].map(|key| before.special_codes[key]);
    if signals.iter().any(|signal| *signal != 0 && line.contains(signal)) {
        return Err(CommandError::NotConfirmed);
    }
    line.pop_if(|last| *last == b'\n');
    Ok(line)
}

/// How the terminal was before it stopped showing what is typed, as long as that is so.
static HIDDEN: Mutex<Option<Termios>> = Mutex::new(None);

static WATCH: Once = Once::new();

fn hidden() -> MutexGuard<'static, Option<Termios>> {
    HIDDEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on signals end the process with the terminal as it was before the question. Where the system gives no thread
/// for that they end it as ever.
fn watch() {
    let (hears, ready) = channel();
    let watcher = thread::Builder::new().name("signals".into()).spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else { return };
        runtime.block_on(async {
            let Ok(mut signals) = Signals::listen_beside_interrupt() else { return };
            let _ = hears.send(());
            let signal = signals.next().await;
            if let Some(before) = &*hidden() {
                let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
            }
            std::process::exit(signal.exit_code());
        });
    });
    if watcher.is_ok() {
        let _ = ready.recv(); // an error once it has given up
    }
}

fn ask(question: &str) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut prompt = io::stderr();
    write!(prompt, "{question}").and_then(|()| prompt.flush())?;
    let mut line = Zeroizing::new(vec![0; LINE_MAX]);
    loop {
        match io::stdin().read(&mut line) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => {
                line.truncate(read?);
                return Ok(line);
            }
        }
    }
}
