//! Making a store, which gets its name only when all of it is durable.
//!
//! A first start makes `store.new`, renames it and writes the marker last, each step durable before the next.
//! So a store without a marker is either an interrupted first start, without accounts, or a store from
//! elsewhere; a marker without a store means that the store has vanished.

use std::fs;
use std::io;
use std::path::Path;

use uuid::Uuid;

use super::data_dir::exists;
use super::database::{DEADLINE, flush, open_sled, wait_until_released};
use super::error::from_sled;
use super::layout::{self, VERSION};
use super::seal::Seal;
use super::trees::Trees;
use crate::durable_file;
use crate::random;
use crate::store::open_error::OpenError;
use crate::store::terms::StoreOptions;

/// Makes a store with the records that `fill` adds. Returns its id and seal.
pub(super) fn make<E: From<OpenError>>(
    dir: &Path,
    options: &StoreOptions,
    fill: impl FnOnce(&Trees) -> Result<Seal, E>,
) -> Result<(Uuid, Seal), E> {
    let (store, unfinished) = (dir.join("store"), dir.join("store.new"));
    let io = OpenError::at(&store);
    let broken = |error| from_sled(&store, error);
    match fs::remove_file(dir.join("commits")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error).into()),
        _ => {}
    }
    if exists(&unfinished)? {
        log::warn!("removed {}, left over from a start that was cut short", unfinished.display());
        fs::remove_dir_all(&unfinished).map_err(io)?;
    }
    durable_file::create_dir(&unfinished).map_err(io)?;
    let id = Uuid::from_bytes(random::bytes().map_err(io::Error::other).map_err(io)?);
    let seal = {
        let (config, db, trees) = open_sled(&unfinished, options).map_err(broken)?;
        let seal = fill(&trees)?;
        trees.meta.insert(layout::STORE_ID, id.as_bytes()).map_err(broken)?;
        trees.meta.insert(layout::FORMAT, VERSION).map_err(broken)?;
        trees.meta.insert(layout::SEAL, &seal.to_bytes()).map_err(broken)?;
        flush(&db, &config).map_err(broken)?;
        seal
    };
    wait_until_released(&unfinished.join("db"), DEADLINE).map_err(io)?;
    for entry in fs::read_dir(&unfinished).map_err(io)? {
        // Folders are opened and synced by the same calls.
        durable_file::sync_dir(&entry.map_err(io)?.path()).map_err(io)?;
    }
    durable_file::sync_dir(&unfinished).map_err(io)?;
    fs::rename(&unfinished, &store).map_err(io)?;
    durable_file::sync_dir(dir).map_err(io)?;
    log::info!("made a new store in {}", store.display());
    Ok((id, seal))
}
