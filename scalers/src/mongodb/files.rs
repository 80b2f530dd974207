//! Certificates as the driver wants them, which is in files: these are in memory, and nobody else's.

use std::{fs::File, io::Write as _, os::fd::AsRawFd as _};

use mongodb::options::TlsOptions;
use rustix::fs::{MemfdFlags, memfd_create};
use scaler_api::{Error, ErrorKind, Secret};

/// Who is trusted, and who we are.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    pub(super) ca: Option<Secret>,
    pub(super) identity: Option<(Secret, Secret)>,
}

/// The files; they are gone when this is dropped.
pub(super) struct Files {
    ca: Option<File>,
    identity: Option<File>,
}

impl Tls {
    pub(super) fn files(&self) -> Result<Files, Error> {
        let ca = self.ca.as_ref().map(|ca| in_memory(ca.expose())).transpose()?;
        let identity = self.identity.as_ref().map(|(certificate, key)| {
            in_memory(&format!(
                "{}\n{}\n",
                certificate.expose().trim_end(),
                key.expose()
            ))
        });
        Ok(Files {
            ca,
            identity: identity.transpose()?,
        })
    }
}

impl Files {
    pub(super) fn options(&self) -> TlsOptions {
        let path = |file: &File| format!("/proc/self/fd/{}", file.as_raw_fd()).into();
        let mut options = TlsOptions::default();
        options.ca_file_path = self.ca.as_ref().map(path);
        options.cert_key_file_path = self.identity.as_ref().map(path);
        options
    }
}

fn in_memory(text: &str) -> Result<File, Error> {
    let failed = |error: std::io::Error| {
        Error::new(ErrorKind::Internal, "cannot keep a certificate in memory").with_source(error)
    };
    let descriptor =
        memfd_create("certificate", MemfdFlags::CLOEXEC).map_err(|error| failed(error.into()))?;
    let mut file = File::from(descriptor);
    file.write_all(text.as_bytes()).map_err(failed)?;
    Ok(file)
}
