//! `brimful mock`: the fake provider on a port.

mod args;
mod limit;
mod script;

use anyhow::Context as _;
use brimful_gateway::mock::{MockServer, Tls, in_users_words};
use tokio::signal::unix::{SignalKind, signal};

pub(crate) use args::MockArgs;

use crate::Usage;
use crate::exit::Exit;

/// Serves until Ctrl-C or SIGTERM.
pub(crate) async fn mock(args: &MockArgs) -> anyhow::Result<Exit> {
    use std::io::Write;
    let mut config = args.config()?;
    if let Some(path) = &args.script {
        config.script = script::read(path, &config)?;
    }
    let server = MockServer::bind(args.listen.listen, config, args.seed).map_err(|error| {
        match error.kind() {
            std::io::ErrorKind::InvalidInput => {
                Usage(in_users_words(&error.to_string(), "--")).into()
            }
            _ => anyhow::Error::new(error)
                .context(format!("cannot listen on {}", args.listen.listen)),
        }
    })?;
    let (scheme, server) = match args.listen.tls()? {
        Some(tls) => ("https", server.with_tls(tls)),
        None => ("http", server),
    };
    let address = server.local_addr()?;
    // Before anyone learns that it is there, and may want it to end.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{scheme}://{address}/v1")?;
        out.flush()?;
    }
    server
        .serve(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        })
        .await;
    Ok(Exit::Complete)
}

impl args::ListenArgs {
    /// The certificate to show, if any; what clients have to trust is written before the start.
    fn tls(&self) -> anyhow::Result<Option<Tls>> {
        let tls = match (&self.tls_cert, &self.tls_key) {
            (Some(cert), Some(key)) => {
                let read = |path: &std::path::Path| {
                    let shown = path.display().to_string();
                    std::fs::read(path).with_context(|| format!("cannot read `{shown}`"))
                };
                let (certificates, private_key) = (read(cert)?, read(key)?);
                Tls::from_pem(&certificates, &private_key).with_context(|| {
                    format!("cannot use `{}` with `{}`", cert.display(), key.display())
                })?
            }
            _ if self.tls => Tls::self_signed(self.listen.ip())?,
            _ => return Ok(None),
        };
        if let Some(path) = &self.tls_cert_out {
            std::fs::write(path, tls.trust_pem())
                .with_context(|| format!("cannot write `{}`", path.display()))?;
        }
        Ok(Some(tls))
    }
}
