//! Completion scripts and man pages, made from the flags themselves.

use anyhow::bail;
use clap::CommandFactory;

use crate::args::Cli;
use crate::exit::Exit;

pub(crate) fn completions(shell: clap_complete::Shell) -> anyhow::Result<Exit> {
    let mut command = Cli::command();
    clap_complete::generate(shell, &mut command, "brimful", &mut std::io::stdout());
    Ok(Exit::Complete)
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
    clap_mangen::Man::new(command).render(&mut std::io::stdout())?;
    Ok(Exit::Complete)
}
