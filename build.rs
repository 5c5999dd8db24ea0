//! Takes the files of the API page out of the archive that holds Swagger UI: two of several hundred.
//!
//! They stay as they are packed. An entry of a ZIP archive and a gzip file hold the same compressed stream
//! (RFC 1951), so that it only changes its envelope, and browsers unpack it.

use std::error::Error;
use std::io::{Cursor, Read};
use std::path::PathBuf;
use std::{env, fs};

use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;
use zip::ZipArchive;

const FILES: [&str; 2] = ["swagger-ui.css", "swagger-ui-bundle.js"];

/// A member's head (RFC 1952): deflate, no name, no time, packed on some system.
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    let mut archive = ZipArchive::new(Cursor::new(SWAGGER_UI_VENDORED))?;
    for file in FILES {
        let wanted = format!("/dist/{file}");
        let index = (0..archive.len())
            .find(|&index| {
                archive
                    .name_for_index(index)
                    .is_some_and(|name| name.is_ok_and(|name| name.ends_with(&wanted)))
            })
            .ok_or(wanted)?;
        let mut entry = archive.by_index_raw(index)?;
        let mut packed = HEAD.to_vec();
        entry.read_to_end(&mut packed)?;
        packed.extend(entry.crc32().to_le_bytes());
        packed.extend(u32::try_from(entry.size())?.to_le_bytes());
        fs::write(out.join(format!("{file}.gz")), packed)?;
    }
    Ok(())
}
