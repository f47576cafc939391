//! Whom a client trusts.

use std::error::Error as StdError;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wakesock::rustls::ClientConfig;
use wakesock::tls;

/// The option of a client that asks servers by https.
#[derive(clap::Args)]
pub struct Trust {
    /// A file with the only authorities to trust, in PEM [default: those that the system trusts]
    #[arg(long, value_name = "PEM")]
    pub ca: Option<PathBuf>,
}

impl Trust {
    pub fn config(&self) -> Result<Arc<ClientConfig>, Box<dyn StdError>> {
        Ok(match &self.ca {
            Some(file) => tls::client_config_trusting(&read(file)?)?,
            None => tls::client_config()?,
        })
    }
}

/// A file, or why it can't be read.
pub fn read(file: &Path) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|error| format!("{}: {error}", file.display()))
}
