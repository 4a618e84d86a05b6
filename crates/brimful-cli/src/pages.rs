//! Completion scripts and man pages, made from the flags themselves.

use std::io::{ErrorKind, Write};

use anyhow::bail;
use clap::CommandFactory;

use crate::args::Cli;
use crate::exit::Exit;

pub(crate) fn completions(shell: clap_complete::Shell) -> anyhow::Result<Exit> {
    let mut command = Cli::command();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "brimful", &mut script);
    print(&script)
}

pub(crate) fn man(name: Option<&str>) -> anyhow::Result<Exit> {
    let mut command = Cli::command();
    command.build();
    let command = match name {
        None => command,
        Some(name) => match command.find_subcommand(name) {
            Some(found) => found.clone(),
            None => bail!(crate::Usage(format!("there is no command `{name}`"))),
        },
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        .source(concat!("brimful ", env!("CARGO_PKG_VERSION")))
        .render(&mut page)?;
    print(&page)
}

/// As a whole, and content when the reader has seen enough of it.
pub(crate) fn print(text: &[u8]) -> anyhow::Result<Exit> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(Exit::Complete),
    }
}
